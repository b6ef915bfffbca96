"""``encoder=lerobot``: the layout of LeRobot's own policy, counted against LeRobot's own class."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from lerobot.configs import FeatureType, PolicyFeature
from lerobot.policies.gaussian_actor.configuration_gaussian_actor import GaussianActorConfig
from lerobot.policies.gaussian_actor.modeling_gaussian_actor import GaussianActorObservationEncoder, GaussianActorPolicy

from hiltk.agents.encoders import LeRobotEncoder, build_encoder
from hiltk.agents.make import build_policy
from hiltk.agents.sac import SacAgent
from hiltk.config.groups import EncoderConf, SacConf
from hiltk.data.replay import ReplaySampler, store_episodes
from hiltk.errors import ConfigError
from hiltk.spec import STATE_KEY, ImageSpec, Spec, Stats
from tests.conftest import build_episode, build_spec


def lerobot_conf(**changes: object) -> EncoderConf:
    """What ``encoder=lerobot`` composes, narrower where a test asks for it."""
    layout = {"name": "lerobot", "channels": [32] * 4, "kernels": [7, 5, 3, 3], "strides": [2] * 4, "features": 256}
    return EncoderConf(**{**layout, **changes})  # type: ignore[arg-type]


def spec_with_stats(size: int = 40, cameras: tuple[str, ...] = ("wrist",)) -> Spec:
    spec = build_spec(size, cameras)
    dims = len(spec.state.dims)
    spec.stats = {STATE_KEY: Stats([0.1] * dims, [2.0] * dims, [-1.0] * dims, [1.0] * dims)}
    return spec


def lerobot_config(spec: Spec) -> GaussianActorConfig:
    """LeRobot's defaults for the same observations and actions."""
    features = {i.key: PolicyFeature(FeatureType.VISUAL, (3, i.height, i.width)) for i in spec.images}
    features[STATE_KEY] = PolicyFeature(FeatureType.STATE, (len(spec.state.dims),))
    action = PolicyFeature(FeatureType.ACTION, (len(spec.action.dims),))
    return GaussianActorConfig(
        input_features=features, output_features={"action": action}, freeze_vision_encoder=False, device="cpu"
    )


def count(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


@pytest.mark.parametrize(("size", "cameras"), [(64, ("wrist",)), (128, ("wrist", "front"))])
def test_as_many_parameters_as_lerobot(size: int, cameras: tuple[str, ...]) -> None:
    spec = spec_with_stats(size, cameras)
    policy, config = build_policy(SacConf(activation="silu"), lerobot_conf(), spec), lerobot_config(spec)
    assert count(policy.torso) == count(GaussianActorObservationEncoder(config))
    assert count(policy) == count(GaussianActorPolicy(config))


def test_shapes_and_bytes_or_unit_floats() -> None:
    wrist, front = ImageSpec("wrist", 48, 40), ImageSpec("front", 48, 40)
    encoder = build_encoder(lerobot_conf(features=6), [wrist, front]).eval()
    frames = {k: torch.randint(0, 256, (3, 3, 48, 40), dtype=torch.uint8) for k in (wrist.key, front.key)}
    out = encoder(frames)
    assert isinstance(encoder, LeRobotEncoder) and out.shape == (3, 12) and encoder.out_features == 12
    assert torch.allclose(out, encoder({k: v / 255 for k, v in frames.items()}), atol=1e-5)
    # Each camera goes through the same convolutions into its own neck.
    assert torch.equal(encoder.embed(front.key, frames[front.key])["features"], out[:, 6:])


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"kernels": [5, 5, 3, 3]}, "kernels"), ({"channels": [8, 8, 8, 16]}, "one number of channels")],
)
def test_another_layout_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build_encoder(lerobot_conf(**changes), [ImageSpec("wrist", 64, 64)])


def test_cameras_of_two_sizes_or_too_small_are_refused() -> None:
    build_encoder(lerobot_conf(), [ImageSpec("wrist", 39, 39)])
    for images in ([ImageSpec("wrist", 38, 64)], [ImageSpec("wrist", 64, 64), ImageSpec("front", 96, 64)]):
        with pytest.raises(ConfigError, match="at least 39 pixels"):
            build_encoder(lerobot_conf(), images)


def test_every_parameter_is_trained() -> None:
    torch.manual_seed(0)
    spec = spec_with_stats(40, ("wrist", "front"))
    conf = SacConf(activation="silu", hidden=[16, 16])
    policy = build_policy(conf, lerobot_conf(channels=[4] * 4, features=8), spec)
    agent = SacAgent(policy, conf, spec.reward, horizon=10)
    store = store_episodes([build_episode(spec, 8, seed) for seed in range(2)])
    sampler = ReplaySampler(store, store, discount=conf.discount, pad=4, rng=np.random.default_rng(0))
    before = {name: p.detach().clone() for name, p in policy.named_parameters()}
    for _ in range(2):
        metrics = agent.update(sampler.sample(16, 0.5))
    assert all(np.isfinite(v) for v in metrics.values())
    still = [name for name, p in policy.named_parameters() if torch.equal(p, before[name])]
    assert not still
    assert any(name.startswith("torso.embed_state") for name in before)
