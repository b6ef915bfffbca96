"""``arms/NAME.yaml``: written with comments that teach, read with every mistake of a hand edit named."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from hiltk.errors import UserError
from hiltk.robots import arm_yaml
from hiltk.robots.arm_checks import mistakes
from hiltk.robots.arm_file import ArmFile, CameraFile, SafetyFile
from hiltk.robots.arm_store import load_arm_file, save_arm_file
from tests.robots.arms import desk_arm

HASH, CALIBRATION_HASH = "556e7625842a66b3", "0ae62942989965a9"
Edit = Callable[[str], str]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "arms" / "desk.yaml"
    save_arm_file(desk_arm(), path)
    return path


def refused(path: Path, edit: Edit) -> str:
    path.write_text(edit(path.read_text()))
    with pytest.raises(UserError) as caught:
        load_arm_file(str(path))
    return str(caught.value)


def test_a_file_is_what_was_saved_and_anybody_reads_it(file: Path) -> None:
    assert load_arm_file(str(file)) == desk_arm()
    plain = yaml.safe_load(file.read_text())
    assert plain["cameras"]["front"]["id"] == "0001234"
    assert {"name", "emulated"} & {*plain} == set() and plain["calibration"]["gripper"]["range_max"] == 3500
    assert not list(file.parent.glob(".*"))


def test_every_setting_is_explained_or_stands_below_one_that_is(file: Path) -> None:
    lines = file.read_text().splitlines()
    keys = [n for n, line in enumerate(lines) if line.endswith(":") or (":" in line and not line.startswith("#"))]
    first = {lines[n].strip().split(":")[0]: lines[n - 1].strip() for n in reversed(keys)}
    for key in ("port", "workspace_low_m", "park_deg", "exposure", "crop", "temperature_stop_c"):
        assert first[key].startswith("#"), key
    assert max(map(len, lines)) <= 130


text = st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "S", "Zs")), max_size=20)
numbers = st.floats(allow_nan=False, allow_infinity=False)
names = st.text("abcdefgh_-0123", min_size=1, max_size=8)
cameras = st.builds(
    CameraFile,
    text,
    text,
    st.integers(),
    fps=st.integers(),
    exposure=st.none() | numbers,
    crop=st.lists(st.integers(), max_size=4),
    options=st.dictionaries(names, st.integers() | text | st.booleans(), max_size=2),
)
arms = st.builds(
    ArmFile,
    st.just("a"),
    port=text,
    park_deg=st.lists(numbers, max_size=6),
    gripper_max=numbers,
    cameras=st.dictionaries(names, cameras, max_size=3),
    safety=st.builds(SafetyFile, numbers, gripper_torque=st.integers()),
)


@settings(max_examples=60, deadline=None)
@given(arms)
def test_whatever_is_written_is_read_again(arm: ArmFile) -> None:
    reader = arm_yaml.Reader()
    assert replace(reader.read(arm_yaml.write(arm, "heading\nand more"), ArmFile), name="a") == arm
    assert reader.mistakes == []


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (("fps: 30", "fps: fast"), "cameras.wrist.fps: 'fast' where a whole number belongs"),
        (("fps: 30", "fps: 29.97"), "cameras.wrist.fps: '29.97' where a whole number belongs"),
        (("port:", "prot:"), "prot: there is no such setting; did you mean 'port'?"),
        (("lag_s: 0.5", "lag_s: 0.5\n  lag_s: 5"), "safety.lag_s: written twice: it stands in line"),
        (("lag_s: 0.5", "lag_s: .nan"), "safety.lag_s: '.nan' where a number belongs"),
        (("lag_s: 0.5", "\tlag_s: 0.5"), "this is no YAML: a tab; YAML is indented with spaces"),
        (("[0.2, 0.0, 0.09]", "[0.2, 0.0, 0.09"), "this is no YAML: "),
        (("[0.2, 0.0, 0.09]", "0.2"), "reset_ee_m: '0.2' where a list: [1, 2, 3] belongs"),
        (("id: 6", "id: 5"), "calibration.gripper: id 5 is wrist_roll's already"),
        (("  gripper: {", "  griper: {"), "calibration.griper: there is no such joint; did you mean 'gripper'?"),
        (("range_min: 750, range_max: 3345", "range_min: 3345, range_max: 750"), "the range 3345 to 750 is empty"),
        (("homing_offset: 40", "homing_offset: 2073"), "homing_offset 2073 is beyond 2047; calibrate again"),
        (("workspace_low_m: [0.12, -0.16, 0.008]\n", ""), "workspace_low_m: there is none, and no default"),
        (("[0.12, -0.16, 0.008]", "[12, -16, 0.8]"), "are these centimetres or millimetres?"),
        (("[0.12, -0.16, 0.008]", "[0.12, 0.16, 0.008]"), "workspace_low_m: y: 0.16 is not below 0.16"),
        (("[0.36, 0.16, 0.22]", "[0.55, 0.16, 0.22]"), "4 of its 8 corners cannot be reached, [0.55, "),
        (("[0.2, 0.0, 0.09]", "[0.13, 0.0, 0.09]"), "reset_ee_m: with its noise it leaves the workspace along x"),
        (("90.0, 70.0, 0.0, 5.0]", "130.0, 70.0, 0.0, 5.0]"), "park_deg: elbow_flex: 130 is not within -96 to 96"),
        (("range_min: 890, range_max: 3110", "range_min: 0, range_max: 4095"), "calibration.elbow_flex: -178 to 178"),
        (("[0, 80, 480, 480]", "[0, 200, 480, 480]"), "cameras.wrist.crop: [0, 200, 480, 480] does not lie in"),
        (('"0001234"', "/dev/v4l/by-id/usb-wrist-video-index0"), "is camera 'wrist' already"),
        (("type: opencv", "type: emulated"), "the arm on the desk has none that are emulated"),
        (("temperature_stop_c: 65.0", "temperature_stop_c: 90.0"), "90 is not above temperature_warn_c (55) and up to"),
        (("arm_speed_deg_s: 90.0", "arm_speed_deg_s: 9000"), "9000 is not above 0 and up to 270; no STS3215"),
        (("model_path: ''", "model_path: so101.urdf"), "model_path: there is no file so101.urdf"),
        (("version: 1", "version: 99"), "made by a newer hiltk (version: 99"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_a_mistake_of_a_hand_edit_is_named_with_its_line(file: Path, edit: tuple[str, str], said: str) -> None:
    before = file.read_text().replace("'0001234'", '"0001234"')
    assert edit[0] in before
    message = refused(file, lambda _: before.replace(*edit, 1))
    assert said in message, message
    assert "Traceback" not in message and str(file) in message
    assert "line " in message or said.startswith(("workspace_low_m: there is none", "made by"))


def test_all_mistakes_are_told_at_once(file: Path) -> None:
    def edit(text: str) -> str:
        return text.replace("lag_deg:", "lag_dge:").replace("width: 640", "width: wide", 1)

    message = refused(file, edit)
    number = next(n for n, line in enumerate(file.read_text().splitlines(), 1) if "lag_dge" in line)
    assert "has 2 mistakes" in message and f"line {number}, safety.lag_dge: there is no such setting" in message


def test_a_box_that_the_arm_reaches_is_proposed(file: Path) -> None:
    arm = replace(desk_arm(), workspace_high_m=[0.6, 0.16, 0.5])
    [mistake] = [m for m in mistakes(arm) if m.key == "workspace_high_m"]
    low, high = (
        eval(part.split(": ")[1]) for part in mistake.fix.removeprefix("a box that can: ").split(", workspace_high")
    )
    smaller = replace(arm, workspace_low_m=low, workspace_high_m=high, reset_noise_m=[0.0, 0.0, 0.0])
    assert mistakes(smaller) == [] and high[0] > 0.3


def test_a_name_without_a_file_names_those_that_have_one(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(file.parents[1])
    assert load_arm_file("desk").name == "desk"
    with pytest.raises(UserError, match="there is no arm 'dest'") as caught:
        load_arm_file("dest")
    assert caught.value.fix == "did you mean 'desk'?"
    with pytest.raises(UserError, match="hiltk arm init other"):
        load_arm_file("other")


def test_what_only_moves_the_arm_elsewhere_leaves_the_hash(file: Path) -> None:
    """Golden for a file: a hash that changes with an update of hiltk would part old recordings from new ones."""
    arm = desk_arm()
    assert (arm.hash, arm.calibration_hash) == (HASH, CALIBRATION_HASH)
    same = replace(arm, name="other", port="/dev/ttyACM3", safety=replace(arm.safety, temperature_warn_c=50.0))
    same.cameras = {**arm.cameras, "wrist": replace(arm.cameras["wrist"], id="/dev/video7")}
    assert same.hash == arm.hash
    changes: list[dict[str, Any]] = [
        {"gripper_max": 60.0},
        {"reset_ee_m": [0.2, 0.0, 0.1]},
        {"calibration": arm.calibration | {"gripper": replace(arm.calibration["gripper"], range_max=3501)}},
        {"cameras": {"wrist": arm.cameras["wrist"]}},
        {"safety": replace(arm.safety, arm_speed_deg_s=60.0)},
    ]
    hashes = [replace(arm, **change).hash for change in changes]
    assert len({arm.hash, *hashes}) == 1 + len(changes)
    assert asdict(arm)  # nothing of it was changed on the way
