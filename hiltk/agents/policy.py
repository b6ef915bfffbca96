"""The policy: torso and actor, as they are pre-trained, trained, saved, evaluated and deployed."""

from __future__ import annotations

import copy
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from omegaconf import OmegaConf
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from hiltk.agents.encoders import ENCODERS, build_encoder, rebuildable
from hiltk.agents.gripper import GripperHead, greedy, head_temperature
from hiltk.agents.networks import GaussianActor, Observations, Torso
from hiltk.agents.weights import require_finite
from hiltk.arm.gripper import quantise
from hiltk.artifacts.writing import write_spec
from hiltk.config.groups import EncoderConf, LearnerConf
from hiltk.errors import UserError
from hiltk.formats import POLICY
from hiltk.images import to_tensor
from hiltk.observation import Observation
from hiltk.spec import STATE_KEY, GripperFormat, ImageSpec, Spec

WEIGHTS, CONFIG = "policy.safetensors", "policy.yaml"


class Policy(nn.Module):
    """Observation in, action out. Behaviour cloning and reinforcement learning train this same object."""

    torso: Torso
    actor: GaussianActor
    frame_stack = 1

    def __init__(self, agent: LearnerConf, encoder: EncoderConf, spec: Spec) -> None:
        super().__init__()
        if STATE_KEY not in spec.stats:
            raise UserError(
                "the spec has no statistics of the state",
                where=f"stats.{STATE_KEY}",
                fix="record or repair the dataset again",
            )
        spec = copy.deepcopy(spec)
        if not ENCODERS[encoder.name].sees:
            spec.images = []  # nobody looks at them, so nobody may require them
        self.agent_conf, self.encoder_conf, self.spec = agent, encoder, spec
        self.gripper: GripperHead | None = None
        self._build(spec.images)
        self.encoder_conf = rebuildable(encoder, self)

    def _build(self, images: list[ImageSpec]) -> None:
        """Make ``torso`` and ``actor``; a subclass has networks of its own."""
        agent = self.agent_conf
        self.torso = Torso(build_encoder(self.encoder_conf, images), self.spec.stats[STATE_KEY])
        features, action = self.torso.out_features, self.spec.action
        three_way = action.gripper is GripperFormat.discrete3
        self.actor = GaussianActor(features, len(action.dims) - three_way, agent.hidden, agent.activation)
        if three_way:  # the actor moves the arm, the head the gripper
            temperature = head_temperature(self.spec.reward)
            self.gripper = GripperHead(features, agent.hidden, agent.activation, temperature)

    def reset(self) -> None:
        """An episode begins; a policy with a memory forgets the last one."""

    def observe(self, observation: Observation) -> None:
        """See an observation on which somebody else acts; a policy with a memory keeps it."""

    def advance(self, env_step: int) -> None:
        """Training is about to take this environment step; exploration schedules run by it."""

    @torch.no_grad()
    def act(self, observation: Observation, deterministic: bool = True) -> np.ndarray:
        """The action (A,) float32 for one observation as the observation pipeline returns it."""
        action = self.decide(to_tensors({k: v[None] for k, v in observation.items()}, self.device), deterministic)
        return quantise(action[0].cpu().numpy(), self.spec.action)

    def decide(self, observations: Observations, deterministic: bool = True) -> Tensor:
        """Actions (B, A) for a batch, each observation with its stack of frames, before `quantise`."""
        features = self.torso(observations)
        action = self.actor.mode(features) if deterministic else self.actor.sample(features)[0]
        return greedy(self.gripper, action, features)

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    def save(self, folder: Path) -> None:
        """Write weights, config and spec into an existing folder."""
        self.save_weights(folder / WEIGHTS)
        config = {
            **POLICY.stamp(),
            "agent": asdict(self.agent_conf),
            "encoder": asdict(self.encoder_conf),
        }
        OmegaConf.save(OmegaConf.create(config), folder / CONFIG)
        write_spec(self.spec, "policies", folder)

    def save_weights(self, file: Path) -> None:
        save_file({k: v.contiguous() for k, v in self.state_dict().items()}, file)

    def load_weights(self, folder: Path) -> None:
        """Take over the weights of another policy artifact; every parameter must fit.

        Raises:
            UserError: naming the parameters that are missing, unknown, of another shape or not finite.
        """
        try:
            weights = load_file(folder / WEIGHTS)
        except (OSError, SafetensorError) as error:
            raise UserError(f"the weights cannot be read: {error}", where=str(folder / WEIGHTS)) from error
        require_finite(weights, folder / WEIGHTS)
        own = self.state_dict()
        problems = [f"missing: {k}" for k in own if k not in weights] + [
            f"unknown: {k}" for k in weights if k not in own
        ]
        problems += [
            f"shape: {k} is {tuple(weights[k].shape)} in the file, {tuple(own[k].shape)} here"
            for k in own
            if k in weights and weights[k].shape != own[k].shape
        ]
        if problems:
            listing = "\n".join(f"    {p}" for p in problems[:10])
            raise UserError(
                f"the policy does not fit this configuration ({len(problems)} parameters differ):\n{listing}",
                where=str(folder),
                fix="use the same agent.*, encoder.* and cameras as the run that made it",
            )
        self.load_state_dict(weights)


def normaliser(folder: Path) -> tuple[np.ndarray, np.ndarray] | None:
    """Mean and standard deviation (S,) by which the network of a saved policy normalises its stack of states.

    They are the network's own: what its spec says of them is only what was said. None where the file has none, or
    cannot be read.
    """
    try:
        with safe_open(folder / WEIGHTS, "numpy") as file:
            return file.get_tensor("torso.normalize.mean"), file.get_tensor("torso.normalize.std")
    except (OSError, SafetensorError):
        return None


def to_tensors(observation: dict[str, np.ndarray], device: torch.device | str = "cpu") -> Observations:
    """A batch of numpy observations to tensors; frames (B, H, W, C) become (B, C, H, W) views, still uint8."""
    return {
        k: to_tensor(v, device) if v.ndim == 4 else torch.from_numpy(v).to(device, non_blocking=True)
        for k, v in observation.items()
    }
