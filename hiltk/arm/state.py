"""Proprioception: the 18-D state of the arm, and what an action means, dimension by dimension."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike
from scipy.spatial.transform import Rotation

from hiltk.arm.kinematics import Kinematics, euler_from_matrix
from hiltk.arm.model import JOINTS, arm_chain
from hiltk.arm.units import ARM_JOINTS, GRIPPER_SPAN_RAD
from hiltk.spec import EE_DELTAS, EE_POSITION, ActionSpec, Dimension, EeFrame, GripperFormat, Semantics, StateSpec

_MAX_SPEED_DEG = 360.0  # an STS3215 servo turns 270 deg/s without load at 12 V; with a margin
_MAX_SPEED_PERCENT = _MAX_SPEED_DEG / math.degrees(GRIPPER_SPAN_RAD) * 100
_REACH_M = 0.6  # no pose of the arm is further than 0.55 m from the base's origin
# The official gripper frame has roll = pi when the gripper points straight down. On the usual branch (-pi, pi] the
# number then jumps by 2 pi in a third of all steps of a grasp; on this one the jump lies where the gripper points up.
ROLL_FROM = -math.pi / 2


def _state_dims() -> list[Dimension]:
    limits = np.rad2deg(arm_chain().limits)
    arm = JOINTS[:ARM_JOINTS]
    positions = [Dimension(f"{j}.pos", "deg", float(lo), float(hi)) for j, (lo, hi) in zip(arm, limits, strict=True)]
    velocities = [Dimension(f"{j}.vel", "deg/s", -_MAX_SPEED_DEG, _MAX_SPEED_DEG) for j in arm]
    return [
        *positions,
        Dimension("gripper.pos", "percent", 0.0, 100.0),
        *velocities,
        Dimension("gripper.vel", "percent/s", -_MAX_SPEED_PERCENT, _MAX_SPEED_PERCENT),
        *(Dimension(f"ee.{axis}", "m", -_REACH_M, _REACH_M, "base") for axis in "xyz"),
        Dimension("ee.roll", "rad", ROLL_FROM, ROLL_FROM + 2 * math.pi, "base"),
        Dimension("ee.pitch", "rad", -math.pi / 2, math.pi / 2, "base"),
        Dimension("ee.yaw", "rad", -math.pi, math.pi, "base"),
    ]


STATE_DIMS: tuple[Dimension, ...] = tuple(_state_dims())


def state_spec(*, with_gripper: bool = True, ee_frame: EeFrame = EeFrame.base) -> StateSpec:
    """A state of these dimensions, copies of its own: whoever changes one spec must not change all others."""
    dims = [replace(d) for d in STATE_DIMS if with_gripper or not d.name.startswith("gripper")]
    return StateSpec(dims if ee_frame is EeFrame.base else [_relative_dim(d) for d in dims])


def _relative_dim(dim: Dimension) -> Dimension:
    """Two poses are at most twice as far apart as one is from the base."""
    if not dim.frame:
        return dim
    widened = 2.0 if dim.unit == "m" else 1.0
    return replace(dim, low=dim.low * widened, high=dim.high * widened, frame=EeFrame.reset.value)


def relative_pose(pose: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Poses as they are seen from the end effector at an episode's start, along its axes.

    So HIL-SERL has them (Luo et al. 2024, arXiv 2410.21845; its ``relative_env``): where the cube lies then changes the
    images, and less of the state.

    Args:
        pose: (..., 6) position (m) and roll, pitch, yaw (rad), base frame.
        start: (6,) the same of the episode's first observation.

    Returns:
        (..., 6), position and roll, pitch, yaw; roll lies in [-pi/2, 3 pi/2).
    """
    flat, origin = pose.reshape(-1, 6), Rotation.from_euler("xyz", start[3:])
    turned = origin.inv() * Rotation.from_euler("xyz", flat[:, 3:])
    moved = origin.inv().apply(flat[:, :3] - start[:3])
    return np.concatenate([moved, _on_branch(turned.as_euler("xyz"))], axis=-1).reshape(pose.shape)


def poses_as_stored(pose: np.ndarray, bounds: Sequence[tuple[int, int]], frame: EeFrame) -> np.ndarray:
    """Poses (N, 6) of whole episodes, base frame, in the frame in which a state holds them.

    Args:
        bounds: first and last row (exclusive) of each episode.
    """
    if frame is EeFrame.base:
        return pose
    return np.concatenate([relative_pose(pose[a:b], pose[a]) for a, b in bounds])


def ee_position(kin: Kinematics, state: np.ndarray, spec: StateSpec) -> np.ndarray:
    """Where the end effector is by a state (D,): (3,) metres, base frame.

    A pose relative to that of the reset does not say it; then the joints do.

    Args:
        spec: has joints and end effector.
    """
    wanted = EE_POSITION if spec.ee_frame is EeFrame.base else [f"{joint}.pos" for joint in JOINTS[:ARM_JOINTS]]
    values = np.asarray(state, np.float64)[[spec.names.index(name) for name in wanted]]
    return values if spec.ee_frame is EeFrame.base else kin.forward(values)[0]


def ee_pose(kin: Kinematics, joints_deg: np.ndarray) -> np.ndarray:
    """Pose (..., 6) of the end effector, base frame: position (m), and roll, pitch, yaw (rad) as the state has them."""
    position, rotation = kin.forward(joints_deg)
    return np.concatenate([position, _on_branch(euler_from_matrix(rotation))], axis=-1)


def _on_branch(euler: np.ndarray) -> np.ndarray:
    """Roll, pitch and yaw (..., 3) with roll in [-pi/2, 3 pi/2)."""
    return np.concatenate([np.mod(euler[..., :1] - ROLL_FROM, 2 * math.pi) + ROLL_FROM, euler[..., 1:]], axis=-1)


def proprioception(
    kin: Kinematics,
    joints_deg: ArrayLike,
    previous_joints_deg: ArrayLike | None,
    fps: float,
    start_joints_deg: ArrayLike | None = None,
) -> np.ndarray:
    """The state vector `STATE_DIMS` describes: joint positions, joint velocities, end-effector pose.

    Velocity is the change since the previous step times ``fps``. The end effector is always recomputed from the
    joints by forward kinematics, never taken from a command or a stored column. Roll lies in [-pi/2, 3 pi/2).

    Args:
        kin: the arm's kinematics.
        joints_deg: (6,) one step, or (T, 6) consecutive steps of one episode; degrees, gripper 0..100.
        previous_joints_deg: (6,) the joints one step before the first; None at an episode's start (velocity 0).
        fps: steps per second.
        start_joints_deg: (6,) the joints at the episode's start, where the end effector is to be relative to its pose
            there; None: base frame.

    Returns:
        (18,) or (T, 18) float32.
    """
    joints = np.asarray(joints_deg, dtype=np.float64)
    steps = np.atleast_2d(joints)
    before = steps[:1] if previous_joints_deg is None else np.atleast_2d(np.asarray(previous_joints_deg, np.float64))
    velocities = np.diff(steps, axis=0, prepend=before) * fps
    pose = ee_pose(kin, steps)
    if start_joints_deg is not None:
        pose = relative_pose(pose, ee_pose(kin, np.asarray(start_joints_deg, np.float64)))
    state = np.concatenate([steps, velocities, pose], axis=-1)
    return state.reshape(*joints.shape[:-1], len(STATE_DIMS)).astype(np.float32)


class StateReader:
    """The state of each step of an episode from its measured joints, as `proprioception` has it.

    Args:
        kin: the arm's kinematics.
        fps: steps per second.
        ee_frame: of the end-effector pose.
    """

    def __init__(self, kin: Kinematics, fps: float, ee_frame: EeFrame) -> None:
        self._kin, self._fps, self._ee_frame = kin, fps, ee_frame
        self.begin()

    def begin(self) -> None:
        """An episode starts: its first step has no velocity, and its pose is what others may be relative to."""
        self._previous: np.ndarray | None = None
        self._start: np.ndarray | None = None

    def __call__(self, joints_deg: np.ndarray, elapsed_s: float | None = None) -> np.ndarray:
        """The state (18,) float32 of the next step.

        Args:
            joints_deg: (6,) measured, degrees, gripper 0..100.
            elapsed_s: since the last step; None: one period.
        """
        if self._start is None:
            self._start = joints_deg
        start = self._start if self._ee_frame is EeFrame.reset else None
        rate = 1 / elapsed_s if elapsed_s else self._fps
        state = proprioception(self._kin, joints_deg, self._previous, rate, start)
        self._previous = joints_deg
        return state


def joint_dims(limits_deg: np.ndarray) -> list[Dimension]:
    """The joints of a robot's spec, with their limits (6, 2): degrees, the gripper's of 0..100."""
    units = ["deg"] * ARM_JOINTS + ["percent"]
    return [
        Dimension(name=name, unit=unit, low=float(low), high=float(high))
        for name, unit, (low, high) in zip(JOINTS, units, np.asarray(limits_deg, dtype=float), strict=True)
    ]


def joint_action_spec(scale_deg: float, gripper: GripperFormat, gripper_step: float) -> ActionSpec:
    """The action of an SO-101 that is driven joint by joint: change of each, and the gripper as in `action_spec`.

    Args:
        scale_deg: degrees per step at full action.
    """
    names = [f"delta_{joint}" for joint in JOINTS[:ARM_JOINTS]] + ["gripper"] * (gripper is not GripperFormat.none)
    dims = [Dimension(name, "1", -1.0, 1.0) for name in names]
    return ActionSpec(dims, 0.0, "", Semantics.commanded, gripper, gripper_step, scale_deg)


def action_spec(
    scale_m: float, gripper: GripperFormat, gripper_step: float, semantics: Semantics = Semantics.commanded
) -> ActionSpec:
    """The action every SO-101 environment and dataset uses: end-effector deltas and, if any, the gripper.

    Args:
        scale_m: metres per step at full action.
        gripper: format of the last dimension; `none` leaves it out.
        gripper_step: change of the gripper, of 0..100, per step at full action.
        semantics: whether actions are commands or rebuilt from states.
    """
    names = [*EE_DELTAS] + ["gripper"] * (gripper is not GripperFormat.none)
    dims = [Dimension(name, "1", -1.0, 1.0, "base" if name.startswith("delta") else "") for name in names]
    return ActionSpec(dims, scale_m, "base", semantics, gripper, gripper_step)
