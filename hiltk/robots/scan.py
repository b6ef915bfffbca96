"""Every servo on a port, whatever its id, speed, model and state: by bare packets, before LeRobot's driver refuses."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from hiltk.errors import UserError
from hiltk.robots.ports import slow_down

# Registers, with their bytes.
_FIRMWARE, _MODEL, _TORQUE, _LOAD, _VOLTAGE, _TEMPERATURE, _POSITION = (
    (0, 2),
    (3, 2),
    (40, 1),
    (60, 2),
    (62, 1),
    (63, 1),
    (56, 2),
)
_TRIES = 2
USUAL_IDS = range(1, 9)


@dataclass(frozen=True)
class Servo:
    """One servo; what it did not tell is None.

    Attributes:
        baud: bits per second at which it answered.
        model: number; 777 is an STS3215.
        firmware: as LeRobot says it, ``3.10``.
        position: ticks, 4096 a turn.
        load: share of full drive, with its sign.
        status: error bits of its answers.
    """

    id: int
    baud: int
    model: int | None
    firmware: str
    position: int | None
    voltage_v: float | None
    temperature_c: int | None
    load: float | None
    torque: bool | None
    status: int


def scan(port: str, *, all_speeds: bool = True) -> Iterator[Servo]:
    """Servos in the order they are found, at 1 Mbaud first; takes about a second a speed.

    Args:
        all_speeds: False: at 1 Mbaud only, as on a pseudo-terminal, which has none.

    Raises:
        UserError: the port cannot be opened, another program has it, or it goes away.
    """
    from lerobot.motors.feetech.feetech import FeetechMotorsBus
    from lerobot.motors.feetech.tables import MODEL_BAUDRATE_TABLE

    bus: Any = FeetechMotorsBus(port, {})
    slow_down(bus.port_handler)
    try:
        bus._connect(handshake=False)
        speeds = sorted(MODEL_BAUDRATE_TABLE["sts3215"], reverse=True)
        seen: set[int] = set()
        for baud in speeds if all_speeds else [bus.port_handler.getBaudRate()]:
            bus.set_baudrate(baud)  # which opens the port anew
            bus.port_handler.ser.exclusive = True
            # The driver's own only drains what is to be sent: a late answer would be taken for the next request's.
            bus.port_handler.clearPort = bus.port_handler.ser.reset_input_buffer
            for number, status in _answering(bus).items():
                if number not in seen:  # some answer at a neighbouring speed, too
                    seen.add(number)
                    yield _servo(bus, number, baud, status)
    except Exception as error:  # termios.error of a port that is gone is no OSError
        cause = error.__cause__ or error
        if getattr(cause, "errno", None) in (errno.EAGAIN, errno.EWOULDBLOCK):
            fix = "end it, or wait until it has parked the arm"
            raise UserError("another program drives the arm on this port", where=port, fix=fix) from error
        raise UserError(
            f"the port cannot be used: {cause}", where=port, fix="`hiltk doctor` lists the ports"
        ) from error
    finally:
        if bus.port_handler.ser is not None:
            bus.port_handler.closePort()


def _answering(bus: Any) -> dict[int, int]:
    """Error bits by id of all that answer a ping to everybody or, where those answers collide, one of their own."""
    found, _ = bus._broadcast_ping()
    answers = {int(number): int(status) for number, status in found.items()}
    for number in USUAL_IDS:
        if number not in answers:
            _, result, status = bus.packet_handler.ping(bus.port_handler, number)
            if bus._is_comm_success(result):
                answers[number] = status
    return dict(sorted(answers.items()))


def _servo(bus: Any, number: int, baud: int, status: int) -> Servo:
    from lerobot.motors.encoding_utils import decode_sign_magnitude

    def read(register: tuple[int, int]) -> int | None:
        for _ in range(_TRIES):
            value, result, _error = bus._read(*register, number, raise_on_error=False)
            if bus._is_comm_success(result):
                return int(value)
        return None

    firmware, voltage, load = read(_FIRMWARE), read(_VOLTAGE), read(_LOAD)
    torque = read(_TORQUE)
    return Servo(
        id=number,
        baud=baud,
        model=read(_MODEL),
        firmware="" if firmware is None else f"{firmware & 255}.{firmware >> 8}",
        position=read(_POSITION),
        voltage_v=None if voltage is None else voltage / 10,
        temperature_c=read(_TEMPERATURE),
        load=None if load is None else decode_sign_magnitude(load, 10) / 1000,
        torque=None if torque is None else torque == 1,
        status=status,
    )
