"""Behaviour cloning of the very policy that reinforcement learning goes on to train."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from hiltk.agents.base import Metrics, descend
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
        self.policy, self.lr, self.loss = policy, lr, loss
        self.optimizer = torch.optim.Adam(policy.parameters(), lr=lr, fused=True)
        self.updates = 0

    def update(self, batch: Batch) -> Metrics:
        """One gradient step on a batch of demonstrated actions.

        Raises:
            NotFinite: the loss or the gradient is not; the parameters are as they were before.
        """
        loss = self.compute_loss(batch)
        metrics = {"loss": loss.item()}
        descend(self.optimizer, loss, metrics, "gradient")
        self.updates += 1
        return metrics

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

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to go on bit for bit."""
        return {"policy": self.policy.state_dict(), "optimizer": self.optimizer.state_dict(), "updates": self.updates}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.policy.load_state_dict(state["policy"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.updates = state["updates"]
