"""LeRobot's calibration file of one arm: what ±100 means in degrees, and by which hash to know the arm again."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hiltk.arm.joints import JOINTS
from hiltk.arm.units import ARM_JOINTS
from hiltk.errors import UserError

DEG_PER_TICK = 360 / 4095  # LeRobot's degrees of an STS3215, whose encoder counts 0..4095
_FIELDS = ("id", "drive_mode", "homing_offset", "range_min", "range_max")


@dataclass(frozen=True)
class Calibration:
    """One arm's calibration.

    Attributes:
        id: the name LeRobot keeps it under (the file's, without ``.json``).
        hash: sixteen hex digits of what it says, whatever the file's layout.
        half_range_deg: (5,) degrees from the middle of an arm joint's range to its end, where LeRobot says ±100.
    """

    id: str
    hash: str
    half_range_deg: np.ndarray

    @staticmethod
    def load(path: str) -> Calibration:
        """Read ``~/.cache/huggingface/lerobot/calibration/robots/<robot>/<id>.json``.

        Raises:
            UserError: the file is missing, or is no calibration of the six motors.
        """
        file = Path(path).expanduser()
        if not file.is_file():
            raise UserError("there is no such calibration file", where=str(file))
        try:
            stored: dict[str, Any] = json.loads(file.read_text())
            motors = {name: {key: int(stored[name][key]) for key in _FIELDS} for name in JOINTS}
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"this is no LeRobot calibration of an SO-101: {error!r}",
                where=str(file),
                fix="`lerobot-calibrate` writes one per robot, under calibration/robots/",
            ) from error
        ranges = np.array([motors[name]["range_max"] - motors[name]["range_min"] for name in JOINTS[:ARM_JOINTS]])
        if (ranges <= 0).any():
            raise UserError("a joint's calibrated range is empty", where=str(file), fix="calibrate the arm again")
        digest = hashlib.sha256(json.dumps(motors, sort_keys=True).encode()).hexdigest()[:16]
        signs = np.array([-1.0 if motors[name]["drive_mode"] else 1.0 for name in JOINTS[:ARM_JOINTS]])
        return Calibration(file.stem, digest, signs * ranges / 2 * DEG_PER_TICK)

    def to_degrees(self, normalized: np.ndarray) -> np.ndarray:
        """Arm joints (..., 5) in LeRobot's ±100 of the calibrated range, as its degrees."""
        return np.asarray(normalized) / 100 * self.half_range_deg


def from_old_zero(arm_deg: np.ndarray) -> np.ndarray:
    """Arm joints (..., 5) of an SO-100 as LeRobot counted them before its calibration changed, as it counts them now.

    Source: LeRobot's documentation, "Backward compatibility" of its pull request 777 (its ``replay.py`` there):
    shoulder_lift is turned round and moved by 90 degrees, elbow_flex moved by 90.
    """
    joints = np.array(arm_deg, dtype=np.float64)
    joints[..., 1], joints[..., 2] = 90 - joints[..., 1], joints[..., 2] - 90
    return joints
