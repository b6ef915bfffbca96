"""One weight that is no number, wherever weights are read from: refused, by its name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from hiltk.agents.make import build_policy, load_policy
from hiltk.agents.pretrained import load_trunk
from hiltk.agents.snapshots import read_snapshot
from hiltk.agents.weights import require_finite
from hiltk.config.groups import EncoderConf, SacConf
from hiltk.data.statistics import vector_stats
from hiltk.errors import UserError
from hiltk.learning import checkpoint
from hiltk.rewards.classifier import SuccessClassifier
from hiltk.spec import STATE_KEY, Spec

TINY = EncoderConf(channels=[4], kernels=[3], strides=[2], features=8, shift_pad=0)


def spoil(weights: dict[str, Tensor], value: float) -> str:
    """Change one number of one parameter; returns its name."""
    name = next(name for name in weights if name.endswith("weight"))
    weights[name].view(-1)[-1] = value
    return name


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_by_name_in_nested_containers(value: float) -> None:
    state = {"a": torch.ones(2), "n": torch.tensor([1, 2]), "deep": [{"b": torch.tensor([1.0, value])}], "text": "x"}
    with pytest.raises(UserError, match=r"infinite: deep\.0\.b\n.*somewhere"):
        require_finite(state, "somewhere")
    require_finite({**state, "deep": []}, "somewhere")


@pytest.fixture
def policy_dir(tiny_spec: Spec, tmp_path: Path) -> Path:
    torch.manual_seed(0)
    values = torch.randn(50, len(tiny_spec.state.dims)).numpy()
    tiny_spec.stats[STATE_KEY] = vector_stats(values, tiny_spec.state.dims, "test")
    build_policy(SacConf(hidden=[8]), TINY, tiny_spec).save(tmp_path)
    return tmp_path


@pytest.fixture
def classifier_dir(tiny_spec: Spec, tmp_path: Path) -> Path:
    SuccessClassifier(TINY, tiny_spec, hidden=8).save(tmp_path)
    return tmp_path


def test_of_a_policy(policy_dir: Path) -> None:
    refused(policy_dir / "policy.safetensors", lambda: load_policy(policy_dir))


def test_of_a_classifier(classifier_dir: Path) -> None:
    refused(classifier_dir / "classifier.safetensors", lambda: SuccessClassifier.load(classifier_dir))


def refused(file: Path, load: Callable[[], object]) -> None:
    load()
    weights = load_file(file)
    name = spoil(weights, float("nan"))
    save_file(weights, file)
    with pytest.raises(UserError, match=name.replace(".", r"\.")):
        load()


def test_of_a_snapshot_an_encoder_and_a_checkpoint(tmp_path: Path) -> None:
    weights = {"actor.layer.weight": torch.ones(3, 3)}
    name = spoil(weights, float("inf"))
    torch.save({"agent": weights}, tmp_path / "snapshot.pt")
    with pytest.raises(UserError, match=name):
        read_snapshot(tmp_path / "snapshot.pt")
    save_file(weights, tmp_path / "model.safetensors")
    with pytest.raises(UserError, match=name):
        load_trunk(str(tmp_path / "model.safetensors"))
    checkpoint.save(tmp_path, {"agent": {"policy": weights}, "episode": 3})
    with pytest.raises(UserError, match=f"policy.{name}"):
        checkpoint.load(tmp_path)
