"""What can be wrong with an emulated arm: names, values, and which of it holds now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hiltk.arm.model import JOINTS
from hiltk.errors import UserError, listed, nearest

_SOME = {"joint": "", "rate": 1.0, "count": 0}
_TIMES = {"after_s": 0.0, "for_s": 0.0}


@dataclass(frozen=True)
class Kind:
    """One fault.

    Attributes:
        meaning: what happens.
        values: names and defaults; a plain value in an arm file is that of the first.
    """

    meaning: str
    values: dict[str, Any]


# joint: one, a list, or empty for all. rate: share of the answers; count: only so many, then no more. Seconds of
# `after_s` and `for_s`, which all take, are the arm's own; 0 for_s: until cleared.
FAULTS: dict[str, Kind] = {
    "dropped": Kind("answers never come", {"rate": 1.0, "joint": "", "count": 0}),
    "corrupt": Kind("answers come with a wrong checksum", {"rate": 1.0, "joint": "", "count": 0}),
    "late": Kind("answers come late, by real seconds", {"seconds": 0.06, **_SOME}),
    "silent": Kind("servos neither hear nor answer", {"joint": ""}),
    "overload": Kind("servos have stopped themselves, and say so until their power is cycled", {"joint": ""}),
    "voltage": Kind("the supply dips", {"volts": 9.0, "joint": ""}),
    "temperature": Kind("servos are hot", {"celsius": 72.0, "joint": ""}),
    "unplugged": Kind("the serial port is gone", {"for_s": 0.0}),
    "calibration": Kind("servos hold another homing offset, by so many ticks", {"ticks": 100, "joint": JOINTS[0]}),
    "firmware": Kind("servos have another firmware, 3.minor", {"minor": 9, "joint": JOINTS[0]}),
    "model": Kind("servos are of another model", {"number": 2825, "joint": JOINTS[0]}),
    "id": Kind("a servo answers to another id", {"id": 9, "joint": JOINTS[0]}),
    "sag": Kind("servo gains times so much", {"gain": 0.1}),
    "backlash": Kind("play between joints and encoders, either way", {"degrees": 0.5}),
    "stuck": Kind("something keeps joints from turning", {"joint": ""}),
    "camera_frozen": Kind("no new frames", {"camera": ""}),
    "camera_black": Kind("frames are black", {"camera": ""}),
    "camera_slow": Kind("frames come at a lower rate", {"fps": 5.0, "camera": ""}),
}


def fault_values(name: str, given: Any) -> dict[str, Any]:
    """All values of the fault ``name``, where ``given`` is a mapping of some, the first's value, or None.

    Raises:
        UserError: there is no such fault, value, joint.
    """
    if name not in FAULTS:
        fix = nearest(name, FAULTS) or f"there are: {', '.join(FAULTS)}"
        raise UserError(f"an emulated arm has no fault '{name}'", where="emulated.faults", fix=fix)
    defaults = {**_TIMES, **FAULTS[name].values}
    if given is None:
        given = {}
    elif not isinstance(given, Mapping):
        given = {next(iter(FAULTS[name].values)): given}
    for key, value in given.items():
        if key not in defaults:
            fix = nearest(str(key), defaults) or f"it takes: {', '.join(defaults)}"
            raise UserError(f"the fault '{name}' takes no '{key}'", where="emulated.faults", fix=fix)
        if key not in ("joint", "camera") and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise UserError(f"the fault '{name}' needs a number as {key}", where=f"emulated.faults: {value!r}")
    values = {**defaults, **given}
    unknown = [joint for joint in named(values.get("joint", "")) if joint not in JOINTS]
    if unknown:
        fix = nearest(unknown[0], JOINTS) or f"there are: {listed(JOINTS, 6)}"
        raise UserError(f"there is no joint '{unknown[0]}'", where=f"emulated.faults.{name}", fix=fix)
    return values


def named(joint: str | list[str]) -> list[str]:
    """The joints a value names; none for all."""
    return [joint] if isinstance(joint, str) and joint else list(joint)


def places(values: Mapping[str, Any]) -> list[int]:
    """Numbers of the joints a fault is about."""
    joints = named(values["joint"])
    return [k for k, joint in enumerate(JOINTS) if not joints or joint in joints]


class Faults:
    """Which faults were set, and which of them hold at a time."""

    def __init__(self) -> None:
        self._set: dict[str, tuple[float, dict[str, Any]]] = {}

    def set(self, name: str, values: dict[str, Any], now: float) -> None:
        """From ``now`` on, with the values of `fault_values`; a fault of the same name is replaced."""
        self._set[name] = (now, values)

    def clear(self) -> None:
        self._set.clear()

    def __bool__(self) -> bool:
        return bool(self._set)

    def active(self, now: float) -> dict[str, dict[str, Any]]:
        """Values of those that hold, by name."""
        return {
            name: values
            for name, (start, values) in self._set.items()
            if now >= start + values["after_s"]
            and (not values["for_s"] or now < start + values["after_s"] + values["for_s"])
        }

    def strikes(self, values: dict[str, Any], place: int, chance: float) -> bool:
        """Whether a fault of single answers hits the one of the servo at ``place``; ``chance`` is uniform in 0..1."""
        if place not in places(values) or chance >= values["rate"] or values["count"] < 0:
            return False
        if values["count"]:
            values["count"] = values["count"] - 1 or -1  # used up
        return True
