"""What *my* arm is: ``arms/NAME.yaml``, the one place that names its port, calibration, cameras and limits.

``env=so101 env.arm=NAME`` is its only mention in any command. The file is written by `hiltk arm init` and edited by hand.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from hiltk.arm.model import JOINTS

FOLDER = "arms"
EMULATED_PORT = "emulated"


@dataclass
class JointCalibration:
    """One motor as LeRobot's calibration file describes it, in the servo's ticks (4096 a turn)."""

    id: int = 0
    drive_mode: int = 0
    homing_offset: int = 0
    range_min: int = 0
    range_max: int = 4095


@dataclass
class CameraFile:
    """One camera.

    Attributes:
        type: LeRobot's registered name of its driver: opencv, intelrealsense, a plugin's; ``emulated`` in rehearsals.
        id: stable: /dev/v4l/by-id/..., a serial number; of an emulated one the simulated camera (wrist, front).
        width, height: pixels of a frame as the driver gives it.
        fps: frames per second asked of the camera.
        fourcc: pixel format asked of it, e.g. MJPG.
        exposure: in the driver's own unit; None: automatic.
        crop: [top, left, height, width] in the driver's pixels; empty: the whole frame.
        options: more of the driver's own settings, by its names.
    """

    type: str = "opencv"
    id: str = ""
    width: int = 640
    height: int = 480
    fps: int = 30
    fourcc: str = "MJPG"
    exposure: float | None = None
    crop: list[int] = field(default_factory=list)
    options: dict[str, Any] = field(default_factory=dict)


@dataclass
class SafetyFile:
    """Limits that hold whatever asks the arm to move. Units are in the names.

    Attributes:
        joint_margin_deg: kept from either end of a joint's calibrated range.
        arm_speed_deg_s, wrist_speed_deg_s: of the first three joints and the two of the wrist.
        gripper_speed_s: of 0..100 per second.
        lag_deg, lag_s: a joint this far behind its command for so long has met an obstacle.
        temperature_warn_c, temperature_stop_c: of the hottest servo.
        voltage_drop: share below the voltage seen at the start that is warned of.
        gripper_torque: of 1000, the gripper's Torque_Limit.
    """

    joint_margin_deg: float = 2.0
    arm_speed_deg_s: float = 90.0
    wrist_speed_deg_s: float = 180.0
    gripper_speed_s: float = 200.0
    lag_deg: float = 20.0
    lag_s: float = 0.5
    temperature_warn_c: float = 55.0
    temperature_stop_c: float = 65.0
    voltage_drop: float = 0.1
    gripper_torque: int = 500


@dataclass
class EmulatedFile:
    """How an arm without hardware behaves (``port: emulated``).

    Attributes:
        time: real: a second is a second; fast: simulated time moves only when somebody waits for it.
        seed: of the noise of sag, backlash and faults.
        faults: name to value, as `hiltk.robots.emulated` knows them.
    """

    time: str = "real"
    seed: int = 0
    faults: dict[str, Any] = field(default_factory=dict)


@dataclass
class ArmFile:
    """``arms/NAME.yaml``. Joints are LeRobot's: degrees, gripper 0 (closed) to 100 (open) last; positions in the base frame.

    Attributes:
        name: the file's.
        robot: LeRobot's registered name of the driver.
        port: stable: /dev/serial/by-id/... or /dev/cu.usbmodem...; ``emulated``: no hardware.
        model_path: MJCF or URDF; empty: the built-in SO-101.
        calibration: by joint.
        workspace_low_m, workspace_high_m: box of the end effector, metres. There is no default.
        reset_ee_m, reset_noise_m: where episodes start, and how far around it (uniform, plus or minus).
        park_deg: (6,) joints in which the arm rests without torque.
        gripper_max: widest opening used, of 0..100.
        cameras: by name, as observations call them.
    """

    name: str = ""
    version: int = 1
    robot: str = "so101_follower"
    port: str = ""
    model_path: str = ""
    calibration: dict[str, JointCalibration] = field(default_factory=dict)
    workspace_low_m: list[float] = field(default_factory=list)
    workspace_high_m: list[float] = field(default_factory=list)
    reset_ee_m: list[float] = field(default_factory=list)
    reset_noise_m: list[float] = field(default_factory=lambda: [0.02, 0.02, 0.01])
    park_deg: list[float] = field(default_factory=list)
    gripper_max: float = 50.0
    cameras: dict[str, CameraFile] = field(default_factory=dict)
    safety: SafetyFile = field(default_factory=SafetyFile)
    emulated: EmulatedFile = field(default_factory=EmulatedFile)

    @property
    def is_emulated(self) -> bool:
        return self.port == EMULATED_PORT

    @property
    def calibration_hash(self) -> str:
        """Sixteen hex digits of the calibration alone."""
        return _digest({name: asdict(joint) for name, joint in self.calibration.items()})

    @property
    def hash(self) -> str:
        """Sixteen hex digits of all that changes what is recorded: not of ports and device names, nor of faults."""
        plain = asdict(self)
        for key in ("port", "emulated", "version"):
            plain.pop(key)
        for camera in plain["cameras"].values():
            camera.pop("id")
        return _digest(plain)

    def speeds(self) -> np.ndarray:
        """Fastest motion of each joint (6,): degrees per second, the gripper's of 0..100 per second."""
        safety = self.safety
        return np.array([safety.arm_speed_deg_s] * 3 + [safety.wrist_speed_deg_s] * 2 + [safety.gripper_speed_s])

    def joint_limits(self) -> np.ndarray:
        """Lowest and highest command of each joint (6, 2): the calibrated range less the margin; the gripper 0..100."""
        ranges = [self.calibration[joint] for joint in JOINTS[:-1]]
        half = np.array([(one.range_max - one.range_min) / 2 for one in ranges]) * 360 / 4095
        half -= self.safety.joint_margin_deg
        return np.vstack([np.stack([-half, half], axis=1), [0.0, 100.0]])


def _digest(plain: Any) -> str:
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:16]
