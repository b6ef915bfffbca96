"""A step that made a number overflow: its batch and the state before it, kept in a file."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from hiltk.agents.base import Agent, NotFinite
from hiltk.agents.bc import BehaviorCloning
from hiltk.data.replay import Batch
from hiltk.errors import UserError

FILE = "diverged.pt"


def diverged(folder: Path, learner: Agent | BehaviorCloning, batch: Batch, error: NotFinite, fix: str) -> UserError:
    """Keep what made the numbers overflow; what to raise in place of ``error``."""
    return UserError(
        f"training diverged: {error} is not finite at update {learner.updates}",
        where=str(dump(folder, learner, batch, error)),
        fix=f"{fix}; torch.load of the file gives the batch, and the learner as it was before the step",
    )


def dump(folder: Path, learner: Agent | BehaviorCloning, batch: Batch, error: NotFinite) -> Path:
    """Write the batch, the learner as it was before the step, its metrics and what its networks are built from.

    The file holds tensors and plain data: ``torch.load(file, weights_only=True)`` reads it.
    """
    policy = learner.policy
    state: dict[str, Any] = {
        "batch": vars(batch),
        "agent": learner.state_dict(),
        "metrics": error.metrics,
        "conf": {"agent": asdict(policy.agent_conf), "encoder": asdict(policy.encoder_conf)},
        "spec": policy.spec.to_dict(),
    }
    torch.save(state, folder / FILE)
    return folder / FILE
