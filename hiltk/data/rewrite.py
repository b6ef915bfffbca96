"""A copy of a dataset with other numbers; pictures are copied as they are, never decoded.

LeRobot's `dataset_tools` can replace a column in two passes over all data (remove, then add) after a 10-second import,
and leaves the statistics to a third; this is one pass, one row group in memory at a time.
"""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from hiltk.artifacts.writing import write_spec
from hiltk.data.lerobot_files import LeRobotFiles, read_stats, tables
from hiltk.data.lerobot_io import features
from hiltk.data.statistics import column_stats, episode_stats, vector_stats
from hiltk.spec import STATE_KEY, Spec

LEROBOTS_OWN = ("timestamp", "frame_index", "episode_index", "index", "task_index")
_ARROW = {"float32": pa.float32(), "int64": pa.int64(), "bool": pa.bool_(), "string": pa.string()}


def replace_columns(files: LeRobotFiles, target: Path, columns: dict[str, np.ndarray]) -> None:
    """Write a copy of ``files`` into the folder ``target`` with these columns replaced, statistics included.

    Args:
        files: found to be consistent (`hiltk.data.consistency`): pictures are not looked at.
        columns: by name, over all rows: (N,) or (N, D), of the shape that was there.

    Raises:
        UserError: a file is damaged.
    """
    for part in ("meta", "videos", "images"):
        if (files.path / part).is_dir():
            shutil.copytree(files.path / part, target / part, ignore=shutil.ignore_patterns("._*"))
    row = 0
    for file in files.data_files:
        row = _rewrite_data(file, target / file.relative_to(files.path), columns, row)
    stats = episode_stats(columns, files.bounds)
    for file in tables(target / "meta" / "episodes"):
        _rewrite_episode_stats(file, stats)
    _rewrite_total_stats(target, columns)


def _rewrite_data(source: Path, target: Path, columns: dict[str, np.ndarray], first: int) -> int:
    """Copy one data file, whose rows start at ``first``; returns where the next one starts."""
    target.parent.mkdir(parents=True, exist_ok=True)
    reader = pq.ParquetFile(source)
    with pq.ParquetWriter(target, reader.schema_arrow, compression="snappy", use_dictionary=True) as writer:
        for group in range(reader.num_row_groups):  # LeRobot keeps one episode per row group
            table = reader.read_row_group(group)
            for name, values in columns.items():
                field = table.schema.field(name)
                cells = _cells(values[first : first + len(table)], field.type)
                table = table.set_column(table.schema.get_field_index(name), field, cells)
            writer.write_table(table)
            first += len(table)
    return first


def _cells(values: np.ndarray, kind: pa.DataType) -> pa.Array:
    """A column of scalars or equally long lists, (N,) or (N, D)."""
    if not (pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind)):
        return pa.array(values.reshape(len(values)), kind)
    rows = values.reshape(len(values), -1)
    flat = pa.array(rows.ravel(), kind.value_type)
    if pa.types.is_fixed_size_list(kind):
        return pa.FixedSizeListArray.from_arrays(flat, type=kind)
    return pa.ListArray.from_arrays(np.arange(len(rows) + 1, dtype=np.int32) * rows.shape[1], flat, type=kind)


def _rewrite_episode_stats(file: Path, stats: dict[str, dict[str, list[Any]]]) -> None:
    table = pq.read_table(file, partitioning=None)
    episodes = table.column("episode_index").to_pylist()
    for name, by_key in stats.items():
        for key, values in by_key.items():
            index = table.schema.get_field_index(f"stats/{name}/{key}")
            if index >= 0:
                field = table.schema.field(index)
                table = table.set_column(index, field, pa.array([values[e] for e in episodes], field.type))
    pq.write_table(table, file)


def _rewrite_total_stats(path: Path, columns: dict[str, np.ndarray]) -> None:
    stats: dict[str, Any] = read_stats(path)
    stats |= {name: column_stats(values) for name, values in columns.items()}
    (path / "meta" / "stats.json").write_text(json.dumps(stats, indent=4))


# ---------------------------------------------------------------- other columns beside the same pictures


def write_beside_pictures(
    files: LeRobotFiles,
    target: Path,
    spec: Spec,
    cameras: dict[str, str],
    episodes: Iterable[dict[str, Any]],
    tasks: Sequence[str] = (),
) -> Spec:
    """Write a hiltk dataset into the folder ``target`` whose pictures are those of ``files``, under other names.

    Args:
        files: found to be consistent (`hiltk.data.consistency`): pictures are not looked at.
        spec: what the numbers follow.
        cameras: their key to ours; the pictures of others are left out.
        episodes: of every episode the columns over its rows, as `hiltk.data.lerobot_io.episode_rows` makes them.
        tasks: the sentence of every episode; empty: all have the spec's.

    Returns:
        The spec, with the statistics of the state.

    Raises:
        UserError: a file is damaged.
    """
    spec, table = copy.deepcopy(spec), _feature_table(files, spec, cameras)
    columns = _joined(episodes, files.bounds[-1][1], {k: f for k, f in table.items() if f["dtype"] in _ARROW})
    tasks = list(tasks) or [spec.task or "task"] * len(files.bounds)
    sentences = list(dict.fromkeys(tasks))
    new = {
        # LeRobot finds a picture by its time, to a tenth of a millisecond: a clock that jittered is set to the frame.
        "timestamp": np.rint(files.times_s * files.fps) / files.fps,
        "task_index": np.repeat([sentences.index(t) for t in tasks], [stop - start for start, stop in files.bounds]),
    }
    first = 0
    for file in files.data_files:
        first = _write_data(file, target / file.relative_to(files.path), columns, cameras, table, first, new)
    info = _write_info(files, target, spec, table, len(sentences))
    _copy_pictures(files, target, cameras, info)
    numbers = {k: v for k, v in columns.items() if v.dtype != object}
    _write_meta(files, target, tasks, cameras, numbers)
    states = numbers[STATE_KEY]
    spec.stats[STATE_KEY] = vector_stats(states, spec.state.dims, f"{len(states)} recorded frames")
    write_spec(spec, "datasets", target)
    return spec


def _feature_table(files: LeRobotFiles, spec: Spec, cameras: dict[str, str]) -> dict[str, dict[str, Any]]:
    """LeRobot's feature table of the new dataset; pictures stay as they are stored, their layout is the spec's."""
    ours = features(spec, video=False)
    numbers = {k: f for k, f in ours.items() if f["dtype"] in _ARROW}
    # LeRobot's RL recorder declares channels first; what lies in the files is the same.
    layout = {k: {part: ours[k][part] for part in ("shape", "names")} for k in cameras.values()}
    pictures = {key: files.features[theirs] | layout[key] for theirs, key in cameras.items()}
    return numbers | pictures | {k: files.features[k] for k in LEROBOTS_OWN}


def _joined(episodes: Iterable[dict[str, Any]], count: int, table: dict[str, dict[str, Any]]) -> dict[str, np.ndarray]:
    """The columns over all rows, filled episode by episode."""
    columns: dict[str, np.ndarray] = {}
    for name, feature in table.items():
        if name not in LEROBOTS_OWN:
            kind = object if feature["dtype"] == "string" else feature["dtype"]
            shape = (count,) if tuple(feature["shape"]) == (1,) else (count, *feature["shape"])
            columns[name] = np.empty(shape, kind)
    first = 0
    for rows in episodes:
        length = len(rows[STATE_KEY])
        for name, column in columns.items():
            column[first : first + length] = np.asarray(rows[name]).reshape(length, *column.shape[1:])
        first += length
    return columns


def _write_data(
    source: Path,
    target: Path,
    columns: dict[str, np.ndarray],
    cameras: dict[str, str],
    table: dict[str, dict[str, Any]],
    first: int,
    new: dict[str, np.ndarray],
) -> int:
    """One data file beside the pictures stored in ``source``; returns the row at which the next one starts.

    Args:
        new: of LeRobot's own columns those that do not stay as they are, over all rows.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    reader = pq.ParquetFile(source)
    stored = {theirs: ours for theirs, ours in cameras.items() if theirs in reader.schema_arrow.names}
    pictures = [pa.field(ours, reader.schema_arrow.field(theirs).type) for theirs, ours in stored.items()]
    numbers = [pa.field(name, _arrow_type(table[name])) for name in columns]
    own = [pa.field(name, reader.schema_arrow.field(name).type) for name in LEROBOTS_OWN]
    schema = pa.schema([*numbers, *pictures, *own])
    with pq.ParquetWriter(target, schema, compression="snappy", use_dictionary=True) as writer:
        for group in range(reader.num_row_groups):
            old = reader.read_row_group(group, columns=[*stored, *LEROBOTS_OWN])
            after = first + len(old)
            cells = [_cells(columns[field.name][first:after], field.type) for field in numbers]
            cells += [old.column(theirs) for theirs in stored]
            cells += [
                pa.array(new[field.name][first:after], field.type) if field.name in new else old.column(field.name)
                for field in own
            ]
            writer.write_table(pa.table(cells, schema=schema))
            first = after
    return first


def _arrow_type(feature: dict[str, Any]) -> pa.DataType:
    kind, shape = _ARROW[feature["dtype"]], tuple(feature["shape"])
    return kind if shape == (1,) else pa.list_(kind, shape[0])


def _write_info(
    files: LeRobotFiles, target: Path, spec: Spec, table: dict[str, dict[str, Any]], tasks: int
) -> dict[str, Any]:
    info: dict[str, Any] = json.loads((files.path / "meta" / "info.json").read_text())
    info |= {"features": table, "total_tasks": tasks, "robot_type": spec.robot.kind or None}
    (target / "meta").mkdir(parents=True, exist_ok=True)
    (target / "meta" / "info.json").write_text(json.dumps(info, indent=4))
    return info


def _copy_pictures(files: LeRobotFiles, target: Path, cameras: dict[str, str], info: dict[str, Any]) -> None:
    for theirs, ours in cameras.items():
        if files.features[theirs]["dtype"] != "video":
            continue
        for place in sorted({segment.place for segment in files.segments(theirs)}):
            names = dict(zip(("chunk_index", "file_index"), place, strict=True))
            source, copied = (info["video_path"].format(video_key=key, **names) for key in (theirs, ours))
            (target / copied).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(files.path / source, target / copied)
    if (files.path / "images").is_dir():  # rows may name pictures there instead of holding them
        shutil.copytree(files.path / "images", target / "images")


def _write_meta(
    files: LeRobotFiles, target: Path, tasks: list[str], cameras: dict[str, str], columns: dict[str, np.ndarray]
) -> None:
    """Tasks, one row per episode, and the statistics."""
    import pandas as pd

    sentences = list(dict.fromkeys(tasks))
    frame = pd.DataFrame({"task_index": range(len(sentences))}, index=pd.Index(sentences, name="task"))
    frame.to_parquet(target / "meta" / "tasks.parquet")
    stats = episode_stats(columns, files.bounds)
    for file in tables(files.path / "meta" / "episodes"):
        old = pq.read_table(file, partitioning=None)
        episodes = old.column("episode_index").to_pylist()
        new: dict[str, Any] = {name: old.column(was) for was, name in _episode_columns(old.column_names, cameras)}
        new["tasks"] = pa.array([[tasks[e]] for e in episodes])
        for name, by_key in stats.items():
            new |= {f"stats/{name}/{key}": pa.array([values[e] for e in episodes]) for key, values in by_key.items()}
        out = target / file.relative_to(files.path)
        out.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table(new), out)
    _write_total_stats(files, target, cameras, columns)


def _episode_columns(names: list[str], cameras: dict[str, str]) -> list[tuple[str, str]]:
    """Columns of LeRobot's episode table that stay, under their old and new names."""
    kept = []
    for name in names:
        part, _, rest = name.partition("/")
        key = rest.rpartition("/")[0]
        if part not in ("videos", "stats") or key in LEROBOTS_OWN:
            kept.append((name, name))
        elif key in cameras:
            kept.append((name, name.replace(f"{part}/{key}/", f"{part}/{cameras[key]}/")))
    return kept


def _write_total_stats(
    files: LeRobotFiles, target: Path, cameras: dict[str, str], columns: dict[str, np.ndarray]
) -> None:
    old = read_stats(files.path)
    stats = {name: column_stats(values) for name, values in columns.items()}
    stats |= {cameras.get(name, name): old[name] for name in (*cameras, *LEROBOTS_OWN) if name in old}
    (target / "meta" / "stats.json").write_text(json.dumps(stats, indent=4))
