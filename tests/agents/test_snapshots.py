"""RoboBase snapshots: every parameter lands where it computes the same, and nothing is loaded half or run."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import omegaconf._utils
import pytest
import torch
import torch.nn.functional as F
from omegaconf import OmegaConf
from torch import Tensor

from hiltk.agents.drqv2 import DrqAgent
from hiltk.agents.make import build_agent, build_policy
from hiltk.agents.snapshots import load_snapshot, read_snapshot
from hiltk.config.groups import DrqConf, EncoderConf
from hiltk.errors import ConfigError, UserError
from hiltk.spec import STATE_KEY, ActionSpec, Dimension, ImageSpec, RewardSpec, Spec, StateSpec, Stats

CONF = DrqConf(layout="robobase", hidden=[12, 10], bottleneck=7, frame_stack=2, noise="0.2", explore_steps=0)
CAMERAS = ["observation.images.wrist", "observation.images.front"]
SIDE = 18  # pixels; 2 x 2 after the convolutions
VISUAL, STATE, ACTIONS = 2 * 32 * 2 * 2, 2 * 3, 4


def make_agent(conf: DrqConf = CONF) -> DrqAgent:
    spec = Spec(
        state=StateSpec([Dimension(f"s{i}") for i in range(3)]),
        action=ActionSpec([Dimension(f"a{i}", low=-1, high=1) for i in range(ACTIONS)]),
        images=[ImageSpec(c.rsplit(".", 1)[1], SIDE, SIDE) for c in CAMERAS],
        stats={STATE_KEY: Stats([0.0] * 3, [1.0] * 3)},
    )
    torch.manual_seed(0)
    agent = build_agent(build_policy(conf, EncoderConf(), spec), conf, RewardSpec(), 50)
    assert isinstance(agent, DrqAgent)
    return agent


def robobase_state() -> dict[str, Tensor]:
    """A state dict with the names and shapes of RoboBase's DrQV2 (two cameras, frames stacked on channels)."""
    generator = torch.Generator().manual_seed(3)
    state: dict[str, Tensor] = {}

    def put(name: str, *shape: int) -> None:
        for leaf, size in (("weight", shape), ("bias", shape[:1])):
            state[f"{name}.{leaf}"] = torch.randn(*size, generator=generator) * 0.2

    def network(name: str, extra: int, outputs: int) -> None:
        for part, size in (("fused_view_feats", VISUAL), ("low_dim_obs", STATE)):
            put(f"{name}.input_preprocess_modules.{part}.0", 7, size)
            put(f"{name}.input_preprocess_modules.{part}.1", 7)
        put(f"{name}.main_mlp.0", 12, 14 + extra)
        put(f"{name}.main_mlp.3", 10, 12)
        put(f"{name}.out_mlp.0", outputs, 10)
        state[f"{name}.hidden_state"] = torch.zeros(1, 2, 128)

    network("actor_model", 0, ACTIONS)  # RoboBase registers the actor's network a second time
    for view in range(2):
        for layer, channels in ((0, 6), (3, 32), (6, 32), (9, 32)):
            put(f"encoder.convs_per_cam.{view}.{layer}", 32, channels, 3, 3)
    state |= {f"actor.{k}": v for k, v in state.items() if k.startswith("actor_model.")}
    for critic in ("critic", "critic_target"):
        for q in range(2):
            network(f"{critic}.qs.{q}", ACTIONS, 1)
    return state


def reference(state: dict[str, Tensor], name: str, frames: dict[str, Tensor], low: Tensor, *extra: Tensor) -> Tensor:
    """What RoboBase computes from such a state dict, written down from its description."""
    seen = []
    for view, camera in enumerate(CAMERAS):
        x = frames[camera] / 255.0 - 0.5
        for layer, stride in ((0, 2), (3, 1), (6, 1), (9, 1)):
            key = f"encoder.convs_per_cam.{view}.{layer}"
            x = F.relu(F.conv2d(x, state[f"{key}.weight"], state[f"{key}.bias"], stride))
        seen.append(x.flatten(1))
    inputs = []
    for part, value in (("fused_view_feats", torch.cat(seen, -1)), ("low_dim_obs", low)):
        key = f"{name}.input_preprocess_modules.{part}"
        value = F.linear(value, state[f"{key}.0.weight"], state[f"{key}.0.bias"])
        inputs.append(torch.tanh(F.layer_norm(value, (7,), state[f"{key}.1.weight"], state[f"{key}.1.bias"])))
    x = torch.cat([*inputs, *extra], -1)
    for layer in ("main_mlp.0", "main_mlp.3"):
        x = F.relu(F.linear(x, state[f"{name}.{layer}.weight"], state[f"{name}.{layer}.bias"]))
    return F.linear(x, state[f"{name}.out_mlp.0.weight"], state[f"{name}.out_mlp.0.bias"])


def save(path: Path, state: dict[str, Tensor], **more: object) -> Path:
    torch.save({"agent": state, **more}, path)
    return path


def test_a_loaded_snapshot_computes_what_robobase_computes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    agent, state = make_agent(), robobase_state()
    fit = load_snapshot(agent, save(tmp_path / "best.pt", state))
    parameters = [*agent.policy.parameters(), *agent.critic.parameters(), *agent.target_critic.parameters()]
    assert len(fit.loaded) == len(parameters) and not fit.lines()
    assert f"{len(parameters)} parameters loaded, 0 missing, 0 mismatched, 0 unknown" in capsys.readouterr().out
    frames = {c: torch.randint(0, 256, (5, 6, SIDE, SIDE), dtype=torch.uint8) for c in CAMERAS}
    low, action = torch.randn(5, STATE), torch.rand(5, ACTIONS) * 2 - 1
    features = agent.policy.torso({STATE_KEY: low, **frames})
    wanted = torch.tanh(reference(state, "actor.actor_model", frames, low))
    assert torch.allclose(agent.policy.actor.mode(features), wanted, atol=1e-5)
    for critic, name in ((agent.critic, "critic"), (agent.target_critic, "critic_target")):
        q = critic(features, action)
        for head in range(2):
            wanted = reference(state, f"{name}.qs.{head}", frames, low, action)[:, 0]
            assert torch.allclose(q[head], wanted, atol=1e-4), (name, head)
    # The policy acts by it on single frames, stacking them itself.
    agent.policy.reset()
    for t in range(2):
        images = {c: f[0, 3 * t : 3 * t + 3].permute(1, 2, 0).numpy() for c, f in frames.items()}
        acted = agent.policy.act({STATE_KEY: low[0, 3 * t : 3 * t + 3].numpy(), **images})
    assert np.allclose(acted, torch.tanh(reference(state, "actor.actor_model", frames, low))[0].numpy(), atol=1e-5)


def unchanged(agent: DrqAgent) -> bool:
    fresh = make_agent(agent.conf)
    pairs = ((agent.policy, fresh.policy), (agent.critic, fresh.critic), (agent.target_critic, fresh.target_critic))
    return all(torch.equal(a, b) for x, y in pairs for a, b in zip(x.parameters(), y.parameters(), strict=True))


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (lambda s: s.pop("critic.qs.1.out_mlp.0.bias"), r"missing: critic\.heads\.1\.4\.bias"),
        (
            lambda s: s.update({"actor.actor_model.main_mlp.0.weight": torch.zeros(12, 15)}),
            r"mismatched: policy\.actor\.head\.0\.weight is \(12, 15\) in the file, \(12, 14\) here",
        ),
        (
            lambda s: s.update({"actor.actor_model.time_dim_rnn.weight_ih_l0": torch.zeros(4, 4)}),
            r"unknown: actor\.actor_model\.time_dim_rnn",
        ),
        (
            lambda s: s.update({"encoder.convs_per_cam.2.0.bias": torch.zeros(32)}),
            r"unknown: encoder\.convs_per_cam\.2",
        ),
        (
            lambda s: s.update({"encoder.convs_per_cam.0.1.weight": torch.zeros(32)}),  # a norm where we have none
            r"unknown: encoder\.convs_per_cam\.0\.1",
        ),
    ],
)
def test_a_partial_load_is_refused_by_name_and_changes_nothing(tmp_path: Path, damage: object, named: str) -> None:
    agent, state = make_agent(), robobase_state()
    damage(state)  # type: ignore[operator]
    with pytest.raises(UserError, match=named):
        load_snapshot(agent, save(tmp_path / "best.pt", state))
    assert unchanged(agent)


def test_parameters_may_be_missing_when_allowed_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    actor_only = {k: v for k, v in robobase_state().items() if not k.startswith("critic")}
    file = save(tmp_path / "actor.pt", actor_only)
    with pytest.raises(UserError, match="missing: target_critic"):
        load_snapshot(make_agent(replace(CONF, init_allow_missing=["critic"])), file)  # its target is missing, too
    agent = make_agent(replace(CONF, init_allow_missing=["critic", "target_critic"]))
    fit = load_snapshot(agent, file)
    assert all(n.startswith(("critic.", "target_critic.")) for n in fit.missing) and fit.loaded
    assert "missing: critic.trunks.0.visual.0.weight" in capsys.readouterr().out
    weight = agent.policy.actor.head[0].weight
    assert torch.equal(weight, actor_only["actor.actor_model.main_mlp.0.weight"])
    with pytest.raises(ConfigError, match="no parameter is called 'critics'"):
        load_snapshot(make_agent(replace(CONF, init_allow_missing=["critics"])), file)


def test_a_snapshot_with_its_configuration_loads_without_it(tmp_path: Path) -> None:
    """As RoboBase writes them: counters and an OmegaConf configuration beside the agent."""
    cfg = OmegaConf.create({"method": {"lr": 1e-4, "nodes": [256, 256]}, "env": {"name": "lift", "x": None}})
    file = save(tmp_path / "best.pt", robobase_state(), cfg=cfg, _main_loop_iterations=800_000)
    assert len(read_snapshot(file)) == len(robobase_state())
    assert not load_snapshot(make_agent(), file).lines()


class Malicious:
    """Runs a command when unpickled the ordinary way."""

    def __init__(self, touched: Path) -> None:
        self.touched = touched

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.touched}",)


def test_code_in_a_snapshot_is_refused_and_not_run(tmp_path: Path) -> None:
    touched, file = tmp_path / "touched", tmp_path / "evil.pt"
    save(file, robobase_state(), cfg=Malicious(touched))
    with pytest.raises(UserError, match=r"wants to run code: .*system"):
        load_snapshot(make_agent(), file)
    assert not touched.exists()
    torch.load(file, weights_only=False)  # the file is what it is meant to be
    assert touched.exists()


class CallsOmegaConf:
    """Calls a function of OmegaConf's when unpickled the ordinary way: a name that is let through."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return omegaconf._utils.is_int, ("1",)


def test_nothing_of_omegaconf_is_called_either(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, called = save(tmp_path / "best.pt", robobase_state(), cfg=CallsOmegaConf()), []
    monkeypatch.setattr(omegaconf._utils, "is_int", called.append)
    assert len(read_snapshot(file)) == len(robobase_state()) and not called
    torch.load(file, weights_only=False)
    assert called == ["1"]


def test_old_format_files_with_code_are_refused_too(tmp_path: Path) -> None:
    touched, file = tmp_path / "touched", tmp_path / "evil.pt"
    torch.save({"agent": Malicious(touched)}, file, _use_new_zipfile_serialization=False)
    with pytest.raises(UserError, match="evil.pt"):
        load_snapshot(make_agent(), file)
    assert not touched.exists()


def test_what_is_no_snapshot_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such snapshot"):
        read_snapshot(tmp_path / "none.pt")
    (tmp_path / "text.pt").write_text("hello")
    with pytest.raises(UserError, match="cannot be read"):
        read_snapshot(tmp_path / "text.pt")
    torch.save({"policy": {}}, tmp_path / "other.pt")
    with pytest.raises(UserError, match="not a snapshot"):
        read_snapshot(tmp_path / "other.pt")


def test_a_policy_alone_takes_encoder_and_actor(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As `hiltk bc-pretrain` does, which has no critics."""
    policy, state = make_agent().policy, robobase_state()
    fit = load_snapshot(policy, save(tmp_path / "best.pt", state))
    count = len(list(policy.parameters()))
    # Two critics and their targets: 2 x (2 bottlenecks of 2 layers and 3 layers, each with a bias).
    assert len(fit.loaded) == count and not fit.lines() and len(fit.unused) == 4 * 14
    said = capsys.readouterr().out
    assert f"{count} parameters loaded, 0 missing, 0 mismatched, 0 unknown; 56 of the critics not needed" in said
    assert torch.equal(policy.actor.head[0].weight, state["actor.actor_model.main_mlp.0.weight"])
    for allowed in (["critic"], []):  # what may be missing is the same as in training
        other = make_agent(replace(CONF, init_allow_missing=allowed)).policy
        del state["encoder.convs_per_cam.1.9.bias"]
        with pytest.raises(UserError, match=r"missing: policy\.torso\.encoder\.trunks\.1\.6\.bias"):
            load_snapshot(other, save(tmp_path / "part.pt", state))
        state = robobase_state()
    with pytest.raises(ConfigError, match="no parameter is called 'critics'"):
        load_snapshot(make_agent(replace(CONF, init_allow_missing=["critics"])).policy, save(tmp_path / "b.pt", state))


def test_only_robobases_layout_takes_a_snapshot(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="agent=drqv2_robobase"):
        load_snapshot(make_agent(replace(CONF, layout="paper")), tmp_path / "best.pt")
    with pytest.raises(ConfigError, match="agent=drqv2_robobase"):
        load_snapshot(make_agent(replace(CONF, layout="paper")).policy, tmp_path / "best.pt")
