"""An episode in memory: the unit that recorders write, readers return and replay stores take in."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum

import numpy as np

from hiltk.reward_rule import end, episode_rewards, is_success_reward
from hiltk.spec import RewardSpec


class Source(IntEnum):
    """Who chose an action."""

    demo = 0  # a human, outside training
    policy = 1
    human = 2  # a human taking over from the policy


@dataclass
class Episode:
    """T transitions and the T+1 observations around them.

    Attributes:
        observations: per key an array (T+1, ...): ``observation.state`` float32 and ``observation.images.*`` uint8
            (H, W, 3). Row t+1 follows action t; the last row is the observation the episode ended in.
        actions: (T, A) float32, executed, in the spec's action space.
        rewards: (T,) float32, of action t.
        success: (T+1,) bool, whether success shows in observation t.
        source: (T,) `Source`.
        is_intervention: (T,) bool, True where a human had taken over from the policy.
        action_valid: (T,) bool, False where the action is unknown (to be masked out of every loss).
        terminated: the episode ended in a state without a future (success): no bootstrapping.
        truncated: the episode was cut short (time limit, Ctrl-C): bootstrapping goes on.
        stratum: where it spawned; empty when unknown.
        rule: what its rewards follow; None when unknown.
        name: what messages call it: dataset and number.
    """

    observations: dict[str, np.ndarray]
    actions: np.ndarray
    rewards: np.ndarray
    success: np.ndarray
    source: np.ndarray
    is_intervention: np.ndarray
    action_valid: np.ndarray
    terminated: bool
    truncated: bool
    stratum: str = ""
    rule: RewardSpec | None = None
    name: str = ""

    def __len__(self) -> int:
        return len(self.actions)

    @property
    def succeeded(self) -> bool:
        """Whether it ended in success, by the last label or reward: a time-out may be terminal, too."""
        return bool(
            self.terminated and (self.success[-1] or is_success_reward(self.rewards[-1], self.rule or RewardSpec()))
        )


def end_at(episode: Episode, step: int | None, rule: RewardSpec) -> Episode:
    """A recording under another rule than its own: up to the observation after ``step`` transitions, its success.

    None: it never has. Then nothing is rewarded and the last state is not terminal, unless the recording was cut off by
    a time limit that the rule counts as an end.
    """
    steps, success = step or len(episode), step is not None
    terminated = end(rule, over=success, timeout=episode.truncated)[0]
    return replace(
        episode,
        observations={k: v[: steps + 1] for k, v in episode.observations.items()},
        actions=episode.actions[:steps],
        rewards=episode_rewards(steps, rule, success=success),
        success=episode.success[: steps + 1],
        source=episode.source[:steps],
        is_intervention=episode.is_intervention[:steps],
        action_valid=episode.action_valid[:steps],
        terminated=terminated,
        truncated=not terminated,
        rule=rule,
    )
