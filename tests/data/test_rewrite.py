"""Copies with replaced columns: everything else, cameras included, stays byte for byte."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from hiltk.data.episode import Episode
from hiltk.data.lerobot_files import LeRobotFiles
from hiltk.data.rewrite import replace_columns
from hiltk.data.statistics import column_stats
from hiltk.spec import ImageSpec, Spec


def test_only_the_named_columns_change(shared_dataset: Path, tmp_path: Path) -> None:
    files = LeRobotFiles(shared_dataset)
    rows = files.bounds[-1][1]
    actions = np.random.default_rng(0).normal(size=(rows, 4)).astype(np.float32)
    valid = np.arange(rows) % 3 == 0
    target = tmp_path / "copy"
    target.mkdir()
    replace_columns(files, target, {"action": actions, "action_valid": valid})
    copied = LeRobotFiles(target)
    assert copied.bounds == files.bounds
    np.testing.assert_array_equal(copied.column("action"), actions)
    np.testing.assert_array_equal(copied.column("action_valid"), valid)
    for before, after in zip(files.data_files, copied.data_files, strict=True):
        old, new = pq.read_table(before), pq.read_table(after)
        assert old.schema.equals(new.schema, check_metadata=True)
        changed = [n for n in old.column_names if not old.column(n).equals(new.column(n))]
        assert changed == ["action", "action_valid"]
        assert pq.ParquetFile(after).num_row_groups == pq.ParquetFile(before).num_row_groups


def test_video_files_are_copied(
    dataset_dir: Callable[..., Path], make_episode: Callable[..., Episode], tiny_spec: Spec, tmp_path: Path
) -> None:
    spec = replace(copy.deepcopy(tiny_spec), images=[ImageSpec("wrist", 64, 64, 64, 64)])
    path = dataset_dir(spec=spec, episodes=[make_episode(spec=spec)], video=True)
    files = LeRobotFiles(path)
    replace_columns(files, tmp_path / "copy", {"next.reward": np.ones(files.bounds[-1][1], np.float32)})
    (before,), (after,) = path.rglob("*.mp4"), (tmp_path / "copy").rglob("*.mp4")
    assert before.read_bytes() == after.read_bytes()
    assert LeRobotFiles(tmp_path / "copy").column("next.reward").all()


def test_statistics_are_lerobots() -> None:
    """LeRobot estimates quantiles from a histogram; everything else agrees exactly."""
    from lerobot.datasets.compute_stats import get_feature_stats

    values = np.random.default_rng(0).uniform(-1, 1, size=(20000, 3))
    theirs = get_feature_stats(values, axis=0, keepdims=False)
    ours = column_stats(values)
    assert theirs.keys() == ours.keys()
    for name, value in theirs.items():
        np.testing.assert_allclose(ours[name], value, atol=0.02 if name.startswith("q") else 1e-6, err_msg=name)


@pytest.mark.parametrize("dtype", [bool, np.int64, np.float32])
def test_statistics_of_a_single_column_by_hand(dtype: type) -> None:
    stats = column_stats(np.array([0, 1, 1, 0], dtype))
    assert (stats["min"], stats["max"], stats["mean"], stats["std"], stats["count"]) == ([0], [1], [0.5], [0.5], [4])
