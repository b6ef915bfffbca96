"""`hiltk arm init`: an arm's file from what is plugged in, what LeRobot has stored, and a few answers."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from hiltk.arm.kinematics import Kinematics
from hiltk.arm.model import JOINTS
from hiltk.config.groups import So101SimConf
from hiltk.console import say
from hiltk.errors import ConfigError, UserError, nearest
from hiltk.robots.arm_checks import MODEL_SLACK_DEG, mistakes, shrunk_box
from hiltk.robots.arm_file import ArmFile, CameraFile, JointCalibration, numbered
from hiltk.robots.arm_store import arm_path, save_arm_file
from hiltk.robots.camera_probe import probe
from hiltk.robots.ports import CameraDevice, camera_devices, check_cameras, check_port, serial_ports

NO_ANSWER = "nobody answers here: --yes takes every proposal, --port and --camera say the rest"


@dataclass
class Dialogue:
    """Questions with a proposal each.

    Attributes:
        yes: take the proposals.
    """

    yes: bool
    read: Callable[[str], str] = field(default=input)

    def ask(self, question: str, proposal: str) -> str:
        """The answer, or the proposal where it is empty.

        Raises:
            ConfigError: nobody is there to answer.
        """
        if self.yes:
            say(f"{question}: {proposal or 'none'}")
            return proposal
        if not sys.stdin.isatty() and self.read is input:
            raise ConfigError(f"there is a question: {question}", fix=NO_ANSWER)
        try:
            return self.read(f"{question} [{proposal}]: ").strip() or proposal
        except EOFError:
            raise ConfigError(f"there is a question: {question}", fix=NO_ANSWER) from None


def run(name: str, *, emulated: bool, port: str, cameras: list[str], yes: bool) -> None:
    """Write ``arms/NAME.yaml``.

    Raises:
        UserError: it exists; a port or camera cannot be used.
        ConfigError: options contradict, or a question has no answer.
    """
    path = arm_path(name)
    if path.exists():
        fix = f"edit it, choose another name, or move it away: mv {path} {path}.old"
        raise UserError(f"there is an arm '{path.stem}' already", where=str(path.absolute()), fix=fix)
    if emulated and (port or cameras):
        raise ConfigError(
            "an emulated arm has neither port nor cameras of its own", where="--emulated", fix="leave them out"
        )
    if emulated:
        from hiltk.robots.emulated.rehearsal import rehearsal_file

        arm = rehearsal_file(path.stem)
    else:
        arm = measured(path.stem, port, cameras, Dialogue(yes))
    save_arm_file(arm, path)
    say(f"{path}: {len(arm.calibration)} joints, cameras {', '.join(arm.cameras) or 'none'}, hash {arm.hash}")
    for mistake in mistakes(arm):
        say(f"  still to do: {mistake}")
    say(f"read it, then: hiltk arm check {path.stem}")


def measured(name: str, port: str, cameras: list[str], dialogue: Dialogue) -> ArmFile:
    """The file of an arm on the desk."""
    arm = ArmFile(name=name, port=port or _port(dialogue))
    check_port(arm.port)
    arm.calibration = _calibration(arm, dialogue)
    arm.cameras = _cameras(cameras, dialogue)
    _places(arm, dialogue)
    return arm


# ---------------------------------------------------------------- port


def _port(dialogue: Dialogue) -> str:
    found = [port for port in serial_ports() if port.adapter]
    if not found:
        fix = "plug in its USB cable, or say --port; `hiltk doctor` lists ports; --emulated needs no hardware"
        raise UserError("no servo board is plugged in", fix=fix)
    for number, port in enumerate(found, start=1):
        say(f"  {number}: {port.path}  {port.about}")
    if len(found) > 1 and dialogue.yes:
        raise ConfigError(
            "there are several servo boards", where=", ".join(p.path for p in found), fix="--port says which"
        )
    if len(found) > 1:
        say("unplug the follower's USB cable and run `hiltk doctor` to see which of them goes")
    answer = dialogue.ask("which port is the follower's", "1")
    if answer.isdigit() and 1 <= int(answer) <= len(found):
        return found[int(answer) - 1].path
    return answer


# ---------------------------------------------------------------- calibration


def _calibration(arm: ArmFile, dialogue: Dialogue) -> dict[str, JointCalibration]:
    """What the servos hold, which is what LeRobot's driver goes by; else what LeRobot has stored; else nothing."""
    stored = lerobots_calibrations()
    in_servos = _in_servos(arm)
    for name, calibration in stored.items():
        if calibration == in_servos:
            say(f"calibration: the servos hold what LeRobot has stored as '{name}'")
            return calibration
    if in_servos and _is_calibrated(in_servos):
        say("calibration: read from the servos; no file of LeRobot's has the same")
        return in_servos
    if not stored:
        say(f"calibration: none yet; `hiltk arm calibrate {arm.name} --write` makes one")
        return {}
    names = list(stored)
    say(f"calibration: the servos hold none; LeRobot has stored: {', '.join(names)}")
    answer = dialogue.ask(
        "which of them is this arm's (none: calibrate later)", names[0] if len(names) == 1 else "none"
    )
    if answer == "none":
        return {}
    if answer not in stored:
        raise ConfigError(
            f"there is no calibration '{answer}'", fix=nearest(answer, names) or f"one of {', '.join(names)}"
        )
    return stored[answer]


def _is_calibrated(calibration: Mapping[str, JointCalibration]) -> bool:
    """Servos come with the whole turn as their range; of the six only the wrist's roll keeps it."""
    return sum(c.range_max - c.range_min < 4095 for c in calibration.values()) >= 5


def _in_servos(arm: ArmFile) -> dict[str, JointCalibration]:
    """Empty where they cannot be read; that is said."""
    from hiltk.robots.bus import ServoBus

    bus = ServoBus(ArmFile(name=arm.name, port=arm.port, calibration=numbered()), lambda: arm.port)
    try:
        bus.open(checks=False)
        return bus.stored_calibration()
    except UserError as error:
        say(f"calibration: the servos cannot be read: {error.what}; `hiltk arm scan --port {arm.port}` says more")
        return {}
    finally:
        bus.close()


def lerobots_calibrations(folder: Path | None = None) -> dict[str, dict[str, JointCalibration]]:
    """Calibrations of SO-100 and SO-101 followers that LeRobot has stored, by the id it was given."""
    if folder is None:
        home = os.environ.get("HF_LEROBOT_HOME") or Path(os.environ.get("HF_HOME", "~/.cache/huggingface")) / "lerobot"
        folder = Path(os.environ.get("HF_LEROBOT_CALIBRATION") or Path(home) / "calibration").expanduser()
    found = {}
    for kind in ("so_follower", "so101_follower", "so100_follower"):
        for file in sorted((folder / "robots" / kind).glob("*.json")):
            try:
                plain: dict[str, dict[str, Any]] = json.loads(file.read_text())
                found[file.stem] = {joint: JointCalibration(**plain[joint]) for joint in JOINTS}
            except (OSError, ValueError, KeyError, TypeError):
                say(f"calibration: {file} cannot be read, or is another robot's")
    return found


# ---------------------------------------------------------------- cameras


def _cameras(given: list[str], dialogue: Dialogue) -> dict[str, CameraFile]:
    chosen: dict[str, str] = {}
    for word in given:
        name, equals, id = word.partition("=")
        if not (name and equals and id):
            raise ConfigError(
                f"'{word}' names no camera", where="--camera", fix="NAME=ID, e.g. wrist=/dev/v4l/by-id/..."
            )
        chosen[name] = id
    if not given:
        chosen = _chosen(camera_devices(), dialogue)
    files = {name: CameraFile(id=id) for name, id in chosen.items()}
    check_cameras(files)
    for name, file in files.items():
        found = probe(name, file)
        file.width, file.height, file.fps, file.fourcc = found.width, found.height, found.fps, found.fourcc
        side = min(file.height, file.width)
        file.crop = [(file.height - side) // 2, (file.width - side) // 2, side, side]
        said = f"{found.width} x {found.height} at {found.fps} Hz {found.fourcc}, measured {found.measured_fps:.1f} Hz"
        say(f"camera '{name}': {said}; exposure is automatic: fix it once the light is as it will be")
    return files


def _chosen(devices: list[CameraDevice], dialogue: Dialogue) -> dict[str, str]:
    """A name for each camera; an empty one leaves it out."""
    proposals = ["wrist", "front", *(f"camera{n}" for n in range(3, 3 + len(devices)))]
    chosen: dict[str, str] = {}
    for device in devices:
        proposal = next(p for p in proposals if p not in chosen)
        name = dialogue.ask(f"{device.id} ({device.about}): its name (none: leave it out)", proposal)
        if name != "none":
            chosen[name] = device.id
    return chosen


# ---------------------------------------------------------------- places


def _places(arm: ArmFile, dialogue: Dialogue) -> None:
    """Workspace, reset and park pose, within what this arm's joints reach."""
    sim = So101SimConf()
    limits = arm.joint_limits() if arm.calibration else None
    kinematics = Kinematics(arm.model_path, limits)
    low, high = shrunk_box(sim.workspace_low_m, sim.workspace_high_m, sim.reset_ee_m, kinematics)
    say("workspace: x forward, y left, z up from the base's foot; keeping table and obstacles out of it is yours")
    arm.workspace_low_m = _numbers(dialogue.ask("lowest x y z in metres", _words(low)))
    arm.workspace_high_m = _numbers(dialogue.ask("highest x y z in metres", _words(high)))
    arm.reset_ee_m, arm.reset_noise_m = list(sim.reset_ee_m), list(sim.reset_noise_m)
    arm.park_deg = _park(arm, dialogue)
    if limits is not None:
        inside = (limits - Kinematics(arm.model_path).limits_deg)[:4, 0]  # of the others nobody needs the whole range
        narrow = [joint for joint, degrees in zip(JOINTS, inside, strict=False) if degrees > MODEL_SLACK_DEG]
        if narrow:
            say(f"{', '.join(narrow)}: moves much less than a SO-101's; was it swept from stop to stop?")


def _park(arm: ArmFile, dialogue: Dialogue) -> list[float]:
    """Where the arm lies now, where it holds no torque; else as in rehearsals."""
    from hiltk.robots.emulated.rehearsal import PARK_DEG

    proposal = np.array(PARK_DEG)
    if arm.calibration:
        here = _resting(arm)
        low, high = arm.joint_limits().T
        proposal = np.clip(proposal if here is None else here, low + 0.1, high - 0.1).round(1)
        if here is not None:
            say("park pose: where the arm lies now, which it does without torque")
    return _numbers(dialogue.ask("park pose, degrees of six joints", _words(proposal)), 6)


def _resting(arm: ArmFile) -> np.ndarray | None:
    """Joints (6,) of an arm that holds no torque; None of one that does, or does not answer."""
    from hiltk.robots.bus import ServoBus

    bus = ServoBus(arm, lambda: arm.port)
    try:
        bus.open(checks=False)
        return None if bus.torque().any() else bus.read().joints_deg
    except UserError:
        return None
    finally:
        bus.close()


def _words(values: Any) -> str:
    return " ".join(f"{value:g}" for value in np.round(values, 3))


def _numbers(text: str, count: int = 3) -> list[float]:
    try:
        values = [float(word) for word in text.replace(",", " ").strip("[]").split()]
    except ValueError:
        values = []
    if len(values) != count:
        raise ConfigError(f"'{text}' is not {count} numbers", fix="with spaces between, as proposed")
    return values
