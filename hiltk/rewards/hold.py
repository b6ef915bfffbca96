"""The hold rule, in the one form that environments, labels and replays of recorded episodes use, and its replays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np
from scipy.stats import binomtest

CONFIDENCE = 0.95


@dataclass
class Hold:
    """Success is held by a run of ``needed`` positive observations that ends at step ``earliest`` or later.

    Steps count from 1: the observation of `reset` is not shown to it. ``held`` stays true once success was held.
    """

    needed: int
    earliest: int = 0
    steps: int = 0
    run: int = 0
    held: bool = False

    def see(self, positive: bool, *, last: bool = False) -> bool:
        """Take in the observation of one step; True when success is held from this one on.

        Args:
            last: no further observation can confirm this one, so that a positive one is enough.
        """
        self.steps += 1
        self.run = self.run + 1 if positive else 0
        enough = self.run >= self.needed or (positive and last)
        newly = enough and self.steps >= self.earliest and not self.held
        self.held = self.held or newly
        return newly


class Verdict(Enum):
    """What the rule did in an episode, against its labels."""

    rightly_ended = "rightly_ended"  # ended at a frame labelled success
    wrongly_ended = "wrongly_ended"  # ended at a frame labelled failure, be it one frame early
    missed = "missed"  # the labels held long enough, the rule never ended
    rightly_silent = "rightly_silent"  # neither


@dataclass(frozen=True)
class EpisodeVerdict:
    """One episode, replayed.

    Attributes:
        ended_at: frame at which the rule ended it; None: never.
        should_end_at: frame at which the labels held long enough; None: never.
    """

    verdict: Verdict
    ended_at: int | None
    should_end_at: int | None


@dataclass(frozen=True)
class Share:
    """A count among n with its 95 % Wilson score interval (Wilson 1927); [0, 1] when n is 0."""

    count: int
    n: int
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.count} of {self.n}" + (f" (95 %: {self.low:.0%} to {self.high:.0%})" if self.n else "")


def share(count: int, n: int) -> Share:
    """The Wilson interval of ``count`` among ``n``."""
    if n == 0:
        return Share(0, 0, 0.0, 1.0)
    interval = binomtest(count, n).proportion_ci(confidence_level=CONFIDENCE, method="wilson")
    return Share(count, n, float(interval.low), float(interval.high))


def first_hold(positive: np.ndarray, hold_steps: int, min_steps: int = 0, *, confirm_last: bool = False) -> int | None:
    """The frame at which the hold rule ends an episode; None: it never does.

    Args:
        positive: (T+1,) bool, one verdict per frame; frame 0 is the observation of `reset`, frame t follows step t.
        confirm_last: nothing can come after the last frame, so there one positive frame is enough.
    """
    hold = Hold(hold_steps, min_steps)
    for t, shown in enumerate(positive[1:].tolist(), start=1):
        if hold.see(shown, last=confirm_last and t == len(positive) - 1):
            return t
    return None


def judge_episode(
    positive: np.ndarray, success: np.ndarray, hold_steps: int, min_steps: int = 0, *, true_hold_steps: int = 0
) -> EpisodeVerdict:
    """Replay one episode.

    Args:
        positive: (T+1,) bool, the classifier's verdict per frame.
        success: (T+1,) bool, the labels.
        true_hold_steps: the episode succeeds where the labels hold for so long, whenever that is; 0: by the rule that
            is replayed, ``min_steps`` included.
    """
    ended_at = first_hold(positive, hold_steps, min_steps)
    should_end_at = first_hold(success, true_hold_steps or hold_steps, 0 if true_hold_steps else min_steps)
    if ended_at is not None:
        verdict = Verdict.rightly_ended if success[ended_at] else Verdict.wrongly_ended
    else:
        verdict = Verdict.rightly_silent if should_end_at is None else Verdict.missed
    return EpisodeVerdict(verdict, ended_at, should_end_at)


@dataclass(frozen=True)
class Replay:
    """Whole episodes under the hold rule.

    Attributes:
        wrongly_ended: among all episodes.
        wrongly_rewarded: among the episodes that fail by their labels.
        missed: among the episodes that succeed by their labels.
        delay_steps: median of frames between the labels' end and the rule's, where both ended rightly; NaN without any.
    """

    wrongly_ended: Share
    wrongly_rewarded: Share
    missed: Share
    delay_steps: float


def summarise(verdicts: Sequence[EpisodeVerdict]) -> Replay:
    """Count wrong ends and misses."""
    succeed = [v for v in verdicts if v.should_end_at is not None]
    fail = [v for v in verdicts if v.should_end_at is None]
    delays = [
        v.ended_at - v.should_end_at
        for v in verdicts
        if v.verdict is Verdict.rightly_ended and v.ended_at is not None and v.should_end_at is not None
    ]
    return Replay(
        wrongly_ended=_share_of(Verdict.wrongly_ended, verdicts),
        wrongly_rewarded=_share_of(Verdict.wrongly_ended, fail),
        missed=_share_of(Verdict.missed, succeed),
        delay_steps=float(np.median(delays)) if delays else float("nan"),
    )


def _share_of(verdict: Verdict, verdicts: Sequence[EpisodeVerdict]) -> Share:
    return share(sum(v.verdict is verdict for v in verdicts), len(verdicts))
