"""Episodes before two cameras, made by hand, and an encoder that costs nothing."""

from __future__ import annotations

import numpy as np

from hiltk.rewards.training_images import (
    Statistics,
    measure,
)

SIZE, LENGTH, CAMERAS = 32, 8, ("wrist", "front")
Images = dict[str, np.ndarray]


def scene(camera: str, seed: int) -> np.ndarray:
    """An episode (T, H, W, 3): a room that is always the same, a moving object, and a lamp that varies a little."""
    rng = np.random.default_rng([seed, CAMERAS.index(camera)])
    y, x = np.mgrid[:SIZE, :SIZE] / SIZE
    room = np.stack([150 - 60 * y, 100 + 40 * x, 60 + 30 * y * x], axis=-1)
    room[SIZE // 2 :, 3:8] += 40 * (1 + CAMERAS.index(camera))
    start, speed, lamp = rng.uniform(8, 12), rng.uniform(0.1, 0.3), rng.normal(1, 0.02)
    frames = []
    for t in range(LENGTH):
        frame = room.copy()
        at = int(start + speed * t)
        frame[6:12, at : at + 5] = (190, 60, 40)
        frames.append(lamp * frame + rng.normal(0, 4, frame.shape))
    return np.clip(frames, 0, 255).astype(np.uint8)


def episode(seed: int) -> Images:
    return {camera: scene(camera, seed) for camera in CAMERAS}


PROJECTION = np.random.default_rng(0).normal(size=(SIZE * SIZE * 3 // 16, 12)) / 60


def embed(frames: np.ndarray) -> np.ndarray:
    """Stands in for an encoder: random projections (N, 12) of small grey frames, squashed as ours are."""
    small = frames.reshape(len(frames), SIZE // 4, 4, SIZE // 4, 4, 3).mean((2, 4)).reshape(len(frames), -1)
    return np.tanh((small - 110) @ PROJECTION / 30).astype(np.float32)


def statistics_of(episodes: list[Images], held_out: int) -> Statistics:
    count = len(episodes) * LENGTH
    number = np.repeat(np.arange(len(episodes)), LENGTH)
    return measure(
        {camera: np.stack([e[camera][0] for e in episodes]) for camera in CAMERAS},
        {camera: embed(np.concatenate([e[camera] for e in episodes])) for camera in CAMERAS},
        np.arange(count) % LENGTH >= LENGTH - 2,
        number,
        number >= len(episodes) - held_out,
    )


def blobs(size: int, right: float = 0.0, down: float = 0.0) -> np.ndarray:
    """A view (size, size, 3) whose things can be put anywhere, by fractions of its side."""
    y, x = np.mgrid[:size, :size] / size
    spots = [(0.3, 0.4, 120), (0.7, 0.6, 90), (0.55, 0.25, -60)]
    grey = 90 + sum(a * np.exp(-((x - u - right) ** 2 + (y - v - down) ** 2) / 0.02) for u, v, a in spots)
    return np.repeat(grey[..., None], 3, axis=-1).astype(np.uint8)
