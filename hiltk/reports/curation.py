"""What a curation step changed: a table of before and after, and the labels of every episode as strips."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table as TerminalTable

from hiltk.reports.colors import FAILURE, SUCCESS
from hiltk.reports.page import Cell, Table

MOST_STRIPS = 60  # episodes a figure shows
Bounds = Sequence[tuple[int, int]]


def change_rows(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """``(what, before, after)`` of every number, in words."""
    keys = [*before, *(k for k in after if k not in before)]
    return [(k.replace("_", " "), str(before.get(k, "")), str(after.get(k, ""))) for k in keys]


def print_change(title: str, before: Mapping[str, Any], after: Mapping[str, Any], console: Console) -> None:
    """The table a user sees; numbers that changed are bold."""
    console.print(title, markup=False, highlight=False, soft_wrap=True)
    table = TerminalTable()
    for heading in ("", "before", "after"):
        table.add_column(heading, justify="left" if not heading else "right")
    for what, old, new in change_rows(before, after):
        table.add_row(what, old, new, style=None if old == new else "bold")
    console.print(table)


def change_table(before: Mapping[str, Any], after: Mapping[str, Any]) -> Table:
    """The same for a report's page."""
    body = [[Cell(text) for text in row] for row in change_rows(before, after)]
    return Table([[Cell(""), Cell("before"), Cell("after")]], body)


def labels_figure(
    before: np.ndarray, after: np.ndarray, changed: Sequence[int], bounds: Bounds, fps: float, path: Path
) -> None:
    """Two strips per relabelled episode, its labels before and after, over seconds.

    Args:
        before, after: (N,) bool, success per row.
        changed: episodes to show; at most `MOST_STRIPS` are.
    """
    shown = list(changed)[:MOST_STRIPS]
    figure = Figure(figsize=(7.2, 1.2 + 0.3 * len(shown)), layout="constrained")
    axis = figure.subplots()
    for place, episode in enumerate(shown):
        for values, offset in ((before, 0.02), (after, 0.42)):
            colors = np.where(values[slice(*bounds[episode])], SUCCESS, FAILURE)
            draw_strip(axis, colors.tolist(), place + offset, 0.36, fps)
    axis.set_yticks(np.arange(len(shown)) + 0.4, [str(e) for e in shown])
    axis.set(ylim=(len(shown), -0.15), xlabel="seconds", ylabel="episode")
    axis.set_title("success by frame: upper strip before, lower strip after", fontsize=10, loc="left")
    bare(axis)
    figure.savefig(path, dpi=130, facecolor="white")


def draw_strip(axis: Axes, colors: list[str], top: float, height: float, fps: float) -> None:
    """One episode's frames as a bar of coloured pieces; equal neighbours are one piece."""
    edges = [0, *(i for i in range(1, len(colors)) if colors[i] != colors[i - 1]), len(colors)]
    spans = [(a / fps, (b - a) / fps) for a, b in pairwise(edges)]
    axis.broken_barh(spans, (top, height), facecolors=[colors[a] for a in edges[:-1]])


def bare(axis: Axes) -> None:
    """Without frame and ticks."""
    axis.spines[["top", "right", "left"]].set_visible(False)
    axis.tick_params(length=0)
