"""`hiltk adopt` from end to end: datasets that others recorded, what must be stated, and datasets that are damaged."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner, Result

from hiltk import cli
from hiltk.config.commands import AdoptConf, AdoptedConf, FixActionsConf, RecordConf
from hiltk.config.groups import So101SimConf, TaskConf
from hiltk.data.adopt_actions import rotate
from hiltk.data.lerobot_io import SPEC_FILE, dataset_spec, load_episodes
from hiltk.spec import JOINT_PARTS, STATE_KEY, GripperFormat, Semantics, require_compatible
from hiltk.steps import adopt, fix_actions, record
from tests.data.test_adopt import calibration
from tests.steps.test_fix_actions import record_foreign

WRIST = "observation.images.wrist"
DEGREES = "foreign.joint_unit=degrees"


def hiltk(*words: str) -> Result:
    return CliRunner().invoke(cli.app, list(words), terminal_width=200)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Demonstrations of the simulated arm, with their spec."""
    env = So101SimConf(image_height=64, image_width=64)
    cfg = RecordConf(
        root=str(tmp_path_factory.mktemp("recorded")), name="sim", env=env, task=TaskConf(), episodes=4,
        steps_after_success=3,
    )  # fmt: skip
    return record.run(cfg).path


@pytest.fixture(scope="module")
def without_spec(recorded: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with intact end-effector actions, as somebody else's recorder would leave them."""
    path = Path(shutil.copytree(recorded, tmp_path_factory.mktemp("theirs") / "deltas"))
    (path / SPEC_FILE).unlink()
    return path


@pytest.fixture(scope="module")
def dead(recorded: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six joints and dead actions, as video (devlog 044)."""
    return record_foreign(tmp_path_factory.mktemp("theirs") / "dead", load_episodes(recorded, after_end=True))


def rewritten(source: Path, target: Path, column: str, change: Callable[[np.ndarray], np.ndarray]) -> Path:
    """A copy with another numeric column."""
    path = Path(shutil.copytree(source, target))
    for file in (path / "data").glob("*/*.parquet"):
        table = pq.read_table(file, partitioning=None)
        field = table.schema.field(column)
        values = np.array(table.column(column).to_pylist(), dtype=np.float64)
        cells = pa.array(change(values).tolist(), field.type)
        pq.write_table(table.set_column(table.schema.get_field_index(column), field, cells), file)
    return path


def conf(root: Path, dataset: Path, **foreign: Any) -> AdoptConf:
    return AdoptConf(root=str(root), name="mine", dataset=str(dataset), foreign=AdoptedConf(**foreign))


def snapshot(path: Path) -> dict[Path, bytes]:
    return {p: p.read_bytes() for p in path.rglob("*") if p.is_file()}


def without_row(source: Path, target: Path, row: int) -> Path:
    """A copy that lacks one row inside an episode, metadata told (a recorder that dropped a frame)."""
    path = Path(shutil.copytree(source, target))
    (file,) = (path / "data").glob("*/*.parquet")
    table = pq.read_table(file, partitioning=None)
    episode = table.column("episode_index")[row].as_py()
    keep = np.arange(len(table)) != row
    index = table.schema.get_field_index("index")
    table = table.filter(keep).set_column(index, table.schema.field("index"), pa.array(np.arange(len(table) - 1)))
    pq.write_table(table, file)
    info = json.loads((path / "meta/info.json").read_text())
    (path / "meta/info.json").write_text(json.dumps(info | {"total_frames": info["total_frames"] - 1}))
    (file,) = (path / "meta/episodes").glob("*/*.parquet")
    rows = pq.read_table(file, partitioning=None)
    for name, since in (("length", 0), ("dataset_from_index", 1), ("dataset_to_index", 0)):
        at = rows.schema.get_field_index(name)
        values = np.array(rows.column(name).to_pylist())
        values[episode + since : episode + 1 if name == "length" else None] -= 1
        rows = rows.set_column(at, rows.schema.field(at), pa.array(values))
    pq.write_table(rows, file)
    return path


def test_a_frame_that_is_missing_is_told_and_masked(without_spec: Path, tmp_path: Path) -> None:
    """As fix-actions does it: the step across the gap has no known action."""
    path = without_row(without_spec, tmp_path / "gap", 5)
    result = hiltk("adopt", str(path), "name=mine", f"root={tmp_path}", DEGREES, "foreign.gripper_step=15")
    assert result.exit_code == 0, result.output
    made = tmp_path / "datasets" / "mine" / "d-0001"
    seen = json.loads((made / "adopt.json").read_text())["seen"]
    assert "1 frames are missing; the steps across the gaps are masked" in [fact["evidence"] for fact in seen]
    valid = [e.action_valid for e in load_episodes(made, after_end=True)]
    assert not valid[0][4] and valid[0].sum() == len(valid[0]) - 1 and all(v.all() for v in valid[1:])


# ---------------------------------------------------------------- intact actions


def test_intact_actions_are_kept_as_they_are(recorded: Path, without_spec: Path, tmp_path: Path) -> None:
    before = snapshot(without_spec)
    artifact = adopt.run(conf(tmp_path, without_spec, gripper_step=15.0))
    assert snapshot(without_spec) == before
    spec, true = dataset_spec(artifact.path), dataset_spec(recorded)
    require_compatible(spec, true, JOINT_PARTS, left_name="adopted", right_name="recorded")
    assert spec.action.semantics is Semantics.commanded and spec.robot.locked == ["wrist_roll"]
    for made, original in zip(load_episodes(artifact.path), load_episodes(recorded), strict=True):
        np.testing.assert_array_equal(made.actions, original.actions[: len(made)])
        np.testing.assert_allclose(
            made.observations[STATE_KEY], original.observations[STATE_KEY][: len(made) + 1], atol=1e-3
        )
        np.testing.assert_array_equal(made.observations[WRIST], original.observations[WRIST][: len(made) + 1])
        assert made.terminated == original.terminated
    answers = {
        a["key"]: (a["value"], a["how"]) for a in json.loads((artifact.path / "adopt.json").read_text())["answers"]
    }
    assert answers["foreign.joint_unit"] == ("degrees", "sure") and answers["foreign.gripper_step"] == (15.0, "stated")
    assert answers["foreign.action_scale_m"][0] == 0.02 and answers["foreign.success_column"] == ("success", "sure")
    assert artifact.run()["conventions"]["foreign.actions"] == "keep" and artifact.run()["rebuilt_episodes"] == 0


def test_the_reset_pose_is_measured(recorded: Path, without_spec: Path, tmp_path: Path) -> None:
    spec = dataset_spec(adopt.run(conf(tmp_path, without_spec, gripper_step=15.0)).path)
    true = dataset_spec(recorded).robot
    assert np.abs(np.array(spec.robot.reset_ee_m) - true.reset_ee_m).max() < 0.02
    assert spec.robot.reset_joints[4] == pytest.approx(true.reset_joints[4], abs=0.5)


def test_the_sim_frame_is_turned_into_the_base_frame(recorded: Path, without_spec: Path, tmp_path: Path) -> None:
    theirs = rewritten(without_spec, tmp_path / "sim_frame", "action", lambda a: rotate(a, 270))
    made = load_episodes(adopt.run(conf(tmp_path, theirs, gripper_step=15.0)).path)
    for episode, original in zip(made, load_episodes(recorded), strict=True):
        np.testing.assert_allclose(episode.actions, original.actions[: len(episode)], atol=1e-6)


def test_a_gripper_of_0_1_2_becomes_one_of_minus_1_0_1(without_spec: Path, recorded: Path, tmp_path: Path) -> None:
    def three(actions: np.ndarray) -> np.ndarray:
        actions[:, 3] = np.sign(np.round(actions[:, 3] * 2)) + 1
        return actions

    theirs = rewritten(without_spec, tmp_path / "three", "action", three)
    artifact = adopt.run(conf(tmp_path, theirs, gripper_step=15.0))
    assert dataset_spec(artifact.path).action.gripper is GripperFormat.discrete3
    for episode, original in zip(load_episodes(artifact.path), load_episodes(recorded), strict=True):
        expected = np.sign(np.round(original.actions[: len(episode), 3] * 2))
        np.testing.assert_array_equal(episode.actions[:, 3], expected)


def test_episodes_without_actions_are_rebuilt_among_sound_ones(
    without_spec: Path, recorded: Path, tmp_path: Path
) -> None:
    first = len(load_episodes(recorded, after_end=True)[0]) + 1

    def lose(actions: np.ndarray) -> np.ndarray:
        actions[:first] = np.nan
        return actions

    artifact = adopt.run(conf(tmp_path, rewritten(without_spec, tmp_path / "part", "action", lose), gripper_step=15.0))
    assert artifact.run()["rebuilt_episodes"] == 1
    made, original = load_episodes(artifact.path), load_episodes(recorded)
    np.testing.assert_array_equal(made[1].actions, original[1].actions[: len(made[1])])
    assert np.isfinite(made[0].actions).all() and np.abs(made[0].actions).max() > 0.2


# ---------------------------------------------------------------- everything else is rebuilt


def test_dead_actions_are_rebuilt_as_fix_actions_does(dead: Path, tmp_path: Path) -> None:
    made = load_episodes(adopt.run(conf(tmp_path, dead, joint_unit="degrees")).path)
    stated = fix_actions.run(FixActionsConf(root=str(tmp_path), name="stated", dataset=str(dead)))
    assert dataset_spec(stated.path).action.semantics is Semantics.achieved
    for one, other in zip(made, load_episodes(stated.path), strict=True):
        np.testing.assert_array_equal(one.actions, other.actions)
        np.testing.assert_array_equal(one.observations[STATE_KEY], other.observations[STATE_KEY])


def test_joint_targets_are_rebuilt(dead: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (file,) = (dead / "data").glob("*/*.parquet")
    state = np.array(pq.read_table(file, partitioning=None).column(STATE_KEY).to_pylist())
    theirs = rewritten(dead, tmp_path / "targets", "action", lambda a: np.roll(state, -1, axis=0))
    made = load_episodes(adopt.run(conf(tmp_path, theirs, joint_unit="degrees")).path)
    assert "absolute joint targets" in " ".join(capsys.readouterr().out.replace("│", " ").split())
    expected = load_episodes(adopt.run(conf(tmp_path, dead, joint_unit="degrees")).path)
    np.testing.assert_array_equal(made[0].actions, expected[0].actions)


def test_normalised_joints_need_the_calibration(dead: Path, recorded: Path, tmp_path: Path) -> None:
    motors = calibration(tmp_path / "my_arm.json")
    half = 1500 * 360 / 4095

    def normalise(state: np.ndarray) -> np.ndarray:
        state[:, :5] *= 100 / half
        return state

    theirs = rewritten(dead, tmp_path / "normalised", STATE_KEY, normalise)
    words = ["adopt", str(theirs), "name=mine", f"root={tmp_path}", "foreign.joint_unit=normalized"]
    result = hiltk(*words)
    assert result.exit_code == 1 and "foreign.calibration_path=FILE" in result.output
    assert hiltk(*words, f"foreign.calibration_path={motors}").exit_code == 0
    spec = dataset_spec(tmp_path / "datasets" / "mine" / "d-0001")
    assert spec.robot.calibration_id == "my_arm" and len(spec.robot.calibration_hash) == 16
    made = load_episodes(tmp_path / "datasets" / "mine" / "d-0001")[0].observations[STATE_KEY]
    expected = load_episodes(recorded, after_end=True)[0].observations[STATE_KEY][: len(made)]
    np.testing.assert_allclose(made[:, :5], expected[:, :5], atol=1e-3)


# ---------------------------------------------------------------- asking


def test_what_cannot_be_inferred_is_named_with_what_to_type(dead: Path, tmp_path: Path) -> None:
    result = hiltk("adopt", str(dead), "name=mine", f"root={tmp_path}")
    assert result.exit_code == 1, result.output
    assert "foreign.joint_unit=degrees|radians|normalized" in result.output and "±100" in result.output
    assert "fix:   add them to the command, e.g. foreign.joint_unit=degrees" in result.output
    assert not (tmp_path / "datasets").exists()
    assert hiltk("adopt", str(dead), "name=mine", f"root={tmp_path}", DEGREES).exit_code == 0


def test_on_a_terminal_it_is_asked(dead: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hiltk.steps.adopt._person", lambda: adopt._ask)
    monkeypatch.setattr("builtins.input", lambda *_: "degrees")
    assert adopt.run(conf(tmp_path, dead)).run()["conventions"]["foreign.joint_unit"] == "degrees"


def test_answers_are_typed() -> None:
    from hiltk.data.adopt_questions import OPEN, Guess
    from hiltk.errors import ConfigError

    assert adopt._typed("0.02", Guess("foreign.action_scale_m", None, "", OPEN)) == 0.02
    assert adopt._typed("90", Guess("foreign.action_yaw_deg", None, "", OPEN)) == 90
    assert adopt._typed("[a, b]", Guess("foreign.joints", None, "", OPEN)) == ["a", "b"]
    assert adopt._typed("keep", Guess("foreign.actions", None, "", OPEN)) == "keep"
    for wrong in ("much", "-1"):
        with pytest.raises(ConfigError):
            adopt._typed(wrong, Guess("foreign.gripper_step", None, "", OPEN))


def test_a_statement_against_the_data_is_warned_of(without_spec: Path, tmp_path: Path) -> None:
    words = ["adopt", str(without_spec), "name=mine", f"root={tmp_path}", "foreign.gripper_step=15"]
    words += ["foreign.action_yaw_deg=90", "foreign.action_scale_m=0.02"]
    assert "adopt refuses: ACT004" in hiltk(*words).output
    result = hiltk(*words, "checks.ignore=[ACT004,ACT005]")
    assert result.exit_code == 0 and "caution: foreign.action_yaw_deg=90 is stated, but the data say 0" in result.output


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["foreign.joint_unit=degree"], 2, "unknown choice 'degree'"),
        (["foreign.action_scale_m=-1"], 2, "foreign.action_scale_m=-1"),
        (["gripper_threshold=2"], 2, "gripper_threshold=2"),
        ([DEGREES, "foreign.actions=keep"], 2, "only end-effector deltas"),
        ([DEGREES, "foreign.joints=[a,b,c,d,e,f]"], 1, "has no 'a'"),
        (["foreign.joint_unit=radians"], 1, "values reach"),
    ],
)
def test_statements_that_cannot_be_meant(dead: Path, tmp_path: Path, words: list[str], code: int, said: str) -> None:
    result = hiltk("adopt", str(dead), "name=mine", f"root={tmp_path}", *words)
    assert result.exit_code == code and said in result.output and "Traceback" not in result.output
    assert not (tmp_path / "datasets").exists()


def test_a_dataset_with_a_spec_needs_none(recorded: Path, tmp_path: Path) -> None:
    result = hiltk("adopt", str(recorded), "name=mine", f"root={tmp_path}")
    assert result.exit_code == 1 and "has a spec already" in result.output and "hiltk show" in result.output


def test_statistics_that_are_nonsense_are_told_and_fixed(dead: Path, tmp_path: Path) -> None:
    """Failure S1: min and max of zero for joints that move."""
    theirs = Path(shutil.copytree(dead, tmp_path / "theirs"))
    file = theirs / "meta" / "stats.json"
    stats = json.loads(file.read_text())
    stats[STATE_KEY]["min"][1] = stats[STATE_KEY]["max"][1] = 0.0
    file.write_text(json.dumps(stats))
    artifact = adopt.run(conf(tmp_path, theirs, joint_unit="degrees"))
    assert "shoulder_lift.pos: min and max are 0 and 0" in (artifact.path / "adopt.json").read_text()
    fixed = json.loads((artifact.path / "meta" / "stats.json").read_text())[STATE_KEY]
    assert fixed["max"][1] - fixed["min"][1] > 1
