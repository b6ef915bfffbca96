"""`hiltk arm`: the whole command line against an emulated arm, and what is refused before there is one."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
import serial
from typer.testing import CliRunner, Result

from hiltk import cli
from hiltk.artifacts.store import image_folder
from hiltk.diagnostics.pictures import from_folder
from hiltk.errors import UserError
from hiltk.robots import ports
from hiltk.robots.arm_file import ArmFile, JointCalibration
from hiltk.robots.arm_store import load_arm_file
from hiltk.robots.camera_probe import Probed
from hiltk.robots.cameras import image_spec
from hiltk.robots.emulated.client import EmulatedArm, start_emulator
from hiltk.robots.keeper import ArmClient
from hiltk.robots.scan import Servo, scan
from hiltk.robots.snaps import cameras_of
from hiltk.robots.views import Reference, page, trained_on
from hiltk.spec import Spec
from hiltk.steps import arm_home, arm_init, arm_scan
from tests import rails as artifacts
from tests.conftest import START_DEG
from tests.robots.arms import PORT, desk_arm


def hiltk(*words: str) -> Result:
    return CliRunner().invoke(cli.app, list(words), terminal_width=120)


def refused(*words: str, code: int = 1) -> str:
    result = hiltk(*words)
    assert result.exit_code == code and "Traceback" not in result.output, result.output
    return " ".join(result.output.split())


@pytest.fixture(scope="module")
def rehearsal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, EmulatedArm]]:
    """A folder with one emulated arm, in time that passes only while somebody waits."""
    folder = tmp_path_factory.mktemp("desk")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert hiltk("arm", "init", "rehearsal", "--emulated").exit_code == 0
        file = Path("arms/rehearsal.yaml")
        file.write_text(file.read_text().replace("time: real", "time: fast"))
        arm = load_arm_file("rehearsal")
        with start_emulator(arm, file) as emulator:
            yield folder, emulator
            emulator.stop()


@pytest.fixture
def emulator(rehearsal: tuple[Path, EmulatedArm], monkeypatch: pytest.MonkeyPatch) -> Iterator[EmulatedArm]:
    monkeypatch.chdir(rehearsal[0])
    yield rehearsal[1]
    rehearsal[1].clear_faults()


# ---------------------------------------------------------------- init


def test_a_file_is_never_overwritten(emulator: EmulatedArm) -> None:
    assert "there is an arm 'rehearsal' already" in refused("arm", "init", "rehearsal", "--emulated")
    assert "cannot be the name of an arm" in refused("arm", "init", "my arm", "--emulated")
    assert "neither port nor cameras" in refused("arm", "init", "x", "--emulated", "--port", "/dev/null", code=2)


@pytest.fixture
def plugged_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Any]:
    """A board and two cameras, as far as anybody looks; what the servos hold can be set."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_LEROBOT_CALIBRATION", str(tmp_path / "calibration"))
    servos: dict[str, Any] = {"calibration": {}, "boards": [ports.SerialPort(PORT, "/dev/ttyACM0", "CH343", True)]}
    devices = [ports.CameraDevice(f"/dev/v4l/by-id/{name}", f"/dev/{name}", name) for name in ("C920", "IMX")]
    monkeypatch.setattr(arm_init, "serial_ports", lambda: servos["boards"])
    monkeypatch.setattr(arm_init, "camera_devices", lambda: devices)
    for check in ("check_port", "check_cameras"):
        monkeypatch.setattr(arm_init, check, lambda _: None)
    monkeypatch.setattr(arm_init, "probe", lambda *_: Probed(640, 480, 30, "MJPG", 29.9))
    monkeypatch.setattr(arm_init, "_in_servos", lambda _: servos["calibration"])
    monkeypatch.setattr(arm_init, "_resting", lambda _: None)
    return servos


def stored(name: str, calibration: dict[str, JointCalibration]) -> None:
    file = Path("calibration/robots/so_follower") / f"{name}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({joint: asdict(one) for joint, one in calibration.items()}))


def test_everything_proposed_is_a_file_without_mistakes(plugged_in: dict[str, Any]) -> None:
    plugged_in["calibration"] = desk_arm().calibration
    stored("black", desk_arm().calibration)
    result = hiltk("arm", "init", "desk", "--yes")
    assert result.exit_code == 0, result.output
    assert "still to do" not in result.output and "the servos hold what LeRobot has stored as 'black'" in result.output
    arm = load_arm_file("desk")
    assert (arm.port, arm.calibration) == (PORT, desk_arm().calibration)
    assert {name: (c.id, c.crop) for name, c in arm.cameras.items()} == {
        "wrist": ("/dev/v4l/by-id/C920", [0, 80, 480, 480]),
        "front": ("/dev/v4l/by-id/IMX", [0, 80, 480, 480]),
    }


def test_a_joint_that_was_not_swept_is_named(plugged_in: dict[str, Any]) -> None:
    plugged_in["calibration"] = desk_arm().calibration | {"elbow_flex": JointCalibration(3, 0, 0, 1500, 2600)}
    said = hiltk("arm", "init", "desk", "--yes").output
    assert "elbow_flex: moves much less than a SO-101's" in said
    plugged_in["calibration"] = desk_arm().calibration
    assert "moves much less" not in hiltk("arm", "init", "other", "--yes").output


def test_the_servos_of_an_arm_without_a_file_are_read(emulator: EmulatedArm) -> None:
    found = arm_init._in_servos(ArmFile(name="new", port=emulator.port))
    assert found == load_arm_file("rehearsal").calibration


def test_without_a_calibration_the_file_says_what_is_left_to_do(plugged_in: dict[str, Any]) -> None:
    result = hiltk("arm", "init", "desk", "--yes", "--camera", "top=/dev/video9")
    assert result.exit_code == 0, result.output
    assert "calibration: there is none; `hiltk arm calibrate desk --write`" in " ".join(result.output.split())
    assert [*load_arm_file("desk", checked=False).cameras] == ["top"]


def test_several_boards_and_questions_nobody_answers_are_refused(plugged_in: dict[str, Any]) -> None:
    assert "--yes takes every proposal" in refused("arm", "init", "desk", code=2)
    plugged_in["boards"] *= 2
    assert "there are several servo boards" in refused("arm", "init", "desk", "--yes", code=2)
    plugged_in["boards"] = []
    assert "no servo board is plugged in" in refused("arm", "init", "desk", "--yes")
    assert "names no camera" in refused("arm", "init", "desk", "--yes", "--port", PORT, "--camera", "wrist", code=2)
    assert not Path("arms").exists()


def test_answers_count(plugged_in: dict[str, Any]) -> None:
    stored("black", desk_arm().calibration)
    stored("white", {j: replace(c, homing_offset=7) for j, c in desk_arm().calibration.items()})
    answers = iter(["", "white", "none", "top", "", "0.3 0.1 0.2", ""])
    arm = arm_init.measured("desk", "", [], arm_init.Dialogue(yes=False, read=lambda _: next(answers)))
    assert arm.calibration["gripper"].homing_offset == 7
    assert [*arm.cameras] == ["top"] and arm.workspace_high_m == [0.3, 0.1, 0.2]


# ---------------------------------------------------------------- scan


def test_servos_are_listed_in_whatever_state(emulator: EmulatedArm) -> None:
    emulator.fault("overload", joint="gripper")
    emulator.fault("silent", joint="elbow_flex")
    emulator.fault("firmware", joint="wrist_roll", minor=9)
    result = hiltk("arm", "scan", "rehearsal")
    said = " ".join(result.output.split())
    assert result.exit_code == 0, result.output
    assert "id 3 does not answer: look at the cable from id 2 to it" in said
    assert "firmware is mixed (3.10: 1, 2, 4, 6; 3.9: 5)" in said
    assert "id 6 reports overload" in said
    assert "STS3215" in said and "12.0" in said


def test_a_port_is_looked_at_at_all_speeds_unless_another_program_has_it(
    emulator: EmulatedArm, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lerobot.motors.feetech import tables

    monkeypatch.setitem(tables.MODEL_BAUDRATE_TABLE, "sts3215", {1_000_000: 0, 500_000: 1})
    found = [*scan(emulator.port)]
    assert [(one.id, one.model, one.baud) for one in found] == [(n, 777, 1_000_000) for n in range(1, 7)]
    with serial.Serial(emulator.port, exclusive=True):
        assert "another program drives the arm on this port" in refused("arm", "scan", "--port", emulator.port)


def servo(**other: Any) -> Servo:
    return replace(Servo(1, 1_000_000, 777, "3.10", 2048, 12.0, 30, 0.0, False, 0), **other)


def test_what_keeps_servos_from_being_an_arm_is_said() -> None:
    six = [servo(id=n) for n in range(1, 7)]
    assert [*arm_scan.remarks(six)] == []
    assert [*arm_scan.remarks([servo(id=1)])] == []  # one at a time, as ids are set
    said = "\n".join(arm_scan.remarks([*six[1:], servo(id=9, baud=115_200, model=2825, voltage_v=4.9)]))
    for remark in (
        "id 1 does not answer: look at the cable from the board",
        "id 9 is none of this arm's",
        "id 9 is no STS3215 (model 2825)",
        "id 9 talks at 115200 baud",
        "id 9 has 4.9 V: is the supply plugged in",
    ):
        assert remark in said


def test_a_port_that_cannot_be_used_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(arm_scan, "serial_ports", list)
    assert "no servo board is plugged in" in refused("arm", "scan")
    assert "there is no such port" in refused("arm", "scan", "--port", "/dev/serial/by-id/gone")
    assert "this is no serial port" in refused("arm", "scan", "--port", "/dev/null")
    assert "there is no arm 'desk'" in refused("arm", "scan", "desk")


# ---------------------------------------------------------------- calibrate, relax, home


def test_a_calibration_is_written_only_when_that_is_asked(emulator: EmulatedArm) -> None:
    path = Path("arms/rehearsal.yaml")
    before = path.read_text()
    path.write_text(before + "# my own words\n")
    result = hiltk("arm", "calibrate", "rehearsal")
    assert result.exit_code == 0 and "nothing was written" in result.output, result.output
    assert path.read_text() == before + "# my own words\n"
    old = load_arm_file("rehearsal").calibration
    result = hiltk("arm", "calibrate", "rehearsal", "--write")
    assert result.exit_code == 0, result.output
    new = load_arm_file("rehearsal").calibration
    for joint, one in new.items():
        assert abs(one.range_max - old[joint].range_max) <= 4 and one.id == old[joint].id
    assert new["wrist_roll"].homing_offset != old["wrist_roll"].homing_offset  # its middle is where it was held
    text = path.read_text()
    assert text.endswith("# my own words\n") and text.count("#") == before.count("#") + 1
    path.write_text(before)
    said = hiltk("arm", "calibrate", "rehearsal", "--write-calibration").output
    assert "written into the servos: " in said and "wrist_roll" in said
    assert load_arm_file("rehearsal").calibration == old
    assert "one of them" in refused("arm", "calibrate", "rehearsal", "--write", "--write-calibration", code=2)


def test_the_arm_goes_where_episodes_start_lies_down_and_lets_go_once_held(emulator: EmulatedArm) -> None:
    result = hiltk("arm", "home", "rehearsal")
    assert result.exit_code == 0, result.output
    assert float(result.output.split("the end effector is ")[1].split()[0]) < 5
    assert not emulator.scene.state().torque.any()
    assert emulator.scene.state().joints_deg[:4] == pytest.approx(load_arm_file("rehearsal").park_deg[:4], abs=8)
    assert "is it parked, or do you hold it?" in refused("arm", "relax", "rehearsal", code=2)
    emulator.fault("overload", joint="gripper")
    assert "torque is off on all six motors" in hiltk("arm", "relax", "rehearsal", "--supported").output
    emulator.fault("silent", joint="wrist_flex")
    assert "wrist_flex did not confirm that torque is off" in refused("arm", "relax", "rehearsal", "--supported")


@pytest.mark.slow
def test_ctrl_c_freezes_the_arm_and_another_command_brings_it_down(
    emulator: EmulatedArm, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(file: ArmFile, client: ArmClient) -> None:
        client.move_to(START_DEG)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(arm_home, "_to_start", interrupted)
        said = refused("arm", "home", "rehearsal", code=130)
    assert "'rehearsal' holds where it is, with torque on: `hiltk arm home rehearsal --park` brings it down" in said
    state = emulator.scene.state()
    assert state.torque.all() and state.joints_deg[:5] == pytest.approx(START_DEG[:5], abs=3)
    result = hiltk("arm", "home", "rehearsal", "--park")
    assert result.exit_code == 0, result.output
    assert not emulator.scene.state().torque.any()


def test_relaxing_works_though_the_file_has_mistakes(emulator: EmulatedArm) -> None:
    path = Path("arms/rehearsal.yaml")
    before = path.read_text()
    path.write_text(before.replace("workspace_low_m: [0.12", "workspace_low_m: [0.62"))
    try:
        assert "is not below" in refused("arm", "home", "rehearsal")
        assert "torque is off" in hiltk("arm", "relax", "rehearsal", "--supported").output
    finally:
        path.write_text(before)


# ---------------------------------------------------------------- check


def test_an_arm_that_is_as_its_file_says_is_moved_a_centimetre(emulator: EmulatedArm, tmp_path: Path) -> None:
    result = hiltk("arm", "check", "rehearsal", f"root={tmp_path}")
    assert result.exit_code == 0, result.output
    for axis in ("x, forward", "y, left", "z, up"):
        went, aside = re.findall(rf"{axis} +([\d.]+) mm +([\d.]+) mm", result.output)[0]
        assert 8 < float(went) < 12 and float(aside) < 2
    assert not emulator.scene.state().torque.any()
    assert cv2.imread(str(tmp_path / "checks/rehearsal.png")).shape[2] == 3


def test_what_is_not_as_the_file_says_is_told_by_joint_and_numbers(emulator: EmulatedArm, tmp_path: Path) -> None:
    emulator.fault("calibration", joint="elbow_flex", ticks=100)
    emulator.fault("temperature", joint="gripper", celsius=60)
    before = emulator.scene.state().joints_deg
    said = refused("arm", "check", f"root={tmp_path}")
    file = load_arm_file("rehearsal").calibration["elbow_flex"].homing_offset
    assert f"calibration of elbow_flex: homing_offset {file + 100} in the servo, {file} in the file" in said
    assert "gripper has 60 °C: let it rest" in said and "2 things are not as arms/rehearsal.yaml says" in said
    assert "the arm was not moved, for what was found before" in said
    assert emulator.scene.state().joints_deg == pytest.approx(before, abs=0.5)
    emulator.fault("overload", joint="gripper")
    assert "gripper reports overload" in refused("arm", "check", "--still", f"root={tmp_path}")
    emulator.fault("silent", joint="wrist_roll")
    assert "wrist_roll does not answer" in refused("arm", "check", "--still", f"root={tmp_path}")


def test_what_a_classifier_was_trained_on_is_found_in_its_datasets() -> None:
    [before] = trained_on("cube", str(Path(artifacts.__file__).parent / "artifacts")).values()
    assert before.dataset == "demos@d-0001" and before.frame.shape == (before.image.height, before.image.width, 3)


def test_pictures_stand_beside_those_a_classifier_was_trained_on(tmp_path: Path) -> None:
    arm, frame = desk_arm(), np.full((480, 640, 3), 90, np.uint8)
    own = image_spec("wrist", arm.cameras["wrist"], 32, 32)
    then = replace(own, crop=[0, 0, 480, 480], exposure="automatic", native_fps=0.0)
    before = Reference(then, np.full((32, 32, 3), 200, np.uint8), "demos@d-0001")
    said = [*before.differences(own)]
    assert [line.split(" when")[0] for line in said] == [
        "camera wrist: crop [0, 80, 480, 480] here, [0, 0, 480, 480]",
        "camera wrist: exposure 156 here, automatic",
    ]
    sheet = cv2.imread(str(page(tmp_path / "a/b.png", arm, {"wrist": frame}, {"wrist": own}, {"wrist": before})))
    assert sheet[140, 100].tolist() == [90] * 3 and sheet[140, -30].tolist() == [200] * 3
    Path(tmp_path / "file").touch()
    with pytest.raises((UserError, OSError)):
        page(tmp_path / "file/b.png", arm, {"wrist": frame}, {"wrist": own}, {})


# ---------------------------------------------------------------- snap


def test_two_sets_of_pictures_are_what_an_encoder_is_asked_about(emulator: EmulatedArm, tmp_path: Path) -> None:
    """The devlogs' test: the cube in front, then at the back, nothing else moved."""
    shutil.copytree(Path(artifacts.__file__).parent / "artifacts/policies", tmp_path / "policies")
    root, size = f"root={tmp_path}", ("--size", "16")
    for name, x_m in (("front", 0.18), ("back", 0.30)):
        emulator.scene.place_cube(x_m, 0.0, 0.0)
        result = hiltk("arm", "snap", name, "--arm", "rehearsal", root, *size)
        assert result.exit_code == 0, result.output
    hiltk("arm", "snap", "front", root, *size, "--count", "2", "--every", "0")
    front = tmp_path / "snaps/front"
    assert len(json.loads((front / "snap.json").read_text())["pictures"]) == 3
    assert cv2.imread(str(front / "wrist/0003.png")).shape == (96, 128, 3)
    seen = cv2.cvtColor(cv2.imread(str(front / "wrist/seen/0001.png")), cv2.COLOR_BGR2RGB)
    spec = Spec.load(tmp_path / "policies/sac/p-0001/hiltk_spec.yaml")
    shown = from_folder(front, spec.images).frames["observation.images.wrist"]
    assert (shown[0] == seen).all() and shown.shape == (3, 16, 16, 3)

    result = hiltk("diagnose", "encoder", "sac", "name=look", "sets=[front,back]", "saliency=0", root)
    assert result.exit_code == 0, result.output
    rows = pd.read_csv(tmp_path / "evaluations/look/e-0001/encoder.csv")
    assert rows.images_a.tolist()[0] == 3 and rows.images_b.tolist()[0] == 1 and (rows.l2 > 0).all()


def test_a_set_is_never_mixed(emulator: EmulatedArm, tmp_path: Path) -> None:
    root = f"root={tmp_path}"
    assert hiltk("arm", "snap", "front", root).exit_code == 0
    path = Path("arms/rehearsal.yaml")
    before = path.read_text()
    path.write_text(before.replace("crop: [0, 16, 96, 96]", "crop: [0, 0, 96, 96]"))
    try:
        assert "'front' was taken by another arm or with other cameras" in refused("arm", "snap", "front", root)
    finally:
        path.write_text(before)
    assert "a picture at least" in refused("arm", "snap", "front", root, "--count", "0", code=2)
    assert "cannot be the name" in refused("arm", "snap", "../front", root, code=2)
    (tmp_path / "datasets/front/d-0001/meta").mkdir(parents=True)
    with pytest.raises(UserError, match="pictures and a dataset are called 'front'"):
        image_folder("front", tmp_path)
    (tmp_path / "snaps/front/snap.json").write_text("{")
    with pytest.raises(UserError, match="the snap cannot be read"):
        cameras_of(tmp_path / "snaps/front")


# ---------------------------------------------------------------- the manual


def of_the_manual() -> list[str]:
    """Commands of docs/first-hour.md that are the arm's."""
    text = (Path(__file__).parents[2] / "docs/first-hour.md").read_text()
    lines = [line for block in re.findall(r"```bash\n(.*?)```", text, re.DOTALL) for line in block.splitlines()]
    return [line for line in lines if line.split()[1] in ("arm", "doctor")]


@pytest.mark.slow
def test_the_first_hour_by_its_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert len(of_the_manual()) >= 14
    for line in of_the_manual():
        words = line.replace("black", "rehearsal").split()[1:]
        if words == ["arm", "init", "rehearsal"]:
            continue  # there is no arm to be asked about
        words += ["rehearsal"] if words == ["arm", "scan"] else []
        result = hiltk(*words)
        assert result.exit_code == 0, f"{line}\n{result.output}"
        if "--emulated" in words:
            file = Path("arms/rehearsal.yaml")
            file.write_text(file.read_text().replace("time: real", "time: fast"))
    assert {path.name for path in Path("outputs/snaps").iterdir()} == {"near", "far"}
