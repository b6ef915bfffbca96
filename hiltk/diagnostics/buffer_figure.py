"""The picture of a run's replay buffer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hiltk.data.episode import Source
from hiltk.diagnostics.buffer import Found
from hiltk.diagnostics.experience import Experience
from hiltk.spec import Spec, StateSpec

COLORS = {"demos": "#009E73", "policy": "#0072B2", "human": "#D55E00"}


def figure(found: Found, demos: Experience, online: Experience, spec: Spec, path: Path) -> None:
    """Composition, interventions over time, where the states lie, and the distance of each dimension."""
    sheet = Figure(figsize=(9.6, 8.4), layout="constrained")
    ((parts, time), (places, distances)) = sheet.subplots(2, 2)
    _draw_parts(parts, found.composition)
    _draw_time(time, found.episodes)
    _draw_places(places, demos, online, spec.state)
    _draw_distances(distances, found.shifts)
    sheet.savefig(path, dpi=130)


def _draw_parts(axis: Axes, table: pd.DataFrame) -> None:
    axis.bar(table.part, table.transitions, color=[COLORS[p] for p in table.part])
    for i, row in enumerate(table.itertuples()):
        rate = f"{row.positive_rate:.1%}" if row.transitions else "-"
        axis.annotate(f"{row.transitions}\n{rate} rewarded", (i, row.transitions), ha="center", va="bottom", fontsize=9)
    axis.set(title="what the replay is made of", ylabel="transitions")
    axis.margins(y=0.18)


def _draw_time(axis: Axes, table: pd.DataFrame) -> None:
    window = min(20, max(1, len(table) // 3))
    axis.bar(table.episode + 1, 100 * table.rate, color="#f2c9a8", width=1.0, label="steps by the human, %")
    smooth = 100 * table.rate.rolling(window, min_periods=1).mean()
    axis.plot(table.episode + 1, smooth, color=COLORS["human"], lw=2, label=f"mean of {window} episodes")
    axis.set(title="interventions over time", xlabel="episode", ylabel="%", ylim=(0, 140), yticks=range(0, 101, 20))
    other = axis.twinx()
    other.plot(table.episode + 1, table.mean_length, ".", color="#33383d", label="length of a takeover, steps")
    other.set(ylim=(0, 1.4 * max(12.0, float(table.mean_length.fillna(0).max()))), ylabel="steps")
    lines = [axis.get_legend_handles_labels(), other.get_legend_handles_labels()]
    handles, labels = ([*a, *b] for a, b in zip(*lines, strict=True))
    axis.legend(handles, labels, fontsize=8, loc="upper right")


def _draw_places(axis: Axes, demos: Experience, online: Experience, state: StateSpec) -> None:
    """Along two dimensions that people know, the end effector's x and y, or else those that vary most."""
    names = state.names
    if {"ee.x", "ee.y"} <= set(names):
        i, j = names.index("ee.x"), names.index("ee.y")
    else:
        spread = np.concatenate([demos.state, online.state]).std(0)
        i, j = (int(k) for k in np.argsort(spread)[::-1][:2]) if len(names) > 1 else (0, 0)
    human = online.source != Source.policy
    for part, color, name in (
        (online.state[~human], COLORS["policy"], "policy"),
        (online.state[human], COLORS["human"], "human"),
        (demos.state, COLORS["demos"], "demos"),
    ):
        if len(part):
            axis.scatter(part[:, i], part[:, j], s=5, alpha=0.5, color=color, label=name, linewidths=0)
    units = [state.dims[k].unit for k in (i, j)]
    axis.set(title="where the states lie", xlabel=f"{names[i]}, {units[0]}", ylabel=f"{names[j]}, {units[1]}")
    axis.legend(fontsize=8, markerscale=2)


def _draw_distances(axis: Axes, table: pd.DataFrame) -> None:
    axis.set(title="demonstrations against experience", xlabel="Kolmogorov-Smirnov distance", xlim=(0, 1))
    if not len(table):
        axis.text(0.5, 0.5, "no demonstrations", ha="center", va="center")
        return
    own = table.iloc[::-1]
    sure = own.q < 0.05
    labels = [
        f"{row.dimension} ({row.column})" if row.column == "action" else row.dimension for row in own.itertuples()
    ]
    axis.barh(labels, own.ks, color=np.where(sure, "#CC79A7", "#d5d9dc"))
    axis.tick_params(axis="y", labelsize=7)
    axis.set_xlabel("Kolmogorov-Smirnov distance; coloured: q < 0.05 over whole episodes", fontsize=8)
