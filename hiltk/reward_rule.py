"""The reward rule: when an episode has succeeded, its rewards, how it ends, and whether that was right.

The environment applies it step by step (`hiltk.envs.rewards.SuccessRule`); labels, recordings from elsewhere, training
of the success classifier and previews apply it to whole episodes. Both go through `Hold`, `step_reward` and `end`, so
that a recording replayed is rewarded and ended as it was live.

Frames count from 0: frame 0 is the observation of `reset`, frame t follows step t, so that T steps have T+1 frames.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np

from hiltk.config.setting import one_of
from hiltk.errors import ConfigError
from hiltk.intervals import Rate, wilson
from hiltk.spec import JUDGES, TIMEOUTS, RewardSpec, reward_mistakes

MARGIN = 1e-6  # a reward above an ordinary one by no more is an ordinary one, rounded


# ---------------------------------------------------------------- when success is declared


def is_positive(probability: Any, threshold: float) -> Any:
    """Whether a classifier says "success": its probability, a number or an array, is at the threshold or above it."""
    return probability >= threshold


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
        newly = bool(is_held(self.run, self.steps, 1 if last else self.needed, self.earliest)) and not self.held
        self.held = self.held or newly
        return newly


def is_held(run: Any, step: Any, needed: int, earliest: int) -> Any:
    """Whether ``run`` positive observations in a row, the newest at ``step``, are a success; numbers or arrays."""
    return (run >= needed) & (step >= earliest)


def earliest_success(rule: RewardSpec) -> int:
    """The first step at which an episode can succeed."""
    return max(rule.hold_steps, rule.min_steps)


def first_hold(positive: np.ndarray, hold_steps: int, min_steps: int = 0, *, confirm_last: bool = False) -> int | None:
    """The frame at which the rule ends an episode; None: it never does.

    Args:
        positive: (T+1,) bool, one verdict per frame.
        confirm_last: nothing can come after the last frame, so there one positive frame is enough.
    """
    hold = Hold(hold_steps, min_steps)
    for t, shown in enumerate(positive[1:].tolist(), start=1):
        if hold.see(shown, last=confirm_last and t == len(positive) - 1):
            return t
    return None


def success_step(shown: np.ndarray, rule: RewardSpec, *, closed: bool = False) -> int | None:
    """The step after which a recording's frames show success as the rule wants it; None: never.

    Args:
        shown: (T+1,) bool, whether success shows in each frame.
        closed: the recording ends because its environment did: nothing could confirm its last frame, so there one
            positive frame is enough, as live.
    """
    return first_hold(shown, rule.hold_steps, rule.min_steps, confirm_last=closed)


def run_lengths(positive: np.ndarray) -> np.ndarray:
    """How many positive frames in a row end at each frame of an episode, as the rule counts them: (T+1,) int."""
    hold, runs = Hold(1), [0] * min(1, len(positive))
    for shown in positive[1:].tolist():
        hold.see(shown)
        runs.append(hold.run)
    return np.array(runs, int)


# ---------------------------------------------------------------- its rewards, and how it ends


@dataclass(frozen=True)
class Settled:
    """A whole episode under the rule.

    Attributes:
        steps: until its end.
        success: whether it ended in success.
        rewards: (T,) float32; 0 after the end.
        terminated, truncated: at the end.
    """

    steps: int
    success: bool
    rewards: np.ndarray
    terminated: bool
    truncated: bool


def settle(shown: np.ndarray, rule: RewardSpec, *, closed: bool = False) -> Settled:
    """Reward and end a recording by what its frames show. Without success it was cut off, as by the time limit.

    Args:
        shown, closed: as for `success_step`.
    """
    last, success_at = len(shown) - 1, success_step(shown, rule, closed=closed)
    steps, success = success_at or last, success_at is not None
    rewards = np.zeros(last, np.float32)
    rewards[:steps] = episode_rewards(steps, rule, success=success)
    return Settled(steps, success, rewards, *end(rule, over=success, timeout=not success))


def step_reward(rule: RewardSpec, *, success: bool) -> float:
    """Reward of one step: of success once, at the step that declares it; of every other alike, positive or not."""
    return rule.success_value if success else rule.step_value


def episode_rewards(steps: int, rule: RewardSpec, *, success: bool) -> np.ndarray:
    """Rewards (T,) float32 of an episode up to its end, which is a success or not."""
    rewards = np.full(steps, step_reward(rule, success=False), np.float32)
    rewards[-1:] = step_reward(rule, success=success)
    return rewards


def end(rule: RewardSpec, *, over: bool, timeout: bool) -> tuple[bool, bool]:
    """(terminated, truncated), which exclude each other.

    Args:
        over: success, or an environment that ended by itself; wins over a time-out at the same step.
        timeout: the episode is cut off here.
    """
    timeout = bool(timeout and not over)
    return (True, False) if timeout and rule.timeout == "terminal" else (bool(over), timeout)


def is_success_reward(reward: Any, rule: RewardSpec, *, discount: float = 1.0, steps: int = 1) -> Any:
    """Whether a reward, a number or an array, is more than that of ordinary steps.

    Of an environment's own reward nothing is known but its sign.

    Args:
        discount, steps: of a reward summed over up to so many steps. Where an ordinary step costs something a success
            late in the sum may not show.
    """
    if rule.source == "env":
        return reward > 0
    summed = sum(rule.step_value * discount**k for k in range(steps))
    return reward > max(rule.step_value, summed) + MARGIN


# ---------------------------------------------------------------- what returns it allows


def q_bounds(reward: RewardSpec, discount: float, horizon: int) -> tuple[float, float]:
    """The lowest and highest discounted return that the reward rule allows from any state.

    Success after k more steps gives k times ``step_value``, then ``success_value`` and ends the episode; failure gives
    ``step_value`` to the time-out, or for ever where values bootstrap through it. Each is monotone in k, so the ends
    decide. The entropy bonus is left out: it is not backed up by default. Of an environment's own reward nothing is
    known, so there is no bound.
    """
    if reward.source == "env":
        return -math.inf, math.inf

    def waiting(steps: float) -> float:
        return discounted_sum(reward.step_value, discount, steps)

    longest = longest_wait(reward, horizon)
    late = waiting(longest - 1) + discount ** (longest - 1) * reward.success_value
    values = (reward.success_value, late, waiting(1), waiting(longest))
    return min(values), max(values)


def longest_wait(reward: RewardSpec, horizon: int) -> float:
    """Steps a value can count on at most: to the time-out, or for ever where values bootstrap through it."""
    return horizon if reward.timeout == "terminal" else math.inf


def discounted_sum(value: float, discount: float, steps: float) -> float:
    """``value`` at each of so many steps, which may be infinite, as it is worth at the first."""
    return value * (1 - discount**steps) / (1 - discount)


# ---------------------------------------------------------------- rules that cannot be meant


SAID = {  # in place of the bare condition
    "reward.hold_steps": "success must hold for at least one step",
    "reward.min_steps": "the earliest success step cannot be negative",
}


def check_rule(rule: RewardSpec) -> None:
    """Refuse a reward rule that cannot be meant.

    Raises:
        ConfigError: naming the key and the nearest right value.
    """
    one_of("reward.source", rule.source, JUDGES)
    one_of("reward.timeout", rule.timeout, TIMEOUTS)
    for mistake in reward_mistakes(rule):
        key, _, what = mistake.partition(": ")
        raise ConfigError(SAID.get(key, what), where=f"{key}={getattr(rule, key.removeprefix('reward.'))}")
    if rule.source != "env" and rule.success_value <= rule.step_value:
        raise ConfigError(
            "success must be rewarded more than an ordinary step",
            where=f"reward.success_value={rule.success_value}, reward.step_value={rule.step_value}",
        )


# ---------------------------------------------------------------- whether it was right


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
        should_end_at: frame at which the labels held long enough; None: never, so the episode is a failure.
    """

    verdict: Verdict
    ended_at: int | None
    should_end_at: int | None

    @property
    def delay(self) -> int | None:
        """Frames from the labels' end to the rule's, negative where it was early; None unless both ended it."""
        return None if self.ended_at is None or self.should_end_at is None else self.ended_at - self.should_end_at

    @property
    def early(self) -> bool:
        """A success, ended before its labels have held."""
        return self.delay is not None and self.delay < 0

    @property
    def wrongly_rewarded(self) -> bool:
        """A failure, rewarded at any time."""
        return self.should_end_at is None and self.ended_at is not None

    @property
    def too_soon(self) -> bool:
        """Ended before success has held, which in a failure it never does: what training calls an early end."""
        return self.early or self.wrongly_rewarded


def judge_episode(
    positive: np.ndarray, success: np.ndarray, hold_steps: int, min_steps: int = 0, *, true_hold_steps: int = 0
) -> EpisodeVerdict:
    """Replay one episode.

    Args:
        positive: (T+1,) bool, the classifier's verdict per frame.
        success: (T+1,) bool, the labels.
        true_hold_steps: as in `judge_end`.
    """
    return judge_end(first_hold(positive, hold_steps, min_steps), success, true_hold_steps or hold_steps)


def judge_end(ended_at: int | None, success: np.ndarray, true_hold_steps: int) -> EpisodeVerdict:
    """The rule's end of an episode, None where it never ended it, against the labels.

    Args:
        success: (T+1,) bool, the labels.
        true_hold_steps: the episode succeeds where the labels hold for so long, whenever that is: as an environment
            tells ``true_success``.
    """
    should_end_at = first_hold(success, true_hold_steps)
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
        early: among the episodes that succeed by their labels, those it ends before the labels have held.
        too_soon: among all episodes, those it ends before the labels have held: early, or wrongly rewarded.
        early_steps: median of frames by which it ends the early ones too soon; NaN without any.
        delay_steps: median of frames between the labels' end and the rule's, where both ended rightly; NaN without any.
    """

    wrongly_ended: Rate
    wrongly_rewarded: Rate
    missed: Rate
    early: Rate
    too_soon: Rate
    early_steps: float
    delay_steps: float


def summarise(verdicts: Sequence[EpisodeVerdict]) -> Replay:
    """Count wrong ends and misses."""
    failures = sum(v.should_end_at is None for v in verdicts)
    successes = len(verdicts) - failures
    delays = [v.delay for v in verdicts if v.verdict is Verdict.rightly_ended and v.delay is not None]
    leads = [-v.delay for v in verdicts if v.early and v.delay is not None]
    return Replay(
        wrongly_ended=wilson(sum(v.verdict is Verdict.wrongly_ended for v in verdicts), len(verdicts)),
        wrongly_rewarded=wilson(sum(v.wrongly_rewarded for v in verdicts), failures),
        missed=wilson(sum(v.verdict is Verdict.missed for v in verdicts), successes),
        early=wilson(sum(v.early for v in verdicts), successes),
        too_soon=wilson(sum(v.too_soon for v in verdicts), len(verdicts)),
        early_steps=float(np.median(leads)) if leads else float("nan"),
        delay_steps=float(np.median(delays)) if delays else float("nan"),
    )
