"""What every learner has: the frame of an update, targets that follow, gradient steps that refuse what is not finite.

The losses are not here: each algorithm is readable from top to bottom in its own file, beside its paper.
"""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from hiltk.agents.policy import Policy
from hiltk.agents.schedules import imitation_weight
from hiltk.config.groups import LearnerConf
from hiltk.data.replay import Batch
from hiltk.reward_rule import q_bounds
from hiltk.spec import RewardSpec

Metrics = dict[str, float]


class NotFinite(ArithmeticError):
    """A metric is NaN or infinite; raised before the step that would have spread it over the parameters.

    Attributes:
        metrics: everything measured up to here.
    """

    def __init__(self, metrics: Metrics) -> None:
        super().__init__(", ".join(k for k, v in metrics.items() if not math.isfinite(v)))
        self.metrics = metrics


class Agent(ABC):
    """An actor-critic learner.

    Args:
        policy: what is learned; trained in place.
        conf: hyper-parameters.
        reward: the reward rule, for the range Q can have.
        horizon: longest episode in steps; bounds Q where every step is rewarded.

    Attributes:
        arm: action dimensions that the critics judge; the others are learned apart.
        needs_returns: whether batches must hold the returns their episodes really had.
        updates: gradient steps taken.
    """

    critic: nn.Module
    target_critic: nn.Module
    arm: int
    needs_returns = False
    saved: tuple[str, ...] = ("policy", "critic", "target_critic", "critic_optimizer", "actor_optimizer")

    def __init__(self, policy: Policy, conf: LearnerConf, reward: RewardSpec, horizon: int) -> None:
        self.policy, self.conf, self.reward, self.horizon = policy, conf, reward, horizon
        self.arm = len(policy.spec.action.dims)
        self.q_low, self.q_high = q_bounds(reward, conf.discount, horizon)
        self.updates = 0
        self.average: Policy | None = None
        if conf.policy_tau < 1:
            self.average = copy.deepcopy(policy).requires_grad_(False)
            self.saved = (*self.saved, "average")

    @property
    def given(self) -> Policy:
        """The policy that a run gives: a moving average over the updates, or the newest.

        The newest is good or bad by chance of its last updates; an average over many is steadier (Polyak and Juditsky
        1992).
        """
        return self.average if self.average and self.updates else self.policy

    def update(self, batch: Batch, *, actor: bool = True) -> Metrics:
        """One step of critic and encoder, with ``actor`` one of the actor, then one of the targets.

        Images of ``batch.observation`` are encoded once, by the critic's step, which alone trains the encoder; the
        actor sees the same features detached.

        Raises:
            NotFinite: a loss or a gradient is not; the parameters are as they were before that step.
        """
        features = self.policy.torso(batch.observation)
        metrics = self._update_critic(batch, features)
        if actor:
            metrics |= self._update_actor(batch, features.detach())
        self._update_targets()
        self.updates += 1
        return metrics

    @abstractmethod
    def _update_critic(self, batch: Batch, features: Tensor) -> Metrics: ...

    @abstractmethod
    def _update_actor(self, batch: Batch, features: Tensor) -> Metrics: ...

    @property
    def imitation_weight(self) -> float:
        """The weight of the imitation term in the next update."""
        return imitation_weight(self.conf, self.updates)

    def torsos(self) -> list[nn.Module]:
        """What observations are encoded with, each once."""
        return [self.policy.torso]

    def _followed(self) -> list[tuple[nn.Module, nn.Module]]:
        """Networks with the targets that follow them."""
        return [(self.critic, self.target_critic)]

    @torch.no_grad()
    def _update_targets(self) -> None:
        """target <- target + tau * (online - target), for all parameters at once."""
        pairs = self._followed()
        online: list[Tensor] = [p for network, _ in pairs for p in network.parameters()]
        target: list[Tensor] = [p for _, network in pairs for p in network.parameters()]
        torch._foreach_lerp_(target, online, self.conf.tau)
        if self.average:  # it begins with the first update: what the policy was before says nothing
            rate = self.conf.policy_tau if self.updates else 1.0
            torch._foreach_lerp_(list(self.average.parameters()), list(self.policy.parameters()), rate)

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to go on bit for bit: networks, targets, optimizers, counter."""
        return {name: getattr(self, name).state_dict() for name in self.saved} | {"updates": self.updates}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name in self.saved:
            # Checkpoints of older versions hold no average.
            part = state["policy"] if name == "average" and name not in state else state[name]
            getattr(self, name).load_state_dict(part)
        self.updates = state["updates"]


def descend(optimizer: torch.optim.Optimizer, loss: Tensor, metrics: Metrics, norm: str) -> None:
    """One optimizer step, if ``metrics`` and the gradients are finite; the gradients' norm is added under ``norm``.

    Raises:
        NotFinite: something is not; no parameter has changed.
    """
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    metrics[norm] = gradient_norm(p for group in optimizer.param_groups for p in group["params"])
    if not all(map(math.isfinite, metrics.values())):
        raise NotFinite(metrics)
    optimizer.step()


def gradient_norm(parameters: Iterable[Tensor]) -> float:
    """Euclidean norm of all gradients together; nothing is clipped."""
    return torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None]).item()
