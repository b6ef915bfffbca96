"""Checkpoints of a training run: one file that appears whole or not at all, read without running code from it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from hiltk.agents.base import Agent
from hiltk.agents.weights import require_finite
from hiltk.artifacts.replacing import replacing
from hiltk.errors import UserError
from hiltk.formats import CHECKPOINT

FILE = "checkpoint.pt"


def save(folder: Path, state: dict[str, Any]) -> None:
    """Write ``state`` (tensors and plain containers) into the folder, replacing the last checkpoint atomically."""
    with replacing(folder / FILE) as partial:
        torch.save({**CHECKPOINT.stamp(), **state}, partial)


def disk_bytes(agent: Agent) -> int:
    """What a run's checkpoints and weights take at most: each is written beside the one whose place it takes."""
    parts = [getattr(agent, name) for name in agent.saved]
    state = sum(_bytes(part.state_dict()) for part in parts)
    optimizers = [part for part in parts if isinstance(part, torch.optim.Optimizer)]
    trained = sum(p.nbytes for one in optimizers for group in one.param_groups for p in group["params"])
    # Adam keeps two moments of each parameter, once it has taken a step. Weights are those of the best, of what may
    # become the best, of the last, and of the run.
    return 2 * (state + 2 * trained) + 4 * _bytes(agent.policy.state_dict())


def _bytes(state: Mapping[str, Any]) -> int:
    return sum(value.nbytes for value in state.values() if isinstance(value, torch.Tensor))


def load(folder: Path) -> dict[str, Any] | None:
    """The last checkpoint, or None where there is none.

    Raises:
        UserError: the file is damaged, a newer hiltk's, or has a weight that is not finite.
    """
    file = folder / FILE
    if not file.is_file():
        return None
    try:
        state = CHECKPOINT.upgrade(torch.load(file, map_location="cpu", weights_only=True), str(file))
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f"the checkpoint cannot be read: {error}",
            where=str(file),
            fix="start over with resume=false",
        ) from error
    require_finite(state.get("agent") or {}, file)
    return state
