"""Judging unseen episodes: counts worked by hand, and an interval that knows that frames of one episode err alike."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hiltk.reward_rule import first_hold
from hiltk.rewards.frames import LabelledFrames
from hiltk.rewards.unseen import by_episode, judge


def frames(*labels: str) -> LabelledFrames:
    success = np.array([c == "1" for c in "".join(labels)])
    episode = np.repeat(np.arange(len(labels)), [len(text) for text in labels])
    return LabelledFrames({}, success, episode, np.concatenate([np.arange(len(text)) for text in labels]))


def verdicts(*texts: str) -> np.ndarray:
    return np.array([c == "1" for c in "".join(texts)])


def test_by_hand() -> None:
    """Hold 2. Found two frames late; missed; ended one early; a failure rewarded; a flicker that is not."""
    labels = frames("00011111", "0000111", "0000111", "0000000", "0010000")
    positive = verdicts("00000111", "0000101", "0001111", "0110000", "0010100")
    found = judge(positive, labels, hold_steps=2, min_steps=0, true_hold_steps=2)
    assert found.wrong == {"wrongly_rewarded": [3], "missed": [1], "early": [2]}
    assert (found.wrongly_rewarded.count, found.wrongly_rewarded.n) == (1, 2)
    assert (found.missed.count, found.missed.n) == (1, 3) and (found.early.count, found.early.n) == (1, 3)
    assert found.delays == [2, -1]
    c = found.confusion
    assert (c.true_positives, c.false_negatives, c.false_positives, c.true_negatives) == (9, 3, 4, 20)
    assert found.accuracy.value == pytest.approx(29 / 36)


def test_a_strict_rule_rewards_no_flicker_and_an_early_success_only_later() -> None:
    labels = frames("0111111", "0000000")
    found = judge(verdicts("0111111", "0111001"), labels, hold_steps=2, min_steps=5, true_hold_steps=2)
    assert found.delays == [3] and found.wrongly_rewarded.count == 0 and not any(found.wrong.values())


@settings(max_examples=50)
@given(st.lists(st.text("01", min_size=1, max_size=8), min_size=1, max_size=6))
def test_a_perfect_classifier_is_never_wrong(texts: list[str]) -> None:
    labels = frames(*texts)
    found = judge(labels.success, labels, hold_steps=2, min_steps=0, true_hold_steps=2)
    assert found.accuracy.value == found.accuracy.low == 1.0 and not any(found.wrong.values())
    held = sum(first_hold(verdicts(text), 2) is not None for text in texts)
    assert found.missed.n == held and found.delays == [0] * held


def test_the_interval_widens_when_mistakes_come_in_whole_episodes() -> None:
    """100 of 1000 frames wrong: scattered over all 20 episodes, or all frames of two."""
    episode = np.repeat(np.arange(20), 50)
    scattered, lumped = np.arange(1000) % 10 != 0, episode >= 2
    even, uneven = by_episode(scattered, episode), by_episode(lumped, episode)
    assert even.value == uneven.value == pytest.approx(0.9)
    assert (even.low, even.high) == pytest.approx((0.9, 0.9))
    # Of 20 episodes drawn, the number of bad ones is Binomial(20, 0.1): 2.5 % and 97.5 % quantiles are 0 and 5.
    assert uneven.high == pytest.approx(1.0) and uneven.low == pytest.approx(0.75, abs=0.051)
