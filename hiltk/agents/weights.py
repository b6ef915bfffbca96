"""Weights from a file must be numbers: a network with one NaN gives NaN for every input, and trains to nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from hiltk.errors import UserError, listed


def require_finite(weights: Mapping[str, Any], where: object) -> None:
    """Refuse weights of which one is NaN or infinite.

    Args:
        weights: by name; mappings and lists of such are looked into, what is no tensor is left alone.
        where: the file.

    Raises:
        UserError: naming them.
    """
    bad = [name for name, value in _tensors("", weights) if not torch.isfinite(value).all()]
    if bad:
        raise UserError(
            f"weights that are NaN or infinite: {listed(bad, 6)}",
            where=str(where),
            fix="what wrote them diverged, or the file is damaged: take an earlier one, or train again",
        )


def _tensors(name: str, value: Any) -> list[tuple[str, Tensor]]:
    """Every tensor of floating-point numbers in nested containers, by its dotted name."""
    if isinstance(value, Tensor):
        return [(name, value)] if value.is_floating_point() or value.is_complex() else []
    inside = (
        value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list | tuple) else ()
    )
    return [found for key, one in inside for found in _tensors(f"{name}.{key}".lstrip("."), one)]
