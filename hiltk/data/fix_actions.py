"""Zero or missing actions of a dataset with a spec, rebuilt from its joints; the rest of it stays as it is."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from hiltk.arm.kinematics import Kinematics
from hiltk.arm.model import JOINTS
from hiltk.arm.state import ee_pose, poses_as_stored
from hiltk.arm.units import ARM_JOINTS
from hiltk.data.lerobot_files import LeRobotFiles
from hiltk.data.lerobot_io import ACTION, require_finite
from hiltk.data.recording import Recording
from hiltk.data.repair import (
    Rebuilt,
    asks_for_nothing,
    broken_steps,
    forward_difference,
    frozen_steps,
    rebuild,
    silenced,
)
from hiltk.data.rewrite import replace_columns
from hiltk.data.timeline import timeline
from hiltk.errors import UserError
from hiltk.spec import EE_POSITION, STATE_KEY, EeFrame, GripperFormat, Semantics, Spec

JOINT_NAMES = tuple(f"{joint}.pos" for joint in JOINTS)
FK_TOLERANCE_M = 0.005  # a stored end effector further than this from forward kinematics was another arm's
FK_ROWS = 10_000  # as many rows are compared


@dataclass(frozen=True)
class Fixed:
    """What a repair found, and the actions it made.

    Attributes:
        recording: the joints, and which steps are known.
        rebuilt: the actions of all rows.
        rows: (N,) bool, whose actions are replaced by them.
        spec: of the dataset that comes out.
    """

    recording: Recording
    rebuilt: Rebuilt
    rows: np.ndarray
    spec: Spec

    @property
    def notes(self) -> list[str]:
        """What is wrong with frames and joints, in sentences."""
        return replace(self.recording, frozen=self.recording.frozen & self.rows).notes


def fix_actions(
    files: LeRobotFiles, spec: Spec, kin: Kinematics, *, threshold: float, zero_below: float, force: bool
) -> Fixed:
    """Rebuild the actions of broken episodes, or of all.

    Args:
        spec: the dataset's own.
        threshold: as for `rebuild`.
        zero_below: an action smaller than this in every dimension is zero.
        force: rebuild every action, even in an intact dataset.

    Raises:
        UserError: the state lacks joints or is another arm's, or there is nothing to fix.
    """
    joints = own_joints(spec, files, kin)
    frames = timeline(files)
    broken = _broken(files, files.column(ACTION), joints, zero_below)
    if not broken.any() and not force:
        raise UserError(
            f"nothing to fix: the actions of all {len(files.bounds)} episodes explain their motion",
            where=str(files.path),
            fix="use the dataset as it is, or force=true to rebuild every action",
        )
    locked = {n: spec.robot.reset_joints[JOINTS.index(n)] for n in spec.robot.locked if spec.robot.reset_joints}
    recording = Recording(frames, joints, frozen_steps(joints, frames.episode), locked)
    rebuilt = rebuild(joints, frames.episode, spec.action, kin, threshold=threshold, known=recording.known)
    spec.action.semantics = Semantics.achieved
    return Fixed(recording, rebuilt, broken | force, spec)


def write_fixed(files: LeRobotFiles, fixed: Fixed, target: Path) -> None:
    """Write a copy of the dataset with the rebuilt actions into the folder ``target``, cameras included."""
    actions, valid = files.column(ACTION), files.column("action_valid").astype(bool)
    replaced = {
        ACTION: np.where(fixed.rows[:, None], fixed.rebuilt.actions, actions).astype(np.float32),
        "action_valid": np.where(fixed.rows, fixed.rebuilt.valid, valid),
    }
    replace_columns(files, target, replaced)


def own_joints(spec: Spec, files: LeRobotFiles, kin: Kinematics) -> np.ndarray:
    """The joint positions (N, 6) in the state; (N, 5) where the state has no gripper."""
    names, has_gripper = spec.state.names, spec.action.gripper is not GripperFormat.none
    wanted = JOINT_NAMES if has_gripper or JOINT_NAMES[-1] in names else JOINT_NAMES[:ARM_JOINTS]
    missing = [n for n in wanted if n not in names]
    if missing:
        raise UserError(
            f"the state lacks {', '.join(missing)}", where=str(files.path), fix="actions are rebuilt from the joints"
        )
    if len(spec.action.dims) != 3 + has_gripper:
        raise UserError("the actions are no end-effector deltas", where=f"{files.path}: {', '.join(spec.action.names)}")
    state = files.column(STATE_KEY)
    require_finite(state, names, column=STATE_KEY, where=str(files.path))
    joints = state[:, [names.index(n) for n in wanted]].astype(np.float64)
    if all(n in names for n in EE_POSITION):
        stored = state[:, [names.index(n) for n in EE_POSITION]]
        _require_same_arm(stored, joints, kin, files, spec.state.ee_frame)
    return joints


def _require_same_arm(
    stored: np.ndarray, joints: np.ndarray, kin: Kinematics, files: LeRobotFiles, frame: EeFrame
) -> None:
    """Refuse a kinematic model that does not put the stored end effector (N, 3) where the joints do."""
    some = slice(None, None, 1 + len(stored) // FK_ROWS)
    if frame is EeFrame.base:
        expected = ee_pose(kin, joints[some])
    else:  # each episode starts from a pose of its own
        expected = poses_as_stored(ee_pose(kin, joints), files.bounds, frame)[some]
    gap = float(np.median(np.linalg.norm(stored[some] - expected[:, :3], axis=1)))
    if gap > FK_TOLERANCE_M:
        raise UserError(
            f"the stored end effector is {1000 * gap:.0f} mm from where this arm model puts it",
            where=str(files.path),
            fix="set model_path= to the arm it was recorded with",
        )


def _broken(files: LeRobotFiles, actions: np.ndarray, joints: np.ndarray, zero_below: float) -> np.ndarray:
    """Which rows need their action rebuilt, (N,) bool; the last of an episode goes with the step before it."""
    human = files.column("is_intervention").astype(bool)
    episode, broken = timeline(files).episode, np.zeros(len(actions), bool)
    step = np.abs(forward_difference(joints[:, :ARM_JOINTS], episode)).max(1)
    lost = silenced(asks_for_nothing(actions, zero_below=zero_below), step, files.bounds, files.fps)
    for start, stop in files.bounds:
        acts = slice(start, stop - 1)
        broken[acts] = broken_steps(
            actions[acts], joints[start:stop], human[acts], zero_below=zero_below, lost=lost[acts]
        )
        broken[stop - 1] = broken[stop - 2] if stop - start > 1 else False
    return broken
