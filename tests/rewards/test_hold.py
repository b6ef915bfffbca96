from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st

from hiltk.envs.base import HilEnv
from hiltk.envs.rewards import SuccessRule
from hiltk.rewards.hold import Verdict, first_hold, judge_episode, share, summarise
from hiltk.spec import Dimension, RewardSpec, Spec, StateSpec


def bits(text: str) -> np.ndarray:
    return np.array([c == "1" for c in text])


@pytest.mark.parametrize(
    ("positive", "hold", "earliest", "ends"),
    [
        ("0011100", 1, 0, 2),
        ("0011100", 2, 0, 3),
        ("0011100", 3, 0, 4),
        ("0011100", 4, 0, None),
        ("0101010", 2, 0, None),  # flicker
        ("1100000", 1, 0, 1),  # the observation of reset does not count
        ("1100000", 2, 0, None),
        ("1110000", 2, 0, 2),
        ("0111110", 2, 4, 4),  # held since 2, too early until 4
        ("0110011", 2, 4, 6),  # the early run does not count on
        ("0000001", 1, 6, 6),
        ("", 1, 0, None),
        ("1", 1, 0, None),
    ],
)
def test_first_hold_by_hand(positive: str, hold: int, earliest: int, ends: int | None) -> None:
    assert first_hold(bits(positive), hold, earliest) == ends


class Replayed(HilEnv):
    """Says of each step what a list says."""

    def __init__(self, positive: np.ndarray) -> None:
        self.io_spec = Spec(state=StateSpec([Dimension("x")]))
        self.positive, self.t = positive, 0
        self.action_space = spaces.Box(-1, 1, (4,), np.float32)

    def _now(self) -> tuple[dict[str, Any], dict[str, Any]]:
        return {"observation.state": np.zeros(1)}, {"success_now": bool(self.positive[self.t]), "stratum": ""}

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        self.t = 0
        return self._now()

    def step(self, action: np.ndarray) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.t += 1
        observation, info = self._now()
        return observation, 0.0, False, self.t == len(self.positive) - 1, info


@given(st.lists(st.booleans(), min_size=2, max_size=30), st.integers(1, 5), st.integers(0, 12))
@settings(max_examples=200, deadline=None)
def test_replay_ends_episodes_exactly_where_the_environment_does(
    positive: list[bool], hold: int, earliest: int
) -> None:
    env = SuccessRule(Replayed(np.array(positive)), RewardSpec(hold_steps=hold, min_steps=earliest))
    env.reset()
    ended = None
    for t in range(1, len(positive)):
        _, _, terminated, truncated, _ = env.step(np.zeros(4))
        if terminated:
            ended = t
        if terminated or truncated:
            break
    assert first_hold(np.array(positive), hold, earliest) == ended


@pytest.mark.parametrize(
    ("positive", "labels", "verdict"),
    [
        ("00011", "00011", Verdict.rightly_ended),
        ("00001111", "00111111", Verdict.rightly_ended),  # late, but right
        ("00111111", "00001111", Verdict.wrongly_ended),  # too early is wrong
        ("0011000", "0000000", Verdict.wrongly_ended),
        ("0010100", "0001111", Verdict.missed),
        ("0010100", "0000000", Verdict.rightly_silent),
        ("0000000", "0010100", Verdict.rightly_silent),  # the labels never held long enough
    ],
)
def test_judge_episode_by_hand(positive: str, labels: str, verdict: Verdict) -> None:
    assert judge_episode(bits(positive), bits(labels), hold_steps=2).verdict is verdict


def test_golden_trace_of_four_episodes() -> None:
    traces = [("0011", "0011"), ("0000011", "0011111"), ("0110", "0000"), ("0000", "0011")]
    verdicts = [judge_episode(bits(p), bits(y), hold_steps=2) for p, y in traces]
    assert [v.ended_at for v in verdicts] == [3, 6, 2, None]
    assert [v.should_end_at for v in verdicts] == [3, 3, None, 3]
    replay = summarise(verdicts)
    assert (replay.wrongly_ended.count, replay.wrongly_ended.n) == (1, 4)
    assert (replay.missed.count, replay.missed.n) == (1, 3)
    assert replay.delay_steps == 1.5  # 0 and 3


def test_wilson_interval_by_hand() -> None:
    # Wilson, 0 of 8 with z = 1.959964: upper end z^2 / (n + z^2) = 3.8415 / 11.8415.
    none = share(0, 8)
    assert none.low == pytest.approx(0, abs=1e-12) and none.high == pytest.approx(0.32441, abs=1e-5)
    assert (share(0, 0).low, share(0, 0).high) == (0.0, 1.0)
    assert str(none) == "0 of 8 (95 %: 0% to 32%)"
    assert str(share(0, 0)) == "0 of 0"
