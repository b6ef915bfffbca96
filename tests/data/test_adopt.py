"""What the numbers of a dataset made elsewhere mean: one question at a time, on data whose answer is known."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hiltk.arm.calibration import DEG_PER_TICK, Calibration
from hiltk.arm.kinematics import Kinematics
from hiltk.config.commands import KEEP, REBUILD, AdoptedConf
from hiltk.data.adopt_actions import (
    YAWS_DEG,
    Motion,
    fit,
    guess_actions,
    guess_gripper_format,
    guess_gripper_step,
    guess_scale,
    guess_yaw,
    is_achieved,
    nearest_round,
    rotate,
)
from hiltk.data.adopt_questions import LIKELY, OPEN, SURE, Decider, Guess
from hiltk.data.adopt_state import encoder_step, guess_gripper_unit, guess_joint_unit, guess_joints, locked_joints
from hiltk.data.timeline import Timeline
from hiltk.errors import ConfigError, UserError
from tests.conftest import START_DEG, joint_path

KIN = Kinematics()
EPISODES, LENGTH, FPS = 4, 60, 10.0


def arm_path(seed: int = 0) -> np.ndarray:
    """Joints of four episodes (N, 6), a gripper that opens and closes."""
    parts = [joint_path(LENGTH - 1, seed=seed * 10 + e, step_deg=2.0) for e in range(EPISODES)]
    for part in parts:
        part[:, 5] = 50 + 30 * np.sin(np.arange(LENGTH) / 6)
    return np.concatenate(parts)


def motion_of(joints: np.ndarray) -> Motion:
    episode = np.repeat(np.arange(EPISODES), LENGTH)
    ones, zeros = np.ones(len(joints), np.int64), np.zeros(len(joints))
    return Motion.of(joints, Timeline(np.arange(len(joints)), zeros, episode, ones, FPS, 0, 0), KIN)


JOINTS = arm_path()
MOTION = motion_of(JOINTS)
# What a recorder with a scale of 0.02 m and a step of 15 stores: (N, 4), the last row of an episode anything.
TRUE = np.full((len(JOINTS), 4), 0.5)
TRUE[MOTION.rows] = np.clip(np.column_stack([MOTION.steps_m / 0.02, MOTION.grips / 15.0]), -1, 1)
HELD = TRUE[MOTION.rows]


# ---------------------------------------------------------------- state


@pytest.mark.parametrize("style", ["{}", "{}.pos", "main_{}"])
def test_joints_are_found_by_name(style: str) -> None:
    ours = ["shoulder_pan", "shoulder_lift", "elbow_flex", "wrist_flex", "wrist_roll", "gripper"]
    names = ["ee.x", *(style.format(j) for j in reversed(ours)), "elbow_flex.vel"]
    guess = guess_joints(names, len(names))
    assert guess.confidence == SURE and guess.value == [style.format(j) for j in ours]


def test_joints_without_names() -> None:
    assert guess_joints([], 6).confidence == LIKELY and guess_joints([f"motor_{i}" for i in range(18)], 18).value == []
    for names, size in (([], 14), ([], 3), (["shoulder_pan.pos", "elbow_flex.pos"], 2)):
        assert guess_joints(names, size).confidence == OPEN and guess_joints(names, size).value is None
    five = ["shoulder_pan.pos", "shoulder_lift.pos", "elbow_flex.pos", "wrist_flex.pos", "wrist_roll.pos"]
    assert guess_joints(five, 5).value == five


def in_ticks(ranges: list[int]) -> np.ndarray:
    """Joint positions of a real arm (N, 5): whole encoder ticks from the middle."""
    wanted = JOINTS[:, :5] / DEG_PER_TICK
    return np.clip(np.rint(wanted), -np.array(ranges) / 2, np.array(ranges) / 2)


def test_the_unit_of_joints_by_size() -> None:
    assert guess_joint_unit(np.deg2rad(JOINTS[:, :5]), None, KIN).value == "radians"
    wide = JOINTS[:, :5] + [0, 0, 0, 0, 60]
    assert (guess_joint_unit(wide, None, KIN).value, guess_joint_unit(wide, None, KIN).confidence) == ("degrees", SURE)
    assert guess_joint_unit(np.zeros((9, 5)), None, KIN).confidence == OPEN
    assert guess_joint_unit(np.full((9, 5), 2048.0), None, KIN).confidence == OPEN  # raw ticks


def test_degrees_and_normalised_are_told_apart_by_encoder_steps() -> None:
    ranges = [2200, 2150, 2100, 2180, 2210]
    ticks = in_ticks(ranges)
    degrees = guess_joint_unit((ticks * DEG_PER_TICK).astype(np.float32), None, KIN)
    assert (degrees.value, degrees.confidence) == ("degrees", SURE) and "0.0879" in degrees.evidence
    normalised = guess_joint_unit((ticks / (np.array(ranges) / 2) * 100).astype(np.float32), None, KIN)
    assert (normalised.value, normalised.confidence) == ("normalized", SURE)
    smooth = guess_joint_unit(np.clip(JOINTS[:, :5], -95, 95), None, KIN)
    assert (smooth.value, smooth.confidence) == ("degrees", OPEN) and "±100" in smooth.evidence


def test_a_stored_end_effector_settles_the_unit() -> None:
    arm = np.clip(JOINTS[:, :5], -95, 95)
    guess = guess_joint_unit(arm, KIN.forward(arm)[0], KIN)
    assert (guess.value, guess.confidence) == ("degrees", SURE)
    assert guess_joint_unit(arm, KIN.forward(arm * 1.3)[0], KIN).confidence == OPEN


@given(step=st.floats(0.02, 0.5), offset=st.floats(-50, 50), seed=st.integers(0, 20))
def test_the_step_of_an_encoder_is_found(step: float, offset: float, seed: int) -> None:
    counts = np.cumsum(np.random.default_rng(seed).integers(-9, 10, 400))
    values = (counts * step + offset).astype(np.float32)
    assert encoder_step(values) == pytest.approx(step, rel=0.01)


def test_numbers_without_a_step_have_none() -> None:
    assert encoder_step(np.cumsum(np.random.default_rng(0).normal(size=500))) is None
    assert encoder_step(np.zeros(500)) is None


@pytest.mark.parametrize(
    ("values", "joint_unit", "expected", "confidence"),
    [
        ([0, 47.0], "degrees", "percent", SURE),
        ([0, 0.98], "degrees", "unit", LIKELY),
        ([0, 0.05], "degrees", "percent", OPEN),
        ([-0.1, 1.5], "radians", "radians", SURE),
        ([0.1, 1.5], "radians", "percent_as_radians", OPEN),
        ([0.0, 60.0], "radians", "percent", SURE),
        ([0.0, 300.0], "degrees", "percent", OPEN),
    ],
)
def test_the_unit_of_the_gripper(values: list[float], joint_unit: str, expected: str, confidence: str) -> None:
    guess = guess_gripper_unit(np.array(values), joint_unit)
    assert (guess.value, guess.confidence) == (expected, confidence)
    assert guess_gripper_unit(None, joint_unit).value == "none"


def test_locked_joints() -> None:
    assert locked_joints(JOINTS) == ["wrist_roll"]  # `joint_path` holds it


# ---------------------------------------------------------------- actions


def test_deltas_that_explain_the_motion_are_kept() -> None:
    guess = guess_actions(TRUE, JOINTS, MOTION)
    assert (guess.value, guess.confidence) == (KEEP, SURE)


def test_zero_and_missing_actions_are_rebuilt() -> None:
    dead, missing = TRUE.copy(), TRUE.copy()
    dead[:] = 0
    missing[::3] = np.nan
    for actions in (dead, missing, None):
        guess = guess_actions(actions, JOINTS, MOTION)
        assert (guess.value, guess.confidence) == (REBUILD, SURE)


def test_joint_targets_are_recognised() -> None:
    targets = np.roll(JOINTS, -1, axis=0)
    guess = guess_actions(targets, JOINTS, MOTION)
    assert (guess.value, guess.confidence) == (REBUILD, SURE) and "absolute joint targets" in guess.evidence


def test_metres_and_noise_are_no_actions_of_ours() -> None:
    metres = TRUE * 0.02
    assert guess_actions(metres, JOINTS, MOTION).value == REBUILD
    noise = np.random.default_rng(0).uniform(-1, 1, TRUE.shape)
    assert guess_actions(noise, JOINTS, MOTION).confidence == OPEN
    assert guess_actions(np.tile(TRUE, 2)[:, :7], JOINTS, MOTION).value == REBUILD


@pytest.mark.parametrize("yaw", YAWS_DEG)
def test_the_frame_is_found_by_its_yaw(yaw: int) -> None:
    """Failure A4: actions of a simulator that faces another way."""
    theirs = rotate(HELD[:, :3], -yaw % 360)
    guess = guess_yaw(theirs, MOTION)
    assert (guess.value, guess.confidence) == (yaw, SURE)
    np.testing.assert_allclose(rotate(theirs, yaw), HELD[:, :3])


def test_the_sim_frame_is_the_one_of_the_devlogs() -> None:
    """real = (-y_sim, x_sim, z)."""
    assert rotate(np.array([[1.0, 2.0, 3.0]]), 90).tolist() == [[-2.0, 1.0, 3.0]]


def test_the_scale_of_achieved_actions_is_exact() -> None:
    guess = guess_scale(HELD[:, :3], MOTION)
    assert (guess.value, guess.confidence) == (pytest.approx(0.02), SURE)
    assert is_achieved(HELD[:, :3], MOTION, 0.02) and not is_achieved(HELD[:, :3], MOTION, 0.025)


def test_the_scale_of_commands_is_taken_only_where_it_is_round() -> None:
    late = np.concatenate([np.roll(part, -1, axis=0) for part in np.split(HELD[:, :3], EPISODES)])
    lagging = guess_scale(late, MOTION)
    assert (lagging.value, lagging.confidence) == (0.02, LIKELY)
    short = guess_scale(late * 1.6, MOTION)  # the arm makes 62 % of what it is asked
    assert (short.value, short.confidence) == (None, OPEN) and "lower bound" in short.evidence


@pytest.mark.parametrize(
    ("column", "expected", "confidence"),
    [
        (HELD[:, 3], "continuous", LIKELY),
        (np.sign(HELD[:, 3]), "discrete3", SURE),
        (np.sign(HELD[:, 3]) + 1, "discrete012", SURE),
        (np.minimum(np.sign(HELD[:, 3]) + 1, 1), "discrete012", LIKELY),  # never opens: 0 closes, 1 holds
        (np.maximum(np.sign(HELD[:, 3]), 0), "discrete3", OPEN),  # 0 closes as well: cannot be told
        (JOINTS[MOTION.rows + 1, 5], "absolute", LIKELY),
        (JOINTS[MOTION.rows + 1, 5] / 50 - 1, "absolute", LIKELY),
        (np.random.default_rng(0).uniform(-1, 1, len(HELD)), "continuous", OPEN),
        (None, "none", SURE),
    ],
)
def test_the_gripper_format(column: np.ndarray | None, expected: str, confidence: str) -> None:
    if confidence == LIKELY and expected == "discrete012":
        opens = MOTION.grips > 0
        grips = np.where(opens, 0.0, MOTION.grips)
        motion = Motion(MOTION.rows, MOTION.steps_m, grips, MOTION.lengths, JOINTS, MOTION.bounds, MOTION.window)
    else:
        motion = MOTION
    guess = guess_gripper_format(column, motion)
    if confidence == OPEN:
        assert guess.confidence == OPEN or expected == "discrete3"
    else:
        assert (guess.value, guess.confidence) == (expected, confidence)


def test_the_gripper_step() -> None:
    assert guess_gripper_step(HELD[:, 3], MOTION).value == pytest.approx(15)
    assert guess_gripper_step(np.random.default_rng(0).uniform(-1, 1, len(HELD)), MOTION).confidence == OPEN


def test_by_hand() -> None:
    """Fits and round numbers small enough to check with a pencil."""
    assert fit(np.array([1.0, 2.0]), np.array([3.0, 6.0])).slope == 3.0
    assert fit(np.array([1.0, 2.0]), np.array([3.0, 6.0])).r == pytest.approx(1.0)
    assert fit(np.zeros(2), np.ones(2)).r == 0.0
    assert [nearest_round(v) for v in (0.0196, 0.9, 13.9, 55.0)] == [0.02, 1.0, 15.0, 50.0]
    two = MOTION.summed(np.ones(len(MOTION.rows)), 2)
    assert set(two) == {2.0} and len(two) == EPISODES * (LENGTH - 2)


# ---------------------------------------------------------------- statements


def asked(key: str = "foreign.joint_unit") -> Guess:
    return Guess(key, "degrees", "because", OPEN, ("degrees", "radians"))


def test_a_statement_wins_and_is_told_where_the_data_say_otherwise() -> None:
    decider = Decider(AdoptedConf(joint_unit="radians"))
    assert (
        decider.decide(Guess("foreign.joint_unit", "degrees", "they reach 120", SURE, ("degrees", "radians")))
        == "radians"
    )
    assert "they reach 120" in decider.warnings[0] and not decider.questions
    with pytest.raises(ConfigError, match="unknown choice 'radian'"):
        Decider(AdoptedConf(joint_unit="radian")).decide(asked())


def test_an_open_question_is_asked_or_named() -> None:
    assert Decider(AdoptedConf(), ask=lambda guess: "radians").decide(asked()) == "radians"
    decider = Decider(AdoptedConf())
    assert decider.decide(asked()) == "degrees"  # so that later questions are found, too
    decider.decide(Guess("foreign.action_scale_m", None, "lag", OPEN))
    with pytest.raises(UserError) as caught:
        decider.require_settled("here")
    assert (
        "foreign.joint_unit=degrees|radians" in caught.value.what
        and "foreign.action_scale_m=METRES" in caught.value.what
    )
    assert caught.value.fix.endswith("foreign.joint_unit=degrees foreign.action_scale_m=METRES")


# ---------------------------------------------------------------- calibration


def calibration(path: Path, **changes: object) -> Path:
    names = ["shoulder_pan", "shoulder_lift", "elbow_flex", "wrist_flex", "wrist_roll", "gripper"]
    motor = {"drive_mode": 0, "homing_offset": 0, "range_min": 500, "range_max": 3500}
    motors = {name: motor | {"id": i} for i, name in enumerate(names)}
    path.write_text(json.dumps(motors | changes))
    return path


def test_normalised_joints_become_degrees_by_the_calibration(tmp_path: Path) -> None:
    loaded = Calibration.load(str(calibration(tmp_path / "my_arm.json")))
    assert loaded.id == "my_arm" and len(loaded.hash) == 16
    np.testing.assert_allclose(loaded.to_degrees(np.full(5, 100.0)), np.full(5, 1500 * 360 / 4095))
    spaced = tmp_path / "same.json"
    spaced.write_text(json.dumps(json.loads((tmp_path / "my_arm.json").read_text()), indent=4))
    assert Calibration.load(str(spaced)).hash == loaded.hash
    with pytest.raises(UserError, match="no such calibration"):
        Calibration.load(str(tmp_path / "none.json"))
    (tmp_path / "bad.json").write_text("{}")
    with pytest.raises(UserError, match="no LeRobot calibration"):
        Calibration.load(str(tmp_path / "bad.json"))


def test_the_start_is_where_the_tests_say() -> None:
    assert np.abs(JOINTS[0, :5] - START_DEG[:5]).max() < 1e-9
