"""How far a pipeline is: what each step has come to, what a running one says, how long the rest may take."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from hiltk.orchestration.execute import Event, State
from hiltk.orchestration.plan import Pipeline
from hiltk.orchestration.schedule import Task, tasks, total_s
from hiltk.reports.page import format_duration

_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_TAIL = 8192  # bytes of a log that are looked at
# One state of a tqdm bar: "recording:  45%|####5     | 9/20 [00:03<00:04,  2.9episode/s, attempts=9]"
_BAR = re.compile(r"(?P<what>.*?):?\s*\d+%\|[^|]*\| *(?P<done>\d+)/(?P<all>\d+) \[")


def tail(log: Path, lines: int) -> list[str]:
    """The last lines of a log that say something; of a progress bar, its last state."""
    if not log.is_file():
        return []
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - _TAIL))
        text = _ESCAPES.sub("", file.read().decode(errors="replace"))
    shown = [line.rsplit("\r", 1)[-1].rstrip() for line in text.replace("\r\n", "\n").rstrip("\r\n").split("\n")]
    return [line for line in shown if line.strip()][-lines:]


def last_word(log: Path) -> str:
    """What a step said last; of a progress bar, how many of how many are done."""
    line = next(iter(tail(log, 1)), "")
    bar = _BAR.match(line)
    return f"{bar['what']} {bar['done']} of {bar['all']}".strip() if bar else line


class Progress:
    """Collects events.

    Args:
        logs: where each task's output goes.
        seconds: about how long each task takes.
        clock: seconds that pass.

    Attributes:
        last: the newest event of each task that has begun.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        logs: Mapping[Task, Path],
        seconds: Mapping[Task, float | None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.pipeline, self.logs, self.seconds, self.clock = pipeline, logs, seconds, clock
        self.steps = tasks(pipeline)
        self.last: dict[Task, Event] = {}
        self._since: dict[Task, float] = {}
        self._begun = clock()
        self._ended: float | None = None

    def add(self, event: Event) -> None:
        self.last[event.task] = event
        self._since[event.task] = self.clock()

    def end(self) -> None:
        """From here on no time passes."""
        self._ended = self.clock()

    @property
    def elapsed_s(self) -> float:
        return (self.clock() if self._ended is None else self._ended) - self._begun

    def running(self) -> list[Task]:
        return [task for task in self.steps if task in self.last and self.last[task].state is State.started]

    def running_s(self, task: Task) -> float:
        """How long a running task has been at it."""
        return self.clock() - self._since[task]

    def left_s(self) -> float:
        """About how long the rest takes, if what is left is as much slower than expected as what is done was."""
        done = [task for task, event in self.last.items() if event.state is not State.started]
        pace = self._pace()
        seconds = {task: None if took is None else pace * took for task, took in self.seconds.items()}
        now = {task: max(0.0, (seconds.get(task) or 0.0) - self.running_s(task)) for task in self.running()}
        return total_s(self.pipeline, {**seconds, **now}, done)

    def _pace(self) -> float:
        """How much longer the finished steps took than expected."""
        finished = [event for event in self.last.values() if event.state is State.finished]
        told = [(event.seconds, wanted) for event in finished if (wanted := self.seconds.get(event.task))]
        return sum(took for took, _ in told) / sum(wanted for _, wanted in told) if told else 1.0

    def said(self, task: Task) -> str:
        """What a running task said last."""
        return last_word(self.logs[task]) if task in self.logs else ""

    def state(self, task: Task) -> str:
        """A word or a time: for the cell of a table."""
        event = self.last.get(task)
        if event is None:
            return ""
        words = {State.skipped: "unchanged", State.failed: "failed", State.finished: format_duration(event.seconds)}
        return words.get(event.state) or f"{format_duration(self.running_s(task))} …"


def named(task: Task) -> str:
    """``seed 0, bc``; ``report`` for a step after all seeds."""
    seed, label = task
    return label if seed is None else f"seed {seed}, {label}"


def each_takes(own: Iterable[Task], seconds: Mapping[Task, float | None]) -> str:
    """Their mean time, no more precise than `roughly` is; empty where nobody knows any."""
    known = [took for task in own if (took := seconds.get(task)) is not None]
    return roughly(sum(known) / len(known)).removeprefix("about ") if known else ""


def roughly(seconds: float) -> str:
    """``about 40 s``, ``about 6 min``: no more digits than an estimate has."""
    if seconds < 90:
        return f"about {max(10, 10 * round(seconds / 10))} s"
    return f"about {round(seconds / 60)} min" if seconds < 5400 else f"about {seconds / 3600:.1f} h"
