"""What a first frame shows, in numbers: worked by hand, and shifts by whatever light."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hiltk.rewards.views import align, describe, small_grey
from tests.rewards.scenes import blobs, scene


def test_a_frame_in_numbers() -> None:
    frame = np.zeros((8, 8, 3), np.uint8)
    frame[:] = (100, 50, 50)
    np.testing.assert_allclose(describe(frame), [200 / 3, 101 / 203, 51 / 203, 51 / 203, 0, 0], atol=1e-9)
    stripes = np.zeros((8, 8, 3), np.uint8)
    stripes[:, ::2] = 200
    # Grey 0 and 200 in turn: deviation 100; every second difference is 400 up or down, the edges reflected alike.
    np.testing.assert_allclose(describe(stripes), [100, 1 / 3, 1 / 3, 1 / 3, 4.0, 100], atol=1e-6)
    np.testing.assert_allclose(describe(np.zeros((8, 8, 3), np.uint8)), [0, 1 / 3, 1 / 3, 1 / 3, 0, 0])


@settings(deadline=None)
@given(st.integers(0, 1000), st.floats(0.4, 1.0))
def test_a_lamp_changes_neither_colours_nor_sharpness(seed: int, gain: float) -> None:
    frame = scene("wrist", seed)[0]
    before, after = describe(frame), describe((frame * gain).astype(np.uint8))
    assert after[0] == pytest.approx(gain * before[0], abs=1)
    np.testing.assert_allclose(after[1:4], before[1:4], atol=0.01)
    assert after[4] == pytest.approx(before[4], rel=0.05)


@pytest.mark.parametrize("size", [32, 64, 160])
@settings(deadline=None)
@given(st.floats(-0.1, 0.1), st.floats(-0.1, 0.1), st.floats(0.5, 1.2))
def test_a_shift_is_measured_in_pixels_of_the_frame_whatever_the_light(
    size: int, right: float, down: float, gain: float
) -> None:
    moved = (blobs(size, right, down) * gain).astype(np.uint8)
    found = align(moved, small_grey(blobs(size)))
    np.testing.assert_allclose(found[:2], [right * size, down * size], atol=0.01 * size)
    assert 0 <= found[2] < 0.1  # the borders show something else


def test_what_cannot_be_aligned_is_unlike_and_not_shifted() -> None:
    usual = small_grey(blobs(64))
    np.testing.assert_allclose(align(blobs(64), usual), [0, 0, 0], atol=1e-3)
    for frame in (np.zeros((64, 64, 3), np.uint8), np.full((64, 64, 3), 255, np.uint8)):
        np.testing.assert_array_equal(align(frame, usual), [0, 0, 1])
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    assert np.abs(align(noise, usual)[:2]).max() <= 16 and align(noise, usual)[2] > 0.5
