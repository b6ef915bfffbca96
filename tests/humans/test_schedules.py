"""Intervention schedules: traces worked by hand, and what must hold for any run."""

from __future__ import annotations

import json
from itertools import groupby
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hiltk.config.groups import InterventionConf, Schedule
from hiltk.errors import ConfigError, UserError
from hiltk.humans.schedules import InterventionSchedule

SCHEDULES = st.sampled_from(list(Schedule))


def conf(schedule: Schedule = Schedule.brief, **changes: Any) -> InterventionConf:
    values: dict[str, Any] = {"explore_steps": 3, "max_steps": 2, "probability": 1.0, "window": 4, "alone": 0.0}
    return InterventionConf(schedule=schedule, **(values | changes))


def play(schedule: InterventionSchedule, satisfied: str) -> tuple[str, str]:
    """One episode, one step per character (``1``: satisfied).

    Returns:
        Who acted (``p`` policy, ``h`` human, ``H`` human on the first step of a takeover), and satisfied again.
    """
    schedule.begin_episode()
    trace = ""
    for step, mark in enumerate(satisfied):
        acts = schedule.human_acts(step, mark == "1")
        assert not schedule.takeover_started or acts
        trace += ("H" if schedule.takeover_started else "h") if acts else "p"
    return trace, satisfied


# ---------------------------------------------------------------- golden traces


@pytest.mark.parametrize(
    ("satisfied", "trace"),
    [
        ("000000000000", "pppHhpppHhpp"),  # explore 3, correct 2, and again
        ("000010000000", "pppHpppHhppp"),  # happy after one step: hands off, and the policy has its 3 again
        ("000110000000", "pppppHhpppHh"),  # due at 3, but happy until 5: it stays due
        ("111111111111", "pppppppppppp"),
        ("000001000000", "pppHhpppHhpp"),  # ended by its length; being happy then changes nothing
    ],
)
def test_brief(satisfied: str, trace: str) -> None:
    assert play(InterventionSchedule(conf()), satisfied)[0] == trace


@pytest.mark.parametrize("schedule", [Schedule.brief, Schedule.always, Schedule.long])
@pytest.mark.parametrize("budget", [0, 1, 5])
def test_the_budget_ends_all_takeovers_for_good(schedule: Schedule, budget: int) -> None:
    human = InterventionSchedule(conf(schedule, budget_steps=budget, explore_steps=1))
    played = "".join(play(human, "0" * 12)[0] for _ in range(4))
    assert played.lower().count("h") == budget


def test_a_takeover_is_cut_off_where_the_budget_ends() -> None:
    assert play(InterventionSchedule(conf(budget_steps=3)), "000000000000")[0] == "pppHhpppHppp"


def test_the_budget_survives_a_resume() -> None:
    first = InterventionSchedule(conf(budget_steps=3))
    play(first, "000000")
    second = InterventionSchedule(conf(budget_steps=3))
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert play(second, "000000000000")[0] == "pppHpppppppp"


def test_brief_can_start_at_once() -> None:
    assert play(InterventionSchedule(conf(explore_steps=0)), "000000")[0] == "HhpHhp"


def test_never_and_always() -> None:
    assert play(InterventionSchedule(conf(Schedule.never)), "000000")[0] == "pppppp"
    assert play(InterventionSchedule(conf(Schedule.always)), "010101")[0] == "Hhhhhh"


def test_long_waits_twice_as_long_and_never_lets_go() -> None:
    assert play(InterventionSchedule(conf(Schedule.long)), "000000000000")[0] == "ppppppHhhhhh"
    assert play(InterventionSchedule(conf(Schedule.long)), "000000010111")[0] == "ppppppHhhhhh"
    assert play(InterventionSchedule(conf(Schedule.long)), "000000100000")[0] == "pppppppHhhhh"


def test_one_draw_per_due_takeover() -> None:
    """Declined at step 3, the takeover is due again at 6, not at 4: over many episodes a half means a half."""
    schedule = InterventionSchedule(conf(probability=0.5), seed=1)
    traces = [play(schedule, "0000000")[0] for _ in range(2000)]
    assert set(traces) == {"pppHhpp", "ppppppH", "ppppppp"}
    share = sum(t == "pppHhpp" for t in traces) / len(traces)
    again = sum(t == "ppppppH" for t in traces) / sum(t != "pppHhpp" for t in traces)
    assert share == pytest.approx(0.5, abs=0.06)  # five standard errors of 2000 draws
    assert again == pytest.approx(0.5, abs=0.08)


# ---------------------------------------------------------------- episodes left alone


def left_alone(schedule: InterventionSchedule, success: bool | None) -> None:
    """An episode that the schedule has left alone."""
    schedule._alone = True
    schedule.end_episode(success)


def test_more_episodes_are_left_alone_as_those_succeed() -> None:
    schedule = InterventionSchedule(conf(alone=0.3))
    seen = [schedule.alone_chance]
    for success in (True, None, True, True, False, True, True, True, True):
        left_alone(schedule, success)
        seen.append(schedule.alone_chance)
    # The last 4 episodes; fewer than 4 that count miss as failures: 1/4, 1/4, 2/4, 3/4 | then 2/3 -> 2/4, 3/4 ...
    assert seen == pytest.approx([0.3, 0.3, 0.3, 0.5, 0.75, 0.5, 0.75, 0.75, 0.75, 1.0])


def test_of_a_longer_window_four_are_enough() -> None:
    schedule = InterventionSchedule(conf(window=20))
    for _ in range(3):
        left_alone(schedule, True)
    assert schedule.success_rate == pytest.approx(3 / 4)
    left_alone(schedule, True)
    assert schedule.success_rate == 1
    left_alone(schedule, False)
    assert schedule.success_rate == pytest.approx(4 / 5)


def test_episodes_with_a_human_at_hand_say_nothing() -> None:
    """Whether somebody touched them or not: those that nobody had to touch are the ones that went well."""
    schedule = InterventionSchedule(conf(window=20))
    for _ in range(5):
        play(schedule, "111")
        schedule.end_episode(True)
    assert schedule.success_rate == 0 and not schedule.left_alone
    left_alone(schedule, True)
    assert schedule.success_rate == pytest.approx(1 / 4)


def test_a_policy_that_always_succeeds_is_left_alone_and_one_that_fails_again_is_not() -> None:
    schedule = InterventionSchedule(conf())
    for _ in range(4):
        left_alone(schedule, True)
    assert schedule.alone_chance == 1
    for _ in range(4):
        assert play(schedule, "0" * 30)[0] == "p" * 30 and schedule.left_alone
        schedule.end_episode(False)
    assert schedule.alone_chance == 0
    assert play(schedule, "0000")[0] == "pppH"


def test_nobody_takes_over_in_an_episode_left_alone_and_so_many_are() -> None:
    schedule = InterventionSchedule(conf(alone=0.2), seed=2)
    traces = [(play(schedule, "0" * 8)[0], schedule.left_alone) for _ in range(2000)]
    assert {(trace, alone) for trace, alone in traces} == {("p" * 8, True), ("pppHhppp", False)}
    assert sum(alone for _, alone in traces) / 2000 == pytest.approx(0.2, abs=0.045)  # five standard errors


@pytest.mark.parametrize("strata", [2, 5])
def test_episodes_left_alone_are_of_every_stratum_alike(strata: int) -> None:
    schedule = InterventionSchedule(conf(alone=0.2), seed=3)
    counts = [0] * strata
    for episode in range(4000):
        schedule.begin_episode()
        counts[episode % strata] += schedule.left_alone
    assert min(counts) > 0.75 * max(counts)


@pytest.mark.parametrize("truth", [0.3, 0.9])
def test_success_is_measured_without_bias_whatever_the_human_does(truth: float) -> None:
    """Success takes 4 to 7 steps and the human comes at the third: counting all says too little, untouched too much."""
    schedule, rng = InterventionSchedule(conf(window=4000, alone=0.2), 4), np.random.default_rng(5)
    untouched = []
    for _ in range(4000):
        schedule.begin_episode()
        succeeds, length = rng.random() < truth, int(rng.integers(2, 8))
        human = any(schedule.human_acts(step, satisfied=False) for step in range(length if succeeds else 8))
        schedule.end_episode(succeeds or human)
        if not human and not schedule.left_alone:
            untouched.append(succeeds)
    measured = [success for success in schedule._recent if success is not None]
    assert schedule.success_rate == pytest.approx(truth, abs=5 * (truth * (1 - truth) / len(measured)) ** 0.5)
    assert np.mean(untouched) == 1  # what it would be by those that nobody had to touch


def test_who_is_never_and_who_always_left_alone() -> None:
    def alone(**changes: Any) -> bool:
        schedule = InterventionSchedule(conf(**changes))
        schedule.begin_episode()
        return schedule.left_alone

    assert alone(schedule=Schedule.never) and alone(budget_steps=0) and alone(probability=0.0) and alone(alone=1.0)
    assert not alone(schedule=Schedule.always, alone=1.0) and not alone(schedule=Schedule.long, alone=1.0)
    assert InterventionSchedule(conf()).never_leaves_alone
    assert not InterventionSchedule(conf(budget_steps=3)).never_leaves_alone
    assert not InterventionSchedule(conf(alone=0.01)).never_leaves_alone


@given(st.lists(st.booleans(), max_size=30), st.integers(1, 10), st.floats(0, 1), st.data())
def test_help_never_becomes_more_with_success(history: list[bool], window: int, least: float, data: Any) -> None:
    """Turning any failure into a success cannot make help likelier."""
    better = [h or data.draw(st.booleans()) for h in history]

    def chance(outcomes: list[bool]) -> float:
        schedule = InterventionSchedule(conf(alone=least, window=window))
        for outcome in outcomes:
            left_alone(schedule, outcome)
        return schedule.alone_chance

    assert least <= chance(history) <= chance(better) <= 1


def test_a_state_from_before_episodes_were_left_alone_is_read() -> None:
    state = InterventionSchedule(conf()).state_dict()
    old = {k: v for k, v in state.items() if k not in ("alone", "spent")} | {"recent": [True, False, True, True]}
    schedule = InterventionSchedule(conf())
    schedule.load_state_dict(old)
    assert schedule.success_rate == pytest.approx(3 / 4) and not schedule.left_alone


# ---------------------------------------------------------------- properties of any run


@given(
    st.text("01", min_size=1, max_size=80),
    st.integers(0, 15),
    st.integers(1, 12),
    st.floats(0, 1),
    st.integers(0, 2**32 - 1),
)
def test_takeovers_are_brief_and_late(satisfied: str, explore: int, longest: int, p: float, seed: int) -> None:
    schedule = InterventionSchedule(conf(explore_steps=explore, max_steps=longest, probability=p), seed)
    trace, _ = play(schedule, satisfied)
    runs = [(human, len(list(steps))) for human, steps in groupby(trace, lambda c: c != "p")]
    assert all(length <= longest for human, length in runs if human)
    # Every takeover comes after at least `explore` steps of the policy; the last run may be cut by the episode's end.
    assert all(length >= explore for human, length in runs[:-1] if not human)
    assert "h" not in trace[:explore].lower()
    assert all(mark == "0" for who, mark in zip(trace, satisfied, strict=True) if who != "p")
    assert trace.count("H") == sum(human for human, _ in runs)


@given(SCHEDULES, st.lists(st.text("01", max_size=30), min_size=2, max_size=6), st.integers(0, 99), st.data())
def test_a_resumed_run_is_the_run(kind: Schedule, episodes: list[str], seed: int, data: st.DataObject) -> None:
    """State taken at any episode's end, through JSON, into a schedule of another seed: the same trace follows."""
    settings = conf(kind, probability=0.6, alone=0.4)
    cut = data.draw(st.integers(0, len(episodes) - 1))
    outcomes = data.draw(st.lists(st.booleans(), min_size=len(episodes), max_size=len(episodes)))

    def run(schedule: InterventionSchedule, part: slice) -> list[str]:
        traces = []
        for satisfied, outcome in zip(episodes[part], outcomes[part], strict=True):
            traces.append(play(schedule, satisfied)[0])
            schedule.end_episode(outcome)
        return traces

    whole = run(InterventionSchedule(settings, seed), slice(None))
    first = InterventionSchedule(settings, seed)
    before = run(first, slice(cut))
    second = InterventionSchedule(settings, seed + 1)
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert before + run(second, slice(cut, None)) == whole


def test_resuming_inside_a_takeover() -> None:
    first = InterventionSchedule(conf())
    assert [first.human_acts(step, False) for step in range(4)] == [False, False, False, True]
    second = InterventionSchedule(conf(), seed=5)
    second.load_state_dict(first.state_dict())
    assert second.takeover_started
    assert [second.human_acts(step, False) for step in range(4, 10)] == [True, False, False, False, True, True]


def test_a_run_depends_on_its_seed_only() -> None:
    def traces(seed: int) -> list[str]:
        schedule = InterventionSchedule(conf(probability=0.5), seed)
        return [play(schedule, "0" * 20)[0] for _ in range(20)]

    assert traces(3) == traces(3)
    assert traces(3) != traces(4)


# ---------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("key", "value"), [("explore_steps", -1), ("max_steps", 0), ("window", 0), ("probability", 1.5), ("alone", -0.1)]
)
def test_numbers_out_of_range(key: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"intervention.{key}={value}"):
        InterventionSchedule(conf(**{key: value}))


def test_a_state_of_something_else() -> None:
    schedule = InterventionSchedule(conf(probability=0.5), 3)
    fresh = schedule.state_dict()
    for bad in ({}, fresh | {"rng": {"bit_generator": "MT19937"}}, fresh | {"since": "soon"}):
        with pytest.raises(UserError, match="not the state of an intervention schedule"):
            schedule.load_state_dict(bad)
    assert schedule.state_dict() == fresh
