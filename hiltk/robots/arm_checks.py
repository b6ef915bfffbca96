"""What cannot be meant in an arm's file, although it can be read: each mistake with its key and what to type."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from hiltk.arm.control import MAX_LEAD_M
from hiltk.arm.kinematics import Kinematics
from hiltk.arm.model import JOINTS
from hiltk.arm.poses import READY_DEG, WRIST_ROLL_DEG
from hiltk.errors import HiltkError, nearest
from hiltk.robots.arm_file import EMULATED_PORT, FEETECH_ROBOTS, ArmFile, CameraFile, JointCalibration, SafetyFile
from hiltk.robots.arm_yaml import Mistake
from hiltk.robots.emulated.faults import fault_values
from hiltk.spec import ImageSpec, is_inside

TICKS = 4096  # of a turn
MAX_OFFSET = 2047  # that the servo can store
REACH_TOLERANCE_M = MAX_LEAD_M  # what the control lets a target be ahead of the joints
MODEL_SLACK_DEG = 15.0  # a real joint's swept range and the model's limits are not the same to the degree
MAX_TEMPERATURE_C = 70.0  # above it the servo switches itself off


def mistakes(arm: ArmFile) -> list[Mistake]:
    """All of them; the lines are for whoever read the file to add."""
    found = [*_port(arm), *_calibration(arm), *_numbers(arm), *_cameras(arm), *_safety(arm.safety), *_emulated(arm)]
    # Poses mean something once there are joints and a box.
    return found or [*_poses(arm)]


def _port(arm: ArmFile) -> Iterator[Mistake]:
    if not arm.port:
        yield Mistake("port", "there is none", "`hiltk doctor` lists them; emulated: no hardware")
    if arm.model_path and not Path(arm.model_path).is_file():
        yield Mistake("model_path", f"there is no file {arm.model_path}", "'': the built-in SO-101")


# ---------------------------------------------------------------- calibration


def _calibration(arm: ArmFile) -> Iterator[Mistake]:
    if not arm.calibration:
        fix = f"`hiltk arm calibrate {arm.name} --write` measures it"
        yield Mistake("calibration", "there is none", fix)
        return
    if arm.robot in FEETECH_ROBOTS:
        for name in arm.calibration:
            if name not in JOINTS:
                fix = nearest(name, JOINTS) or f"they are: {', '.join(JOINTS)}"
                yield Mistake(f"calibration.{name}", "there is no such joint", fix)
        for name in JOINTS:
            if name not in arm.calibration:
                yield Mistake("calibration", f"the joint {name} is missing", "`hiltk arm calibrate` measures all six")
    ids: dict[int, str] = {}
    for name, joint in arm.calibration.items():
        yield from _joint(f"calibration.{name}", joint)
        if joint.id in ids:
            yield Mistake(
                f"calibration.{name}", f"id {joint.id} is {ids[joint.id]}'s already", "each servo has its own"
            )
        ids[joint.id] = name


def _joint(key: str, joint: JointCalibration) -> Iterator[Mistake]:
    low, high = joint.range_min, joint.range_max
    if not 0 <= joint.id <= 253:
        yield Mistake(key, f"id {joint.id} is none a servo can have", "1 to 6 on a SO-101")
    if joint.drive_mode not in (0, 1):
        yield Mistake(key, f"drive_mode {joint.drive_mode} is neither 0 nor 1")
    if abs(joint.homing_offset) > MAX_OFFSET:
        fix = "calibrate again with this joint near its middle when asked"
        yield Mistake(key, f"homing_offset {joint.homing_offset} is beyond {MAX_OFFSET}", fix)
    if not (0 <= low < TICKS and 0 <= high < TICKS):
        yield Mistake(key, f"the range {low} to {high} is not within 0 to {TICKS - 1}")
    elif low >= high:
        fix = "range_min is the smaller one; a joint that passed its zero in the sweep is calibrated again"
        yield Mistake(key, f"the range {low} to {high} is empty", fix)


# ---------------------------------------------------------------- numbers


def _numbers(arm: ArmFile) -> Iterator[Mistake]:
    for key, about in (
        ("workspace_low_m", "lowest x, y and z"),
        ("workspace_high_m", "highest x, y and z"),
        ("reset_ee_m", "x, y and z where episodes start"),
        ("reset_noise_m", "how far around it along x, y and z"),
    ):
        values = getattr(arm, key)
        if not values:
            fix = f"write {about} in metres, e.g. {_example(key)}: measure them on your table"
            yield Mistake(key, "there is none, and no default that is safe on every table", fix)
        elif len(values) != 3:
            yield Mistake(key, f"{_count(values)} instead of 3", about)
        elif any(abs(value) > 1 for value in values):
            yield Mistake(key, f"{values} is more than a metre away", "are these centimetres or millimetres?")
    low, high = arm.workspace_low_m, arm.workspace_high_m
    if len(low) == len(high) == 3:
        for axis, lo, hi in zip("xyz", low, high, strict=True):
            if lo >= hi:
                yield Mistake("workspace_low_m", f"{axis}: {lo:g} is not below {hi:g} of workspace_high_m")
    if any(noise < 0 for noise in arm.reset_noise_m):
        yield Mistake("reset_noise_m", f"{arm.reset_noise_m} must not be negative", "0: always the same place")
    joints = len(arm.calibration) or len(JOINTS)
    if not arm.park_deg:
        yield Mistake(
            "park_deg", "there is none", f"`hiltk arm init {arm.name}` proposes one; it must rest there by itself"
        )
    elif len(arm.park_deg) != joints:
        yield Mistake("park_deg", f"{_count(arm.park_deg)} instead of {joints}", f"in the order {', '.join(JOINTS)}")
    if not 0 < arm.gripper_max <= 100:
        yield Mistake("gripper_max", f"{arm.gripper_max:g} is not above 0 and up to 100")


def _example(key: str) -> str:
    return {"workspace_low_m": "[0.12, -0.16, 0.01]", "workspace_high_m": "[0.36, 0.16, 0.22]"}.get(
        key, "[0.2, 0.0, 0.09]" if key == "reset_ee_m" else "[0.02, 0.02, 0.01]"
    )


def _count(values: Sequence[object]) -> str:
    return f"{len(values)} number{'s' * (len(values) != 1)}"


def _safety(safety: SafetyFile) -> Iterator[Mistake]:
    for key, most in (
        ("arm_speed_deg_s", 270.0),
        ("wrist_speed_deg_s", 270.0),
        ("gripper_speed_s", 1000.0),
        ("lag_deg", 90.0),
        ("lag_s", 5.0),
    ):
        value = getattr(safety, key)
        if not 0 < value <= most:
            yield Mistake(f"safety.{key}", f"{value:g} is not above 0 and up to {most:g}", _why(key))
    if not 0 <= safety.joint_margin_deg <= 45:
        yield Mistake("safety.joint_margin_deg", f"{safety.joint_margin_deg:g} is not from 0 to 45")
    if not 0 < safety.voltage_drop < 1:
        yield Mistake("safety.voltage_drop", f"{safety.voltage_drop:g} is no share between 0 and 1", "0.1: a tenth")
    if not 1 <= safety.gripper_torque <= 1000:
        yield Mistake("safety.gripper_torque", f"{safety.gripper_torque} is not from 1 to 1000", "500 is LeRobot's")
    warn, stop = safety.temperature_warn_c, safety.temperature_stop_c
    if not warn < stop <= MAX_TEMPERATURE_C:
        yield Mistake(
            "safety.temperature_stop_c",
            f"{stop:g} is not above temperature_warn_c ({warn:g}) and up to {MAX_TEMPERATURE_C:g}",
            "servos burn above 70 C; 55 and 65 are the defaults",
        )


def _why(key: str) -> str:
    return "no STS3215 turns faster" if key in ("arm_speed_deg_s", "wrist_speed_deg_s") else ""


def _emulated(arm: ArmFile) -> Iterator[Mistake]:
    if arm.emulated.time not in ("real", "fast"):
        yield Mistake("emulated.time", f"'{arm.emulated.time}' is neither real nor fast")
    for name, values in arm.emulated.faults.items():
        try:
            fault_values(name, values)
        except HiltkError as error:
            yield Mistake("emulated.faults", error.what, error.fix)


# ---------------------------------------------------------------- cameras


def _cameras(arm: ArmFile) -> Iterator[Mistake]:
    seen: dict[str, str] = {}
    for name, camera in arm.cameras.items():
        key = f"cameras.{name}"
        if not re.fullmatch(r"[A-Za-z0-9_-]+", name):
            yield Mistake(key, "this cannot be a camera's name", "use letters, digits, '_' and '-'")
        yield from _camera(key, camera, emulated=arm.is_emulated)
        if camera.id and camera.id in seen:
            fix = "`hiltk doctor` lists the cameras; two of one model differ by /dev/v4l/by-path/..."
            yield Mistake(f"{key}.id", f"{camera.id} is camera '{seen[camera.id]}' already", fix)
        seen.setdefault(camera.id, name)


def _camera(key: str, camera: CameraFile, *, emulated: bool) -> Iterator[Mistake]:
    if not camera.id:
        yield Mistake(f"{key}.id", "there is none", "`hiltk doctor` lists the cameras")
    if emulated != (camera.type == EMULATED_PORT):
        other = "an emulated arm has emulated cameras" if emulated else "the arm on the desk has none that are emulated"
        yield Mistake(f"{key}.type", f"'{camera.type}': {other}")
    for size in ("width", "height", "fps"):
        if getattr(camera, size) < 1:
            yield Mistake(f"{key}.{size}", f"{getattr(camera, size)} must be at least 1")
    if camera.fourcc and len(camera.fourcc) != 4:
        yield Mistake(f"{key}.fourcc", f"'{camera.fourcc}' is not four letters", "MJPG, YUYV; '': the driver's choice")
    if not camera.crop:
        return
    frame = f"the frame of {camera.height} x {camera.width}"
    if len(camera.crop) != 4:
        yield Mistake(f"{key}.crop", f"{_count(camera.crop)} instead of 4", "[top, left, height, width]")
        return
    if not is_inside(ImageSpec(native_height=camera.height, native_width=camera.width, crop=list(camera.crop))):
        yield Mistake(
            f"{key}.crop", f"{camera.crop} does not lie in {frame}", "[top, left, height, width] in its pixels"
        )


# ---------------------------------------------------------------- poses


def _poses(arm: ArmFile) -> Iterator[Mistake]:
    if arm.robot not in FEETECH_ROBOTS:
        return  # of another arm hiltk knows neither the limits' meaning nor a pose to start from
    limits = arm.joint_limits()
    for name, value, (low, high) in zip(JOINTS, arm.park_deg, limits, strict=True):
        if not low <= value <= high:
            fix = "the joint's calibrated range less safety.joint_margin_deg"
            yield Mistake("park_deg", f"{name}: {value:g} is not within {low:.0f} to {high:.0f}", fix)
    low, high = np.array(arm.workspace_low_m), np.array(arm.workspace_high_m)
    reset, noise = np.array(arm.reset_ee_m), np.array(arm.reset_noise_m)
    outside = [axis for axis, ok in zip("xyz", (reset - noise >= low) & (reset + noise <= high), strict=True) if not ok]
    if outside:
        fix = "move it further in, or make reset_noise_m smaller"
        yield Mistake("reset_ee_m", f"with its noise it leaves the workspace along {', '.join(outside)}", fix)
    try:
        model = Kinematics(arm.model_path).limits_deg
    except HiltkError as error:
        yield Mistake("model_path", error.what)
        return
    if unlike := [*_model(limits, model)]:
        yield from unlike
        return
    yield from _reach(arm, Kinematics(arm.model_path, limits))


def _model(limits: np.ndarray, model: np.ndarray) -> Iterator[Mistake]:
    """Angles that no SO-101 has say that the calibration is another arm's, or that its zero is not the middle."""
    for name, (low, high), (least, most) in zip(JOINTS[:4], limits, model, strict=False):
        if low < least - MODEL_SLACK_DEG or high > most + MODEL_SLACK_DEG:
            what = f"{low:.0f} to {high:.0f} degrees; the arm's model goes from {least:.0f} to {most:.0f}"
            yield Mistake(f"calibration.{name}", what, "calibrate again: sweep the joint from stop to stop, once")


def _reach(arm: ArmFile, kinematics: Kinematics) -> Iterator[Mistake]:
    """Corners of the workspace that the arm cannot reach: there it would stand still and episodes would fail."""
    corners = itertools.product(*zip(arm.workspace_low_m, arm.workspace_high_m, strict=True))
    off = [(distance, corner) for corner in corners if (distance := miss_m(kinematics, corner)) > REACH_TOLERANCE_M]
    if off:
        worst, corner = max(off)
        what = f"{len(off)} of its 8 corners cannot be reached, {_point(corner)} by {1000 * worst:.0f} mm"
        yield Mistake("workspace_high_m", what, f"a box that can: {_box_text(arm, kinematics)}")
    if (missed := miss_m(kinematics, arm.reset_ee_m)) > REACH_TOLERANCE_M:
        yield Mistake("reset_ee_m", f"it cannot be reached, by {1000 * missed:.0f} mm", "closer to the base, or lower")


def miss_m(kinematics: Kinematics, target_m: Iterable[float]) -> float:
    """How far from a place (3,) the end effector stays, metres."""
    target = np.array([*target_m])
    joints = kinematics.settled(READY_DEG, target, WRIST_ROLL_DEG, tries=4)
    return float(np.linalg.norm(kinematics.forward(joints)[0] - target))


def shrunk_box(
    low_m: Sequence[float], high_m: Sequence[float], heart_m: Sequence[float], kinematics: Kinematics
) -> tuple[list[float], list[float]]:
    """The largest box that the arm reaches among those which shrink evenly towards a place (3,) inside."""
    low, high, heart = (np.array(one, dtype=float) for one in (low_m, high_m, heart_m))
    for share in np.linspace(0, 0.95, 20):
        box = low + share * (heart - low), high + share * (heart - high)
        if all(miss_m(kinematics, c) <= REACH_TOLERANCE_M for c in itertools.product(*zip(*box, strict=True))):
            break
    return [float(round(v, 3)) for v in box[0]], [float(round(v, 3)) for v in box[1]]


def _box_text(arm: ArmFile, kinematics: Kinematics) -> str:
    low, high = shrunk_box(arm.workspace_low_m, arm.workspace_high_m, arm.reset_ee_m, kinematics)
    return f"workspace_low_m: {low}, workspace_high_m: {high}"


def _point(corner: Iterable[float]) -> str:
    return f"[{', '.join(f'{v:g}' for v in corner)}]"
