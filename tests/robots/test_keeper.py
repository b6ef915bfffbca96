"""The process that outlives whoever commands the arm: in a thread on a bus of numbers, then with real servos' bytes."""

from __future__ import annotations

import csv
import socket
import threading
import time
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pytest

from hiltk.errors import UserError
from hiltk.findings import Severity
from hiltk.robots.bus import BusError
from hiltk.robots.keeper import ArmClient, Keeper
from hiltk.robots.messages import Job
from hiltk.robots.safety import ArmStopped
from tests.robots.fakes import PARK, READY, FakeBus, Ticks, small_arm


@dataclass
class Desk:
    """A keeper in a thread of its own, and what it drives."""

    clock: Ticks = field(default_factory=Ticks)
    orphan: bool = False
    keeper: Keeper | None = None
    thread: threading.Thread | None = None

    def __post_init__(self) -> None:
        self.bus = FakeBus(self.clock, PARK)

    def start(self, job: Job) -> Connection:
        ours, theirs = socket.socketpair()
        self.keeper = Keeper(job, self.bus, self.clock, Connection(theirs.detach()), lambda: self.orphan)
        self.thread = threading.Thread(target=self.keeper.serve, daemon=True)
        self.thread.start()
        return Connection(ours.detach())

    def client(self, **values: object) -> ArmClient:
        return ArmClient(small_arm(), Path("small.yaml"), start=self.start, **values)  # type: ignore[arg-type]

    def ends(self) -> None:
        assert self.thread is not None
        self.thread.join(20)
        assert not self.thread.is_alive()

    @property
    def parked(self) -> bool:
        return not self.bus.on.any() and bool(np.allclose(self.bus.at, PARK))


def until(true: object) -> None:
    """Wait for the other thread."""
    deadline = time.monotonic() + 20
    while not true() and time.monotonic() < deadline:  # type: ignore[operator]
        time.sleep(0.005)
    assert true()  # type: ignore[operator]


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_a_session_from_start_to_rest(desk: Desk, tmp_path: Path) -> None:
    client = desk.client(log=tmp_path / "logs" / "servos.csv")
    np.testing.assert_array_equal(client.start.joints_deg, PARK)
    assert not desk.bus.on.any()  # looking is no reason to move
    np.testing.assert_allclose(client.move_to(READY).joints_deg, READY)
    desk.clock.time += 0.1
    assert client.observe().fresh
    np.testing.assert_allclose(client.command(np.add(READY, [20.0, 0, 0, 0, 0, 0])) - READY, [9, 0, 0, 0, 0, 0])
    assert client.close() == [] and client.close() == []
    desk.ends()
    assert desk.parked and not desk.bus.is_open
    with open(tmp_path / "logs" / "servos.csv") as file:
        rows = list(csv.DictReader(file))
    assert float(rows[-1]["temperature_c.gripper"]) == 30 and float(rows[-1]["goal_deg.elbow_flex"]) == PARK[2]


def test_the_keeper_survives_a_log_that_cannot_be_written(desk: Desk) -> None:
    client = desk.client(log=Path("/dev/full"))
    client.move_to(READY)
    client.close()
    desk.ends()
    assert desk.parked


def test_an_arm_that_cannot_be_driven_is_said_to_the_client(desk: Desk) -> None:
    desk.bus.celsius[1] = 60
    with pytest.raises(UserError, match="shoulder_lift has 60 C"):
        desk.client()
    desk.ends()
    assert not desk.bus.is_open


def test_commands_need_torque(desk: Desk) -> None:
    client = desk.client()
    with pytest.raises(ArmStopped, match="no torque"):
        client.command(READY)
    with pytest.raises(UserError, match="six finite"):
        client.move_to([1.0])
    client.close()


# ---------------------------------------------------------------- silence


def test_silence_holds_then_parks_and_a_move_begins_again(desk: Desk) -> None:
    client = desk.client()
    client.move_to(READY)
    client.observe(), client.command(READY)
    desk.clock.time += 0.4  # four periods
    assert desk.keeper is not None
    until(lambda: desk.keeper._held)  # type: ignore[union-attr]
    assert desk.bus.on.all()
    np.testing.assert_array_equal(desk.bus.at, READY)
    desk.clock.time += 2.0
    until(lambda: desk.parked)
    with pytest.raises(ArmStopped, match="parked") as caught:
        client.observe(), client.command(READY)
    assert caught.value.code == "silence" and caught.value.goes_on
    client.move_to(READY)
    client.command(READY)
    client.close()


def test_parking_that_failed_in_silence_is_not_tried_for_ever(desk: Desk) -> None:
    client = desk.client()
    client.move_to(READY)
    client.observe(), client.command(READY)
    desk.bus.held[1] = True
    desk.clock.time += 2.5
    assert desk.keeper is not None
    until(lambda: desk.keeper._given_up)  # type: ignore[union-attr]
    sent = len(desk.bus.sent)
    desk.clock.time += 60
    client.observe()
    assert [finding.code for finding in client.findings] == ["still_holding"] and len(desk.bus.sent) == sent
    desk.bus.held[1] = False
    client.move_to(READY)
    assert client.close() == []


def test_announced_silence_is_none(desk: Desk) -> None:
    client = desk.client()
    client.move_to(READY)
    desk.clock.time += 30.0  # also right after a move
    client.observe(), client.command(READY)
    client.hold()
    desk.clock.time += 300.0
    looks = desk.bus.reads
    until(lambda: desk.bus.reads > looks)  # somebody watches heat and load
    client.command(READY), client.observe(), client.command(READY)
    desk.clock.time += 3.0
    until(lambda: desk.parked)
    client.close()


# ---------------------------------------------------------------- every way out


@pytest.mark.parametrize("way", ["connection", "orphan", "signal"])
def test_the_arm_parks_whatever_becomes_of_the_command(desk: Desk, way: str) -> None:
    client = desk.client()
    client.move_to(READY)
    client.observe(), client.command(np.add(READY, 5))
    assert desk.keeper is not None
    if way == "connection":
        client._connection.close()
    elif way == "orphan":
        desk.orphan = True
    else:
        desk.keeper.ending = True
    desk.ends()
    assert desk.parked and not desk.bus.is_open


def test_the_way_to_the_park_pose_begins_at_the_last_command(desk: Desk) -> None:
    client = desk.client()
    client.move_to(READY)
    desk.bus.held[1], desk.bus.at[1] = True, READY[1] + 4  # sags
    sent = len(desk.bus.sent)
    desk.bus.held[1] = False
    client._connection.close()
    desk.ends()
    assert desk.bus.sent[sent][1] == pytest.approx(READY[1], abs=0.5)


def test_where_parking_fails_torque_stays_and_a_person_is_told(desk: Desk) -> None:
    client = desk.client()
    client.move_to(READY)
    desk.bus.held[2] = True
    (finding,) = client.close()
    desk.ends()
    assert finding.code == "still_holding" and finding.severity is Severity.error
    assert "elbow_flex" in finding.what and "30 C" in finding.what and "hiltk arm relax small" in finding.fix
    assert desk.bus.on.all() and not desk.bus.is_open


def test_torque_that_came_on_in_some_joints_only_is_not_forgotten(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    client = desk.client()
    switch = desk.bus.torque_on

    def fail(joint: str) -> None:
        if joint == "wrist_flex":
            raise BusError("lost")
        switch(joint)

    monkeypatch.setattr(desk.bus, "torque_on", fail)
    with pytest.raises(ArmStopped, match="lost"):
        client.move_to(READY)
    assert desk.bus.on.sum() == 3
    (finding,) = client.close()
    assert finding.code == "still_holding" and desk.bus.on.sum() == 3


def test_heat_parks_the_arm_at_once(desk: Desk) -> None:
    client = desk.client()
    client.move_to(READY)
    desk.bus.celsius[4] = 70.0
    with pytest.raises(ArmStopped, match="wrist_roll has 70 C"):
        client.observe()
    assert desk.parked
    client.close()


class _Slow(Ticks):
    """Waits a little, so that somebody else can speak during a move."""

    def sleep_until(self, due: float) -> None:
        time.sleep(0.002)
        super().sleep_until(due)


def test_stop_ends_a_move_at_once_and_the_arm_holds_after_the_end() -> None:
    desk = Desk(clock=_Slow())
    client = desk.client()
    told: list[ArmStopped] = []

    def move() -> None:
        with pytest.raises(ArmStopped) as caught:
            client.move_to(READY)
        told.append(caught.value)

    thread = threading.Thread(target=move)
    thread.start()
    until(lambda: len(desk.bus.sent) > 5)
    client.stop()
    thread.join(20)
    assert told[0].code == "stopped"
    here = desk.bus.at.copy()
    assert not np.allclose(here, READY) and not np.allclose(here, PARK)
    with pytest.raises(ArmStopped, match="stopped"):
        client.command(READY)
    (finding,) = client.close()
    desk.ends()
    assert finding.code == "still_holding" and desk.bus.on.all()
    np.testing.assert_array_equal(desk.bus.at, here)


def test_a_client_that_leaves_during_a_move_is_no_reason_to_stop_halfway() -> None:
    desk = Desk(clock=_Slow())
    client = desk.client()
    told: list[ArmStopped] = []

    def move() -> None:
        with pytest.raises(ArmStopped, match="keeps the arm is gone") as caught:
            client.move_to(READY)
        told.append(caught.value)

    thread = threading.Thread(target=move)
    thread.start()
    until(lambda: len(desk.bus.sent) > 5)
    desk.orphan = True
    desk.ends()
    thread.join(20)
    assert desk.parked and told[0].code == "keeper"
