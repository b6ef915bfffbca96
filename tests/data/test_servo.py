"""The servo fit finds the lag and gain that made the motion."""

from __future__ import annotations

import numpy as np
import pytest

from hiltk.data.servo import Servo, _delayed, estimated_goals, fit_servo, replayed
from hiltk.errors import UserError

EPISODES = np.repeat([0, 1, 2], 150)


def goals(seed: int = 0) -> np.ndarray:
    """A leader arm's positions: several frequencies per joint."""
    rng = np.random.default_rng(seed)
    t = np.arange(len(EPISODES))[:, None] / 10
    waves = [8 * np.sin(w * t + rng.uniform(0, 6, 6)) for w in (0.7, 1.9, 4.1)]
    return np.array([0.0, -30, 30, 70, 80, 50]) + sum(waves)


def follow(asked: np.ndarray, lag: float, gain: float, offset: float) -> np.ndarray:
    """The model, step by step."""
    late, joints = _delayed(asked, EPISODES, lag), asked.copy()
    for t in range(len(asked) - 1):
        if EPISODES[t] == EPISODES[t + 1]:
            goal = np.where(np.isfinite(late[t]), late[t], joints[t] - offset)
            joints[t + 1] = joints[t] + gain * (goal + offset - joints[t])
    return joints


@pytest.mark.parametrize(
    ("lag", "gain", "offset"), [(0.0, 0.5, 0.0), (1.0, 0.6, -2.0), (1.5, 0.4, 1.0), (2.25, 0.9, 0.0)]
)
def test_lag_gain_and_offset_are_found(lag: float, gain: float, offset: float) -> None:
    joints = follow(goals(), lag, gain, offset)
    noisy = joints + np.random.default_rng(1).normal(size=joints.shape) * 0.04  # half an encoder tick
    servo = fit_servo(goals(), noisy, EPISODES)
    np.testing.assert_allclose(servo.lag, lag, atol=0.15)
    np.testing.assert_allclose(servo.gain, gain, atol=0.08)
    np.testing.assert_allclose(servo.offset_deg, offset, atol=0.1)
    assert servo.explained.min() > 0.99 and servo.residual_deg.max() < 0.2
    assert np.abs(replayed(servo, goals(), noisy, EPISODES) - joints).max() < 1.6


def test_a_model_without_delay_is_replayed_exactly() -> None:
    joints = follow(goals(), 0.0, 0.5, 0.5)
    exact = Servo(*(np.full(6, v) for v in (0.0, 0.5, 0.5, 0.0, 1.0)))
    np.testing.assert_allclose(replayed(exact, goals(), joints, EPISODES), joints, atol=1e-9)


def test_goals_that_lag_behind_the_arm_show_a_negative_lag() -> None:
    """The follower drives the leader (failures.md, A6)."""
    joints = follow(goals(), 0.0, 0.6, 0.0)
    servo = fit_servo(_delayed(joints, EPISODES, 1.0), joints, EPISODES)
    assert np.nanmedian(servo.lag) < -0.5


def test_lost_goals_are_worked_out_from_the_motion() -> None:
    asked = goals()
    joints = follow(asked, 1.0, 0.5, 1.0)
    known = asked.copy()
    known[EPISODES == 1] = np.nan
    found = estimated_goals(fit_servo(known, joints, EPISODES), joints, EPISODES)
    inside = (EPISODES == 1) & (np.arange(len(EPISODES)) % 150 < 140) & (np.arange(len(EPISODES)) % 150 > 2)
    assert np.abs(found - asked)[inside].max() < 0.5 < np.abs(joints - asked)[inside].max()
    assert np.isfinite(found).all()


def test_a_joint_that_stands_still_is_not_fitted() -> None:
    joints = follow(goals(), 0.0, 0.5, 0.0)
    joints[:, 4] = 90.0
    servo = fit_servo(goals(), joints, EPISODES)
    assert np.isnan(servo.gain[4]) and np.isfinite(np.delete(servo.gain, 4)).all()
    np.testing.assert_array_equal(estimated_goals(servo, joints, EPISODES)[:, 4], 90.0)


def test_too_few_goals() -> None:
    few = np.full_like(goals(), np.nan)
    few[:30] = goals()[:30]
    with pytest.raises(UserError, match="method=achieved"):
        fit_servo(few, goals(), EPISODES)
