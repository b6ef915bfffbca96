"""The keeper as a process: what becomes of the arm when the program that drives it is killed."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from hiltk.robots.emulated.rehearsal import PARK_DEG
from hiltk.robots.keeper import ArmClient, log_of
from tests.robots.conftest import Rehearsal
from tests.robots.fakes import READY

ROOT = Path(__file__).parents[2]


def commanding(path: Path, stderr: int | None = None) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.robots.commanding", str(path)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=stderr, text=True)


def said(process: subprocess.Popen[str], word: str) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if line.strip() == word:
            return
    raise AssertionError(f"never {word}")


def end(process: subprocess.Popen[str], number: int) -> int:
    os.kill(process.pid, number)
    code = process.wait(120)
    assert process.stdout is not None
    process.stdout.close()
    return code


def is_at_rest(rehearsal: Rehearsal) -> bool:
    state = rehearsal.emulated.scene.state()
    return not state.torque.any() and bool(np.abs(state.joints_deg - PARK_DEG)[:5].max() < 8)


def test_kill_9_parks_the_arm_and_the_next_command_finds_it_free(
    rehearsal: Rehearsal, until: Callable[..., None]
) -> None:
    terminal, inner = os.openpty()
    process = commanding(rehearsal.path, inner)
    os.close(inner)
    said(process, "driving")
    assert rehearsal.emulated.scene.state().torque.all()
    end(process, signal.SIGKILL)
    until(lambda: is_at_rest(rehearsal))
    until(lambda: "parked, torque off" in log_of(rehearsal.path).read_text())
    assert b"arm 'rehearsal': parking: the command has ended" in os.read(terminal, 4096)  # whoever killed it sees this
    os.close(terminal)
    rehearsal.client().close()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_parks_the_arm(rehearsal: Rehearsal, number: int, until: Callable[..., None]) -> None:
    process = commanding(rehearsal.path)
    said(process, "driving")
    assert end(process, number) != 0
    until(lambda: is_at_rest(rehearsal))


@pytest.mark.slow
def test_twenty_times_killed_at_any_moment_twenty_times_parked(
    rehearsal: Rehearsal, until: Callable[..., None]
) -> None:
    """While it starts, connects, moves or drives; the next command waits for a keeper that is still on its way."""
    chance = np.random.default_rng(14)
    for k in range(20):
        process = commanding(rehearsal.path)
        said(process, ["starting", "connected", "driving", "driving"][k % 4])
        time.sleep(chance.uniform(0.0, [6.0, 0.4, 2.0, 0.1][k % 4]))
        end(process, signal.SIGKILL)
        if k % 2:
            until(lambda: is_at_rest(rehearsal))
    until(lambda: is_at_rest(rehearsal))
    rehearsal.client().close()


def footprint(pid: int) -> tuple[float, int, int]:
    """Resident megabytes, file handles and threads of a process."""
    status = Path(f"/proc/{pid}/status").read_text()
    resident = int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024  # type: ignore[index]
    return resident, len(list(Path(f"/proc/{pid}/fd").iterdir())), len(list(Path(f"/proc/{pid}/task").iterdir()))


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="footprints are read in /proc")
def test_an_hour_of_the_arms_time_leaves_nothing_behind(rehearsal: Rehearsal, tmp_path: Path) -> None:
    """36 000 commands at 10 Hz, in episodes of ten seconds."""
    log = log_of(rehearsal.path)
    with ArmClient(rehearsal.arm, rehearsal.path, rehearsal.emulated, log=tmp_path / "servos.csv") as client:
        keeper = int(re.search(r"keeper (\d+)", log.read_text())[1])  # type: ignore[index]
        clock, seen = client.clock, []
        for episode in range(360):
            client.move_to(READY)
            for tick in range(100):
                clock.sleep_until(clock.now() + 0.1)
                client.observe()
                client.command(np.add(READY, [10 * np.sin(tick / 10), 5 * np.cos(tick / 7), 0, 0, 0, 0]))
            client.hold()
            if episode in (9, 359):
                seen += [(footprint(keeper), footprint(os.getpid()))]
        assert clock.now() > 3600 and client.findings == []
    for (resident, handles, threads), (later, more_handles, more_threads) in zip(*seen, strict=True):
        assert later - resident < 5.0
        assert more_handles == handles and more_threads == threads
