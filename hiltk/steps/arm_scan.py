"""`hiltk arm scan`: every servo there is, and what of it keeps an arm from working."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Console

from hiltk.arm.model import JOINTS
from hiltk.console import say
from hiltk.errors import UserError
from hiltk.robots.arm_store import chosen_arm
from hiltk.robots.bus import MODEL_STS3215, status_words
from hiltk.robots.ports import check_port, serial_ports
from hiltk.robots.scan import Servo, scan
from hiltk.steps.arm_common import port_of, table

BAUD = 1_000_000
VOLTS = 5.5  # below it only the computer feeds the servos
SUPPLY = "the servos have no supply, or the cable from the board to the first one is out"


def run(arm: str, *, port: str = "") -> None:
    """Print the servos on an arm's port, on one that is named, or on all.

    Raises:
        UserError: there is no port, one cannot be used, or no servo answers on it.
    """
    if port:
        check_port(port)
        _look(port, [])
        return
    if arm:
        file, path = chosen_arm(arm, checked=False)
        with port_of(file, path) as (opened, emulator):
            _look(opened, [joint.id for joint in file.calibration.values()], all_speeds=emulator is None)
        return
    ports = [one.path for one in serial_ports() if one.adapter]
    if not ports:
        fix = "plug in its USB cable; `hiltk arm scan NAME` looks at an arm that has a file; `hiltk doctor` lists ports"
        raise UserError("no servo board is plugged in", fix=fix)
    for one in ports:
        check_port(one)
        _look(one, [])


def _look(port: str, expected: Sequence[int], *, all_speeds: bool = True) -> None:
    if all_speeds:
        say(f"{port}: looking at all speeds, ten seconds")
    servos = list(scan(port, all_speeds=all_speeds))
    if not servos:
        raise UserError("no servo answers", where=port, fix=SUPPLY)
    shown = table(port, "joint", "id", "model", "firmware", "raw", "V", "°C", "load", "torque", "status")
    for servo in servos:
        shown.add_row(*_cells(servo))
    Console().print(shown)
    for line in remarks(servos, expected):
        say(line)


def _cells(servo: Servo) -> list[str]:
    return [
        JOINTS[servo.id - 1] if 1 <= servo.id <= len(JOINTS) else "",
        str(servo.id),
        "STS3215" if servo.model == MODEL_STS3215 else _text(servo.model),
        servo.firmware or "?",
        _text(servo.position),
        _text(servo.voltage_v),
        _text(servo.temperature_c),
        "?" if servo.load is None else f"{100 * servo.load:.0f} %",
        {True: "on", False: "off", None: "?"}[servo.torque],
        status_words(servo.status) if servo.status else "ok",
    ]


def _text(value: float | None) -> str:
    return "?" if value is None else str(value)


def remarks(servos: Sequence[Servo], expected: Sequence[int] = ()) -> Iterator[str]:
    """What keeps these servos from being an arm, and what to do.

    Args:
        expected: ids that the arm's file says; empty: 1 to 6, where there are more than one.
    """
    found = {servo.id for servo in servos}
    wanted = list(expected) or list(range(1, 7) if len(found) > 1 else found)
    for place, number in enumerate(wanted):
        if number not in found:
            before = f"id {wanted[place - 1]}" if place else "the board"
            yield f"id {number} does not answer: look at the cable from {before} to it, and at its own id"
    for extra in sorted(found - set(wanted)):
        yield f"id {extra} is none of this arm's: LeRobot numbers the joints 1 to 6 from the base"
    if len(versions := sorted({servo.firmware for servo in servos if servo.firmware})) > 1:
        who = "; ".join(f"{v}: {', '.join(str(s.id) for s in servos if s.firmware == v)}" for v in versions)
        yield f"firmware is mixed ({who}), which LeRobot's driver refuses: Feetech's FD program updates servos"
    for servo in servos:
        if servo.model not in (None, MODEL_STS3215):
            yield f"id {servo.id} is no STS3215 (model {servo.model})"
        if servo.baud != BAUD:
            yield f"id {servo.id} talks at {servo.baud} baud, LeRobot at {BAUD}: `lerobot-setup-motors` sets it"
        if servo.status:
            yield f"id {servo.id} reports {status_words(servo.status)}: cool it, free it, then its supply off and on"
        if servo.voltage_v is not None and servo.voltage_v < VOLTS:
            yield f"id {servo.id} has {servo.voltage_v} V: is the supply plugged in and switched on?"
