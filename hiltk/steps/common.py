"""What several steps share: loading datasets that must fit together, and setting up torch."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from rich.console import Console

from hiltk.agents.compute import AUTO, require_device, torch_device
from hiltk.agents.policy import Policy
from hiltk.artifacts.store import Artifact, resolve, resolve_each
from hiltk.config.commands import ComputeConf
from hiltk.data.decoded import cached_episodes
from hiltk.data.episode import Episode
from hiltk.data.lerobot_io import dataset_spec
from hiltk.data.replay import FrameStore, to_batch
from hiltk.data.statistics import vector_stats
from hiltk.errors import UserError
from hiltk.orchestration.progress import roughly
from hiltk.spec import JOINT_PARTS, STATE_KEY, Spec, require_compatible, say_what_differs
from hiltk.steps.checks import check_process

LARGE = 128 * 128  # pixels: more are rarely worth their time


def set_up_torch(conf: ComputeConf) -> torch.device:
    """Seed, threads and device of this process.

    Raises:
        ConfigError: one of them is out of range, unknown, or not there.
    """
    check_process(conf)
    torch.manual_seed(conf.seed)
    torch.set_num_threads(conf.threads)
    cv2.setNumThreads(conf.threads)  # for frames this small OpenCV's own threads only wait for each other
    np.finfo(np.float32), np.finfo(np.float64)  # cached now: computed later, numpy would warn about what follows
    # Denormal numbers make a CPU many times slower once activations saturate.
    torch.set_flush_denormal(True)
    if conf.device == AUTO:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch_device(conf.device)
    require_device(device)
    return device


def say_how_long(policy: Policy, store: FrameStore, batch_size: int, updates: int) -> None:
    """Before training on large pictures, say about how long it takes, measured on one batch, and how to have smaller.

    Leaves the policy and all random numbers as they are.
    """
    image = max(policy.spec.images, key=lambda image: image.height * image.width, default=None)
    rows = store.transitions()[:batch_size]
    if image is None or image.height * image.width <= LARGE or not len(rows):
        return
    data = store.gather(rows, stack=policy.frame_stack, following=False)
    seen = to_batch(data, 0, np.random.default_rng(0)).observation
    with torch.random.fork_rng(devices=[]):
        started = time.perf_counter()
        features = policy.torso({key: value.to(policy.device) for key, value in seen.items()})
        if features.requires_grad:
            features.sum().backward()
        seconds = (time.perf_counter() - started) * batch_size / len(rows)
    policy.zero_grad(set_to_none=True)
    Console().print(
        f"pictures of {image.height} x {image.width}: one update takes {seconds:.1f} s here or more, "
        f"{updates} of them {roughly(seconds * updates)}. Smaller pictures take less: foreign.image_height=64 "
        "foreign.image_width=64 of adopt, env.image_height=64 env.image_width=64 in simulation",
        style="yellow",
        markup=False,
        soft_wrap=True,
    )


def load_datasets(
    references: list[str], root: Path, *, after_end: bool | Callable[[Spec], int] = False
) -> tuple[list[Episode], Spec, list[Artifact]]:
    """All episodes of several datasets whose specs agree, the first one's spec, and the artifacts.

    Args:
        after_end: as for `hiltk.data.lerobot_io.load_episodes`; how many may follow from the first one's spec.

    Raises:
        UserError: none is named, one is missing or empty, or two do not fit together.
        ConfigError: one is named twice.
    """
    if not references:
        raise UserError("no dataset is named", where="datasets", fix="e.g. datasets=[demos]")
    artifacts = resolve_each(references, "datasets", root)
    spec = dataset_spec(artifacts[0].path)
    episodes: list[Episode] = []
    kept = after_end(spec) if callable(after_end) else after_end
    for artifact in artifacts:
        other = dataset_spec(artifact.path)
        require_compatible(
            spec,
            other,
            JOINT_PARTS,
            left_name=artifacts[0].ref,
            right_name=artifact.ref,
        )
        say_what_differs(spec, other, left_name=artifacts[0].ref, right_name=artifact.ref)
        episodes += cached_episodes(artifact.path, spec, cache=frame_cache(root), after_end=kept, name=artifact.ref)
    if len(artifacts) > 1:
        # Normalising by the first dataset alone would leave the others off centre.
        states = np.concatenate([e.observations[STATE_KEY] for e in episodes])
        spec.stats[STATE_KEY] = vector_stats(states, spec.state.dims, ", ".join(a.ref for a in artifacts))
    return episodes, spec, artifacts


def frame_cache(root: str | Path) -> Path:
    """Where decoded frames of datasets are kept; may be deleted at any time."""
    return Path(root) / "cache"


def warm_start(policy: Policy, reference: str, root: Path) -> Artifact:
    """Take over another policy's weights and the statistics that belong to them.

    Raises:
        UserError: it was made under another contract or has other parameters.
    """
    start = resolve(reference, "policies", root)
    require_compatible(start.spec(), policy.spec, JOINT_PARTS, left_name=start.ref, right_name="this run")
    say_what_differs(start.spec(), policy.spec, left_name=start.ref, right_name="this run")
    policy.load_weights(start.path)
    policy.spec.stats = start.spec().stats
    Console().print(f"starting from {start.ref}: every parameter of the policy loaded")
    return start


def split_by_episode(
    count: int, held_out: float, seed: int, recording: np.ndarray | None = None
) -> tuple[list[int], list[int]]:
    """Indices of training and held-out episodes; whole episodes, because neighbouring frames are near-copies.

    Args:
        recording: (count,) a number that copies of one recording share: they stay together. None: there are none.
    """
    recording = np.arange(count) if recording is None else recording
    different = np.unique(recording)
    order = np.random.default_rng(seed).permutation(len(different))
    cut = min(len(order) - 1, max(1, round(len(order) * held_out))) if held_out > 0 and len(order) > 1 else 0
    held = np.isin(recording, different[order[:cut]])
    return np.flatnonzero(~held).tolist(), np.flatnonzero(held).tolist()
