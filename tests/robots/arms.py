"""An arm's file as a person with a finished SO-101 would have it."""

from __future__ import annotations

from hiltk.arm.model import JOINTS
from hiltk.robots.arm_file import ArmFile, CameraFile, JointCalibration

PORT = "/dev/serial/by-id/usb-1a86_USB_Single_Serial_5A46083062-if00"
RANGES = [(750, 3345), (820, 3240), (890, 3110), (860, 3200), (0, 4095), (2030, 3500)]  # ticks


def desk_arm() -> ArmFile:
    """All six joints, two cameras, the simulated arm's box and reset pose."""
    joints = {
        name: JointCalibration(number, 0, 40 * number, *ticks)
        for number, (name, ticks) in enumerate(zip(JOINTS, RANGES, strict=True), start=1)
    }
    return ArmFile(
        name="desk",
        port=PORT,
        calibration=joints,
        workspace_low_m=[0.12, -0.16, 0.008],
        workspace_high_m=[0.36, 0.16, 0.22],
        reset_ee_m=[0.2, 0.0, 0.09],
        park_deg=[0.0, -100.0, 90.0, 70.0, 0.0, 5.0],
        cameras={
            "wrist": CameraFile(id="/dev/v4l/by-id/usb-wrist-video-index0", crop=[0, 80, 480, 480], exposure=156.0),
            "front": CameraFile(id="0001234", type="intelrealsense", options={"use_depth": False}),
        },
    )
