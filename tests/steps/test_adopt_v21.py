"""Datasets of LeRobot's older format v2.1, written by hand as LeRobot 0.3 laid them out."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from hiltk import cli
from hiltk.data.lerobot_io import dataset_spec, load_episodes
from hiltk.data.lerobot_tools import is_older
from hiltk.data.statistics import column_stats
from hiltk.spec import STATE_KEY
from tests.conftest import joint_path

CAMERA = "observation.images.front"
NAMES = [f"main_{j}" for j in ("shoulder_pan", "shoulder_lift", "elbow_flex", "wrist_flex", "wrist_roll", "gripper")]
LENGTHS = (12, 15)


def frames(length: int) -> Iterator[np.ndarray]:
    for t in range(length):
        yield np.full((64, 64, 3), 40 + 10 * t, np.uint8)


def write_video(path: Path, length: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"g": "2", "crf": "18"})
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        for image in frames(length):
            for packet in stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)


def lines(path: Path, rows: list[dict[str, object]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_v21(path: Path) -> Path:
    """Two episodes, six joints in degrees, joint targets as actions, one camera."""
    (path / "meta").mkdir(parents=True)
    first, stats = 0, []
    for episode, length in enumerate(LENGTHS):
        joints = joint_path(length, seed=episode).astype(np.float32)
        columns = {
            "action": joints[1:],
            STATE_KEY: joints[:-1],
            "timestamp": np.arange(length, dtype=np.float32) / 10,
            "frame_index": np.arange(length),
            "episode_index": np.full(length, episode),
            "index": first + np.arange(length),
            "task_index": np.zeros(length, np.int64),
        }
        file = path / "data" / "chunk-000" / f"episode_{episode:06d}.parquet"
        file.parent.mkdir(parents=True, exist_ok=True)
        pd.DataFrame({k: list(v) for k, v in columns.items()}).to_parquet(file)
        write_video(path / "videos" / "chunk-000" / CAMERA / f"episode_{episode:06d}.mp4", length)
        pixel = {k: [[[v]]] * 3 for k, v in {"min": 0.1, "max": 0.9, "mean": 0.5, "std": 0.2}.items()}
        own = {k: {n: s for n, s in column_stats(v).items() if not n.startswith("q")} for k, v in columns.items()}
        stats.append({"episode_index": episode, "stats": own | {CAMERA: pixel | {"count": [length]}}})
        first += length
    vector = {"dtype": "float32", "shape": [6], "names": NAMES}
    scalars = {
        n: {"dtype": "int64", "shape": [1], "names": None}
        for n in ("frame_index", "episode_index", "index", "task_index")
    }
    scalars["timestamp"] = {"dtype": "float32", "shape": [1], "names": None}
    video = {
        "dtype": "video",
        "shape": [64, 64, 3],
        "names": ["height", "width", "channels"],
        "info": {"video.fps": 10},
    }
    info = {
        "codebase_version": "v2.1", "robot_type": "so101", "total_episodes": 2, "total_frames": first, "total_tasks": 1,
        "total_videos": 2, "total_chunks": 1, "chunks_size": 1000, "fps": 10, "splits": {"train": "0:2"},
        "data_path": "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet",
        "video_path": "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4",
        "features": {"action": vector, STATE_KEY: vector, **scalars, CAMERA: video},
    }  # fmt: skip
    (path / "meta" / "info.json").write_text(json.dumps(info))
    lines(path / "meta" / "tasks.jsonl", [{"task_index": 0, "task": "Pick up the cube."}])
    episodes = [{"episode_index": e, "tasks": ["Pick up the cube."], "length": n} for e, n in enumerate(LENGTHS)]
    lines(path / "meta" / "episodes.jsonl", [dict(row) for row in episodes])
    lines(path / "meta" / "episodes_stats.jsonl", stats)
    return path


@pytest.fixture
def old(tmp_path: Path) -> Path:
    return write_v21(tmp_path / "old")


def adopt(path: Path, root: Path) -> tuple[int, str]:
    words = ["adopt", str(path), "name=mine", f"root={root}", "foreign.joint_unit=degrees"]
    words += ["checks.ignore=[IMG001]"]  # the frames of this file show one flat colour each
    result = CliRunner().invoke(cli.app, words, terminal_width=200)
    return result.exit_code, result.output


def test_it_is_converted_and_adopted_and_left_as_it_is(old: Path, tmp_path: Path) -> None:
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    code, output = adopt(old, tmp_path / "out")
    assert code == 0, output
    assert {p: p.read_bytes() for p in old.rglob("*") if p.is_file()} == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["old", "out"]
    path = tmp_path / "out" / "datasets" / "mine" / "d-0001"
    assert dataset_spec(path).task == "Pick up the cube." and dataset_spec(path).fps == 10
    for episode, length in zip(load_episodes(path), LENGTHS, strict=True):
        assert len(episode) == length - 1
        shown = episode.observations[CAMERA].mean((1, 2, 3))
        np.testing.assert_allclose(shown, 40 + 10 * np.arange(length), atol=4)
    joints = load_episodes(path)[1].observations[STATE_KEY][:, :6]
    np.testing.assert_allclose(joints, joint_path(LENGTHS[1], seed=1)[:-1], atol=1e-4)


@pytest.mark.parametrize("fault", ["truncated_parquet", "truncated_mp4", "no_episodes_file", "missing_episode"])
def test_a_damaged_one_is_one_message(old: Path, tmp_path: Path, fault: str) -> None:
    data, video = old / "data" / "chunk-000", old / "videos" / "chunk-000" / CAMERA
    if fault == "truncated_parquet":
        file = data / "episode_000001.parquet"
        file.write_bytes(file.read_bytes()[:300])
    elif fault == "truncated_mp4":
        file = video / "episode_000001.mp4"
        file.write_bytes(file.read_bytes()[:200])
    elif fault == "no_episodes_file":
        (old / "meta" / "episodes.jsonl").unlink()
    else:
        (data / "episode_000001.parquet").unlink()
    code, output = adopt(old, tmp_path / "out")
    assert code == 1 and "error: " in output and "Traceback" not in output, output
    assert not list((tmp_path / "out").glob("datasets/mine/d-*"))


def test_v20_is_converted_too(old: Path, tmp_path: Path) -> None:
    """As v2.1, but with one set of statistics instead of one per episode."""
    meta = old / "meta"
    stats = [json.loads(line)["stats"] for line in (meta / "episodes_stats.jsonl").read_text().splitlines()]
    (meta / "episodes_stats.jsonl").unlink()
    (meta / "stats.json").write_text(
        json.dumps({k: {n: v for n, v in s.items() if n != "count"} for k, s in stats[0].items()})
    )
    info = json.loads((meta / "info.json").read_text()) | {"codebase_version": "v2.0"}
    (meta / "info.json").write_text(json.dumps(info))
    before = {p: p.read_bytes() for p in old.rglob("*") if p.is_file()}
    code, output = adopt(old, tmp_path / "out")
    assert code == 0, output
    assert {p: p.read_bytes() for p in old.rglob("*") if p.is_file()} == before
    joints = load_episodes(tmp_path / "out/datasets/mine/d-0001")[1].observations[STATE_KEY][:, :6]
    np.testing.assert_allclose(joints, joint_path(LENGTHS[1], seed=1)[:-1], atol=1e-4)


def test_it_is_known_by_its_version(old: Path, tmp_path: Path) -> None:
    assert is_older(old) and not is_older(tmp_path)
