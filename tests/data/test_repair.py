"""Actions rebuilt from joints: golden numbers, and the properties that the project's earlier repair lacked."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hiltk.arm.kinematics import Kinematics
from hiltk.arm.state import action_spec
from hiltk.data.repair import is_broken, last_rows, rebuild, replay_residual, unexplained_motion
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
