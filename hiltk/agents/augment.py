"""Random-shift augmentation on uint8 frames (DrQ, Kostrikov et al. 2020, section 4.1)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def random_shift(frames: np.ndarray | Sequence[np.ndarray], pad: int, rng: np.random.Generator) -> np.ndarray:
    """What padding each frame by repeating its edge, then cropping it back at a random offset, gives.

    Shifting whole pixels of uint8 frames before the conversion to floats is several times cheaper than gathering
    interpolated floats, and leaves pixel values untouched.

    Args:
        frames: (B, H, W, C) uint8, or B frames (H, W, C) wherever they lie.
        pad: largest shift, pixels; 0 returns the frames as they are.
    """
    if pad == 0:
        return np.asarray(frames)
    batch, (height, width, channels) = len(frames), frames[0].shape
    offsets = rng.integers(0, 2 * pad + 1, size=(2, batch)) - pad
    downs, rights = np.clip(offsets, [[1 - height], [1 - width]], [[height - 1], [width - 1]]).tolist()
    out = np.empty((batch, height, width, channels), frames[0].dtype)
    for i in range(batch):
        _shift(frames[i], out[i], downs[i], rights[i])
    return out


def _shift(frame: np.ndarray, out: np.ndarray, down: int, right: int) -> None:
    """``out[y, x] = frame[y + down, x + right]``, with the frame's edge where that is outside.

    The part that is inside is copied once and its borders repeated: a padded copy of every frame would cost twice.
    """
    height, width = frame.shape[:2]
    top, bottom = max(0, -down), min(height, height - down)
    left, end = max(0, -right), min(width, width - right)
    out[top:bottom, left:end] = frame[top + down : bottom + down, left + right : end + right]
    out[top:bottom, :left] = out[top:bottom, left : left + 1]
    out[top:bottom, end:] = out[top:bottom, end - 1 : end]
    out[:top] = out[top]
    out[bottom:] = out[bottom - 1]
