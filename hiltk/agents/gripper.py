"""The three-way gripper: one action value each for close, hold and open (HIL-SERL, arXiv 2410.21845, appendix A).

A Gaussian cannot choose between three commands; a small Q-network can, by double DQN (van Hasselt et al. 2016). It
chooses greedily, in training as in evaluation, as the original does.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hiltk.agents.networks import mlp
from hiltk.arm.gripper import COMMANDS, HOLD, MOVES
from hiltk.spec import RewardSpec

CHOICES = len(COMMANDS)


class GripperHead(nn.Module):
    """Features (B, F) to the values (B, 3) of close, hold and open.

    Args:
        temperature: of the softmax over values when they are trained as a classifier, in units of reward.
    """

    def __init__(self, features: int, hidden: list[int], activation: str, temperature: float) -> None:
        super().__init__()
        self.trunk = mlp(features, hidden, CHOICES, activation)
        self.temperature = temperature

    def forward(self, features: Tensor) -> Tensor:
        return self.trunk(features).float()

    def command(self, features: Tensor) -> Tensor:
        """The best of the three as an action column (B, 1): -1, 0 or +1."""
        return (self(features).argmax(dim=-1, keepdim=True) - HOLD).to(features.dtype)

    def cloning_loss(self, features: Tensor, action: Tensor) -> Tensor:
        """Cross-entropy against demonstrated actions (B, A), the values being what reinforcement learning starts from.

        The logits are Q / temperature and the loss is multiplied by the temperature: a smooth large-margin loss. The
        demonstrated command ends a few temperatures above the others, 99 % sure at 0.26 for a success worth 1, so that
        values keep the size rewards have. Plain cross-entropy would leave gaps of 5 to 20, for TD learning to undo.
        """
        logits = self(features) / self.temperature
        return self.temperature * F.cross_entropy(logits, choices(action))


def head_temperature(reward: RewardSpec) -> float:
    """A twentieth of what a success is worth."""
    return 0.05 * (abs(reward.success_value) or 1.0)


def choices(action: Tensor) -> Tensor:
    """The gripper command of actions (B, A) as an index (B,); values in between snap as `quantise` does."""
    gripper = action[:, -1]
    return HOLD + (gripper >= MOVES).long() - (gripper <= -MOVES).long()


def double_dqn_target(
    online: Tensor, target: Tensor, reward: Tensor, discount: Tensor, penalty: float, choice: Tensor
) -> Tensor:
    """r - penalty * [a moves the gripper] + discount * Q'(s', argmax Q(s', .)); (B,).

    Args:
        online, target: values (B, 3) of the next state by either network.
        reward, discount: (B,), the discount 0 after a terminal step.
        penalty: what a command costs; for every close or open, whatever the state: told to close a closed gripper,
            the original charges nothing, but that needs the gripper's opening, which is not in every observation.
        choice: (B,) index of the executed command.
    """
    best = online.argmax(dim=-1, keepdim=True)
    value = target.gather(-1, best).squeeze(-1)
    return reward - penalty * (choice != HOLD).to(reward.dtype) + discount * value


@torch.no_grad()
def greedy(head: GripperHead | None, continuous: Tensor, features: Tensor) -> Tensor:
    """Continuous actions (B, A-1) completed by the head's command; as they are without a head."""
    return continuous if head is None else torch.cat([continuous, head.command(features)], dim=-1)
