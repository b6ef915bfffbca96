"""Pictures of critics: values along episodes and over the training, and stills with the value of what was done."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hiltk.data.episode import Episode, Source
from hiltk.diagnostics.critic import PHASES, WINDOW, CriticDiagnosis
from hiltk.diagnostics.ratings import PERTURBED, SOURCES, Ratings

COLORS = {"demo": "#0072B2", "policy": "#D55E00", "human": "#009E73"}
FILMED, STILLS = 3, 8


def figure(diagnoses: Sequence[CriticDiagnosis], path: Path) -> None:
    """A row per policy: values and returns along episodes, against each other, sharpness, and the whole training."""
    sheet = Figure(figsize=(17, 3.7 * len(diagnoses)), layout="constrained")
    for row, d in zip(sheet.subplots(len(diagnoses), 4, squeeze=False), diagnoses, strict=True):
        _draw_phases(row[0], d)
        _draw_scatter(row[1], d.ratings)
        _draw_sharpness(row[2], d.ratings)
        _draw_training(row[3], d)
    sheet.savefig(path, dpi=110)


def _by_phase(r: Ratings, source: Source, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Middles of the phases (in percent) that this source has, and the means of ``values`` there."""
    part = np.minimum((r.phase * PHASES).astype(int), PHASES - 1)
    mine = [(p, (part == p) & (r.source == source)) for p in range(PHASES)]
    pairs = [(100 * (p + 0.5) / PHASES, values[rows].mean()) for p, rows in mine if rows.any()]
    return np.array([x for x, _ in pairs]), np.array([y for _, y in pairs])


def _draw_phases(axis: Axes, d: CriticDiagnosis) -> None:
    r = d.ratings
    for source, name in SOURCES.items():
        x, q = _by_phase(r, source, r.mean)
        if not len(x):
            continue
        axis.plot(x, q, "o-", color=COLORS[name], label=f"{name}: value")
        low, high = (_by_phase(r, source, values)[1] for values in (r.low, r.high))
        if np.isfinite([*low, *high]).all():
            axis.fill_between(x, low, high, color=COLORS[name], alpha=0.15)
            axis.plot(x, (low + high) / 2, ":", color=COLORS[name], label=f"{name}: return")
    _draw_bounds(axis, r)
    axis.set(xlabel="part of the episode, %", ylabel="value, return", title=f"{d.name}: along episodes")
    axis.legend(fontsize=7)


def _draw_bounds(axis: Axes, r: Ratings) -> None:
    for bound in r.bounds:
        if math.isfinite(bound):
            axis.axhline(bound, color="#33383d", lw=0.8, ls="--")


def _draw_scatter(axis: Axes, r: Ratings) -> None:
    for source, name in SOURCES.items():
        rows = r.known & (r.source == source)
        if rows.any():
            axis.scatter(r.low[rows], r.mean[rows], s=6, alpha=0.5, color=COLORS[name], label=name)
    if r.known.any():
        ends = [r.low[r.known].min(), r.low[r.known].max()]
        axis.plot(ends, ends, color="#33383d", lw=0.8)
        axis.legend(fontsize=7)
    _draw_bounds(axis, r)
    axis.set(xlabel="return that followed (episodes that ended)", ylabel="value", title="value against return")


def _draw_sharpness(axis: Axes, r: Ratings) -> None:
    for source, name in SOURCES.items():
        x, sharp = _by_phase(r, source, r.sharpness)
        if len(x):
            axis.plot(x, sharp, "o-", color=COLORS[name], label=name)
    axis.set_ylim(bottom=0)
    title = f"how much actions within {PERTURBED} matter"
    axis.set(xlabel="part of the episode, %", ylabel="deviation of the value", title=title)
    axis.legend(fontsize=7)


def _draw_training(axis: Axes, d: CriticDiagnosis) -> None:
    m = d.metrics
    for key, color in (("q_max", "#E69F00"), ("q_mean", "#D55E00")):
        if key in m:
            axis.plot(m.episode, m[key], color=color, label=f"{key.replace('_', ' ')} of the batches")
    if {"return", "length"} <= set(m):
        played = (m["return"] * d.discount ** (m.length - 1)).rolling(WINDOW, min_periods=1).mean()
        axis.plot(m.episode, played, ":", color="#33383d", label=f"return from the start, mean of {WINDOW}")
    _draw_bounds(axis, d.ratings)
    axis.set(xlabel="episode of training", title="over the training; dashed: the rule's range")
    if axis.get_legend_handles_labels()[0]:
        axis.legend(fontsize=7)


def filmstrip(d: CriticDiagnosis, episodes: Sequence[Episode], key: str, path: Path) -> None:
    """Stills of a few episodes with the value of what was done under each, and the curve of all values below.

    The newest success and failure of the policy are shown, and a demonstration, as far as there are any.
    """
    numbers = examples(episodes)
    sheet = Figure(figsize=(13, 3.6 * len(numbers)))
    sheet.set_layout_engine("constrained", w_pad=0.12)
    parts = sheet.subfigures(len(numbers), 1, squeeze=False)[:, 0]
    for part, number in zip(parts, numbers, strict=True):
        _draw_episode(part, d.ratings, episodes[number], number, key)
    sheet.savefig(path, dpi=100)


def examples(episodes: Sequence[Episode]) -> list[int]:
    """Numbers of the episodes to film: the last success and failure in which the policy acted, the last demo."""
    kinds: dict[str, int] = {}
    for number, episode in enumerate(episodes):
        if not episode.action_valid.all():
            continue
        acted = (episode.source == Source.policy).any()
        kinds[f"policy {episode.succeeded}" if acted else "demo"] = number
    return sorted(kinds.values())[-FILMED:]


def _draw_episode(part: Any, r: Ratings, episode: Episode, number: int, key: str) -> None:
    rows = np.flatnonzero(r.episode == number)
    q, steps = r.mean[rows], np.arange(len(rows))
    stills = np.unique(np.linspace(0, len(rows) - 1, STILLS).astype(int))
    grid = part.add_gridspec(2, len(stills), height_ratios=[1.3, 1])
    for column, t in enumerate(stills.tolist()):
        axis = part.add_subplot(grid[0, column])
        axis.imshow(episode.observations[key][t])
        who = SOURCES[Source(int(episode.source[t]))]
        axis.set_title(f"step {t}, {who}\nQ {q[t]:.2f}", fontsize=8, color=COLORS[who])
        axis.set_axis_off()
    curve = part.add_subplot(grid[1, :])
    curve.plot(steps, q, "-", color="#33383d", lw=1, label="value")
    curve.fill_between(steps, r.low[rows], r.high[rows], color="#999999", alpha=0.3, label="return")
    curve.plot(steps, r.low[rows], ":", color="#777777")
    for source, name in SOURCES.items():
        mine = r.source[rows] == source
        curve.plot(steps[mine], q[mine], "o", ms=4, color=COLORS[name], label=name if mine.any() else None)
    for t in stills.tolist():
        curve.axvline(t, color="#cccccc", lw=0.6, zorder=0)
    if np.isfinite(r.bounds).all():
        curve.set_ylim(r.bounds[0] - 0.05 * r.span, max(r.bounds[1], q.max()) + 0.05 * r.span)
    curve.set_xlabel("step")
    curve.legend(fontsize=7, loc="lower right")
    whose = "policy" if (episode.source == Source.policy).any() else "demonstration"
    outcome = "success" if episode.succeeded else "no success"
    part.suptitle(f"{whose}, {outcome}, {len(rows)} steps", fontsize=9)
