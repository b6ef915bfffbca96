"""`hiltk arm home`: to where episodes start and back to the park pose, each verified."""

from __future__ import annotations

import numpy as np
from rich.console import Console

from hiltk.arm.kinematics import Kinematics
from hiltk.arm.model import JOINTS
from hiltk.console import say
from hiltk.robots.arm_file import ArmFile
from hiltk.robots.arm_store import chosen_arm
from hiltk.robots.keeper import ArmClient
from hiltk.steps.arm_common import moving, start_deg, table


def run(arm: str, *, park: bool) -> None:
    """Move the arm, and leave it parked and without torque.

    Args:
        park: straight to the park pose.

    Raises:
        UserError: the arm cannot be driven, or is not where it was sent.
    """
    file, path = chosen_arm(arm)
    with moving(file, path) as (client, _):
        if not park:
            _to_start(file, client)
        say(f"parking '{file.name}'")
        client.park()


def _to_start(file: ArmFile, client: ArmClient) -> None:
    kinematics = Kinematics(file.model_path, file.joint_limits())
    goal = start_deg(file, kinematics)
    say(f"moving '{file.name}' to where episodes start, {np.round(file.reset_ee_m, 3).tolist()} m")
    reading = client.move_to(goal)
    shown = table("", "joint", "sent to", "is at", "off by")
    for name, wanted, found in zip(JOINTS, goal, reading.joints_deg, strict=True):
        shown.add_row(name, f"{wanted:.1f}", f"{found:.1f}", f"{found - wanted:+.1f}")
    Console().print(shown)
    missed = np.linalg.norm(kinematics.forward(reading.joints_deg)[0] - np.array(file.reset_ee_m))
    say(f"the end effector is {1000 * missed:.1f} mm off; some sag is usual, more than 10 mm is not")
