"""What the arm of a dataset made elsewhere did, in hiltk's units and frames, and what is odd about it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hiltk.arm.kinematics import Kinematics
from hiltk.arm.model import JOINTS
from hiltk.config.commands import ForeignConf
from hiltk.data.adopt_state import locked_joints
from hiltk.data.foreign import read_joints, start_joints
from hiltk.data.lerobot_files import LeRobotFiles
from hiltk.data.lerobot_io import require_finite
from hiltk.data.repair import frozen_steps
from hiltk.data.timeline import Timeline, timeline
from hiltk.spec import STATE_KEY, RobotSpec

LOCK_TOLERANCE_DEG = 2.0  # of a locked joint's mean, and of its spread half of that


@dataclass(frozen=True)
class Recording:
    """What the arm did, in hiltk's units and frames.

    Attributes:
        frames: which of the dataset's rows became frames.
        joints_deg: (M, 6) every frame; (M, 5) without a gripper.
        frozen: (M,) bool, steps from or to a state that was stored again while the arm moved on.
        locked: joints stated as locked, and where, degrees.
    """

    frames: Timeline
    joints_deg: np.ndarray
    frozen: np.ndarray
    locked: dict[str, float]

    @staticmethod
    def as_stored(files: LeRobotFiles, conf: ForeignConf) -> Recording:
        """The state as it is, in place of joints: of an arm without a model.

        Raises:
            UserError: a number is not finite.
        """
        frames, state = timeline(files, conf.fps), files.column(STATE_KEY).astype(np.float64)
        require_finite(state, files.names(STATE_KEY), column=STATE_KEY, where=str(files.path))
        state = frames.numbers(state.reshape(len(state), -1))
        return Recording(frames, state, np.zeros(len(state), bool), {})

    @property
    def known(self) -> np.ndarray:
        """(M,) bool, steps whose length is known: no frame is missing, and the state did not freeze."""
        return self.frames.known & ~self.frozen

    @property
    def notes(self) -> list[str]:
        """What is wrong with frames and joints, in sentences."""
        return [*self.frames.notes, *frozen_notes(self.frozen), *lock_notes(self.joints_deg, self.frames, self.locked)]


def read_recording(files: LeRobotFiles, conf: ForeignConf) -> Recording:
    """Frames and joints of a dataset whose conventions are settled.

    Raises:
        ConfigError, UserError: as `timeline` and `read_joints`.
    """
    frames = timeline(files, conf.fps)
    joints = frames.numbers(read_joints(files, conf))
    return Recording(frames, joints, frozen_steps(joints, frames.episode), dict(conf.locked))


def frozen_notes(frozen: np.ndarray) -> list[str]:
    """Steps (N,) whose joint state froze, in a sentence."""
    if not frozen.any():
        return []
    return [f"{int(frozen.sum())} steps have a joint state that froze while the arm moved; they are masked"]


def lock_notes(joints_deg: np.ndarray, frames: Timeline, locked: dict[str, float]) -> list[str]:
    """Joints that are stated as locked, and were not (failures.md, C5)."""
    notes = []
    for name, angle in locked.items():
        parts = [joints_deg[start:stop, JOINTS.index(name)] for start, stop in frames.bounds]
        off = [abs(p.mean() - angle) > LOCK_TOLERANCE_DEG or p.std() > LOCK_TOLERANCE_DEG / 2 for p in parts]
        if any(off):
            worst = max(parts, key=lambda p: abs(p.mean() - angle))
            episodes = ", ".join(str(e) for e in np.flatnonzero(off)[:8]) + (", ..." if sum(off) > 8 else "")
            notes.append(
                f"{name} is stated as locked at {angle:g} deg, but was not in {sum(off)} of {len(off)} episodes "
                f"({episodes}; worst mean {worst.mean():.1f}, spread {worst.std():.1f} deg): a locked arm cannot "
                "reproduce them; drop them with `hiltk drop-episodes`"
            )
    return notes


def stated_robot(recording: Recording) -> RobotSpec:
    """The locks that were stated, at the angles to which KIN006 holds the episodes."""
    if not recording.locked:
        return RobotSpec()
    seen = start_joints(recording.joints_deg, _starts(recording))
    at = [recording.locked.get(name, angle) for name, angle in zip(JOINTS, seen, strict=False)]
    return RobotSpec(locked=list(recording.locked), reset_joints=at)


def measured_robot(recording: Recording, kin: Kinematics) -> RobotSpec:
    """Reset pose and locks as the recording shows them; locks that were stated are as stated."""
    joints, starts = recording.joints_deg, _starts(recording)
    ee = kin.forward(joints[starts])[0]
    middle = ee.mean(0)
    stated = stated_robot(recording)
    return RobotSpec(
        locked=stated.locked or locked_joints(joints),
        reset_ee_m=_rounded(middle),
        reset_noise_m=_rounded(np.abs(ee - middle).max(0)),
        reset_joints=stated.reset_joints or start_joints(joints, starts),
    )


def _starts(recording: Recording) -> np.ndarray:
    return np.array([start for start, _ in recording.frames.bounds])


def _rounded(values: np.ndarray) -> list[float]:
    return [round(float(v), 4) for v in values]
