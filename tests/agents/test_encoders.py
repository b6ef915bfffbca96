from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from hiltk.agents.bc import BehaviorCloning
from hiltk.agents.drqv2 import DrqPolicy
from hiltk.agents.encoders import Neck, ResNetEncoder, build_encoder, feature_key, lecun_normal
from hiltk.agents.make import load_policy
from hiltk.agents.policy import Policy
from hiltk.agents.sac import SacAgent
from hiltk.config.groups import DrqConf, EncoderConf, SacConf, TrunkConf
from hiltk.data.episode import Episode
from hiltk.data.replay import ReplaySampler, example_observation, store_episodes
from hiltk.errors import ConfigError, UserError
from hiltk.rewards.classifier import SuccessClassifier
from hiltk.spec import STATE_KEY, ImageSpec, Spec, Stats
from tests.agents.resnets import resnet10_folder, resnet_conf

RESNET10 = TrunkConf(norm="group", widths=[64, 128, 256, 512], depths=[1, 1, 1, 1])
WRIST, FRONT = ImageSpec("wrist", 64, 48), ImageSpec("front", 32, 32)


def frames(image: ImageSpec, batch: int = 2) -> torch.Tensor:
    return torch.randint(0, 256, (batch, 3, image.height, image.width), dtype=torch.uint8)


def test_features_of_every_camera_are_concatenated() -> None:
    encoder = build_encoder(EncoderConf(features=10), [WRIST, FRONT])
    out = encoder({WRIST.key: frames(WRIST), FRONT.key: frames(FRONT)})
    assert out.shape == (2, 20) and encoder.out_features == 20


def test_bytes_and_unit_floats_give_the_same_features() -> None:
    encoder = build_encoder(EncoderConf(), [WRIST])
    image = frames(WRIST)
    assert torch.allclose(encoder({WRIST.key: image}), encoder({WRIST.key: image / 255.0}), atol=1e-5)


@pytest.mark.parametrize("scale", [255.0, -1.0])
def test_floats_outside_the_unit_range_are_refused(scale: float) -> None:
    encoder = build_encoder(EncoderConf(), [WRIST])
    with pytest.raises(UserError, match="uint8, or floats in"):
        encoder({WRIST.key: torch.rand(2, 3, 64, 48) * scale})


def test_a_missing_camera_is_named() -> None:
    with pytest.raises(UserError, match=r"observation\.images\.front"):
        build_encoder(EncoderConf(), [FRONT])({WRIST.key: frames(WRIST)})


def test_unknown_names_suggest_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean 'cnn'"):
        build_encoder(EncoderConf(name="cnm"), [WRIST])
    with pytest.raises(ConfigError, match="at least one camera"):
        build_encoder(EncoderConf(), [])


# ---------------------------------------------------------------- resnet


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return resnet10_folder(tmp_path / "resnet10")


def images(*cameras: ImageSpec, batch: int = 4) -> dict[str, torch.Tensor]:
    return {camera.key: frames(camera, batch) for camera in cameras}


def test_one_trunk_and_a_neck_per_camera(folder: Path) -> None:
    encoder = build_encoder(resnet_conf(folder), [WRIST, FRONT])
    assert isinstance(encoder, ResNetEncoder)
    assert encoder(images(WRIST, FRONT)).shape == (4, 24) and encoder.out_features == 24
    assert [neck.kernel.shape for neck in encoder.necks] == [(32, 4, 8), (32, 1, 8)]  # maps of 2x2 and 1x1


def test_trained_parameters_are_the_necks_as_in_hil_serl() -> None:
    """At 128 x 128: 4x4x512 weights for each of 8 embeddings, a Dense of 4096 to 256, a LayerNorm."""
    conf = EncoderConf(name="resnet", features=256, trunk=RESNET10)
    encoder = build_encoder(conf, [ImageSpec("wrist", 128, 128), ImageSpec("front", 128, 128)])
    each = 4 * 4 * 512 * 8 + (4096 * 256 + 256) + 2 * 256
    assert sum(p.numel() for p in encoder.parameters()) == 2 * each == 2 * 1_114_880


def test_spatial_embeddings_are_weighted_sums_over_places() -> None:
    neck = Neck(2, (1, 2), EncoderConf(embeddings=3, features=6))
    with torch.no_grad():
        neck.kernel.copy_(torch.arange(12.0).reshape(2, 2, 3))
        neck.project.weight.copy_(torch.eye(6))
    maps = torch.tensor([[[[1.0, 2.0]], [[0.0, 10.0]]]])
    # channel 0: 1 * (0, 1, 2) + 2 * (3, 4, 5); channel 1: 10 * (9, 10, 11)
    sums = torch.tensor([[6.0, 9.0, 12.0, 90.0, 100.0, 110.0]])
    expected = torch.tanh((sums - sums.mean()) / (sums.var(unbiased=False) + 1e-5).sqrt())
    torch.testing.assert_close(neck.eval()(maps), expected)


def test_lecun_normal_has_the_variance_it_promises() -> None:
    torch.manual_seed(0)
    weight = torch.empty(200_000)
    lecun_normal(weight, 400)
    assert weight.std().item() == pytest.approx(1 / 20, rel=0.01)
    assert weight.abs().max().item() <= 2 / 20 / 0.8796 + 1e-6


def test_dropout_only_where_a_gradient_is_taken(folder: Path) -> None:
    encoder = build_encoder(EncoderConf(name="resnet", weights=str(folder), dropout=0.5), [WRIST]).train()
    batch = images(WRIST)
    assert not torch.equal(encoder(batch), encoder(batch))
    with torch.no_grad():
        noiseless = encoder(batch)
        assert torch.equal(noiseless, encoder(batch))
    torch.testing.assert_close(encoder.eval()(batch), noiseless)


def test_the_neck_learns_and_the_trunk_stays_bit_for_bit(folder: Path) -> None:
    """Failures S5: in LeRobot 0.6.1 the neck sits inside no_grad; S3: the frozen network's statistics drift."""
    encoder = build_encoder(resnet_conf(folder), [WRIST]).train()
    assert isinstance(encoder, ResNetEncoder)
    trunk = {k: v.clone() for k, v in encoder.trunk.state_dict().items()}
    necks = {k: v.clone() for k, v in encoder.necks.state_dict().items()}
    optimizer = torch.optim.Adam(encoder.parameters(), lr=1e-2, weight_decay=0.1)
    target = torch.randn(4, 12)
    losses = []
    for _ in range(15):
        loss = (encoder(images(WRIST)) - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in encoder.parameters())
        optimizer.step()
        losses.append(loss.item())
    assert all(torch.equal(v, trunk[k]) for k, v in encoder.trunk.state_dict().items())
    assert not any(torch.equal(v, necks[k]) for k, v in encoder.necks.state_dict().items())
    assert losses[-1] < losses[0]


def test_the_frozen_trunk_is_no_part_of_any_optimizer(folder: Path, tiny_spec: Spec) -> None:
    policy = resnet_policy(folder, tiny_spec)
    trained = sum(p.numel() for p in policy.parameters())
    frozen = sum(v.numel() for v in policy.torso.encoder.trunk.state_dict().values())  # type: ignore[union-attr]
    stats = 2 * len(tiny_spec.state.dims)
    assert trained + frozen + stats == sum(v.numel() for v in policy.state_dict().values())
    owned = {
        id(p) for group in BehaviorCloning(policy, lr=1e-3, loss="mean").optimizer.param_groups for p in group["params"]
    }
    assert len(owned) == len(list(policy.parameters()))


def test_a_saved_policy_needs_neither_hub_nor_folder(folder: Path, tiny_spec: Spec, tmp_path: Path) -> None:
    policy = resnet_policy(folder, tiny_spec)
    saved = tmp_path / "policy"
    saved.mkdir()
    policy.save(saved)
    shutil.rmtree(folder)
    observation = example_observation(tiny_spec)
    observation["observation.images.wrist"] += 100
    again = load_policy(saved)
    np.testing.assert_array_equal(again.act(observation), policy.act(observation))
    again.save(saved)  # and once more: what was loaded can be saved
    np.testing.assert_array_equal(load_policy(saved).act(observation), policy.act(observation))


def test_a_saved_classifier_needs_no_folder_either(folder: Path, tiny_spec: Spec, tmp_path: Path) -> None:
    classifier = SuccessClassifier(resnet_conf(folder), tiny_spec).eval()
    saved = tmp_path / "classifier"
    saved.mkdir()
    classifier.save(saved)
    shutil.rmtree(folder)
    observation = example_observation(tiny_spec)
    assert SuccessClassifier.load(saved).probability(observation) == classifier.probability(observation)


def test_acting_while_training_is_without_noise(folder: Path, tiny_spec: Spec) -> None:
    policy = resnet_policy(folder, tiny_spec).train()
    observation = example_observation(tiny_spec)
    np.testing.assert_array_equal(policy.act(observation), policy.act(observation))


def test_sac_updates_leave_the_trunk_alone(folder: Path, tiny_spec: Spec, make_episode: Callable[..., Episode]) -> None:
    policy = resnet_policy(folder, tiny_spec)
    agent = SacAgent(policy, SacConf(hidden=[16], critics=2), tiny_spec.reward, horizon=20)
    store = store_episodes([make_episode(length=12)])
    sampler = ReplaySampler(store, store, discount=0.97, pad=2, rng=np.random.default_rng(0))
    trunk = {k: v.clone() for k, v in policy.torso.encoder.trunk.state_dict().items()}  # type: ignore[union-attr]
    neck = [p.clone() for p in policy.torso.encoder.parameters()]
    for _ in range(3):
        agent.update(sampler.sample(8, 0.5))
    for torso in (policy.torso, agent.target_torso):
        assert all(torch.equal(v, trunk[k]) for k, v in torso.encoder.trunk.state_dict().items())  # type: ignore[union-attr]
    assert not any(torch.equal(a, b) for a, b in zip(policy.torso.encoder.parameters(), neck, strict=True))


@pytest.mark.parametrize(("option", "value"), [("embeddings", 0), ("dropout", 1.0), ("cache_shifts", -1)])
def test_options_out_of_range(folder: Path, option: str, value: float) -> None:
    with pytest.raises(ConfigError, match="must be at least 1"):
        build_encoder(replace(resnet_conf(folder), **{option: value}), [WRIST])  # type: ignore[arg-type]


@pytest.mark.parametrize("scale", [255.0, -1.0])
def test_resnet_checks_the_range_too(folder: Path, scale: float) -> None:
    with pytest.raises(UserError, match="uint8, or floats in"):
        build_encoder(resnet_conf(folder), [WRIST])({WRIST.key: torch.rand(2, 3, 64, 48) * scale})


def test_layers_to_look_at(folder: Path) -> None:
    encoder = build_encoder(resnet_conf(folder), [WRIST, FRONT]).eval()
    batch = images(WRIST, FRONT)
    layers = encoder.embed(FRONT.key, batch[FRONT.key])
    assert {k: v.shape for k, v in layers.items()} == {"trunk": (4, 32), "features": (4, 12)}
    torch.testing.assert_close(layers["features"], encoder(batch)[:, 12:])
    cnn = build_encoder(EncoderConf(features=10), [WRIST, FRONT])
    torch.testing.assert_close(cnn.embed(FRONT.key, batch[FRONT.key])["features"], cnn(batch)[:, 10:])


def test_stored_feature_maps_stand_for_frames(folder: Path) -> None:
    encoder = build_encoder(resnet_conf(folder), [WRIST]).eval()
    assert isinstance(encoder, ResNetEncoder)
    batch = images(WRIST)
    stored = {feature_key(WRIST.key): encoder.trunk(batch[WRIST.key])}
    assert torch.equal(encoder(stored), encoder(batch))
    assert feature_key(WRIST.key) == "features.wrist"


def resnet_policy(folder: Path, spec: Spec) -> Policy:
    spec.stats = {STATE_KEY: Stats([0.0] * len(spec.state.dims), [1.0] * len(spec.state.dims))}
    return Policy(SacConf(hidden=[16]), resnet_conf(folder), spec)


def test_stacked_frames_of_drqv2_reload_too(folder: Path, tiny_spec: Spec, tmp_path: Path) -> None:
    tiny_spec.stats = {STATE_KEY: Stats([0.0] * len(tiny_spec.state.dims), [1.0] * len(tiny_spec.state.dims))}
    conf = DrqConf(own_encoder=False, frame_stack=2, hidden=[8], bottleneck=4)
    policy = DrqPolicy(conf, resnet_conf(folder), tiny_spec).eval()
    saved = tmp_path / "policy"
    saved.mkdir()
    policy.save(saved)
    shutil.rmtree(folder)
    observation = example_observation(tiny_spec)
    np.testing.assert_array_equal(load_policy(saved).act(observation), policy.act(observation))
