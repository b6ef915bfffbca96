"""`hiltk arm relax`: torque off, motor by motor, once somebody says that the arm is supported."""

from __future__ import annotations

from hiltk.console import say
from hiltk.errors import UserError
from hiltk.robots.arm_file import ArmFile, numbered
from hiltk.robots.arm_store import chosen_arm
from hiltk.robots.keeper import relax
from hiltk.robots.ports import check_port
from hiltk.steps.arm_common import Person, port_of


def run(arm: str, *, port: str, supported: bool) -> None:
    """Switch torque off; works though the arm's file has mistakes, or with a port alone.

    Raises:
        UserError: the port cannot be used, or a motor did not confirm.
        ConfigError: nobody says whether the arm is supported.
    """
    if port:
        check_port(port)
        _relax(ArmFile(name=port, port=port, calibration=numbered()), port, supported)
        return
    file, path = chosen_arm(arm, checked=False)
    with port_of(file, path) as (opened, _):
        _relax(file, opened, supported)


def _relax(file: ArmFile, port: str, supported: bool) -> None:
    if not supported and not Person().agrees("without torque the arm drops: is it parked, or do you hold it?"):
        raise UserError("torque stays on", where=file.name, fix="hold the arm, then the same command again")
    if left := relax(file, port):
        fix = f"the same command again; else its supply off: it is {'' if len(left) < 6 else 'still '}hot and holds"
        raise UserError(f"{', '.join(left)} did not confirm that torque is off", where=port, fix=fix)
    say(f"'{file.name}': torque is off on all six motors")
