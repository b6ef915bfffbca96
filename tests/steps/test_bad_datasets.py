"""Damaged and contradictory datasets through the real commands: one clear message, no stack trace, nothing written."""

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
import yaml
from typer.testing import CliRunner

from hiltk import cli
from hiltk.data.lerobot_io import SPEC_FILE
from tests.conftest import build_episode, build_spec, write_dataset

Fault = Callable[[Path], None]
STATE = "observation.state"


@pytest.fixture(scope="module")
def filmed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two episodes with a video."""
    spec = build_spec(size=64)
    episodes = [build_episode(spec, 8, seed) for seed in range(2)]
    return write_dataset(tmp_path_factory.mktemp("filmed") / "dataset", spec, episodes, video=True)


def the(path: Path, pattern: str) -> Path:
    return sorted(path.glob(pattern))[0]


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 3])


def say(**changes: Any) -> Fault:
    def edit(path: Path) -> None:
        file = path / "meta" / "info.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | changes))

    return edit


def no_dataset(path: Path) -> None:
    shutil.rmtree(path)
    path.mkdir()


def truncated_parquet(path: Path) -> None:
    cut(the(path, "data/*/*.parquet"))


def truncated_mp4(path: Path) -> None:
    cut(the(path, "videos/*/*/*.mp4"))


def no_mp4(path: Path) -> None:
    the(path, "videos/*/*/*.mp4").unlink()


def no_json(path: Path) -> None:
    (path / "meta" / "info.json").write_text("{")


def rewrite(path: Path, change: Callable[[pa.Table], pa.Table]) -> None:
    file = the(path, "data/*/*.parquet")
    pq.write_table(change(pq.read_table(file, partitioning=None)), file)


def missing_episode(path: Path) -> None:
    def drop(table: pa.Table) -> pa.Table:
        return table.filter(pa.array(np.array(table.column("episode_index")) != 1))

    rewrite(path, drop)
    rows = pq.read_table(the(path, "data/*/*.parquet"), partitioning=None).num_rows
    episodes = json.loads((path / "meta" / "info.json").read_text())["total_episodes"] - 1
    say(total_frames=rows, total_episodes=episodes)(path)


def wrong_shape(path: Path) -> None:
    file = path / "meta" / "info.json"
    info = json.loads(file.read_text())
    info["features"][STATE]["shape"] = [17]
    file.write_text(json.dumps(info))


def no_timestamps(path: Path) -> None:
    file = path / "meta" / "info.json"
    info = json.loads(file.read_text())
    del info["features"]["timestamp"]
    file.write_text(json.dumps(info))


def not_finite(path: Path) -> None:
    def spoil(table: pa.Table) -> pa.Table:
        cells = table.column(STATE).to_pylist()
        cells[3][2] = float("nan")
        at = table.schema.get_field_index(STATE)
        return table.set_column(at, table.schema.field(at), pa.array(cells, table.schema.field(at).type))

    rewrite(path, spoil)


def nonsense_spec(path: Path) -> None:
    file = path / SPEC_FILE
    data = yaml.safe_load(file.read_text())
    data["fps"] = -3
    file.write_text(yaml.safe_dump(data))


FAULTS: dict[str, tuple[Fault, str]] = {
    "no_dataset": (no_dataset, "meta/info.json is missing"),
    "no_json": (no_json, "info.json cannot be read"),
    "truncated_parquet": (truncated_parquet, "damaged"),
    "missing_rows": (say(total_frames=99999), "99999"),
    "missing_episode": (missing_episode, "episode 1 is missing"),
    "other_number_of_episodes": (say(total_episodes=7), "7"),
    "wrong_shape": (wrong_shape, "17"),
    "no_timestamps": (no_timestamps, "lacks the columns every LeRobotDataset has: timestamp"),
    "wrong_fps": (say(fps=30), "30"),
}
NUMBERS: dict[str, tuple[Fault, str]] = {"not_finite": (not_finite, "not finite")}
VIDEO: dict[str, tuple[Fault, str]] = {
    "truncated_mp4": (truncated_mp4, ".mp4"),
    "no_mp4": (no_mp4, "missing"),
}
SPEC: dict[str, tuple[Fault, str]] = {"nonsense_spec": (nonsense_spec, "fps: -3 must be above 0")}


def refused(words: list[str], root: Path, said: str) -> None:
    result = CliRunner().invoke(cli.app, [*words, f"root={root}"], terminal_width=200)
    assert result.exit_code == 1, f"{result.exit_code} {result.exception!r}\n{result.output}"
    assert result.stderr.startswith("error: ") or "\nerror: " in result.stderr, result.stderr
    assert "Traceback" not in result.output and said in result.stderr, result.stderr
    assert not [p for p in root.rglob("*") if p.is_file() and p.name != ".lock"]


@pytest.mark.parametrize("fault", [*FAULTS, *SPEC])
def test_show(shared_dataset: Path, tmp_path: Path, fault: str) -> None:
    path = Path(shutil.copytree(shared_dataset, tmp_path / "dataset"))
    spoil, said = (FAULTS | SPEC)[fault]
    spoil(path)
    refused(["show", str(path)], tmp_path / "out", said)


@pytest.mark.parametrize("fault", [*FAULTS, *NUMBERS, *SPEC])
def test_bc_pretrain(shared_dataset: Path, tmp_path: Path, fault: str) -> None:
    path = Path(shutil.copytree(shared_dataset, tmp_path / "dataset"))
    spoil, said = (FAULTS | NUMBERS | SPEC)[fault]
    spoil(path)
    refused(["bc-pretrain", str(path), "name=bc", "steps=1"], tmp_path / "out", said)


@pytest.mark.parametrize("fault", [*FAULTS, *NUMBERS])
def test_adopt(shared_dataset: Path, tmp_path: Path, fault: str) -> None:
    path = Path(shutil.copytree(shared_dataset, tmp_path / "dataset"))
    (path / SPEC_FILE).unlink()
    spoil, said = (FAULTS | NUMBERS)[fault]
    spoil(path)
    refused(["adopt", str(path), "name=mine"], tmp_path / "out", said)


@pytest.mark.parametrize("fault", list(VIDEO))
@pytest.mark.parametrize("command", ["show", "adopt", "bc-pretrain"])
def test_videos(filmed: Path, tmp_path: Path, fault: str, command: str) -> None:
    path = Path(shutil.copytree(filmed, tmp_path / "dataset"))
    if command == "adopt":
        (path / SPEC_FILE).unlink()
    spoil, said = VIDEO[fault]
    spoil(path)
    refused([command, str(path), *([] if command == "show" else ["name=out"])], tmp_path / "out", said)


def test_a_file_is_no_dataset(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for command in ("show", "adopt", "bc-pretrain"):
        words = [command, str(tmp_path / "file"), *([] if command == "show" else ["name=out"])]
        refused(words, tmp_path / "out", "there is no such folder")
