"""Replay beside LeRobot 0.6's `ReplayBuffer`, in the same run: memory, dataset to buffer, checkpoint.

    uv run python -m tests.benchmarks.bench_replay [--episodes 24] [--checkpoint 30000]

Two 128 x 128 cameras and an 18-D state. Pictures are made to compress like a camera's: smooth background, a moving
object, sensor noise. Absolute times mean little on a shared machine; the ratios are what to read. LeRobot's side is
what its learner does: a buffer with `optimize_memory`, filled by `from_lerobot_dataset`, checkpointed by
`to_lerobot_dataset`. That is linear in the number of transitions (two sizes are measured to show it) and is scaled up
to ours. The floor of dataset to buffer is our decoding alone, each frame thrown away.

Four bytes a channel against one make 4 (8 without `optimize_memory`) the limit of the memory ratio for transitions
stored once; the state, and the last observation of every episode, which LeRobot does not keep, are what is missing from
it. LeRobot's learner stores every correction a second time, in its offline buffer; ours is a view.
"""

from __future__ import annotations

import argparse
import logging
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from hiltk.data.decoded import cached_episodes
from hiltk.data.episode import Episode, Source
from hiltk.data.lerobot_io import DatasetReader, DatasetWriter
from hiltk.data.replay import FrameStore, example_observation, store_episodes
from hiltk.learning import checkpoint
from hiltk.spec import STATE_KEY, ActionSpec, Dimension, ImageSpec, Spec, StateSpec
from tests.benchmarks.bench_learning import as_lerobot, their_buffer

PIXELS, STATES, ACTIONS, LENGTH = 128, 18, 4, 50
SPEC = Spec(
    task="bench",
    state=StateSpec([Dimension(f"s{i}") for i in range(STATES)]),
    action=ActionSpec([Dimension(f"a{i}", low=-1, high=1) for i in range(ACTIONS)]),
    images=[ImageSpec(name, PIXELS, PIXELS, PIXELS, PIXELS) for name in ("wrist", "front")],
)


@dataclass
class Line:
    """One row of the table: seconds or bytes of each side."""

    what: str
    ours: float
    theirs: float
    unit: str = "s"

    def __str__(self) -> str:
        ratio = self.theirs / self.ours
        return f"{self.what:<64} {self.ours:>9.3f} {self.theirs:>9.3f} {self.unit:<4} {ratio:>8.1f}"


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


# ---------------------------------------------------------------- pictures


class Camera:
    """Pictures like a camera's: a smooth background over which an object moves, with sensor noise."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        coarse = self.rng.integers(40, 215, (6, 6, 3), dtype=np.uint8)
        self.background = cv2.resize(coarse, (PIXELS, PIXELS), interpolation=cv2.INTER_CUBIC)
        self.noise = self.rng.normal(0, 2, (8, PIXELS, PIXELS, 3)).astype(np.int16)

    def picture(self, step: int) -> np.ndarray:
        frame = self.background.copy()
        at = (int(64 + 40 * np.cos(step / 15)), int(64 + 40 * np.sin(step / 11)))
        cv2.circle(frame, at, 14, (200, 60, 40), -1)
        cv2.rectangle(frame, (at[1] // 2, 90), (at[1] // 2 + 25, 120), (30, 90, 180), -1)
        return np.clip(frame + self.noise[self.rng.integers(8)], 0, 255).astype(np.uint8)


def observations(seed: int) -> Iterator[dict[str, np.ndarray]]:
    rng, cameras = np.random.default_rng(seed), {k: Camera(seed + i) for i, k in enumerate(SPEC.image_keys)}
    for step in range(1 << 30):
        yield {STATE_KEY: rng.normal(size=STATES).astype(np.float32)} | {k: c.picture(step) for k, c in cameras.items()}


def episode(seed: int) -> Episode:
    seen = [o for o, _ in zip(observations(seed), range(LENGTH + 1), strict=False)]
    rng, ended = np.random.default_rng(seed), np.arange(LENGTH + 1) == LENGTH
    return Episode(
        observations={k: np.stack([o[k] for o in seen]) for k in seen[0]},
        actions=rng.uniform(-1, 1, (LENGTH, ACTIONS)).astype(np.float32),
        rewards=ended[1:].astype(np.float32),
        success=ended,
        source=np.full(LENGTH, Source.demo),
        is_intervention=np.zeros(LENGTH, bool),
        action_valid=np.ones(LENGTH, bool),
        terminated=True,
        truncated=False,
    )


# ---------------------------------------------------------------- the two sides


def fill_ours(store: FrameStore, transitions: int) -> FrameStore:
    stream = observations(0)
    pictures = [next(stream) for _ in range(4 * LENGTH)]  # making more would only take time
    for start in range(0, transitions, LENGTH):
        store.begin(pictures[start % len(pictures)])
        for t in range(LENGTH):
            last = t == LENGTH - 1
            store.add(
                np.zeros(ACTIONS, np.float32), float(last), pictures[(start + t + 1) % len(pictures)],
                terminated=last, truncated=False, source=Source.policy,
            )  # fmt: skip
    return store


def fill_theirs(transitions: int, *, optimize_memory: bool) -> Any:
    buffer = their_buffer(transitions, SPEC, optimize_memory)
    stream = observations(0)
    pictures = [as_lerobot(next(stream)) for _ in range(min(transitions, 4 * LENGTH) + 1)]
    for step in range(transitions):
        now, following = pictures[step % len(pictures)], pictures[(step + 1) % len(pictures)]
        last = step % LENGTH == LENGTH - 1
        buffer.add(now, torch.zeros(1, ACTIONS), float(last), following, done=last, truncated=False)
    return buffer


# ---------------------------------------------------------------- what is measured


def memory() -> list[Line]:
    transitions = 10 * LENGTH
    store = FrameStore(transitions // LENGTH * (LENGTH + 1), example_observation(SPEC), ACTIONS)
    ours = store.nbytes() / transitions / 1024
    lines = []
    for optimize, name in ((True, "with optimize_memory"), (False, "without")):
        buffer = fill_theirs(transitions, optimize_memory=optimize)
        stored = [*buffer.states.values(), *buffer.next_states.values(), buffer.actions, buffer.rewards, buffer.dones]
        bytes_ = sum(t.numel() * t.element_size() for t in {id(t): t for t in stored}.values())
        theirs = bytes_ / transitions / 1024
        lines.append(Line(f"memory per transition, {name}", ours, theirs, "KiB"))
        lines.append(Line(f"memory per transition, {name}, 10 % corrections", ours, 1.1 * theirs, "KiB"))
    return lines


def dataset_to_buffer(folder: Path, episodes: int, *, video: bool) -> list[Line]:
    name, path = "video" if video else "images", folder / ("video" if video else "images")
    with redirect_stderr(StringIO()), DatasetWriter(path, SPEC, video=video) as writer:
        for seed in range(episodes):
            writer.add(episode(seed))
    DatasetReader(path)  # imports, on both sides, before the clock starts
    cold = seconds(lambda: load_ours(path, folder / "cache"))
    assert list((folder / "cache").rglob("frames.npy")), "too few episodes for a cache: raise --episodes"
    warm = min(seconds(lambda: load_ours(path, folder / "cache")) for _ in range(3))
    floor = seconds(lambda: decode_only(path))
    theirs = seconds(lambda: load_theirs(path))
    shutil.rmtree(folder / "cache")
    what = f"dataset to buffer, {episodes * LENGTH} transitions, {name}"
    return [
        Line(f"{what}: first time", cold, theirs),
        Line(f"{what}: again", warm, theirs),
        Line(f"{what}: floor, decoding alone", floor, theirs),
    ]


def load_ours(path: Path, cache: Path) -> FrameStore:
    with redirect_stderr(StringIO()), redirect_stdout(StringIO()):
        return store_episodes(cached_episodes(path, cache=cache))


def decode_only(path: Path) -> None:
    reader = DatasetReader(path)
    for key in reader.cameras:
        for _ in reader.frames(key):
            pass


def load_theirs(path: Path) -> None:
    from lerobot.datasets.lerobot_dataset import LeRobotDataset
    from lerobot.rl.buffer import ReplayBuffer, random_shift

    with redirect_stderr(StringIO()):
        ReplayBuffer.from_lerobot_dataset(
            LeRobotDataset("hiltk/bench", root=path),
            device="cpu",
            state_keys=[STATE_KEY, *SPEC.image_keys],
            image_augmentation_function=partial(random_shift, pad=4),
            optimize_memory=True,
        )


def checkpoints(folder: Path, transitions: int, measured: tuple[int, int]) -> list[Line]:
    small, large = (their_checkpoint(folder / "theirs", count) for count in measured)
    per_transition = large / measured[1]
    print(
        f"LeRobot's checkpoint: {1e3 * small / measured[0]:.1f} ms per transition of {measured[0]}, "
        f"{1e3 * per_transition:.1f} ms of {measured[1]}; scaled to {transitions}"
    )
    rows = transitions // LENGTH * (LENGTH + 1)
    store = fill_ours(FrameStore(rows, example_observation(SPEC), ACTIONS, folder / "ours", rows), transitions)
    first = seconds(lambda: save(store, folder))
    later = []
    for _ in range(5):
        fill_ours(store, 5 * LENGTH)  # what training adds between two checkpoints
        later.append(seconds(lambda: save(store, folder)))
    theirs = per_transition * transitions
    return [
        Line(f"checkpoint of {transitions} transitions, none of them on disk yet", first, theirs),
        Line(f"checkpoint of {transitions} transitions, 250 of them new", float(np.median(later)), theirs),
    ]


def save(store: FrameStore, folder: Path) -> None:
    """The part of `Trainer.save` that concerns replay."""
    store.flush()
    checkpoint.save(folder, {"online": store.state_dict()})


def their_checkpoint(folder: Path, transitions: int) -> float:
    buffer = fill_theirs(transitions, optimize_memory=True)
    with redirect_stderr(StringIO()):
        elapsed = seconds(lambda: buffer.to_lerobot_dataset("hiltk/bench", fps=10, root=folder))
    shutil.rmtree(folder)
    return elapsed


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--episodes", type=int, default=24, help=f"of the dataset, {LENGTH} transitions each")
    parser.add_argument("--checkpoint", type=int, default=30_000, help="transitions")
    parser.add_argument("--folder", default=None, help="where to write; a real disk, not memory")
    options = parser.parse_args()
    torch.set_num_threads(1)
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        lines = memory()
        for video in (False, True):
            lines += dataset_to_buffer(Path(name), options.episodes, video=video)
        lines += checkpoints(Path(name), options.checkpoint, (10 * LENGTH, 20 * LENGTH))
    print(f"\n{'':<64} {'hiltk':>9} {'LeRobot':>9} {'':<4} {'ratio':>8}")
    print("\n".join(map(str, lines)))


if __name__ == "__main__":
    main()
