"""What a camera's first frame of an episode shows, in numbers: light, sharpness, shift of the view and unlikeness."""

from __future__ import annotations

import cv2
import numpy as np

COLOURS = ("red", "green", "blue")
PLAIN = ("brightness", *COLOURS, "sharpness", "contrast")
SHIFTS = ("right", "down")  # pixels by which the view is shifted
SCENE, EMBEDDING = DISTANCES = ("scene", "embedding")
QUANTITIES = (*PLAIN, *SHIFTS, *DISTANCES)
ALIGNED = 64  # pixels of the longer side at which views are aligned
FARTHEST = 0.25  # of a side; what seems shifted farther is another view


def describe(frame: np.ndarray) -> np.ndarray:
    """The `PLAIN` quantities (6,) of one frame (H, W, 3) uint8 RGB.

    Brightness is the mean of all values and contrast the standard deviation of grey, both 0 to 255; the colours are
    shares of the light, which add up to 1; sharpness is the deviation of the Laplacian relative to the contrast, which
    neither gain nor brightness changes.
    """
    channels = np.array(cv2.mean(frame)[:3])
    grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
    contrast = float(cv2.meanStdDev(grey)[1][0, 0])
    edges = float(cv2.meanStdDev(cv2.Laplacian(grey, cv2.CV_32F))[1][0, 0])
    shares = (channels + 1) / (channels.sum() + 3)  # grey where there is no light
    return np.array([channels.mean(), *shares, edges / max(contrast, 1.0), contrast])


def small_grey(frame: np.ndarray) -> np.ndarray:
    """One frame (H, W, 3) uint8 as grey float32 of at most `ALIGNED` pixels a side."""
    grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
    scale = min(1.0, ALIGNED / max(grey.shape))
    size = (max(1, round(grey.shape[1] * scale)), max(1, round(grey.shape[0] * scale)))
    return cv2.resize(grey, size, interpolation=cv2.INTER_AREA).astype(np.float32)


def align(frame: np.ndarray, usual: np.ndarray) -> np.ndarray:
    """How the view is shifted against the usual one, and how unlike it is then: (right, down, unlikeness).

    Enhanced correlation coefficient (Evangelidis & Psarakis 2008), which gain and brightness do not change. Pixels are
    those of the frame; unlikeness is one minus the correlation, from 0. A view that cannot be aligned is not shifted
    but unlike.

    Args:
        frame: (H, W, 3) uint8.
        usual: the mean of `small_grey` over the training episodes.
    """
    grey, warp = small_grey(frame), np.eye(2, 3, dtype=np.float32)
    stop = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 50, 1e-3)
    try:
        whole = np.full(grey.shape, 255, np.uint8)
        likeness, moved = cv2.findTransformECC(usual, grey, warp, cv2.MOTION_TRANSLATION, stop, whole, 5)
        warp = np.asarray(moved)
    except cv2.error:  # it does not converge, or there is nothing to see
        likeness = np.nan
    shift = warp[:, 2] / grey.shape[::-1]  # as parts of width and height
    if not np.isfinite(likeness) or np.abs(shift).max() > FARTHEST:
        shift, likeness = np.zeros(2), _correlation(grey, usual)
    return np.array([shift[0] * frame.shape[1], shift[1] * frame.shape[0], max(1 - likeness, 0.0)])


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    a, b = a - a.mean(), b - b.mean()
    size = float(np.sqrt((a**2).sum() * (b**2).sum()))
    return float((a * b).sum()) / size if size > 0 else 0.0


def usual_views(frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The mean of `small_grey` over E frames (E, H, W, 3), and for each that of all others (E, h, w).

    A new episode is not in the mean it is compared with, so none of those it is compared with may be.
    """
    grey = np.stack([small_grey(frame) for frame in frames])
    usual = grey.mean(axis=0)
    return usual, (usual * len(grey) - grey) / (len(grey) - 1) if len(grey) > 1 else grey


def look(frame: np.ndarray, usual: np.ndarray) -> np.ndarray:
    """All quantities of one frame (H, W, 3) but its embedding's, (9,)."""
    return np.concatenate([describe(frame), align(frame, usual)])
