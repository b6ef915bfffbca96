"""The arm file of an arm without hardware."""

from __future__ import annotations

from hiltk.arm.model import JOINTS, WRIST_CAMERA
from hiltk.config.groups import So101SimConf
from hiltk.robots.arm_file import EMULATED_PORT, ArmFile, CameraFile
from hiltk.robots.emulated.client import CAMERA_TYPE

# Folded over the base, the finger tips 2 cm above the table; without torque it sinks until they rest on it.
PARK_DEG = [0.0, -98.0, 82.0, 80.0, 90.0, 10.0]
HEIGHT, WIDTH = 96, 128  # of frames: wider than high, as a camera's are; the crop is the square in the middle


def rehearsal_file(name: str) -> ArmFile:
    """A complete file of an emulated arm, calibrated as its servos are, in the workspace of ``env=so101_sim``."""
    import numpy as np

    from hiltk.arm.model import load_arm
    from hiltk.robots.emulated.machine import calibration_of
    from hiltk.sim.scene import FRONT_CAMERA

    model, sim = load_arm().compile(), So101SimConf()
    crop = [0, (WIDTH - HEIGHT) // 2, HEIGHT, HEIGHT]
    return ArmFile(
        name=name,
        port=EMULATED_PORT,
        calibration=calibration_of(np.array([model.joint(joint).range for joint in JOINTS])),
        workspace_low_m=list(sim.workspace_low_m),
        workspace_high_m=list(sim.workspace_high_m),
        reset_ee_m=list(sim.reset_ee_m),
        reset_noise_m=list(sim.reset_noise_m),
        park_deg=list(PARK_DEG),
        gripper_max=sim.gripper_max,
        cameras={
            camera: CameraFile(CAMERA_TYPE, camera, WIDTH, HEIGHT, fps=30, fourcc="", crop=crop)
            for camera in (WRIST_CAMERA, FRONT_CAMERA)
        },
    )
