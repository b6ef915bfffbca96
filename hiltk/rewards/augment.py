"""Augmentation of a success classifier's training frames: another place, another lamp, another focus."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor

from hiltk.config.commands import AugmentConf
from hiltk.errors import ConfigError
from hiltk.images import random_shift, to_tensor

SHARE_BLURRED = 0.5  # of the frames; the others stay sharp
TURN_DEG, ZOOM, SHIFT = 10.0, 0.1, 0.125  # of the camera at strength 1, either way; shift: of the image


def check_augment(conf: AugmentConf) -> None:
    """Refuse strengths out of range.

    Raises:
        ConfigError: naming the key and what it may be.
    """
    for key in ("color", "gamma", "light", "camera"):
        if not 0 <= getattr(conf, key) <= 1:
            raise ConfigError(f"augment.{key} must be from 0 to 1", where=f"augment.{key}={getattr(conf, key)}")
    if not 0 <= conf.blur <= 10:
        raise ConfigError("augment.blur must be from 0 to 10 pixels", where=f"augment.blur={conf.blur}")


def augmented(
    frames: np.ndarray, conf: AugmentConf, shift_pad: int, rng: np.random.Generator, device: torch.device
) -> Tensor:
    """Each frame changed at random, as `AugmentConf` says.

    Args:
        frames: (B, H, W, 3) uint8; may be changed.
        shift_pad: largest shift, pixels, unless ``conf.camera`` shifts farther.

    Returns:
        (B, 3, H, W): uint8 where colours and light are left alone, else float32 in [0, 1].
    """
    frames = moved(frames, conf.camera, shift_pad, rng) if conf.camera else random_shift(frames, shift_pad, rng)
    if conf.blur:
        blur(frames, conf.blur, rng)
    if conf.gamma:
        change_gamma(frames, conf.gamma, rng)
    tensor = to_tensor(frames, device)
    if conf.color or conf.light:
        tensor = recolor(tensor, conf.color, rng)
    return relight(tensor, conf.light, rng) if conf.light else tensor


def moved(frames: np.ndarray, strength: float, shift_pad: int, rng: np.random.Generator) -> np.ndarray:
    """As from a camera that was knocked: shifted, turned and zoomed; edges repeated.

    Args:
        frames: (B, H, W, 3) uint8.
        strength: 1 turns by up to `TURN_DEG`, zooms by up to `ZOOM` and shifts by up to `SHIFT` of the image, either
            way: a camera with a lens of 45 degrees that is turned by 6 shifts everything by an eighth.
        shift_pad: shifts by up to so many pixels, where that is more.
    """
    height, width = frames.shape[1:3]
    turn = TURN_DEG * strength * rng.uniform(-1, 1, len(frames))
    zoom = 1 + ZOOM * strength * rng.uniform(-1, 1, len(frames))
    largest = np.maximum(shift_pad, SHIFT * strength * np.array([width, height]))
    shift = largest * rng.uniform(-1, 1, (len(frames), 2))
    out, centre = np.empty_like(frames), ((width - 1) / 2, (height - 1) / 2)
    for i, frame in enumerate(frames):
        matrix = np.asarray(cv2.getRotationMatrix2D(centre, turn[i], zoom[i]), np.float64)
        matrix[:, 2] += shift[i]
        cv2.warpAffine(frame, matrix, (width, height), out[i], borderMode=cv2.BORDER_REPLICATE)
    return out


def blur(frames: np.ndarray, largest: float, rng: np.random.Generator) -> None:
    """Half of the frames (B, H, W, 3) uint8 blurred in place, with a Gaussian of up to ``largest`` pixels deviation."""
    for i in np.flatnonzero(rng.random(len(frames)) < SHARE_BLURRED):
        cv2.GaussianBlur(frames[i], (0, 0), rng.uniform(0.1, 1.0) * largest, dst=frames[i])


def change_gamma(frames: np.ndarray, strength: float, rng: np.random.Generator) -> None:
    """Gamma of each frame (B, H, W, 3) uint8 changed in place, as exposure and tone curves do.

    Args:
        strength: the exponent lies between 2**-strength and 2**strength.
    """
    exponents = 2.0 ** (strength * rng.uniform(-1, 1, (len(frames), 1)))
    tables = np.rint(255 * (np.arange(256) / 255) ** exponents).astype(np.uint8)
    for frame, table in zip(frames, tables, strict=True):
        cv2.LUT(frame, table, dst=frame)


def recolor(frames: Tensor, strength: float, rng: np.random.Generator) -> Tensor:
    """Brightness, contrast and tint of each frame changed at random, as lamps, daylight and auto-exposure do.

    Args:
        frames: (B, 3, H, W) uint8.
        strength: largest relative change of brightness and of contrast; a channel's tint changes by half as much.

    Returns:
        (B, 3, H, W) float32 in [0, 1].
    """
    batch = len(frames)
    gain = 1 + strength * rng.uniform(-1, 1, (batch, 1)) + 0.5 * strength * rng.uniform(-1, 1, (batch, 3))
    contrast = 1 + strength * rng.uniform(-1, 1, (batch, 1))
    # Contrast around mid-grey, then the gain: pixel -> ((pixel - 0.5) * contrast + 0.5) * gain.
    scale, offset = gain * contrast / 255, gain * (0.5 - 0.5 * contrast)
    return torch.addcmul(_per_channel(offset, frames), frames.float(), _per_channel(scale, frames)).clamp_(0, 1)


def relight(frames: Tensor, strength: float, rng: np.random.Generator) -> Tensor:
    """A slope of light across each frame and a spot or shadow somewhere in it; changes ``frames`` in place.

    Slope and spot are sums and products of one row and one column per frame, which is what makes them cheap.

    Args:
        frames: (B, 3, H, W) float32 in [0, 1].
        strength: largest relative change of brightness, of the slope between middle and border and of the spot.
    """
    batch, _, height, width = frames.shape
    slope, amplitude = strength * rng.uniform(-0.5, 0.5, (2, batch, 1)), strength * rng.uniform(-1, 1, (batch, 1))
    centre, size = rng.uniform(-1, 1, (2, batch, 1)), rng.uniform(0.2, 0.8, (batch, 1))  # in half images
    ys, xs = np.linspace(-1, 1, height), np.linspace(-1, 1, width)
    rows, columns = (np.exp(-(((at - c) / size) ** 2) / 2) for at, c in zip((ys, xs), centre, strict=True))
    light = 1 + (slope[0] * ys)[:, :, None] + (slope[1] * xs)[:, None, :]
    light += (amplitude * rows)[:, :, None] * columns[:, None, :]
    factor = torch.from_numpy(light.astype(np.float32)).to(frames.device)
    return frames.mul_(factor[:, None]).clamp_(0, 1)


def _per_channel(values: np.ndarray, like: Tensor) -> Tensor:
    return torch.from_numpy(values).to(like.device, torch.float32)[:, :, None, None]
