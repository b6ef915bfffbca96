"""The hold rule replayed over whole recorded episodes: what counts is which episodes it would end, and when."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np
from scipy.stats import binomtest

CONFIDENCE = 0.95


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


def first_hold(positive: np.ndarray, hold_steps: int, min_steps: int = 0) -> int | None:
    """The frame at which a hold rule ends an episode.

    The same rule as `hiltk.envs.rewards.SuccessRule`: frame 0 is the observation of `reset` and does not count; frame t
    follows step t. The episode ends at the first t >= min_steps that closes a run of ``hold_steps`` positive frames.

    Args:
        positive: (T+1,) bool, one verdict per frame.
    """
    run = 0
    for t in range(1, len(positive)):
        run = run + 1 if positive[t] else 0
        if run >= hold_steps and t >= min_steps:
            return t
    return None


def judge_episode(positive: np.ndarray, success: np.ndarray, hold_steps: int, min_steps: int = 0) -> EpisodeVerdict:
    """Replay one episode.

    Args:
        positive: (T+1,) bool, the classifier's verdict per frame.
        success: (T+1,) bool, the labels.
    """
    ended_at = first_hold(positive, hold_steps, min_steps)
    should_end_at = first_hold(success, hold_steps, min_steps)
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
        missed: among the episodes that succeed by their labels.
        delay_steps: median of frames between the labels' end and the rule's, where both ended rightly; NaN without any.
    """

    wrongly_ended: Share
    missed: Share
    delay_steps: float


def summarise(verdicts: Sequence[EpisodeVerdict]) -> Replay:
    """Count wrong ends and misses."""
    wrong = sum(v.verdict is Verdict.wrongly_ended for v in verdicts)
    missed = sum(v.verdict is Verdict.missed for v in verdicts)
    succeed = sum(v.should_end_at is not None for v in verdicts)
    delays = [
        v.ended_at - v.should_end_at
        for v in verdicts
        if v.verdict is Verdict.rightly_ended and v.ended_at is not None and v.should_end_at is not None
    ]
    return Replay(
        share(wrong, len(verdicts)), share(missed, succeed), float(np.median(delays)) if delays else float("nan")
    )
