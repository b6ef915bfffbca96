"""Steps in processes of their own: side by side, used again, failures told, output kept, ended with their parent."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hiltk.artifacts.fingerprint import fingerprint
from hiltk.artifacts.store import resolve
from hiltk.orchestration.execute import Event, State
from hiltk.orchestration.plan import Pipeline
from hiltk.orchestration.schedule import Schedule, Task
from hiltk.orchestration.workers import Workers
from tests.orchestration.fakes import show

Make = Callable[..., Pipeline]


def logs(pipeline: Pipeline) -> dict[Task, Path]:
    return {task: Path(pipeline.root) / f"{task[1]}-{task[0]}.log" for task in Schedule(pipeline).steps}


def start(pipeline: Pipeline, listen: Callable[[Event], None] = lambda event: None, **more: Any) -> Workers:
    return Workers(Schedule(pipeline), logs(pipeline), listen, **more)


def told(tmp_path: Path) -> dict[str, str]:
    """The process of each step, by the name of its artifact."""
    return {line.split()[0]: line.split()[1] for line in (tmp_path / "order.txt").read_text().splitlines()}


def test_steps_that_do_not_need_each_other_run_side_by_side_in_few_processes(pipeline: Make, tmp_path: Path) -> None:
    chain = pipeline((0,), jobs=2, first="meet", alone="meet")
    events: list[Event] = []
    start(chain, events.append).run()
    processes = told(tmp_path)
    assert processes["chain-first-s0"] != processes["chain-alone-s0"]
    assert len(set(processes.values())) == 2 and str(os.getpid()) not in processes.values()
    assert len(events) == 8 and not [e for e in events if e.state is State.failed]
    assert "fake chain-second-s0" in logs(chain)[0, "second"].read_text()
    assert "fake chain-page" in logs(chain)[None, "page"].read_text()


def test_results_are_the_same_in_any_order(pipeline: Make, tmp_path: Path) -> None:
    found = []
    for jobs in (1, 3):
        chain = pipeline((0, 1), jobs=jobs, alone="")
        start(chain).run()
        versions = [
            resolve(f"chain-{s}", "reports", tmp_path).path for s in ("first-s0", "second-s1", "alone-s0", "page")
        ]
        found.append([fingerprint(path) for path in versions])
        os.rename(tmp_path / "reports", tmp_path / f"reports-{jobs}")
    assert found[0] == found[1]


def test_a_failed_seed_ends_and_the_others_finish(pipeline: Make, tmp_path: Path) -> None:
    chain = pipeline((0, 1, 2), jobs=2, second="fail:1", first="die:2")
    workers = start(chain)
    workers.run()
    assert {task: e.text for task, e in workers.failed.items()} == {
        (1, "second"): "the robot is on fire",
        (2, "first"): "the process was ended by SIGKILL (out of memory?)",
    }
    assert "about to die" in logs(chain)[2, "first"].read_text()
    assert "error: the robot is on fire" in logs(chain)[1, "second"].read_text()
    assert {"chain-first-s0", "chain-second-s0", "chain-first-s1"} == set(told(tmp_path))


def test_a_bug_leaves_its_trace_in_the_log(pipeline: Make) -> None:
    chain = pipeline(first="bug")
    workers = start(chain)
    workers.run()
    assert workers.failed[0, "first"].text == "list index out of range"
    assert "Traceback" in logs(chain)[0, "first"].read_text()


def test_what_can_be_shown_comes_back_and_a_picture_that_fails_fails_nothing(pipeline: Make, tmp_path: Path) -> None:
    chain = pipeline(second="unshowable")
    seen: list[tuple[Task, Any]] = []
    start(chain, show=show, shown=lambda task, what: seen.append((task, what)), folder=tmp_path / "drawn").run()
    assert seen == [((0, "first"), "picture of chain-first-s0@r-0001 in drawn")]
    assert "no picture" in logs(chain)[0, "second"].read_text()


def asleep(root: Path, count: int) -> list[int]:
    """The processes of steps that sleep, once there are so many."""
    while len(found := [int(p.name.removeprefix("asleep-")) for p in root.glob("asleep-*")]) < count:
        time.sleep(0.02)
    return found


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


@pytest.mark.usefixtures("interruptible")
def test_ctrl_c_interrupts_every_worker_once_and_waits_for_them(pipeline: Make, tmp_path: Path) -> None:
    workers = start(pipeline(jobs=2, first="sleep", alone="sleep"))

    def interrupt() -> None:
        asleep(tmp_path, 2)
        os.kill(os.getpid(), signal.SIGINT)  # workers are not of the terminal's foreground: it reaches the parent alone

    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        workers.run()
    pids = asleep(tmp_path, 2)
    assert sorted(map(int, (tmp_path / "interrupted.txt").read_text().split())) == sorted(pids)
    assert all(map(gone, pids))
    assert {os.getpgid(0)} == {os.getpgid(os.getpid())}


PARENT = """
import sys
from pathlib import Path
from hiltk.orchestration.plan import Pipeline, Step
from hiltk.orchestration.schedule import Schedule
from hiltk.orchestration.workers import Workers
from tests.orchestration.fakes import FAKE
if __name__ == "__main__":
    step = Step("first", FAKE, {"artifacts": [], "title": "sleep"})
    chain = Pipeline("chain", (0,), 1, sys.argv[1], {}, (step,), ())
    Workers(Schedule(chain), {(0, "first"): Path(sys.argv[1]) / "log"}, print).run()
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGHUP, signal.SIGTERM])
def test_workers_end_when_their_parent_is_killed(tmp_path: Path, number: signal.Signals) -> None:
    """Else the same command, run again, would find their artifacts being written. (No handler here: all three kill.)"""
    (tmp_path / "parent.py").write_text(PARENT)
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    parent = subprocess.Popen([sys.executable, str(tmp_path / "parent.py"), str(tmp_path)], env=environment)
    (pid,) = asleep(tmp_path, 1)
    parent.send_signal(number)
    parent.wait()
    while not gone(pid):
        time.sleep(0.05)
    assert re.fullmatch(r"\d+\n", (tmp_path / "interrupted.txt").read_text())


def test_a_worker_that_hears_nothing_is_ended_all_the_same(tmp_path: Path) -> None:
    """An exception can be lost on its way, e.g. inside a callback of a library."""
    (tmp_path / "parent.py").write_text(PARENT.replace('"sleep"', '"deaf"'))
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    parent = subprocess.Popen([sys.executable, str(tmp_path / "parent.py"), str(tmp_path)], env=environment)
    (pid,) = asleep(tmp_path, 1)
    parent.kill()
    parent.wait()
    while not gone(pid):
        time.sleep(0.05)
