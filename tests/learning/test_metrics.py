from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from hiltk.learning import metrics
from hiltk.learning.metrics import CsvLog, TrainingDisplay, by_itself, early, missed, recent_rate


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_rows_are_on_disk_at_once_and_later_ones_are_dropped_on_resume(
    tmp_path: Path,
) -> None:
    log = CsvLog(tmp_path, ["episode", "return"])
    for episode in range(5):
        log.write({"episode": episode, "return": episode / 3, "not a column": 1.0})
        assert len(read(log.path)) == episode + 1
    again = CsvLog(tmp_path, ["episode", "return"], keep=3)
    again.write({"episode": 3, "return": 9.0})
    assert [r["episode"] for r in read(log.path)] == ["0", "1", "2", "3"]
    assert [r["return"] for r in read(log.path)] == ["0", "0.333333", "0.666667", "9"]


def row(episode: int) -> dict[str, float]:
    return {
        "episode": episode,
        "env_step": 20 * episode,
        "success": 1,
        "left_alone": float(episode % 2),
        "intervention_rate": 0.25,
        "return": 1,
        "steps_per_s": 12.5,
    }


def plain_lines(monkeypatch: pytest.MonkeyPatch, episodes: int, seconds_each: float) -> list[str]:
    """What is printed without a terminal while so many episodes come, each after so long."""
    now = 0.0
    monkeypatch.setattr(metrics.time, "monotonic", lambda: now)
    out = io.StringIO()
    with TrainingDisplay(30, Console(file=out, width=200)) as display:
        for episode in range(episodes):
            now += seconds_each
            display.update(row(episode))
    return out.getvalue().splitlines()


def test_without_a_terminal_every_tenth_episode_is_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = plain_lines(monkeypatch, 20, 0.0)
    assert len(lines) == 2
    assert lines[0].startswith("episode 10 of 30: success 100%, alone 5 of 5, intervened 25%")


def test_without_a_terminal_slow_episodes_are_lines_too(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = plain_lines(monkeypatch, 6, 4.0)
    assert [line.split(":")[0] for line in lines] == ["episode 3 of 30", "episode 6 of 30"]


def test_on_a_terminal_the_table_is_live() -> None:
    out = io.StringIO()
    with TrainingDisplay(30, Console(file=out, width=200, force_terminal=True)) as display:
        display.update(row(1))
    assert "alone" in out.getvalue() and "2/30" in out.getvalue()


def test_only_episodes_left_alone_count() -> None:
    # Success with help counts for nothing, and neither does what `autonomous` says of an episode that went well early.
    frame = pd.DataFrame({"success": 1.0, "autonomous": 0.0, "left_alone": [0.0, 1.0] * 6})
    frame.loc[[1, 3], "success"] = 0.0
    assert by_itself(frame).dropna().tolist() == [0, 0, 1, 1, 1, 1]
    rate = recent_rate(frame)
    assert rate.isna().tolist() == [True] * 9 + [False] * 3  # the fifth left alone is episode 9
    assert np.allclose(rate[9:], [3 / 5, 3 / 5, 4 / 6])
    assert by_itself(frame.drop(columns="left_alone")).tolist() == [0.0] * 12  # an older run


def test_what_is_not_known_is_neither_early_nor_missed() -> None:
    success, true = pd.Series([1.0, 1.0, 0.0, 0.0, 1.0, 0.0]), pd.Series([0.0, 1.0, 1.0, 0.0, np.nan, np.nan])
    assert early(success, true).tolist() == [True, False, False, False, False, False]
    assert missed(success, true).tolist() == [False, False, True, False, False, False]
    assert early(1.0, 0.0) and not early(0.0, 0.0) and missed(0.0, 1.0)
