"""Behaviour cloning of the very policy that reinforcement learning goes on to train."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from hiltk.agents.policy import Policy
from hiltk.data.replay import Batch


class BehaviorCloning:
    """Supervised learning of a policy's actions.

    ``loss="mean"`` is the squared error of tanh(mean), the action a deterministic rollout executes. Fitting the mean
    before the tanh instead, as has been done, turns demonstrations at +-1 into actions of +-0.76.
    ``loss="likelihood"`` maximises the likelihood of the squashed Gaussian and so trains its spread as well.
    The values of a three-way gripper are trained as a classifier (`GripperHead.cloning_loss`), added to either.
    """

    def __init__(self, policy: Policy, *, lr: float, loss: str) -> None:
        self.policy, self.loss = policy, loss
        self.optimizer = torch.optim.Adam(policy.parameters(), lr=lr, fused=True)

    def update(self, batch: Batch) -> dict[str, float]:
        """One gradient step on a batch of demonstrated actions."""
        loss = self.compute_loss(batch)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        return {"loss": loss.item()}

    def compute_loss(self, batch: Batch) -> Tensor:
        batch = batch.to(self.policy.device)
        features = self.policy.torso(batch.observation)
        gripper = self.policy.gripper
        if gripper is None:
            return self._arm_loss(features, batch.action)
        return self._arm_loss(features, batch.action[:, :-1]) + gripper.cloning_loss(features, batch.action)

    def _arm_loss(self, features: Tensor, action: Tensor) -> Tensor:
        if self.loss == "likelihood":
            return -self.policy.actor.log_prob(features, action).mean()
        return F.mse_loss(self.policy.actor.mode(features), action)

    @torch.no_grad()
    def evaluate(self, batches: list[Batch]) -> float:
        """The loss over held-out batches, weighted by their size."""
        self.policy.eval()
        losses = [(self.compute_loss(b).item(), len(b)) for b in batches]
        self.policy.train()
        return sum(loss * n for loss, n in losses) / max(1, sum(n for _, n in losses))
