"""The private parts of LeRobot's dataset tools that ours replace are still there, and ours do the same."""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np

import hiltk
from hiltk.data.lerobot_files import LeRobotFiles
from hiltk.data.lerobot_tools import open_with_lerobot, own_parts


def test_the_part_of_lerobot_that_is_replaced_is_still_there() -> None:
    """LeRobot has no public way to drop episodes without encoding their video files again (0.6.1).

    Where this fails, see what its `split_dataset` calls now: `own_parts` puts `_copy_videos` in its place.
    """
    import inspect

    from lerobot.datasets import dataset_tools

    theirs = inspect.signature(dataset_tools._copy_and_reindex_videos)
    assert list(theirs.parameters) == ["src_dataset", "dst_meta", "episode_mapping"]
    assert "_copy_and_reindex_videos(" in inspect.getsource(dataset_tools.split_dataset)


def test_an_episodes_metadata_are_what_lerobot_reads(shared_dataset: Path) -> None:
    """Ours reads the file once for all episodes; `split_dataset` takes the rest of the row as it is."""
    import inspect

    from lerobot.datasets import dataset_tools

    theirs, whole = dataset_tools._load_episode_with_stats, open_with_lerobot(LeRobotFiles(shared_dataset), "")
    assert list(inspect.signature(theirs).parameters) == ["src_dataset", "episode_idx"]
    assert "_load_episode_with_stats(" in inspect.getsource(dataset_tools._copy_and_reindex_episodes_metadata)
    with own_parts(copy_videos=False):
        ours = dataset_tools._load_episode_with_stats
        for episode in range(3):
            row, expected = ours(whole, episode), theirs(whole, episode)
            assert row.keys() == expected.keys() and "stats/action/mean" in row
            for key, value in expected.items():
                np.testing.assert_array_equal(row[key], value, err_msg=key)
    assert dataset_tools._load_episode_with_stats is theirs is not ours


def test_nothing_else_calls_lerobots_dataset_tools() -> None:
    root, found = Path(hiltk.__file__).parent, set()
    for file in root.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            module = node.module or "" if isinstance(node, ast.ImportFrom) else ""
            if module.startswith(("lerobot.datasets", "lerobot.scripts")):
                found.add(str(file.relative_to(root)))
    assert found == {"data/lerobot_tools.py"}
