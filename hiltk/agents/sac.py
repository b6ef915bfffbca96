"""Soft actor-critic in RLPD style, as HIL-SERL runs it: demonstrations and online data half and half.

Read beside: Haarnoja et al. 2018 (SAC, arXiv 1812.05905), Ball et al. 2023 (RLPD, arXiv 2302.02948), Luo et al.
2024 (HIL-SERL, arXiv 2410.21845). What is ours, and can be switched off in the config: TD targets clipped to the
range the reward rule allows (``clip_target``), and an imitation term on human transitions (``imitation_weight``).
Off unless asked for: imitation only where the critics agree (``imitation_filter``, the Q-filter of Nair et al. 2018,
arXiv 1709.10089), and targets no lower than the return an episode really had (``mc_floor``).

With a three-way gripper the Gaussian moves the arm alone; a value head chooses the gripper's command and learns by
double DQN beside the critics, on the same features (`hiltk.agents.gripper`).
"""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
from torch import Tensor, nn

from hiltk.agents.base import Agent, Metrics, descend
from hiltk.agents.gripper import choices, double_dqn_target
from hiltk.agents.networks import CriticEnsemble
from hiltk.agents.policy import Policy
from hiltk.config.groups import EncoderConf, SacConf
from hiltk.config.setting import require
from hiltk.data.replay import Batch
from hiltk.limits import AT_LIMIT
from hiltk.reward_rule import discounted_sum, longest_wait
from hiltk.spec import RewardSpec


class SacAgent(Agent):
    """Actor, critic ensemble, targets, temperature and their optimizers; `Agent` says what it takes."""

    conf: SacConf
    critic: CriticEnsemble

    def __init__(self, policy: Policy, conf: SacConf, reward: RewardSpec, horizon: int) -> None:
        super().__init__(policy, conf, reward, horizon)
        actions = self.arm
        self.arm = actions - (policy.gripper is not None)  # action dimensions that are the Gaussian's
        self.critic = CriticEnsemble(
            conf.critics,
            policy.torso.out_features,
            self.arm,
            conf.hidden,
            conf.activation,
        )
        self.critic.to(policy.device)
        self.target_critic = copy.deepcopy(self.critic).requires_grad_(False)
        self.target_torso = copy.deepcopy(policy.torso).requires_grad_(False) if conf.target_encoder else policy.torso
        self.target_gripper = copy.deepcopy(policy.gripper).requires_grad_(False) if policy.gripper else None
        self.log_alpha = torch.tensor(math.log(conf.temperature), device=policy.device, requires_grad=True)
        self.target_entropy = -actions / 2 if conf.target_entropy is None else conf.target_entropy
        self.needs_returns = conf.mc_floor
        # At worst the gripper is moved, at its cost, at every step.
        steps = longest_wait(reward, horizon)
        self.gripper_low = self.q_low - discounted_sum(conf.gripper_penalty, conf.discount, steps)
        # One optimizer owns the torso: the critic's. The actor sees its features detached.
        critic_parameters = [*self.critic.parameters(), *policy.torso.parameters()]
        if policy.gripper:
            critic_parameters += policy.gripper.parameters()
        self.critic_optimizer = torch.optim.Adam(critic_parameters, lr=conf.lr, fused=True)
        self.actor_optimizer = torch.optim.Adam(policy.actor.parameters(), lr=conf.lr, fused=True)
        self.alpha_optimizer = torch.optim.Adam([self.log_alpha], lr=conf.lr)
        self.saved = (*self.saved, "target_torso", "alpha_optimizer")
        self.saved += ("target_gripper",) if self.target_gripper else ()

    # ------------------------------------------------------------------ critic

    def _update_critic(self, batch: Batch, features: Tensor) -> Metrics:
        with torch.no_grad():
            following = self.target_torso(batch.next_observation)
        target = self._td_target(batch, following)
        q = self.critic(features, batch.action[:, : self.arm])  # (E, B)
        loss = (q - target).square().mean()
        metrics = {
            "critic_loss": loss.item(),
            "q_mean": q.mean().item(),
            "q_max": q.max().item(),
            "target_mean": target.mean().item(),
        }
        if self.policy.gripper:
            gripper_loss = self._gripper_loss(batch, features, following)
            metrics["gripper_loss"] = gripper_loss.item()
            loss = loss + gripper_loss
        descend(self.critic_optimizer, loss, metrics, "critic_gradient")
        return metrics

    @torch.no_grad()
    def _td_target(self, batch: Batch, target_features: Tensor) -> Tensor:
        """r + discount * bootstrap * min over target critics of Q(s', a'), a' from the current actor; (B,)."""
        next_action, log_prob = self.policy.actor.sample(target_features)
        q = self.target_critic(target_features, next_action)
        if self.conf.target_critics < self.conf.critics:  # RLPD: a random subset
            q = q[torch.randperm(self.conf.critics)[: self.conf.target_critics]]
        value = q.min(dim=0).values
        if self.conf.backup_entropy:
            value = value - self.log_alpha.exp() * log_prob
        target = batch.reward + batch.discount * value
        if self.conf.mc_floor:
            assert batch.returns is not None, "mc_floor needs a sampler with returns=True"
            target = torch.maximum(target, batch.returns)
        return target.clamp(self.q_low, self.q_high) if self.conf.clip_target else target

    def _gripper_loss(self, batch: Batch, features: Tensor, following: Tensor) -> Tensor:
        """Squared error of the executed command's value, on every batch, the penalty included.

        The online head judges the next state by the target torso's features, as the actor does in `_td_target`.
        """
        head, target_head = self.policy.gripper, self.target_gripper
        assert head is not None and target_head is not None
        choice = choices(batch.action)
        with torch.no_grad():
            target = double_dqn_target(
                head(following), target_head(following), batch.reward, batch.discount, self.conf.gripper_penalty, choice
            )
            if self.conf.clip_target:
                target = target.clamp(self.gripper_low, self.q_high)
        return (head(features).gather(-1, choice[:, None]).squeeze(-1) - target).square().mean()

    # ------------------------------------------------------------------ actor and temperature

    def _update_actor(self, batch: Batch, features: Tensor) -> Metrics:
        action, log_prob = self.policy.actor.sample(features)
        q = self.critic(features, action)
        value = self._ensemble_value(q)
        alpha = self.log_alpha.exp().detach()
        imitation, samples = self._imitation(batch, features)
        weight = self.imitation_weight
        loss = (alpha * log_prob - value).mean() + weight * imitation
        size = action.detach().abs()
        metrics = {
            "actor_loss": loss.item(),
            "alpha": alpha.item(),
            "entropy": -log_prob.mean().item(),
            "imitation_loss": imitation.item(),
            "imitation_samples": float(samples),
            "imitation_weight": weight,
            "saturation": (size > AT_LIMIT).float().mean().item(),
            "action_size": size.mean().item(),
        }
        descend(self.actor_optimizer, loss, metrics, "actor_gradient")
        self._update_alpha(log_prob.detach())
        return metrics

    def _ensemble_value(self, q: Tensor) -> Tensor:
        """One value (B,) of the ensemble's (E, B)."""
        return q.mean(dim=0) if self.conf.actor_q == "mean" else q.min(dim=0).values

    def _imitation(self, batch: Batch, features: Tensor) -> tuple[Tensor, int]:
        """Squared error of the deterministic action on human transitions, and how many of them were used."""
        rows = batch.human
        if self.conf.imitation_filter and self.imitation_weight:
            rows = rows & self._preferred(batch, features)
        samples = int(rows.sum())
        if samples == 0 or self.imitation_weight == 0:
            return features.new_zeros(()), 0
        error = (self.policy.actor.mode(features[rows]) - batch.action[rows, : self.arm]).square()
        return error.mean(), samples

    @torch.no_grad()
    def _preferred(self, batch: Batch, features: Tensor) -> Tensor:
        """(B,) bool: the critics value the executed action above the policy's."""
        executed = self._ensemble_value(self.critic(features, batch.action[:, : self.arm]))
        return executed > self._ensemble_value(self.critic(features, self.policy.actor.mode(features)))

    def _update_alpha(self, log_prob: Tensor) -> None:
        loss = -(self.log_alpha.exp() * (log_prob + self.target_entropy)).mean()
        self.alpha_optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.alpha_optimizer.step()

    # ------------------------------------------------------------------ targets and state

    def torsos(self) -> list[nn.Module]:
        return [self.policy.torso, self.target_torso] if self.conf.target_encoder else [self.policy.torso]

    def _followed(self) -> list[tuple[nn.Module, nn.Module]]:
        pairs: list[tuple[nn.Module, nn.Module]] = [(self.critic, self.target_critic)]
        if self.conf.target_encoder:
            pairs.append((self.policy.torso, self.target_torso))
        if self.policy.gripper and self.target_gripper:
            pairs.append((self.policy.gripper, self.target_gripper))
        return pairs

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {"log_alpha": self.log_alpha.detach().clone()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        with torch.no_grad():
            self.log_alpha.copy_(state["log_alpha"])


def check_sac(conf: SacConf, encoder: EncoderConf) -> None:
    """Refuse settings that this agent cannot have.

    Raises:
        ConfigError: naming the key and what it may be.
    """
    for key, fits, meaning in (
        ("critics", conf.critics >= 1, "at least 1"),
        ("target_critics", 1 <= conf.target_critics <= conf.critics, f"from 1 to agent.critics={conf.critics}"),
        ("temperature", conf.temperature > 0, "above 0"),
        ("gripper_penalty", conf.gripper_penalty >= 0, "0 or more"),
    ):
        require(fits, f"agent.{key}", getattr(conf, key), meaning)
