"""Steps side by side: processes that take one step after the other, each step's output in a log file of its own.

A worker is used again, since importing torch takes longer than some steps. Nothing of one step reaches the next: a step
sets up its own random numbers, and what it leaves behind in the process is put back.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

from hiltk.artifacts.store import Artifact
from hiltk.errors import HiltkError
from hiltk.interrupts import Interrupts, exit_code, interrupt
from hiltk.orchestration.execute import Event, Listener, State, run_task
from hiltk.orchestration.plan import Pipeline
from hiltk.orchestration.schedule import Schedule, Task

END = signal.SIGTERM  # how a worker is told to end; unlike Ctrl-C's, no shell has it ignored
PATIENCE_S = 60  # for workers to finish their files after that
TICK_S = 1.0  # how often to look up where nothing happens
Show = Callable[[Artifact, Path], Any]  # makes of an artifact what can be shown of it, with files in a folder


# ---------------------------------------------------------------- in a worker


def _work(pipeline: Pipeline, connection: Connection, show: Show | None, folder: Path) -> None:
    """Body of a worker process: run the steps it is sent, until there are no more."""
    os.setpgid(0, 0)  # Ctrl-C reaches the parent alone, which then interrupts each worker once
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        with Interrupts():
            while order := _next(connection):
                task, made, log = order
                _into_log(log)
                _as_new()
                connection.send(_shown(_run(pipeline, task, made, connection.send), show, folder))
    except KeyboardInterrupt as error:
        sys.exit(exit_code(error))
    except BrokenPipeError:
        sys.exit(exit_code(interrupt(END)))  # the parent is gone


def _next(connection: Connection) -> tuple[Task, Mapping[str, Any], Path] | None:
    """The next step, what it may refer to, and its log; None where the parent has no more, or is gone."""
    try:
        return connection.recv()
    except (EOFError, OSError):
        return None


def _end_with_parent() -> None:
    """Whatever ended the parent, its workers must not go on writing artifacts that a next run writes, too.

    A parent that dies, however it does, closes its end of a pipe, which is what `join` waits for.
    """
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), END)
    time.sleep(PATIENCE_S)
    os.kill(os.getpid(), signal.SIGKILL)  # an exception can be lost, e.g. inside a callback


def _into_log(log: Path) -> None:
    """Send everything this process prints from now on, also from C code, to a log."""
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
        os.dup2(file, stream.fileno())
    os.close(file)


def _as_new() -> None:
    """Put back what a step before may have changed in this process and the next one would not set."""
    if "torch" in sys.modules:
        sys.modules["torch"].set_flush_denormal(False)


def _run(pipeline: Pipeline, task: Task, made: Mapping[str, Any], listen: Listener) -> Artifact | None:
    """Run a step; None where it failed, of which the listener has been told."""
    try:
        return run_task(pipeline, task, made, listen)
    except HiltkError as error:
        print(f"error: {error}", file=sys.stderr)
    except Exception:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return None


def _shown(artifact: Artifact | None, show: Show | None, folder: Path) -> Any:
    """What can be shown of an artifact; a picture that fails must not fail the run."""
    if artifact is None or show is None:
        return None
    try:
        return show(artifact, folder)
    except Exception:
        traceback.print_exc()
        return None


# ---------------------------------------------------------------- in the parent


@dataclass
class _Worker:
    """A process, and the step it is at; None where it has none."""

    process: SpawnProcess
    connection: Connection
    task: Task | None = None
    reported: bool = False  # the step has ended; what it made is being drawn


class Workers:
    """Runs what a schedule has, at most ``pipeline.jobs`` steps at a time.

    Args:
        logs: where each task's output goes.
        listen: told when a task begins, ends or fails.
        tick: called at least every `TICK_S`.
        show: called in the worker, after a step has ended; picklable, as what it returns.
        shown: told what ``show`` returned.
        folder: for the files that ``show`` writes.
    """

    def __init__(
        self,
        schedule: Schedule,
        logs: Mapping[Task, Path],
        listen: Listener,
        tick: Callable[[], None] = lambda: None,
        *,
        show: Show | None = None,
        shown: Callable[[Task, Any], None] = lambda task, what: None,
        folder: Path = Path(),
    ) -> None:
        self._schedule, self._logs, self._listen, self._tick = schedule, logs, listen, tick
        self._show, self._shown, self._folder = show, shown, folder
        # A fresh interpreter: forking a process that has threads (torch, OpenMP) can deadlock.
        self._context = multiprocessing.get_context("spawn")
        self._workers: list[_Worker] = []
        self.failed: dict[Task, Event] = {}

    def run(self) -> None:
        """Return when everything has finished that could; see the schedule and ``failed``."""
        try:
            while True:
                self._assign()
                busy = [w.connection for w in self._workers if w.task is not None]
                if not busy:
                    break
                for connection in wait(busy, TICK_S):
                    self._hear(next(w for w in self._workers if w.connection is connection))
                self._tick()
        except BaseException:
            self._stop()
            raise
        self._dismiss()

    def _assign(self) -> None:
        """Give waiting tasks to idle workers, and start others where there may be more."""
        while task := self._schedule.next():
            worker = next((w for w in self._workers if w.task is None), None)
            if worker is None:
                if len(self._workers) == self._schedule.pipeline.jobs:
                    return
                worker = self._hire()
            self._schedule.begin(task)
            worker.task, worker.reported = task, False
            seed, label = task
            self._listen(Event(seed, label, State.started))
            try:
                worker.connection.send((task, self._schedule.made_for(seed), self._logs[task]))
            except OSError:
                self._bury(worker)

    def _hire(self) -> _Worker:
        ours, theirs = self._context.Pipe()
        arguments = (self._schedule.pipeline, theirs, self._show, self._folder)
        process = self._context.Process(target=_work, args=arguments)
        with Interrupts() as interrupts:
            interrupts.hold()  # no process may run of which `_stop` knows nothing
            process.start()
            theirs.close()  # so that the end of the process is the end of the connection
            self._workers.append(_Worker(process, ours))
        return self._workers[-1]

    def _hear(self, worker: _Worker) -> None:
        """Take in one message: that a step has ended, or, after that, what there is to show."""
        try:
            message = worker.connection.recv()
        except (EOFError, OSError):
            return self._bury(worker)
        if isinstance(message, Event) and not worker.reported:
            worker.reported = True
            self._take(message)
        else:
            if message is not None and worker.task is not None:
                self._shown(worker.task, message)
            worker.task = None

    def _take(self, event: Event) -> None:
        if event.state is State.failed:
            self.failed[event.task] = event
        self._schedule.end(event.task, event.ref or None)
        self._listen(event)

    def _bury(self, worker: _Worker) -> None:
        """A process has died, maybe without a word; another takes its place when there is something to do."""
        worker.process.join()
        self._workers.remove(worker)
        if worker.task is not None and not worker.reported:
            seed, label = worker.task
            self._take(Event(seed, label, State.failed, text=_how_it_died(worker.process.exitcode or 0)))

    def _dismiss(self) -> None:
        for worker in self._workers:
            worker.connection.close()
        for worker in self._workers:
            worker.process.join()

    def _stop(self) -> None:
        """After a signal: let workers put their files in order, then insist; another signal waits."""
        with Interrupts() as interrupts:
            interrupts.hold()
            for worker in self._workers:
                if worker.process.is_alive() and worker.process.pid:
                    os.kill(worker.process.pid, END)
            for worker in self._workers:
                worker.process.join(PATIENCE_S)
                if worker.process.is_alive():
                    worker.process.kill()
                    worker.process.join()


def _how_it_died(code: int) -> str:
    if code < 0:
        name = signal.Signals(-code).name
        return f"the process was ended by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")
    return f"the process ended with exit code {code}"
