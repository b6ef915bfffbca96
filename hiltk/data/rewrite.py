"""A copy of a dataset with other values in some numeric columns; cameras are copied as they are, never decoded.

LeRobot's `dataset_tools` can do the same in two passes over all data (remove, then add) after a 10-second import,
and leaves the statistics to a third; this is one pass.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from hiltk.data.lerobot_files import LeRobotFiles

QUANTILES = {"q01": 0.01, "q10": 0.1, "q50": 0.5, "q90": 0.9, "q99": 0.99}  # the ones LeRobot stores


def replace_columns(files: LeRobotFiles, target: Path, columns: dict[str, np.ndarray]) -> None:
    """Write a copy of ``files`` into the folder ``target`` with these columns replaced, statistics included.

    Args:
        columns: by name, over all rows: (N,) or (N, D), of the shape that was there.
    """
    for part in ("meta", "videos", "images"):
        if (files.path / part).is_dir():
            shutil.copytree(files.path / part, target / part)
    row = 0
    for file in files.data_files:
        row = _rewrite_data(file, target / file.relative_to(files.path), columns, row)
    for file in sorted((target / "meta" / "episodes").glob("*/*.parquet")):
        _rewrite_episode_stats(file, files.bounds, columns)
    _rewrite_total_stats(target / "meta" / "stats.json", columns)


def _rewrite_data(source: Path, target: Path, columns: dict[str, np.ndarray], first: int) -> int:
    """Copy one data file, whose rows start at ``first``; returns where the next one starts."""
    target.parent.mkdir(parents=True, exist_ok=True)
    reader = pq.ParquetFile(source)
    with pq.ParquetWriter(target, reader.schema_arrow, compression="snappy", use_dictionary=True) as writer:
        for group in range(reader.num_row_groups):  # LeRobot keeps one episode per row group
            table = reader.read_row_group(group)
            for name, values in columns.items():
                field = table.schema.field(name)
                cells = pa.array(list(values[first : first + len(table)]), field.type)
                table = table.set_column(table.schema.get_field_index(name), field, cells)
            writer.write_table(table)
            first += len(table)
    return first


def _rewrite_episode_stats(file: Path, bounds: list[tuple[int, int]], columns: dict[str, np.ndarray]) -> None:
    table = pq.read_table(file, partitioning=None)
    episodes = table.column("episode_index").to_pylist()
    for name, values in columns.items():
        stats = [column_stats(values[slice(*bounds[e])]) for e in episodes]
        for key in stats[0]:
            index = table.schema.get_field_index(f"stats/{name}/{key}")
            if index >= 0:
                field = table.schema.field(index)
                table = table.set_column(index, field, pa.array([s[key] for s in stats], field.type))
    pq.write_table(table, file)


def _rewrite_total_stats(file: Path, columns: dict[str, np.ndarray]) -> None:
    stats: dict[str, Any] = json.loads(file.read_text()) if file.is_file() else {}
    stats |= {name: column_stats(values) for name, values in columns.items()}
    file.write_text(json.dumps(stats, indent=4))


def column_stats(values: np.ndarray) -> dict[str, list[float]]:
    """The statistics LeRobot keeps of a numeric column (N,) or (N, D), per dimension."""
    values = np.asarray(values, dtype=np.float64).reshape(len(values), -1)
    stats = {"min": values.min(0), "max": values.max(0), "mean": values.mean(0), "std": values.std(0)}
    stats |= {name: np.quantile(values, q, axis=0) for name, q in QUANTILES.items()}
    return {name: value.tolist() for name, value in stats.items()} | {"count": [len(values)]}
