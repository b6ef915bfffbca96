"""`hiltk fix-actions`, as it is typed, on what people have: other units, rates, holes, locks, leader arms, damage."""

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
from hiltk.arm.kinematics import Kinematics
from hiltk.arm.state import action_spec
from hiltk.artifacts.store import resolve
from hiltk.checks.engine import examine, gather
from hiltk.data import foreign, resources
from hiltk.data.episode import Episode, Source
from hiltk.data.lerobot_io import dataset_spec, load_episodes
from hiltk.data.repair import end_effector, rebuild
from hiltk.data.timeline import Timeline
from hiltk.findings import Severity
from hiltk.reports import repair_report
from hiltk.spec import STATE_KEY, GripperFormat, Semantics
from tests.data.handmade import CAMERA, JOINTS, handmade, picture_of, smooth_joints
from tests.data.test_servo import EPISODES, follow, goals

KIN = Kinematics()
AS_WRIST = f"foreign.cameras={{wrist: {CAMERA}}}"


@pytest.fixture(autouse=True)
def _no_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes longer than the rest of a small repair; the figure has tests of its own."""
    monkeypatch.setattr(repair_report, "plot_report", lambda report, path: None)


def hiltk(*words: str) -> Result:
    return CliRunner().invoke(cli.app, list(words), terminal_width=200)


def fix(path: Path, root: Path, *words: str) -> Path:
    """Run the command; the folder it wrote."""
    result = hiltk("fix-actions", str(path), "name=fixed", f"root={root}", *words)
    assert result.exit_code == 0, result.output
    (made,) = (root / "datasets" / "fixed").glob("d-*")
    return made


def report_of(path: Path) -> dict[str, Any]:
    return json.loads((path / "repair.json").read_text())


def recording(path: Path, joints: np.ndarray, lengths: list[int], **options: Any) -> Path:
    """A dataset of joints and dead actions, nothing else."""
    zeros = np.zeros((len(joints), 6))
    names = JOINTS[: joints.shape[1]]
    columns = {STATE_KEY: joints, "action": zeros[:, : joints.shape[1]]} | options.pop("columns", {})
    return handmade(path, columns, lengths, names=names, **options)


def expected(joints: np.ndarray, scale: float = 0.02, gripper: GripperFormat = GripperFormat.continuous) -> np.ndarray:
    """The achieved actions of one episode (T, A)."""
    made = rebuild(joints, np.zeros(len(joints), int), action_spec(scale, gripper, 15.0), KIN)
    return made.actions[:-1]


# ---------------------------------------------------------------- joints


@pytest.mark.parametrize("unit", ["degrees", "radians"])
@pytest.mark.parametrize("with_gripper", [True, False])
def test_joints_with_and_without_a_gripper(tmp_path: Path, unit: str, with_gripper: bool) -> None:
    joints = smooth_joints(30)
    stored = joints.copy()
    if unit == "radians":
        stored[:, :5] = np.deg2rad(joints[:, :5])
    words = [f"foreign.joint_unit={unit}"] + ([] if with_gripper else ["foreign.gripper_unit=none", "gripper=none"])
    path = recording(tmp_path / "theirs", stored if with_gripper else stored[:, :5], [30])
    made = fix(path, tmp_path, *words)
    (episode,) = load_episodes(made)
    gripper = GripperFormat.continuous if with_gripper else GripperFormat.none
    np.testing.assert_allclose(episode.actions, expected(joints, gripper=gripper), atol=2e-4)
    names = dataset_spec(made).state.names
    assert ("gripper.pos" in names) == with_gripper and len(names) == (18 if with_gripper else 16)
    np.testing.assert_allclose(
        episode.observations[STATE_KEY][:, names.index("ee.x")], end_effector(joints, KIN)[:, 0], atol=1e-5
    )


def test_a_missing_gripper_is_told_not_filled_in(tmp_path: Path) -> None:
    path = recording(tmp_path / "theirs", smooth_joints(30)[:, :5], [30])
    refused(hiltk("fix-actions", str(path), "name=fixed", f"root={tmp_path}"), tmp_path, "foreign.gripper_unit=none")
    result = hiltk("fix-actions", str(path), "name=fixed", f"root={tmp_path}", "foreign.gripper_unit=none")
    refused(result, tmp_path, "gripper=none", code=2)


def test_a_lock_that_did_not_hold_is_told(tmp_path: Path) -> None:
    """Devlog 047: wrist flex at 60 to 82 degrees in some episodes instead of 90."""
    joints = np.concatenate([smooth_joints(30, 0), smooth_joints(30, 1)])
    joints[:, 4] = 90.0
    joints[30:, 4] = np.linspace(60, 82, 30)
    path = recording(tmp_path / "theirs", joints, [30, 30])
    made = fix(path, tmp_path, "foreign.locked={wrist_roll: 90}", "checks.ignore=[KIN006]")  # else it refuses
    (warning,) = [w for w in report_of(made)["warnings"] if "locked" in w]
    assert "1 of 2 episodes (1;" in warning and "worst mean 71.0" in warning
    assert dataset_spec(made).robot.locked == ["wrist_roll"]
    np.testing.assert_allclose(load_episodes(made)[1].actions, expected(joints[30:]), atol=2e-4)  # as it really moved


def test_a_lock_is_held_to_the_angle_that_was_stated(tmp_path: Path) -> None:
    """Not to the median of the data, which is wherever the joint was."""
    joints = smooth_joints(30)
    joints[:, 4] = 80.5
    path = recording(tmp_path / "theirs", joints, [30])
    words = ("fix-actions", str(path), "name=fixed", f"root={tmp_path}")
    result = hiltk(*words, "foreign.locked={wrist_roll: 90}")
    refused(result, tmp_path, "the locked wrist_roll should stay at 90.0 degrees (robot.reset_joints); it is at 80.5")
    robot = dataset_spec(fix(path, tmp_path, "foreign.locked={wrist_roll: 81}")).robot
    assert robot.locked == ["wrist_roll"] and robot.reset_joints[4] == 81
    np.testing.assert_allclose(np.delete(robot.reset_joints, 4), np.delete(joints[0], 4), atol=1e-3)


def test_a_lock_of_no_joint(tmp_path: Path) -> None:
    path = recording(tmp_path / "theirs", smooth_joints(30), [30])
    words = ("fix-actions", str(path), "name=fixed", f"root={tmp_path}", "foreign.locked={wrist_rol: 90}")
    refused(hiltk(*words), tmp_path, "did you mean 'wrist_roll'?", code=2)


def test_a_slow_close_stays_a_close(tmp_path: Path) -> None:
    """Failure B3: 3 units a frame at 10 Hz is below any threshold of a single step."""
    joints = smooth_joints(40)
    joints[:, 5] = np.r_[np.full(10, 80.0), np.linspace(80, 29, 18), np.full(12, 29.0)]
    made = fix(recording(tmp_path / "theirs", joints, [40]), tmp_path, "gripper=discrete3")
    gripper = load_episodes(made)[0].actions[:, 3]
    assert gripper.tolist() == [0.0] * 9 + [0.0] + [-1.0] * 17 + [0.0] * 12


# ---------------------------------------------------------------- frames


def test_missing_frames_are_masked_and_velocities_stay_true(tmp_path: Path) -> None:
    whole = smooth_joints(40)
    kept = np.r_[0:15, 19:40]
    path = recording(tmp_path / "theirs", whole[kept], [36], frame_index=kept, pictures=picture_of(kept))
    made = fix(path, tmp_path, "checks.ignore=[KIN008]")  # it takes the gap for another rate
    (episode,) = load_episodes(made)
    assert np.flatnonzero(~episode.action_valid).tolist() == [14] and not episode.actions[14].any()
    np.testing.assert_allclose(episode.actions[15:], expected(whole[19:]), atol=2e-4)
    names = dataset_spec(made).state.names
    speed = episode.observations[STATE_KEY][15, names.index("elbow_flex.vel")]
    assert speed == pytest.approx((whole[19, 2] - whole[14, 2]) / 0.5, abs=1e-3)
    np.testing.assert_array_equal(episode.observations[CAMERA], picture_of(kept))
    assert any("4 frames are missing" in w for w in report_of(made)["warnings"]) and report_of(made)["masked"] == 1


def test_rows_stored_twice_are_left_out(tmp_path: Path) -> None:
    joints, rows = smooth_joints(30), np.r_[0:12, 11, 12:30]
    path = recording(tmp_path / "theirs", joints[rows], [31], frame_index=rows, pictures=picture_of(rows))
    made = fix(path, tmp_path)
    (episode,) = load_episodes(made)
    np.testing.assert_allclose(episode.actions, expected(joints), atol=2e-4)
    np.testing.assert_array_equal(episode.observations[CAMERA], picture_of(np.arange(30)))
    assert episode.action_valid.all() and any("1 rows were stored twice" in w for w in report_of(made)["warnings"])


def test_a_state_that_froze_is_masked(tmp_path: Path) -> None:
    joints = smooth_joints(40)
    joints[:, 0] = np.linspace(0, 60, 40)  # 1.5 degrees a frame
    stuck = joints.copy()
    stuck[20:23] = stuck[19]
    made = fix(recording(tmp_path / "theirs", stuck, [40]), tmp_path)
    (episode,) = load_episodes(made)
    assert np.flatnonzero(~episode.action_valid).tolist() == [19, 20, 21, 22]
    assert any("froze" in w for w in report_of(made)["warnings"])


def test_an_arm_that_pauses_is_not_frozen(tmp_path: Path) -> None:
    joints = smooth_joints(60)
    joints[:, 0] = 20 * (1 - np.cos(np.linspace(0, 2 * np.pi, 60)))
    joints = np.repeat(joints, np.where(np.arange(60) == 30, 20, 1), axis=0)  # rests at the turning point
    made = fix(recording(tmp_path / "theirs", joints, [79]), tmp_path)
    assert load_episodes(made)[0].action_valid.all()


@pytest.mark.parametrize("fps", [30.0, 25.0])
def test_another_frame_rate(tmp_path: Path, fps: float) -> None:
    length = int(4 * fps) + 1
    joints, exact = smooth_joints(length, fps=fps), smooth_joints(41)
    path = recording(tmp_path / "theirs", joints, [length], fps=fps, pictures=picture_of(np.arange(length)))
    made = fix(path, tmp_path, "foreign.fps=10")
    (episode,) = load_episodes(made)
    assert dataset_spec(made).fps == 10 and len(episode) == 40
    np.testing.assert_allclose(episode.observations[STATE_KEY][:, :6], exact, atol=0.02)  # linear interpolation
    np.testing.assert_allclose(episode.actions, expected(exact), atol=0.02)
    nearest = np.rint(np.arange(41) * fps / 10).astype(int)
    same = (episode.observations[CAMERA] == picture_of(nearest)).all((1, 2, 3))
    assert same.all() if fps == 30 else same[::2].all()  # every second tick lies midway between two frames


def test_more_frames_per_second_than_there_are(tmp_path: Path) -> None:
    path = recording(tmp_path / "theirs", smooth_joints(30), [30])
    result = hiltk("fix-actions", str(path), "name=fixed", f"root={tmp_path}", "foreign.fps=30")
    refused(result, tmp_path, "foreign.fps=30", code=2)


def test_pictures_copied_and_pictures_written_again_are_one_dataset(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    joints = np.concatenate([smooth_joints(30, seed) for seed in range(2)])
    success = np.arange(60) % 30 > 24
    path = recording(
        tmp_path / "theirs", joints, [30, 30], pictures=picture_of(np.arange(60)), columns={"won": success}
    )
    words = (AS_WRIST, "foreign.success_column=won", "foreign.task=lift")
    copied = fix(path, tmp_path / "copied", *words)
    monkeypatch.setattr(Timeline, "takes_all_of", lambda self, files: False)
    written = fix(path, tmp_path / "written", *words)
    specs = [dataset_spec(p) for p in (copied, written)]
    statistics = [vars(spec.stats.pop(STATE_KEY)) for spec in specs]
    assert specs[0].to_dict() == specs[1].to_dict()
    for key in ("mean", "std", "low", "high"):
        np.testing.assert_allclose(statistics[0][key], statistics[1][key], rtol=1e-6, atol=1e-9)
    for after_end in (False, True):
        for a, b in zip(
            load_episodes(copied, after_end=after_end), load_episodes(written, after_end=after_end), strict=True
        ):
            assert vars(a).keys() == vars(b).keys() and a.terminated == b.terminated
            for key in a.observations:
                np.testing.assert_array_equal(a.observations[key], b.observations[key])
            for key in ("actions", "rewards", "success", "source", "is_intervention", "action_valid"):
                np.testing.assert_array_equal(getattr(a, key), getattr(b, key))
    (one,), (two,) = ((p / "data").glob("*/*.parquet") for p in (copied, written))
    assert set(pq.read_schema(one).names) == set(pq.read_schema(two).names)
    assert {f.name: f.type for f in pq.read_schema(one)} == {f.name: f.type for f in pq.read_schema(two)}


def test_lerobot_reads_copied_pictures(tmp_path: Path) -> None:
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    path = recording(tmp_path / "theirs", smooth_joints(30), [30], pictures=picture_of(np.arange(30), 16))
    made = fix(path, tmp_path, AS_WRIST)
    theirs = LeRobotDataset("any/name", root=made)
    picture = theirs[7]["observation.images.wrist"].numpy()
    np.testing.assert_allclose(picture.transpose(1, 2, 0) * 255, picture_of(np.array([7]), 16)[0], atol=0.51)
    np.testing.assert_allclose(theirs.meta.stats["action"]["max"], load_episodes(made)[0].actions.max(0), atol=1e-6)


# ---------------------------------------------------------------- who acted


def test_only_the_humans_actions_were_lost(
    make_episode: Callable[..., Episode], dataset_dir: Callable[..., Path], tmp_path: Path
) -> None:
    """Devlog 045: a short takeover with zeros leaves an episode that is sound as a whole."""
    episodes = [make_episode(length=60, seed=n) for n in range(2)]
    true = [e.actions.copy() for e in episodes]
    for episode in episodes:
        episode.source[:] = Source.policy
        episode.is_intervention[20:27], episode.source[20:27] = True, Source.human
        episode.actions[:, 3] = 0.123  # a mark that a repair would overwrite
    episodes[1].actions[20:27] = 0.0
    made = fix(dataset_dir(episodes=episodes), tmp_path)
    report = report_of(made)
    assert (report["repaired"], report["intact"]) == ([1], [0])
    assert report["fraction_repaired"] == pytest.approx(7 / 120, abs=1e-6)
    assert report["per_episode"]["repaired"] == pytest.approx([0, 7 / 60], abs=1e-3)
    fixed = load_episodes(made)
    np.testing.assert_array_equal(fixed[0].actions, episodes[0].actions)
    np.testing.assert_allclose(fixed[1].actions[20:27], true[1][20:27], atol=2e-4)
    untouched = np.r_[0:20, 27:60]
    np.testing.assert_array_equal(fixed[1].actions[untouched], episodes[1].actions[untouched])


def test_a_column_of_interventions_is_carried_over(tmp_path: Path) -> None:
    human = np.arange(30) // 10 == 1
    path = recording(tmp_path / "theirs", smooth_joints(30), [30], columns={"is_human": human})
    (episode,) = load_episodes(fix(path, tmp_path, "foreign.intervention_column=is_human"))
    assert episode.is_intervention.tolist() == human[:-1].tolist()
    assert episode.source.tolist() == [Source.human if h else Source.policy for h in human[:-1]]


# ---------------------------------------------------------------- commanded


@pytest.fixture(scope="module")
def led(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three episodes of an arm that follows a leader: one frame late, 60 % of the way per frame; one goal lost."""
    asked = goals()
    joints = follow(asked, 1.0, 0.6, 0.0)
    stored = asked.copy()
    stored[200:210] = 0.0
    names = JOINTS
    return handmade(
        tmp_path_factory.mktemp("led") / "theirs", {STATE_KEY: joints, "action": stored}, [150, 150, 150], names=names
    )


def test_commanded_actions_are_the_way_to_the_leader(led: Path, tmp_path: Path) -> None:
    made = fix(led, tmp_path, "method=commanded", "foreign.commands=action", "action_scale_m=0.06")
    assert dataset_spec(made).action.semantics is Semantics.commanded
    asked = goals()
    joints = follow(asked, 1.0, 0.6, 0.0)
    wanted = (end_effector(asked, KIN) - end_effector(joints, KIN)) / 0.06
    stored = load_episodes(made)
    for number, episode in enumerate(stored):
        rows = np.flatnonzero(number == EPISODES)[:-1]
        known = (rows < 200) | (rows >= 210)
        np.testing.assert_allclose(episode.actions[known, :3], np.clip(wanted[rows[known]], -1, 1), atol=2e-4)
        np.testing.assert_allclose(  # worked out from the motion, where the goal was lost
            episode.actions[~known, :3], np.clip(wanted[rows[~known]], -1, 1), atol=0.1
        )
    (finding,) = [f for f in examine(gather([resolve(str(made), "datasets", tmp_path)])).findings if f.code == "ACT005"]
    assert finding.severity is Severity.warning and "servos lag" in finding.fix  # nothing is wrong with these
    report = report_of(made)
    servo = report["servo"]["joints"]["elbow_flex"]
    assert servo["lag_frames"] == pytest.approx(1.0, abs=0.15) and servo["gain"] == pytest.approx(0.6, abs=0.05)
    assert report["servo"]["estimated_goals"] == pytest.approx(10 / 450, abs=1e-4)
    assert report["residual_mm"]["servo"]["median"] < 2.0 and report["semantics"] == "commanded"


def test_goals_that_do_not_lead_are_refused(tmp_path: Path) -> None:
    joints = follow(goals(), 1.0, 0.6, 0.0)
    other = np.random.default_rng(0).permutation(goals())
    for name, column in (("noise", other), ("late", np.roll(joints, 2, axis=0))):
        path = handmade(tmp_path / name, {STATE_KEY: joints, "action": column}, [150] * 3, names=JOINTS)
        words = ("method=commanded", "foreign.commands=action", "name=fixed", f"root={tmp_path}")
        refused(hiltk("fix-actions", str(path), *words), tmp_path, "method=achieved")


@pytest.mark.parametrize(
    ("words", "message", "code"),
    [
        (["method=commanded"], "foreign.commands=action", 2),
        (["foreign.commands=action"], "method=commanded", 2),
        (["method=commanded", "foreign.commands=goal"], "no column 'goal'", 1),
        (["method=commanded", "foreign.commands=action"], "zero or missing", 1),
    ],
)
def test_commands_that_are_not_there(tmp_path: Path, words: list[str], message: str, code: int) -> None:
    path = recording(tmp_path / "theirs", smooth_joints(60), [60])
    refused(hiltk("fix-actions", str(path), "name=fixed", f"root={tmp_path}", *words), tmp_path, message, code=code)


# ---------------------------------------------------------------- report


def test_a_scale_that_is_too_small_or_too_large_is_told_with_one_that_fits(tmp_path: Path) -> None:
    joints = np.concatenate([smooth_joints(60, seed) for seed in range(3)])
    path = recording(tmp_path / "theirs", joints, [60] * 3)
    episode = np.repeat([0, 1, 2], 60)
    steps = np.abs(np.diff(end_effector(joints, KIN), axis=0)).max(1)[episode[1:] == episode[:-1]]
    fits = np.ceil(1000 * np.quantile(steps, 0.99)) / 1000
    for scale, words in ((0.002, "hit the limit"), (0.2, "small part of a full action")):
        made = fix(path, tmp_path / str(scale), f"action_scale_m={scale}")
        (warning,) = report_of(made)["warnings"]
        assert words in warning and f"action_scale_m={fits:g} would fit" in warning
    good = report_of(fix(path, tmp_path / "good", f"action_scale_m={fits}"))
    assert good["warnings"] == [] and max(good["clipped"].values()) < 0.02
    assert good["residual_mm"]["unclipped"]["median"] < 0.01 and len(good["per_episode"]["residual_mm"]) == 3


# ---------------------------------------------------------------- damage


def refused(result: Result, root: Path, message: str, code: int = 1) -> None:
    """One clear message, no stack trace, nothing written."""
    assert result.exit_code == code, result.output
    assert message in " ".join(result.output.split()), result.output
    assert "Traceback" not in result.output and (result.exception is None or isinstance(result.exception, SystemExit))
    assert not [p for p in (root / "datasets").rglob("*") if p.is_file() and not p.name.startswith(".")]


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def edit_info(path: Path, **changes: Any) -> None:
    file = path / "meta/info.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def edit_table(path: Path, change: Callable[[pa.Table], pa.Table]) -> None:
    (file,) = (path / "data").glob("*/*.parquet")
    pq.write_table(change(pq.read_table(file, partitioning=None)), file)


def with_nan(table: pa.Table) -> pa.Table:
    cells = table.column(STATE_KEY).to_pylist()
    cells[3][2] = float("nan")
    field = table.schema.field(STATE_KEY)
    return table.set_column(table.schema.get_field_index(STATE_KEY), field, pa.array(cells, field.type))


DAMAGE: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no dataset": (lambda p: shutil.rmtree(p / "meta"), "not a LeRobotDataset"),
    "no tables": (lambda p: shutil.rmtree(p / "data"), "the dataset is empty"),
    "broken info": (lambda p: (p / "meta/info.json").write_text("{"), "info.json cannot be read"),
    "old version": (lambda p: edit_info(p, codebase_version="v2.1"), "converter from v2.1 cannot convert"),
    "cut table": (lambda p: cut(next((p / "data").glob("*/*.parquet"))), "damaged"),
    "missing episode": (lambda p: edit_table(p, lambda t: t.slice(10)), "announces 24 frames"),
    "wrong totals": (lambda p: edit_info(p, total_frames=99), "announces 99 frames"),
    "not finite": (lambda p: edit_table(p, with_nan), "not finite in 1 of 24 rows"),
    "no state": (
        lambda p: edit_info(p, features={k: v for k, v in _features(p).items() if k != STATE_KEY}), STATE_KEY
    ),
    "state announced, not there": (
        lambda p: edit_table(p, lambda t: t.drop_columns([STATE_KEY])), "damaged"
    ),
    "cut video": (lambda p: cut(next(p.rglob("*.mp4"))), "is damaged"),
    "missing video": (lambda p: next(p.rglob("*.mp4")).unlink(), "video file is missing"),
}  # fmt: skip


def _features(path: Path) -> dict[str, Any]:
    return json.loads((path / "meta/info.json").read_text())["features"]


@pytest.fixture(scope="module")
def filmed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two episodes with a video, made elsewhere."""
    import av

    path = tmp_path_factory.mktemp("filmed") / "theirs"
    joints = np.concatenate([smooth_joints(12, seed) for seed in range(2)])
    recording(path, joints, [12, 12])
    video = path / f"videos/{CAMERA}/chunk-000/file-000.mp4"
    video.parent.mkdir(parents=True)
    with av.open(str(video), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        for picture in picture_of(np.arange(24), 64):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    table = _features(path)
    table[CAMERA] = {"dtype": "video", "shape": [64, 64, 3], "names": ["height", "width", "channels"]}
    edit_info(path, features=table)
    file = path / "meta/episodes/chunk-000/file-000.parquet"
    rows = pq.read_table(file, partitioning=None).to_pylist()
    for row, start in zip(rows, (0.0, 1.2), strict=True):
        place = {"chunk_index": 0, "file_index": 0, "from_timestamp": start, "to_timestamp": start + 1.2}
        row |= {f"videos/{CAMERA}/{key}": value for key, value in place.items()}
    pq.write_table(pa.Table.from_pylist(rows), file)
    return path


def test_videos_stay_byte_for_byte_under_our_name(filmed: Path, tmp_path: Path) -> None:
    made = fix(filmed, tmp_path, AS_WRIST, "checks.ignore=[IMG001,IMG002]")
    (video,) = made.rglob("*.mp4")
    assert video.relative_to(made).as_posix() == "videos/observation.images.wrist/chunk-000/file-000.mp4"
    assert video.read_bytes() == next(filmed.rglob("*.mp4")).read_bytes()
    episodes = load_episodes(made)
    assert [e.observations["observation.images.wrist"].shape for e in episodes] == [(12, 64, 64, 3)] * 2


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_input_is_one_message_and_nothing_is_written(filmed: Path, tmp_path: Path, damage: str) -> None:
    path = Path(shutil.copytree(filmed, tmp_path / "theirs"))
    harm, message = DAMAGE[damage]
    harm(path)
    before = {p: p.read_bytes() for p in path.rglob("*") if p.is_file()}
    refused(hiltk("fix-actions", str(path), "name=fixed", f"root={tmp_path}"), tmp_path, message)
    assert before == {p: p.read_bytes() for p in path.rglob("*") if p.is_file()}


def test_frames_that_do_not_fit_into_memory(filmed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resources, "available_memory", lambda: 1 << 16)
    words = ("name=fixed", f"root={tmp_path}", "foreign.image_height=32", "foreign.image_width=32")
    refused(hiltk("fix-actions", str(filmed), *words), tmp_path, "foreign.image_height")
    assert foreign.require_memory is resources.require_memory
