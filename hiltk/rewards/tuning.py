"""Hold and minimum steps of the success rule, tuned by replaying whole held-out episodes through it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hiltk.reward_rule import EpisodeVerdict, Verdict, first_hold, judge_episode
from hiltk.spec import RewardSpec

MOST_MISSED = 0.5  # of the successes: a rule that misses more teaches nothing, however seldom it errs


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
        wrongly_ended: (H, M, V * E) bool, at a frame labelled failure or before success had held: E episodes, then
            V - 1 augmented versions of them, in the same order.
        missed: (H, M, V * E) bool.
        chosen: place of the chosen rule in the grid.
        versions: V.
        successes: (V * E) bool, which episodes succeed by their labels.
    """

    holds: list[int]
    earliest: list[int]
    wrongly_ended: np.ndarray
    missed: np.ndarray
    chosen: tuple[int, int]
    successes: np.ndarray
    versions: int = 1

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
        wrong, missed, found = self.wrongly_ended, self.missed, 0
        for e in range(self.episodes):
            others = np.arange(wrong.shape[-1]) % self.episodes != e
            rule = choose(wrong[..., others].sum(-1), missed[..., others].sum(-1), int(self.successes[others].sum()))
            found += int(wrong[(*rule, e)] or missed[(*rule, e)])
        return found


def tune(replays: Replays, holds: list[int], earliest: list[int], versions: int = 1) -> Tuning:
    """Replay every episode under every rule of the grid and choose one.

    Args:
        versions: of every episode that are among the replays, itself included, as in `Tuning`.
    """
    verdicts = [[replays.judge(hold, first) for first in earliest] for hold in holds]
    wrong = np.array([[[v.verdict is Verdict.wrongly_ended or v.too_soon for v in c] for c in row] for row in verdicts])
    missed = np.array([[[v.verdict is Verdict.missed for v in c] for c in row] for row in verdicts])
    successes = np.array([first_hold(s, replays.true_hold_steps) is not None for s in replays.success], bool)
    chosen = choose(wrong.sum(-1), missed.sum(-1), int(successes.sum()))
    return Tuning(holds, earliest, wrong, missed, chosen, successes, versions)


def choose(wrongly_ended: np.ndarray, missed: np.ndarray, successes: int) -> tuple[int, int]:
    """The shortest hold with as few episodes wrongly ended as any rule has, within one standard error.

    A failure that is rewarded is learned; a success that is missed costs an episode, a longer hold some steps of every
    one. So wrong ends come first, then misses, then the delay. Counts of few episodes are uncertain: a rule counts as
    the best if it is no further from it than the square root of the best one's count (the one-standard-error rule of
    Breiman et al. 1984, for a Poisson count), so that without any wrong end none is accepted.

    Args:
        wrongly_ended: (H, M) number of episodes, by hold and first step, both rising.
        missed: (H, M) number of episodes.
        successes: number of episodes that could be missed.

    Returns:
        The place of the rule in the grid. Of equally good ones that with the latest first step.
    """
    good = missed <= MOST_MISSED * successes
    good |= ~good.any()
    fewest = wrongly_ended[good].min()
    good &= wrongly_ended <= fewest + np.sqrt(fewest)
    good &= missed == missed[good].min()
    hold = int(np.flatnonzero(good.any(1))[0])
    return hold, int(np.flatnonzero(good[hold])[-1])


def hold_candidates(given: int | None, longest: int) -> list[int]:
    """The holds to try; only the one given, where one is."""
    return list(range(1, longest + 1)) if given is None else [given]


def min_candidates(given: int | None, success: Sequence[np.ndarray], rule: RewardSpec) -> list[int]:
    """The first steps to try: from the start up to three quarters of the quickest success in the labels.

    None is earlier than the recordings' own rule has it.

    Args:
        success: per episode (T+1,) bool, of all episodes.
        rule: that of the recordings.
    """
    if given is not None:
        return [given]
    ends = [first_hold(s, rule.hold_steps) for s in success]
    quickest = min((end for end in ends if end is not None), default=0)
    return sorted({max(rule.min_steps, quickest * quarter // 4) for quarter in range(4)})
