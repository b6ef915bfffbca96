"""LeRobot's driver with its faults put right: real bytes of an emulated chain of servos, in fast time."""

from __future__ import annotations

import builtins
import gc
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from hiltk.arm.model import JOINTS
from hiltk.errors import UserError
from hiltk.robots import bus as bus_module
from hiltk.robots.bus import BusError, PortGone, ServoBus, status_words
from tests.robots.conftest import Rehearsal

AWAY_DEG = [10.0, -60.0, 60.0, 70.0, 80.0, 20.0]


@pytest.fixture
def bus(rehearsal: Rehearsal, monkeypatch: pytest.MonkeyPatch) -> Iterator[ServoBus]:
    """Opened; nobody may be asked anything."""
    monkeypatch.setattr(builtins, "input", lambda *_: pytest.fail("the driver asks a question"))
    monkeypatch.setattr(bus_module, "_PORT_TAKEN_S", 0.0)
    opened = rehearsal.bus()
    opened.open()
    yield opened
    opened.close()


def lift(rehearsal: Rehearsal, bus: ServoBus) -> None:
    """Torque on, away from the park pose."""
    for joint in JOINTS:
        bus.torque_on(joint)
    bus.write_goals(AWAY_DEG)
    rehearsal.wait(2.0)


def test_a_block_of_registers_says_what_the_arm_does(rehearsal: Rehearsal, bus: ServoBus) -> None:
    assert not bus.torque().any()  # opening is no reason to hold
    lift(rehearsal, bus)
    reading = bus.read()
    np.testing.assert_allclose(reading.joints_deg, rehearsal.emulated.scene.state().joints_deg, atol=0.2)
    np.testing.assert_allclose(reading.joints_deg, AWAY_DEG, atol=0.5)
    np.testing.assert_allclose(bus.goals(), AWAY_DEG, atol=0.1)
    np.testing.assert_array_equal(reading.voltage_v, [12.0] * 6)
    assert (reading.temperature_c == 31).all() and not reading.status.any()
    assert np.abs(reading.load[1:3]).max() > 0.01  # it carries its own weight
    bus.write_goals(np.add(AWAY_DEG, [20.0, 0, 0, 0, 0, 0]))
    rehearsal.wait(0.1)
    moving = bus.read()
    assert moving.speed_deg_s[0] > 20 and moving.stamp_s == pytest.approx(rehearsal.emulated.clock.now())


def test_torque_comes_on_where_the_joints_are(rehearsal: Rehearsal, bus: ServoBus) -> None:
    """A servo keeps its old goal while it has no torque, and would snap back to it."""
    lift(rehearsal, bus)
    assert bus.relax() == []
    rehearsal.emulated.scene.turn_by_hand(np.add(AWAY_DEG, [30.0, 0, 0, 0, 0, 0]))
    for joint in JOINTS:
        bus.torque_on(joint)
    before = bus.read().joints_deg
    rehearsal.wait(1.0)
    np.testing.assert_allclose(bus.read().joints_deg, before, atol=2.0)


def test_an_arm_that_is_held_is_not_dropped_by_opening(rehearsal: Rehearsal, bus: ServoBus) -> None:
    lift(rehearsal, bus)
    bus.close()
    other = rehearsal.bus()
    other.open()
    assert other.torque().all()
    np.testing.assert_allclose(other.goals(), AWAY_DEG, atol=0.1)
    other.close()


def test_an_object_that_is_thrown_away_does_not_drop_the_arm(rehearsal: Rehearsal) -> None:
    bus = rehearsal.bus()
    bus.open()
    lift(rehearsal, bus)
    del bus
    gc.collect()
    assert rehearsal.emulated.scene.state().torque.all()


def test_the_servos_limit_their_own_speed(rehearsal: Rehearsal, bus: ServoBus) -> None:
    """The second line, which also holds where no program is left."""
    lift(rehearsal, bus)
    bus.limit([1000] * 6, [40.0] * 6)
    before = bus.read().joints_deg
    bus.write_goals(np.add(AWAY_DEG, [60.0, 0, 0, 0, 0, 60.0]))
    rehearsal.wait(0.5)
    way = bus.read().joints_deg - before
    assert 10 < way[0] <= 21 and 10 < way[5] <= 21


# ---------------------------------------------------------------- what happens when


def test_one_corrupt_answer_is_read_again_and_counted(rehearsal: Rehearsal, bus: ServoBus) -> None:
    rehearsal.emulated.fault("corrupt", joint="elbow_flex", count=1)
    assert bus.read().fresh
    assert bus.failures == {"elbow_flex": 1}


def test_a_silent_servo_is_named_and_the_others_can_be_relaxed(rehearsal: Rehearsal, bus: ServoBus) -> None:
    lift(rehearsal, bus)
    rehearsal.emulated.fault("silent", joint="elbow_flex")
    with pytest.raises(BusError, match="do not answer"):
        bus.read()
    assert bus.silent() == ["elbow_flex"]
    assert bus.relax() == ["elbow_flex"]
    np.testing.assert_array_equal(rehearsal.emulated.scene.state().torque, [False, False, True, False, False, False])


def test_no_late_answer_is_taken_for_a_later_one(
    rehearsal: Rehearsal, bus: ServoBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What comes after the driver has given up lies in the input, and would be every later reading."""
    monkeypatch.setattr(bus_module, "_FAST_TIMEOUT_MS", 50.0)
    rehearsal.emulated.fault("late", seconds=0.2, count=6)
    with pytest.raises(BusError):
        bus.read()
    time.sleep(0.3)
    rehearsal.emulated.scene.turn_by_hand(AWAY_DEG)
    np.testing.assert_allclose(bus.read().joints_deg, rehearsal.emulated.scene.state().joints_deg, atol=0.5)


def test_an_answer_to_something_else_is_asked_for_again(bus: ServoBus, monkeypatch: pytest.MonkeyPatch) -> None:
    """The driver takes the late acknowledgement of a write for the answer to a read, and finds no data in it."""
    handler = bus._bus.packet_handler
    real, left = handler.readTxRx, [2]

    def late(*request: int) -> object:
        left[0] -= 1
        return ([], 0, 0) if left[0] >= 0 else real(*request)

    monkeypatch.setattr(handler, "readTxRx", late)
    assert bus.stored_calibration() == bus.arm.calibration
    assert left[0] < 0


def test_an_answer_faster_than_the_wire_is_no_answer(bus: ServoBus) -> None:
    bus._fastest_s = 100.0
    with pytest.raises(BusError):
        bus.read()
    assert bus.failures == {"stale": 3}


def test_a_port_that_comes_back_is_taken_again(rehearsal: Rehearsal, bus: ServoBus, until: Callable[..., None]) -> None:
    rehearsal.emulated.fault("unplugged")
    until(lambda: not Path(rehearsal.emulated.port).exists())
    for _ in range(2):
        with pytest.raises(PortGone):
            bus.read()
    with pytest.raises(PortGone):
        bus.write_goals(AWAY_DEG)
    assert bus.silent() == list(JOINTS) and bus.relax() == list(JOINTS)
    rehearsal.emulated.clear_faults()
    until(lambda: Path(rehearsal.emulated.port).exists())
    assert bus.read().fresh and bus.relax() == []


@pytest.mark.parametrize(
    ("fault", "joint", "words"),
    [
        ("overload", "gripper", "overload"),  # the driver calls it missing
        ("voltage", "wrist_flex", "voltage"),
        ("silent", "wrist_flex", "cable between elbow_flex and wrist_flex"),
        ("id", "wrist_roll", "wrist_roll does not answer"),
        ("model", "elbow_flex", "model 2825"),
        ("firmware", "shoulder_pan", "3.9"),
    ],
)
def test_what_a_start_needs_is_said_and_the_port_is_left(
    rehearsal: Rehearsal, bus: ServoBus, fault: str, joint: str, words: str
) -> None:
    bus.close()
    values = {"volts": 3.0} if fault == "voltage" else {}
    rehearsal.emulated.fault(fault, joint=joint, **values)
    with pytest.raises(UserError) as caught:
        bus.open()
    assert words in str(caught.value)
    assert not bus.is_open
    rehearsal.emulated.clear_faults()
    bus.open()  # the port was left, and nothing else has to be done


def test_a_servo_that_reports_overload_can_be_relaxed(rehearsal: Rehearsal, bus: ServoBus) -> None:
    lift(rehearsal, bus)
    bus.close()
    rehearsal.emulated.fault("overload", joint="shoulder_lift")
    bus.open(checks=False)
    assert bus.relax() == []
    assert not rehearsal.emulated.scene.state().torque.any()


def test_another_calibration_is_refused_by_numbers_and_written_only_when_asked(
    rehearsal: Rehearsal, bus: ServoBus
) -> None:
    bus.close()
    offset = rehearsal.arm.calibration["elbow_flex"].homing_offset
    rehearsal.emulated.fault("calibration", joint="elbow_flex", ticks=100)
    with pytest.raises(UserError, match=f"elbow_flex: homing_offset {offset} in the file, {offset + 100} in the servo"):
        bus.open()
    bus.open(checks=False)
    assert bus.stored_calibration()["elbow_flex"].homing_offset == offset + 100
    bus.write_calibration(rehearsal.arm.calibration)
    bus.close()
    rehearsal.emulated.cut_power()
    bus.open()


def test_one_port_has_one_program(rehearsal: Rehearsal, bus: ServoBus) -> None:
    with pytest.raises(UserError, match="another program drives the arm"):
        rehearsal.bus().open()
    assert bus.read().fresh


@pytest.mark.parametrize(
    ("port", "words"),
    [("/dev/no-such-port", "there is no such port"), ("/dev/null", "no serial port"), ("/etc", "no serial port")],
)
def test_what_is_no_port_is_said(rehearsal: Rehearsal, port: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        ServoBus(rehearsal.arm, lambda: port).open()


def test_status_bits_have_names() -> None:
    assert status_words(32 | 4) == "heat, overload"
    assert status_words(64) == "bits 64"
