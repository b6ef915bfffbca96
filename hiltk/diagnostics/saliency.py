"""Which part of a picture an answer depends on: cover one patch after the other and see how far the answer moves.

Occlusion (Zeiler & Fergus 2014, section 4.2) rather than the input's gradient: it is in the answer's own units, and
saturated activations do not hide anything from it. A patch shows what that place looks like on average over all
pictures, so covering it takes information away and puts no grey box into the scene.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure

Answer = Callable[[np.ndarray], np.ndarray]  # frames (N, H, W, 3) uint8 to answers (N, K)
CUBE_DIFFERENCE = 20  # summed over the three channels of 0..255: the cube, or its shade, is there
GAZE = 1.5  # times the average: from here on an answer depends on the cube


@dataclass(frozen=True)
class Saliency:
    """Of some pictures of one camera, for one subject.

    Attributes:
        frames: (N, H, W, 3) uint8.
        heat: (N, H, W): how far the answer moves while that pixel is covered, averaged over the patches that do.
        unit: of the heat.
        cube: (N, H, W) bool, where the cube is; None where that is not known.
    """

    title: str
    frames: np.ndarray
    heat: np.ndarray
    unit: str
    cube: np.ndarray | None = None

    @property
    def gaze(self) -> float:
        """Mean heat on the cube over mean heat anywhere: 1 where the cube is nothing special; NaN if not known."""
        if self.cube is None or not self.cube.any() or not self.heat.any():
            return float("nan")
        return float(self.heat[self.cube].mean() / self.heat[self.cube.any(axis=(1, 2))].mean())


def occlusion(frames: np.ndarray, background: np.ndarray, answers: Sequence[Answer]) -> np.ndarray:
    """Heat (N, H, W) of frames (N, H, W, 3), each with an answer of its own; patches are an eighth of the frame.

    Args:
        background: what covers a patch, (H, W, 3) uint8.
    """
    height, width = frames.shape[1:3]
    patch = max(2, round(min(height, width) / 8))
    corners = [(top, left) for top in _starts(height, patch) for left in _starts(width, patch)]
    heat, count = np.zeros(frames.shape[:3]), np.zeros((height, width))
    for top, left in corners:
        count[top : top + patch, left : left + patch] += 1
    for i, (frame, answer) in enumerate(zip(frames, answers, strict=True)):
        covered = np.repeat(frame[None], len(corners) + 1, axis=0)
        for copy, (top, left) in zip(covered[1:], corners, strict=True):
            copy[top : top + patch, left : left + patch] = background[top : top + patch, left : left + patch]
        said = answer(covered).astype(np.float64)
        for moved, (top, left) in zip(np.linalg.norm(said[1:] - said[0], axis=1), corners, strict=True):
            heat[i, top : top + patch, left : left + patch] += moved
    return heat / count


def _starts(size: int, patch: int) -> list[int]:
    """Half a patch apart, and one flush with the far edge."""
    return sorted({*range(0, size - patch, max(1, patch // 2)), size - patch})


def cube_mask(frames: np.ndarray, empty: np.ndarray) -> np.ndarray:
    """Where (N, H, W) frames differ from those of the same scenes without the cube."""
    return np.abs(frames.astype(np.int16) - empty).sum(axis=-1) > CUBE_DIFFERENCE


def figure(found: Sequence[Saliency], path: Path) -> None:
    """A row per subject and camera: each picture, and beside it the same with its heat."""
    columns = 2 * max(len(s.frames) for s in found)
    sheet = Figure(figsize=(1.5 * columns, 1.9 * len(found)), layout="constrained")
    parts = sheet.subfigures(len(found), 1, squeeze=False)[:, 0]
    for part, saliency in zip(parts, found, strict=True):
        axes, top = part.subplots(1, columns, squeeze=False)[0], max(float(saliency.heat.max()), 1e-9)
        for axis in axes:
            axis.set_axis_off()
        for i, (frame, heat) in enumerate(zip(saliency.frames, saliency.heat, strict=True)):
            axes[2 * i].imshow(frame)
            axes[2 * i + 1].imshow(frame.mean(axis=-1), cmap="gray", vmin=0, vmax=255)
            scale = PowerNorm(0.5, vmin=0, vmax=top)  # one for all pictures, and weak heat still shows
            image = axes[2 * i + 1].imshow(heat, cmap="inferno", alpha=0.65, norm=scale)
            if saliency.cube is not None and saliency.cube[i].any():
                axes[2 * i + 1].contour(saliency.cube[i], [0.5], colors="#56B4E9", linewidths=1.2)
        part.colorbar(image, ax=list(axes), shrink=0.8, label=saliency.unit)
        gaze = "" if np.isnan(saliency.gaze) else f": on the cube {saliency.gaze:.1f} times the average"
        part.suptitle(saliency.title + gaze, fontsize=9)
    sheet.savefig(path, dpi=120)
