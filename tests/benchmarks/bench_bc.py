"""Behaviour cloning as a devlog did it (a LeRobotDataset through a DataLoader), and by `hiltk bc-pretrain`.

    uv run python -m tests.benchmarks.bench_bc                  # about half an hour
    uv run python -m tests.benchmarks.bench_bc --steps 50 --total 200 --only cnn

The devlog's 3000 steps over 2220 frames at batch 256 took 2 h 23 min, most of it decoding video. Here about 2220 frames
of one 128 x 128 wrist camera (which is what it had) come from the simulator, stored as video. Both ways train the same
network from the same initial weights with the same optimizer, Adam at 3e-4, on the same episodes, and are judged by the
same held-out episodes:

- the devlog's way: ``DataLoader(LeRobotDataset, batch_size=256, shuffle=True)``, item by item, no augmentation;
- hiltk: the whole command, reading and decoding the dataset included, with its random shifts and without.

Networks: a frozen ResNet-10 with a trained neck, as in the devlog (random weights: what it costs is what counts), and
our default CNN. hiltk runs the frozen one from stored feature maps.

One thread; CPU seconds of the process and its workers, so that other work on the machine counts on neither side. The
devlog's way is run for ``--steps`` and its time scaled to ``--all-steps``: every step of it costs the same. Its loss
after all steps is not extrapolated: its very batches (same frames, order, initial weights, dropout) are trained on
from memory with ``--losses``, and the loss after ``--steps`` shows whether that is the same training. Only for the
frozen network, where it takes minutes.
"""

from __future__ import annotations

import argparse
import gc
import logging
import os
import resource
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain, islice, repeat
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import torch
from torch.utils.data import DataLoader, Subset

from hiltk.agents.bc import BehaviorCloning
from hiltk.agents.encoders import FEATURE_PREFIX, ResNetEncoder, feature_key
from hiltk.agents.make import build_policy
from hiltk.artifacts.store import Artifact
from hiltk.config.commands import BcConf
from hiltk.configuring.typed import compose
from hiltk.data.replay import Batch, FrameStore, store_episodes
from hiltk.spec import IMAGE_PREFIX, STATE_KEY
from hiltk.steps import bc_pretrain, record
from hiltk.steps.bc_pretrain import _held_out_batches
from hiltk.steps.common import load_datasets, set_up_torch, split_by_episode
from hiltk.verbs import STEPS
from tests.benchmarks.bench_learning import resnet10_folder

FRAMES, BATCH = 2220, 256


@dataclass
class Sizes:
    """Steps of the devlog's way and of ours, and whether losses are compared to the end."""

    steps: int
    total: int
    losses: bool


def cpu_seconds() -> float:
    """Of this process and the workers it has waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)


def recorded(root: Path) -> Artifact:
    """Demonstrations of the scripted human, about `FRAMES` frames in all."""
    words = ["name=demos", "task=lift", "episodes=136", "video=true", "env.image_height=128", "env.image_width=128"]
    return record.run(compose(STEPS["record"], [*words, f"root={root}"]))


def settings(root: Path, steps: int, *words: str) -> BcConf:
    common = ["datasets=[demos]", "name=bc", f"batch_size={BATCH}", "lr=3e-4", f"steps={steps}", f"root={root}"]
    conf: BcConf = compose(STEPS["bc-pretrain"], [*common, *words])
    return conf


# ---------------------------------------------------------------- the devlog's way


@dataclass
class Setting:
    """The same start for both: policy, training rows and held-out batches."""

    conf: BcConf
    cloning: BehaviorCloning
    store: FrameStore
    rows: np.ndarray
    tests: list[Batch]


def setting(conf: BcConf) -> Setting:
    """What `hiltk bc-pretrain` has before its first step; rows are those of the dataset, ends of episodes included."""
    set_up_torch(conf)
    episodes, spec, _ = load_datasets(conf.datasets, Path(conf.root))
    train, held_out = split_by_episode(len(episodes), conf.held_out, conf.seed)
    policy = build_policy(conf.agent, conf.encoder, spec)
    store = store_episodes(episodes)
    kept = np.isin(store.episode[store.transitions() % store.size], train)
    tests = _held_out_batches(store_episodes([episodes[i] for i in held_out]), conf, policy)
    return Setting(conf, BehaviorCloning(policy, lr=conf.lr, loss=conf.loss), store, store.transitions()[kept], tests)


def loader(dataset: Path, rows: np.ndarray, workers: int) -> Iterable[dict[str, Any]]:
    from lerobot.datasets import LeRobotDataset

    frames = LeRobotDataset("bench/demos", root=dataset)
    return DataLoader(
        Subset(frames, rows.tolist()),
        batch_size=BATCH,
        shuffle=True,
        num_workers=workers,
        generator=torch.Generator().manual_seed(0),
    )


def as_batch(item: dict[str, Any]) -> Batch:
    size = len(item["action"])
    observation = {k: v for k, v in item.items() if k == STATE_KEY or k.startswith((IMAGE_PREFIX, FEATURE_PREFIX))}
    zeros = torch.zeros(size)
    return Batch(observation, item["action"], zeros, {}, zeros, torch.ones(size, dtype=torch.bool))


def devlog(start: Setting, dataset: Path, steps: int, workers: int) -> tuple[float, float]:
    """CPU seconds per step, and the held-out loss after ``steps``."""
    began = cpu_seconds()
    for item in islice(chain.from_iterable(repeat(loader(dataset, start.rows, workers))), steps):
        start.cloning.update(as_batch(item))
    gc.collect()  # the workers end here, and their seconds count
    return (cpu_seconds() - began) / steps, start.cloning.evaluate(start.tests)


def same_batches(start: Setting, steps: int, also: int) -> tuple[float, float]:
    """The devlog's training on a frozen trunk without its loader: held-out losses after ``also`` and all ``steps``."""
    store, encoder = start.store, start.cloning.policy.torso.encoder
    assert isinstance(encoder, ResNetEncoder)
    every = np.arange(store.end)
    frames = {k: torch.from_numpy(np.asarray(store.frames[k][every])) for k in (*encoder.keys, STATE_KEY)}
    inputs = {feature_key(k): encoder.trunk(frames[k].permute(0, 3, 1, 2)) for k in encoder.keys}
    inputs |= {"action": torch.from_numpy(store.action[every]), STATE_KEY: frames[STATE_KEY]}
    order = DataLoader(start.rows.tolist(), BATCH, shuffle=True, generator=torch.Generator().manual_seed(0))
    early = float("nan")
    for step, rows in enumerate(islice(chain.from_iterable(repeat(order)), steps), start=1):
        item = {k: v[rows] for k, v in inputs.items()}
        start.cloning.update(as_batch(item))
        if step == also:
            early = start.cloning.evaluate(start.tests)
    return early, start.cloning.evaluate(start.tests)


# ---------------------------------------------------------------- ours


def ours(conf: BcConf, also: int) -> tuple[float, float, float]:
    """CPU seconds of the whole command, and its held-out losses after ``also`` steps and after all."""
    began = cpu_seconds()
    artifact = bc_pretrain.run(conf)
    seconds = cpu_seconds() - began
    table = np.genfromtxt(artifact.path / "metrics.csv", delimiter=",", names=True)
    early = table["held_out_loss"][table["step"] == also]
    return seconds, float(early[0]) if len(early) else float("nan"), float(table["held_out_loss"][-1])


def compare(name: str, dataset: Artifact, root: Path, sizes: Sizes, words: list[str], fast: list[str]) -> None:
    steps, total = sizes.steps, sizes.total
    conf = settings(root, total, *words)
    per_step, loss = devlog(setting(conf), dataset.path, steps, workers=0)
    with_workers, _ = devlog(setting(conf), dataset.path, max(4, steps // 5), workers=2)
    print(f"{name}\n  the devlog's way: {per_step:.2f} CPU s a step, {with_workers:.2f} with 2 workers")
    print(f"    held-out loss after {steps} steps {loss:.4f}", flush=True)
    for how, more in (("with shifts", []), ("without", ["encoder.shift_pad=0"]))[: 2 if sizes.losses else 1]:
        seconds, early, late = ours(settings(root, total, *words, *fast, *more), steps)
        print(
            f"  hiltk {how}: {seconds:.0f} CPU s for all {total} steps, dataset included; ratio "
            f"{per_step * total / seconds:.0f}, to 2 workers {with_workers * total / seconds:.0f}\n"
            f"    held-out loss after {steps} steps {early:.4f}, after {total} {late:.4f}",
            flush=True,
        )
    if sizes.losses and fast:
        early, late = same_batches(setting(conf), total, steps)
        print(f"  the devlog's batches from memory: after {steps} steps {early:.4f}, after {total} {late:.4f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=50, help="of the devlog's way; a multiple of 50 shows more")
    parser.add_argument("--total", type=int, default=3000, help="steps of ours")
    parser.add_argument("--losses", action="store_true", help="hiltk without shifts, and the devlog's loss at the end")
    parser.add_argument("--only", choices=("frozen", "cnn"), help="this network alone")
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        root, resnet = Path(folder), resnet10_folder(Path(folder) / "resnet10")
        dataset = recorded(root)
        sizes = Sizes(arguments.steps, arguments.total, arguments.losses)
        if arguments.only != "cnn":
            words = ["encoder=resnet", f"encoder.weights={resnet}", "encoder.features=256"]
            compare("frozen ResNet-10", dataset, root, sizes, words, ["encoder.cache_shifts=4"])
        if arguments.only != "frozen":
            compare("our default CNN, trained", dataset, root, sizes, [], [])


if __name__ == "__main__":
    main()
