"""Hold and minimum steps from replays: the choice by hand, and that a rule cannot win by never ending anything."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hiltk.rewards.tuning import Replays, choose, hold_candidates, min_candidates, tune
from hiltk.spec import RewardSpec


def bits(text: str) -> np.ndarray:
    return np.array([c == "1" for c in text])


def replays(*pairs: tuple[str, str], true_hold: int = 2) -> Replays:
    return Replays([bits(p) for p, _ in pairs], [bits(y) for _, y in pairs], true_hold)


@pytest.mark.parametrize(
    ("wrong", "missed", "chosen"),
    [
        ([[1], [0], [0], [0], [0]], [[0], [0], [0], [0], [1]], (1, 0)),  # the shortest that ends none wrongly
        ([[2], [1], [0]], [[0], [0], [3]], (2, 0)),  # however many it misses
        ([[3], [1], [0]], [[0], [0], [6]], (1, 0)),  # up to half of the successes
        ([[9], [7], [4], [5]], [[0], [0], [1], [0]], (3, 0)),  # 4 to 6 wrong are as few as 4; of these fewer misses
        ([[3], [1]], [[9], [8]], (1, 0)),  # all miss too many: fewest wrong all the same
        ([[0, 0, 0, 0]], [[0, 0, 0, 0]], (0, 3)),  # and the latest first step
        ([[3, 0, 0], [0, 0, 0]], [[0, 0, 0], [0, 0, 1]], (0, 2)),  # that, rather than a longer hold
    ],
)
def test_choice_by_hand(wrong: list[list[int]], missed: list[list[int]], chosen: tuple[int, int]) -> None:
    assert choose(np.array(wrong), np.array(missed), successes=10) == chosen


def test_a_flickering_classifier_gets_a_hold_that_stops_it() -> None:
    """Failures flicker for two frames: a hold of 3 is the shortest that stops it; successes show for five."""
    tape = replays(("000011000110", "000000000000"), ("00000011111", "00000011111"))
    tuning = tune(tape, hold_candidates(None, 8), [0])
    assert tuning.wrongly_ended.sum(-1).ravel().tolist() == [2, 1, 0, 0, 0, 0, 0, 0]  # 1 also ends the success too soon
    assert tuning.missed.sum(-1).ravel().tolist() == [0, 0, 0, 0, 0, 1, 1, 1]
    assert (tuning.hold_steps, tuning.min_steps, tuning.is_choice) == (3, 0, True)


def test_a_blip_at_the_start_is_what_minimum_steps_are_for() -> None:
    failure, success = "0111111100000000", "0000000000000000"
    tape = replays((failure, success), ("0000000000001111", "0000000000001111"))
    tuning = tune(tape, [2], [0, 3, 6, 8])
    # Held until frame 7: a first step of 6 still ends the failure, 8 no longer.
    assert tuning.wrongly_ended.sum(-1).tolist() == [[1, 1, 1, 0]]
    assert (tuning.hold_steps, tuning.min_steps) == (2, 8)


def test_never_ending_anything_is_not_free_of_mistakes() -> None:
    """Judged by its own hold of 8, no label would ever hold long enough and nothing would be missed."""
    tuning = tune(replays(("00000111", "00000111")), hold_candidates(None, 8), [0])
    assert tuning.missed.sum(-1).ravel().tolist() == [0, 0, 0] + [1] * 5
    assert tuning.hold_steps == 2  # with a hold of 1 it would end before the labels have held


def test_given_values_are_not_searched() -> None:
    assert hold_candidates(4, 8) == [4] and min_candidates(7, [], RewardSpec()) == [7]
    tuning = tune(replays(("0011", "0011")), [4], [7])
    assert (tuning.hold_steps, tuning.min_steps, tuning.is_choice) == (4, 7, False)


def test_first_steps_reach_up_to_three_quarters_of_the_quickest_success() -> None:
    success = [np.arange(30) >= 20, np.arange(30) >= 15, np.zeros(30, bool)]
    assert min_candidates(None, success, RewardSpec(hold_steps=2)) == [0, 4, 8, 12]  # held at frame 16
    assert min_candidates(None, success, RewardSpec(hold_steps=2, min_steps=7)) == [7, 8, 12]  # as recorded
    assert min_candidates(None, [np.zeros(30, bool)], RewardSpec()) == [0]


def test_the_rule_of_the_others_is_judged_by_the_one_left_out() -> None:
    """Only the last episode flickers for two frames; left out, the others' rule, a hold of 2, ends it wrongly."""
    steady, odd = ("0001111", "0001111"), ("0110000", "0000000")
    tuning = tune(replays(steady, steady, odd), [2, 3, 4], [0])
    assert tuning.hold_steps == 3
    assert (tuning.wrongly_ended | tuning.missed)[tuning.chosen].sum() == 0
    assert tuning.mistakes_apart() == 1


def test_a_version_is_left_out_together_with_its_episode() -> None:
    """As above, each episode twice: the odd one's version must not tell the others what it needs."""
    steady, odd = ("0001111", "0001111"), ("0110000", "0000000")
    tuning = tune(replays(steady, steady, odd, steady, steady, odd), [2, 3, 4], [0], versions=2)
    assert (tuning.episodes, tuning.hold_steps) == (3, 3)
    assert tuning.mistakes_apart() == 1


def test_an_end_before_the_labels_have_held_is_wrong_though_its_frame_shows_success() -> None:
    """At the pace of an arm on a desk this is how a classifier is early: by frames at the boundary."""
    tuning = tune(replays(("0011111", "0001111")), [1, 2, 3], [0])
    assert tuning.wrongly_ended.ravel().tolist() == [True, True, False]  # the labels have held at frame 4
    assert tuning.hold_steps == 3


tapes = st.lists(
    st.tuples(st.lists(st.booleans(), min_size=12, max_size=12), st.integers(0, 12)), min_size=1, max_size=6
)


@given(tapes)
@settings(max_examples=60, deadline=None)
def test_no_other_rule_that_finds_half_of_the_successes_ends_clearly_fewer_wrongly(
    made: list[tuple[list[bool], int]],
) -> None:
    tape = Replays([np.array(p) for p, _ in made], [np.arange(12) >= first for _, first in made], 2)
    tuning = tune(tape, [1, 2, 3, 4], [0, 3, 6])
    wrong, missed = tuning.wrongly_ended.sum(-1), tuning.missed.sum(-1)
    bearable = missed <= tuning.successes.sum() / 2
    fewest = wrong[bearable if bearable.any() else ...].min()
    assert wrong[tuning.chosen] <= fewest + np.sqrt(fewest)
    assert bearable[tuning.chosen] or not bearable.any()
    assert 0 <= tuning.mistakes_apart() <= len(made)
