"""Our forward kinematics beside an independent one: placo, as LeRobot's own `RobotKinematics` calls it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hiltk.arm.kinematics import Kinematics
from hiltk.arm.model import JOINTS

SAMPLES = 300


@pytest.fixture(scope="module")
def theirs(official_urdf: Path):
    from lerobot.model.kinematics import RobotKinematics

    return RobotKinematics(str(official_urdf), "gripper_frame_link", list(JOINTS))


@pytest.mark.parametrize("model", ["built-in", "official"])
def test_the_gripper_frame_agrees_over_random_configurations(theirs, official_urdf: Path, model: str) -> None:
    """To 1e-7 m (the repair needs 1e-5; measured 3.3e-16). The jaw's angle must not matter, and is random, too."""
    ours = Kinematics(str(official_urdf) if model == "official" else "")
    limits = ours.limits_deg
    rng = np.random.default_rng(0)
    joints = rng.uniform(*limits.T, (SAMPLES, len(JOINTS)))
    positions, rotations = ours.forward(joints)
    jaw = rng.uniform(-10, 100, SAMPLES)  # degrees: placo takes all six joints as angles
    for q, angle, position, rotation in zip(joints, jaw, positions, rotations, strict=True):
        pose = theirs.forward_kinematics(np.r_[q[:5], angle])
        np.testing.assert_allclose(position, pose[:3, 3], rtol=0, atol=1e-7)
        np.testing.assert_allclose(rotation, pose[:3, :3], rtol=0, atol=1e-7)


def test_a_wrong_joint_would_be_seen(theirs) -> None:
    """A tenth of a degree in the elbow moves the frame by far more than the agreement above."""
    joints = np.array([10.0, -30, 30, 70, 80, 40])
    moved = joints + np.array([0, 0, 0.1, 0, 0, 0])
    assert np.linalg.norm(Kinematics().forward(moved)[0] - theirs.forward_kinematics(joints)[:3, 3]) > 1e-4


def test_the_repairs_own_numbers_agree(theirs) -> None:
    """Rebuilt actions are placo's displacements: the whole repair, not just the kinematics."""
    from hiltk.arm.state import action_spec
    from hiltk.data.repair import rebuild
    from hiltk.spec import GripperFormat

    steps = np.random.default_rng(1).normal(size=(40, 6))
    joints = np.array([0.0, -30, 30, 80, 90, 40]) + np.cumsum(steps, axis=0)
    made = rebuild(joints, np.zeros(40, int), action_spec(0.05, GripperFormat.none, 15.0), Kinematics())
    path = np.array([theirs.forward_kinematics(q)[:3, 3] for q in joints])
    np.testing.assert_allclose(made.actions[:-1] * 0.05, np.diff(path, axis=0), rtol=0, atol=1e-7)
