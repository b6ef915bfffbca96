"""Hold and minimum steps from replays: the choice by hand, and that a rule cannot win by never ending anything."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hiltk.reward_rule import Verdict
from hiltk.rewards.tuning import Replays, choose, hold_candidates, min_candidates, tune


def bits(text: str) -> np.ndarray:
    return np.array([c == "1" for c in text])


def replays(*pairs: tuple[str, str], true_hold: int = 2) -> Replays:
    return Replays([bits(p) for p, _ in pairs], [bits(y) for _, y in pairs], true_hold)


@pytest.mark.parametrize(
    ("wrong", "missed", "chosen"),
    [
        ([[1], [0], [0], [0], [0]], [[0], [0], [0], [0], [1]], (3, 0)),  # the longest that is free of mistakes
        ([[1], [0]], [[0], [1]], (1, 0)),  # as many mistakes: rather miss than wrongly end
        ([[2], [1], [0]], [[0], [0], [3]], (1, 0)),  # but fewer mistakes count first
        ([[0, 0, 0, 0]], [[0, 0, 0, 0]], (0, 3)),  # and the latest first step
        ([[3, 0, 0], [0, 0, 0]], [[0, 0, 0], [0, 0, 1]], (1, 1)),  # a longer hold rather than a later start
    ],
)
def test_choice_by_hand(wrong: list[list[int]], missed: list[list[int]], chosen: tuple[int, int]) -> None:
    assert choose(np.array(wrong), np.array(missed)) == chosen


def test_a_flickering_classifier_gets_a_hold_that_stops_it() -> None:
    """Failures flicker for two frames; successes show for five: holds of 3, 4 and 5 are free of mistakes."""
    tape = replays(("000011000110", "000000000000"), ("00000011111", "00000011111"))
    tuning = tune(tape, hold_candidates(None), [0])
    assert tuning.wrongly_ended.sum(-1).ravel().tolist() == [1, 1, 0, 0, 0, 0, 0, 0]
    assert tuning.missed.sum(-1).ravel().tolist() == [0, 0, 0, 0, 0, 1, 1, 1]
    assert (tuning.hold_steps, tuning.min_steps, tuning.is_choice) == (5, 0, True)


def test_a_blip_at_the_start_is_what_minimum_steps_are_for() -> None:
    failure, success = "0111111100000000", "0000000000000000"
    tape = replays((failure, success), ("0000000000001111", "0000000000001111"))
    tuning = tune(tape, [2], [0, 3, 6, 8])
    # Held until frame 7: a first step of 6 still ends the failure, 8 no longer.
    assert tuning.wrongly_ended.sum(-1).tolist() == [[1, 1, 1, 0]]
    assert (tuning.hold_steps, tuning.min_steps) == (2, 8)


def test_never_ending_anything_is_not_free_of_mistakes() -> None:
    """Judged by its own hold of 8, no label would ever hold long enough and nothing would be missed."""
    tuning = tune(replays(("00000111", "00000111")), hold_candidates(None), [0])
    assert tuning.missed.sum(-1).ravel().tolist() == [0, 0, 0] + [1] * 5
    assert tuning.hold_steps == 3


def test_given_values_are_not_searched() -> None:
    assert hold_candidates(4) == [4] and min_candidates(7, [], 2) == [7]
    tuning = tune(replays(("0011", "0011")), [4], [7])
    assert (tuning.hold_steps, tuning.min_steps, tuning.is_choice) == (4, 7, False)


def test_first_steps_reach_up_to_three_quarters_of_the_quickest_success() -> None:
    success = [np.arange(30) >= 20, np.arange(30) >= 15, np.zeros(30, bool)]
    assert min_candidates(None, success, 2) == [0, 4, 8, 12]  # held at frame 16
    assert min_candidates(None, [np.zeros(30, bool)], 2) == [0]


def test_the_rule_of_the_others_is_judged_by_the_one_left_out() -> None:
    """Only the last success is seen for no longer than 2 frames; left out, the others' rule, a hold of 3, misses it."""
    steady = ("0000111", "0000111")
    tuning = tune(replays(steady, steady, ("0000110", "0000111")), [1, 2, 3], [0])
    assert tuning.hold_steps == 2
    assert (tuning.wrongly_ended | tuning.missed)[tuning.chosen].sum() == 0
    assert tuning.mistakes_apart() == 1


def test_one_miss_in_twenty_does_not_shorten_the_hold() -> None:
    wrong, missed = np.array([[0], [0], [0], [0], [0], [0]]), np.array([[0], [0], [1], [1], [1], [2]])
    assert choose(wrong, missed, 0) == (1, 0)  # of the first two, the longer
    assert choose(wrong, missed, 1) == (4, 0)  # of the first five, the longest
    odd, steady = ("0001011", "0001111"), ("0011111", "0011111")
    few, many = (tune(replays(*[steady] * n, odd), [1, 2, 3, 4], [0]) for n in (18, 19))
    assert (few.allowed, few.hold_steps) == (0, 2)
    assert (many.allowed, many.hold_steps) == (1, 4)


def test_a_version_is_left_out_together_with_its_episode() -> None:
    """As above, each episode twice: the odd one's version must not tell the others what it needs."""
    steady, odd = ("0000111", "0000111"), ("0000110", "0000111")
    tuning = tune(replays(steady, steady, odd, steady, steady, odd), [1, 2, 3], [0], versions=2)
    assert (tuning.episodes, tuning.hold_steps) == (3, 2)
    assert tuning.mistakes_apart() == 1


tapes = st.lists(
    st.tuples(st.lists(st.booleans(), min_size=12, max_size=12), st.integers(0, 12)), min_size=1, max_size=6
)


@given(tapes)
@settings(max_examples=60, deadline=None)
def test_no_other_rule_of_the_grid_makes_fewer_mistakes(made: list[tuple[list[bool], int]]) -> None:
    tape = Replays([np.array(p) for p, _ in made], [np.arange(12) >= first for _, first in made], 2)
    tuning = tune(tape, [1, 2, 3, 4], [0, 3, 6])

    def mistakes(hold: int, first: int) -> int:
        return sum(v.verdict in (Verdict.wrongly_ended, Verdict.missed) for v in tape.judge(hold, first))

    fewest = min(mistakes(h, m) for h in (1, 2, 3, 4) for m in (0, 3, 6))
    assert mistakes(tuning.hold_steps, tuning.min_steps) == fewest
    assert 0 <= tuning.mistakes_apart() <= len(made)
