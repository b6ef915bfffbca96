"""Seeds side by side: one fresh process each, its output in a log file, its events back to the parent."""

from __future__ import annotations

import multiprocessing
import os
import queue
import signal
import sys
import traceback
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

from hiltk.errors import HiltkError
from hiltk.orchestration.execute import Event, Listener, State, run_chain
from hiltk.orchestration.plan import Pipeline

_PATIENCE_S = 60  # for workers to finish their files after Ctrl-C


def _into_log(log: Path) -> None:
    """Send everything this process prints, also from C code, to its log."""
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
        os.dup2(file, stream.fileno())


def _work(pipeline: Pipeline, seed: int, log: Path, events: Any) -> None:
    """Body of a worker process."""
    _into_log(log)
    try:
        run_chain(pipeline, seed, {}, events.put)
    except HiltkError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception:
        traceback.print_exc()
        sys.exit(70)


class Workers:
    """Runs the seeds of a pipeline, at most ``pipeline.jobs`` at a time."""

    def __init__(self, pipeline: Pipeline, logs: dict[int, Path], listen: Listener) -> None:
        self._pipeline, self._logs, self._listen = pipeline, logs, listen
        # A fresh interpreter: forking a process that has threads (torch, OpenMP) can deadlock.
        self._context = multiprocessing.get_context("spawn")
        self._events = self._context.Queue()
        self._waiting = list(pipeline.seeds)
        self._running: dict[int, SpawnProcess] = {}
        self._at: dict[int, Event] = {}
        self.failed: dict[int, Event] = {}
        self.made: dict[int, dict[str, str]] = {seed: {} for seed in pipeline.seeds}

    def run(self) -> None:
        """Return when every seed has finished or failed; see ``failed`` and ``made``."""
        try:
            while self._waiting or self._running:
                self._start_some()
                self._hear(0.5)
                self._reap()
        except KeyboardInterrupt:
            self._stop()
            raise

    def _start_some(self) -> None:
        while self._waiting and len(self._running) < self._pipeline.jobs:
            seed = self._waiting.pop(0)
            arguments = (self._pipeline, seed, self._logs[seed], self._events)
            self._running[seed] = self._context.Process(target=_work, args=arguments)
            self._running[seed].start()

    def _hear(self, timeout_s: float) -> None:
        """Take in the events that have come, waiting for the first."""
        try:
            while True:
                self._take(self._events.get(timeout=timeout_s))
                timeout_s = 0.0
        except queue.Empty:
            return

    def _take(self, event: Event) -> None:
        assert event.seed is not None
        self._at[event.seed] = event
        if event.state is State.failed:
            self.failed[event.seed] = event
        elif event.ref:
            self.made[event.seed][event.label] = event.ref
        self._listen(event)

    def _reap(self) -> None:
        """Notice processes that have ended, also those that died without a word."""
        for seed, process in list(self._running.items()):
            if process.is_alive():
                continue
            process.join()
            self._hear(0.1)
            del self._running[seed]
            if process.exitcode and seed not in self.failed:
                label = self._at[seed].label if seed in self._at else self._pipeline.each_seed[0].label
                self._take(Event(seed, label, State.failed, text=_how_it_died(process.exitcode)))

    def _stop(self) -> None:
        """After Ctrl-C: workers got it too; let them put their files in order, then insist."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        for process in self._running.values():
            process.join(_PATIENCE_S)
        for process in self._running.values():
            if process.is_alive():
                process.kill()
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _how_it_died(code: int) -> str:
    if code < 0:
        name = signal.Signals(-code).name
        return f"the process was ended by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")
    return f"the process ended with exit code {code}"
