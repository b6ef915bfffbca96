"""What *my* arm is: ``arms/NAME.yaml``, the one place that names its port, calibration, cameras and limits.

``env=so101 env.arm=NAME`` is its only mention in any command. `hiltk arm init` writes the file, people edit it.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from hiltk.arm.calibration import DEG_PER_TICK
from hiltk.arm.joints import JOINTS
from hiltk.config.setting import setting
from hiltk.formats import ARM
from hiltk.robots.arm_yaml import NOT_STORED

EMULATED_PORT = "emulated"
FEETECH_ROBOTS = ("so101_follower", "so100_follower")  # LeRobot's names of arms with servos that hiltk knows


@dataclass
class JointCalibration:
    """One motor as LeRobot's calibration file describes it, in the servo's ticks (4096 a turn)."""

    id: int = setting(0, "of the servo on the bus")
    drive_mode: int = setting(0, "1: turned round")
    homing_offset: int = setting(0, "that the servo takes from what its encoder says")
    range_min: int = setting(0, "one end of the joint")
    range_max: int = setting(4095, "the other; the middle between them is 0 degrees")


@dataclass
class CameraFile:
    """One camera."""

    type: str = setting(
        "opencv", "LeRobot's registered name of its driver: opencv, intelrealsense, a plugin's; emulated in rehearsals"
    )
    id: str = setting(
        "",
        "which one: /dev/v4l/by-id/... (two of one model: /dev/v4l/by-path/...), a serial number; on macOS its unique "
        "id; of an emulated one the simulated camera, wrist or front. `hiltk doctor` lists them",
    )
    width: int = setting(640, "pixels of a frame as the driver gives it")
    height: int = setting(480)
    fps: int = setting(30, "frames per second asked of the camera; it has to give exactly these")
    fourcc: str = setting(
        "MJPG", "pixel format asked of it; MJPG: three cameras fit one USB bus; empty: the driver's own choice"
    )
    exposure: float | None = setting(
        None, "in the driver's own unit, fixed; null: automatic, which changes pictures, and the rate in a dim room"
    )
    crop: list[int] = setting([], "[top, left, height, width] in the driver's pixels; []: the whole frame")
    options: dict[str, Any] = setting({}, "more of the driver's own settings, by LeRobot's names")


@dataclass
class SafetyFile:
    """Limits that hold whatever asks the arm to move."""

    joint_margin_deg: float = setting(2.0, "kept from either end of a joint's calibrated range")
    arm_speed_deg_s: float = setting(90.0, "fastest motion of shoulder and elbow")
    wrist_speed_deg_s: float = setting(180.0, "of the two joints of the wrist")
    gripper_speed_s: float = setting(200.0, "of the gripper, of 0..100 a second")
    lag_deg: float = setting(20.0, "a joint this far behind its command ...")
    lag_s: float = setting(0.5, "... for so long has met an obstacle: the arm stops")
    temperature_warn_c: float = setting(55.0, "of the hottest servo")
    temperature_stop_c: float = setting(65.0, "the arm parks")
    voltage_drop: float = setting(0.1, "share below the voltage at the start that is warned of")
    gripper_torque: int = setting(500, "of 1000: the gripper's Torque_Limit; more burns it when it holds for long")


@dataclass
class EmulatedFile:
    """How an arm without hardware behaves (``port: emulated``)."""

    time: str = setting(
        "real", "a second is a second; fast: time moves only when somebody waits for it", choices=("real", "fast")
    )
    seed: int = setting(0, "of which answers a fault hits that hits a share of them")
    usb_ms: float = setting(1.0, "milliseconds an answer takes through the adapter, in real time")
    faults: dict[str, Any] = setting(
        {}, "faults to rehearse, e.g. {backlash: 0.5, silent: gripper}; a wrong name is answered with all of them"
    )


@dataclass
class ArmFile:
    """``arms/NAME.yaml``.

    Joints are LeRobot's: degrees, gripper 0 (closed) to 100 (open) last; positions are in the base frame. What a field
    means, with its unit, stands in its declaration; the file repeats it as comments.

    Attributes:
        name: the file's, without its suffix; it is not written into it.
    """

    name: str = field(default="", metadata=NOT_STORED)
    version: int = setting(ARM.version, "of this kind of file")
    robot: str = setting("so101_follower", "LeRobot's registered name of the driver")
    port: str = setting(
        "",
        "one that stays the same: /dev/serial/by-id/..., on macOS /dev/cu.usbmodem...; emulated: no hardware. "
        "`hiltk doctor` lists them",
    )
    model_path: str = setting("", "MJCF or URDF of the arm; empty: the built-in SO-101")
    calibration: dict[str, JointCalibration] = setting(
        {}, "by joint, in the servo's ticks (4096 a turn), as LeRobot's own file; from `hiltk arm calibrate --write`"
    )
    workspace_low_m: list[float] = setting(
        [], "box in which the end effector may be: x forward, y left, z up from the base, metres. There is no default"
    )
    workspace_high_m: list[float] = setting([])
    reset_ee_m: list[float] = setting([], "where episodes start, inside the box")
    reset_noise_m: list[float] = setting([0.02, 0.02, 0.01], "how far around it, plus or minus")
    park_deg: list[float] = setting(
        [], "pose in which the arm rests without torque: degrees of the joints in the order above, gripper 0..100"
    )
    gripper_max: float = setting(50.0, "widest opening used, of 0..100")
    cameras: dict[str, CameraFile] = setting({}, "by name, as datasets and policies call them")
    safety: SafetyFile = setting(SafetyFile(), "limits that hold whatever asks the arm to move")
    emulated: EmulatedFile = setting(EmulatedFile(), "how an arm without hardware behaves (port: emulated)")

    @property
    def is_emulated(self) -> bool:
        return self.port == EMULATED_PORT

    @property
    def is_simulated_time(self) -> bool:
        """Whether its seconds pass only while somebody waits: then silence, jitter and bytes take none."""
        return self.is_emulated and self.emulated.time == "fast"

    @property
    def calibration_hash(self) -> str:
        """Sixteen hex digits of the calibration alone."""
        return _digest({name: asdict(joint) for name, joint in self.calibration.items()})

    @property
    def hash(self) -> str:
        """Sixteen hex digits of all that changes what is recorded: not of names, ports and files' places, nor of
        faults and what is only warned of."""
        plain = asdict(self)
        for key in ("name", "version", "port", "model_path", "emulated"):
            plain.pop(key)
        for key in ("temperature_warn_c", "temperature_stop_c", "voltage_drop"):
            plain["safety"].pop(key)
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
        half = np.array([(one.range_max - one.range_min) / 2 for one in ranges]) * DEG_PER_TICK
        half -= self.safety.joint_margin_deg
        return np.vstack([np.stack([-half, half], axis=1), [0.0, 100.0]])


def numbered() -> dict[str, JointCalibration]:
    """Servos as LeRobot numbers them from the base on, of an arm that is not calibrated yet."""
    return {joint: JointCalibration(id=number) for number, joint in enumerate(JOINTS, start=1)}


def _digest(plain: Any) -> str:
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:16]
