"""There is one way in for a dataset made elsewhere: both commands that bring one over make the same of it, checked."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from hiltk import cli
from hiltk.checks.engine import of_step
from hiltk.checks.rule import READERS, RULES, WRITERS, Reads
from hiltk.data.adopt_actions import rotate
from hiltk.data.lerobot_io import dataset_spec, load_episodes
from hiltk.spec import STATE_KEY, Semantics
from tests.data.handmade import CAMERA, JOINTS, handmade, picture_of, smooth_joints
from tests.data.test_servo import follow, goals

STATED = ("foreign.joint_unit=degrees", "foreign.gripper_unit=percent")


def hiltk(*words: str) -> Result:
    return CliRunner().invoke(cli.app, list(words), terminal_width=200)


def brought(verb: str, path: Path, root: Path, *words: str) -> Path:
    """Run one of the two commands; the folder it wrote."""
    result = hiltk(verb, str(path), "name=mine", f"root={root / verb}", *words)
    assert result.exit_code == 0, result.output
    return root / verb / "datasets" / "mine" / "d-0001"


def require_same(path: Path, tmp_path: Path, *words: str, adopting: tuple[str, ...] = ()) -> list[np.ndarray]:
    """Bring a dataset over by both commands; everything must be equal. Returns which actions are valid, by episode."""
    adopted = brought("adopt", path, tmp_path, *words, *adopting)
    fixed = brought("fix-actions", path, tmp_path, *words)
    one, other = load_episodes(adopted, after_end=True), load_episodes(fixed, after_end=True)
    for a, b in zip(one, other, strict=True):
        for name in ("actions", "action_valid", "rewards", "success", "source", "is_intervention"):
            np.testing.assert_array_equal(getattr(a, name), getattr(b, name), err_msg=name)
        for key in a.observations:
            np.testing.assert_array_equal(a.observations[key], b.observations[key], err_msg=key)
        assert (a.terminated, a.truncated) == (b.terminated, b.truncated)
    specs = [dataset_spec(p).to_dict() for p in (adopted, fixed)]
    for spec in specs:
        spec.pop("robot")  # adopt measures the reset pose, fix-actions takes none that was not stated
    assert specs[0] == specs[1]
    stats = [json.loads((p / "meta/stats.json").read_text()) for p in (adopted, fixed)]
    assert stats[0] == stats[1]
    return [a.action_valid for a in one]


# ---------------------------------------------------------------- datasets made elsewhere, and what is odd about them


def joints_of(*lengths: int) -> np.ndarray:
    return np.concatenate([smooth_joints(n, seed) for seed, n in enumerate(lengths)])


def plain(path: Path, joints: np.ndarray, lengths: list[int], **options: Any) -> Path:
    """Joints and dead actions."""
    names = options.pop("names", JOINTS)
    return handmade(path, {STATE_KEY: joints, "action": 0 * joints}, lengths, names=names, **options)


def sound(path: Path) -> Path:
    return plain(path, joints_of(30, 40), [30, 40], pictures=picture_of(np.arange(70)))


def frozen(path: Path) -> Path:
    joints = joints_of(40)
    joints[:, 0] = np.linspace(0, 60, 40)  # 1.5 degrees a frame
    joints[20:23] = joints[19]
    return plain(path, joints, [40])


def gap(path: Path) -> Path:
    kept = np.r_[0:15, 17:60]
    return plain(path, joints_of(60)[kept], [58], frame_index=kept, pictures=picture_of(kept))


def repeated(path: Path) -> Path:
    rows = np.r_[0:12, 11, 12:30]
    return plain(path, joints_of(30)[rows], [31], frame_index=rows, pictures=picture_of(rows))


def other_order(path: Path) -> Path:
    """Joints are where their names say, whatever the order."""
    return plain(path, joints_of(30)[:, ::-1], [30], names=JOINTS[::-1])


def joint_targets(path: Path) -> Path:
    joints = joints_of(60)
    return handmade(path, {STATE_KEY: joints, "action": np.roll(joints, -1, axis=0)}, [60], names=JOINTS)


@pytest.mark.parametrize("made", [sound, frozen, gap, repeated, other_order, joint_targets])
def test_both_commands_make_the_same(made: Callable[[Path], Path], tmp_path: Path) -> None:
    valid = require_same(made(tmp_path / "theirs"), tmp_path, *STATED)
    masked = {"frozen": [19, 20, 21, 22], "gap": [14]}.get(made.__name__, [])
    assert np.flatnonzero(~np.concatenate(valid)).tolist() == masked


def test_intact_actions_rebuilt_by_both(tmp_path: Path) -> None:
    """Whoever wants them rebuilt gets the same from either command."""
    path = handmade(tmp_path / "theirs", {STATE_KEY: joints_of(40), "action": np.full((40, 4), 0.3)}, [40])
    names = "foreign.joints=[]"
    require_same(path, tmp_path, *STATED, names, adopting=("foreign.actions=rebuild",))


@pytest.mark.parametrize(
    "words",
    [
        ("gripper=discrete3", "action_scale_m=0.01"),
        ("foreign.fps=5",),
        ("foreign.locked={wrist_roll: 81}", "checks.ignore=[KIN006]"),
        ("foreign.success_last_frames=4", "foreign.task=lift"),
        ("foreign.image_height=4", "foreign.image_width=4", f"foreign.cameras={{wrist: {CAMERA}}}"),
    ],
)
def test_every_setting_means_the_same_to_both(words: tuple[str, ...], tmp_path: Path) -> None:
    require_same(sound(tmp_path / "theirs"), tmp_path, *STATED, *words)


def test_a_leaders_goals_mean_the_same_to_both(tmp_path: Path) -> None:
    asked = goals()
    columns = {STATE_KEY: follow(asked, 1.0, 0.6, 0.0), "action": asked}
    path = handmade(tmp_path / "led", columns, [150, 150, 150], names=JOINTS)
    words = ("method=commanded", "foreign.commands=action", "action_scale_m=0.06")
    require_same(path, tmp_path, *STATED, *words)
    assert dataset_spec(tmp_path / "adopt/datasets/mine/d-0001").action.semantics is Semantics.commanded


def test_a_frozen_state_is_told_by_both(tmp_path: Path) -> None:
    path = frozen(tmp_path / "theirs")
    told = "4 steps have a joint state that froze while the arm moved; they are masked"
    for verb in ("adopt", "fix-actions"):
        result = hiltk(verb, str(path), "name=mine", f"root={tmp_path / verb}", *STATED)
        assert told in " ".join(result.output.split()), verb


def test_fix_actions_says_that_it_adopts(tmp_path: Path) -> None:
    result = hiltk("fix-actions", str(sound(tmp_path / "theirs")), "name=mine", f"root={tmp_path}", *STATED)
    said = " ".join(result.output.split())
    assert "was made elsewhere: adopting it, as `hiltk adopt` does" in said
    assert "foreign.joint_unit=degrees" in said and "foreign.actions=rebuild" in said
    made = tmp_path / "datasets/mine/d-0001"
    answers = {a["key"]: (a["value"], a["how"]) for a in json.loads((made / "adopt.json").read_text())["answers"]}
    assert answers["foreign.joint_unit"] == ("degrees", "stated")


def test_fix_actions_tells_what_the_data_say_against_the_statement(tmp_path: Path) -> None:
    joints = joints_of(30)
    joints[:, 5] /= 100  # 0 to 1, which percent are not
    words = ("name=mine", f"root={tmp_path}", "checks.ignore=[GRP002]")
    result = hiltk("fix-actions", str(plain(tmp_path / "theirs", joints, [30])), *words)
    assert result.exit_code == 0, result.output
    said = " ".join(result.output.split())
    assert "caution: foreign.gripper_unit=percent is stated, but the data say unit" in said


def test_kept_actions_stay_valid_where_the_state_froze(tmp_path: Path) -> None:
    """What was asked for is known even where the arm was not read."""
    joints = joints_of(60)
    joints[:, 0] = np.linspace(0, 60, 60)
    joints[20:23] = joints[19]
    path = with_deltas(tmp_path / "theirs", joints, noise=0.05)
    words = ("foreign.actions=keep", "foreign.action_scale_m=0.02", "foreign.gripper_step=15")
    (episode,) = load_episodes(brought("adopt", path, tmp_path, *STATED, *words))
    assert episode.action_valid.all()
    words = ("foreign.actions=keep", "foreign.action_yaw_deg=0", "foreign.fps=5", *words[1:])
    result = hiltk("adopt", str(path), "name=mine", f"root={tmp_path}", *STATED, *words)
    assert result.exit_code == 2 and "foreign.actions=rebuild" in result.output


# ---------------------------------------------------------------- the gate


def with_deltas(path: Path, joints: np.ndarray, *, yaw_deg: int = 0, noise: float = 0.0, **options: Any) -> Path:
    """Joints, and the end-effector deltas that explain their motion, in a frame turned by ``yaw_deg``."""
    from hiltk.arm.kinematics import Kinematics
    from hiltk.arm.state import action_spec
    from hiltk.data.repair import rebuild
    from hiltk.spec import GripperFormat

    action = action_spec(0.02, GripperFormat.continuous, 15.0)
    deltas = rebuild(joints, np.zeros(len(joints), int), action, Kinematics()).actions
    deltas = np.clip(deltas + noise * np.random.default_rng(0).normal(size=deltas.shape), -1, 1)
    columns = {STATE_KEY: joints, "action": rotate(deltas, yaw_deg)}
    return handmade(path, columns, [len(joints)], **options)


KEPT = ("foreign.actions=keep", "foreign.action_scale_m=0.02", "foreign.gripper_step=15")


def turned(path: Path) -> Path:
    return with_deltas(path, joints_of(80), pictures=picture_of(np.arange(80)))


def stuck_camera(path: Path) -> Path:
    return plain(path, joints_of(60), [60], pictures=picture_of(np.zeros(60)))


def dark(path: Path) -> Path:
    return plain(path, joints_of(60), [60], pictures=picture_of(np.arange(60)) // 80)


@pytest.mark.parametrize(
    ("made", "words", "code"),
    [
        (turned, (*KEPT, "foreign.action_yaw_deg=90"), "ACT004"),
        (turned, ("foreign.actions=keep", "foreign.action_scale_m=0.2", *KEPT[2:]), "ACT005"),
        (stuck_camera, (), "IMG002"),
        (dark, (), "IMG001"),
    ],
)
def test_what_the_next_step_refuses_is_not_written(
    made: Callable[[Path], Path], words: tuple[str, ...], code: str, tmp_path: Path
) -> None:
    command = ("adopt", str(made(tmp_path / "theirs")), "name=mine", f"root={tmp_path}", *STATED, *words)
    result = hiltk(*command)
    assert result.exit_code == 1 and f"adopt refuses: {code}" in result.output, result.output
    assert not list(tmp_path.glob("datasets/mine/d-*"))
    assert hiltk(*command, f"checks.ignore=[{code}]").exit_code == 0
    checked = json.dumps(dict(_record(tmp_path / "datasets/mine/d-0001")["checks"]))
    assert code in checked
    cloned = hiltk("bc-pretrain", "mine", "name=bc", f"root={tmp_path}", "steps=1")
    assert cloned.exit_code == 1 and f"bc-pretrain refuses: {code}" in cloned.output, cloned.output


def _record(path: Path) -> dict[str, Any]:
    import yaml

    return dict(yaml.safe_load((path / "run.yaml").read_text()))


def test_whoever_writes_a_dataset_runs_every_rule_of_whoever_reads_it() -> None:
    changes = {"label", "merge", "split", "drop-episodes", "stats", "export-replay"}
    assert {"record", "adopt", "fix-actions"} | changes == set(WRITERS)
    read = {rule.code for rule in RULES.values() if rule.reads is Reads.dataset and set(READERS) & set(rule.steps)}
    read |= {"RUN008"}  # what every step that reads asks before it reads
    for writer in WRITERS:
        assert read <= {rule.code for rule in of_step(writer)}, writer
