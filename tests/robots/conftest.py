"""An emulated arm in fast time, in one process for all tests of a worker."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from hiltk.robots.arm_file import ArmFile
from hiltk.robots.bus import ServoBus
from hiltk.robots.emulated.client import EmulatedArm, start_emulator
from hiltk.robots.emulated.rehearsal import PARK_DEG, rehearsal_file
from hiltk.robots.keeper import ArmClient, Keeper
from hiltk.robots.messages import Job


@dataclass
class Rehearsal:
    """An emulated arm at rest, and keepers for it in threads of this process."""

    arm: ArmFile
    path: Path
    emulated: EmulatedArm
    threads: list[threading.Thread] = field(default_factory=list)

    def bus(self) -> ServoBus:
        """Not opened."""
        return ServoBus(self.arm, lambda: self.emulated.port, self.emulated.clock)

    def client(self, **values: object) -> ArmClient:
        return ArmClient(self.arm, self.path, self.emulated, start=self._start, **values)  # type: ignore[arg-type]

    def _start(self, job: Job) -> Connection:
        ours, theirs = socket.socketpair()
        keeper = Keeper(job, self.bus(), self.emulated.clock, Connection(theirs.detach()))
        self.threads.append(threading.Thread(target=keeper.serve, daemon=True))
        self.threads[-1].start()
        return Connection(ours.detach())

    def ended(self) -> None:
        """Wait for the keepers whose clients have left."""
        for thread in self.threads:
            thread.join(60)
            assert not thread.is_alive()

    def wait(self, seconds: float) -> None:
        """Of the arm's time."""
        self.emulated.clock.sleep_until(self.emulated.clock.now() + seconds)


@pytest.fixture(scope="session")
def _emulated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ArmFile, Path, EmulatedArm]]:
    arm, path = rehearsal_file("rehearsal"), tmp_path_factory.mktemp("arms") / "rehearsal.yaml"
    arm.emulated.time = "fast"
    with start_emulator(arm, path) as emulated:
        yield arm, path, emulated
        emulated.stop()


@pytest.fixture
def rehearsal(_emulated: tuple[ArmFile, Path, EmulatedArm], until: Callable[..., None]) -> Iterator[Rehearsal]:
    """At rest in its park pose, without torque or faults."""
    arm, path, emulated = _emulated
    emulated.clear_faults()
    emulated.cut_power()
    until(lambda: Path(emulated.port).exists())
    emulated.scene.turn_by_hand(PARK_DEG)
    yield Rehearsal(arm, path, emulated)
    emulated.clear_faults()


@pytest.fixture(scope="session")
def until() -> Callable[[Callable[[], object]], None]:
    """Wait for another thread or process."""
    import time

    def wait(true: Callable[[], object]) -> None:
        deadline = time.monotonic() + 60
        while not true() and time.monotonic() < deadline:
            time.sleep(0.005)
        assert true()

    return wait
