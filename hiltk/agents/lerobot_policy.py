"""A trained policy as a folder that LeRobot's own ``GaussianActorPolicy`` (0.6.1) loads, without any of our code.

Both compute the same function; what differs is where things are kept:

- The state comes first in our features and last in LeRobot's: columns of the first linear layers change places.
- Mean and deviation come out of one linear layer here, out of two there.
- LeRobot hands what it calls a standard deviation to ``MultivariateNormal`` as the *covariance*. Its layer is exported
  doubled, so that exp(2 log_std) is the variance and LeRobot's samples have our deviation.
- LeRobot normalises before the policy (the saved preprocessor) what we normalise inside. Its normaliser does not clip
  the state to +-8 deviations as ours does (`hiltk.agents.networks.StateNormalizer`).
- Actions are in [-1, 1] on both sides and are not rescaled. A three-way gripper is LeRobot's discrete critic, whose
  index 0, 1, 2 (close, stay, open: ``GripperVelocityToJoint`` with ``discrete_gripper``) ends the action vector in
  place of our -1, 0, +1. (LeRobot's discrete critic fails on what ``preprocessor(observation)`` returns, which has
  entries that are no tensors; ``preprocessor.process_observation(observation)``, as its own actor calls it, works.)
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from lerobot.configs import FeatureType, NormalizationMode, PolicyFeature
from lerobot.policies.factory import make_pre_post_processors
from lerobot.policies.gaussian_actor.configuration_gaussian_actor import (
    ActorNetworkConfig,
    CriticNetworkConfig,
    GaussianActorConfig,
    PolicyConfig,
)
from lerobot.policies.gaussian_actor.modeling_gaussian_actor import GaussianActorObservationEncoder, GaussianActorPolicy
from torch import Tensor, nn

from hiltk.agents.encoders import LeRobotEncoder, Neck
from hiltk.agents.gripper import CHOICES
from hiltk.agents.make import AGENTS
from hiltk.agents.networks import LOG_STD_MAX, LOG_STD_MIN, Torso
from hiltk.agents.policy import Policy
from hiltk.errors import UserError
from hiltk.images import MEAN, STD
from hiltk.spec import STATE_KEY

ACTION = "action"
NO_VARIANCE = 1e-20  # a deviation of 1e-10: the sample is the mean to the last digit of a float32


def export(policy: Policy, folder: Path, *, stochastic: bool = False) -> None:
    """Write ``config.json``, ``model.safetensors`` and both processors, as LeRobot saves them, into a folder.

    Args:
        stochastic: LeRobot samples whenever it acts; with False its deviation is exported as good as zero, so that it
            gives our deterministic action.

    Raises:
        UserError: LeRobot has no such network.
    """
    check_exportable(policy)
    config = lerobot_config(policy, stochastic)
    theirs = GaussianActorPolicy(config)
    with torch.no_grad():
        copy_weights(policy, theirs)
    theirs.save_pretrained(folder)
    for processor in make_pre_post_processors(config, dataset_stats=_tensors(config.dataset_stats)):
        processor.save_pretrained(folder)


def check_exportable(policy: Policy) -> None:
    """Refuse a policy whose networks LeRobot does not have.

    Raises:
        UserError: naming what differs, and the settings that train a policy which can be exported.
    """
    agent, encoder = policy.agent_conf, policy.encoder_conf
    differing = []
    if not AGENTS[agent.name].lerobot:
        differing = [f"agent={agent.name}"]
    elif agent.activation != "silu":
        differing = [f"agent.activation={agent.activation}"]
    if not isinstance(policy.torso.encoder, LeRobotEncoder):  # whose parts `copy_weights` copies
        differing.append(f"encoder={encoder.name}")
    if differing:
        raise UserError(
            f"LeRobot's GaussianActorPolicy has no network like this policy's ({', '.join(differing)})",
            where=f"policy={', '.join(differing)}",
            fix="train one that it has: agent=sac agent.activation=silu encoder=lerobot",
        )


def lerobot_config(policy: Policy, stochastic: bool) -> GaussianActorConfig:
    """LeRobot's config of the same networks, cameras first and in our order."""
    spec, agent, encoder = policy.spec, policy.agent_conf, policy.encoder_conf
    images = {i.key: PolicyFeature(FeatureType.VISUAL, (3, i.height, i.width)) for i in spec.images}
    state = PolicyFeature(FeatureType.STATE, (len(spec.state.dims),))
    arm = len(spec.action.dims) - (policy.gripper is not None)  # LeRobot counts the continuous part
    low, high = (2 * LOG_STD_MIN, 2 * LOG_STD_MAX) if stochastic else (math.log(NO_VARIANCE),) * 2
    normalize = policy.torso.normalize
    return GaussianActorConfig(
        input_features={**images, STATE_KEY: state},
        output_features={ACTION: PolicyFeature(FeatureType.ACTION, (arm,))},
        normalization_mapping={
            "VISUAL": NormalizationMode.MEAN_STD,
            "STATE": NormalizationMode.MEAN_STD,
            "ACTION": NormalizationMode.IDENTITY,
        },
        dataset_stats={
            **{key: {"mean": list(MEAN), "std": list(STD)} for key in images},
            STATE_KEY: {"mean": normalize.mean.tolist(), "std": normalize.std.tolist()},
        },
        device="cpu",
        push_to_hub=False,
        freeze_vision_encoder=False,
        image_encoder_hidden_dim=encoder.channels[0],
        image_embedding_pooling_dim=encoder.embeddings,
        latent_dim=encoder.features,
        num_discrete_actions=CHOICES if policy.gripper else None,
        actor_network_kwargs=ActorNetworkConfig(hidden_dims=list(agent.hidden)),
        discrete_critic_network_kwargs=CriticNetworkConfig(hidden_dims=list(agent.hidden)),
        policy_kwargs=PolicyConfig(std_min=math.exp(low), std_max=math.exp(high)),
    )


def copy_weights(policy: Policy, theirs: GaussianActorPolicy) -> None:
    """Give LeRobot's policy our weights; actor, encoder and discrete critic of it are all that act."""
    torso, encoder = policy.torso, policy.torso.encoder
    assert isinstance(encoder, LeRobotEncoder)
    _copy_encoder(torso, encoder, theirs.encoder_actor)
    _copy_trunk(policy.actor.trunk, theirs.actor.network.net, encoder)
    last = policy.actor.trunk[-1]
    mean, log_std = (dict(zip(("weight", "bias"), both, strict=True)) for both in _halves(last))
    theirs.actor.mean_layer.load_state_dict(mean)
    theirs.actor.std_layer.load_state_dict({name: 2 * value for name, value in log_std.items()})
    if policy.gripper:
        _copy_trunk(policy.gripper.trunk, theirs.discrete_critic.net.net, encoder)
        theirs.discrete_critic.output_layer.load_state_dict(policy.gripper.trunk[-1].state_dict())


def _copy_encoder(torso: Torso, encoder: LeRobotEncoder, theirs: GaussianActorObservationEncoder) -> None:
    theirs.image_encoder.image_enc_layers.load_state_dict(encoder.convolutions.state_dict())
    assert torso.embed_state is not None
    theirs.state_encoder.load_state_dict(torso.embed_state.state_dict())
    for key, neck in zip(encoder.keys, encoder.necks, strict=True):
        assert isinstance(neck, Neck)
        name = key.replace(".", "_")
        kernel = theirs.spatial_embeddings[name].get_parameter("kernel")
        kernel.copy_(neck.kernel.reshape(kernel.shape))
        _, project, norm, _ = theirs.post_encoders[name]
        project.load_state_dict(neck.project.state_dict())
        norm.load_state_dict(neck.norm.state_dict())


def _copy_trunk(ours: nn.Sequential, theirs: nn.Sequential, encoder: LeRobotEncoder) -> None:
    """All layers but our last, for which LeRobot has others."""
    state = ours[:-1].state_dict()
    width = encoder.state_features
    state["0.weight"] = torch.cat([state["0.weight"][:, width:], state["0.weight"][:, :width]], dim=1)
    theirs.load_state_dict(state)


def _halves(layer: nn.Module) -> list[tuple[Tensor, Tensor]]:
    """Weight and bias of the mean, then of log_std, which one linear layer gives together."""
    assert isinstance(layer, nn.Linear)
    return list(zip(layer.weight.chunk(2), layer.bias.chunk(2), strict=True))


def _tensors(stats: dict[str, dict[str, Any]] | None) -> dict[str, dict[str, Tensor]]:
    return {key: {name: torch.tensor(v) for name, v in of.items()} for key, of in (stats or {}).items()}
