"""What training frames are changed by: each change alone, its range, and that nothing else is touched."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hiltk.config.commands import AugmentConf
from hiltk.errors import ConfigError
from hiltk.rewards.augment import augmented, blur, change_gamma, check_augment, moved, relight

CPU = torch.device("cpu")
OFF = {"color": 0.0, "gamma": 0.0, "light": 0.0, "blur": 0.0, "camera": 0.0}


def noise(count: int = 8, size: int = 24) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


def test_without_strength_frames_stay_as_they_are() -> None:
    frames = noise()
    out = augmented(frames.copy(), AugmentConf(**OFF), 0, np.random.default_rng(0), CPU)
    assert out.dtype == torch.uint8
    np.testing.assert_array_equal(out.permute(0, 2, 3, 1).numpy(), frames)


@pytest.mark.parametrize("key", list(OFF))
def test_each_strength_changes_frames_and_keeps_their_range(key: str) -> None:
    frames, conf = noise(), AugmentConf(**(OFF | {key: 1.0}))
    out = augmented(frames.copy(), conf, 0, np.random.default_rng(0), CPU)
    plain = torch.from_numpy(frames).permute(0, 3, 1, 2)
    assert out.shape == plain.shape
    if out.dtype == torch.uint8:
        out = out / 255
    assert out.dtype == torch.float32 and out.min() >= 0 and out.max() <= 1
    assert not torch.allclose(out, plain / 255, atol=0.02)


def test_the_same_random_numbers_give_the_same_frames() -> None:
    first, again, other = (augmented(noise(), AugmentConf(), 4, np.random.default_rng(seed), CPU) for seed in (3, 3, 4))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_gamma_by_hand() -> None:
    """Black and white stay; mid-grey becomes 255 * (128 / 255)^g for a g between 1/2 and 2."""
    frames = np.zeros((200, 1, 3, 3), np.uint8)
    frames[:, 0, 1], frames[:, 0, 2] = 128, 255
    change_gamma(frames, 1.0, np.random.default_rng(0))
    assert (frames[:, 0, 0] == 0).all() and (frames[:, 0, 2] == 255).all()
    grey = frames[:, 0, 1].astype(float)
    assert 255 * (128 / 255) ** 2 - 1 <= grey.min() < 75 and 170 < grey.max() <= 255 * (128 / 255) ** 0.5 + 1
    assert (grey[:, 0] == grey[:, 1]).all()


def test_half_of_the_frames_are_blurred_and_keep_their_mean() -> None:
    frames = noise(200)
    sharp = frames.copy()
    blur(frames, 1.0, np.random.default_rng(0))
    changed = (frames != sharp).any(axis=(1, 2, 3))
    # Deviations below 0.3 pixels hardly reach the neighbours.
    assert 60 < changed.sum() < 120
    assert (frames[changed].std(axis=(1, 2, 3)) < sharp[changed].std(axis=(1, 2, 3))).all()
    means = frames.mean(axis=(1, 2, 3)) - sharp.mean(axis=(1, 2, 3))
    assert np.abs(means).max() < 3


def test_light_is_a_slope_and_a_spot_within_its_strength() -> None:
    """On a grey picture the change is smooth, differs over the frame, and is at most slope and spot together."""
    out = relight(torch.full((300, 3, 16, 16), 0.4), 0.3, np.random.default_rng(0)) / 0.4
    assert 1 - 0.6 - 1e-6 <= out.min() < 0.8 and 1.2 < out.max() <= 1 + 0.6 + 1e-6
    assert (out[:, 0] == out[:, 1]).all() and (out[:, 0] == out[:, 2]).all()
    assert (out.amax(dim=(1, 2, 3)) - out.amin(dim=(1, 2, 3))).min() > 0.01
    assert (out[..., 1:] - out[..., :-1]).abs().max() < 0.15


def test_a_knocked_camera_turns_zooms_and_shifts_within_its_strength() -> None:
    """Two dots 20 pixels apart, told from each other by their channel: how they lie afterwards says what was done."""
    frames = np.zeros((200, 49, 49, 3), np.uint8)
    frames[:, 23:26, 13:16, 0] = frames[:, 23:26, 33:36, 1] = 200
    out = moved(frames, 1.0, 0, np.random.default_rng(0)).astype(float)
    at = [np.stack([(out[..., c].sum(a) * np.arange(49)).sum(1) for a in (1, 2)], 1) for c in (0, 1)]
    left, right = (at[c] / out[..., c].sum(axis=(1, 2))[:, None] for c in (0, 1))
    middle, apart = (left + right) / 2 - 24, right - left
    zoom, turn = np.hypot(*apart.T) / 20, np.degrees(np.arctan2(apart[:, 1], apart[:, 0]))
    for found, bound in ((turn, 10), ((zoom - 1) * 100, 10), (middle[:, 0], 49 / 8), (middle[:, 1], 49 / 8)):
        assert 0.9 * bound < np.abs(found).max() < bound + 0.6 and abs(found.mean()) < 0.2 * bound


def test_a_camera_that_is_hardly_knocked_shifts_as_far_as_the_encoder_asks() -> None:
    frames = np.zeros((50, 33, 33, 3), np.uint8)
    frames[:, 14:19, 14:19] = 200
    shifted = moved(frames, 1e-6, 4, np.random.default_rng(0)).astype(float)[..., 0]
    centre = (shifted.sum(1) * np.arange(33)).sum(1) / shifted.sum(axis=(1, 2))
    assert 2.5 < np.abs(centre - 16).max() < 4.1 and abs(centre.mean() - 16) < 1.5


def test_edges_are_repeated_where_the_frame_ends() -> None:
    out = moved(np.full((20, 16, 16, 3), 77, np.uint8), 1.0, 4, np.random.default_rng(0))
    assert (out == 77).all()


@pytest.mark.parametrize("key", list(OFF))
def test_strengths_out_of_range_are_refused(key: str) -> None:
    check_augment(AugmentConf(**(OFF | {key: 1.0})))
    with pytest.raises(ConfigError, match=f"augment.{key}"):
        check_augment(AugmentConf(**(OFF | {key: -0.1})))
    with pytest.raises(ConfigError, match=f"augment.{key}"):
        check_augment(AugmentConf(**(OFF | {key: 10.1})))
