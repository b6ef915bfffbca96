"""Which driver an arm has: the servos' own bus, or another robot that LeRobot knows, by its joints alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from hiltk.arm.model import JOINTS
from hiltk.errors import UserError, nearest
from hiltk.robots.arm_file import FEETECH_ROBOTS, ArmFile
from hiltk.robots.bus import Bus, BusError, Reading, ServoBus
from hiltk.robots.clock import Clock, WallClock


class LeRobotBus:
    """Another registered robot of LeRobot's with the same joints: positions alone, no registers.

    Args:
        arm: its driver's name, port and name.
    """

    def __init__(self, arm: ArmFile, clock: Clock | None = None) -> None:
        self.arm, self.clock = arm, clock or WallClock()
        self.failures: Counter[str] = Counter()
        self.reads = 0
        self._robot: Any = None
        self._goal: np.ndarray | None = None
        self._on = False

    def open(self, *, checks: bool = True) -> None:
        from lerobot.robots import RobotConfig, make_robot_from_config
        from lerobot.utils.import_utils import register_third_party_plugins

        register_third_party_plugins()
        known = RobotConfig.get_known_choices()
        if self.arm.robot not in known:
            raise UserError(
                f"LeRobot knows no robot '{self.arm.robot}'",
                where=f"robot: of arm '{self.arm.name}'",
                fix=nearest(self.arm.robot, known) or f"one of {', '.join(sorted(known))}",
            )
        try:
            robot = make_robot_from_config(known[self.arm.robot](port=self.arm.port, id=self.arm.name))
        except Exception as error:
            raise UserError(
                f"LeRobot cannot make this robot of a port and a name alone: {error}", where=f"robot: {self.arm.robot}"
            ) from error
        missing = [joint for joint in JOINTS if f"{joint}.pos" not in robot.action_features]
        if missing:
            raise UserError(
                f"this robot has no joint {missing[0]}; hiltk drives arms with the SO-101's six joints",
                where=f"robot: {self.arm.robot}",
            )
        try:
            robot.connect(calibrate=False)
        except Exception as error:
            raise UserError(f"the robot's driver cannot connect: {error}", where=self.arm.port) from error
        self._robot = robot

    def read(self) -> Reading:
        self.reads += 1
        try:
            found = self._robot.get_observation()
        except Exception as error:
            raise BusError(f"the robot's driver cannot read: {error}", where=self.arm.port) from error
        nothing = np.full(6, np.nan)
        joints = np.array([found[f"{joint}.pos"] for joint in JOINTS], dtype=np.float64)
        zero = np.zeros(6, dtype=int)
        return Reading(joints, self.clock.now(), nothing, nothing, nothing, nothing, nothing, zero, zero.astype(bool))

    def goals(self) -> np.ndarray:
        return self.read().joints_deg if self._goal is None else self._goal

    def torque(self) -> np.ndarray:
        return np.full(6, self._on)

    def write_goals(self, joints_deg: ArrayLike) -> None:
        goal = np.asarray(joints_deg, dtype=np.float64)
        try:
            self._robot.send_action({f"{joint}.pos": float(v) for joint, v in zip(JOINTS, goal, strict=True)})
        except Exception as error:
            raise BusError(f"the robot's driver cannot write: {error}", where=self.arm.port) from error
        self._goal = goal

    def torque_on(self, joint: str) -> None:
        """Such drivers switch torque by themselves."""
        self._on = True

    def limit(self, torque: ArrayLike, speed: ArrayLike) -> None:
        """Such drivers have no registers."""

    def relax(self) -> list[str]:
        """``disconnect()`` is all there is."""
        robot, self._robot, self._on = self._robot, None, False
        if robot is None:
            return []
        try:
            robot.disconnect()
        except Exception:
            return list(JOINTS)
        return []

    def silent(self) -> list[str]:
        return []

    @property
    def is_open(self) -> bool:
        return self._robot is not None

    def close(self) -> None:
        self.relax()


def make_bus(arm: ArmFile, port: Callable[[], str], clock: Clock) -> Bus:
    """The bus of an arm: with registers where the driver is the SO-101's, without them otherwise."""
    if arm.robot in FEETECH_ROBOTS:
        return ServoBus(arm, port, clock)
    return LeRobotBus(arm, clock)
