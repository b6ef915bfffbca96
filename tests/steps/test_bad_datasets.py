"""Damaged and contradictory datasets through the real commands: one clear message, no stack trace, nothing written."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from typer.testing import CliRunner

from hiltk import cli
from hiltk.agents.make import build_policy
from hiltk.config.groups import EncoderConf, SacConf
from hiltk.data.lerobot_io import SPEC_FILE
from hiltk.data.statistics import vector_stats
from hiltk.rewards.classifier import SuccessClassifier
from tests.conftest import build_episode, build_spec, write_dataset

Fault = Callable[[Path], None]
STATE = "observation.state"
SMALL = EncoderConf(channels=[4], kernels=[3], strides=[4], features=8)


@pytest.fixture(scope="module")
def filmed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three episodes with a video."""
    spec = build_spec(size=64)
    episodes = [build_episode(spec, 8, seed) for seed in range(3)]
    return write_dataset(tmp_path_factory.mktemp("filmed") / "dataset", spec, episodes, video=True)


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A policy and a success classifier that fit it, untrained."""
    spec, folder = build_spec(size=64), tmp_path_factory.mktemp("networks")
    spec.stats[STATE] = vector_stats(build_episode(spec).observations[STATE], spec.state.dims, "one episode")
    made = {"policy": build_policy(SacConf(hidden=[8]), SMALL, spec), "classifier": SuccessClassifier(SMALL, spec)}
    for name, network in made.items():
        (folder / name).mkdir()
        network.save(folder / name)
    return {name: folder / name for name in made}


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


def other_width(path: Path) -> None:
    """One number too few in every action, in the table only."""

    def narrow(table: pa.Table) -> pa.Table:
        at = table.schema.get_field_index("action")
        cells = [cell[:3] for cell in table.column(at).to_pylist()]
        return table.set_column(at, "action", pa.array(cells, pa.list_(pa.float32(), 3)))

    rewrite(path, narrow)


def no_column(name: str) -> Fault:
    return lambda path: rewrite(path, lambda table: table.drop_columns([name]))


def other_episodes(**changes: Any) -> Fault:
    """Edit the first episode's row of metadata."""

    def edit(path: Path) -> None:
        file = the(path, "meta/episodes/*/*.parquet")
        table = pq.read_table(file, partitioning=None)
        for name, value in changes.items():
            at = table.schema.get_field_index(name)
            cells = [value, *table.column(at).to_pylist()[1:]]
            table = table.set_column(at, table.schema.field(at), pa.array(cells, table.schema.field(at).type))
        pq.write_table(table, file)

    return edit


def truncated_tasks(path: Path) -> None:
    cut(the(path, "meta/tasks.parquet"))


def truncated_episodes(path: Path) -> None:
    cut(the(path, "meta/episodes/*/*.parquet"))


def picture(cell: dict[str, Any] | None) -> Fault:
    """Another content of one stored picture."""

    def put(table: pa.Table) -> pa.Table:
        at = next(i for i, name in enumerate(table.column_names) if "images" in name)
        cells = table.column(at).to_pylist()
        cells[0] = cell
        return table.set_column(at, table.schema.field(at), pa.array(cells, table.schema.field(at).type))

    return lambda path: rewrite(path, put)


def stats_text(text: str) -> Fault:
    return lambda path: (path / "meta" / "stats.json").write_text(text) and None


def spec_text(text: str) -> Fault:
    return lambda path: (path / SPEC_FILE).write_text(text) and None


def spec_with(change: Callable[[dict[str, Any]], Any]) -> Fault:
    def edit(path: Path) -> None:
        data = yaml.safe_load((path / SPEC_FILE).read_text())
        change(data)
        (path / SPEC_FILE).write_text(yaml.safe_dump(data))

    return edit


SMALL_PICTURE = {"bytes": cv2.imencode(".png", np.zeros((9, 9, 3), np.uint8))[1].tobytes(), "path": None}
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
    "no_number": (say(fps="fast"), "info.json cannot be read"),
    "no_rate": (say(fps=0), "0 frames per second"),
    "no_count": (say(total_frames="many"), "info.json cannot be read"),
    "no_features": (say(features=None), "info.json cannot be read"),
    "features_without_type": (say(features={"action": {}}), "info.json cannot be read"),
    "other_width": (other_width, "'action' has 3 numbers a row"),
    "no_column": (no_column("index"), "columns that are not there: index"),
    "truncated_episodes": (truncated_episodes, "damaged"),
    "truncated_tasks": (truncated_tasks, "tasks.parquet"),
    "other_length": (other_episodes(length=3), "episode 0 of 3 frames against episode 0 of 11 frames"),
    "other_place": (other_episodes(dataset_from_index=3), "put episode 0 in rows 3 to 11, it is in rows 0 to 11"),
    "no_picture": (picture(None), "cannot be decoded"),
    "nonsense_picture": (picture({"bytes": b"nonsense", "path": None}), "cannot be decoded"),
    "small_picture": (picture(SMALL_PICTURE), "9 x 9 x 3"),
}
NUMBERS: dict[str, tuple[Fault, str]] = {"not_finite": (not_finite, "not finite")}
VIDEO: dict[str, tuple[Fault, str]] = {
    "truncated_mp4": (truncated_mp4, ".mp4"),
    "no_mp4": (no_mp4, "missing"),
}
SPEC: dict[str, tuple[Fault, str]] = {
    "nonsense_spec": (nonsense_spec, "fps: -3 must be above 0"),
    "empty_spec": (spec_text(""), "hiltk_spec.yaml"),
    "no_yaml": (spec_text("a: [1,\n b"), "hiltk_spec.yaml"),
    "other_rate": (spec_with(lambda d: d.update(fps=20.0)), "fps: 20.0 in the spec, 10.0 in meta/info.json"),
    "other_names": (spec_with(lambda d: d["state"]["dims"][0].update(name="banana")), "banana"),
    "no_dimensions": (spec_with(lambda d: d["state"].update(dims=[])), "observation.state"),
    "other_camera": (spec_with(lambda d: d["images"][0].update(name="elsewhere")), "elsewhere"),
}
STATS: dict[str, tuple[Fault, str]] = {
    "no_json": (stats_text("{nonsense"), "stats.json cannot be read"),
    "a_list": (stats_text("[]"), "stats.json cannot be read"),
    "words": (stats_text('{"action": {"min": ["low"]}}'), "stats.json cannot be read"),
}


def refused(words: list[str], root: Path, said: str, code: int = 1) -> None:
    result = CliRunner().invoke(cli.app, [*words, f"root={root}"], terminal_width=200)
    assert result.exit_code == code, f"{result.exit_code} {result.exception!r}\n{result.output}"
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


MENDED = ("missing_episode",)  # by adopt: see tests/data/test_foreign_files.py


@pytest.mark.parametrize("fault", [fault for fault in (*FAULTS, *NUMBERS) if fault not in MENDED])
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


# What every verb that takes a dataset refuses: (words, besides the dataset's folder).
VERBS: dict[str, Callable[[str], list[str]]] = {
    "fix-actions": lambda path: ["fix-actions", path, "name=o", "force=true"],
    "label": lambda path: ["label", path, "name=o", "source=predicate"],
    "merge": lambda path: ["merge", path, f"{path}/../good", "name=o"],
    "merge, second": lambda path: ["merge", f"{path}/../good", path, "name=o"],
    "split": lambda path: ["split", path, "name=o"],
    "drop-episodes": lambda path: ["drop-episodes", path, "name=o", "episodes=[0]"],
    "stats": lambda path: ["stats", path, "name=o"],
    "inspect": lambda path: ["inspect", path, "name=o"],
    "train-classifier": lambda path: ["train-classifier", path, "name=o", "steps=1"],
    "train": lambda path: ["train", f"demos=[{path}]", "name=o", "episodes=1", "env.cameras=[]"],
    "report": lambda path: ["report", path, "name=o"],
    "preview": lambda path: ["preview", f"{path}/../classifier", f"dataset={path}", "name=o"],
    "diagnose policy": lambda path: ["diagnose", "policy", f"{path}/../policy", f"sets=[{path}]", "name=o"],
    "diagnose encoder": lambda path: [
        *("diagnose", "encoder", f"{path}/../policy", f"sets=[{path}:0,{path}:1-2]", "name=o"),
    ],
    "diff": lambda path: ["diff", f"{path}/../good", path],
}
CLASSES = ("no_dataset", "truncated_parquet", "missing_episode", "other_number_of_episodes", "nonsense_spec")


@pytest.mark.parametrize("fault", [*CLASSES, "not_finite", "truncated_mp4"])
@pytest.mark.parametrize("verb", VERBS)
def test_every_verb(filmed: Path, networks: dict[str, Path], tmp_path: Path, verb: str, fault: str) -> None:
    """Nothing is made of a dataset in any of these states, whatever the command; `diff` alone does not need numbers."""
    if (verb, fault) == ("diff", "not_finite"):
        pytest.skip("compares specs, settings and statistics")
    for name, place in {"good": filmed, **networks}.items():
        (tmp_path / name).symlink_to(place)
    path = Path(shutil.copytree(filmed, tmp_path / "dataset"))
    spoil, said = (FAULTS | NUMBERS | SPEC | VIDEO)[fault]
    spoil(path)
    refused(VERBS[verb](str(path)), tmp_path / "out", said, code=2 if verb == "diff" else 1)


@pytest.mark.parametrize("fault", list(STATS))
@pytest.mark.parametrize("command", ["stats", "adopt", "drop-episodes"])
def test_statistics_that_are_none(shared_dataset: Path, tmp_path: Path, fault: str, command: str) -> None:
    path = Path(shutil.copytree(shared_dataset, tmp_path / "dataset"))
    if command == "adopt":
        (path / SPEC_FILE).unlink()
    spoil, said = STATS[fault]
    spoil(path)
    words = ["name=o", "episodes=[0]"] if command == "drop-episodes" else ["name=o"]
    refused([command, str(path), *words], tmp_path / "out", said)


@pytest.mark.parametrize("fault", [*FAULTS, *NUMBERS, *SPEC, *STATS])
def test_check(shared_dataset: Path, tmp_path: Path, fault: str) -> None:
    """One message, or a rule's finding that says the same."""
    path = Path(shutil.copytree(shared_dataset, tmp_path / "dataset"))
    spoil, said = (FAULTS | NUMBERS | SPEC | STATS)[fault]
    spoil(path)
    result = CliRunner().invoke(cli.app, ["check", str(path), "--json"], terminal_width=200)
    assert result.exit_code == 1, f"{result.exit_code} {result.exception!r}\n{result.output}"
    if "error: " in result.stderr:
        assert said in result.stderr
    else:
        assert said in next(
            f["message"] + f["where"] for f in json.loads(result.stdout)["findings"] if f["code"] == "RUN008"
        )


def test_a_file_is_no_dataset(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for command in ("show", "adopt", "bc-pretrain"):
        words = [command, str(tmp_path / "file"), *([] if command == "show" else ["name=out"])]
        refused(words, tmp_path / "out", "there is no such folder")
