"""Seeds in processes of their own: all finish, failures are told, output is kept, Ctrl-C ends them."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hiltk.orchestration.execute import Event, State
from hiltk.orchestration.plan import Pipeline
from hiltk.orchestration.workers import Workers

Make = Callable[..., Pipeline]


def logs(pipeline: Pipeline) -> dict[int, Path]:
    return {seed: Path(pipeline.root) / f"seed-{seed}.log" for seed in pipeline.seeds}


def test_seeds_run_in_separate_processes(pipeline: Make, tmp_path: Path) -> None:
    chain = pipeline((0, 1, 2), jobs=2)
    events: list[Event] = []
    workers = Workers(chain, logs(chain), events.append)
    workers.run()
    assert not workers.failed
    assert workers.made[2] == {"first": "chain-first-s2@r-0001", "second": "chain-second-s2@r-0001"}
    assert sorted(e.seed for e in events if e.state is State.finished) == [0, 0, 1, 1, 2, 2]
    lines = [line.split() for line in (tmp_path / "order.txt").read_text().splitlines()]
    assert len({pid for _, pid, _ in lines}) == 3
    assert str(os.getpid()) not in {pid for _, pid, _ in lines}
    assert "fake chain-second-s1" in logs(chain)[1].read_text()


def test_one_seed_fails_and_the_others_finish(pipeline: Make) -> None:
    chain = pipeline((0, 1, 2), jobs=2, second="fail:1", first="die:2")
    workers = Workers(chain, logs(chain), lambda event: None)
    workers.run()
    assert sorted(workers.failed) == [1, 2]
    assert (workers.failed[1].label, workers.failed[1].text) == ("second", "the robot is on fire")
    assert (workers.failed[2].label, workers.failed[2].text) == (
        "first",
        "the process was ended by SIGKILL (out of memory?)",
    )
    assert "about to die" in logs(chain)[2].read_text()
    assert workers.made[0]["second"] == "chain-second-s0@r-0001"


def test_a_bug_leaves_its_trace_in_the_log(pipeline: Make) -> None:
    chain = pipeline((0,), jobs=1, first="bug")
    workers = Workers(chain, logs(chain), lambda event: None)
    workers.run()
    assert workers.failed[0].text == "list index out of range"
    assert "Traceback" in logs(chain)[0].read_text()


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Ctrl-C raises, as in a terminal: the workers of pytest-xdist ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_ctrl_c_ends_the_workers(pipeline: Make) -> None:
    chain = pipeline((0,), jobs=1, first="sleep")
    started = threading.Event()
    pids: list[int] = []

    def listen(event: Event) -> None:
        started.set()

    workers = Workers(chain, logs(chain), listen)

    def interrupt() -> None:
        # A terminal sends Ctrl-C to the parent and to its children.
        started.wait(60)
        time.sleep(0.5)
        pids.extend(int(p.pid) for p in workers._running.values() if p.pid)
        for pid in (*pids, os.getpid()):
            os.kill(pid, signal.SIGINT)

    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        workers.run()
    assert len(pids) == 1
    with pytest.raises(ProcessLookupError):
        os.kill(pids[0], 0)
