from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hiltk.images import random_shift, shift_frame


@given(st.integers(0, 5), st.integers(0, 2**31))
def test_every_shift_is_a_crop_of_the_edge_padded_frame(pad: int, seed: int) -> None:
    frames = np.random.default_rng(1).integers(0, 255, (3, 6, 7, 3), dtype=np.uint8)
    shifted = random_shift(frames, pad, np.random.default_rng(seed))
    assert shifted.shape == frames.shape and shifted.dtype == np.uint8
    for frame, out in zip(frames, shifted, strict=True):
        padded = np.pad(frame, ((pad, pad), (pad, pad), (0, 0)), mode="edge")
        crops = (padded[i : i + 6, j : j + 7] for i in range(2 * pad + 1) for j in range(2 * pad + 1))
        assert any(np.array_equal(out, crop) for crop in crops)


def test_frames_of_a_batch_shift_apart() -> None:
    frames = np.repeat(
        np.random.default_rng(0).integers(0, 255, (1, 16, 16, 3), dtype=np.uint8),
        32,
        axis=0,
    )
    assert len({f.tobytes() for f in random_shift(frames, 4, np.random.default_rng(0))}) > 10


@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 12), st.integers(0, 2**31))
def test_shifting_is_padding_and_cropping_at_the_same_offsets(height: int, width: int, pad: int, seed: int) -> None:
    frames = np.random.default_rng(2).integers(0, 255, (5, height, width, 3), dtype=np.uint8)
    tops, lefts = np.random.default_rng(seed).integers(0, 2 * pad + 1, size=(2, 5))
    padded = np.pad(frames, ((0, 0), (pad, pad), (pad, pad), (0, 0)), mode="edge")
    expected = [f[t : t + height, x : x + width] for f, t, x in zip(padded, tops, lefts, strict=True)]
    for given_as in (frames, list(frames)):
        assert np.array_equal(random_shift(given_as, pad, np.random.default_rng(seed)), expected)


@pytest.mark.parametrize("channels", [1, 3, 6])
def test_a_shift_of_any_size_and_number_of_channels_repeats_the_edge(channels: int) -> None:
    frame = np.random.default_rng(3).integers(0, 255, (5, 4, channels), dtype=np.uint8)
    for down in range(-7, 8):
        for right in range(-7, 8):
            rows, columns = np.clip(np.arange(5) + down, 0, 4), np.clip(np.arange(4) + right, 0, 3)
            assert np.array_equal(shift_frame(frame, down, right), frame[rows][:, columns])
