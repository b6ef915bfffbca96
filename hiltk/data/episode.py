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

    def __len__(self) -> int:
        return len(self.actions)

    @property
    def succeeded(self) -> bool:
        """Whether it ended in success, by the last label or reward: a time-out may be terminal, too."""
        return bool(
            self.terminated and (self.success[-1] or is_success_reward(self.rewards[-1], self.rule or RewardSpec()))
        )


def relabel_rewards(episode: Episode, reward: RewardSpec) -> Episode:
    """A demonstration with rewards and end by a run's rule: one batch must not mix two (failures, S9)."""
    if reward.source == "env":
        return episode
    success = episode.succeeded
    terminated, truncated = end(reward, over=episode.terminated, timeout=episode.truncated)
    rewards = episode_rewards(len(episode), reward, success=success)
    return replace(episode, rewards=rewards, terminated=terminated, truncated=truncated, rule=reward)
