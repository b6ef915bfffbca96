from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from hiltk.errors import UserError
from hiltk.spec import (
    JOINT_PARTS,
    ActionSpec,
    Dimension,
    GripperFormat,
    ImageSpec,
    RobotSpec,
    Spec,
    StateSpec,
    Stats,
    compare,
    mere_differences,
    merge_parts,
    mistakes,
    refusals,
    require_compatible,
)


def full_spec() -> Spec:
    return Spec(
        task="lift",
        state=StateSpec(
            [
                Dimension("elbow_flex.pos", "deg", -96, 96),
                Dimension("ee.x", "m", 0, 0.4, "base"),
            ]
        ),
        action=ActionSpec([Dimension("delta_x", "1", -1, 1, "base"), Dimension("gripper", "1", -1, 1)]),
        images=[ImageSpec("wrist", 64, 64, 480, 640, [0, 80, 480, 480])],
        stats={"observation.state": Stats([1.0, 0.2], [2.0, 0.1], [0.0, 0.1], [3.0, 0.3], "demos")},
        robot=RobotSpec(joints=[Dimension("elbow_flex", "deg", -96, 96)], locked=["elbow_flex"], reset_joints=[10.0]),
    )


def test_a_spec_survives_its_file(tmp_path: Path) -> None:
    full_spec().save(tmp_path / "spec.yaml")
    again = Spec.load(tmp_path / "spec.yaml")
    assert again == full_spec()
    assert again.fingerprint() == full_spec().fingerprint()


def test_any_change_changes_the_fingerprint() -> None:
    other = full_spec()
    other.images[0].crop[0] = 1
    assert other.fingerprint() != full_spec().fingerprint()


def test_fields_that_came_later_leave_what_was_stored_before_as_it_was(tmp_path: Path) -> None:
    """Golden, from before there were any: fingerprint and file say nothing of them until they say something."""
    old = Spec.load(Path(__file__).parent / "rails/samples/spec-1/hiltk_spec.yaml")
    assert (old.fingerprint(), full_spec().fingerprint()) == ("08dfce94153c8bb2", "e283bc8eb1f96160")
    full_spec().save(tmp_path / "spec.yaml")
    assert "arm_hash" not in (tmp_path / "spec.yaml").read_text()
    of_arm = on_the_desk("black")
    assert of_arm.fingerprint() != full_spec().fingerprint()
    of_arm.save(tmp_path / "arm.yaml")
    assert Spec.load(tmp_path / "arm.yaml") == of_arm
    assert "exposure: '156'" in (tmp_path / "arm.yaml").read_text()


def on_the_desk(arm: str) -> Spec:
    spec = full_spec()
    spec.robot.name, spec.robot.arm, spec.robot.arm_hash = "so101_follower", arm, f"hash of {arm}"
    spec.robot.calibration_hash = "0ae62942989965a9"
    spec.images[0].driver, spec.images[0].native_fps, spec.images[0].exposure = "opencv", 30.0, "156"
    return spec


def test_between_two_arms_calibration_limits_crop_and_rate_must_agree() -> None:
    one, other = on_the_desk("black"), on_the_desk("white")
    assert refusals(one, other) == []  # two names of one arm
    other.robot.calibration_hash = "f" * 16
    other.robot.joints[0].high = 90.0
    other.images[0].crop = [0, 0, 480, 480]
    other.fps = 30.0
    paths = ["fps", "images.wrist.crop", "robot.calibration_hash", "robot.joints.elbow_flex.high"]
    assert sorted(d.path for d in refusals(one, other)) == paths
    assert "robot.joints" not in {d.path for d in refusals(full_spec(), other)}


def test_between_simulation_and_arm_what_merely_differs_is_named() -> None:
    sim, arm = full_spec(), on_the_desk("black")
    sim.robot.name = "so101_sim (cpu renderer)"
    sim.images = [ImageSpec("wrist", 64, 64, 64, 64), ImageSpec("front", 64, 64, 64, 64)]
    arm.robot.joints[0].low = -90.0
    require_compatible(sim, arm, ("fps", "state", "action", "robot.calibration_hash"), left_name="a", right_name="b")
    said = mere_differences(sim, arm, left_name="policy lift", right_name="env=so101").splitlines()
    assert said[0] == "policy lift and env=so101 fit together, and differ in"
    assert [line.strip() for line in said[1:]] == [
        "images.wrist.native_height: 64 against 480",
        "images.wrist.native_width: 64 against 640",
        "images.wrist.crop: [] against [0, 80, 480, 480]",
        "images.wrist.driver: '' against 'opencv'",
        "images.wrist.native_fps: 0.0 against 30.0",
        "images.wrist.exposure: '' against '156'",
        "robot.name: 'so101_sim (cpu renderer)' against 'so101_follower'",
        "robot.calibration_hash: '' against '0ae62942989965a9'",
        "robot.arm: '' against 'black'",
        "robot.arm_hash: '' against 'hash of black'",
        "robot.joints, limits: elbow_flex -96 to 96 against -90 to 96",
    ]
    assert mere_differences(arm, arm, left_name="a", right_name="b") == ""


def test_data_of_two_files_of_one_arm_can_be_merged() -> None:
    parts = merge_parts(on_the_desk("black"), on_the_desk("white"))
    assert refusals(on_the_desk("black"), on_the_desk("white"), parts) == []


def test_differences_are_named() -> None:
    other = full_spec()
    other.state.dims[0].unit = "rad"
    other.action.gripper = GripperFormat.discrete3
    other.fps = 30.0
    assert [str(d) for d in compare(full_spec(), other)] == [
        "fps: 10.0 against 30.0",
        "state.dims.elbow_flex.pos.unit: 'deg' against 'rad'",
        "action.gripper: 'continuous' against 'discrete3'",
    ]


def test_a_reordered_state_differs() -> None:
    other = full_spec()
    other.state.dims.reverse()
    assert [d.path for d in compare(full_spec(), other)] == ["state.dims.order"]


def test_incompatible_specs_are_refused_with_both_values_and_names() -> None:
    other = full_spec()
    other.state.dims[0].unit = "rad"
    with pytest.raises(
        UserError,
        match=r"demos@d-0001 and env=so101_sim do not fit(.|\n)*'deg' against 'rad'",
    ):
        require_compatible(
            full_spec(),
            other,
            JOINT_PARTS,
            left_name="demos@d-0001",
            right_name="env=so101_sim",
        )


def test_what_only_describes_may_differ() -> None:
    other = full_spec()
    other.images[0].native_height = 64
    other.images[0].crop = []
    other.state.dims[0].low = -90
    other.reward.threshold = 0.9
    require_compatible(full_spec(), other, JOINT_PARTS, left_name="a", right_name="b")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("fpss: 10", "not a valid spec"),
        ("fps: fast", "not a valid spec"),
        ("- 1", "not a mapping"),
        ("a: [", "cannot be read"),
    ],
)
def test_nonsense_is_refused_with_the_file(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "spec.yaml").write_text(text)
    with pytest.raises(UserError, match=message) as caught:
        Spec.load(tmp_path / "spec.yaml")
    assert "spec.yaml" in str(caught.value)


def test_a_missing_spec_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="hiltk adopt"):
        Spec.load(tmp_path / "spec.yaml")


# ---------------------------------------------------------------- edited by hand


def put(path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    """Set a dotted field; numbers are positions in a list."""

    def edit(data: dict[str, Any]) -> None:
        *parents, last = [int(p) if p.isdigit() else p for p in path.split("/")]
        node: Any = data
        for part in parents:
            node = node[part]
        node[last] = value

    return edit


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("version", 99, "version: 99"),
        ("fps", -10.0, "fps: -10"),
        ("fps", float("nan"), "fps: nan"),
        ("state/dims/0/low", 200.0, "state.dims.elbow_flex.pos: low 200 and high 96"),
        ("state/dims/0/high", float("nan"), "state.dims.elbow_flex.pos"),
        ("state/dims/0/unit", "furlong", "state.dims.elbow_flex.pos.unit: unknown 'furlong'"),
        ("state/dims/1/frame", "moon", "state.dims.ee.x.frame: unknown 'moon'"),
        ("state/dims/1/name", "elbow_flex.pos", "state.dims: 'elbow_flex.pos' is there twice"),
        ("action/dims/0/name", "", "action.dims: entry 0 has no name"),
        ("action/scale_m", 0.0, "action.scale_m: 0 must be above 0"),
        ("action/gripper", "discrete012", "action.gripper"),
        ("action/semantics", "wished", "action.semantics"),
        ("action/gripper_step", -15.0, "action.gripper_step"),
        ("images/0/height", 0, "images.wrist.height: 0"),
        ("images/0/native_width", -640, "images.wrist.native_width"),
        ("images/0/crop", [0, 200, 480, 480], "images.wrist.crop: [0, 200, 480, 480]"),
        ("images/0/crop", [0, 80], "images.wrist.crop"),
        ("images/0/color", "bgr", "images.wrist.color: unknown 'bgr'"),
        ("images/0/high", 1e4, "images.wrist: values from 0 to 10000"),
        ("images/0/name", "", "images: entry 0 has no name"),
        ("reward/source", "vibes", "reward.source"),
        ("reward/threshold", 1.5, "reward.threshold: 1.5"),
        ("reward/hold_steps", 0, "reward.hold_steps"),
        ("reward/success_value", float("inf"), "reward.success_value"),
        ("reward/timeout", "never", "reward.timeout: unknown 'never'"),
        ("robot/locked", ["knee"], "robot.locked: there is no joint 'knee'"),
        ("robot/reset_joints", [1.0, 2.0], "robot.reset_joints: 2 numbers instead of 1"),
        ("robot/reset_ee_m", [0.2], "robot.reset_ee_m"),
        ("robot/reset_noise_m", [0.1, -0.1, 0.1], "robot.reset_noise_m"),
        ("stats/observation.state/std", [2.0, 0.0], "stats.observation.state.std: 0 must be above 0"),
        ("stats/observation.state/mean", [1.0], "stats.observation.state.mean: 1 numbers for 2 dimensions"),
        ("stats/observation.state/mean", [1.0, float("nan")], "stats.observation.state.mean: nan"),
        ("stats/observation.state/low", [9.0, 0.1], "stats.observation.state.low"),
    ],
)
def test_an_edit_that_cannot_be_meant_is_one_message_naming_the_field(
    tmp_path: Path, path: str, value: Any, said: str
) -> None:
    data = full_spec().to_dict()
    put(path, value)(data)
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump(data))
    with pytest.raises(UserError) as caught:
        Spec.load(tmp_path / "spec.yaml")
    assert said in caught.value.what and "spec.yaml" in str(caught.value) and caught.value.fix


def test_a_spec_of_the_first_version_still_loads_and_fits(tmp_path: Path) -> None:
    """Fields that came later have defaults, so what is on disk stays usable."""
    data = full_spec().to_dict()
    for image in data["images"]:
        del image["low"], image["high"]
    del data["robot"]["reset_joints"]
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump(data))
    old = Spec.load(tmp_path / "spec.yaml")
    require_compatible(old, full_spec(), JOINT_PARTS, left_name="old", right_name="new")
    assert old.images == full_spec().images


def test_another_crop_of_the_same_frame_is_refused_and_of_another_camera_is_not() -> None:
    """Failure D5: twice a classifier saw the whole frame and the policy a crop of it."""
    other = full_spec()
    other.images[0].crop = []
    assert [d.path for d in refusals(full_spec(), other)] == ["images.wrist.crop"]
    other.images[0].native_width = 480
    assert refusals(full_spec(), other) == []


def test_another_calibration_is_refused_where_both_are_known() -> None:
    one, other = full_spec(), full_spec()
    one.robot.calibration_hash = "aaaa"
    assert refusals(one, other) == []
    other.robot.calibration_hash = "bbbb"
    assert [d.path for d in refusals(one, other)] == ["robot.calibration_hash"]


def test_every_environment_fills_the_spec() -> None:
    from hiltk.config.groups import GymnasiumConf, RewardConf, So101SimConf, TaskConf
    from hiltk.envs.make import make_env

    sim = make_env(So101SimConf(image_height=16, image_width=16), TaskConf(), RewardConf(), seed=0).io_spec
    assert mistakes(sim) == []
    assert all(d.name and d.unit and d.low < d.high for d in [*sim.state.dims, *sim.action.dims, *sim.robot.joints])
    assert {d.frame for d in sim.state.dims if d.name.startswith("ee.")} == {"base"}
    empty = {k for k, v in vars(sim.robot).items() if v in ("", [])}
    assert empty == {"calibration_hash", "arm", "arm_hash"}  # a simulated arm is its own calibration, and has no file
    assert sim.robot.locked == ["wrist_roll"] and sim.robot.reset_joints[4] == 90.0
    other = make_env(GymnasiumConf(id="Pendulum-v1"), TaskConf(), RewardConf(source="env"), seed=0).io_spec
    assert mistakes(other) == []
