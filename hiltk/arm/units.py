"""LeRobot's joint units against MuJoCo's: arm joints in degrees, gripper 0 (closed) to 100 (open), both to radians."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

GRIPPER_CLOSED_RAD = -0.174533
GRIPPER_SPAN_RAD = 1.919862
ARM_JOINTS = 5


def to_radians(joints: ArrayLike) -> np.ndarray:
    """LeRobot joint vectors (..., 6), degrees and gripper percent, as MuJoCo joint angles (..., 6) in radians.

    With ``use_degrees=True`` and the new calibration the five arm joints agree in sign and zero with the model.
    """
    joints = np.asarray(joints, dtype=np.float64)
    radians = np.deg2rad(joints)
    radians[..., ARM_JOINTS] = GRIPPER_CLOSED_RAD + joints[..., ARM_JOINTS] / 100 * GRIPPER_SPAN_RAD
    return radians


def to_degrees(joints: ArrayLike) -> np.ndarray:
    """MuJoCo joint angles (..., 6) in radians as LeRobot joint vectors (..., 6); the inverse of `to_radians`."""
    joints = np.asarray(joints, dtype=np.float64)
    degrees = np.rad2deg(joints)
    degrees[..., ARM_JOINTS] = (joints[..., ARM_JOINTS] - GRIPPER_CLOSED_RAD) / GRIPPER_SPAN_RAD * 100
    return degrees
