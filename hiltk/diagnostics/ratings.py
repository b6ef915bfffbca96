"""What the critics say of executed actions, beside the return that followed.

Values are perturbed as in the analysis of HIL-SERL (Luo et al. 2024, arXiv 2410.21845): 100 actions within +-0.2 of the
policy's, where the spread of their values shows in which states it matters what is done.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from hiltk.agents.gripper import choices
from hiltk.agents.policy import to_tensors
from hiltk.data.episode import Episode, Source
from hiltk.data.replay import store_episodes
from hiltk.diagnostics.subjects import CHUNK
from hiltk.spec import STATE_KEY

SOURCES = {Source.demo: "demo", Source.policy: "policy", Source.human: "human"}
PERTURBED, SAMPLES = 0.2, 100  # the paper's


@dataclass(frozen=True)
class Ratings:
    """What the critics say of N executed actions, episode after episode.

    Attributes:
        q: (E, N), by critic.
        low, high: (N,), between which the discounted return lies: the same where the episode terminated; further apart
            where a time-out hides what would have followed.
        sharpness: (N,), standard deviation of the value over perturbed actions.
        phase: (N,), 0 at the episode's start, 1 at its end.
        source: (N,), `Source`.
        episode: (N,), number.
        bounds: lowest and highest return that the reward rule allows; infinite where nothing is known.
        gripper: (N, 3), what the three-way gripper's head says of close, hold and open; (N, 0) without one.
        command: (N,), which of the three was executed.
    """

    q: np.ndarray
    low: np.ndarray
    high: np.ndarray
    sharpness: np.ndarray
    phase: np.ndarray
    source: np.ndarray
    episode: np.ndarray
    bounds: tuple[float, float]
    gripper: np.ndarray
    command: np.ndarray

    @property
    def mean(self) -> np.ndarray:
        """The ensemble's mean, (N,)."""
        return self.q.mean(axis=0)

    @property
    def known(self) -> np.ndarray:
        """(N,) bool: the return is known, not only its limits."""
        return self.low == self.high

    @property
    def span(self) -> float:
        """The range of returns: by the reward rule, else as they were."""
        span = self.bounds[1] - self.bounds[0]
        if math.isfinite(span):
            return span
        known = self.low[self.known]
        return float(np.ptp(known)) if len(known) and np.ptp(known) else 1.0


def returns(
    rewards: np.ndarray, terminated: bool, discount: float, bounds: tuple[float, float]
) -> tuple[np.ndarray, np.ndarray]:
    """Limits of the discounted reward (T,) from each step on.

    An episode that terminated has no future. One that was cut off has one within ``bounds``.
    """
    ends = (0.0, 0.0) if terminated else bounds
    limits = []
    for total in ends:
        values = np.empty(len(rewards))
        for t in range(len(rewards) - 1, -1, -1):
            total = float(rewards[t]) + discount * total
            values[t] = total
        limits.append(values)
    return limits[0], limits[1]


def rate(agent: Any, episodes: Sequence[Episode], seed: int = 0) -> Ratings:
    """Values of every executed action of these episodes.

    Args:
        agent: a learner with ``policy``, ``critic`` and ``conf``; the episodes' rewards are of its rule.
    """
    policy, bounds = agent.policy, (agent.q_low, agent.q_high)
    store = store_episodes(list(episodes))
    rows = store.transitions()
    keys = [STATE_KEY, *policy.spec.image_keys]
    generator = torch.Generator().manual_seed(seed)
    parts, sharpness, gripper, command = [], [], [], []
    for start in range(0, len(rows), CHUNK):
        data = store.gather(rows[start : start + CHUNK], stack=policy.frame_stack, following=False)
        observation = {k: data["observation"][k] for k in keys}
        q, spread, choice = _values(agent, observation, data["action"], generator)
        parts.append(q)
        sharpness.append(spread)
        gripper.append(choice)
        command.append(choices(torch.from_numpy(data["action"])).numpy())
    limits = [returns(e.rewards, e.terminated, agent.conf.discount, bounds) for e in episodes]
    lengths = [len(e) for e in episodes]
    usable = np.concatenate([e.action_valid for e in episodes])
    return Ratings(
        q=np.concatenate(parts, axis=1),
        low=np.concatenate([low for low, _ in limits])[usable],
        high=np.concatenate([high for _, high in limits])[usable],
        sharpness=np.concatenate(sharpness),
        phase=np.concatenate([np.arange(n) / max(1, n - 1) for n in lengths])[usable],
        source=np.concatenate([e.source for e in episodes])[usable],
        episode=np.repeat(np.arange(len(lengths)), lengths)[usable],
        bounds=bounds,
        gripper=np.concatenate(gripper),
        command=np.concatenate(command),
    )


@torch.no_grad()
def _values(
    agent: Any, observation: dict[str, np.ndarray], action: np.ndarray, generator: torch.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Values (E, B) of the actions, the deviation (B,) of the ensemble's mean around the policy's own action, and what
    the gripper's head says of its choices (B, 3 or 0)."""
    policy = agent.policy
    arm = agent.arm  # a three-way gripper has values of its own
    features = policy.torso(to_tensors(observation, policy.device))
    q = agent.critic(features, torch.from_numpy(action[:, :arm]).to(policy.device))
    own = policy.actor.mode(features)
    noise = (2 * torch.rand((SAMPLES, *own.shape), generator=generator) - 1).to(policy.device) * PERTURBED
    near = (own + noise).clamp(-1, 1).flatten(0, 1)
    values = agent.critic(features.repeat(SAMPLES, 1), near).mean(dim=0).unflatten(0, (SAMPLES, -1))
    choice = policy.gripper(features) if policy.gripper else features[:, :0]
    return q.cpu().numpy(), values.std(dim=0).cpu().numpy(), choice.cpu().numpy()
