"""The subject of a diagnosis: an encoder with the observation pipeline that belongs to it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from hiltk.agents.encoders import Encoder
from hiltk.agents.policy import Policy, to_tensors
from hiltk.arm.gripper import quantise
from hiltk.errors import UserError
from hiltk.images import to_tensor
from hiltk.observation import Observation
from hiltk.spec import Spec

CHUNK = 64  # observations through a network at once


@dataclass(frozen=True)
class Subject:
    """One encoder.

    Attributes:
        spec: its observation pipeline.
        stack: frames its first layer takes; an image stands for all of them, as the first of an episode does.
        layers: which of the encoder's layers say something; None for all.
        policy: whose encoder it is, if anybody's.
    """

    name: str
    encoder: Encoder
    spec: Spec
    device: torch.device
    stack: int = 1
    layers: tuple[str, ...] | None = None
    policy: Policy | None = None


def of_policy(name: str, policy: Policy) -> Subject:
    """A policy's encoder.

    Raises:
        UserError: it has none.
    """
    encoder = policy.torso.encoder
    if not encoder.out_features:
        raise UserError(f"the policy {name} looks at no images", where="policies")
    encoder = encoder.innermost
    return Subject(name, encoder, policy.spec, policy.device, encoder.stack, policy=policy)


@torch.no_grad()
def embed(subject: Subject, key: str, frames: np.ndarray) -> dict[str, np.ndarray]:
    """Embeddings (N, D) of one camera's frames (N, H, W, 3) by layer."""
    parts: dict[str, list[np.ndarray]] = {}
    for start in range(0, len(frames), CHUNK):
        tensor = to_tensor(frames[start : start + CHUNK], subject.device)
        for layer, values in subject.encoder.embed(key, tensor.repeat(1, subject.stack, 1, 1)).items():
            if subject.layers is None or layer in subject.layers:
                parts.setdefault(layer, []).append(values.flatten(1).cpu().numpy())
    return {layer: np.concatenate(values) for layer, values in parts.items()}


@torch.no_grad()
def decide(policy: Policy, observations: Observation, deterministic: bool = True) -> np.ndarray:
    """Actions (N, A) as they would be executed, for N observations that are stacked as the policy wants them."""
    size, parts = len(next(iter(observations.values()))), []
    for start in range(0, size, CHUNK):
        part = {k: np.ascontiguousarray(v[start : start + CHUNK]) for k, v in observations.items()}
        parts.append(policy.decide(to_tensors(part, policy.device), deterministic).cpu().numpy())
    return quantise(np.concatenate(parts), policy.spec.action)


def repeated(observations: Observation, stack: int) -> Observation:
    """Single observations as a policy sees them at the start of an episode: each stands for its whole stack."""
    return {k: np.concatenate([v] * stack, axis=-1) for k, v in observations.items()}
