"""Heat lies where the answer comes from, and nowhere else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hiltk.diagnostics.saliency import Saliency, cube_mask, figure, occlusion


def corner(frames: np.ndarray) -> np.ndarray:
    """An answer that depends on the mean of the 4 x 4 pixels at the top left, (N, 1)."""
    return frames[:, :4, :4].astype(float).mean(axis=(1, 2, 3))[:, None]


def test_heat_lies_where_the_answer_comes_from() -> None:
    frames = np.full((2, 32, 32, 3), 100, np.uint8)
    heat = occlusion(frames, np.zeros((32, 32, 3), np.uint8), [corner, lambda f: 2 * corner(f)])
    # The patch at the very corner covers all of it; the next ones, half a patch on, half of it.
    assert heat[0, 0, 0] == pytest.approx(100) and heat[0, 0, 3] == pytest.approx((100 + 50) / 2)
    assert (heat[:, 6:] == 0).all() and (heat[:, :, 6:] == 0).all()
    np.testing.assert_allclose(heat[1], 2 * heat[0])


def test_covering_with_what_is_there_anyway_changes_nothing() -> None:
    frames = np.full((1, 20, 30, 3), 60, np.uint8)  # sides that patches do not divide
    assert not occlusion(frames, frames[0], [corner]).any()


def test_gaze_by_hand() -> None:
    """A quarter of the picture is cube; heat 3 there and 1 elsewhere is on average 1.5: twice as much on the cube."""
    cube = np.zeros((2, 4, 4), bool)
    cube[0, :2, :2] = True
    heat = np.where(cube, 3.0, 1.0)
    heat[1] = 100.0  # no cube in sight: this one does not count
    frames = np.zeros((2, 4, 4, 3), np.uint8)
    assert Saliency("a", frames, heat, "mm", cube).gaze == pytest.approx(2.0)
    assert np.isnan(Saliency("a", frames, heat, "mm").gaze)
    assert np.isnan(Saliency("a", frames, 0 * heat, "mm", cube).gaze)
    assert np.isnan(Saliency("a", frames, heat, "mm", np.zeros_like(cube)).gaze)


def test_a_mask_is_where_the_cube_made_a_difference() -> None:
    empty = np.full((1, 4, 4, 3), 100, np.uint8)
    frames = empty.copy()
    frames[0, 1, 2] = 200, 20, 20
    frames[0, 3, 3] += 2  # noise
    assert np.argwhere(cube_mask(frames, empty)).tolist() == [[0, 1, 2]]


def test_figure(tmp_path: Path) -> None:
    frames = np.zeros((3, 8, 8, 3), np.uint8)
    cube = np.zeros((3, 8, 8), bool)
    cube[:2, 2:4, 2:4] = True
    heat = np.random.default_rng(0).random((3, 8, 8))
    figure(
        [Saliency("a", frames, heat, "mm", cube), Saliency("b", frames[:1], 0 * heat[:1], "action")], tmp_path / "s.png"
    )
    assert (tmp_path / "s.png").read_bytes().startswith(b"\x89PNG")
