"""`hiltk arm check`: an arm against its file by numbers: servos, calibration, cameras, a centimetre along each axis."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
from rich.console import Console

from hiltk.arm.kinematics import Kinematics
from hiltk.arm.model import JOINTS
from hiltk.arm.poses import WRIST_ROLL_DEG
from hiltk.console import say
from hiltk.errors import UserError
from hiltk.robots.arm_file import FEETECH_ROBOTS, ArmFile
from hiltk.robots.arm_store import chosen_arm
from hiltk.robots.bus import Reading, ServoBus, status_words
from hiltk.robots.calibration import differences
from hiltk.robots.cameras import Cameras, Picture, image_spec
from hiltk.robots.ports import check_cameras
from hiltk.robots.views import Reference, page, trained_on
from hiltk.steps.arm_common import emulator_of, moving, port_of, start_deg, table

STEP_M = 0.01
LEAST_M, ASIDE_M = 0.006, 0.004  # along the axis, and across it: less or more is no sag or play
LOOK_S = 1.5
SLOW = 0.9  # share of the rate that a camera promised
Problems = list[str]


def run(arm: str, *, root: str, still: bool, classifier: str, size: int) -> None:
    """Print what was found, and end with an error where something is not as the file says.

    Args:
        still: without the moves.
        classifier: whose training pictures to put beside the cameras' own.
        size: pixels of what networks see, where no classifier says it.

    Raises:
        UserError: something cannot be used, or was found wrong.
    """
    file, path = chosen_arm(arm)
    references = trained_on(classifier, root) if classifier else {}
    problems: Problems = []
    if file.robot in FEETECH_ROBOTS:
        with port_of(file, path) as (port, _):
            _servos(file, port, problems)
    else:
        say(f"{file.robot} has no registers that hiltk could read")
    check_cameras(file.cameras)
    _cameras(file, path, references, Path(root), size, problems)
    if problems or still:
        say("the arm was not moved" + ("" if still else ", for what was found before"))
    else:
        _moves(file, path, problems)
    if problems:
        count = f"{len(problems)} things are" if len(problems) > 1 else "one thing is"
        raise UserError(f"{count} not as {path} says", where="\n         ".join(problems))
    say(f"'{file.name}' is as its file says; hash {file.hash}")


# ---------------------------------------------------------------- servos


def _servos(file: ArmFile, port: str, problems: Problems) -> None:
    bus = ServoBus(file, lambda: port)
    bus.open(checks=False)
    try:
        if silent := bus.silent():
            what = f"{', '.join(silent)} {'do' if len(silent) > 1 else 'does'} not answer"
            problems.append(f"{what}: `hiltk arm scan {file.name}` says more")
            return
        reading = bus.read()
        _show(reading, file, problems)
        if reading.status.any():
            say("the calibration is not compared: the driver reads no register of a servo that reports an error")
            return
        stored = bus.stored_calibration()
    finally:
        bus.close()
    shown = table("calibration in the servos", "joint", "offset", "lowest", "highest")
    unlike = differences(file.calibration, stored)
    for joint, one in stored.items():
        other = {name: wanted for name, wanted, _ in unlike.get(joint, [])}
        cells = ("homing_offset", "range_min", "range_max")
        shown.add_row(joint, *(f"{getattr(one, c)}" + (f", file {other[c]}" if c in other else "") for c in cells))
    Console().print(shown)
    for joint, fields in unlike.items():
        numbers = ", ".join(f"{name} {servo} in the servo, {wanted} in the file" for name, wanted, servo in fields)
        fix = f"another arm? else `hiltk arm calibrate {file.name} --write-calibration`"
        problems.append(f"calibration of {joint}: {numbers}; {fix}")


def _show(reading: Reading, file: ArmFile, problems: Problems) -> None:
    shown = table("", "joint", "at", "V", "°C", "load", "mA", "status")
    for n, joint in enumerate(JOINTS):
        status = int(reading.status[n])
        unit = "%" if joint == "gripper" else "°"
        shown.add_row(
            joint,
            f"{reading.joints_deg[n]:.1f} {unit}",
            f"{reading.voltage_v[n]:.1f}",
            f"{reading.temperature_c[n]:.0f}",
            f"{100 * reading.load[n]:.0f} %",
            f"{reading.current_ma[n]:.0f}",
            status_words(status) if status else "ok",
        )
        if status:
            problems.append(f"{joint} reports {status_words(status)}: cool it, free it, then its supply off and on")
        if reading.temperature_c[n] >= file.safety.temperature_warn_c:
            problems.append(f"{joint} has {reading.temperature_c[n]:.0f} °C: let it rest")
    Console().print(shown)


# ---------------------------------------------------------------- cameras


def _cameras(
    file: ArmFile, path: Path, references: dict[str, Reference], root: Path, size: int, problems: Problems
) -> None:
    if not file.cameras:
        say("the file names no cameras")
        return
    images = {
        name: references[name].image if name in references else image_spec(name, one, size, size)
        for name, one in file.cameras.items()
    }
    with emulator_of(file, path) as emulator, Cameras(file, list(file.cameras), emulator) as cameras:
        pictures, rates, ages = _watched(cameras)
        exposures = cameras.exposures()
    fast = file.is_simulated_time
    shown = table("cameras", "camera", "frame", "asked", "comes at", "age", "exposure", "light")
    for name, one in file.cameras.items():
        frame = pictures[name].image
        rate = "as time does" if fast else f"{rates[name]:.1f} Hz"
        age = f"{1000 * np.median(ages[name]):.0f} to {1000 * max(ages[name]):.0f} ms"
        light = f"{frame.mean():.0f}"
        shown.add_row(name, f"{frame.shape[1]} x {frame.shape[0]}", f"{one.fps} Hz", rate, age, exposures[name], light)
        if not fast and rates[name] < SLOW * one.fps:
            fix = "more light or a fixed exposure, fourcc: MJPG, another USB socket, or say the rate it has"
            problems.append(f"camera {name} gives {rates[name]:.1f} frames a second, not {one.fps}: {fix}")
        if frame.shape[:2] != (one.height, one.width):
            problems.append(f"camera {name} gives {frame.shape[1]} x {frame.shape[0]}, not {one.width} x {one.height}")
    Console().print(shown)
    for name, reference in references.items():
        if name not in file.cameras:
            problems.append(f"the classifier looks through '{name}', which this arm has not")
        else:
            own = image_spec(name, file.cameras[name], reference.image.height, reference.image.width)
            problems += reference.differences(own)
    live = {name: picture.image for name, picture in pictures.items()}
    written = page(root / "checks" / f"{file.name}.png", file, live, images, references)
    say(
        f"{written}: what each camera gives, what networks see of it"
        + (", beside the classifier's" if references else "")
    )


def _watched(cameras: Cameras) -> tuple[dict[str, Picture], dict[str, float], dict[str, list[float]]]:
    """The last picture of each camera, new ones a second, and how old they were, seconds."""
    pictures = cameras.read()
    count, ages = dict.fromkeys(pictures, 0), {name: [picture.age_s] for name, picture in pictures.items()}
    begun = time.monotonic()
    while (passed := time.monotonic() - begun) < LOOK_S:
        time.sleep(0.002)
        pictures = cameras.read()
        for name, picture in pictures.items():
            count[name] += not picture.repeated
            ages[name].append(picture.age_s)
    return pictures, {name: n / passed for name, n in count.items()}, ages


# ---------------------------------------------------------------- moves


def _moves(file: ArmFile, path: Path, problems: Problems) -> None:
    """A centimetre along each axis and back, as the joints say it afterwards."""
    kinematics = Kinematics(file.model_path, file.joint_limits())
    start = start_deg(file, kinematics)
    say(f"moving '{file.name}' to where episodes start, then a centimetre forward, left and up; Ctrl-C stops it")
    shown = table("asked for 10 mm", "along", "it went", "aside", "worst joint")
    with moving(file, path) as (client, _):
        for axis, name in enumerate(("x, forward", "y, left", "z, up")):
            here = kinematics.forward(client.move_to(start).joints_deg)[0]
            goal = kinematics.inverse(start, kinematics.forward(start)[0] + STEP_M * np.eye(3)[axis], WRIST_ROLL_DEG)
            reading = client.move_to(goal)
            moved = kinematics.forward(reading.joints_deg)[0] - here
            aside = float(np.linalg.norm(np.delete(moved, axis)))
            off = reading.joints_deg[:5] - goal[:5]
            worst = int(np.abs(off).argmax())
            numbers = (f"{1000 * moved[axis]:.1f} mm", f"{1000 * aside:.1f} mm", f"{JOINTS[worst]} {off[worst]:+.1f} °")
            shown.add_row(name, *numbers)
            if moved[axis] < LEAST_M or aside > ASIDE_M:
                problems.append(
                    f"{name}: 10 mm were asked for, it went {numbers[0]} and {numbers[1]} aside ({numbers[2]})"
                )
        Console().print(shown)
        say("did it go forward, left and up? If not, its calibration is another arm's, or it stands turned round")
