"""How gradient steps compute: the precision of their matrix products, and whether the torso is compiled.

Neither reaches beyond the steps: a policy acts in float32, in training as in evaluation, and is saved in float32.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable

import torch
from torch import nn

from hiltk.config.commands import UpdateConf
from hiltk.config.setting import choices, one_of
from hiltk.errors import ConfigError

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
