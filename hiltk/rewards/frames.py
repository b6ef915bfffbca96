"""Labelled frames for the success classifier, and their split by episode."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hiltk.data.episode import Episode
from hiltk.data.frames import Frames
from hiltk.errors import UserError


@dataclass
class LabelledFrames:
    """N frames with their labels.

    Attributes:
        images: per camera key (N, H, W, 3) uint8, where the episodes have them.
        success: (N,) bool, success shows in the frame.
        episode: (N,) number of the episode the frame comes from, over all datasets.
        step: (N,) number of the frame in its episode, from 0.
    """

    images: dict[str, Frames]
    success: np.ndarray
    episode: np.ndarray
    step: np.ndarray

    def __len__(self) -> int:
        return len(self.success)


@dataclass(frozen=True)
class Split:
    """Episode numbers to train on and to hold out; no episode is in both."""

    train: np.ndarray
    held_out: np.ndarray


def collect(
    episodes: Sequence[Episode], keys: Sequence[str], numbers: Sequence[int] | np.ndarray | None = None
) -> LabelledFrames:
    """Every observation with its label, the last one included, of all episodes or of those with these ``numbers``."""
    numbers = np.arange(len(episodes)) if numbers is None else np.asarray(numbers)
    chosen = [episodes[n] for n in numbers.tolist()]
    lengths = [len(e.success) for e in chosen]
    return LabelledFrames(
        images={k: Frames([e.observations[k] for e in chosen]) for k in keys},
        success=np.concatenate([e.success for e in chosen]).astype(bool),
        episode=np.repeat(numbers, lengths),
        step=np.concatenate([np.arange(n) for n in lengths]),
    )


def require_both_classes(episodes: Sequence[Episode]) -> None:
    """Refuse labels from which nothing can be learned or nothing can be held out.

    Raises:
        UserError: saying which frames are missing and how to record them.
    """
    positive = sum(bool(e.success.any()) for e in episodes)
    negative = sum(not e.success.all() for e in episodes)
    if positive == 0:
        raise UserError(
            f"none of the {len(episodes)} episodes has a frame labelled as success",
            where="column 'success'",
            fix="record successful episodes, with frames after success: `hiltk record steps_after_success=5`",
        )
    if negative == 0:
        raise UserError(
            f"every frame of the {len(episodes)} episodes is labelled as success",
            where="column 'success'",
            fix="record the approach as well, and failures: `hiltk record keep=all`",
        )
    for count, name, fix in (
        (positive, "success", "record at least one more success; 20 make a useful classifier"),
        (negative, "failure", "record at least one more episode with frames before success"),
    ):
        if count < 2:
            raise UserError(
                f"only one episode shows {name}; one is needed to train on and another to hold out",
                where=f"{len(episodes)} episodes",
                fix=fix,
            )


def split_episodes(episodes: Sequence[Episode], fraction: float, seed: int, groups: Sequence[str] = ()) -> Split:
    """Hold out whole episodes, never single frames: neighbouring frames are near copies (failures.md E3).

    Episodes with and without success are drawn separately, and within each in proportion to ``groups`` (where they
    come from, e.g. the dataset), so that both parts show both classes of every session.

    Args:
        fraction: share of the episodes to hold out; at least one success is, and at least one is not.

    Raises:
        UserError: there are too few episodes of one class for both parts to show it.
    """
    require_both_classes(episodes)
    rng = np.random.default_rng(seed)
    groups = groups or [""] * len(episodes)
    succeeded = np.array([bool(e.success.any()) for e in episodes])
    held = np.concatenate([_draw(np.flatnonzero(succeeded == kind), groups, fraction, rng) for kind in (True, False)])
    held_out = np.sort(held).astype(int)
    split = Split(np.setdiff1d(np.arange(len(episodes)), held_out), held_out)
    _require_both_parts(episodes, split)
    return split


def _draw(numbers: np.ndarray, groups: Sequence[str], fraction: float, rng: np.random.Generator) -> np.ndarray:
    """Systematic sampling: shuffle, line up by group, take evenly spaced ones from a random start."""
    if len(numbers) < 2:
        return numbers[:0]
    count = int(np.clip(round(fraction * len(numbers)), 1, len(numbers) - 1))
    lined_up = sorted(rng.permutation(numbers), key=lambda n: groups[n])
    ranks = np.floor((np.arange(count) + rng.random()) * len(numbers) / count).astype(int)
    return np.array(lined_up)[ranks]


def _require_both_parts(episodes: Sequence[Episode], split: Split) -> None:
    for part, numbers in (("training", split.train), ("held-out", split.held_out)):
        labels = np.concatenate([episodes[n].success for n in numbers])
        if labels.all() or not labels.any():
            lacking = "failure" if labels.all() else "success"
            raise UserError(
                f"the {part} episodes show no {lacking}: too few episodes to split",
                where=f"{len(split.train)} to train on, {len(split.held_out)} held out",
                fix=f"record more episodes that show {lacking}",
            )


def balanced_rows(success: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """Rows of one batch, half of them successes: (size,) int, drawn with replacement within each class."""
    positive = rng.choice(np.flatnonzero(success), size // 2)
    negative = rng.choice(np.flatnonzero(~success), size - size // 2)
    return np.concatenate([positive, negative])
