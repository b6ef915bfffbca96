"""What rules look at: artifacts read lazily, a dataset as plain columns with a sample of its frames."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from hiltk.agents.policy import normaliser
from hiltk.arm.chain import Chain
from hiltk.arm.kinematics import euler_from_matrix
from hiltk.arm.model import JOINTS, arm_chain, model_hash
from hiltk.arm.state import poses_as_stored
from hiltk.arm.units import ARM_JOINTS
from hiltk.artifacts.store import Artifact
from hiltk.data.copies import ARM, Trace, traces
from hiltk.data.dataset import Dataset
from hiltk.data.repair import last_rows
from hiltk.envs.base import HilEnv
from hiltk.errors import listed
from hiltk.spec import STATE_KEY, Dimension, Spec

if TYPE_CHECKING:
    from hiltk.rewards.demonstrations import Demonstrations

ACTION = "action"
LIKELY_RADIANS = 3.5  # no recording of the arm in degrees stays this near zero in all joints and at all times
EPISODES_SEEN, FRAMES_SEEN = 60, 3  # of a dataset, and of each of these episodes
EPISODES_AT_ONCE = 10  # frames of so many are in memory
THUMBNAIL = 16  # pixels
CHUNK = 50_000  # rows of forward kinematics at once


class DatasetSubject(Dataset):
    """A dataset, hiltk's own or anybody's, with what rules want to know of it; each is computed once, when asked for.

    Attributes:
        artifact: where it came from; None while it is being written.

    Raises:
        UserError: it is damaged, empty or no LeRobotDataset v3.
    """

    def __init__(self, path: Path, name: str = "", artifact: Artifact | None = None, spec: Spec | None = None) -> None:
        super().__init__(path, name, spec=spec)
        self.artifact = artifact
        self._seen: dict[str, Seen] = {}

    # ------------------------------------------------------------------ actions and states

    @cached_property
    def action(self) -> np.ndarray:
        """(N, A) float64; without columns where the dataset has no action."""
        return self._matrix(ACTION)

    @cached_property
    def state(self) -> np.ndarray:
        """(N, D) float64; without columns where the dataset has no state."""
        return self._matrix(STATE_KEY)

    def _matrix(self, name: str) -> np.ndarray:
        if not self.has(name):
            return np.zeros((len(self), 0))
        return self.column(name).astype(np.float64).reshape(len(self), -1)

    @cached_property
    def moves(self) -> np.ndarray:
        """(N,) bool: another row of the same episode follows, and the action between them is not marked invalid."""
        follows = ~last_rows(self.episode)
        return follows & self.column("action_valid").astype(bool) if self.has("action_valid") else follows

    @cached_property
    def state_names(self) -> list[str]:
        """Names of the state's dimensions; LeRobot's older ``main_`` prefix is dropped."""
        names = self.spec.state.names if self.spec else self.files.names(STATE_KEY) if self.has(STATE_KEY) else []
        return [n.removeprefix("main_") for n in names]

    def of_state(self, names: tuple[str, ...] | list[str]) -> np.ndarray | None:
        """These dimensions of the state (N, len(names)); None where one is missing."""
        if not all(n in self.state_names for n in names):
            return None
        return self.state[:, [self.state_names.index(n) for n in names]]

    @cached_property
    def joints_as_stored(self) -> np.ndarray | None:
        """(N, 6) joint positions in the unit they are stored in; None where they cannot be told apart.

        By name; in a dataset made elsewhere whose state has no names they are the first six, as in all of SO-101's.
        """
        if not self.spec and not self.state_names and self.state.shape[1] >= len(JOINTS):
            return self.state[:, : len(JOINTS)]
        return next((j for s in (".pos", "") if (j := self.of_state([n + s for n in JOINTS])) is not None), None)

    @cached_property
    def joint_unit(self) -> str:
        """``deg`` or ``rad``: as the spec says, else as the values look."""
        if self.spec:
            units = {d.name: d.unit for d in self.spec.state.dims}
            return units.get(f"{JOINTS[0]}.pos", "deg")
        joints = self.joints_as_stored
        small = joints is not None and np.nanmax(np.abs(joints[:, :ARM_JOINTS]), initial=0.0) < LIKELY_RADIANS
        return "rad" if small else "deg"

    @cached_property
    def joints_deg(self) -> np.ndarray | None:
        """(N, 6) joint positions, arm in degrees, gripper as stored; None where the state has none."""
        joints = self.joints_as_stored
        if joints is None or self.joint_unit == "deg":
            return joints
        return np.concatenate([np.rad2deg(joints[:, :ARM_JOINTS]), joints[:, ARM_JOINTS:]], axis=1)

    @cached_property
    def step_deg(self) -> np.ndarray | None:
        """(N,) how far the joint that moved most moved until the next row; 0 at an episode's end."""
        if self.joints_deg is None:
            return None
        return np.abs(self.to_next(self.joints_deg[:, :ARM_JOINTS])).max(1)

    def total(self, values: np.ndarray) -> np.ndarray:
        """Sum over each episode of values (N, ...)."""
        starts = [start for start, _ in self.bounds]
        return np.add.reduceat(values.astype(np.float64), starts, axis=0)

    def to_next(self, values: np.ndarray) -> np.ndarray:
        """Change until the next row of the same episode; 0 at an episode's end."""
        difference = np.zeros_like(values, dtype=np.float64)
        difference[:-1] = np.diff(values, axis=0)
        difference[last_rows(self.episode)] = 0.0
        return difference

    def traces(self) -> list[Trace]:
        """What its episodes are told apart by."""
        known = self.joints_deg is not None
        state = self.joints_deg if self.joints_deg is not None else self.state
        dims = ARM if known else self.spec.state.dims if self.spec else [Dimension(n) for n in self.state_names]
        return traces(self.files, state, dims)

    # ------------------------------------------------------------------ kinematics

    @cached_property
    def chain(self) -> Chain | None:
        """The arm it was recorded with; None where that model is not at hand."""
        hash_ = self.spec.robot.model_hash if self.spec else ""
        if not hash_ or hash_ == model_hash():
            return arm_chain()
        path = _own_model(self.artifact)
        return arm_chain(path) if path and model_hash(path) == hash_ else None

    @cached_property
    def _ee(self) -> np.ndarray | None:
        """(N, 6) end effector by forward kinematics, base frame: metres, then roll, pitch and yaw in rad."""
        if self.spec is None or self.joints_deg is None or self.chain is None:
            return None
        found = np.empty((len(self), 6))
        for first in range(0, len(self), CHUNK):  # a million poses at once would be a gigabyte
            rows = slice(first, first + CHUNK)
            poses = self.chain.poses(np.deg2rad(self.joints_deg[rows, :ARM_JOINTS]))
            found[rows, :3], found[rows, 3:] = poses[:, :3, 3], euler_from_matrix(poses[:, :3, :3])
        return found

    @property
    def ee_m(self) -> np.ndarray | None:
        """(N, 3) end effector by forward kinematics, metres; None without joints or a model of the arm."""
        return None if self._ee is None else self._ee[:, :3]

    @property
    def ee_as_stored(self) -> np.ndarray | None:
        """(N, 6) what the state should say of it: metres, then roll, pitch and yaw in rad, in the spec's frame."""
        if self._ee is None or self.spec is None:
            return None
        return poses_as_stored(self._ee, self.bounds, self.spec.state.ee_frame)

    @property
    def ee_deltas(self) -> bool:
        """Whether actions are end-effector deltas with a known scale."""
        return self.spec is not None and self.spec.action.ee_deltas

    @cached_property
    def pushed(self) -> tuple[np.ndarray, np.ndarray] | None:
        """What was asked for and what happened, metres (N, 3) each; zeros in rows without an action.

        None where actions are no end-effector deltas, or the arm is not known.
        """
        if not self.ee_deltas or self.ee_m is None or self.spec is None:
            return None
        rows = (self.moves & np.isfinite(self.action).all(1))[:, None]
        asked = np.where(rows, self.action[:, :3], 0.0) * self.spec.action.scale_m
        return asked, np.where(rows, self.to_next(self.ee_m), 0.0)

    # ------------------------------------------------------------------ frames

    @cached_property
    def episodes_seen(self) -> list[int]:
        """Episodes whose frames are looked at, spread evenly."""
        count = len(self.bounds)
        return sorted({int(i) for i in np.linspace(0, count - 1, min(count, EPISODES_SEEN)).round()})

    @cached_property
    def rows_seen(self) -> np.ndarray:
        """(E, `FRAMES_SEEN`) rows whose frames are looked at: the first, and two in a row where the arm moves most."""
        return np.array([self._rows_of(*self.bounds[e]) for e in self.episodes_seen])

    def _rows_of(self, start: int, stop: int) -> list[int]:
        if stop - start < 2:
            return [start] * FRAMES_SEEN
        steps = self.step_deg
        busiest = (stop - start) // 2 if steps is None else int(np.argmax(steps[start : stop - 1]))
        at = start + min(busiest, stop - start - 2)
        return [start, at, at + 1]

    def seen(self, camera: str) -> Seen:
        """What the frames of one camera at `rows_seen` look like; they are decoded once, a few at a time."""
        if camera not in self._seen:
            parts = np.array_split(self.rows_seen, -(-len(self.rows_seen) // EPISODES_AT_ONCE))
            frames = (self.files.frames_at(camera, rows.ravel()) for rows in parts)
            looks = [look(f.reshape(-1, FRAMES_SEEN, *f.shape[1:])) for f in frames]
            self._seen[camera] = Seen(*(np.concatenate(values) for values in zip(*looks, strict=True)))
        return self._seen[camera]

    # ------------------------------------------------------------------ words

    def episodes(self, numbers: Any) -> str:
        """Episode numbers in words: ``episodes 3, 7 and 20 more of 60``."""
        return _listed([int(n) for n in numbers], len(self.bounds))


@dataclass(frozen=True)
class Seen:
    """Frames of E episodes of one camera, `FRAMES_SEEN` each, in numbers; full scale is 1.

    Attributes:
        mean, std: (E, F) over all pixels and colours.
        white: (E, F) share of values at full scale.
        colours: (E, 3) means of red, green and blue in the first frame.
        small: (E, T, T) the first frame, grey and small, with zero mean and unit length.
        repeated: (E,) bool, the last two frames are equal to the last bit.
    """

    mean: np.ndarray
    std: np.ndarray
    white: np.ndarray
    colours: np.ndarray
    small: np.ndarray
    repeated: np.ndarray


def look(frames: np.ndarray) -> tuple[np.ndarray, ...]:
    """The fields of `Seen` for frames (E, F, H, W, 3) uint8."""
    first, whole = frames[:, 0], (2, 3, 4)
    return (
        frames.mean(whole) / 255,
        frames.std(whole, dtype=np.float32) / 255,
        (frames == 255).mean(whole),
        first.mean((1, 2)) / 255,
        _thumbnails(first),
        (frames[:, -2] == frames[:, -1]).all((1, 2, 3)),
    )


def _thumbnails(frames: np.ndarray) -> np.ndarray:
    size, grey = (THUMBNAIL, THUMBNAIL), (cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames)
    small = np.stack([cv2.resize(frame, size, interpolation=cv2.INTER_AREA) for frame in grey]).astype(np.float64)
    small -= small.mean((1, 2), keepdims=True)
    return small / np.maximum(np.linalg.norm(small, axis=(1, 2), keepdims=True), 1e-9)


def _listed(numbers: list[int], total: int, most: int = 6) -> str:
    return f"episode{'s' if len(numbers) > 1 else ''} {listed(numbers, most)} of {total}"


def _own_model(artifact: Artifact | None) -> str:
    """The arm model that the step which made an artifact was told to use, if it is still there."""
    config = artifact.run().get("config", {}) if artifact else {}
    path = str(config.get("model_path") or (config.get("env") or {}).get("model_path") or "")
    return path if path and Path(path).is_file() else ""


class Made:
    """A classifier, policy or evaluation: a folder with a record, a spec and files, read when asked for."""

    def __init__(self, artifact: Artifact) -> None:
        self.artifact, self.path, self.name = artifact, artifact.path, artifact.ref

    @cached_property
    def record(self) -> dict[str, Any]:
        """``run.yaml``; empty where there is none."""
        return self.artifact.run()

    @property
    def config(self) -> dict[str, Any]:
        """Settings of the step that made it."""
        return self.record.get("config") or {}

    @cached_property
    def spec(self) -> Spec:
        return self.artifact.spec()

    @cached_property
    def normaliser(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Mean and standard deviation (S,) that a policy's network really uses, for its stack of states."""
        return normaliser(self.path)

    def table(self, name: str) -> list[dict[str, str]]:
        """Rows of a CSV file; none where it is missing."""
        file = self.path / name
        if not file.is_file():
            return []
        with file.open(newline="") as lines:
            return list(csv.DictReader(lines))

    def json(self, name: str) -> dict[str, Any]:
        """A JSON file; empty where it is missing."""
        file = self.path / name
        return json.loads(file.read_text()) if file.is_file() else {}


@dataclass
class Subjects:
    """All subjects of one check: what a step is about to join, or what the user named.

    Attributes:
        unseen: datasets that what is made of the others will be judged on.
        step: the step that is about to run; empty where the user asks.
        config: its settings, as plain containers.
        env: what the step acts in, where it has an environment.
        target: its spec.
        demonstrations: those the step learns from, judged by its reward rule; None: the rule that asks judges them.
    """

    datasets: list[DatasetSubject] = field(default_factory=list)
    classifiers: list[Made] = field(default_factory=list)
    policies: list[Made] = field(default_factory=list)
    evaluations: list[Made] = field(default_factory=list)
    unseen: list[DatasetSubject] = field(default_factory=list)
    step: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    env: HilEnv | None = None
    target: Spec | None = None
    demonstrations: Demonstrations | None = None

    @property
    def name(self) -> str:
        """What findings about all of it are listed under."""
        return ", ".join(one.name for one in self.all()) or self.step or "nothing"

    def all(self) -> Iterator[Any]:
        """Every subject, datasets first."""
        yield from self.datasets
        yield from self.classifiers
        yield from self.policies
        yield from self.evaluations

    def specs(self) -> list[tuple[str, Spec]]:
        """Name and spec of everything that has one."""
        found = [(d.name, d.spec) for d in self.datasets if d.spec]
        found += [(made.name, made.spec) for made in [*self.classifiers, *self.policies]]
        return found + ([("the environment", self.target)] if self.target else [])
