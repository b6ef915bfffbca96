"""Episodes that are one recording: stored twice, cut, resampled, in another precision, or with pictures encoded anew.

Where one copy is learned from and another held out, figures are those of the training set (Kaufman et al. 2012, leakage
in data mining). A copy goes through the very same poses. A demonstrator who does the same thing again, be it a scripted
one who starts at the same pose, stays further from every earlier episode than `hiltk.limits.COPY_DEG`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np
from scipy.spatial import KDTree

from hiltk.arm.model import JOINTS
from hiltk.arm.units import ARM_JOINTS
from hiltk.data.episode import Episode
from hiltk.data.lerobot_files import LeRobotFiles
from hiltk.data.statistics import STD_FLOOR, floors
from hiltk.limits import COPIED, COPY_DEG, COPY_GREY, COPY_STD
from hiltk.spec import STATE_KEY, Dimension, Spec

# Where on its way an episode is looked up in the others: not at its start, which many share.
ANCHORS = np.linspace(0.3, 0.9, 7)
LEAST_ROWS = 5  # fewer say nothing
THUMBNAIL = 8  # pixels
PICTURES = "pictures"
ARM = [Dimension(f"{joint}.pos", "deg") for joint in JOINTS]


@dataclass(frozen=True)
class Trace:
    """What one episode is compared by.

    Attributes:
        state: (T, D), as stored.
        dims: what its numbers are.
        frames: gives (T, H, W, 3) uint8 of one camera; asked only where the state stands still.
    """

    state: np.ndarray
    dims: Sequence[Dimension]
    frames: Callable[[], np.ndarray] | None = None


def traces(files: LeRobotFiles, state: np.ndarray, dims: Sequence[Dimension]) -> list[Trace]:
    """Of all episodes of a dataset, with its state (N, D), or another."""
    camera = next(iter(files.cameras), "")
    return [
        Trace(state[a:b], dims, partial(files.frames_at, camera, np.arange(a, b)) if camera else None)
        for a, b in files.bounds
    ]


def traces_of(episodes: Sequence[Episode], spec: Spec) -> list[Trace]:
    """What these episodes are told apart by; spec: what their numbers are."""
    key = next((image.key for image in spec.images), "")
    return [
        Trace(
            e.observations[STATE_KEY],
            spec.state.dims,
            partial(np.asarray, e.observations[key]) if key in e.observations else None,
        )
        for e in episodes
    ]


def recordings(traces: Sequence[Trace]) -> np.ndarray:
    """Which episodes are one recording: by the arm's joints, else by the whole state, else by the pictures.

    Returns:
        (E,) int: for each episode the number of the first one of the same recording, its own where there is none.
    """
    kinds: dict[object, list[int]] = {}
    paths = [_path(trace) for trace in traces]
    for n, (kind, _) in enumerate(paths):
        kinds.setdefault(kind, []).append(n)
    found = np.arange(len(traces))
    for kind, numbers in kinds.items():
        own = [paths[n][1] for n in numbers]
        if isinstance(kind, tuple):  # a state of which nothing else is known: in parts of its spread
            own = _in_spreads(own, traces[numbers[0]].dims)
        norm = 2.0 if kind == PICTURES else np.inf
        found[numbers] = np.array(numbers)[copies(own, norm=norm)]
    return found


def _path(trace: Trace) -> tuple[object, np.ndarray]:
    """What can be compared with each other, and the episode's path; the tolerance is 1 (but of a state without arm)."""
    names = [dim.name for dim in trace.dims]
    state = np.nan_to_num(trace.state.astype(np.float64))
    still = len(state) < 2 or not (np.ptp(state, axis=0) > STD_FLOOR * np.maximum(np.abs(state).max(0), 1.0)).any()
    if still and trace.frames is not None:
        return PICTURES, _thumbnails(trace.frames()) / (THUMBNAIL * COPY_GREY)  # their distance is a root mean square
    if all(dim.name in names for dim in ARM):
        joints = state[:, [names.index(dim.name) for dim in ARM]]
        if trace.dims[names.index(ARM[0].name)].unit == "rad":
            joints[:, :ARM_JOINTS] = np.rad2deg(joints[:, :ARM_JOINTS])
        return "joints", joints / COPY_DEG
    return (*names, state.shape[1]), state


def _in_spreads(states: Sequence[np.ndarray], dims: Sequence[Dimension]) -> list[np.ndarray]:
    together = np.concatenate(states)
    known = list(dims) if len(dims) == together.shape[1] else [Dimension()] * together.shape[1]
    spread = np.maximum(together.std(0), floors(together, known))
    return [state / (spread * COPY_STD) for state in states]


def _thumbnails(frames: np.ndarray) -> np.ndarray:
    """Small grey versions (T, P) of frames; averaging leaves next to nothing of what an encoder changes."""
    grey = (cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames)
    small = [cv2.resize(frame, (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA) for frame in grey]
    return np.stack(small).reshape(len(frames), -1).astype(np.float64)


def copies(paths: Sequence[np.ndarray], tolerance: float = 1.0, norm: float = np.inf) -> np.ndarray:
    """Which paths are one, or part of one another.

    Two are, where `COPIED` of the shorter way lies within ``tolerance`` of points of the other. When, how fast and in
    which direction these are gone through does not matter, so neither do frames cut off, left out or repeated.

    Args:
        paths: per episode (T, D), where it was at each step, all dimensions in one unit.
        tolerance: in that unit.
        norm: of distances; infinite: that of the dimension that differs most.

    Returns:
        (E,) int: for each path the number of the first that it is a copy of, its own where there is none.
    """
    group, ways = np.arange(len(paths)), [_way(path) for path in paths]
    usable = [n for n, way in enumerate(ways) if len(way) >= LEAST_ROWS and way.sum() > 2 * tolerance]
    trees: dict[int, KDTree] = {}
    for one, other in _candidates(paths, ways, usable, group, tolerance, norm):
        if group[one] == group[other]:
            continue
        short, long = sorted((one, other), key=lambda n: ways[n].sum())
        tree = trees[long] if long in trees else trees.setdefault(long, KDTree(paths[long]))
        near = tree.query(paths[short], p=norm, distance_upper_bound=tolerance)[0] <= tolerance
        if ways[short][near].sum() >= COPIED * ways[short].sum():
            first, second = sorted((group[one], group[other]))
            group[group == second] = first
    return group


def _way(path: np.ndarray) -> np.ndarray:
    """How much of the way each row stands for, (T,): half of the step to it and half of that from it."""
    half = np.abs(np.diff(path, axis=0)).max(1, initial=0.0) / 2
    return np.append(half, 0.0) + np.append(0.0, half)


def _candidates(
    paths: Sequence[np.ndarray],
    ways: Sequence[np.ndarray],
    usable: list[int],
    group: np.ndarray,
    tolerance: float,
    norm: float,
) -> Iterator[tuple[int, int]]:
    """Pairs that meet at more than half of the anchors of one of them, so that few are compared row by row.

    Args:
        group: as far as it is known, which changes meanwhile.
    """
    if len(usable) < 2:
        return
    episode = np.repeat(usable, [len(paths[n]) for n in usable])
    tree = KDTree(np.concatenate([paths[n] for n in usable]))
    for one in usable:
        if group[one] != one:
            continue  # the first of its recording has been compared with all
        along = np.cumsum(ways[one]) / ways[one].sum()
        anchors = paths[one][np.searchsorted(along, ANCHORS).clip(max=len(along) - 1)]
        rows = tree.query_ball_point(anchors, tolerance, p=norm)
        met = Counter(int(n) for found in rows for n in np.unique(episode[found]))
        yield from ((one, other) for other, times in met.items() if other != one and 2 * times > len(ANCHORS))
