"""Where and how networks compute: the device, the precision of matrix products, and whether the torso is compiled.

The last two concern gradient steps alone: a policy acts in float32, in training as in evaluation, and is saved in
float32.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn

from hiltk.config.commands import UpdateConf
from hiltk.config.setting import choices, one_of
from hiltk.errors import ConfigError, nearest

AUTO = "auto"  # the device is chosen: CUDA where there is one
COMPILERS = ("c++", "g++", "clang++")


def autocast(precision: str, device: torch.device) -> torch.autocast:
    """The context of a gradient step whose convolutions and matrix products, there and back, are in ``precision``.

    Parameters, optimizer states, losses and targets stay float32: torsos and heads hand out float32. Nothing is cached,
    because the critics' weights change between the critic's loss and the actor's.
    """
    dtype = getattr(torch, precision)
    if dtype is torch.float32:
        return torch.autocast(device.type, enabled=False)
    return torch.autocast(device.type, dtype, cache_enabled=False)


def compile_torsos(torsos: Iterable[nn.Module]) -> None:
    """Let ``torch.compile`` translate what observations are encoded with; parameters and their names stay.

    Compiled anew for every size of batch, which takes a minute or so each: no shape is left open.
    """
    for torso in torsos:
        torso.compile(dynamic=False)


def torch_device(name: str) -> torch.device:
    """A device of torch by its name, whether or not this machine has it.

    Raises:
        ConfigError: torch knows no such device.
    """
    try:
        return torch.device(name)
    except RuntimeError as error:
        fix = nearest(name, choices(UpdateConf, "device")) or f"device={AUTO} or {' or '.join(devices())}"
        raise ConfigError(f"'{name}' is no device of torch", where=f"device={name}", fix=fix) from error


def require_device(device: torch.device) -> None:
    """Refuse a device on which nothing can be computed here.

    Raises:
        ConfigError: with those that there are.
    """
    try:
        torch.zeros(1, device=device).item()
    except Exception as error:  # every backend has its own way to say that it is not there, some at great length
        reason = (str(error).splitlines() or [type(error).__name__])[0].split(". ")[0]
        fix = " or ".join(f"device={found}" for found in devices())
        raise ConfigError(
            f"this machine has no device '{device}': {reason}", where=f"device={device}", fix=fix
        ) from error


def devices() -> list[str]:
    """What networks can run on here, as ``device=`` takes it."""
    if not torch.accelerator.is_available():
        return ["cpu"]
    kind, count = torch.accelerator.current_accelerator(), torch.accelerator.device_count()
    return ["cpu", *([str(kind)] if count == 1 else [f"{kind}:{i}" for i in range(count)])]


def generator_state(device: torch.device) -> dict[str, torch.Tensor]:
    """Where the random numbers of a device stand, by a name of its own; empty for the CPU's, which are always kept."""
    if device.type == "cuda":
        return {"cuda_rng": torch.cuda.get_rng_state(device)}
    return {"mps_rng": torch.mps.get_rng_state()} if device.type == "mps" else {}


def set_generator_state(device: torch.device, state: Mapping[str, Any]) -> None:
    """Go on from a `generator_state`; one of another device is left alone."""
    if device.type == "cuda" and "cuda_rng" in state:
        torch.cuda.set_rng_state(state["cuda_rng"], device)
    if device.type == "mps" and "mps_rng" in state:
        torch.mps.set_rng_state(state["mps_rng"])


def check_compute(precision: str, compiled: bool, device: torch.device) -> None:
    """Refuse options that this machine cannot carry out.

    Raises:
        ConfigError: naming the key.
    """
    one_of("precision", precision, choices(UpdateConf, "precision"))
    if precision == "bfloat16" and device.type == "cuda" and not torch.cuda.is_bf16_supported():
        raise ConfigError("this GPU does not compute in bfloat16", where="precision=bfloat16", fix="precision=float32")
    if compiled and device.type == "cpu" and not any(map(shutil.which, COMPILERS)):
        raise ConfigError("torch.compile needs a C++ compiler, and there is none", where="compile", fix="compile=false")
