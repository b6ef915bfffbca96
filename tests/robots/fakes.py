"""A bus of numbers alone, for what safety decides; what servos do is emulated in `hiltk.robots.emulated`."""

from __future__ import annotations

from collections import Counter

import numpy as np
from numpy.typing import ArrayLike

from hiltk.arm.model import JOINTS
from hiltk.robots.arm_file import ArmFile, JointCalibration
from hiltk.robots.bus import BusError, Reading

PARK = [0.0, -90.0, 90.0, 60.0, 90.0, 10.0]
READY = [0.0, -30.0, 30.0, 80.0, 90.0, 40.0]  # inside the workspace, pointing down


def small_arm(**values: object) -> ArmFile:
    """An SO-101 whose joints turn by 200 degrees (2275 ticks), wrist roll by 360."""
    calibration = {joint: JointCalibration(k + 1, 0, 0, 910, 3185) for k, joint in enumerate(JOINTS)}
    calibration["wrist_roll"] = JointCalibration(5, 0, 0, 0, 4095)
    arm = ArmFile(
        name="small",
        port="/dev/none",
        calibration=calibration,
        workspace_low_m=[0.12, -0.16, 0.008],
        workspace_high_m=[0.36, 0.16, 0.22],
        reset_ee_m=[0.2, 0.0, 0.09],
        park_deg=list(PARK),
    )
    for name, value in values.items():
        setattr(arm, name, value)
    return arm


class Ticks:
    """Simulated seconds of one process."""

    def __init__(self) -> None:
        self.time = 100.0

    def now(self) -> float:
        return self.time

    def sleep_until(self, due: float) -> None:
        self.time = max(self.time, due)


class FakeBus:
    """Joints that are at once where they are sent, unless a test holds them."""

    def __init__(self, clock: Ticks, joints_deg: ArrayLike = READY) -> None:
        self.clock, self.at = clock, np.array(joints_deg, dtype=float)
        self.failures: Counter[str] = Counter()
        self.reads = 0
        self.goal = self.at.copy()
        self.on = np.zeros(6, dtype=bool)
        self.held = np.zeros(6, dtype=bool)
        self.failing = 0  # reads that fail from here on
        self.celsius, self.volts, self.milliamperes = np.full(6, 30.0), np.full(6, 12.0), np.zeros(6)
        self.load, self.status = np.zeros(6), np.zeros(6, dtype=int)
        self.sent: list[np.ndarray] = []
        self.limits: list[tuple[np.ndarray, np.ndarray]] = []
        self.is_open = True

    def open(self, *, checks: bool = True) -> None:
        self.is_open = True

    def read(self) -> Reading:
        self.reads += 1
        if self.failing:
            self.failing -= 1
            raise BusError("no answer")
        return Reading(
            joints_deg=self.at.copy(),
            stamp_s=self.clock.now(),
            speed_deg_s=np.zeros(6),
            load=self.load,
            voltage_v=self.volts.copy(),
            temperature_c=self.celsius.copy(),
            current_ma=self.milliamperes,
            status=self.status.copy(),
            moving=np.zeros(6, dtype=bool),
        )

    def goals(self) -> np.ndarray:
        return self.goal.copy()

    def torque(self) -> np.ndarray:
        return self.on.copy()

    def write_goals(self, joints_deg: ArrayLike) -> None:
        self.goal = np.array(joints_deg, dtype=float)
        self.sent.append(self.goal)
        self.at = np.where(self.held | ~self.on, self.at, self.goal)

    def torque_on(self, joint: str) -> None:
        k = JOINTS.index(joint)
        self.on[k], self.goal[k] = True, self.at[k]

    def limit(self, torque: ArrayLike, speed: ArrayLike) -> None:
        self.limits.append((np.array(torque), np.array(speed)))

    def relax(self) -> list[str]:
        self.on[:] = False
        return []

    def silent(self) -> list[str]:
        return []

    def close(self) -> None:
        self.is_open = False
