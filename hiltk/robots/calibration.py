"""The calibration in an arm's servos against the one in its file: every angle depends on their being the same."""

from __future__ import annotations

from collections.abc import Mapping

from hiltk.errors import UserError
from hiltk.robots.arm_file import ArmFile, JointCalibration

_IN_SERVOS = ("homing_offset", "range_min", "range_max")  # ids are how a servo is asked; the driver keeps the direction


def differences(
    file: Mapping[str, JointCalibration], servos: Mapping[str, JointCalibration]
) -> dict[str, list[tuple[str, int, int]]]:
    """By joint: field, the file's value, the servo's value, of each that differs."""
    found = {}
    for joint, wanted in file.items():
        stored = servos[joint]
        pairs = [(name, int(getattr(wanted, name)), int(getattr(stored, name))) for name in _IN_SERVOS]
        if unlike := [(name, one, other) for name, one, other in pairs if one != other]:
            found[joint] = unlike
    return found


def require_agreement(arm: ArmFile, servos: Mapping[str, JointCalibration]) -> None:
    """Refuse an arm whose servos are calibrated otherwise than its file says.

    Raises:
        UserError: with joint and numbers.
    """
    found = differences(arm.calibration, servos)
    if not found:
        return
    lines = [
        f"{joint}: " + ", ".join(f"{name} {one} in the file, {other} in the servo" for name, one, other in unlike)
        for joint, unlike in found.items()
    ]
    raise UserError(
        "the servos are calibrated otherwise than the arm's file says, so every angle would be wrong",
        where="\n         ".join([f"arm '{arm.name}'", *lines]),
        fix=f"another arm on this port? Else `hiltk arm calibrate {arm.name}` anew, or put the file's numbers into the "
        f"servos: `hiltk arm calibrate {arm.name} --write-calibration`",
    )
