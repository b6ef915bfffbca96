"""One step of a pipeline, and one seed's chain of them: run what must run, skip what is unchanged."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any

import yaml

from hiltk.artifacts.fingerprint import RUN_FILE
from hiltk.artifacts.provenance import step_key
from hiltk.artifacts.store import Artifact, resolve, unfinished, versions
from hiltk.orchestration.plan import Pipeline, Step


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


Listener = Callable[[Event], None]


def unchanged(step: Step, cfg: Any) -> Artifact | None:
    """The newest artifact of the step's name, if running the step again must give an equivalent one."""
    if not versions(step.verb.kind, cfg.name, cfg.root):
        return None
    newest = resolve(cfg.name, step.verb.kind, cfg.root)
    record = newest.run()
    same = record.get("key") == step_key(step.verb.name, cfg, cfg.root)
    # Ctrl-C while recording keeps the finished episodes, fewer than were asked for: not what the step would give.
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


def run_chain(pipeline: Pipeline, seed: int | None, made: dict[str, Any], listen: Listener) -> dict[str, Any]:
    """Run the steps of one seed (or, with ``seed`` None, those that come after all seeds), in order.

    Args:
        made: references that are there already; grows by what the steps write.

    Raises:
        HiltkError: a step failed; the listener has been told.
    """
    for step in pipeline.together if seed is None else pipeline.each_seed:
        begun = time.monotonic()
        listen(Event(seed, step.label, State.started))
        try:
            artifact, skipped = execute(step, pipeline.config(step, seed, made))
        except BaseException as error:
            listen(Event(seed, step.label, State.failed, seconds=time.monotonic() - begun, text=_one_line(error)))
            raise
        state = State.skipped if skipped else State.finished
        listen(Event(seed, step.label, state, artifact.ref, time.monotonic() - begun))
        made[step.label] = [artifact.ref] if seed is None else artifact.ref
    return made


def _one_line(error: BaseException) -> str:
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    return (str(error).splitlines() or [type(error).__name__])[0]


def forecast(pipeline: Pipeline, seed: int | None, made: dict[str, Any]) -> dict[str, State]:
    """What `run_chain` would do: `State.skipped` or, for a step that would run, `State.started`.

    A step that reads what another would write anew counts as running; it may yet turn out unchanged.
    """
    plans: dict[str, State] = {}
    for step in pipeline.together if seed is None else pipeline.each_seed:
        cfg = pipeline.config(step, seed, made)
        pending = [label for label, state in plans.items() if state is State.started]
        waits = any(_mentions(step, label) for label in pending) or any(
            _mentions(step, label) for label, ref in made.items() if _is_pending(ref)
        )
        found = None if waits else unchanged(step, cfg)
        plans[step.label] = State.skipped if found else State.started
        ref = found.ref if found else PENDING
        made[step.label] = [ref] if seed is None else ref
    return plans


PENDING = "(not there yet)"


def _is_pending(ref: Any) -> bool:
    return ref == PENDING or (isinstance(ref, list) and PENDING in ref)


def _mentions(step: Step, label: str) -> bool:
    text = repr(step.settings)
    return f"${{out.{label}}}" in text or f"${{all.{label}}}" in text
