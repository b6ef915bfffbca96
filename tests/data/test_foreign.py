"""Where the success rule ends a recording that somebody else made."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hiltk.data.foreign import split_at_success
from hiltk.spec import STATE_KEY, RewardSpec


def recording(length: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    steps = np.arange(length + 1, dtype=np.float32)
    return {STATE_KEY: steps[:, None]}, steps[:-1, None] / 100


def test_by_hand() -> None:
    """Success from observation 5 on, held for two: the episode is the six transitions up to observation 6 of 8."""
    observations, actions = recording(8)
    success = np.arange(9) >= 5
    episode, after = split_at_success(observations, actions, success, RewardSpec(hold_steps=2, step_value=-0.1))
    assert len(episode) == 6 and episode.terminated and not episode.truncated
    np.testing.assert_allclose(episode.rewards, [-0.1] * 5 + [1.0], atol=1e-7)
    assert episode.observations[STATE_KEY].ravel().tolist() == [0, 1, 2, 3, 4, 5, 6]
    assert after is not None and len(after) == 2 and not after.rewards.any() and after.success.all()
    assert after.observations[STATE_KEY].ravel().tolist() == [6, 7, 8]


def test_success_in_the_last_frame_only_is_enough() -> None:
    observations, actions = recording(4)
    episode, after = split_at_success(observations, actions, np.arange(5) == 4, RewardSpec(hold_steps=3))
    assert len(episode) == 4 and episode.terminated and episode.rewards[-1] == 1 and after is None


def test_without_success_nothing_is_cut() -> None:
    observations, actions = recording(4)
    episode, after = split_at_success(observations, actions, np.zeros(5, bool), RewardSpec())
    assert len(episode) == 4 and episode.truncated and not episode.terminated and after is None
    assert not episode.rewards.any()


@given(length=st.integers(1, 30), last=st.integers(1, 30), hold=st.integers(1, 5), first_allowed=st.integers(0, 10))
def test_nothing_is_lost_and_paid_once(length: int, last: int, hold: int, first_allowed: int) -> None:
    observations, actions = recording(length)
    success = np.arange(length + 1) > length - min(last, length)
    rule = RewardSpec(hold_steps=hold, min_steps=first_allowed)
    episode, after = split_at_success(observations, actions, success, rule)
    parts = [episode] if after is None else [episode, after]
    np.testing.assert_array_equal(np.concatenate([p.actions for p in parts]), actions)
    assert sum(float(p.rewards.sum()) for p in parts) == 1.0
    assert len(episode) >= 1 and episode.rewards[-1] == 1.0 and episode.terminated
    if len(episode) < length:
        assert len(episode) >= first_allowed and episode.success[-hold:].all()
