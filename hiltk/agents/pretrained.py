"""Pretrained ResNet weights from the Hub, torchvision or a folder, brought to the names of `hiltk.agents.resnet`.

Only numbers are read, never code: the Hub's ``resnet10`` comes with a Python file that others would have run.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from hiltk.agents.resnet import FrozenResNet
from hiltk.agents.weights import require_finite
from hiltk.config.groups import TrunkConf
from hiltk.errors import ConfigError, UserError, nearest

WEIGHTS, CONFIG = "model.safetensors", "config.json"
TORCHVISION = "torchvision:"
EPSILON = 1e-5  # of every batch normalisation in torchvision and transformers
Weights = dict[str, Tensor]

_LEAF = r"(?:(?:conv|group_norm)\.)?(?P<leaf>\w+)"
_NAMES = [
    # HIL-SERL's ResNet-10 on the Hub: helper2424/resnet10, lerobot/resnet10
    rf"embedder\.(?P<part>[01])\.{_LEAF}",
    rf"encoder\.stages\.(?P<stage>\d+)\.(?P<part>conv|norm)(?P<unit>\d)\.{_LEAF}",
    rf"encoder\.stages\.(?P<stage>\d+)\.shortcut\.(?P<part>[01])\.{_LEAF}",
    # transformers' ResNetModel, alone or below a classifier
    r"(?:resnet\.)?embedder\.embedder\.(?P<part>convolution|normalization)\.(?P<leaf>\w+)",
    r"(?:resnet\.)?encoder\.stages\.(?P<stage>\d+)\.layers\.(?P<block>\d+)\.layer\.(?P<unit0>\d)"
    r"\.(?P<part>convolution|normalization)\.(?P<leaf>\w+)",
    r"(?:resnet\.)?encoder\.stages\.(?P<stage>\d+)\.layers\.(?P<block>\d+)\.shortcut"
    r"\.(?P<part>convolution|normalization)\.(?P<leaf>\w+)",
    # torchvision and timm
    r"(?P<part>conv|bn)1\.(?P<leaf>\w+)",
    r"layer(?P<stage1>\d)\.(?P<block>\d+)\.(?P<part>conv|bn)(?P<unit>\d)\.(?P<leaf>\w+)",
    r"layer(?P<stage1>\d)\.(?P<block>\d+)\.downsample\.(?P<part>[01])\.(?P<leaf>\w+)",
]
_UNUSED = re.compile(r"(?:fc|classifier|pooler)\..*|.*\.num_batches_tracked")


def load_trunk(reference: str) -> FrozenResNet:
    """The pretrained trunk that a reference names.

    Args:
        reference: a Hub id ``owner/repo[@revision]``; a folder with ``model.safetensors``; a file of weights
            (``.safetensors``, or ``.pth`` as torchvision publishes them); ``torchvision:resnet18``.

    Raises:
        ConfigError: no reference is given.
        UserError: it cannot be found or fetched, or is no plain ResNet.
    """
    weights = _folded(_renamed(_read(reference), reference))
    conf = _structure(weights, reference)
    trunk = FrozenResNet(conf)
    _require_fit(trunk.state_dict(), weights, reference)
    trunk.load_state_dict(weights)
    return trunk


# ---------------------------------------------------------------- reading


def check_reference(reference: str) -> None:
    """Refuse a frozen encoder without weights, before anything is looked for.

    Raises:
        ConfigError: no reference is given.
    """
    if not reference:
        raise ConfigError(
            "encoder=resnet needs weights: a frozen network with random ones sees nothing",
            where="encoder.weights",
            fix="encoder=resnet10, or encoder.weights=microsoft/resnet-18 (a Hub id) or a folder",
        )


def _read(reference: str) -> Weights:
    check_reference(reference)
    if reference.startswith(TORCHVISION):
        return _from_torchvision(reference.removeprefix(TORCHVISION))
    path = Path(reference).expanduser()
    if path.is_file():
        return _load(path)
    folder = path if path.is_dir() else _from_hub(reference)
    if not (folder / WEIGHTS).is_file():
        raise UserError(f"there is no {WEIGHTS} in it", where=str(folder), fix="save_pretrained() writes such a folder")
    _check_config(folder / CONFIG)
    return _load(folder / WEIGHTS)


def _load(file: Path) -> Weights:
    try:
        weights = load_file(file) if file.suffix == ".safetensors" else torch.load(file, "cpu", weights_only=True)
    except Exception as error:  # torch raises anything from EOFError to UnpicklingError
        reason = str(error).splitlines()[0] if isinstance(error, SafetensorError | OSError) else "not a file of weights"
        raise UserError(f"the encoder's weights cannot be read: {reason}", where=str(file)) from error
    if not isinstance(weights, dict) or not all(isinstance(v, Tensor) for v in weights.values()):
        raise UserError("the file holds something else than named tensors", where=str(file))
    require_finite(weights, file)
    return weights


def _from_hub(reference: str) -> Path:
    """The folder of a repository's config and weights, downloaded or from the Hub's cache."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    if reference.count("/") != 1 or reference[0] in "./~":
        raise UserError("no such folder or file", where=f"encoder.weights={reference}", fix="a Hub id is owner/repo")
    repo, _, revision = reference.partition("@")
    try:
        return Path(snapshot_download(repo, revision=revision or None, allow_patterns=[CONFIG, WEIGHTS]))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise _unreachable(
            reference,
            reason,
            f"without a network: `hf download {repo} --local-dir DIR` on a machine that has one, copy the folder, "
            "encoder.weights=DIR",
        ) from error


def _from_torchvision(name: str) -> Weights:
    from torchvision.models import get_model_weights, list_models

    options = [m for m in list_models() if re.fullmatch(r"resnet\d+", m)]
    if name not in options:
        fix = nearest(name, options) or f"there are: {', '.join(options)}"
        raise UserError(f"torchvision has no plain ResNet '{name}'", where="encoder.weights", fix=fix)
    published: Any = get_model_weights(name)
    try:
        return published.DEFAULT.get_state_dict(progress=True, check_hash=True, weights_only=True)
    except (OSError, RuntimeError) as error:
        fix = f"without a network: encoder.weights=FILE.pth, downloaded from {published.DEFAULT.url}"
        raise _unreachable(TORCHVISION + name, str(error), fix) from error


def _unreachable(reference: str, reason: str, fix: str) -> UserError:
    return UserError(
        f"the encoder's weights cannot be fetched: {reason}", where=f"encoder.weights={reference}", fix=fix
    )


def _check_config(file: Path) -> None:
    """Refuse what the weights do not show: other activations, other places to skip pixels."""
    if not file.is_file():
        return
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"the config cannot be read: {error}", where=str(file)) from error
    usual = {"hidden_act": "relu", "downsample_in_first_stage": False, "downsample_in_bottleneck": False}
    for key, value in usual.items():
        if config.get(key, value) != value:
            raise UserError(f"{key}={config[key]} is not supported, only {value}", where=str(file))


# ---------------------------------------------------------------- names and structure


def _renamed(weights: Weights, reference: str) -> Weights:
    out: Weights = {}
    for key, value in weights.items():
        if _UNUSED.fullmatch(key):
            continue
        match = next((m for m in (re.fullmatch(p, key) for p in _NAMES) if m), None)
        if not match:
            raise _not_a_resnet(f"it holds '{key}'", reference)
        out[_name(match.groupdict())] = value.float()
    return out


def _one_less(number: str | None) -> str | None:
    return str(int(number) - 1) if number else None


def _name(part: dict[str, str | None]) -> str:
    """Our name of a tensor; stages and units are counted from 1 in some places."""
    kind = "conv" if part["part"] in ("0", "conv", "convolution") else "norm"
    stage = part.get("stage") or _one_less(part.get("stage1"))
    unit = part.get("unit0") or _one_less(part.get("unit"))
    if stage is None:
        return f"stem.{kind}.{part['leaf']}"
    inside = f"units.{unit}" if unit is not None else "shortcut"
    return f"stages.{stage}.{part.get('block') or 0}.{inside}.{kind}.{part['leaf']}"


def _folded(weights: Weights) -> Weights:
    """Batch normalisations multiplied into the convolutions before them; group normalisations stay."""
    out = dict(weights)
    for key in [k for k in weights if k.endswith("norm.running_mean")]:
        norm, conv = key.removesuffix("running_mean"), key.removesuffix("norm.running_mean") + "conv."
        mean, var, weight, bias = (out.pop(norm + n) for n in ("running_mean", "running_var", "weight", "bias"))
        scale = weight / (var + EPSILON).sqrt()
        out[conv + "weight"] = out[conv + "weight"] * scale[:, None, None, None]
        out[conv + "bias"] = bias - mean * scale
    return out


def _structure(weights: Weights, reference: str) -> TrunkConf:
    if "stem.conv.weight" not in weights or not any(k.startswith("stages.0.0.units.1.") for k in weights):
        raise _not_a_resnet("it lacks the first layers", reference)
    bottleneck = "stages.0.0.units.2.conv.weight" in weights
    last = 2 if bottleneck else 1
    outputs = [(*map(int, m.groups()), v.shape[0]) for k, v in weights.items() if (m := _last_conv(last).fullmatch(k))]
    stages = range(1 + max(stage for stage, _, _ in outputs))
    return TrunkConf(
        norm="group" if "stem.norm.weight" in weights else "folded",
        bottleneck=bottleneck,
        stem=weights["stem.conv.weight"].shape[0],
        widths=[next((width for s, _, width in outputs if s == stage), 0) for stage in stages],
        depths=[sum(s == stage for s, _, _ in outputs) for stage in stages],
    )


def _last_conv(unit: int) -> re.Pattern[str]:
    return re.compile(rf"stages\.(\d+)\.(\d+)\.units\.{unit}\.conv\.weight")


def _require_fit(own: Weights, weights: Weights, reference: str) -> None:
    problems = [f"missing: {k}" for k in own if k not in weights] + [f"unknown: {k}" for k in weights if k not in own]
    problems += [f"shape of {k}" for k, v in own.items() if k in weights and v.shape != weights[k].shape]
    if problems:
        raise _not_a_resnet("; ".join(problems[:4]), reference)


def _not_a_resnet(reason: str, reference: str) -> UserError:
    return UserError(
        f"these are not the weights of a plain ResNet: {reason}",
        where=f"encoder.weights={reference}",
        fix="e.g. helper2424/resnet10, microsoft/resnet-18, torchvision:resnet18, or a transformers.ResNetModel folder",
    )
