"""The exported folder gives the same actions in LeRobot's own class, loaded by LeRobot's own functions."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from lerobot.policies.factory import make_pre_post_processors
from lerobot.policies.gaussian_actor.modeling_gaussian_actor import GaussianActorPolicy

from hiltk.agents.lerobot_policy import export
from hiltk.agents.make import build_policy
from hiltk.agents.networks import squashed_log_prob
from hiltk.agents.policy import Policy, to_tensors
from hiltk.arm.state import action_spec
from hiltk.config.groups import DrqConf, EncoderConf, SacConf
from hiltk.errors import UserError
from hiltk.observation import Observation
from hiltk.spec import STATE_KEY, GripperFormat
from tests.agents.test_lerobot_encoder import lerobot_conf, spec_with_stats

CONF = SacConf(activation="silu", hidden=[24, 16])
CAMERAS = {"one": ("wrist",), "two": ("wrist", "front")}


def trained(gripper: GripperFormat = GripperFormat.continuous, cameras: tuple[str, ...] = ("wrist",)) -> Policy:
    """A policy whose every parameter is off its start, so that no two of them can be taken for each other."""
    torch.manual_seed(0)
    spec = spec_with_stats(40, cameras)
    spec.action = action_spec(0.02, gripper, 15.0)
    policy = build_policy(CONF, lerobot_conf(channels=[6] * 4, features=10, embeddings=3), spec).eval()
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return policy


def observations(policy: Policy, count: int = 8) -> list[Observation]:
    """As the environment gives them; the state within 8 deviations."""
    rng = np.random.default_rng(0)
    mean, std = (v.numpy() for v in policy.torso.normalize.buffers())
    state = [(mean + std * rng.normal(size=len(mean))).astype(np.float32) for _ in range(count)]
    frames = [
        {i.key: rng.integers(0, 256, (i.height, i.width, 3), np.uint8) for i in policy.spec.images}
        for _ in range(count)
    ]
    return [{STATE_KEY: s, **f} for s, f in zip(state, frames, strict=True)]


def theirs(observation: Observation) -> dict[str, torch.Tensor]:
    """The same observation as LeRobot's environments give it: images (C, H, W) in [0, 1]."""
    return {
        k: torch.from_numpy(v).permute(2, 0, 1) / 255 if v.ndim == 3 else torch.from_numpy(v)
        for k, v in observation.items()
    }


def act_like_lerobot(folder: Path, seen: list[Observation]) -> np.ndarray:
    policy = GaussianActorPolicy.from_pretrained(str(folder), strict=True, local_files_only=True)
    before, after = make_pre_post_processors(policy.config, pretrained_path=str(folder))
    return np.concatenate([after(policy.select_action(before(theirs(o)))).numpy() for o in seen])


@pytest.mark.parametrize("cameras", CAMERAS.values(), ids=CAMERAS)
@pytest.mark.parametrize("gripper", [GripperFormat.continuous, GripperFormat.none])
def test_the_deterministic_action_is_the_same(tmp_path: Path, cameras: tuple[str, ...], gripper: GripperFormat) -> None:
    policy = trained(gripper, cameras)
    export(policy, tmp_path)
    seen = observations(policy)
    ours, others = np.stack([policy.act(o) for o in seen]), act_like_lerobot(tmp_path, seen)
    assert others.shape == ours.shape and np.abs(ours - others).max() < 1e-5
    assert ours.std(axis=0).min() > 0.01  # they do depend on what is seen


def test_a_three_way_gripper_becomes_lerobots_index(tmp_path: Path) -> None:
    policy = trained(GripperFormat.discrete3)
    export(policy, tmp_path)
    seen = observations(policy, 24)
    other = GaussianActorPolicy.from_pretrained(str(tmp_path), strict=True)
    before, after = make_pre_post_processors(other.config, pretrained_path=str(tmp_path))
    # As LeRobot's own actor process calls them; its discrete critic wants tensors and nothing else.
    raw = torch.cat([other.select_action(before.process_observation(theirs(o))) for o in seen])
    others = torch.cat([after.process_action(raw[:, :-1]), raw[:, -1:]], dim=1).numpy()
    ours = np.stack([policy.act(o) for o in seen])
    assert torch.equal(after(raw), torch.from_numpy(others))  # or the whole vector at once
    assert np.abs(ours[:, :3] - others[:, :3]).max() < 1e-5
    assert (others[:, 3] == ours[:, 3] + 1).all()  # 0 close, 1 stay, 2 open
    assert len(set(ours[:, 3])) > 1


def test_sampling_has_the_same_distribution(tmp_path: Path) -> None:
    policy, count = trained(), 20_000
    with torch.no_grad():  # small means, and deviations from below the clamp to above it
        last = policy.actor.trunk[-1]
        last.weight *= torch.tensor([0.1] * 4 + [0.0] * 4)[:, None]
        last.bias.copy_(torch.tensor([0.0, 0.3, -0.2, 0.1, -9.0, -2.0, -0.5, 5.0]))
    export(policy, tmp_path, stochastic=True)
    other = GaussianActorPolicy.from_pretrained(str(tmp_path), strict=True)
    before, _ = make_pre_post_processors(other.config, pretrained_path=str(tmp_path))
    seen = observations(policy, 1)[0]
    with torch.no_grad():
        mean, log_std = policy.actor(policy.torso(to_tensors({k: v[None] for k, v in seen.items()})))
        batch = before(theirs(seen))
        maps = other.actor.encoder.get_cached_image_features(batch)
        state = {STATE_KEY: batch[STATE_KEY].expand(count, -1)}
        actions, log_prob, means = other.actor(state, {k: v.expand(count, -1, -1, -1) for k, v in maps.items()})
    assert log_std[0].tolist() == [-5.0, -2.0, -0.5, 1.0]
    assert torch.allclose(means, mean.expand_as(means), atol=1e-5)
    inside = (actions.abs() < 0.99).all(dim=-1)  # where tanh can be inverted
    raw = torch.atanh(actions)
    assert inside.float().mean() > 0.3
    assert torch.allclose(log_prob[inside], squashed_log_prob(mean, log_std, raw[inside]), atol=1e-2)
    deviation = (raw - mean).abs().median(dim=0).values / 0.67449  # the median of a Gaussian's size, by its deviation
    assert torch.allclose(deviation, log_std[0].exp(), rtol=0.05)


def test_lerobot_needs_none_of_our_code(tmp_path: Path) -> None:
    export(trained(), tmp_path)
    assert {p.name for p in tmp_path.iterdir()} >= {
        "config.json",
        "model.safetensors",
        "policy_preprocessor.json",
        "policy_postprocessor.json",
    }
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["type"] == "gaussian_actor"
    assert not [p for p in tmp_path.glob("*.json") if "hiltk" in p.read_text()]


@pytest.mark.parametrize(
    ("agent", "encoder", "named"),
    [
        (CONF, EncoderConf(), "encoder=cnn"),
        (CONF, EncoderConf(name="none"), "encoder=none"),
        (replace(CONF, activation="tanh"), lerobot_conf(), "agent.activation=tanh"),
        (DrqConf(own_encoder=False), lerobot_conf(), "agent=drqv2"),
    ],
)
def test_what_lerobot_does_not_have_is_refused(
    tmp_path: Path, agent: SacConf | DrqConf, encoder: EncoderConf, named: str
) -> None:
    with pytest.raises(UserError, match=rf"{named}\b[\s\S]*agent.activation=silu encoder=lerobot"):
        export(build_policy(agent, encoder, spec_with_stats()), tmp_path)
    assert not list(tmp_path.iterdir())
