from __future__ import annotations

import io
import math
from typing import Any

import pandas as pd
import pytest
from rich.console import Console

from hiltk.evaluation.rollouts import evaluate
from hiltk.evaluation.tables import TOTAL, compare_policies, format_p, success_table, summarise


@pytest.fixture
def episodes(line_env: Any, go_to: Any) -> pd.DataFrame:
    frames = []
    for label, policy in (("bc", go_to(reach=0.5)), ("hil", go_to())):
        frame = evaluate(line_env, policy, ["near", "far"], 10, seed=0)
        frame.insert(0, "policy", label)
        frames.append(frame)
    return pd.concat(frames, ignore_index=True)


def test_summary_counts_per_stratum_and_in_total(episodes: pd.DataFrame) -> None:
    summary = summarise(episodes).set_index(["policy", "stratum"])
    assert summary.loc[("bc", "near"), ["n", "successes"]].tolist() == [10, 10]
    assert summary.loc[("bc", "far"), ["n", "successes"]].tolist() == [10, 0]
    total = summary.loc[("bc", TOTAL)]
    assert (total.n, total.successes, total.rate) == (20, 10, 0.5)
    assert (total.low, total.high) == (pytest.approx(0.2993, abs=1e-4), pytest.approx(0.7007, abs=1e-4))


def test_time_counts_successes_only(episodes: pd.DataFrame) -> None:
    summary = summarise(episodes).set_index(["policy", "stratum"])
    assert math.isnan(summary.loc[("bc", "far"), "mean_steps"])
    won = episodes[(episodes.policy == "bc") & episodes.success]
    assert summary.loc[("bc", TOTAL), "mean_steps"] == pytest.approx(won.steps.mean())


def test_comparison_pairs_episodes_by_seed(episodes: pd.DataFrame) -> None:
    shuffled = episodes.sample(frac=1, random_state=0).sort_values("policy", kind="stable")
    rows = compare_policies(shuffled).set_index("stratum")
    assert rows.loc["near", ["only_first", "only_second"]].tolist() == [0, 0]
    assert rows.loc["far", ["only_first", "only_second"]].tolist() == [0, 10]
    assert rows.loc["far", "p_value"] == pytest.approx(2 / 1024)
    assert rows.loc[TOTAL, "difference"] == pytest.approx(0.5)


def test_one_policy_has_no_comparison(episodes: pd.DataFrame) -> None:
    assert compare_policies(episodes[episodes.policy == "bc"]).empty


def test_terminal_table_shows_everything(episodes: pd.DataFrame) -> None:
    console = Console(width=160, record=True, file=io.StringIO())
    console.print(success_table(summarise(episodes), compare_policies(episodes), fps=10, title="Success"))
    text = console.export_text()
    for expected in ("near", "far", "total", "10/20", "50.0 % [29.9, 70.1]", "+100.0 points", "p = 0.002", " in "):
        assert expected in text, expected


def test_small_p_values() -> None:
    assert format_p(3e-9) == "p < 0.0001"
    assert format_p(0.0431) == "p = 0.043"
