"""From episodes to the table people read: success of each policy per stratum, and how policies differ.

Everything here is about policies as they are, on the episodes they played. What their way of training is worth is asked
of several trainings: `hiltk.reports.success`.
"""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd
from rich.table import Table

from hiltk.intervals import compare_paired, wilson

TOTAL = "total"
TOTAL_NOTE = f"{TOTAL}: every stratum counts by its episodes"
SUMMARY_COLUMNS = ["policy", "stratum", "n", "successes", "rate", "low", "high", "mean_steps"]
COMPARISON_COLUMNS = ["stratum", "first", "second", "n", "only_first", "only_second", "difference", "p_value"]


def summarise(episodes: pd.DataFrame) -> pd.DataFrame:
    """Success per policy and stratum, and over all (`TOTAL`), with 95 % Wilson intervals.

    ``mean_steps`` is the mean number of control steps to success; NaN without a success.
    """
    rows = []
    for policy, own in episodes.groupby("policy", sort=False):
        for stratum, part in _by_stratum(own):
            rate = wilson(int(part.success.sum()), len(part))
            steps = part.steps[part.success.astype(bool)].mean()
            rows.append((policy, stratum, rate.n, rate.count, rate.rate, rate.low, rate.high, steps))
    return pd.DataFrame(rows, columns=SUMMARY_COLUMNS)


def compare_policies(episodes: pd.DataFrame) -> pd.DataFrame:
    """Every later policy against the first, per stratum and over all, on the seeds they share."""
    first, *others = list(dict.fromkeys(episodes.policy))
    rows = []
    for second in others:
        pairs = _paired(episodes, first, second)
        for stratum, part in _by_stratum(pairs):
            test = compare_paired(part.success_first, part.success_second)
            rows.append(
                (stratum, first, second, test.n, test.only_first, test.only_second, test.difference, test.p_value)
            )
    return pd.DataFrame(rows, columns=COMPARISON_COLUMNS)


def success_table(summary: pd.DataFrame, comparison: pd.DataFrame, fps: float, title: str = "") -> Table:
    """The terminal table: rows strata and total, one column per policy, then the differences."""
    policies = list(dict.fromkeys(summary.policy))
    table = Table(title=title or None, title_justify="left")
    table.add_column("stratum")
    for policy in policies:
        table.add_column(f"{policy}\n95 % interval", justify="right")
    for second in dict.fromkeys(comparison.second):
        table.add_column(f"{second} - {comparison['first'].iloc[0]}\nexact McNemar", justify="right")
    for stratum in dict.fromkeys(summary.stratum):
        if stratum == TOTAL:
            table.add_section()
        rates = [format_success(row, fps) for _, row in summary[summary.stratum == stratum].iterrows()]
        gaps = [format_difference(row) for _, row in comparison[comparison.stratum == stratum].iterrows()]
        table.add_row(stratum, *rates, *gaps, style="bold" if stratum == TOTAL else "")
    return table


def format_success(row: pd.Series, fps: float) -> str:
    """``38/40 in 1.8 s`` above ``95.0 % [83.5, 98.6]``: narrow enough for two policies on a terminal."""
    rate = wilson(int(row.successes), int(row.n))
    time = "" if pd.isna(row.mean_steps) else f" in {row.mean_steps / fps:.1f} s"
    return f"{rate.count}/{rate.n}{time}\n{rate}"


def format_difference(row: pd.Series) -> str:
    """``+40.0 points`` above ``p = 0.0001``."""
    return f"{100 * row.difference:+.1f} points\n{format_p(row.p_value)}"


def format_p(p: float) -> str:
    return "p < 0.0001" if p < 1e-4 else f"p = {p:.2g}"


def _by_stratum(frame: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    for stratum, part in frame.groupby("stratum", sort=False):
        yield str(stratum), part
    yield TOTAL, frame


def _paired(episodes: pd.DataFrame, first: str, second: str) -> pd.DataFrame:
    left, right = (episodes[episodes.policy == p].set_index(["stratum", "seed"])[["success"]] for p in (first, second))
    pairs = left.join(right, lsuffix="_first", rsuffix="_second", how="inner")
    return pairs.reset_index()
