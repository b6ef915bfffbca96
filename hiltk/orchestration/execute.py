"""One step of a pipeline: run if it must, skipped if it is unchanged."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

import yaml

from hiltk.artifacts.fingerprint import RUN_FILE
from hiltk.artifacts.provenance import step_key
from hiltk.artifacts.store import Artifact, resolve, unfinished, versions
from hiltk.errors import HiltkError
from hiltk.orchestration.plan import Pipeline, Step
from hiltk.orchestration.schedule import Schedule, Task, task_needs, tasks


class State(Enum):
    started = "started"
    finished = "finished"
    skipped = "skipped"
    failed = "failed"


@dataclass(frozen=True)
class Event:
    """What happened to a step. ``seed`` is None for a step that runs once for all seeds."""

    seed: int | None
    label: str
    state: State
    ref: str = ""
    seconds: float = 0.0
    text: str = ""

    @property
    def task(self) -> Task:
        return self.seed, self.label


Listener = Callable[[Event], None]


def unchanged(step: Step, cfg: Any) -> Artifact | None:
    """The newest artifact of the step's name, if running the step again must give an equivalent one."""
    if not versions(step.verb.kind, cfg.name, cfg.root):
        return None
    newest = resolve(cfg.name, step.verb.kind, cfg.root)
    record = newest.run()
    same = record.get("key") == step_key(step.verb.name, cfg, cfg.root)
    # A signal while recording keeps the finished episodes, fewer than were asked for: not what the step would give.
    return newest if same and not record.get("interrupted") and newest.is_intact() else None


def execute(step: Step, cfg: Any) -> tuple[Artifact, bool]:
    """Run a step unless it is unchanged; also says whether it was skipped.

    An interrupted run of the very same step is continued.
    """
    if found := unchanged(step, cfg):
        return found, True
    if hasattr(cfg, "resume") and _was_interrupted(step, cfg):
        cfg.resume = True
    return importlib.import_module(step.verb.module).run(cfg), False


def _was_interrupted(step: Step, cfg: Any) -> bool:
    draft = unfinished(step.verb.kind, cfg.name, cfg.root)
    if draft is None or not (draft / RUN_FILE).is_file():
        return False
    begun = yaml.safe_load((draft / RUN_FILE).read_text()) or {}
    return bool(begun.get("key") == step_key(step.verb.name, cfg, cfg.root))


def run_task(pipeline: Pipeline, task: Task, made: Mapping[str, Any], listen: Listener) -> Artifact:
    """Run one step.

    Args:
        made: references of what it may need, as `Schedule.made_for` gives them.

    Raises:
        HiltkError: it failed; the listener has been told.
    """
    (seed, label), begun = task, time.monotonic()
    step = tasks(pipeline)[task]
    try:
        artifact, skipped = execute(step, pipeline.config(step, seed, made))
    except BaseException as error:
        listen(Event(seed, label, State.failed, seconds=time.monotonic() - begun, text=_one_line(error)))
        raise
    state = State.skipped if skipped else State.finished
    listen(Event(seed, label, state, artifact.ref, time.monotonic() - begun))
    return artifact


def _one_line(error: BaseException) -> str:
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    return (str(error).splitlines() or [type(error).__name__])[0]


def forecast(pipeline: Pipeline) -> dict[Task, State]:
    """What a run would do: `State.skipped` or, for a step that would run, `State.started`.

    A step that reads what another would write anew counts as running; it may yet turn out unchanged.
    """
    schedule = Schedule(pipeline)
    plans: dict[Task, State] = {}
    while task := schedule.next():
        step, (seed, _) = schedule.steps[task], task
        waits = any(plans[needed] is State.started for needed in task_needs(pipeline, task))
        found = None if waits else _unchanged_if_known(step, pipeline.config(step, seed, schedule.made_for(seed)))
        plans[task] = State.skipped if found else State.started
        schedule.begin(task)
        schedule.end(task, found.ref if found else PENDING)
    return {task: plans[task] for task in schedule.steps}


def _unchanged_if_known(step: Step, cfg: Any) -> Artifact | None:
    """As `unchanged`; None, too, where an input is missing, which the step itself will say."""
    try:
        return unchanged(step, cfg)
    except HiltkError:
        return None


PENDING = "(not there yet)"
