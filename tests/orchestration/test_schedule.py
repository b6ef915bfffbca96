"""What may run when, what goes first, and how long it all takes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from hiltk.artifacts.writing import create
from hiltk.orchestration.plan import Pipeline, Step
from hiltk.orchestration.schedule import Schedule, Task, expected, tasks, total_s
from tests.orchestration.fakes import FAKE

Make = Callable[..., Pipeline]


def order(schedule: Schedule, at_once: int = 1) -> list[Task]:
    """The tasks in the order in which they begin, if they end in that order, too."""
    begun: list[Task] = []
    running: list[Task] = []
    while True:
        while len(running) < at_once and (task := schedule.next()):
            schedule.begin(task)
            begun.append(task)
            running.append(task)
        if not running:
            return begun
        schedule.end(first := running.pop(0), f"{first}")


def test_a_step_runs_after_what_it_needs_and_nothing_else(pipeline: Make) -> None:
    schedule = Schedule(pipeline(alone=""))
    assert schedule.next() == (0, "first")
    schedule.begin((0, "first"))
    assert schedule.next() == (0, "alone")
    schedule.begin((0, "alone"))
    assert schedule.next() is None
    schedule.end((0, "first"), "f@r-0001")
    assert schedule.next() == (0, "second")
    assert schedule.made_for(0) == {"first": "f@r-0001"}
    schedule.begin((0, "second"))
    schedule.end((0, "second"), "s@r-0001")
    assert schedule.next() is None  # a step after all seeds waits for every step of every seed
    schedule.end((0, "alone"), "a@r-0001")
    assert schedule.next() == (None, "page")
    assert schedule.made_for(None) == {"first": ["f@r-0001"], "second": ["s@r-0001"], "alone": ["a@r-0001"]}


def test_what_has_most_still_to_come_goes_first(pipeline: Make) -> None:
    chain = pipeline(alone="")
    slow_alone = {(0, "first"): 1.0, (0, "second"): 2.0, (0, "alone"): 9.0, (None, "page"): 1.0}
    assert order(Schedule(chain, slow_alone))[0] == (0, "alone")
    slow_second = slow_alone | {(0, "second"): 20.0}
    assert order(Schedule(chain, slow_second))[0] == (0, "first")


def test_a_failure_ends_its_seed_and_what_comes_after_all(pipeline: Make) -> None:
    schedule = Schedule(pipeline((0, 1)))
    for task in ((0, "first"), (1, "first")):
        schedule.begin(task)
    schedule.end((0, "first"), None)
    assert schedule.next() is None
    schedule.end((1, "first"), "f@r-0001")
    assert schedule.next() == (1, "second")
    schedule.begin((1, "second"))
    schedule.end((1, "second"), "s@r-0001")
    assert schedule.next() is None
    assert schedule.failed == {(0, "first")}


@given(st.data())
def test_every_task_runs_once_and_after_its_needs(data: st.DataObject) -> None:
    """Whatever the graph, the times and the number of processes."""
    labels = ["a", "b", "c", "d", "e"]
    each = tuple(
        Step(label, FAKE, {"artifacts": [f"${{out.{n}}}" for n in data.draw(st.sets(st.sampled_from(labels[:i])))]})
        if i
        else Step(label, FAKE, {"artifacts": []})
        for i, label in enumerate(labels)
    )
    chain = Pipeline("x", (0, 3), 1, "nowhere", {}, each, (Step("end", FAKE, {"artifacts": ["${all.e}"]}),))
    # Composing configs is slow; the needs follow from the references anyway.
    needs = {s.label: frozenset(str(a)[6:-1] for a in s.settings["artifacts"]) for s in (*each, *chain.together)}
    chain.__dict__["needs"] = needs
    seconds = {task: data.draw(st.floats(0.1, 100)) for task in tasks(chain)}
    found = order(Schedule(chain, seconds), data.draw(st.integers(1, 4)))
    assert sorted(map(str, found)) == sorted(map(str, tasks(chain)))
    for at, (seed, label) in enumerate(found):
        assert all((seed, needed) in found[:at] for needed in needs[label] if seed is not None)
    assert found[-1] == (None, "end")


def test_time_of_the_whole_by_hand(pipeline: Make) -> None:
    seconds = {(0, "first"): 10.0, (0, "second"): 20.0, (0, "alone"): 25.0, (None, "page"): 5.0}
    assert total_s(pipeline(alone="", jobs=1), seconds) == 60
    assert total_s(pipeline(alone="", jobs=2), seconds) == 35  # alone beside first and second, then the page
    assert total_s(pipeline(alone="", jobs=2), seconds, [(0, "first"), (0, "second")]) == 30


def test_expected_times_come_from_earlier_runs_else_from_the_file(pipeline: Make, tmp_path: Path) -> None:
    chain = replace(pipeline((0, 1)), seconds={"first": 7.0, "second": 8.0})
    assert expected(chain) == {
        (0, "first"): 7, (0, "second"): 8, (1, "first"): 7, (1, "second"): 8, (None, "page"): None
    }  # fmt: skip
    started = "2026-01-01T10:00:00+00:00"
    with create("reports", "chain-first-s1", root=tmp_path, step="report", cfg={}, inputs=[], seed=1) as draft:
        draft.notes = {"started": started, "finished": "2026-01-01T10:02:00+00:00"}
    found = expected(chain)
    assert (found[1, "first"], found[0, "first"], found[0, "second"]) == (120, 120, 8)  # another seed takes as long
