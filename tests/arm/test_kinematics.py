from importlib.resources import files

import mujoco
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from hiltk.arm.kinematics import Kinematics, euler_from_matrix
from hiltk.arm.model import load_arm
from hiltk.arm.units import to_radians
from hiltk.errors import UserError

START = np.array([0.0, -30.0, 30.0, 80.0, 90.0, 40.0])
WORKSPACE = np.array([[0.12, -0.16, 0.008], [0.36, 0.16, 0.22]])


@pytest.fixture(scope="module")
def kin() -> Kinematics:
    return Kinematics()


def tilt_deg(rotation: np.ndarray) -> np.ndarray:
    """Angle between the gripper frame's approach axis (its +z) and straight down."""
    return np.rad2deg(np.arccos(np.clip(-rotation[..., 2, 2], -1, 1)))


def walk(kin: Kinematics, seed: int, steps: int) -> np.ndarray:
    """Targets (steps, 3) an arm can reach, at most 2 cm apart per axis, all over the workspace."""
    rng = np.random.default_rng(seed)
    position, velocity, targets = np.array([0.2, 0.0, 0.09]), np.zeros(3), []
    joints = kin.inverse(START, position, 90)
    while len(targets) < steps:
        velocity = np.clip(0.8 * velocity + rng.uniform(-0.012, 0.012, 3), -0.02, 0.02)
        candidate = np.clip(position + velocity, *WORKSPACE)
        solved = joints
        for _ in range(10):  # reachable: found with any amount of work
            solved = kin.inverse(solved, candidate, 90)
        if np.linalg.norm(kin.forward(solved)[0] - candidate) < 1e-5:
            position, joints = candidate, solved
            targets.append(candidate)
        else:
            velocity = -velocity
    return np.array(targets)


def test_forward_agrees_with_mujoco(kin):
    model = load_arm().compile()
    data = mujoco.MjData(model)
    joints = np.random.default_rng(0).uniform(*kin.limits_deg.T, (200, 6))
    positions, rotations = kin.forward(joints)
    for joint, position, rotation in zip(to_radians(joints), positions, rotations, strict=True):
        data.qpos[:] = joint
        mujoco.mj_kinematics(model, data)
        np.testing.assert_allclose(position, data.site("gripperframe").xpos, atol=1e-14)
        np.testing.assert_allclose(rotation, data.site("gripperframe").xmat.reshape(3, 3), atol=1e-14)


def test_forward_at_zero_by_hand(kin):
    """Upper arm straight up, everything after it straight ahead: the URDF's offsets simply add up."""
    position, rotation = kin.forward(np.zeros(5))
    ahead = 0.0388353 + 0.0303992 + 0.028 + 0.1349 + 0.0611 + 0.0981274
    up = 0.0624 + 0.0542 + 0.11257 + 0.0052 - 0.0079 * np.cos(0.0486795) - 0.000218121 * np.sin(0.0486795)
    np.testing.assert_allclose(position, [ahead, 0, up], atol=2e-5)  # the URDF rounds pi/2 to 1.5708
    np.testing.assert_allclose(rotation[:, 2], [1, 0, 0], atol=2e-5)


def test_forward_takes_any_leading_dimensions_and_ignores_the_gripper(kin):
    joints = np.random.default_rng(0).uniform(*kin.limits_deg.T, (3, 4, 6))
    position, rotation = kin.forward(joints)
    assert position.shape == (3, 4, 3) and rotation.shape == (3, 4, 3, 3)
    np.testing.assert_array_equal(kin.forward(joints[..., :5])[0], position)
    np.testing.assert_allclose(kin.forward(joints[1, 2])[0], position[1, 2], atol=1e-15)


def test_limits_are_the_models(kin):
    np.testing.assert_allclose(np.deg2rad(kin.limits_deg[:5]), load_arm().compile().jnt_range[:5], rtol=1e-15)
    assert kin.limits_deg[5].tolist() == [0, 100]


@pytest.mark.parametrize("seed", range(3))
def test_inverse_follows_a_walk_through_the_workspace(kin, seed):
    joints = kin.inverse(START, [0.2, 0.0, 0.09], 90)
    low, high = kin.limits_deg.T
    for target in walk(kin, seed, 150):
        joints = kin.inverse(joints, target, 90)
        position, _ = kin.forward(joints)
        assert np.linalg.norm(position - target) < 3e-4
        assert (joints >= low).all() and (joints <= high).all()
        assert joints[4] == pytest.approx(90, abs=1e-9)
        assert joints[5] == START[5]


def test_inverse_points_straight_down_near_the_table(kin):
    joints = START
    for x in np.linspace(0.15, 0.28, 10):
        for y in np.linspace(-0.08, 0.08, 5):
            for _ in range(3):
                joints = kin.inverse(joints, [x, y, 0.03], 90)
            assert tilt_deg(kin.forward(joints)[1]) < 0.1


def test_inverse_trades_pointing_for_position_where_the_wrist_is_at_its_limit(kin):
    """Lifting from 5 to 20 cm takes wrist_flex to its limit; the position must not suffer (it did, by 70 mm)."""
    joints = START
    for z in np.arange(0.05, 0.2, 0.01):
        joints = kin.inverse(joints, [0.22, 0.0, z], 90)
        assert np.linalg.norm(kin.forward(joints)[0] - [0.22, 0, z]) < 2e-4
    assert joints[3] == pytest.approx(kin.limits_deg[3, 1])
    assert 20 < tilt_deg(kin.forward(joints)[1]) < 60


@pytest.mark.parametrize("y", [-0.15, 0.0, 0.15])
@pytest.mark.parametrize("z", [0.01, 0.1])
def test_inverse_does_not_oscillate_where_the_arm_is_stretched(kin, y, z):
    """With too little damping for the pointing weight, this ended 5 to 15 mm off, step after step."""
    joints = START
    for x in np.arange(0.28, 0.36, 0.01):
        joints = kin.inverse(joints, [x, y, z], 90)
        assert np.linalg.norm(kin.forward(joints)[0] - [x, y, z]) < 3e-4


def test_inverse_jumps_across_the_workspace(kin):
    rng = np.random.default_rng(0)
    targets = rng.permutation(walk(kin, 5, 200))[:40]
    joints = START
    for target in targets:
        joints = kin.inverse(joints, target, 90)
        assert np.linalg.norm(kin.forward(joints)[0] - target) < 1e-3


@pytest.mark.parametrize("roll", [-157.0, -60.0, 0.0, 45.0, 162.0])
def test_inverse_keeps_the_asked_roll(kin, roll):
    joints = START
    for _ in range(3):
        joints = kin.inverse(joints, [0.22, 0.05, 0.04], roll)
    assert joints[4] == pytest.approx(roll, abs=1e-9)
    np.testing.assert_allclose(kin.forward(joints)[0], [0.22, 0.05, 0.04], atol=1e-5)


def test_inverse_clips_a_roll_and_a_start_beyond_the_limits(kin):
    joints = kin.inverse([0, -140, 130, 120, 0, 10], [0.22, 0, 0.05], 400)
    assert (joints[:5] >= kin.limits_deg[:5, 0]).all() and (joints[:5] <= kin.limits_deg[:5, 1]).all()
    assert joints[4] == pytest.approx(kin.limits_deg[4, 1])


@pytest.mark.parametrize("target", [(0.8, 0.0, 0.1), (0.3, 0.6, 0.1), (0.2, 0.0, 0.9)])
def test_inverse_stretches_towards_what_is_out_of_reach(kin, target):
    """The nearest point the arm can reach is found by brute force."""
    grid = np.random.default_rng(0).uniform(*kin.limits_deg[:5].T, (200_000, 5))
    nearest = np.linalg.norm(kin.forward(grid)[0] - target, axis=-1).min()
    joints = START
    for _ in range(20):
        joints = kin.inverse(joints, target, 90)
    assert np.linalg.norm(kin.forward(joints)[0] - target) < nearest + 0.01
    again = kin.inverse(joints, target, 90)
    assert np.abs(again - joints).max() < 5, "it settles instead of thrashing"


@pytest.mark.parametrize("joints, target", [(START * np.nan, [0.2, 0, 0.1]), (START, [0.2, np.inf, 0.1])])
def test_inverse_refuses_what_is_not_finite(kin, joints, target):
    with pytest.raises(UserError, match="not finite"):
        kin.inverse(joints, target, 90)


def test_the_base_frame_counts_wherever_the_users_file_puts_the_arm(kin, tmp_path):
    text = files("hiltk.arm").joinpath("so101.xml").read_text()
    moved = text.replace('<body name="base">', '<body name="base" pos="1 2 3" euler="0 0 1">')
    assert moved != text
    (tmp_path / "moved.xml").write_text(moved)
    moved_kin = Kinematics(str(tmp_path / "moved.xml"))
    np.testing.assert_allclose(moved_kin.forward(START)[0], kin.forward(START)[0], atol=1e-9)
    np.testing.assert_allclose(
        moved_kin.inverse(START, [0.2, 0.1, 0.05], 90), kin.inverse(START, [0.2, 0.1, 0.05], 90), atol=1e-5
    )


def test_euler_of_known_rotations():
    quarter_about_z = np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1]])
    np.testing.assert_allclose(euler_from_matrix(quarter_about_z), [0, 0, np.pi / 2])
    half_about_x = np.diag([1.0, -1.0, -1.0])
    np.testing.assert_allclose(euler_from_matrix(half_about_x), [np.pi, 0, 0])


@given(st.tuples(st.floats(-3.1, 3.1), st.floats(-1.5, 1.5), st.floats(-3.1, 3.1)))
def test_euler_recovers_the_angles(angles):
    rotation = Rotation.from_euler("xyz", angles).as_matrix()
    np.testing.assert_allclose(euler_from_matrix(rotation), angles, atol=1e-9)


@pytest.mark.parametrize("pitch", [np.pi / 2, -np.pi / 2])
@pytest.mark.parametrize("roll, yaw", [(0.3, 0.0), (0.3, 0.5), (-2.0, 1.0)])
def test_euler_at_the_singularity_has_no_yaw_and_gives_the_rotation_back(pitch, roll, yaw):
    rotation = Rotation.from_euler("xyz", [roll, pitch, yaw]).as_matrix()
    euler = euler_from_matrix(rotation)
    assert euler[2] == 0
    assert euler[1] == pytest.approx(pitch)
    np.testing.assert_allclose(Rotation.from_euler("xyz", euler).as_matrix(), rotation, atol=1e-7)


def test_euler_handles_batches(kin):
    _, rotations = kin.forward(np.random.default_rng(0).uniform(-80, 80, (2, 3, 5)))
    assert euler_from_matrix(rotations).shape == (2, 3, 3)
