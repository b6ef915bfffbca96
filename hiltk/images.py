"""Frames on their way into a network: shifted at random, handed to torch, scaled."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from torch import Tensor, nn

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's pixels in [0, 1]


def random_shift(frames: np.ndarray | Sequence[np.ndarray], pad: int, rng: np.random.Generator) -> np.ndarray:
    """What padding each frame by repeating its edge, then cropping it back at a random offset, gives.

    Random-shift augmentation as of DrQ (Kostrikov et al. 2020, section 4.1).

    Shifting whole pixels of uint8 frames before the conversion to floats is several times cheaper than gathering
    interpolated floats, and leaves pixel values untouched.

    Args:
        frames: (B, H, W, C) uint8, or B frames (H, W, C) wherever they lie.
        pad: largest shift, pixels; 0 returns the frames as they are.
    """
    if pad == 0:
        return np.asarray(frames)
    downs, rights = (rng.integers(0, 2 * pad + 1, size=(2, len(frames))) - pad).tolist()
    out = np.empty((len(frames), *frames[0].shape), frames[0].dtype)
    for i, (down, right) in enumerate(zip(downs, rights, strict=True)):
        shift_frame(frames[i], down, right, out[i])
    return out


def shift_frame(frame: np.ndarray, down: int, right: int, out: np.ndarray | None = None) -> np.ndarray:
    """``out[y, x] = frame[y + down, x + right]``, with the frame's edge where that is outside; (H, W, C).

    The part that is inside is copied once and its borders repeated, both by OpenCV: a padded copy of every frame would
    cost twice, and numpy needs a call for each side.
    """
    height, width = frame.shape[:2]
    down, right = max(1 - height, min(down, height - 1)), max(1 - width, min(right, width - 1))
    out = np.empty(frame.shape, frame.dtype) if out is None else out
    top, bottom, left, end = max(0, -down), max(0, down), max(0, -right), max(0, right)
    inside = frame[bottom : height - top, end : width - left]
    cv2.copyMakeBorder(inside, top, bottom, left, end, cv2.BORDER_REPLICATE, out)
    return out


def to_tensor(frames: np.ndarray, device: torch.device | str = "cpu") -> Tensor:
    """Frames (B, H, W, C) as a view (B, C, H, W), still uint8 and not copied on the CPU; networks scale them."""
    return torch.from_numpy(frames).to(device, non_blocking=True).permute(0, 3, 1, 2)


def full_scale(frames: Tensor) -> float:
    """What white is in frames: 255 in uint8, 1 in floats."""
    return 255.0 if frames.dtype == torch.uint8 else 1.0


class ImageNetNorm(nn.Module):
    """Frames (B, 3, H, W) uint8 or in [0, 1], normalised by the mean and deviation of ImageNet's pixels."""

    scale: Tensor
    shift: Tensor

    def __init__(self) -> None:
        super().__init__()
        mean, std = (torch.tensor(v).reshape(1, 3, 1, 1) for v in (MEAN, STD))
        self.register_buffer("scale", 1 / std, persistent=False)
        self.register_buffer("shift", -mean / std, persistent=False)

    def forward(self, frames: Tensor) -> Tensor:
        return torch.addcmul(self.shift, frames.to(self.scale.dtype), self.scale / full_scale(frames))
