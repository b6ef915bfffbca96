import numpy as np
import pytest

from hiltk.arm.kinematics import Kinematics
from hiltk.arm.model import JOINTS
from hiltk.arm.state import STATE_DIMS, action_spec, ee_pose, ee_position, poses_as_stored, proprioception, state_spec
from hiltk.spec import EeFrame, GripperFormat, Semantics, StateSpec


@pytest.fixture(scope="module")
def kin() -> Kinematics:
    return Kinematics()


def test_every_dimension_is_named_with_its_unit():
    assert [d.name for d in STATE_DIMS] == [
        *(f"{joint}.pos" for joint in JOINTS),
        *(f"{joint}.vel" for joint in JOINTS),
        *("ee.x", "ee.y", "ee.z", "ee.roll", "ee.pitch", "ee.yaw"),
    ]
    units = [*["deg"] * 5, "percent", *["deg/s"] * 5, "percent/s", *["m"] * 3, *["rad"] * 3]
    assert [d.unit for d in STATE_DIMS] == units
    assert [d.frame for d in STATE_DIMS] == [""] * 12 + ["base"] * 6


def test_golden_state(kin):
    """Stretched out ahead at zero, one step after every joint was elsewhere; positions as in test_kinematics."""
    previous = [1.0, -2.0, 0.5, 0.0, 3.0, 10.0]
    state = proprioception(kin, np.array([0.0, 0, 0, 0, 0, 25]), previous, fps=10)
    assert state.dtype == np.float32 and state.shape == (18,)
    np.testing.assert_array_equal(state[:6], [0, 0, 0, 0, 0, 25])
    np.testing.assert_array_equal(state[6:12], [-10, 20, -5, 0, -30, 150])
    np.testing.assert_allclose(state[12:15], [0.391362, 0.0, 0.226470], atol=2e-5)
    # The approach axis (frame z) is base x, and frame x points down but for wrist_roll's 0.0486795 rad twist.
    assert state[16] == pytest.approx(np.pi / 2 - 0.0486795, abs=2e-5)


def test_velocity_is_zero_at_the_start_of_an_episode(kin):
    state = proprioception(kin, [10, -20, 30, 40, 90, 50], None, fps=10)
    np.testing.assert_array_equal(state[6:12], np.zeros(6))


def test_a_whole_episode_equals_its_steps_one_by_one(kin):
    joints = np.random.default_rng(0).uniform(-60, 60, (7, 6))
    whole = proprioception(kin, joints, None, fps=15)
    assert whole.shape == (7, 18)
    for t in range(7):
        one = proprioception(kin, joints[t], joints[t - 1] if t else None, fps=15)
        np.testing.assert_allclose(whole[t], one, rtol=1e-6)


def test_a_later_part_of_an_episode_knows_what_came_before(kin):
    joints = np.random.default_rng(0).uniform(-60, 60, (7, 6))
    whole = proprioception(kin, joints, None, fps=10)
    np.testing.assert_allclose(proprioception(kin, joints[3:], joints[2], fps=10), whole[3:], rtol=1e-6)


def test_states_within_the_limits_are_within_the_stated_ranges(kin):
    low, high = np.array([(d.low, d.high) for d in STATE_DIMS]).T
    states = proprioception(kin, np.random.default_rng(0).uniform(*kin.limits_deg.T, (20_000, 6)), None, fps=10)
    poses = states[:, [*range(6), *range(12, 18)]]
    keep = [*range(6), *range(12, 18)]
    assert (poses >= low[keep] - 1e-4).all() and (poses <= high[keep] + 1e-4).all()


@pytest.mark.parametrize("gripper", list(GripperFormat))
def test_action_spec(gripper):
    spec = action_spec(0.02, gripper, 15.0, Semantics.achieved)
    expected = ["delta_x", "delta_y", "delta_z"] + ([] if gripper is GripperFormat.none else ["gripper"])
    assert spec.names == expected
    assert all((d.unit, d.low, d.high) == ("1", -1.0, 1.0) for d in spec.dims)
    assert (spec.scale_m, spec.frame, spec.gripper, spec.gripper_step) == (0.02, "base", gripper, 15.0)
    assert spec.semantics is Semantics.achieved


def test_roll_does_not_jump_while_the_gripper_points_down(kin):
    """Straight down is roll = pi, where the usual branch flips sign from one step to the next."""
    wobble = np.array([[0.0, -30, 30, 90 + tilt, 90, 20] for tilt in (-0.5, -0.1, 0.1, 0.5)])
    wobble[:, 4] += [0.3, -0.3, 0.3, -0.3]
    roll = proprioception(kin, wobble, None, fps=10)[:, 15]
    assert np.ptp(roll) < 0.1 and np.all(np.abs(roll - np.pi) < 0.5)


def test_a_spec_has_dimensions_of_its_own() -> None:
    state_spec().dims[0].unit = "rad"
    assert STATE_DIMS[0].unit == state_spec().dims[0].unit == "deg"
    assert [d.name for d in state_spec(with_gripper=False).dims] == [
        d.name for d in STATE_DIMS if "gripper" not in d.name
    ]


# ---------------------------------------------------------------- relative to the reset pose


def test_golden_pose_relative_to_the_start(kin):
    """Turning the base by 90 degrees turns the arm about the vertical axis, which at the start is an axis of its own.

    Stretched out, its z points ahead and it is 0.391362 m ahead of the base, 0.352527 m of the axis it turns about:
    seen from there it goes 0.352527 m back along its z, and as far aside, neither up nor down.
    """
    start, turned = np.zeros(6), np.array([-90.0, 0, 0, 0, 0, 0])
    state = proprioception(kin, np.stack([start, turned]), None, 10, start)
    np.testing.assert_allclose(state[0, 12:], 0, atol=1e-6)
    assert state[1, 14] == pytest.approx(-0.352527, abs=1e-4)
    assert np.linalg.norm(state[1, 12:14]) == pytest.approx(0.352527, abs=1e-4)
    np.testing.assert_array_equal(state[:, :12], proprioception(kin, np.stack([start, turned]), None, 10)[:, :12])


def test_where_an_episode_starts_does_not_matter_to_its_relative_poses(kin):
    """The same motion after another turn of the base: the same relative poses, to rounding."""
    joints = np.random.default_rng(0).uniform(-40, 40, (6, 6))
    there = joints + np.array([35.0, 0, 0, 0, 0, 0])
    one, other = (proprioception(kin, j, None, 10, j[0])[:, 12:] for j in (joints, there))
    np.testing.assert_allclose(one, other, atol=1e-5)


def test_poses_of_whole_episodes_as_a_state_holds_them(kin):
    joints = np.random.default_rng(1).uniform(-60, 60, (9, 6))
    pose, bounds = ee_pose(kin, joints), [(0, 4), (4, 9)]
    assert poses_as_stored(pose, bounds, EeFrame.base) is pose
    found = poses_as_stored(pose, bounds, EeFrame.reset)
    for a, b in bounds:
        np.testing.assert_allclose(found[a:b], proprioception(kin, joints[a:b], None, 10, joints[a])[:, 12:], atol=1e-6)


def test_a_spec_says_the_frame_and_a_state_of_either_where_the_end_effector_is(kin):
    base, reset = state_spec(), state_spec(ee_frame=EeFrame.reset)
    assert (base.ee_frame, reset.ee_frame, StateSpec().ee_frame) == (EeFrame.base, EeFrame.reset, EeFrame.base)
    assert [d.frame for d in reset.dims] == [""] * 12 + ["reset"] * 6
    joints = np.array([10.0, -20, 30, 40, 90, 50])
    for spec, start in ((base, None), (reset, np.zeros(6))):
        state = proprioception(kin, joints, None, 10, start)
        assert all(d.low <= v <= d.high for d, v in zip(spec.dims, state, strict=True))
        np.testing.assert_allclose(ee_position(kin, state, spec), kin.forward(joints)[0], atol=1e-6)
