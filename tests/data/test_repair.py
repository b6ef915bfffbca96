"""Actions rebuilt from joints: golden numbers, and the properties that the project's earlier repair lacked."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hiltk.arm.kinematics import Kinematics
from hiltk.arm.state import action_spec
from hiltk.data.repair import (
    asks_for_nothing,
    broken_steps,
    end_effector,
    fitting_scale,
    frozen_steps,
    is_broken,
    last_rows,
    rebuild,
    rebuild_commanded,
    replay_residual,
    silenced,
    three_way,
    unexplained_motion,
)
from hiltk.spec import ActionSpec, GripperFormat

KIN = Kinematics()
START = np.array([0.0, -30.0, 30.0, 80.0, 90.0, 40.0])


def spec(gripper: GripperFormat = GripperFormat.continuous, scale: float = 0.02, step: float = 15.0) -> ActionSpec:
    return action_spec(scale, gripper, step)


def walk(length: int, seed: int, step_deg: float = 1.0) -> np.ndarray:
    steps = np.random.default_rng(seed).normal(size=(length, 6)) * step_deg
    return START + np.cumsum(steps, axis=0)


def panned(*degrees: float) -> np.ndarray:
    """The start pose with the base turned, one row per angle."""
    joints = np.tile(START, (len(degrees), 1))
    joints[:, 0] += degrees
    return joints


# ---------------------------------------------------------------- golden numbers


def test_an_action_along_one_axis_asks_for_something() -> None:
    nan = np.nan
    actions = np.array([[0, 0.5, 0, 0], [0, 0, 1e-3, 0], [0, 0, 0, 0.3], [0, 0, 0, 0], [nan, 0.5, 0, 0]])
    assert asks_for_nothing(actions).tolist() == [False, False, True, True, True]
    assert asks_for_nothing(actions, columns=None).tolist() == [False, False, False, True, True]


def test_a_turn_of_the_base_moves_the_gripper_on_a_circle() -> None:
    """Panning by d degrees moves a point at radius r along a chord of 2 r sin(d/2)."""
    joints = panned(0.0, 1.0)
    made = rebuild(joints, np.zeros(2, int), spec(), KIN)
    before, after = KIN.forward(joints)[0]
    axis = KIN.forward(panned(90.0, -90.0))[0].mean(0)  # a point on the pan axis
    radius = np.linalg.norm((before - axis)[:2])
    chord = 2 * radius * np.sin(np.deg2rad(0.5))
    assert np.linalg.norm(made.actions[0, :3]) * 0.02 == pytest.approx(chord, rel=1e-5)
    assert made.actions[0, 2] == pytest.approx(0, abs=1e-6)
    np.testing.assert_allclose(made.actions[0, :3] * 0.02, after - before, atol=1e-8)


def test_gripper_by_hand() -> None:
    joints = np.tile(START, (5, 1))
    joints[:, 5] = [40.0, 37.0, 37.0, 7.0, 10.0]
    episode = np.zeros(5, int)
    continuous = rebuild(joints, episode, spec(), KIN)
    np.testing.assert_allclose(continuous.actions[:, 3], [-0.2, 0.0, -1.0, 0.2, 0.0], atol=1e-6)  # -30/15 is clipped
    assert continuous.clipped[:, 3].tolist() == [False, False, True, False, False]
    three = rebuild(joints, episode, spec(GripperFormat.discrete3), KIN, threshold=0.2)
    assert three.actions[:, 3].tolist() == [-1.0, 0.0, -1.0, 1.0, 0.0]
    coarse = rebuild(joints, episode, spec(GripperFormat.discrete3), KIN, threshold=0.3)
    assert coarse.actions[:, 3].tolist() == [0.0, 0.0, -1.0, 0.0, 0.0]
    assert rebuild(joints, episode, spec(GripperFormat.none), KIN).actions.shape == (5, 3)


# ---------------------------------------------------------------- properties


lengths = st.lists(st.integers(1, 15), min_size=1, max_size=6)


@settings(max_examples=30, deadline=None)
@given(lengths=lengths, seed=st.integers(0, 2**16))
def test_episodes_do_not_touch_each_other(lengths: list[int], seed: int) -> None:
    parts = [walk(n, seed + i) + 5 * i for i, n in enumerate(lengths)]
    episode = np.repeat(np.arange(len(lengths)), lengths)
    together = rebuild(np.concatenate(parts), episode, spec(), KIN)
    alone = [rebuild(p, np.zeros(len(p), int), spec(), KIN) for p in parts]
    np.testing.assert_array_equal(together.actions, np.concatenate([a.actions for a in alone]))
    np.testing.assert_array_equal(together.clipped, np.concatenate([a.clipped for a in alone]))


@settings(max_examples=30, deadline=None)
@given(lengths=lengths, seed=st.integers(0, 2**16))
def test_last_rows_hold_nothing_and_are_masked(lengths: list[int], seed: int) -> None:
    episode = np.repeat(np.arange(len(lengths)), lengths)
    made = rebuild(walk(len(episode), seed), episode, spec(), KIN)
    ends = np.cumsum(lengths) - 1
    assert np.flatnonzero(last_rows(episode)).tolist() == ends.tolist() == np.flatnonzero(~made.valid).tolist()
    assert not made.actions[ends].any() and not made.clipped[ends].any()
    assert np.abs(made.actions).max() <= 1


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**16), scale=st.sampled_from([0.005, 0.02, 0.05]))
def test_unclipped_actions_replay_the_recorded_path(seed: int, scale: float) -> None:
    episode = np.repeat([0, 1, 2], 30)
    made = rebuild(walk(90, seed), episode, spec(scale=scale), KIN)
    residual = replay_residual(made, episode, scale)
    assert residual.unclipped.max() < 1e-3  # mm: float32 rounding over 30 steps
    assert residual.unclipped[[0, 30, 60]].max() == residual.clipped[[0, 30, 60]].max() == 0
    clean = np.array([not made.clipped[episode == e, :3].any() for e in range(3)])
    np.testing.assert_allclose(residual.clipped[clean[episode]], residual.unclipped[clean[episode]], atol=1e-9)


def test_residual_of_one_clipped_step_by_hand() -> None:
    """Half of a step that needs twice the scale is lost, and stays lost to the end of that episode only."""
    joints = panned(0.0, 2.0, 2.0, 0.0)
    episode = np.array([0, 0, 0, 1])
    positions = KIN.forward(joints)[0]
    moved = positions[1] - positions[0]
    sideways = int(np.abs(moved).argmax())
    scale = abs(moved[sideways]) / 2
    made = rebuild(joints, episode, spec(scale=scale), KIN)
    assert made.clipped[0, sideways] and abs(made.actions[0, sideways]) == 1
    residual = replay_residual(made, episode, scale)
    lost = np.linalg.norm(moved - np.clip(moved, -scale, scale)) * 1000
    np.testing.assert_allclose(residual.clipped, [0, lost, lost, 0], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(residual.unclipped, 0, atol=1e-5)


# ---------------------------------------------------------------- what needs repair


def test_zero_actions_are_found() -> None:
    joints = walk(41, 0)
    made = rebuild(joints, np.zeros(41, int), spec(), KIN).actions[:-1]
    assert unexplained_motion(made, joints, zero_below=1e-6) == 0
    assert unexplained_motion(np.zeros_like(made), joints, zero_below=1e-6) == 1
    assert is_broken(np.zeros_like(made), joints, zero_below=1e-6)
    assert not is_broken(made, joints, zero_below=1e-6)


def test_gripper_values_do_not_hide_zero_translations() -> None:
    """LeRobot 0.6.1 stores [0, 0, 0, 1] for joint dictionaries."""
    joints = walk(41, 1)
    assert is_broken(np.tile([0.0, 0, 0, 1], (40, 1)), joints, zero_below=1e-6)


def test_a_partly_broken_episode_is_found_and_a_few_lost_frames_are_not() -> None:
    joints = walk(101, 2)
    actions = rebuild(joints, np.zeros(101, int), spec(), KIN).actions[:-1]
    some, half = actions.copy(), actions.copy()
    some[::10] = 0
    half[50:] = 0
    assert unexplained_motion(some, joints, zero_below=1e-6) == pytest.approx(0.1, abs=0.05)
    assert not is_broken(some, joints, zero_below=1e-6)
    assert is_broken(half, joints, zero_below=1e-6)


@pytest.mark.parametrize("fps_factor", [1, 3, 10])
def test_detection_does_not_depend_on_the_frame_rate(fps_factor: int) -> None:
    coarse = START + np.arange(31)[:, None] * np.array([3.0, 2, -2, 1, 0, 0])
    fine = np.stack([np.interp(np.linspace(0, 30, 30 * fps_factor + 1), np.arange(31), c) for c in coarse.T], axis=1)
    assert is_broken(np.zeros((len(fine) - 1, 4)), fine, zero_below=1e-6)


def test_pauses_are_no_fault() -> None:
    """A human who waits for most of an episode, with encoder noise, recorded zero actions truthfully."""
    rng = np.random.default_rng(0)
    waiting = np.tile(START, (200, 1)) + rng.choice([0.0, 0.088], size=(200, 6))
    joints = np.concatenate([waiting, walk(21, 3)])
    actions = rebuild(joints, np.zeros(len(joints), int), spec(), KIN).actions[:-1]
    actions[:199] = 0
    assert not is_broken(actions, joints, zero_below=1e-6)


def test_an_arm_at_rest_shows_nothing() -> None:
    assert not is_broken(np.zeros((50, 4)), np.tile(START, (51, 1)), zero_below=1e-6)


def test_missing_actions_are_broken() -> None:
    joints = walk(11, 4)
    actions = rebuild(joints, np.zeros(11, int), spec(), KIN).actions[:-1]
    actions[3] = np.nan
    assert is_broken(actions, joints, zero_below=1e-6)


def test_noise_of_one_encoder_tick_changes_an_action_by_little() -> None:
    """The repair's own resolution: 0.088 degrees at 0.4 m reach is 0.6 mm, 3 % of a full action."""
    joints = walk(200, 5)
    noisy = joints + np.random.default_rng(0).uniform(-0.044, 0.044, joints.shape) * [1, 1, 1, 1, 1, 0]
    episode = np.zeros(200, int)
    difference = rebuild(joints, episode, spec(), KIN).actions - rebuild(noisy, episode, spec(), KIN).actions
    assert np.abs(difference).max() < 0.08


def test_human_and_policy_are_judged_apart() -> None:
    """Zeros in a takeover of 8 of 100 steps: hardly any of the episode's motion, but all of the human's."""
    joints = walk(101, 6)
    actions = rebuild(joints, np.zeros(101, int), spec(), KIN).actions[:-1]
    human = (np.arange(100) >= 40) & (np.arange(100) < 48)
    assert not broken_steps(actions, joints, human, zero_below=1e-6).any()
    actions[human] = 0
    assert not is_broken(actions, joints, zero_below=1e-6)
    np.testing.assert_array_equal(broken_steps(actions, joints, human, zero_below=1e-6), human)
    actions[~human] = 0
    assert broken_steps(actions, joints, human, zero_below=1e-6).all()


# ---------------------------------------------------------------- states that froze


def moving(length: int = 20) -> np.ndarray:
    return panned(*np.arange(length) * 1.5)


def test_a_frozen_state_by_hand() -> None:
    """Rows 6 and 7 repeat row 5: the steps from 5, 6 and 7 are of unknown length."""
    joints = moving()
    joints[6:8] = joints[5]
    assert np.flatnonzero(frozen_steps(joints, np.zeros(20, int))).tolist() == [5, 6, 7]


@pytest.mark.parametrize(
    "pan",
    [
        [0, 1.5, 3, 3, 3, 3],  # stops and stays
        [0, 1.5, 3, 3, 3.2, 4.5, 6],  # stops, and starts again slowly
        [0, 1.5, 3, 3, 0, -3],  # turns back
        [3, 3, 3, 6, 9, 12],  # rests at the start
        [0, 0.2, 0.4, 0.4, 0.9, 1.1],  # too slow to tell from the encoder's steps
    ],
)
def test_pauses_are_not_frozen_states(pan: list[float]) -> None:
    assert not frozen_steps(panned(*pan), np.zeros(len(pan), int)).any()


def test_an_episode_that_starts_where_the_last_one_ended_is_not_frozen() -> None:
    joints = np.concatenate([moving(5), moving(5) + (moving(5)[-1] - moving(5)[0])])
    assert not frozen_steps(joints, np.repeat([0, 1], 5)).any()


@settings(max_examples=30, deadline=None)
@given(start=st.integers(1, 12), length=st.integers(1, 5), seed=st.integers(0, 2**16))
def test_frozen_states_are_found_wherever_they_are(start: int, length: int, seed: int) -> None:
    joints = moving() + np.random.default_rng(seed).uniform(-0.05, 0.05, (20, 6))
    assert not frozen_steps(joints, np.zeros(20, int)).any()
    joints[start + 1 : start + 1 + length] = joints[start]
    assert np.flatnonzero(frozen_steps(joints, np.zeros(20, int))).tolist() == list(range(start, start + length + 1))


def test_unknown_steps_hold_nothing_and_are_masked() -> None:
    joints, known = walk(10, 7), np.arange(10) != 4
    made = rebuild(joints, np.zeros(10, int), spec(), KIN, known=known)
    assert np.flatnonzero(~made.valid).tolist() == [4, 9] and not made.actions[4].any() and not made.clipped[4].any()
    residual = replay_residual(made, np.zeros(10, int), 0.02)
    assert residual.clipped[5] == 0  # the path starts anew there


# ---------------------------------------------------------------- three-way gripper


def test_stretches_by_hand() -> None:
    moved = np.array([[-0.2], [-0.2], [-0.2], [0.0], [-0.2], [0.1], [0.25], [0.01], [-0.6]])
    assert three_way(moved, 0.3, 0.02).ravel().tolist() == [-1, -1, -1, 0, 0, 1, 1, 0, -1]


@settings(max_examples=30, deadline=None)
@given(rate=st.floats(0.3, 20), frames=st.integers(5, 60), seed=st.integers(0, 99))
def test_any_close_is_a_close_however_slow(rate: float, frames: int, seed: int) -> None:
    """Percent per frame from a crawl to a slam; encoder noise before and after is none."""
    noise = np.random.default_rng(seed).choice([0, 0.08], 20)
    level = np.r_[90 + noise, np.maximum(90 - rate * np.arange(1, frames + 1), 0)]
    joints = np.tile(START, (len(level), 1))
    joints[:, 5] = level
    gripper = rebuild(joints, np.zeros(len(level), int), spec(GripperFormat.discrete3), KIN).actions[:, 3]
    moves = np.diff(level) <= -0.25
    if level[-1] <= 90 - 4.5 - 0.3:  # 0.3 of a step of 15 in all
        assert (gripper[:-1][moves] == -1).all()
    assert (gripper[:-1][~moves] == 0).all()


# ---------------------------------------------------------------- commanded


def test_a_commanded_action_sends_the_arm_to_the_goal() -> None:
    joints, goals = walk(30, 8), walk(30, 8) + np.random.default_rng(9).normal(size=(30, 6))
    made = rebuild_commanded(joints, goals, np.repeat([0, 1], 15), spec(scale=0.1, step=50.0), KIN)
    sent = end_effector(joints, KIN) + made.actions[:, :3] * 0.1
    np.testing.assert_allclose(sent[made.valid], end_effector(goals, KIN)[made.valid], atol=1e-7)
    np.testing.assert_allclose(made.actions[:, 3] * 50, np.where(made.valid, goals[:, 5] - joints[:, 5], 0), atol=1e-4)
    assert np.flatnonzero(~made.valid).tolist() == [14, 29]


def test_a_gripper_that_squeezes_goes_on_closing() -> None:
    """Stopped by the cube at 30 while the leader asks for 10: achieved says hold, commanded says close."""
    joints, goals = np.tile(START, (6, 1)), np.tile(START, (6, 1))
    joints[:, 5], goals[:, 5] = 30.0, 10.0
    action = spec(GripperFormat.discrete3)
    assert rebuild_commanded(joints, goals, np.zeros(6, int), action, KIN).actions[:-1, 3].tolist() == [-1] * 5
    assert not rebuild(joints, np.zeros(6, int), action, KIN).actions[:, 3].any()


# ---------------------------------------------------------------- scale


def test_fitting_scale_by_hand() -> None:
    """Of 1..1000 tenths of a millimetre 99 % are below 99.0: a scale of 99 or, rounded up, 100 mm."""
    steps = np.zeros((1000, 3))
    steps[:, 1] = -np.arange(1, 1001) / 10_000
    assert fitting_scale(steps, np.ones(1000, bool)) == 0.1
    assert fitting_scale(steps, np.arange(1000) < 100) == 0.010
    assert fitting_scale(steps, np.zeros(1000, bool)) == 0.0


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**16))
def test_at_the_fitting_scale_hardly_anything_is_clipped(seed: int) -> None:
    joints, episode = walk(300, seed), np.zeros(300, int)
    first = rebuild(joints, episode, spec(), KIN)
    scale = fitting_scale(np.diff(first.positions_m, axis=0), first.valid[:-1])
    assert rebuild(joints, episode, spec(scale=scale), KIN).clipped[:, :3].any(1).mean() <= 0.011


def test_a_run_of_zeros_is_lost_where_the_arm_moves_on() -> None:
    """10 Hz: an arm rests after three rows without a command; what it does in the rows after that decides."""
    step = np.array([0, 0, 2, 2, 2, 2, 2, 2, 2, 2, 0, 2, 2, 2, 1, 1, 0, 0, 0, 0], float)
    silent = step < 0
    silent[[0, 1, 5, 6, 7, 8, 9, 13, 14, 15, 16, 17, 18]] = True  # waits; lost; lets go and comes to rest
    lost = silenced(silent, step, [(0, 11), (11, 20)], fps=10)
    assert np.flatnonzero(lost).tolist() == [5, 6, 7, 8, 9]


def test_one_run_of_zeros_among_many_rests_is_no_loss() -> None:
    """A hand that leans on the table moves the arm once in a while: one run of six shows nothing."""
    step = np.tile([3.0, 3, 0, 0, 0, 0, 0, 0], 6)
    silent = np.tile([False, False, True, True, True, True, True, True], 6)
    step[2:8] = 3.0
    assert not silenced(silent, step, [(0, 49)], fps=10).any()
    step[10:16] = 3.0
    assert silenced(silent, step, [(0, 49)], fps=10).sum() == 12
