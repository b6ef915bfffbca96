"""What several steps share: loading datasets that must fit together, and setting up torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from hiltk.artifacts.store import Artifact, resolve
from hiltk.config import StepConf
from hiltk.data.episode import Episode
from hiltk.data.lerobot_io import dataset_spec, load_episodes
from hiltk.errors import ConfigError, UserError
from hiltk.spec import JOINT_PARTS, Spec, require_compatible


def set_up_torch(conf: StepConf) -> torch.device:
    """Seed, threads and device of this process."""
    torch.manual_seed(conf.seed)
    torch.set_num_threads(conf.threads)
    np.finfo(np.float32), np.finfo(np.float64)  # cached now: computed later, numpy would warn about what follows
    # Denormal numbers make a CPU many times slower once activations saturate.
    torch.set_flush_denormal(True)
    if conf.device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if conf.device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("no CUDA device is available", where="device=cuda", fix="device=cpu")
    return torch.device(conf.device)


def load_datasets(references: list[str], root: Path) -> tuple[list[Episode], Spec, list[Artifact]]:
    """All episodes of several datasets whose specs agree, the first one's spec, and the artifacts.

    Raises:
        UserError: none is named, one is missing or empty, or two do not fit together.
    """
    if not references:
        raise UserError("no dataset is named", where="datasets", fix="e.g. datasets=[demos]")
    artifacts = [resolve(reference, "datasets", root) for reference in references]
    spec = dataset_spec(artifacts[0].path)
    episodes: list[Episode] = []
    for artifact in artifacts:
        other = dataset_spec(artifact.path)
        require_compatible(
            spec,
            other,
            JOINT_PARTS,
            left_name=artifacts[0].ref,
            right_name=artifact.ref,
        )
        episodes += load_episodes(artifact.path, spec)
    return episodes, spec, artifacts


def split_by_episode(count: int, held_out: float, seed: int) -> tuple[list[int], list[int]]:
    """Indices of training and held-out episodes; whole episodes, because neighbouring frames are near-copies."""
    order = np.random.default_rng(seed).permutation(count).tolist()
    cut = min(count - 1, max(1, round(count * held_out))) if held_out > 0 and count > 1 else 0
    return sorted(order[cut:]), sorted(order[:cut])
