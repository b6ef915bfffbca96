"""A robot that LeRobot does not bring: its name, and the module beside its config, are where LeRobot looks for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lerobot.robots import Robot, RobotConfig

from hiltk.arm.model import JOINTS

made: list[OtherArm] = []


@RobotConfig.register_subclass("other_arm")
@dataclass
class OtherArmConfig(RobotConfig):  # type: ignore[misc]
    port: str = ""


class OtherArm(Robot):  # type: ignore[misc]
    """Joints that are where they were sent."""

    config_class, name = OtherArmConfig, "other_arm"
    is_calibrated = True

    def __init__(self, config: OtherArmConfig) -> None:
        self.port, self.at, self.is_open = config.port, dict.fromkeys(JOINTS, 1.0), False
        made.append(self)

    @property
    def observation_features(self) -> dict[str, Any]:
        return {f"{joint}.pos": float for joint in JOINTS}

    @property
    def action_features(self) -> dict[str, Any]:
        return self.observation_features

    @property
    def is_connected(self) -> bool:
        return self.is_open

    def connect(self, calibrate: bool = True) -> None:
        assert not calibrate
        self.is_open = True

    def calibrate(self) -> None: ...

    def configure(self) -> None: ...

    def get_observation(self) -> dict[str, float]:
        return {f"{joint}.pos": value for joint, value in self.at.items()}

    def send_action(self, action: dict[str, float]) -> dict[str, float]:
        self.at = {key.removesuffix(".pos"): value for key, value in action.items()}
        return action

    def disconnect(self) -> None:
        self.is_open = False
