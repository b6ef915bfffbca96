"""Datasets made elsewhere with something odd about them: mended, left out by name, or refused with the true reason."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner, Result

from hiltk import cli
from hiltk.data.foreign_files import here, open_foreign
from hiltk.data.keep_episodes import keep_episodes, numbering
from hiltk.data.lerobot_files import LeRobotFiles
from hiltk.data.lerobot_io import dataset_spec, load_episodes
from hiltk.data.survey import read_contents
from hiltk.errors import UserError
from hiltk.spec import STATE_KEY
from tests.data.handmade import CAMERA, JOINTS, handmade, picture_of, smooth_joints

ROWS = Path("data/chunk-000/file-000.parquet")
EPISODES = Path("meta/episodes/chunk-000/file-000.parquet")


def hiltk(*words: str) -> Result:
    return CliRunner().invoke(cli.app, list(words), terminal_width=200)


def adopt(path: Path, root: Path, *words: str, name: str = "mine") -> Result:
    return hiltk("adopt", str(path), f"name={name}", f"root={root}", "foreign.joint_unit=degrees", *words)


def theirs(path: Path, lengths: list[int], **options: Any) -> Path:
    """Joints, dead actions and a camera."""
    joints = np.concatenate([smooth_joints(n, seed) for seed, n in enumerate(lengths)])
    columns = {STATE_KEY: joints, "action": 0 * joints}
    pictures = options.pop("pictures", picture_of(np.arange(len(joints))))
    return handmade(path, columns, lengths, names=JOINTS, pictures=pictures, **options)


def edit_info(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    file = path / "meta" / "info.json"
    info = json.loads(file.read_text())
    change(info)
    file.write_text(json.dumps(info))


# ---------------------------------------------------------------- episodes


def test_an_episode_of_one_row_is_left_out_and_named(tmp_path: Path) -> None:
    path = theirs(tmp_path / "theirs", [12, 1, 15])
    with open_foreign(path) as opened:
        assert opened.episodes == [0, 2] and [stop - start for start, stop in opened.files.bounds] == [12, 15]
        assert ("episode 1", "left out: it has one row, an action needs two") in opened.notes
        assert here(opened, [2], "foreign.successful_episodes") == [1]
        with pytest.raises(UserError, match="no episode 1 left"):
            here(opened, [1], "foreign.successful_episodes")
        last = opened.files.frames_at(CAMERA, np.array([12, 26]))
    np.testing.assert_array_equal(last, picture_of(np.array([13, 27])))


def test_numbers_that_skip_are_counted_anew(tmp_path: Path) -> None:
    path = theirs(tmp_path / "theirs", [12, 13])
    for file in (ROWS, EPISODES):
        table = pq.read_table(path / file, partitioning=None)
        at = table.schema.get_field_index("episode_index")
        numbers = pa.array([3 * n for n in table.column("episode_index").to_pylist()], table.schema.field(at).type)
        pq.write_table(table.set_column(at, table.schema.field(at), numbers), path / file)
    with open_foreign(path) as opened:
        assert opened.episodes == [0, 3] and len(opened.files.bounds) == 2
    result = adopt(path, tmp_path)
    assert result.exit_code == 0 and "they are 0, 3 in the original" in result.output, result.output


def test_an_episode_without_rows_is_left_out_and_named(tmp_path: Path) -> None:
    path = theirs(tmp_path / "theirs", [12, 13, 14])
    table = pq.read_table(path / ROWS, partitioning=None)
    pq.write_table(table.filter(pa.array(np.array(table["episode_index"]) != 1)), path / ROWS)
    edit_info(path, lambda info: info.update(total_frames=26))
    with open_foreign(path) as opened:
        assert opened.episodes == [0, 2] and ("episode 1", "left out: it has no rows") in opened.notes


def test_lost_rows_are_no_matter_of_numbering(tmp_path: Path) -> None:
    path = theirs(tmp_path / "theirs", [12, 1, 15])
    edit_info(path, lambda info: info.update(total_frames=100))
    assert numbering(path).sound
    with pytest.raises(UserError, match="announces 100 frames but its tables hold 28"), open_foreign(path):
        pass


def test_kept_episodes_are_a_dataset_that_lerobot_opens(tmp_path: Path) -> None:
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    path = theirs(tmp_path / "theirs", [5, 6, 7])
    keep_episodes(path, [0, 2], tmp_path / "kept")
    opened = LeRobotDataset("me/kept", root=tmp_path / "kept")
    assert len(opened) == 12 and opened.num_episodes == 2
    assert int(opened[5]["episode_index"]) == 1 and int(opened[11]["index"]) == 11
    np.testing.assert_array_equal(
        LeRobotFiles(tmp_path / "kept").frames_at(CAMERA, np.array([5]))[0], picture_of([11])[0]
    )


def test_episodes_of_any_dataset_can_be_dropped(tmp_path: Path) -> None:
    path, root = theirs(tmp_path / "theirs", [12, 1, 15]), f"root={tmp_path}"
    assert hiltk("drop-episodes", str(path), "name=less", "shorter_than=1", root).exit_code == 0
    less = LeRobotFiles(tmp_path / "datasets/less/d-0001")
    assert [stop - start for start, stop in less.bounds] == [12, 15]
    result = hiltk("drop-episodes", str(path), "name=less", "success=false", root)
    assert result.exit_code == 2 and "a dataset without a spec says nothing" in result.output
    assert hiltk("drop-episodes", str(path), "name=less", "longer_than=50", root).exit_code == 1


# ---------------------------------------------------------------- tasks


def three_tasks(path: Path) -> Path:
    path = theirs(path, [12, 13, 14])
    sentences = ["open it", "Schließe „sie“", "open it"]
    frame = pd.DataFrame({"task_index": [0, 1]}, index=pd.Index(["Schließe „sie“", "open it"], name="task"))
    frame.to_parquet(path / "meta/tasks.parquet")
    table = pq.read_table(path / ROWS, partitioning=None)
    at = table.schema.get_field_index("task_index")
    numbers = np.repeat([1, 0, 1], [12, 13, 14])
    pq.write_table(table.set_column(at, table.schema.field(at), pa.array(numbers)), path / ROWS)
    table = pq.read_table(path / EPISODES, partitioning=None)
    rows = [row | {"tasks": [s]} for row, s in zip(table.to_pylist(), sentences, strict=True)]
    pq.write_table(pa.Table.from_pylist(rows), path / EPISODES)
    return path


@pytest.mark.parametrize("size", [(), ("foreign.image_height=4", "foreign.image_width=4")])
def test_every_episode_keeps_its_sentence(size: tuple[str, ...], tmp_path: Path) -> None:
    path = three_tasks(tmp_path / "theirs")
    result = adopt(path, tmp_path, *size)
    assert result.exit_code == 0 and "2 sentences, kept with each episode" in result.output, result.output
    mine = LeRobotFiles(tmp_path / "datasets/mine/d-0001")
    assert mine.episode_tasks() == ["open it", "Schließe „sie“", "open it"]
    assert dataset_spec(mine.path).task == ""


def test_a_sentence_chooses_its_episodes_and_any_other_text_names_them_all(tmp_path: Path) -> None:
    path = three_tasks(tmp_path / "theirs")
    assert adopt(path, tmp_path, "foreign.task=open it", name="one").exit_code == 0
    one = LeRobotFiles(tmp_path / "datasets/one/d-0001")
    assert one.episode_tasks() == ["open it", "open it"] and one.bounds == [(0, 12), (12, 26)]
    assert adopt(path, tmp_path, "foreign.task=lift", name="all").exit_code == 0
    every = LeRobotFiles(tmp_path / "datasets/all/d-0001")
    assert every.episode_tasks() == ["lift"] * 3 and dataset_spec(every.path).task == "lift"


# ---------------------------------------------------------------- cameras and names


def test_a_size_that_is_turned_is_taken_from_the_pictures(tmp_path: Path) -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (20, 8, 12, 3), dtype=np.uint8)
    path = theirs(tmp_path / "theirs", [20], pictures=pictures)
    edit_info(path, lambda info: info["features"][CAMERA].update(shape=[12, 8, 3]))
    check = hiltk("check", str(path))
    assert check.exit_code == 1 and "8 x 12 x 3, the metadata say 12 x 8 x 3" in check.output
    result = adopt(path, tmp_path)
    assert result.exit_code == 0, result.output
    assert "the metadata say 12 x 8; taken from the pictures" in " ".join(result.output.split())
    image = dataset_spec(tmp_path / "datasets/mine/d-0001").images[0]
    assert (image.height, image.width) == (8, 12)
    shown = load_episodes(tmp_path / "datasets/mine/d-0001")[0].observations[image.key]
    np.testing.assert_array_equal(shown, pictures)


def with_depth(path: Path) -> Path:
    """A camera of one channel beside the usual one."""
    table = pq.read_table(path / ROWS, partitioning=None)
    pq.write_table(table.append_column("observation.images.depth", table.column(CAMERA)), path / ROWS)
    depth = {"dtype": "image", "shape": [8, 8, 1], "names": ["height", "width", "channels"]}
    edit_info(path, lambda info: info["features"].update({"observation.images.depth": depth}))
    return path


def test_a_depth_map_is_left_out_and_named(tmp_path: Path) -> None:
    path = with_depth(theirs(tmp_path / "theirs", [20]))
    result = adopt(path, tmp_path)
    assert result.exit_code == 0 and "left out: a depth map" in result.output, result.output
    assert [image.key for image in dataset_spec(tmp_path / "datasets/mine/d-0001").images] == [CAMERA]
    asked = adopt(path, tmp_path, "foreign.cameras={a: observation.images.depth}")
    assert asked.exit_code == 1 and "is a depth map" in asked.output
    assert any("depth map" in note for note in read_contents(path, "theirs").notes)


def test_a_camera_that_is_not_used_is_not_looked_at(tmp_path: Path) -> None:
    path = theirs(tmp_path / "theirs", [20])
    table = pq.read_table(path / ROWS, partitioning=None)
    broken = pa.array([{"bytes": b"no picture", "path": None}] * 20, table.schema.field(CAMERA).type)
    pq.write_table(table.append_column("observation.images.dead", broken), path / ROWS)
    edit_info(path, lambda info: info["features"].update({"observation.images.dead": info["features"][CAMERA]}))
    assert adopt(path, tmp_path).exit_code == 1
    used = adopt(path, tmp_path, f"foreign.cameras={{cam: {CAMERA}}}")
    assert used.exit_code == 0, used.output
    contents = read_contents(path, "theirs")
    assert contents.cameras == [CAMERA] and any("dead cannot be read" in note for note in contents.notes)


@pytest.mark.parametrize(
    ("names", "read"),
    [([JOINTS], JOINTS), ({"motors": JOINTS}, JOINTS), (["state"], []), (None, []), ([], [])],
)
def test_names_are_decoration(names: Any, read: list[str], tmp_path: Path) -> None:
    path = theirs(tmp_path / "theirs", [20])
    for column in (STATE_KEY, "action"):
        edit_info(path, lambda info, column=column: info["features"][column].update(names=names))
    assert LeRobotFiles(path).names(STATE_KEY) == read
    assert adopt(path, tmp_path).exit_code == 0


# ---------------------------------------------------------------- files


def test_what_macos_leaves_behind_is_no_part_of_it(tmp_path: Path) -> None:
    path = theirs(tmp_path / "theirs", [20])
    for file in (ROWS, EPISODES):
        (path / file).with_name("._file-000.parquet").write_bytes(bytes.fromhex("00051607") + bytes(4092))
    assert adopt(path, tmp_path).exit_code == 0


def test_a_git_lfs_pointer_says_how_to_fetch_the_file(tmp_path: Path) -> None:
    path = theirs(tmp_path / "theirs", [20])
    (path / ROWS).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    for words in (("adopt", "name=a"), ("inspect", "name=a"), ("check",)):
        verb, *rest = words
        root = [f"root={tmp_path}"] if rest else []
        result = hiltk(verb, str(path), *rest, *root)
        assert result.exit_code == 1 and "git lfs pull" in result.output, result.output


# ---------------------------------------------------------------- pictures by time


@pytest.fixture(scope="module")
def filmed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three episodes of 24 rows as LeRobot stores them, in one video of 30 frames a second."""
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    path = tmp_path_factory.mktemp("filmed") / "theirs"
    vector = {"dtype": "float32", "shape": (6,), "names": JOINTS}
    camera = {"dtype": "video", "shape": (64, 64, 3), "names": ["height", "width", "channels"]}
    features = {STATE_KEY: vector, "action": vector, CAMERA: camera}
    data = LeRobotDataset.create("me/x", 30, features, root=path, use_videos=True, video_backend="pyav")
    for episode in range(3):
        for t, joints in enumerate(smooth_joints(24, episode, fps=30.0).astype(np.float32)):
            picture = np.full((64, 64, 3), 40 + 8 * t, np.uint8)
            picture[:32] //= 2  # else it shows nothing
            data.add_frame({STATE_KEY: joints, "action": joints, CAMERA: picture, "task": "lift"})
        data.save_episode()
    data.finalize()
    return path


def as_lerobot_shows(path: Path, rows: list[int]) -> np.ndarray:
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    opened = LeRobotDataset("me/x", root=path, video_backend="pyav")
    key = opened.meta.camera_keys[0]
    return np.stack([np.rint(opened[r][key].numpy().transpose(1, 2, 0) * 255).astype(np.uint8) for r in rows])


def retimed(path: Path, change: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> None:
    """Other times of rows, from their index in the episode and their number."""
    table = pq.read_table(path / ROWS, partitioning=None)
    at = table.schema.get_field_index("timestamp")
    index = np.array(table["frame_index"])
    times = pa.array(change(index, np.arange(len(index))).astype(np.float32))
    pq.write_table(table.set_column(at, table.schema.field(at), times), path / ROWS)


def trimmed(path: Path, first: int) -> None:
    """The first rows of every episode cut off, index counted anew, times and video left as they are."""
    table = pq.read_table(path / ROWS, partitioning=None)
    table = table.filter(pa.array(np.array(table["frame_index"]) >= first))
    for name, values in {
        "frame_index": np.array(table["frame_index"]) - first, "index": np.arange(len(table))
    }.items():  # fmt: skip
        at = table.schema.get_field_index(name)
        table = table.set_column(at, table.schema.field(at), pa.array(values))
    pq.write_table(table, path / ROWS)
    episodes = pq.read_table(path / EPISODES, partitioning=None)
    stops = np.cumsum(np.array(episodes["length"]) - first)
    new = {"length": np.array(episodes["length"]) - first}
    new |= {"dataset_from_index": stops - new["length"], "dataset_to_index": stops}
    for name, values in new.items():
        at = episodes.schema.get_field_index(name)
        episodes = episodes.set_column(at, episodes.schema.field(at), pa.array(values))
    pq.write_table(episodes, path / EPISODES)
    edit_info(path, lambda info: info.update(total_frames=int(stops[-1])))


def test_a_trimmed_recording_shows_what_lerobot_shows_in_and_out(filmed: Path, tmp_path: Path) -> None:
    path = Path(shutil.copytree(filmed, tmp_path / "theirs"))
    trimmed(path, 6)
    rows = [0, 5, 17, 18, 40, 53]
    expected = as_lerobot_shows(path, rows)
    assert abs(int(expected[0][40:].mean()) - (40 + 8 * 6)) <= 2
    np.testing.assert_array_equal(LeRobotFiles(path).frames_at(CAMERA, np.array(rows)), expected)
    result = adopt(path, tmp_path)
    assert result.exit_code == 0, result.output
    mine = tmp_path / "datasets/mine/d-0001"
    np.testing.assert_array_equal(as_lerobot_shows(mine, rows), expected)
    np.testing.assert_array_equal(LeRobotFiles(mine).frames_at(CAMERA, np.array(rows)), expected)


def test_a_clock_that_jitters_loses_no_frame(filmed: Path, tmp_path: Path) -> None:
    path = Path(shutil.copytree(filmed, tmp_path / "theirs"))
    jitter = np.clip(np.random.default_rng(0).normal(0, 0.3, 72), -0.49, 0.49)
    retimed(path, lambda index, row: (index + jitter[row]) / 30)
    result = adopt(path, tmp_path)
    assert result.exit_code == 0 and "missing" not in result.output, result.output
    mine = tmp_path / "datasets/mine/d-0001"
    assert all(episode.action_valid.all() for episode in load_episodes(mine))
    rows = [0, 11, 23, 24, 71]
    np.testing.assert_array_equal(as_lerobot_shows(mine, rows), as_lerobot_shows(filmed, rows))


def test_times_of_a_clock_are_counted_from_the_start(filmed: Path, tmp_path: Path) -> None:
    """huggingface/lerobot issue 3513: wall-clock times, beyond the end of any video."""
    path = Path(shutil.copytree(filmed, tmp_path / "theirs"))
    retimed(path, lambda index, row: 170_000 + index / 30)
    result = adopt(path, tmp_path)
    assert result.exit_code == 0 and "times are a clock's, from 170000 s on" in result.output, result.output
    rows = [0, 23, 24, 71]
    np.testing.assert_array_equal(
        as_lerobot_shows(tmp_path / "datasets/mine/d-0001", rows), as_lerobot_shows(filmed, rows)
    )


def test_a_rate_that_is_not_the_videos_is_named(filmed: Path, tmp_path: Path) -> None:
    path = Path(shutil.copytree(filmed, tmp_path / "theirs"))
    edit_info(path, lambda info: info.update(fps=10))
    retimed(path, lambda index, row: index / 10)
    checked = hiltk("check", str(path))
    assert checked.exit_code == 1 and "says 10 frames per second, the video says 30" in checked.output
    assert "GRP002" not in checked.output  # rules that could look have looked, and are content
    shown = hiltk("inspect", str(path), "name=seen", f"root={tmp_path}")
    assert shown.exit_code == 0 and "cannot be read" in shown.output, shown.output


def test_times_that_run_backwards_are_named(filmed: Path, tmp_path: Path) -> None:
    path = Path(shutil.copytree(filmed, tmp_path / "theirs"))
    retimed(path, lambda index, row: np.where(index == 9, 3, index) / 30)
    with pytest.raises(UserError, match="time runs backwards"):
        LeRobotFiles(path).segments(CAMERA)


# ---------------------------------------------------------------- inspected, whatever the arm


def test_a_dataset_of_another_arm_and_other_names_is_inspected(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    path = handmade(tmp_path / "theirs", {"state": rng.normal(size=(30, 9)), "lidar": rng.normal(size=(30, 4))}, [30])
    result = hiltk("inspect", str(path), "name=seen", f"root={tmp_path}")
    assert result.exit_code == 0, result.output
    said = " ".join(result.output.replace("│", " ").split())
    assert "Its column 'state' is shown as observation.state." in said and "It has no column action" in said
    contents = read_contents(path, "theirs")
    assert contents.state.shape == (30, 9) and contents.action.shape == (30, 0) and contents.cameras == []


def test_numbers_that_are_missing_are_counted_not_fatal(tmp_path: Path) -> None:
    path = theirs(tmp_path / "theirs", [20])
    table = pq.read_table(path / ROWS, partitioning=None)
    values = np.array(table[STATE_KEY].to_pylist(), np.float32)
    values[3:5] = np.nan
    at = table.schema.get_field_index(STATE_KEY)
    cells = pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), 6)
    pq.write_table(table.set_column(at, table.schema.field(at), cells), path / ROWS)
    assert "'observation.state' is not finite in 2 of 20 rows; they are shown as 0." in read_contents(path, "t").notes
