"""Which step of a pipeline may run when: one whose needs are there, the one with most still to come after it first."""

from __future__ import annotations

import heapq
from collections.abc import Collection, Mapping
from typing import Any

from hiltk.artifacts.provenance import duration_s
from hiltk.artifacts.store import resolve
from hiltk.errors import HiltkError
from hiltk.orchestration.plan import Pipeline, Step

Task = tuple[int | None, str]  # a step of one seed, or (None, label) of one that comes after all seeds
UNKNOWN_S = 30.0  # what a step counts that nobody has ever timed


def tasks(pipeline: Pipeline) -> dict[Task, Step]:
    """Every step of every seed, then those after all seeds; each behind what it may need."""
    each: dict[Task, Step] = {(seed, step.label): step for seed in pipeline.seeds for step in pipeline.each_seed}
    return each | {(None, step.label): step for step in pipeline.together}


def task_needs(pipeline: Pipeline, task: Task) -> set[Task]:
    """What must be there before a task: the steps it names; for one after all seeds every step of every seed, too."""
    seed, label = task
    first = {s.label for s in pipeline.each_seed}
    own = {(seed, needed) for needed in pipeline.needs[label] if seed is not None or needed not in first}
    return own | ({(s, step) for s in pipeline.seeds for step in first} if seed is None else set())


class Schedule:
    """Keeps account of what has run.

    One failed step ends its seed: what runs of it may finish, nothing new of it begins, nor any step after all seeds.

    Args:
        seconds: about how long each task takes.

    Attributes:
        made: reference of what each finished task wrote.
        failed: tasks that did not finish.
        running: tasks that have begun.
    """

    def __init__(self, pipeline: Pipeline, seconds: Mapping[Task, float | None] | None = None) -> None:
        self.pipeline, self.steps = pipeline, tasks(pipeline)
        self.made: dict[Task, str] = {}
        self.failed: set[Task] = set()
        self.running: set[Task] = set()
        self._needs = {task: task_needs(pipeline, task) for task in self.steps}
        rest = _rest(self._needs, seconds or {})
        self._waiting = sorted(self.steps, key=lambda task: -rest[task])  # stable: else as in the file

    def next(self) -> Task | None:
        """The most urgent task that may begin; None: nothing may before another has finished."""
        ended = {seed for seed, _ in self.failed}
        free = (t for t in self._waiting if t[0] not in ended and self._needs[t] <= self.made.keys())
        return next(free, None)

    def begin(self, task: Task) -> None:
        self._waiting.remove(task)
        self.running.add(task)

    def end(self, task: Task, ref: str | None) -> None:
        """``ref``: of what it wrote; None: it failed."""
        self.running.remove(task)
        if ref is None:
            self.failed.add(task)
        else:
            self.made[task] = ref

    def made_for(self, seed: int | None) -> dict[str, Any]:
        """What a step may refer to, by label: artifacts of its seed, or, after all seeds, the list of them."""
        if seed is not None:
            return {label: ref for (own, label), ref in self.made.items() if own == seed}
        lists: dict[str, Any] = {
            step.label: [self.made[s, step.label] for s in self.pipeline.seeds] for step in self.pipeline.each_seed
        }
        return lists | {label: [ref] for (own, label), ref in self.made.items() if own is None}


def _rest(needs: Mapping[Task, Collection[Task]], seconds: Mapping[Task, float | None]) -> dict[Task, float]:
    """Seconds from the beginning of each task to the end of all that waits for it, however many processes there are."""
    rest = dict.fromkeys(needs, 0.0)
    for task in reversed(list(needs)):
        rest[task] += _or_unknown(seconds.get(task))
        for needed in needs[task]:
            rest[needed] = max(rest[needed], rest[task])
    return rest


def _or_unknown(seconds: float | None) -> float:
    return UNKNOWN_S if seconds is None else seconds


# ---------------------------------------------------------------- how long


def expected(pipeline: Pipeline) -> dict[Task, float | None]:
    """About how long each task takes, seconds: as its newest artifact took, else one of another seed, else what the
    pipeline's file says; None where nobody knows."""
    known = {(seed, step.label): _took(pipeline, step, seed) for (seed, _), step in tasks(pipeline).items()}
    by_label: dict[str, float] = dict(pipeline.seconds)
    for (_, label), took in known.items():
        if took is not None:
            by_label[label] = took
    return {task: by_label.get(task[1]) if took is None else took for task, took in known.items()}


def _took(pipeline: Pipeline, step: Step, seed: int | None) -> float | None:
    try:
        return duration_s(resolve(pipeline.name_of(step, seed), step.verb.kind, pipeline.root).run())
    except HiltkError:
        return None


def total_s(pipeline: Pipeline, seconds: Mapping[Task, float | None], skipped: Collection[Task] = ()) -> float:
    """About how long the whole takes, from now on, with as many processes as it has; ``skipped`` takes no time."""
    schedule = Schedule(pipeline, seconds)
    ends: list[tuple[float, int, Task]] = []
    now, count = 0.0, 0
    while True:
        while len(ends) < pipeline.jobs and (task := schedule.next()):
            schedule.begin(task)
            count += 1
            heapq.heappush(ends, (now + (0.0 if task in skipped else _or_unknown(seconds.get(task))), count, task))
        if not ends:
            return now
        now, _, task = heapq.heappop(ends)
        schedule.end(task, "")
