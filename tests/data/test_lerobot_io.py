"""Datasets on disk: what is written comes back, LeRobot's own reader agrees, and damage is named."""

from __future__ import annotations

import copy
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hiltk.data.episode import Episode, Source
from hiltk.data.lerobot_io import SPEC_FILE, DatasetWriter, dataset_spec, iter_episodes, load_episodes
from hiltk.errors import UserError
from hiltk.observation import fit_image
from hiltk.spec import STATE_KEY, ImageSpec, Spec

WRIST = "observation.images.wrist"


def assert_equal(left: Episode, right: Episode) -> None:
    for field in fields(Episode):
        a, b = getattr(left, field.name), getattr(right, field.name)
        if field.name == "observations":
            assert a.keys() == b.keys()
            for key in a:
                np.testing.assert_array_equal(a[key], b[key], err_msg=key)
                assert a[key].dtype == b[key].dtype
        else:
            np.testing.assert_array_equal(a, b, err_msg=field.name)


def edit_column(path: Path, column: str, row: int, value: object) -> None:
    """Overwrite one cell of the data table."""
    (file,) = (path / "data").glob("*/*.parquet")
    table = pq.read_table(file)
    cells = table.column(column).to_pylist()
    cells[row] = value
    field = table.schema.field(column)
    index = table.schema.get_field_index(column)
    pq.write_table(table.set_column(index, field, pa.array(cells, field.type)), file)


@pytest.fixture
def broken_copy(shared_dataset: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(shared_dataset, tmp_path / "copy"))


# ---------------------------------------------------------------- round trip


def test_round_trip_is_exact(make_episode: Callable[..., Episode], dataset_dir: Callable[..., Path]) -> None:
    episodes = [make_episode(length=5 + n, seed=n, success=n != 1, stratum=f"s{n}") for n in range(3)]
    episodes[2].source[2:] = Source.human
    episodes[2].is_intervention[2:] = True
    episodes[0].action_valid[1] = False
    loaded = load_episodes(dataset_dir(episodes=episodes))
    assert len(loaded) == 3
    for before, after in zip(episodes, loaded, strict=True):
        assert_equal(before, after)


def test_lerobot_opens_it_and_sees_the_same_values(shared_dataset: Path) -> None:
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    theirs = LeRobotDataset("any/name", root=shared_dataset, video_backend="pyav")
    ours = load_episodes(shared_dataset)
    assert theirs.num_episodes == len(ours) and theirs.num_frames == sum(len(e) + 1 for e in ours)
    row = 0
    for episode in ours:
        for t in range(len(episode) + 1):
            item = theirs[row]
            row += 1
            np.testing.assert_array_equal(item[STATE_KEY].numpy(), episode.observations[STATE_KEY][t])
            pixels = (item[WRIST].numpy().transpose(1, 2, 0) * 255).round().astype(np.uint8)
            np.testing.assert_array_equal(pixels, episode.observations[WRIST][t])
            assert bool(item["success"]) == episode.success[t]
            if t < len(episode):
                np.testing.assert_array_equal(item["action"].numpy(), episode.actions[t])
                assert float(item["next.reward"]) == episode.rewards[t]
                assert bool(item["next.done"]) == (episode.terminated and t == len(episode) - 1)
            else:
                assert not item["action"].any() and not bool(item["action_valid"]) and bool(item["next.done"])


def test_video_keeps_order_and_roughly_the_pixels(
    tmp_path: Path, tiny_spec: Spec, make_episode: Callable[..., Episode]
) -> None:
    spec = replace(
        copy.deepcopy(tiny_spec), images=[ImageSpec("wrist", 64, 64, 64, 64), ImageSpec("front", 64, 64, 64, 64)]
    )
    episodes = [make_episode(spec=spec, length=6 + n, seed=n) for n in range(3)]
    for number, episode in enumerate(episodes):
        for shift, key in enumerate(spec.image_keys):
            # Flat frames whose grey value tells episode, camera and step apart.
            grey = 20 + 60 * number + 30 * shift + np.arange(len(episode) + 1) * 3
            episode.observations[key][:] = grey[:, None, None, None]
    with DatasetWriter(tmp_path / "video", spec, video=True) as writer:
        for episode in episodes:
            writer.add(episode)
    loaded = load_episodes(tmp_path / "video")
    for before, after in zip(episodes, loaded, strict=True):
        for key in spec.image_keys:
            difference = np.abs(before.observations[key].astype(int) - after.observations[key])
            assert difference.max() <= 2  # neighbours differ by 3: a frame out of place would show


@pytest.mark.parametrize("video", [False, True])
def test_datasets_of_several_files(
    tmp_path: Path, tiny_spec: Spec, make_episode: Callable[..., Episode], video: bool
) -> None:
    spec = replace(copy.deepcopy(tiny_spec), images=[ImageSpec("wrist", 64, 64, 64, 64)])
    episodes = [make_episode(spec=spec, length=4 + n, seed=n) for n in range(4)]
    writer = DatasetWriter(tmp_path / "d", spec, video=video)
    info = writer._dataset.meta.info
    info.data_files_size_in_mb = info.video_files_size_in_mb = 1e-4
    for number, episode in enumerate(episodes):
        episode.observations[WRIST] = episode.observations[WRIST] // 8 + 60 * number
        writer.add(episode)
    writer.close()
    assert len(list((tmp_path / "d").rglob("file-*.mp4" if video else "data/*/file-*.parquet"))) > 1
    for before, after in zip(episodes, load_episodes(tmp_path / "d"), strict=True):
        np.testing.assert_array_equal(before.actions, after.actions)
        difference = np.abs(before.observations[WRIST].astype(int) - after.observations[WRIST])
        assert difference.mean() < (20 if video else 1e-9)


def test_without_cameras(dataset_dir: Callable[..., Path], tiny_spec: Spec) -> None:
    spec = replace(copy.deepcopy(tiny_spec), images=[])
    assert [list(e.observations) for e in load_episodes(dataset_dir(spec=spec))] == [[STATE_KEY]] * 3


def test_a_state_and_an_action_of_one_dimension_stay_columns(
    dataset_dir: Callable[..., Path], make_episode: Callable[..., Episode], tiny_spec: Spec
) -> None:
    """LeRobot stores what has one dimension as plain numbers."""
    spec = copy.deepcopy(tiny_spec)
    spec.state.dims, spec.action.dims = spec.state.dims[:1], spec.action.dims[:1]
    made = make_episode(seed=0)
    narrow = made.observations | {STATE_KEY: made.observations[STATE_KEY][:, :1]}
    before = replace(made, observations=narrow, actions=made.actions[:, :1])
    (after,) = load_episodes(dataset_dir(episodes=[before], spec=spec))
    assert_equal(before, after)


def test_float_rate_is_kept(dataset_dir: Callable[..., Path], tiny_spec: Spec) -> None:
    spec = replace(copy.deepcopy(tiny_spec), fps=12.5)
    assert dataset_spec(dataset_dir(spec=spec)).fps == 12.5


def test_what_follows_the_end_is_only_given_on_request(
    tmp_path: Path, tiny_spec: Spec, make_episode: Callable[..., Episode]
) -> None:
    whole = make_episode(length=9, seed=3)
    first = replace(
        whole,
        observations={k: v[:7] for k, v in whole.observations.items()},
        success=whole.success[:7] | (np.arange(7) == 6),
        **{f: getattr(whole, f)[:6] for f in ("actions", "rewards", "source", "is_intervention", "action_valid")},
    )
    after = replace(
        whole,
        observations={k: v[6:] for k, v in whole.observations.items()},
        success=np.ones(4, bool),
        rewards=np.zeros(3, np.float32),
        **{f: getattr(whole, f)[6:] for f in ("actions", "source", "is_intervention", "action_valid")},
        terminated=False,
    )
    with DatasetWriter(tmp_path / "d", tiny_spec) as writer:
        writer.add(first, after=after)
        writer.add(whole)
    short, second = load_episodes(tmp_path / "d")
    assert_equal(short, first)
    assert_equal(second, whole)
    long = load_episodes(tmp_path / "d", after_end=True)[0]
    assert len(long) == 9 and long.success.sum() == 4
    np.testing.assert_array_equal(long.actions, whole.actions)
    np.testing.assert_array_equal(long.observations[WRIST], whole.observations[WRIST])


def test_statistics_cover_all_states(shared_dataset: Path) -> None:
    states = np.concatenate([e.observations[STATE_KEY] for e in load_episodes(shared_dataset)])
    stats = dataset_spec(shared_dataset).stats[STATE_KEY]
    np.testing.assert_allclose(stats.mean, states.mean(0, dtype=np.float64), rtol=1e-5, atol=1e-6)
    assert np.all(np.array(stats.std) >= states.std(0) - 1e-6)
    assert min(stats.std) > 1e-3


def test_reading_needs_neither_lerobot_nor_torch(shared_dataset: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from hiltk.data.lerobot_io import load_episodes\n"
        f"assert len(load_episodes(Path({str(shared_dataset)!r}))) == 3\n"
        "assert not {'lerobot', 'torch', 'datasets'} & set(sys.modules), 'heavy import'"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# ---------------------------------------------------------------- another reader's wishes


def test_frames_are_resized_to_the_readers_size(shared_dataset: Path) -> None:
    spec = dataset_spec(shared_dataset)
    spec.images = [ImageSpec("wrist", 8, 8, 16, 16)]
    small, large = load_episodes(shared_dataset, spec)[0], load_episodes(shared_dataset)[0]
    expected = [fit_image(f, spec.images[0]) for f in large.observations[WRIST]]
    np.testing.assert_array_equal(small.observations[WRIST], expected)


def test_crop_is_applied_to_whole_frames(shared_dataset: Path) -> None:
    spec = dataset_spec(shared_dataset)
    spec.images = [ImageSpec("wrist", 8, 8, 16, 16, crop=[4, 2, 8, 8])]
    cropped, whole = load_episodes(shared_dataset, spec)[0], load_episodes(shared_dataset)[0]
    np.testing.assert_array_equal(cropped.observations[WRIST], whole.observations[WRIST][:, 4:12, 2:10])


def test_only_the_cameras_asked_for_are_loaded(shared_dataset: Path) -> None:
    spec = dataset_spec(shared_dataset)
    spec.images = []
    assert list(load_episodes(shared_dataset, spec)[0].observations) == [STATE_KEY]


def test_episodes_come_one_at_a_time(shared_dataset: Path) -> None:
    episodes = iter_episodes(shared_dataset)
    assert len(next(episodes)) == 10 and len(next(episodes)) == 11


# ---------------------------------------------------------------- bad input


def refusal(path: Path, spec: Spec | None = None) -> str:
    with pytest.raises(UserError) as caught:
        load_episodes(path, spec)
    assert caught.value.exit_code == 1 and caught.value.where
    return str(caught.value)


def test_no_such_folder(tmp_path: Path) -> None:
    assert "no such dataset" in refusal(tmp_path / "nothing")


def test_not_a_dataset(tmp_path: Path) -> None:
    assert "not a LeRobotDataset" in refusal(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"codebase_version": "v3.0"}'])
def test_unreadable_info(broken_copy: Path, text: str) -> None:
    (broken_copy / "meta" / "info.json").write_text(text)
    assert "info.json cannot be read" in refusal(broken_copy)


def test_older_version(broken_copy: Path) -> None:
    info = broken_copy / "meta" / "info.json"
    info.write_text(json.dumps(json.loads(info.read_text()) | {"codebase_version": "v2.1"}))
    message = refusal(broken_copy)
    assert "v2.1" in message and "convert_dataset_v21_to_v30" in message


def test_empty_dataset(tmp_path: Path, tiny_spec: Spec) -> None:
    with DatasetWriter(tmp_path / "empty", tiny_spec):
        pass
    assert "empty" in refusal(tmp_path / "empty")


def test_without_spec(broken_copy: Path) -> None:
    (broken_copy / SPEC_FILE).unlink()
    message = refusal(broken_copy)
    assert "no spec" in message and "fix-actions" in message


def test_lacking_camera(shared_dataset: Path) -> None:
    spec = dataset_spec(shared_dataset)
    spec.images.append(ImageSpec("front"))
    message = refusal(shared_dataset, spec)
    assert "lacks the camera 'front'" in message and "wrist" in message


def test_other_state_layout(shared_dataset: Path) -> None:
    spec = dataset_spec(shared_dataset)
    spec.state.dims = spec.state.dims[:6]
    assert "another state layout (18 dimensions) than needed (6)" in refusal(shared_dataset, spec)
    spec = dataset_spec(shared_dataset)
    spec.state.dims[0], spec.state.dims[1] = spec.state.dims[1], spec.state.dims[0]
    assert "another order" in refusal(shared_dataset, spec)


def test_columns_that_contradict_the_spec(broken_copy: Path) -> None:
    spec = Spec.load(broken_copy / SPEC_FILE)
    spec.action.dims = spec.action.dims[:3]
    spec.save(broken_copy / SPEC_FILE)
    assert "'action' has shape (4,)" in refusal(broken_copy)


@pytest.mark.parametrize(
    ("column", "value"), [(STATE_KEY, [0.0] * 3 + [float("nan")] + [0.0] * 14), ("next.reward", float("inf"))]
)
def test_not_finite(broken_copy: Path, column: str, value: object) -> None:
    edit_column(broken_copy, column, 7, value)
    message = refusal(broken_copy)
    assert f"'{column}' is not finite in 1 of" in message and "row 7" in message
    if column == STATE_KEY:
        assert "wrist_flex.pos" in message


@pytest.mark.parametrize("keep", [0, 100, 2000])
def test_truncated_table(broken_copy: Path, keep: int) -> None:
    (file,) = (broken_copy / "data").glob("*/*.parquet")
    file.write_bytes(file.read_bytes()[:keep])
    message = refusal(broken_copy)
    assert "damaged" in message and file.name in message


def test_missing_rows(broken_copy: Path) -> None:
    (file,) = (broken_copy / "data").glob("*/*.parquet")
    pq.write_table(pq.read_table(file).slice(1), file)
    assert "its tables hold" in refusal(broken_copy)
    info = broken_copy / "meta" / "info.json"
    data = json.loads(info.read_text())
    info.write_text(json.dumps(data | {"total_frames": data["total_frames"] - 1}))
    assert "missing or out of order" in refusal(broken_copy)


def test_undecodable_frame(broken_copy: Path) -> None:
    edit_column(broken_copy, WRIST, 3, {"bytes": b"no image", "path": ""})
    assert "cannot be decoded" in refusal(broken_copy)


def test_damaged_video(dataset_dir: Callable[..., Path], make_episode: Callable[..., Episode], tiny_spec: Spec) -> None:
    spec = replace(copy.deepcopy(tiny_spec), images=[ImageSpec("wrist", 64, 64, 64, 64)])
    path = dataset_dir(spec=spec, episodes=[make_episode(spec=spec, length=5)], video=True)
    (file,) = (path / "videos").rglob("*.mp4")
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    assert file.name in refusal(path)
    file.unlink()
    assert "a video file is missing" in refusal(path)


# ---------------------------------------------------------------- writing


def test_nothing_is_overwritten(shared_dataset: Path, tiny_spec: Spec) -> None:
    with pytest.raises(UserError, match="nothing is overwritten"):
        DatasetWriter(shared_dataset, tiny_spec)


def test_unfinished_is_no_dataset(tmp_path: Path, tiny_spec: Spec, make_episode: Callable[..., Episode]) -> None:
    writer = DatasetWriter(tmp_path / "d", tiny_spec)
    writer.add(make_episode())
    assert "not a LeRobotDataset" in refusal(tmp_path / "d")
    writer.close()
    writer.close()
    assert len(load_episodes(tmp_path / "d")) == 1


@pytest.mark.parametrize("fault", ["nan", "shape", "camera", "action"])
def test_episodes_that_do_not_fit_are_refused(
    tmp_path: Path, tiny_spec: Spec, make_episode: Callable[..., Episode], fault: str
) -> None:
    episode = make_episode()
    if fault == "nan":
        episode.observations[STATE_KEY][2, 5] = np.nan
    elif fault == "shape":
        episode.observations[WRIST] = episode.observations[WRIST][:, :8]
    elif fault == "camera":
        del episode.observations[WRIST]
    else:
        episode.actions = episode.actions[:, :3]
    writer = DatasetWriter(tmp_path / "d", tiny_spec)
    with pytest.raises(UserError, match="episode 0"):
        writer.add(episode)
    assert writer.episodes == 0
    writer.add(make_episode())  # a refused episode leaves no trace
    writer.close()
    assert len(load_episodes(tmp_path / "d")) == 1
