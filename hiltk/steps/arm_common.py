"""What the commands of the arm share: which arm, on which port, its emulator where it has one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.table import Table

from hiltk.robots.arm_file import ArmFile
from hiltk.robots.ports import check_port


@contextmanager
def port_of(arm: ArmFile, path: Path) -> Iterator[tuple[str, Any]]:
    """The port to open, and of an emulated arm its `EmulatedArm`, which is started; None of one on the desk.

    Raises:
        UserError: the port cannot be used.
    """
    if arm.is_emulated:
        from hiltk.robots.emulated.client import start_emulator

        with start_emulator(arm, path) as emulator:
            yield emulator.port, emulator
    else:
        check_port(arm.port)
        yield arm.port, None


def table(title: str, *columns: str) -> Table:
    """Numbers to the right, the first column to the left."""
    made = Table(title=title, title_justify="left", box=None, padding=(0, 2, 0, 0))
    for n, column in enumerate(columns):
        made.add_column(column, justify="left" if n == 0 else "right", no_wrap=True)
    return made
