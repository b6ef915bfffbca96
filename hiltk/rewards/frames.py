"""Labelled frames for the success classifier, and their split by episode."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hiltk.data.episode import Episode
from hiltk.data.frames import Frames
from hiltk.errors import UserError
from hiltk.limits import AFTER_SUCCESS
from hiltk.spec import STATE_KEY


@dataclass
class LabelledFrames:
    """N frames with their labels.

    Attributes:
        images: per camera key (N, H, W, 3) uint8, where the episodes have them.
        success: (N,) bool, success shows in the frame.
        episode: (N,) number of the episode the frame comes from, over all datasets.
        step: (N,) number of the frame in its episode, from 0.
        weight: (N,) how often a frame is drawn for training, relative to the others of its class; None: all alike.
        state: (N, S) float32, those entries of ``observation.state`` that were asked for; None: nobody asked.
    """

    images: dict[str, Frames]
    success: np.ndarray
    episode: np.ndarray
    step: np.ndarray
    weight: np.ndarray | None = None
    state: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.success)


@dataclass(frozen=True)
class Origin:
    """Where an episode comes from.

    Attributes:
        session: the dataset it was recorded in.
        weight: how often its frames are drawn for training, relative to others.
        added: it is there to be learned from, never held out: false positives of an earlier classifier.
        recording: a number that copies of one recording share (`hiltk.data.copies`); None: there is no copy of it.
    """

    session: str = ""
    weight: float = 1.0
    added: bool = False
    recording: int | None = None


@dataclass(frozen=True)
class Split:
    """Episode numbers to train on and to hold out; no episode is in both."""

    train: np.ndarray
    held_out: np.ndarray


def collect(
    episodes: Sequence[Episode],
    keys: Sequence[str],
    numbers: Sequence[int] | np.ndarray | None = None,
    state: Sequence[int] = (),
) -> LabelledFrames:
    """Every observation with its label, the last one included, of all episodes or of those with these ``numbers``.

    Args:
        keys: of the cameras.
        state: which entries of the state to keep.
    """
    numbers = np.arange(len(episodes)) if numbers is None else np.asarray(numbers)
    chosen = [episodes[n] for n in numbers.tolist()]
    lengths = [len(e.success) for e in chosen]
    return LabelledFrames(
        images={k: Frames([e.observations[k] for e in chosen]) for k in keys},
        success=np.concatenate([e.success for e in chosen]).astype(bool),
        episode=np.repeat(numbers, lengths),
        step=np.concatenate([np.arange(n) for n in lengths]),
        state=np.concatenate([e.observations[STATE_KEY][:, list(state)] for e in chosen]) if state else None,
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
            fix="record successful episodes, with frames after success: "
            f"`hiltk record steps_after_success={AFTER_SUCCESS}`",
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
        fraction: share of the episodes to hold out; at least one success is, and at least one is not. One of every
            group is, as long as there are others like it to train on.

    Raises:
        UserError: there are too few episodes of one class for both parts to show it.
    """
    require_both_classes(episodes)
    rng = np.random.default_rng(seed)
    groups = groups or [""] * len(episodes)
    succeeded = np.array([bool(e.success.any()) for e in episodes])
    held = np.concatenate([_draw(np.flatnonzero(succeeded == kind), groups, fraction, rng) for kind in (True, False)])
    held_out = np.sort(np.r_[held, _uncovered(held, succeeded, groups, rng)]).astype(int)
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


def _uncovered(held: np.ndarray, succeeded: np.ndarray, groups: Sequence[str], rng: np.random.Generator) -> list[int]:
    """One more episode to hold out of each group that has none, unless training would be left without its kind."""
    chosen = [int(n) for n in held]
    for group in dict.fromkeys(groups):
        own = [n for n in range(len(groups)) if groups[n] == group]
        left = np.setdiff1d(np.arange(len(groups)), chosen)
        spare = [n for n in own if (succeeded[left] == succeeded[n]).sum() > 1]
        if len(own) > 1 and spare and not set(own) & set(chosen):
            chosen.append(int(rng.choice(spare)))
    return chosen[len(held) :]


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


def balanced_rows(
    success: np.ndarray, size: int, rng: np.random.Generator, weight: np.ndarray | None = None
) -> np.ndarray:
    """Rows of one batch, half of them successes: (size,) int, drawn with replacement within each class.

    Args:
        weight: (N,) how often a row is drawn, relative to the others of its class; None: all alike.
    """
    positive = _rows(success, size // 2, rng, weight)
    negative = _rows(~success, size - size // 2, rng, weight)
    return np.concatenate([positive, negative])


def _rows(wanted: np.ndarray, size: int, rng: np.random.Generator, weight: np.ndarray | None) -> np.ndarray:
    rows = np.flatnonzero(wanted)
    return rng.choice(rows, size, p=None if weight is None else weight[rows] / weight[rows].sum())
