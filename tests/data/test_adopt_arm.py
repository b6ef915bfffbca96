"""Which arm it was, and from where its joints are counted: by its name, its limits and where its end effector went."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from hiltk.arm.calibration import from_old_zero
from hiltk.arm.kinematics import Kinematics
from hiltk.data.adopt_arm import guess_arm_by_motion, guess_zero, other_arm, path_correlation

KIN = Kinematics()
AT = np.arange(200)[:, None]
ARM = np.array([0, -30, 40, 50, 0]) + np.array([40, 30, 25, 20, 20]) * np.sin(AT / np.array([20, 25, 22, 18, 30]))
BOUNDS = [(0, 90), (90, 200)]
NAMES = ["shoulder_lift.pos"]


def old(arm: np.ndarray) -> np.ndarray:
    """As LeRobot counted before its pull request 777, the conversion undone by hand."""
    out = arm.copy()
    out[:, 1], out[:, 2] = 90 - arm[:, 1], arm[:, 2] + 90
    return out


@pytest.mark.parametrize(
    "name",
    ["", "unknown", "so100", "so101", "so100_follower", "so101_follower", "so_follower", "bi_so_follower",
     "bi_so100_follower", "SO-ARM101", "so_arm_100", "lekiwi", "lekiwi_client", "so101_sim", "my_arm", "robot",
     "hil_serl", "gym_manipulator", "so101_like_koch", "solo", "leader"],
)  # fmt: skip
def test_an_so101_under_any_name_and_names_that_say_nothing(name: str) -> None:
    assert not other_arm(name)


@pytest.mark.parametrize(
    "name",
    ["koch", "koch_follower", "bi_koch", "aloha", "franka_panda", "Franka", "panda", "ur5e", "xarm6", "unitree_g1",
     "widowx_250", "trossen_ai_stationary", "openarm_follower", "bi_openarm_follower", "hope_jr_arm", "moss", "reachy2",
     "rebot_b601_follower", "omx_follower", "earthrover_mini_plus"],
)  # fmt: skip
def test_other_arms(name: str) -> None:
    assert other_arm(name)


def test_sound_joints_are_doubted_by_nobody() -> None:
    ee = KIN.forward(ARM)[0]
    for stored in (None, ee, np.zeros_like(ee), ee + 0.1, ee @ Rotation.from_euler("z", 90, degrees=True).as_matrix()):
        assert guess_arm_by_motion(ARM, stored, BOUNDS, KIN, "") is None
    assert guess_zero(ARM, NAMES, KIN) is None and guess_zero(ARM, ["main_shoulder_lift"], KIN) is None
    crooked = ARM + np.array([0, -9, 0, 0, 0]) * (
        ARM[:, 1:2] < -55
    )  # a lift calibrated askew, now and then at its stop
    assert guess_arm_by_motion(crooked, None, BOUNDS, KIN, "") is None and guess_zero(crooked, NAMES, KIN) is None


def test_limits_and_paths_speak_against_an_arm() -> None:
    beyond = guess_arm_by_motion(ARM + 120, None, BOUNDS, KIN, "arm_x")
    assert beyond is not None and "100% of rows" in beyond.evidence and "robot_type=arm_x" in beyond.evidence
    elsewhere = np.random.default_rng(0).normal(size=(200, 3)).cumsum(0)
    moved = guess_arm_by_motion(ARM, elsewhere, BOUNDS, KIN, "")
    assert moved is not None and "moves otherwise" in moved.evidence


def test_the_old_zero_is_offered_where_it_fits() -> None:
    np.testing.assert_allclose(from_old_zero(old(ARM)), ARM)
    by_limits = guess_zero(old(ARM), NAMES, KIN)
    assert by_limits is not None and by_limits.value == "so100_old" and "pull request 777" in by_limits.evidence
    both = ARM * 0.2 + np.array([0, 40, 20, 50, 0])  # fits either way: then the names of that time decide
    assert guess_zero(both, NAMES, KIN) is None
    by_name = guess_zero(both, ["main_shoulder_lift"], KIN)
    assert by_name is not None and "main_" in by_name.evidence
    assert guess_zero(ARM + 200, NAMES, KIN) is None  # it fits neither: another arm's matter


@given(
    st.integers(0, 2**31), st.floats(0.01, 1000), st.lists(st.floats(-1, 1), min_size=3, max_size=3),
)  # fmt: skip
def test_a_path_is_the_same_wherever_it_is_seen_from(seed: int, scale: float, place: list[float]) -> None:
    path = np.random.default_rng(seed).normal(size=(50, 3)).cumsum(0)
    seen = scale * path @ Rotation.random(random_state=seed).as_matrix() + np.array(place)
    assert path_correlation(path, seen, [(0, 20), (20, 50)]) == pytest.approx(1)
