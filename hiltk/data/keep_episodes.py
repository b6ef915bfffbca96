"""A copy of some episodes of any LeRobotDataset v3, numbered anew; pictures stay as they are.

Works on datasets that nothing else opens: with numbers that skip, or episodes without rows.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from hiltk.data.columns import numeric
from hiltk.data.lerobot_files import LeRobotFiles, damaged, read_info, read_stats, tables
from hiltk.data.statistics import column_stats


@dataclass(frozen=True)
class Numbering:
    """The episodes of a dataset as they are numbered in it.

    Attributes:
        rows: how many rows each number has in the tables.
        described: numbers that the metadata describe.
        announced: rows in all, as ``meta/info.json`` says.
    """

    rows: dict[int, int]
    described: frozenset[int]
    announced: int

    @property
    def usable(self) -> list[int]:
        """Those that can be learned from: described, and with a transition at least."""
        return sorted(n for n, rows in self.rows.items() if rows > 1 and n in self.described)

    @property
    def odd(self) -> dict[int, str]:
        """The others, and why each is none."""
        found = {n: "it has one row, an action needs two" for n, rows in self.rows.items() if rows == 1}
        found |= {n: "the metadata do not describe it" for n in self.rows if n not in self.described}
        return found | {n: "it has no rows" for n in self.described if n not in self.rows}

    @property
    def sound(self) -> bool:
        """Whether nothing has to be left out or numbered anew, or rows are lost, which cannot be mended here."""
        counted = self.usable == list(range(len(self.rows)))
        return sum(self.rows.values()) != self.announced or not self.usable or (counted and not self.odd)


def numbering(path: Path) -> Numbering:
    """How the episodes of a dataset are numbered.

    Raises:
        UserError: a file is damaged, or it is no LeRobotDataset v3.
    """
    info, rows, described = read_info(path), dict[int, int](), set[int]()
    for file in tables(path / "data"):
        with damaged(file):
            counted = pq.read_table(file, columns=["episode_index"], partitioning=None).column(0).value_counts()
            for one in counted.to_pylist():
                rows[one["values"]] = rows.get(one["values"], 0) + one["counts"]
    for file in tables(path / "meta" / "episodes"):
        with damaged(file):
            described |= set(pq.read_table(file, columns=["episode_index"], partitioning=None).column(0).to_pylist())
    return Numbering(rows, frozenset(described), int(info["total_frames"]))


def keep_episodes(path: Path, kept: Sequence[int], target: Path, *, link: bool = False) -> None:
    """Write the episodes with the numbers ``kept`` (ascending) into the folder ``target``, numbered from 0.

    Args:
        link: link to files of pictures instead of copying them.

    Raises:
        UserError: a file is damaged.
    """
    target.mkdir(parents=True, exist_ok=True)
    new = {number: place for place, number in enumerate(kept)}
    lengths = dict.fromkeys(kept, 0)
    first = 0
    for file in tables(path / "data"):
        with damaged(file):
            first += _keep_rows(file, target / file.relative_to(path), new, lengths, first)
    stops = np.cumsum(list(lengths.values()))
    for file in tables(path / "meta" / "episodes"):
        with damaged(file):
            _keep_metadata(file, target / file.relative_to(path), new, stops)
    if (path / "meta" / "tasks.parquet").is_file():
        shutil.copy2(path / "meta" / "tasks.parquet", target / "meta" / "tasks.parquet")
    for part in ("videos", "images"):
        if (path / part).is_dir():
            copy = os.symlink if link else shutil.copytree
            copy((path / part).resolve(), target / part)
    info: dict[str, Any] = json.loads((path / "meta" / "info.json").read_text())
    info |= {"total_episodes": len(kept), "total_frames": int(stops[-1]), "splits": {"train": f"0:{len(kept)}"}}
    (target / "meta" / "info.json").write_text(json.dumps(info, indent=4))
    files = LeRobotFiles(target, gaps=True)
    numbers = {name: files.column(name) for name in numeric(files)}
    stats = read_stats(path) | {name: column_stats(values) for name, values in numbers.items()}
    (target / "meta" / "stats.json").write_text(json.dumps(stats, indent=4))


def _keep_rows(source: Path, target: Path, new: dict[int, int], lengths: dict[int, int], first: int) -> int:
    """Copy the wanted rows of a data file, a row group in memory at a time; returns how many there are."""
    reader, count = pq.ParquetFile(source), 0
    writer = None
    for group in range(reader.num_row_groups):
        table = reader.read_row_group(group)
        table = table.filter(pc.is_in(table.column("episode_index"), pa.array(list(new))))
        if not len(table):
            continue
        numbers = table.column("episode_index").to_pylist()
        for number in numbers:
            lengths[number] += 1
        table = _with(table, "episode_index", [new[n] for n in numbers])
        table = _with(table, "index", range(first + count, first + count + len(table)))
        if writer is None:
            target.parent.mkdir(parents=True, exist_ok=True)
            writer = pq.ParquetWriter(target, table.schema, compression="snappy", use_dictionary=True)
        writer.write_table(table)
        count += len(table)
    if writer is not None:
        writer.close()
    return count


def _keep_metadata(source: Path, target: Path, new: dict[int, int], stops: np.ndarray) -> None:
    table = pq.read_table(source, partitioning=None)
    table = table.filter(pc.is_in(table.column("episode_index"), pa.array(list(new))))
    target.parent.mkdir(parents=True, exist_ok=True)
    if len(table):
        places = [new[n] for n in table.column("episode_index").to_pylist()]
        starts = np.r_[0, stops[:-1]]
        table = _with(table, "episode_index", places)
        table = _with(table, "dataset_from_index", starts[places].tolist())
        table = _with(table, "dataset_to_index", stops[places].tolist())
        pq.write_table(table, target)


def _with(table: pa.Table, name: str, values: Sequence[int]) -> pa.Table:
    at = table.schema.get_field_index(name)
    field = table.schema.field(at)
    return table.set_column(at, field, pa.array(values, field.type))
