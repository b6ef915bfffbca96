"""LeRobot's own driver on an emulated port."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from hiltk.arm.model import JOINTS
from hiltk.robots.arm_file import ArmFile

FLAT_DEG = np.array([20.0, -30.0, 40.0, 70.0, 90.0, 40.0])  # in front of the base, clear of the table


def driver(port: str, arm: ArmFile, folder: Path, **options: Any) -> Any:
    """LeRobot's SO101Follower with the calibration of the arm file, not connected."""
    from lerobot.robots.so_follower import SO101Follower, SO101FollowerConfig

    calibration = {joint: asdict(one) for joint, one in arm.calibration.items()}
    (folder / f"{arm.name}.json").write_text(json.dumps(calibration))
    return SO101Follower(SO101FollowerConfig(port=port, id=arm.name, calibration_dir=folder, **options))


def cured(robot: Any) -> Any:
    """With the input cleared before each packet: without, what an answer's lateness leaves behind is read for ever."""
    handler = robot.bus.port_handler
    handler.clearPort = lambda: handler.ser.reset_input_buffer()
    return robot


def connected(port: str, arm: ArmFile, folder: Path) -> Any:
    robot = cured(driver(port, arm, folder))
    for left in (2, 1, 0):  # on a busy machine one of its hundred packets may time out
        try:
            robot.connect(calibrate=False)
            return robot
        except ConnectionError:
            robot.bus.port_handler.closePort()
            if not left:
                raise
    return robot


def goals(joints_deg: np.ndarray) -> dict[str, float]:
    return {f"{joint}.pos": float(angle) for joint, angle in zip(JOINTS, joints_deg, strict=True)}


def degrees(observation: dict[str, Any]) -> np.ndarray:
    return np.array([observation[f"{joint}.pos"] for joint in JOINTS])
