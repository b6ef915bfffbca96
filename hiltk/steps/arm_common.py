"""What the commands of the arm share: which port it has, its emulator, the person beside it, tables."""

from __future__ import annotations

import select
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from hiltk.arm.kinematics import Kinematics
from hiltk.arm.poses import READY_DEG, WRIST_ROLL_DEG
from hiltk.console import say
from hiltk.errors import ConfigError, UserError
from hiltk.interrupts import Terminated
from hiltk.robots.arm_file import ArmFile
from hiltk.robots.keeper import ArmClient
from hiltk.robots.ports import check_port


@contextmanager
def port_of(arm: ArmFile, path: Path) -> Iterator[tuple[str, Any]]:
    """The port to open, and of an emulated arm its `EmulatedArm`, which is started; None of one on the desk.

    Raises:
        UserError: the port cannot be used.
    """
    if not arm.is_emulated:
        check_port(arm.port)
    with emulator_of(arm, path) as emulator:
        yield emulator.port if emulator else arm.port, emulator


@contextmanager
def emulator_of(arm: ArmFile, path: Path) -> Iterator[Any]:
    """The `EmulatedArm` of an emulated arm, which its cameras need; None of one on the desk, whose port may be left."""
    if not arm.is_emulated:
        yield None
        return
    from hiltk.robots.emulated.client import start_emulator

    with start_emulator(arm, path) as emulator:
        yield emulator


def start_deg(file: ArmFile, kinematics: Kinematics) -> np.ndarray:
    """Joints (6,) with the end effector where episodes start."""
    joints = kinematics.settled(READY_DEG, np.array(file.reset_ee_m), WRIST_ROLL_DEG, tries=10)
    return np.append(joints[:5], min(joints[5], file.gripper_max))


@contextmanager
def moving(arm: ArmFile, path: Path) -> Iterator[tuple[ArmClient, Any]]:
    """The arm under its keeper, with its emulator where it has one; parked and without torque in the end.

    Ctrl-C freezes it where it is, with torque on: whoever pressed it may have had a reason. Other signals park it.

    Raises:
        UserError: the arm cannot be driven, or was left holding.
    """
    with port_of(arm, path) as (_, emulator):
        client = ArmClient(arm, path, emulator)
        try:
            yield client, emulator
        except KeyboardInterrupt as error:
            if not isinstance(error, Terminated):
                client.stop()
                way = f"`hiltk arm home {arm.name} --park` brings it down, `hiltk arm relax {arm.name}` lets go"
                say(f"'{arm.name}' holds where it is, with torque on: {way}")
            raise
        finally:
            left = client.close()
            for finding in client.findings:
                say(f"{finding.code}: {finding.what}")
        if left:
            raise UserError(left[0].what, where=left[0].where, fix=left[0].fix)


class Person:
    """Who sits beside the arm and answers at the terminal."""

    def agrees(self, question: str) -> bool:
        """Whether the answer begins with y.

        Raises:
            ConfigError: nobody is there to answer.
        """
        return self._read(f"{question} [y/N] ").strip().lower().startswith("y")

    def ready(self, text: str) -> None:
        """Wait for Enter."""
        self._read(f"{text}, then press Enter ")

    def is_done(self) -> bool:
        """Whether Enter was pressed meanwhile."""
        pressed = bool(select.select([sys.stdin], [], [], 0)[0])
        if pressed:
            sys.stdin.readline()
        return pressed

    def _read(self, question: str) -> str:
        if not sys.stdin.isatty():
            fix = "answer at a terminal; --supported says that the arm is held"
            raise ConfigError(f"there is a question, and nobody answers here: {question.strip()}", fix=fix)
        return input(question)


def table(title: str, *columns: str) -> Table:
    """Numbers to the right, the first column to the left."""
    made = Table(title=title or None, title_justify="left", box=None, padding=(0, 2, 0, 0))
    for n, column in enumerate(columns):
        made.add_column(column, justify="left" if n == 0 else "right", no_wrap=True)
    return made
