"""`hiltk fix-actions` from end to end: hiltk's own broken datasets, and datasets somebody else recorded."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hiltk.arm.state import state_spec
from hiltk.artifacts.store import resolve
from hiltk.config.commands import Fault, FixActionsConf, RecordConf, StatedConf
from hiltk.config.groups import HumanConf, RewardConf, So101SimConf, TaskConf
from hiltk.data.episode import Episode
from hiltk.data.lerobot_io import SPEC_FILE, dataset_spec, load_episodes
from hiltk.errors import ConfigError, UserError
from hiltk.evaluation.seeds import attempt_seed
from hiltk.spec import JOINT_PARTS, STATE_KEY, EeFrame, GripperFormat, Semantics, Spec, require_compatible
from hiltk.steps import fix_actions, record

WRIST = "observation.images.wrist"
ENV = So101SimConf(image_height=16, image_width=16)


def conf(root: Path, dataset: Path | str, **changes: Any) -> FixActionsConf:
    return replace(FixActionsConf(root=str(root), name="fixed", dataset=str(dataset)), **changes)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same six demonstrations twice: with their true actions, and with the fault."""
    root = tmp_path_factory.mktemp("recorded")
    made = {}
    for fault in Fault:
        cfg = RecordConf(
            root=str(root), name=fault.name, env=ENV, task=TaskConf(), episodes=6, fault=fault, steps_after_success=2
        )
        made[fault.name] = record.run(cfg).path
    return made


# ---------------------------------------------------------------- hiltk's own datasets


def test_zeros_are_rebuilt_and_nothing_else_changes(recorded: dict[str, Path], tmp_path: Path) -> None:
    before = {p: p.read_bytes() for p in recorded["zero_actions"].rglob("*") if p.is_file()}
    artifact = fix_actions.run(conf(tmp_path, recorded["zero_actions"]))
    assert before == {p: p.read_bytes() for p in recorded["zero_actions"].rglob("*") if p.is_file()}
    kin_spec = dataset_spec(artifact.path)
    assert kin_spec.action.semantics is Semantics.achieved
    require_compatible(kin_spec, dataset_spec(recorded["none"]), JOINT_PARTS, left_name="fixed", right_name="true")
    for fixed, true in zip(load_episodes(artifact.path), load_episodes(recorded["none"]), strict=True):
        for key in true.observations:
            np.testing.assert_array_equal(fixed.observations[key], true.observations[key])
        for name in ("rewards", "success", "source", "is_intervention", "action_valid", "terminated", "stratum"):
            np.testing.assert_array_equal(getattr(fixed, name), getattr(true, name))


def test_rebuilt_actions_are_the_displacements_and_agree_with_the_true_commands(
    recorded: dict[str, Path], tmp_path: Path
) -> None:
    """Exactly what was achieved (float32 rounding); the commands themselves up to servo lag and human noise.

    Measured over 20 demonstrations: translations correlate 0.86 to 0.98 with the commands, mean difference 0.04 to
    0.13 of a full action (1 to 3 mm).
    """
    fixed = load_episodes(fix_actions.run(conf(tmp_path, recorded["zero_actions"])).path)
    true = load_episodes(recorded["none"])
    names = dataset_spec(recorded["none"]).state.names
    ee, grip = [names.index(n) for n in ("ee.x", "ee.y", "ee.z")], names.index("gripper.pos")
    for episode in fixed:
        state = episode.observations[STATE_KEY].astype(np.float64)
        np.testing.assert_allclose(
            episode.actions[:, :3], np.clip(np.diff(state[:, ee], axis=0) / 0.02, -1, 1), atol=2e-5
        )
        np.testing.assert_allclose(episode.actions[:, 3], np.clip(np.diff(state[:, grip]) / 15, -1, 1), atol=2e-5)
    rebuilt, commanded = (np.concatenate([e.actions[:, :3] for e in group]) for group in (fixed, true))
    for dim in range(3):
        assert np.corrcoef(rebuilt[:, dim], commanded[:, dim])[0, 1] > 0.8
    assert np.abs(rebuilt - commanded).mean() < 0.15


def test_replayed_in_the_simulator_the_arm_goes_where_it_went(recorded: dict[str, Path], tmp_path: Path) -> None:
    from hiltk.envs.make import make_env

    fixed = load_episodes(fix_actions.run(conf(tmp_path, recorded["zero_actions"])).path)
    env = make_env(replace(ENV, cameras=[]), TaskConf(), RewardConf(), seed=0)
    ee = [env.io_spec.state.names.index(n) for n in ("ee.x", "ee.y", "ee.z")]
    for attempt, episode in enumerate(fixed[:3]):
        observation, _ = env.reset(seed=attempt_seed(0, attempt))
        recorded_m = episode.observations[STATE_KEY][:, ee]
        np.testing.assert_allclose(observation[STATE_KEY][ee], recorded_m[0], atol=1e-6)
        for action in episode.actions:
            observation = env.step(action)[0]
        travelled = np.linalg.norm(np.diff(recorded_m, axis=0), axis=1).sum()
        assert np.linalg.norm(observation[STATE_KEY][ee] - recorded_m[-1]) < 0.2 * travelled


def test_a_recording_whose_end_effector_is_relative_to_the_reset_pose(tmp_path: Path) -> None:
    """Checked by forward kinematics as it is written, repaired, and refused where the other frame is meant."""
    env = replace(ENV, ee_frame=EeFrame.reset)
    cfg = RecordConf(root=str(tmp_path), name="reset", env=env, task=TaskConf(), episodes=2, steps_after_success=0)
    broken = record.run(replace(cfg, fault=Fault.zero_actions))
    wandering = record.run(replace(cfg, name="play", human=HumanConf(name="wandering"), keep="all"))
    fixed = fix_actions.run(conf(tmp_path, broken.path))
    spec = dataset_spec(fixed.path)
    assert spec.state.ee_frame is EeFrame.reset
    for one in (broken, wandering, fixed):
        for episode in load_episodes(one.path):
            np.testing.assert_allclose(episode.observations[STATE_KEY][0, 12:], 0, atol=1e-6)
    other = replace(spec, state=state_spec())
    with pytest.raises(UserError, match=r"state.dims.ee.x.frame: 'reset' against 'base'"):
        require_compatible(spec, other, JOINT_PARTS, left_name="one", right_name="other")


def test_report_and_provenance(recorded: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    artifact = fix_actions.run(conf(tmp_path, recorded["zero_actions"]))
    report = json.loads((artifact.path / "repair.json").read_text())
    assert report["repaired"] == list(range(6)) and report["intact"] == []
    assert set(report["clipped"]) == {"delta_x", "delta_y", "delta_z", "gripper"}
    assert 0 < max(report["clipped"].values()) < 0.6
    assert report["residual_mm"]["unclipped"]["max"] < 0.01 <= report["residual_mm"]["as_stored"]["max"]
    assert (artifact.path / "repair.png").stat().st_size > 5000
    run = artifact.run()
    assert run["repaired_episodes"] == 6 and run["inputs"][0]["fingerprint"]
    assert str(recorded["zero_actions"]) in str(run["parent"])
    printed = capsys.readouterr().out
    assert "episodes rebuilt" in printed and "replay residual" in printed


def test_lerobot_reads_the_result_and_its_statistics_are_new(recorded: dict[str, Path], tmp_path: Path) -> None:
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    path = fix_actions.run(conf(tmp_path, recorded["zero_actions"])).path
    theirs = LeRobotDataset("any/name", root=path, video_backend="pyav")
    actions = np.stack([theirs[i]["action"].numpy() for i in range(theirs.num_frames)])
    assert actions.any(1).mean() > 0.8
    stats = theirs.meta.stats["action"]
    for name, value in {
        "min": actions.min(0),
        "max": actions.max(0),
        "mean": actions.mean(0),
        "std": actions.std(0),
    }.items():
        np.testing.assert_allclose(stats[name], value, atol=1e-5, err_msg=name)
    table = pq.read_table(next((path / "meta" / "episodes").glob("*/*.parquet")))
    first = actions[: table.column("length")[0].as_py()]
    np.testing.assert_allclose(table.column("stats/action/max")[0].as_py(), first.max(0), atol=1e-6)


def test_an_intact_dataset_is_refused(recorded: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nothing to fix") as caught:
        fix_actions.run(conf(tmp_path, recorded["none"]))
    assert caught.value.exit_code == 1 and "force=true" in caught.value.fix
    with pytest.raises(UserError):
        resolve("fixed", "datasets", tmp_path)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"gripper": GripperFormat.discrete3}, "gripper=discrete3, but it has gripper=continuous"),
        ({"action_scale_m": 0.01}, "action_scale_m=0.01, but it has action_scale_m=0.02"),
        ({"gripper_step": 10.0}, "gripper_step=10.0, but it has gripper_step=15.0"),
        ({"foreign": StatedConf(joint_unit="radians")}, "foreign.*, but it is one of hiltk's"),
    ],
)
def test_settings_that_contradict_the_datasets_own_spec(
    recorded: dict[str, Path], tmp_path: Path, changes: dict[str, Any], named: str
) -> None:
    with pytest.raises(ConfigError, match="own spec decides") as caught:
        fix_actions.run(conf(tmp_path, recorded["zero_actions"], **changes))
    assert named in caught.value.where and caught.value.exit_code == 2


def test_settings_that_say_what_the_spec_says_are_fine(
    make_episode: Callable[..., Episode], dataset_dir: Callable[..., Path], tiny_spec: Spec, tmp_path: Path
) -> None:
    tiny_spec.action.gripper_step = 10.0
    episode = make_episode(length=5, spec=tiny_spec)
    episode.actions[:] = 0
    path = dataset_dir(episodes=[episode], spec=tiny_spec)
    for said in ({"gripper_step": 10.0}, {}):
        assert dataset_spec(fix_actions.run(conf(tmp_path, path, **said)).path).action.gripper_step == 10.0


def test_force_rebuilds_sound_actions_too(recorded: dict[str, Path], tmp_path: Path) -> None:
    forced = load_episodes(fix_actions.run(conf(tmp_path, recorded["none"], force=True)).path)
    repaired = load_episodes(fix_actions.run(conf(tmp_path, recorded["zero_actions"])).path)
    for a, b in zip(forced, repaired, strict=True):
        np.testing.assert_array_equal(a.actions, b.actions)


def test_only_broken_episodes_are_rebuilt(
    make_episode: Callable[..., Episode], dataset_dir: Callable[..., Path], tmp_path: Path
) -> None:
    episodes = [make_episode(length=20, seed=n) for n in range(3)]
    for episode in episodes:
        episode.actions[:, 3] = 0.123  # a mark that a repair would overwrite
    episodes[1].actions[:] = 0
    artifact = fix_actions.run(conf(tmp_path, dataset_dir(episodes=episodes)))
    report = json.loads((artifact.path / "repair.json").read_text())
    assert (report["repaired"], report["intact"]) == ([1], [0, 2])
    fixed = load_episodes(artifact.path)
    for n in (0, 2):
        np.testing.assert_array_equal(fixed[n].actions, episodes[n].actions)
    expected = make_episode(length=20, seed=1).actions
    np.testing.assert_allclose(fixed[1].actions, expected, atol=2e-4)  # states are stored as float32


def test_missing_actions_are_rebuilt(shared_dataset: Path, tmp_path: Path) -> None:
    import shutil

    path = Path(shutil.copytree(shared_dataset, tmp_path / "copy"))
    (file,) = (path / "data").glob("*/*.parquet")
    table = pq.read_table(file)
    field = table.schema.field("action")
    cells = table.column("action").to_pylist()
    cells[2] = [float("nan")] * 4
    pq.write_table(table.set_column(table.schema.get_field_index("action"), field, pa.array(cells, field.type)), file)
    with pytest.raises(UserError, match="fix-actions"):
        load_episodes(path)
    fixed = load_episodes(fix_actions.run(conf(tmp_path, path)).path)
    np.testing.assert_allclose(fixed[0].actions, load_episodes(shared_dataset)[0].actions, atol=2e-4)


def test_a_gripper_of_three_values(
    make_episode: Callable[..., Episode], dataset_dir: Callable[..., Path], tiny_spec: Spec, tmp_path: Path
) -> None:
    tiny_spec.action.gripper = GripperFormat.discrete3
    episode = make_episode(length=5, spec=tiny_spec)
    episode.actions[:] = 0
    episode.observations[STATE_KEY][:, 5] = [40, 55, 51, 45, 40, 40]  # steps of 15, -4, -6, -5 and 0
    fixed = fix_actions.run(conf(tmp_path, dataset_dir(episodes=[episode], spec=tiny_spec), gripper_threshold=0.32))
    # 0.32 of 15 is 4.8: the step of -4 alone is too short, but part of a close of 15
    assert load_episodes(fixed.path)[0].actions[:, 3].tolist() == [1, -1, -1, -1, 0]


def test_another_arm_is_refused(
    make_episode: Callable[..., Episode], dataset_dir: Callable[..., Path], tmp_path: Path
) -> None:
    episode = make_episode(length=20)
    episode.actions[:] = 0
    episode.observations[STATE_KEY][:, 12] += 0.02
    with pytest.raises(UserError, match="20 mm from where this arm model puts it"):
        fix_actions.run(conf(tmp_path, dataset_dir(episodes=[episode])))


@pytest.mark.parametrize(
    "changes", [{"action_scale_m": 0.0}, {"gripper_step": -1.0}, {"gripper_threshold": 0.0}, {"gripper_threshold": 1.5}]
)
def test_values_out_of_range(tmp_path: Path, changes: dict[str, float]) -> None:
    with pytest.raises(ConfigError) as caught:
        fix_actions.run(conf(tmp_path, tmp_path, **changes))
    assert next(iter(changes)) in str(caught.value)


def test_no_such_dataset(tmp_path: Path) -> None:
    with pytest.raises(UserError):
        fix_actions.run(conf(tmp_path, "nothing"))
    with pytest.raises(UserError, match="not a LeRobotDataset"):
        fix_actions.run(conf(tmp_path, tmp_path))


# ---------------------------------------------------------------- datasets made elsewhere


def record_foreign(
    path: Path, episodes: list[Episode], *, joint_unit: str = "degrees", gripper_unit: str = "percent"
) -> Path:
    """The episodes as somebody with plain LeRobot would have recorded them: video, six joints, dead actions."""
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    joints = [
        f"{j}.pos" for j in ("shoulder_pan", "shoulder_lift", "elbow_flex", "wrist_flex", "wrist_roll", "gripper")
    ]
    size = episodes[0].observations[WRIST].shape[1:]
    features = {
        STATE_KEY: {"dtype": "float32", "shape": (6,), "names": joints},
        "action": {"dtype": "float32", "shape": (6,), "names": joints},
        "observation.images.gripper_cam": {"dtype": "video", "shape": size, "names": ["height", "width", "channels"]},
    }
    dataset = LeRobotDataset.create(
        "someone/demos", fps=10, features=features, root=path, use_videos=True, video_backend="pyav"
    )
    for episode in episodes:
        for t in range(len(episode) + 1):
            state = episode.observations[STATE_KEY][t, :6].astype(np.float64)
            if joint_unit == "radians":
                state[:5] = np.deg2rad(state[:5])
            if gripper_unit == "unit":
                state[5] /= 100
            elif gripper_unit == "radians":
                state[5] = -0.174533 + state[5] / 100 * 1.919862
            dataset.add_frame(
                {
                    STATE_KEY: state.astype(np.float32),
                    "action": np.zeros(6, np.float32),
                    "observation.images.gripper_cam": episode.observations[WRIST][t],
                    "task": "Pick up the cube.",
                }
            )
        dataset.save_episode()
    dataset.finalize()
    return path


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> list[Episode]:
    """Demonstrations of the simulated arm, with larger frames than the networks get."""
    env = So101SimConf(image_height=64, image_width=96)
    cfg = RecordConf(
        root=str(tmp_path_factory.mktemp("simulated")),
        name="sim",
        env=env,
        task=TaskConf(),
        episodes=3,
        steps_after_success=4,
    )
    return load_episodes(record.run(cfg).path, after_end=True)


@pytest.fixture(scope="module")
def foreign(simulated: list[Episode], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return record_foreign(tmp_path_factory.mktemp("foreign") / "dataset", simulated)


def conventions(**changes: Any) -> StatedConf:
    base = StatedConf(
        cameras={"wrist": "observation.images.gripper_cam"},
        success_last_frames=6,
        task="lift",
        image_height=32,
        image_width=48,
    )
    return replace(base, **changes)


def test_a_foreign_dataset_becomes_one_the_simulator_could_have_recorded(
    foreign: Path, simulated: list[Episode], tmp_path: Path
) -> None:
    from hiltk.envs.make import make_env

    artifact = fix_actions.run(conf(tmp_path, foreign, foreign=conventions()))
    env = make_env(So101SimConf(image_height=32, image_width=48), TaskConf(), RewardConf(), seed=0)
    spec = dataset_spec(artifact.path)
    require_compatible(spec, env.io_spec, JOINT_PARTS, left_name="foreign", right_name="env")
    assert spec.robot.model_hash == env.io_spec.robot.model_hash and spec.task == "lift"
    assert spec.action.semantics is Semantics.achieved
    whole = load_episodes(artifact.path, spec, after_end=True)
    for made, original in zip(whole, simulated, strict=True):
        np.testing.assert_allclose(made.observations[STATE_KEY], original.observations[STATE_KEY], atol=2e-3)
        assert made.observations[WRIST].shape == (len(original) + 1, 32, 48, 3)
        assert made.success.sum() == 6 and made.success[-6:].all()
    for short, long in zip(load_episodes(artifact.path), whole, strict=True):
        assert short.terminated and len(short) == len(long) - 4  # success held for two of the six frames
        assert short.rewards.tolist() == [0.0] * (len(short) - 1) + [1.0]
        assert short.action_valid.all() and np.abs(short.actions).max() > 0.5


def test_foreign_frames_are_the_right_ones(foreign: Path, simulated: list[Episode], tmp_path: Path) -> None:
    """Every resized video frame is nearer to the frame recorded at its step than to the neighbours'."""
    import cv2

    made = load_episodes(fix_actions.run(conf(tmp_path, foreign, foreign=conventions())).path, after_end=True)
    for episode, original in zip(made, simulated, strict=True):
        small = np.stack([cv2.resize(f, (48, 32), interpolation=cv2.INTER_AREA) for f in original.observations[WRIST]])
        gaps = np.abs(episode.observations[WRIST].astype(int)[:, None] - small[None]).mean((2, 3, 4))
        moving = np.abs(np.diff(small.astype(int), axis=0)).mean((1, 2, 3)) > 3
        steps = np.flatnonzero(np.r_[True, moving] & np.r_[moving, True])
        assert len(steps) > 3 and (gaps.argmin(1)[steps] == steps).all()


@pytest.mark.parametrize(
    ("joint_unit", "gripper_unit"), [("radians", "percent"), ("radians", "radians"), ("degrees", "unit")]
)
def test_units_are_converted_once(
    make_episode: Callable[..., Episode], tiny_spec: Spec, tmp_path: Path, joint_unit: str, gripper_unit: str
) -> None:
    spec = replace(
        tiny_spec, images=[replace(tiny_spec.images[0], height=64, width=64, native_height=64, native_width=64)]
    )
    episode = make_episode(spec=spec)
    path = record_foreign(tmp_path / "theirs", [episode], joint_unit=joint_unit, gripper_unit=gripper_unit)
    stated = conventions(joint_unit=joint_unit, gripper_unit=gripper_unit)
    made = load_episodes(fix_actions.run(conf(tmp_path, path, foreign=stated)).path, after_end=True)[0]
    np.testing.assert_allclose(made.observations[STATE_KEY], episode.observations[STATE_KEY], atol=2e-3)
    np.testing.assert_allclose(made.actions, episode.actions, atol=1e-3)


def test_which_episodes_succeeded(foreign: Path, tmp_path: Path) -> None:
    stated = conventions(successful_episodes=[0, 2])
    episodes = load_episodes(fix_actions.run(conf(tmp_path, foreign, foreign=stated)).path)
    assert [e.terminated for e in episodes] == [True, False, True]
    assert [e.truncated for e in episodes] == [False, True, False]
    assert not episodes[1].success.any() and not episodes[1].rewards.any()


def test_native_size_and_their_own_camera_names(foreign: Path, tmp_path: Path) -> None:
    artifact = fix_actions.run(conf(tmp_path, foreign, foreign=StatedConf()))
    spec = dataset_spec(artifact.path)
    assert [(i.name, i.height, i.width) for i in spec.images] == [("gripper_cam", 64, 96)]
    assert spec.task == "Pick up the cube."
    assert list((artifact.path / "videos").rglob("*.mp4"))  # full-size video stays video


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"joint_unit": "degree"}, ConfigError, "foreign.joint_unit"),
        ({"gripper_unit": "mm"}, ConfigError, "foreign.gripper_unit"),
        ({"joint_unit": "radians"}, UserError, "foreign.joint_unit=degrees"),
        ({"cameras": {"wrist": "observation.images.griper_cam"}}, UserError, "observation.images.gripper_cam"),
        ({"joints": ["a", "b"]}, ConfigError, "foreign.joints"),
        ({"joints": ["shoulder_pan"] * 6}, UserError, "did you mean 'shoulder_pan.pos'?"),
        ({"success_last_frames": 1000}, ConfigError, "foreign.success_last_frames"),
        ({"successful_episodes": [7]}, ConfigError, "foreign.successful_episodes"),
        ({"successful_episodes": [1], "success_last_frames": 0}, ConfigError, "foreign.success_last_frames=10"),
    ],
)
def test_conventions_that_cannot_be_meant(
    foreign: Path, tmp_path: Path, changes: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error) as caught:
        fix_actions.run(conf(tmp_path, foreign, foreign=conventions(**changes)))
    assert message in str(caught.value)
    assert not list((tmp_path / "datasets" / "fixed").glob("d-*"))


def test_radians_said_to_be_degrees(make_episode: Callable[..., Episode], tiny_spec: Spec, tmp_path: Path) -> None:
    spec = replace(
        tiny_spec, images=[replace(tiny_spec.images[0], height=64, width=64, native_height=64, native_width=64)]
    )
    path = record_foreign(tmp_path / "theirs", [make_episode(spec=spec)], joint_unit="radians")
    with pytest.raises(UserError, match=r"foreign\.joint_unit=radians"):
        fix_actions.run(conf(tmp_path, path, foreign=conventions()))


def test_a_hiltk_dataset_that_lost_its_spec_can_be_brought_back(shared_dataset: Path, tmp_path: Path) -> None:
    import shutil

    path = Path(shutil.copytree(shared_dataset, tmp_path / "copy"))
    (path / SPEC_FILE).unlink()
    made = load_episodes(fix_actions.run(conf(tmp_path, path, foreign=StatedConf(task="lift"))).path)
    for a, b in zip(made, load_episodes(shared_dataset), strict=True):
        np.testing.assert_allclose(a.observations[STATE_KEY], b.observations[STATE_KEY], atol=1e-3)
        np.testing.assert_array_equal(a.observations[WRIST], b.observations[WRIST])
