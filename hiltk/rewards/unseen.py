"""Verdicts on test episodes, used neither for fitting nor for choosing step and threshold."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from rich.table import Table

from hiltk.intervals import CONFIDENCE, Rate
from hiltk.reward_rule import Verdict, judge_episode, summarise
from hiltk.rewards.calibration import Confusion, confusion
from hiltk.rewards.frames import LabelledFrames

RESAMPLES = 2000


@dataclass(frozen=True)
class Interval:
    """A figure with its 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.1%} (95 %: {self.low:.1%} to {self.high:.1%})"


@dataclass(frozen=True)
class Judgement:
    """What a classifier and its hold rule make of episodes.

    Attributes:
        accuracy: of frames; the interval by resampling whole episodes, since neighbouring frames err together.
        confusion: of frames.
        wrongly_rewarded: among the failed episodes, those in which the rule declares success at any time.
        missed: among the successful ones, those in which it never does.
        early: among the successful ones, those it ends before the labels have held.
        delays: of the successful ones it ends, frames between the labels' end and the rule's; negative: early.
        wrong: numbers of the episodes counted in the three above, in that order.
    """

    accuracy: Interval
    confusion: Confusion
    wrongly_rewarded: Rate
    missed: Rate
    early: Rate
    delays: list[int]
    wrong: dict[str, list[int]]

    def to_dict(self) -> dict[str, Any]:
        """As plain containers for JSON."""
        return asdict(self)


def judge(
    positive: np.ndarray, frames: LabelledFrames, hold_steps: int, min_steps: int, true_hold_steps: int
) -> Judgement:
    """Judge the verdicts on whole episodes.

    Args:
        positive: (N,) bool, the classifier's verdict on every frame.
        hold_steps, min_steps: the rule that the classifier is used with.
        true_hold_steps: an episode succeeds where its labels hold for so long, at any time.
    """
    found = {}
    for number in np.unique(frames.episode).tolist():
        rows = frames.episode == number
        hold = hold_steps, min_steps
        found[number] = judge_episode(positive[rows], frames.success[rows], *hold, true_hold_steps=true_hold_steps)
    replay = summarise(list(found.values()))
    return Judgement(
        accuracy=by_episode(positive == frames.success, frames.episode),
        confusion=confusion(positive.astype(float), frames.success, 0.5),
        wrongly_rewarded=replay.wrongly_rewarded,
        missed=replay.missed,
        early=replay.early,
        delays=[v.delay for v in found.values() if v.delay is not None],
        wrong={
            "wrongly_rewarded": [n for n, v in found.items() if v.wrongly_rewarded],
            "missed": [n for n, v in found.items() if v.verdict is Verdict.missed],
            "early": [n for n, v in found.items() if v.early],
        },
    )


def by_episode(right: np.ndarray, episode: np.ndarray, seed: int = 0) -> Interval:
    """The mean of ``right`` (N,) with a percentile bootstrap interval over whole episodes (Efron 1979)."""
    _, number = np.unique(episode, return_inverse=True)
    hits, sizes = np.bincount(number, right), np.bincount(number)
    drawn = np.random.default_rng(seed).integers(len(sizes), size=(RESAMPLES, len(sizes)))
    means = hits[drawn].sum(1) / sizes[drawn].sum(1)
    low, high = np.quantile(means, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Interval(float(right.mean()), float(low), float(high))


def unseen_table(judgement: Judgement) -> Table:
    """What `hiltk train-classifier unseen=[...]` prints."""
    counts, delays = judgement.confusion, judgement.delays
    out = Table(title="On unseen episodes")
    out.add_column("what")
    out.add_column("value", justify="right")
    out.add_row("frame accuracy", str(judgement.accuracy))
    out.add_row("success called success / failure", f"{counts.true_positives} / {counts.false_negatives}")
    out.add_row("failure called success / failure", f"{counts.false_positives} / {counts.true_negatives}")
    out.add_row("failed episodes rewarded", judgement.wrongly_rewarded.counted)
    out.add_row("successful episodes missed", judgement.missed.counted)
    out.add_row("successful episodes ended early", judgement.early.counted)
    if delays:
        out.add_row("delay, median (90 %)", f"{np.median(delays):g} ({np.quantile(delays, 0.9):g}) steps")
    return out
