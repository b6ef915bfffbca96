"""Proprioception: the 18-D state of the arm, and what an action means, dimension by dimension."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from hiltk.arm.kinematics import Kinematics, euler_from_matrix
from hiltk.arm.model import JOINTS, arm_chain
from hiltk.arm.units import ARM_JOINTS, GRIPPER_SPAN_RAD
from hiltk.spec import EE_DELTAS, ActionSpec, Dimension, GripperFormat, Semantics, StateSpec

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


def state_spec(*, with_gripper: bool = True) -> StateSpec:
    """A state of these dimensions, copies of its own: whoever changes one spec must not change all others."""
    return StateSpec([replace(d) for d in STATE_DIMS if with_gripper or not d.name.startswith("gripper")])


def proprioception(
    kin: Kinematics, joints_deg: ArrayLike, previous_joints_deg: ArrayLike | None, fps: float
) -> np.ndarray:
    """The state vector `STATE_DIMS` describes: joint positions, joint velocities, end-effector pose.

    Velocity is the change since the previous step times ``fps``. The end effector is always recomputed from the
    joints by forward kinematics, never taken from a command or a stored column. Roll lies in [-pi/2, 3 pi/2).

    Args:
        kin: the arm's kinematics.
        joints_deg: (6,) one step, or (T, 6) consecutive steps of one episode; degrees, gripper 0..100.
        previous_joints_deg: (6,) the joints one step before the first; None at an episode's start (velocity 0).
        fps: steps per second.

    Returns:
        (18,) or (T, 18) float32.
    """
    joints = np.asarray(joints_deg, dtype=np.float64)
    steps = np.atleast_2d(joints)
    before = steps[:1] if previous_joints_deg is None else np.atleast_2d(np.asarray(previous_joints_deg, np.float64))
    velocities = np.diff(steps, axis=0, prepend=before) * fps
    position, rotation = kin.forward(steps)
    euler = euler_from_matrix(rotation)
    euler[..., 0] = np.mod(euler[..., 0] - ROLL_FROM, 2 * math.pi) + ROLL_FROM
    state = np.concatenate([steps, velocities, position, euler], axis=-1)
    return state.reshape(*joints.shape[:-1], len(STATE_DIMS)).astype(np.float32)


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
