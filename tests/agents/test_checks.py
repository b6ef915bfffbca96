"""Settings out of range are config mistakes, told before anything is built from them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from hiltk import cli
from hiltk.agents.encoders import check_encoder
from hiltk.agents.make import build_policy, check_cloning, check_learner
from hiltk.agents.policy import Policy
from hiltk.config.commands import BcConf
from hiltk.config.groups import EncoderConf, SacConf
from hiltk.errors import ConfigError
from hiltk.steps import bc_pretrain, train
from tests.agents.test_policy import spec


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "sca"}, "did you mean 'sac'"),
        ({"hidden": []}, r"agent\.hidden"),
        ({"hidden": [64, 0]}, r"agent\.hidden"),
        ({"activation": "tahn"}, "did you mean 'tanh'"),
        ({"actor_q": "max"}, "one of: mean, min|did you mean"),
        ({"critics": 0, "target_critics": 0}, r"agent\.critics must be at least 1"),
        ({"target_critics": 0}, r"agent\.target_critics"),
        ({"target_critics": 3}, r"from 1 to agent\.critics=2"),
        ({"discount": 0.0}, r"agent\.discount"),
        ({"discount": 1.0}, r"agent\.discount"),
        ({"discount": float("nan")}, r"agent\.discount"),
        ({"tau": 0.0}, r"agent\.tau"),
        ({"tau": 1.5}, r"agent\.tau"),
        ({"policy_tau": 0.0}, r"agent\.policy_tau"),
        ({"lr": 0.0}, r"agent\.lr"),
        ({"temperature": 0.0}, r"agent\.temperature"),
        ({"temperature": -1.0}, r"agent\.temperature"),
    ],
)
def test_agents_that_cannot_be(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        build_policy(replace(SacConf(), **changes), EncoderConf(), spec())
    assert caught.value.where and caught.value.fix


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"channels": [8, 8]}, "same length"),
        ({"kernels": [3]}, "same length"),
        ({"strides": []}, "same length"),
        ({"channels": [], "kernels": [], "strides": []}, "for each of its layers"),
        ({"channels": [16, 0, 32]}, "at least 1"),
        ({"kernels": [5, 3, 0]}, "at least 1"),
        ({"strides": [4, -2, 2]}, "at least 1"),
        ({"features": 0}, r"encoder\.features"),
        ({"shift_pad": -1}, r"encoder\.shift_pad"),
        ({"shift_pad": -1, "name": "none"}, r"encoder\.shift_pad"),
    ],
)
def test_encoders_that_cannot_be(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        Policy(SacConf(), replace(EncoderConf(), **changes), spec())
    assert caught.value.where


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"loss": "men"}, "did you mean 'mean'"),
        ({"steps": 0}, "steps=0"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"lr": -1e-3}, "lr=-0.001"),
        ({"held_out": -0.1}, "held_out=-0.1"),
        ({"held_out": 1.0}, "held_out=1.0"),
        ({"seed": -1}, "seed=-1"),
        ({"threads": 0}, "threads=0"),
        ({"device": "gpu"}, "device=gpu"),
        ({"device": "cuda:x"}, "device=cuda:x"),
    ],
)
def test_cloning_that_cannot_be(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    cfg = BcConf(root=str(tmp_path), name="bc", datasets=["demos"], agent=SacConf())
    with pytest.raises(ConfigError, match=message) as caught:
        bc_pretrain.run(replace(cfg, **changes))
    assert caught.value.fix


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("train agent.discount=1.5", "agent.discount must be above 0 and below 1"),
        ("train encoder.features=0", "encoder.features must be at least 1"),
        ("train agent=drqv2 encoder=resnet10", "agent=drqv2 brings its own encoder"),
        ("train encoder=resnet", "encoder=resnet needs weights"),
        ("train encoder.cache_shifts=4", "only what a frozen encoder makes of a frame can be kept"),
        ("train agent=drqv2 agent.noise=fast", "'fast' is not a schedule"),
        ("bc-pretrain demos agent.hidden=[]", "agent.hidden must be one width or more"),
        ("bc-pretrain demos encoder.strides=[1]", "give the three lists the same length"),
        ("bc-pretrain demos agent=drqv2 loss=likelihood", "no spread that a likelihood could train"),
    ],
)
def test_the_command_line_refuses_before_anything_is_built(
    words: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def built(*args: object, **options: object) -> None:
        raise AssertionError("an environment was built or a dataset read")

    monkeypatch.setattr(train, "make_env", built)
    monkeypatch.setattr(bc_pretrain, "load_datasets", built)
    result = CliRunner().invoke(cli.app, [*words.split(), "name=x", f"root={tmp_path}"], terminal_width=200)
    assert result.exit_code == 2 and message in " ".join(result.output.split())
    assert not list(tmp_path.iterdir())


def test_borders_are_allowed() -> None:
    check_learner(
        SacConf(hidden=[1], critics=1, target_critics=1, tau=1.0, actor_q="min", activation="relu"), EncoderConf()
    )
    check_encoder(EncoderConf(channels=[1], kernels=[1], strides=[1], features=1, shift_pad=0))
    check_cloning(BcConf(datasets=["x"], agent=SacConf(), held_out=0.0, steps=1, batch_size=1))
