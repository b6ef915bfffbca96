"""Random-shift augmentation on uint8 frames (DrQ, Kostrikov et al. 2020, section 4.1)."""

from __future__ import annotations

import numpy as np


def random_shift(frames: np.ndarray, pad: int, rng: np.random.Generator) -> np.ndarray:
    """Pad each frame by repeating its edge, then crop it back at a random offset.

    Shifting whole pixels of uint8 frames before the conversion to floats is several times cheaper than gathering
    interpolated floats, and leaves pixel values untouched.

    Args:
        frames: (B, H, W, C) uint8.
        pad: largest shift, pixels; 0 returns the frames as they are.
    """
    if pad == 0:
        return frames
    batch, height, width, _ = frames.shape
    padded = np.pad(frames, ((0, 0), (pad, pad), (pad, pad), (0, 0)), mode="edge")
    tops, lefts = rng.integers(0, 2 * pad + 1, size=(2, batch))
    out = np.empty_like(frames)
    for i, (top, left) in enumerate(zip(tops, lefts, strict=True)):
        out[i] = padded[i, top : top + height, left : left + width]
    return out
