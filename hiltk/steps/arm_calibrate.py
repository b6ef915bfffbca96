"""`hiltk arm calibrate`: the range of each joint, measured with a person's hands; written only when that is asked."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.live import Live
from rich.table import Table

from hiltk.arm.calibration import DEG_PER_TICK
from hiltk.arm.kinematics import Kinematics
from hiltk.arm.model import JOINTS
from hiltk.console import say
from hiltk.errors import ConfigError, UserError
from hiltk.robots.arm_file import ArmFile, JointCalibration, numbered
from hiltk.robots.arm_store import chosen_arm, save_calibration
from hiltk.robots.bus import ServoBus
from hiltk.robots.calibration import differences
from hiltk.robots.sweep import SAFE_RAW, Sweep, actual, calibration_of, doubts, span_deg, sweep
from hiltk.steps.arm_common import Person, port_of, table


def run(arm: str, *, write: bool, restore: bool, supported: bool, person: Person | None = None) -> None:
    """Measure, compare with the file, and with ``write`` put it into servos and file.

    Args:
        restore: measure nothing, put the file's numbers into the servos.
        supported: the arm may lose its torque at once.

    Raises:
        UserError: the servos cannot be read, or what was measured cannot be.
        ConfigError: nobody answers, or options contradict.
    """
    if write and restore:
        raise ConfigError("--write keeps what is measured, --write-calibration measures nothing", fix="one of them")
    file, path = chosen_arm(arm, checked=False)
    with port_of(file, path) as (port, emulator):
        person = person or (EmulatedPerson(emulator.scene, file) if emulator else Person())
        bus = ServoBus(_with_ids(file), lambda: port)
        bus.open(checks=False)
        try:
            before = bus.stored_calibration()
            if bus.torque().any():
                if not supported and not person.agrees(
                    "the arm holds, and is about to lose its torque: do you hold it?"
                ):
                    raise UserError("nothing was done", fix="hold the arm, then the same command again")
                if left := bus.relax():
                    fix = f"`hiltk arm relax {file.name}`, then the same command again"
                    raise UserError(f"{', '.join(left)} did not let go", where=port, fix=fix)
            if restore:
                _write(bus, file, path, file.calibration, before, into_file=False)
                return
            found = _measured(bus, before, person, file)
            _compare(file, found)
            if wrong := [*doubts(found, Kinematics(file.model_path).limits_deg)]:
                where = "\n         ".join(wrong)
                raise UserError("this is no calibration of a SO-101", where=where, fix="nothing was written; once more")
            if write:
                _write(bus, file, path, found, before, into_file=True)
            else:
                say(f"nothing was written: hiltk arm calibrate {file.name} --write does, after the same procedure")
        finally:
            bus.close()


def _with_ids(file: ArmFile) -> ArmFile:
    """A file that the driver takes: with ids, where there is no calibration yet."""
    return replace(file, calibration={**numbered(), **file.calibration})


# ---------------------------------------------------------------- measuring


def _measured(
    bus: ServoBus, stored: dict[str, JointCalibration], person: Person, file: ArmFile
) -> dict[str, JointCalibration]:
    offsets = np.array([stored[joint].homing_offset for joint in JOINTS])

    def read() -> np.ndarray:
        return actual(bus.ticks(), offsets)

    say("raw positions now (4096 a turn), and the offsets that the servos hold:")
    shown = table("", "joint", "raw", "offset", "")
    for joint, raw, offset in zip(JOINTS, read(), offsets, strict=True):
        far = not SAFE_RAW[0] <= raw <= SAFE_RAW[1]
        shown.add_row(
            joint, f"{raw:.0f}", str(offset), "near the encoder's zero: only matters in the middle" if far else ""
        )
    Console().print(shown)
    person.ready("bring every joint to the middle of its range: arm straight up and forward, wrist and jaw half way")
    middle = read()
    say("now move each joint from stop to stop, one after the other, slowly; the wrist's roll need not; Enter ends it")
    swept = Sweep(middle, middle, middle)
    with Live(_progress(swept), console=Console(), refresh_per_second=8, transient=True) as live:
        for found in sweep(read, person.is_done, middle):
            swept = found
            live.update(_progress(swept))
    return calibration_of(swept, {joint: one.id for joint, one in stored.items()})


def _progress(swept: Sweep) -> Table:
    shown = table("", "joint", "lowest", "middle", "highest", "degrees")
    for n, joint in enumerate(JOINTS):
        span = (swept.high[n] - swept.low[n]) * DEG_PER_TICK
        shown.add_row(joint, *(f"{v[n]:.0f}" for v in (swept.low, swept.middle, swept.high)), f"{span:.0f}")
    return shown


class EmulatedPerson(Person):
    """Turns the joints of an emulated arm, as a person would."""

    def __init__(self, scene: Any, file: ArmFile) -> None:
        self._scene = scene
        limits = Kinematics(file.model_path).limits_deg
        self._low, self._high = limits.T
        self._middle = (self._low + self._high) / 2
        self._poses = self._all_poses()

    def _all_poses(self) -> list[np.ndarray]:
        """From the middle to both ends of each joint and back, in small steps."""
        poses: list[np.ndarray] = []
        for n in range(len(JOINTS)):
            if JOINTS[n] == "wrist_roll":
                continue
            for end in (self._low[n], self._high[n], self._middle[n]):
                start = poses[-1] if poses else self._middle
                for share in np.linspace(0.2, 1, 5):
                    pose = self._middle.copy()
                    pose[n] = start[n] + share * (end - start[n])
                    poses.append(pose)
        return poses[::-1]

    def agrees(self, question: str) -> bool:
        return True

    def ready(self, text: str) -> None:
        say(f"(the emulated arm: {text})")
        self._scene.turn_by_hand(self._middle)

    def is_done(self) -> bool:
        if self._poses:
            self._scene.turn_by_hand(self._poses.pop())
        return not self._poses


# ---------------------------------------------------------------- writing


def _compare(file: ArmFile, found: dict[str, JointCalibration]) -> None:
    shown = table("measured, and what the file says", "joint", "offset", "range", "degrees", "file: offset", "range")
    for joint, one in found.items():
        old = file.calibration.get(joint)
        was = (str(old.homing_offset), f"{old.range_min} to {old.range_max}") if old else ("", "")
        new = (str(one.homing_offset), f"{one.range_min} to {one.range_max}", f"{span_deg(one):.0f}")
        shown.add_row(joint, *new, *was)
    Console().print(shown)


def _write(
    bus: ServoBus,
    file: ArmFile,
    path: Path,
    calibration: dict[str, JointCalibration],
    before: dict[str, JointCalibration],
    *,
    into_file: bool,
) -> None:
    if set(calibration) != set(JOINTS):
        raise UserError(
            "the file has no calibration to write", where=str(path), fix="hiltk arm calibrate --write measures one"
        )
    bus.write_calibration(calibration)
    if left := differences(calibration, bus.stored_calibration()):
        raise UserError(f"{', '.join(left)} did not keep it", where=file.port, fix="the same command again")
    changed = differences(before, calibration)
    say(f"written into the servos: {', '.join(changed) or 'nothing that they did not hold already'}")
    if into_file:
        file.calibration = calibration
        save_calibration(file, path)
        say(f"and into {path}; its hash is now {file.hash}: datasets and policies of the old calibration do not fit")
