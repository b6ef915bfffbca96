"""Hold and minimum steps of the success rule, tuned by replaying whole held-out episodes through it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hiltk.limits import LONGEST_HOLD
from hiltk.reward_rule import EpisodeVerdict, Verdict, first_hold, judge_episode

MISSES = 0.05  # of the successes, which a rule may miss for the sake of a longer hold


@dataclass(frozen=True)
class Replays:
    """One held-out episode after the other: what the classifier says of each frame, and what the labels say.

    Attributes:
        positive: per episode (T+1,) bool, at the classifier's threshold.
        success: per episode (T+1,) bool.
        true_hold_steps: an episode succeeds where its labels hold for so long.
    """

    positive: Sequence[np.ndarray]
    success: Sequence[np.ndarray]
    true_hold_steps: int

    def judge(self, hold_steps: int, min_steps: int) -> list[EpisodeVerdict]:
        """Every episode under one rule."""
        pairs = zip(self.positive, self.success, strict=True)
        return [judge_episode(p, s, hold_steps, min_steps, true_hold_steps=self.true_hold_steps) for p, s in pairs]


@dataclass(frozen=True)
class Tuning:
    """What every rule of the grid does to every episode, and the rule that was chosen.

    Attributes:
        holds: (H,) hold_steps tried, rising.
        earliest: (M,) min_steps tried, rising.
        wrongly_ended: (H, M, V * E) bool: E episodes, then V - 1 augmented versions of them, in the same order.
        missed: (H, M, V * E) bool.
        chosen: place of the chosen rule in the grid.
        versions: V.
        allowed: misses that do not count against a rule.
    """

    holds: list[int]
    earliest: list[int]
    wrongly_ended: np.ndarray
    missed: np.ndarray
    chosen: tuple[int, int]
    versions: int = 1
    allowed: int = 0

    @property
    def episodes(self) -> int:
        """E, versions not counted."""
        return self.wrongly_ended.shape[-1] // self.versions

    @property
    def hold_steps(self) -> int:
        return self.holds[self.chosen[0]]

    @property
    def min_steps(self) -> int:
        return self.earliest[self.chosen[1]]

    @property
    def is_choice(self) -> bool:
        """Whether there was more than one rule to choose from."""
        return len(self.holds) * len(self.earliest) > 1

    def mistakes_apart(self) -> int:
        """Episodes, as recorded, wrongly ended or missed by the rule that the other episodes would have chosen.

        Without this, the number of mistakes would be that of the rule that makes fewest in these very episodes.
        """
        wrong, missed = self.wrongly_ended, self.missed
        total_wrong, total_missed = wrong.sum(-1), missed.sum(-1)
        found = 0
        for e in range(self.episodes):
            own = slice(e, None, self.episodes)
            rule = choose(total_wrong - wrong[..., own].sum(-1), total_missed - missed[..., own].sum(-1), self.allowed)
            found += int(wrong[(*rule, e)] or missed[(*rule, e)])
        return found


def tune(replays: Replays, holds: list[int], earliest: list[int], versions: int = 1) -> Tuning:
    """Replay every episode under every rule of the grid and choose one.

    Args:
        versions: of every episode that are among the replays, itself included, as in `Tuning`.
    """
    verdicts = [[[v.verdict for v in replays.judge(hold, first)] for first in earliest] for hold in holds]
    wrong = np.array([[[v is Verdict.wrongly_ended for v in cell] for cell in row] for row in verdicts])
    missed = np.array([[[v is Verdict.missed for v in cell] for cell in row] for row in verdicts])
    allowed = int(MISSES * sum(first_hold(s, replays.true_hold_steps) is not None for s in replays.success))
    chosen = choose(wrong.sum(-1), missed.sum(-1), allowed)
    return Tuning(holds, earliest, wrong, missed, chosen, versions, allowed)


def choose(wrongly_ended: np.ndarray, missed: np.ndarray, allowed: int = 0) -> tuple[int, int]:
    """The longest hold with the fewest episodes wrongly ended or missed, some misses allowed.

    A failure that is rewarded is learned; a success that is missed now and then costs some steps. So up to
    `LONGEST_HOLD` a hold is as long as successes bear: near misses of tomorrow last longer than those held out today,
    and one odd success among many must not shorten the hold for all.

    Args:
        wrongly_ended: (H, M) number of episodes, by hold and first step, both rising.
        missed: (H, M) number of episodes.
        allowed: misses that do not count.

    Returns:
        The place of the rule in the grid. Of equally good ones those that wrongly end fewer; of these the longest hold,
        with the latest first step.
    """
    mistakes = wrongly_ended + np.maximum(missed - allowed, 0)
    best = mistakes == mistakes.min()
    best &= wrongly_ended == wrongly_ended[best].min()
    hold, start = np.argwhere(best)[-1].tolist()
    return hold, start


def hold_candidates(given: int | None) -> list[int]:
    """The holds to try; only the one given, where one is."""
    return list(range(1, LONGEST_HOLD + 1)) if given is None else [given]


def min_candidates(given: int | None, success: Sequence[np.ndarray], true_hold_steps: int) -> list[int]:
    """The first steps to try: from the start up to three quarters of the quickest success in the labels.

    Args:
        success: per episode (T+1,) bool, of all episodes.
    """
    if given is not None:
        return [given]
    ends = [first_hold(s, true_hold_steps) for s in success]
    quickest = min((end for end in ends if end is not None), default=0)
    return sorted({quickest * quarter // 4 for quarter in range(4)})
