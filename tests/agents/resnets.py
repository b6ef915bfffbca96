"""Small pretrained ResNets on disk, in the formats people publish them in."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from hiltk.config.groups import EncoderConf

WIDTHS = [8, 16, 24, 32]


def group_norm_weights(widths: list[int] = WIDTHS, stem: int = 8, old_names: bool = False) -> dict[str, Tensor]:
    """Random weights under the names that helper2424/resnet10 publishes; ``old_names`` are its first months'."""
    conv, norm = ("", "") if old_names else ("conv.", "group_norm.")
    out = {"embedder.0.weight": 0.1 * torch.randn(stem, 3, 7, 7)}

    def normalisation(prefix: str, channels: int) -> None:
        out[f"{prefix}.{norm}weight"] = 1 + 0.1 * torch.randn(channels)
        out[f"{prefix}.{norm}bias"] = 0.1 * torch.randn(channels)

    normalisation("embedder.1", stem)
    for i, (inputs, outputs) in enumerate(zip([stem, *widths[:-1]], widths, strict=True)):
        block = f"encoder.stages.{i}"
        out[f"{block}.conv1.{conv}weight"] = 0.2 * torch.randn(outputs, inputs, 3, 3)
        out[f"{block}.conv2.{conv}weight"] = 0.2 * torch.randn(outputs, outputs, 3, 3)
        normalisation(f"{block}.norm1", outputs)
        normalisation(f"{block}.norm2", outputs)
        if inputs != outputs:
            out[f"{block}.shortcut.0.{conv}weight"] = 0.3 * torch.randn(outputs, inputs, 1, 1)
            normalisation(f"{block}.shortcut.1", outputs)
    return out


def resnet10_folder(folder: Path, seed: int = 0) -> Path:
    """A folder as ``hf download helper2424/resnet10`` leaves one."""
    folder.mkdir(parents=True, exist_ok=True)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        save_file(group_norm_weights(), folder / "model.safetensors")
    config = {"model_type": "resnet10", "auto_map": {"AutoModel": "modeling_resnet.ResNet10"}, "hidden_act": "relu"}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "modeling_resnet.py").write_text("raise SystemExit('code from a model folder was run')")
    return folder


def resnet_conf(folder: Path, features: int = 12, cache_shifts: int = 0) -> EncoderConf:
    return EncoderConf(name="resnet", weights=str(folder), features=features, cache_shifts=cache_shifts)
