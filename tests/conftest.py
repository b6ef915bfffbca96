"""Fixtures shared by all tests: a small spec, episodes a real arm could have made, and datasets on disk."""

from __future__ import annotations

import hashlib
import os
import pickle
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pytest

from hiltk.data.episode import Episode, Source
from hiltk.data.scheduling import scheduling_kept
from hiltk.spec import STATE_KEY, ImageSpec, Spec

# How long an example takes says how busy the machine is.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")
# Nothing in the tests may reach for the Hub.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
# ... or depend on where somebody keeps their own artifacts.
os.environ.pop("HILTK_ROOT", None)
# Without byte code each process a test starts compiles lerobot anew, which takes longer than what it is started for.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

START_DEG = np.array([0.0, -30.0, 30.0, 80.0, 90.0, 40.0])  # gripper pointing down in front of the base


@pytest.fixture(autouse=True)
def _process_as_it_was() -> Iterator[None]:
    """Commands flush denormals to zero for speed, and LeRobot's encoder makes this thread a real-time one (see
    `hiltk.data.scheduling`), beside which emulated servos answer late: the tests after one must not inherit that."""
    with scheduling_kept():
        if hasattr(os, "sched_getscheduler") and os.sched_getscheduler(0) != os.SCHED_OTHER:
            # A fixture of a whole file has encoded something.
            os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
        yield
    if "torch" in sys.modules:
        sys.modules["torch"].set_flush_denormal(False)


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Ctrl-C raises, as in a terminal: the workers of pytest-xdist ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def build_spec(size: int = 16, cameras: tuple[str, ...] = ("wrist",)) -> Spec:
    """The 18-D state and 4-D action of the simulated arm, with small images."""
    from hiltk.arm.state import action_spec, state_spec
    from hiltk.spec import GripperFormat

    return Spec(
        task="lift",
        state=state_spec(),
        action=action_spec(0.02, GripperFormat.continuous, 15.0),
        images=[ImageSpec(name, size, size, size, size) for name in cameras],
    )


def joint_path(length: int, seed: int = 0, step_deg: float = 1.5) -> np.ndarray:
    """A smooth random walk of the joints (length + 1, 6), degrees and gripper percent; wrist roll stays fixed."""
    rng = np.random.default_rng(seed)
    pushes = rng.normal(size=(length, 6)) * step_deg
    steps = np.stack([np.convolve(column, [0.25, 0.5, 0.25], "same") for column in pushes.T], axis=1)
    steps[:, 4] = 0.0
    return START_DEG + np.concatenate([np.zeros((1, 6)), np.cumsum(steps, axis=0)])


def build_episode(
    spec: Spec, length: int = 12, seed: int = 0, *, success: bool = True, stratum: str = "near"
) -> Episode:
    """An episode whose state follows from a joint path and whose actions are what the joints achieved."""
    from hiltk.arm.kinematics import Kinematics
    from hiltk.arm.state import proprioception

    rng, kin = np.random.default_rng(seed), Kinematics()
    joints = joint_path(length, seed)
    observations = {STATE_KEY: proprioception(kin, joints, None, spec.fps)}
    for image in spec.images:
        observations[image.key] = rng.integers(0, 256, (length + 1, image.height, image.width, 3), dtype=np.uint8)
    moves = np.diff(kin.forward(joints)[0], axis=0) / spec.action.scale_m
    grips = np.diff(joints[:, 5:], axis=0) / spec.action.gripper_step
    shown = np.zeros(length + 1, bool)
    shown[-2:] = success
    rewards = np.zeros(length, np.float32)
    rewards[-1] = float(success)
    return Episode(
        observations=observations,
        actions=np.clip(np.concatenate([moves, grips], axis=1), -1, 1).astype(np.float32),
        rewards=rewards,
        success=shown,
        source=np.full(length, Source.demo, np.int64),
        is_intervention=np.zeros(length, bool),
        action_valid=np.ones(length, bool),
        terminated=success,
        truncated=not success,
        stratum=stratum,
        rule=spec.reward,
    )


def write_dataset(path: Path, spec: Spec, episodes: list[Episode], *, video: bool = False) -> Path:
    """A real LeRobotDataset v3 in ``path``; where the same was written before, in these tests, a copy of that."""
    if _kept is None:
        return _write(path, spec, episodes, video=video)
    made = _kept / hashlib.sha256(pickle.dumps((spec, episodes, video))).hexdigest()
    if not made.exists():
        _write(made, spec, episodes, video=video)
    return Path(shutil.copytree(made, path, dirs_exist_ok=True))


_kept: Path | None = None


@pytest.fixture(scope="session", autouse=True)
def _keep_what_is_written(tmp_path_factory: pytest.TempPathFactory) -> None:
    global _kept
    _kept = tmp_path_factory.mktemp("written")


def _write(path: Path, spec: Spec, episodes: list[Episode], *, video: bool) -> Path:
    from hiltk.data.lerobot_io import DatasetWriter

    with DatasetWriter(path, spec, video=video) as writer:
        for episode in episodes:
            writer.add(episode)
    return path


@pytest.fixture
def tiny_spec() -> Spec:
    return build_spec()


@pytest.fixture
def make_episode(tiny_spec: Spec) -> Callable[..., Episode]:
    """``make_episode(length=, seed=, success=, stratum=, spec=)``."""

    def make(*, spec: Spec | None = None, **options: Any) -> Episode:
        return build_episode(spec or tiny_spec, **options)

    return make


@pytest.fixture
def dataset_dir(tmp_path: Path, tiny_spec: Spec) -> Callable[..., Path]:
    """``dataset_dir(name=, episodes=[...], spec=, video=)`` writes a dataset and returns its folder."""

    def make(
        name: str = "dataset", episodes: list[Episode] | None = None, spec: Spec | None = None, *, video: bool = False
    ) -> Path:
        spec = spec or tiny_spec
        made = [build_episode(spec, seed=seed) for seed in range(3)] if episodes is None else episodes
        return write_dataset(tmp_path / name, spec, made, video=video)

    return make


@pytest.fixture(scope="session")
def shared_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of three episodes that tests only read."""
    spec = build_spec()
    episodes = [
        build_episode(spec, 10 + seed, seed, success=seed != 1, stratum=("near", "far")[seed % 2]) for seed in range(3)
    ]
    return write_dataset(tmp_path_factory.mktemp("shared") / "dataset", spec, episodes)
