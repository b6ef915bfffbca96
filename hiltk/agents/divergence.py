"""What a step needs to be taken again when its numbers stop being finite."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Self

import torch
from torch import Tensor

from hiltk.agents.compute import current_precision

RngState = dict[str, Tensor]


def rng_state() -> RngState:
    """Torch's random state, on every device in use."""
    state = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def set_rng_state(state: RngState) -> None:
    torch.set_rng_state(state["cpu"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])


@dataclass
class Stage:
    """The start of one gradient step; with the batch and the agent's state it determines the step.

    As a context it marks a `NotFinite` raised inside with itself.

    Attributes:
        name: ``critic``, ``actor`` or ``cloning``.
        features: the observations' features (B, F), for the actor: the critic's step has changed the torso since.
        rng: the random state.
        precision: of its matrix products.
    """

    name: str
    features: Tensor | None = None
    rng: RngState = field(default_factory=rng_state)
    precision: str = field(default_factory=current_precision)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, NotFinite):
            error.stage = self


class NotFinite(ArithmeticError):
    """A metric is NaN or infinite; raised before the step that would have spread it over the parameters.

    Attributes:
        metrics: everything measured up to here.
        stage: where the step began; the agent is still as it was then.
    """

    def __init__(self, metrics: dict[str, float]) -> None:
        super().__init__(", ".join(k for k, v in metrics.items() if not math.isfinite(v)))
        self.metrics = metrics
        self.stage: Stage | None = None


def gradient_norm(parameters: Iterable[Tensor]) -> float:
    """Euclidean norm of all gradients together; nothing is clipped."""
    return torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None]).item()


def descend(optimizer: torch.optim.Optimizer, loss: Tensor, metrics: dict[str, float], norm: str) -> None:
    """One optimizer step, if ``metrics`` and the gradients are finite; the gradients' norm is added under ``norm``.

    Raises:
        NotFinite: something is not; no parameter has changed.
    """
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    metrics[norm] = gradient_norm(_parameters(optimizer))
    if not all(map(math.isfinite, metrics.values())):
        raise NotFinite(metrics)
    optimizer.step()


def _parameters(optimizer: torch.optim.Optimizer) -> list[Any]:
    return [p for group in optimizer.param_groups for p in group["params"]]
