"""Figures of a report, as PNG files. Sized to stay legible on a telephone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hiltk.learning.metrics import WINDOW, recent_rate
from hiltk.reports.colors import ALONE, INTERVENTION, SUCCESS
from hiltk.reports.success import SuccessBoard

# Okabe and Ito's colours, told apart with every common colour vision.
COLORS = ("#E69F00", "#0072B2", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")
_INK, _GRID = "#33383d", "#e3e6e8"
Runs = Mapping[int | None, pd.DataFrame]
Survival = tuple[str, str, Mapping[str, tuple[np.ndarray, np.ndarray]]]  # title, name of the time, curves by label
# What the guards look at (`hiltk.learning.guards`), by column of metrics.csv; those in LOGARITHMIC by order of size.
WATCHED = {
    "q_mean": "Q, mean of a batch",
    "critic_loss": "critic loss",
    "saturation": "saturated policy actions",
    "alpha": "alpha",
    "noise": "exploration noise",
    "critic_gradient": "norm of the critic's gradient",
    "actor_gradient": "norm of the actor's gradient",
    "positive_share": "rewarded share of a batch",
    "batch_demos": "demonstrations' share of a batch",
    "batch_interventions": "corrections' share of a batch",
    "imitation_samples": "transitions imitated",
    "utd": "updates per step",
    "intervention_length": "steps of an intervention",
}
LOGARITHMIC = ("critic_loss", "critic_gradient", "actor_gradient")


def success_figure(board: SuccessBoard, path: Path) -> None:
    """Success per stratum: a bar per policy, the mean of its trainings, with its interval over them; a dot per seed."""
    rows, policies = board.rows, board.policies
    figure = Figure(figsize=(7.2, 4.2), layout="constrained")
    axis = figure.subplots()
    width = 0.8 / len(policies)
    for i, policy in enumerate(policies):
        x = np.arange(len(rows)) + (i - (len(policies) - 1) / 2) * width
        rates = [board.rate(policy, stratum) for stratum in rows]
        heights = np.array([r.rate for r in rates])
        errors = np.abs([heights - [r.low for r in rates], np.array([r.high for r in rates]) - heights])
        color = COLORS[i % len(COLORS)]
        axis.bar(x, 100 * heights, 0.92 * width, color=color, label=policy, zorder=2)
        axis.errorbar(x, 100 * heights, 100 * errors, fmt="none", color=_INK, capsize=4, lw=1.4, zorder=4)
        _seed_dots(axis, board, policy, x, width)
    axis.axvline(len(rows) - 1.5, color=_INK, lw=0.8, zorder=1)
    axis.set_xticks(range(len(rows)), [row.replace("_", " ") for row in rows])
    _dress(axis, ylabel="episodes with success, %", ylim=(0, 105))
    axis.legend(**_above(min(3, len(policies))))  # more side by side would be wider than the figure
    _save(figure, path)


def _seed_dots(axis: Axes, board: SuccessBoard, policy: str, x: np.ndarray, width: float) -> None:
    seeds = board.seeds(policy)
    if len(seeds) < 2:
        return
    offsets = np.linspace(-0.28, 0.28, len(seeds)) * width
    for offset, seed in zip(offsets, seeds, strict=True):
        heights = [100 * board.single(policy, stratum, seed).rate for stratum in board.rows]
        axis.plot(x + offset, heights, "o", ms=4, mfc="white", mec=_INK, mew=0.9, zorder=5)


def learning_figure(runs: Runs, path: Path) -> None:
    """Success and intervention rate, averaged over the last `WINDOW` episodes, by episode, by a person's time (where
    the runs counted it) and by wall time.

    Thin lines are training seeds; by episode the thick line is their mean.
    """
    counted = all("human_s" in frame for frame in runs.values())
    figure = Figure(figsize=(7.2, 9.6 if counted else 6.4), layout="constrained")
    by_episode, *by_human, by_time = figure.subplots(3 if counted else 2, 1, sharey=True)
    smooth = [_smoothed(frame) for frame in runs.values()]
    series = (("success", SUCCESS, "success"), ("autonomous", ALONE, "success when left alone"))
    for key, color, label in (*series, ("intervention_rate", INTERVENTION, "intervention rate")):
        for frame in smooth:
            thin = {"color": color, "lw": 0.9, "alpha": 0.55} if len(smooth) > 1 else {"color": color, "lw": 2}
            by_episode.plot(frame.episode, 100 * frame[key], **thin)
            by_time.plot(frame.wall_s / 60, 100 * frame[key], **(thin | {"alpha": 0.9, "lw": 1.5}))
            for axis in by_human:
                axis.plot(frame.human_s / 60, 100 * frame[key], **(thin | {"alpha": 0.9, "lw": 1.5}))
        mean = pd.concat([frame.set_index("episode")[key] for frame in smooth], axis=1, join="inner").mean(axis=1)
        by_episode.plot(mean.index, 100 * mean, color=color, lw=2.2, label=label)
    _dress(by_episode, xlabel="episode", ylabel=f"%, last {WINDOW} episodes", ylim=(-3, 103))
    for axis in by_human:
        _dress(axis, xlabel="a person's time, minutes", ylabel=f"%, last {WINDOW} episodes", ylim=(-3, 103))
    _dress(by_time, xlabel="wall time of training, minutes", ylabel=f"%, last {WINDOW} episodes", ylim=(-3, 103))
    by_episode.legend(**_above(3))
    _save(figure, path)


def _smoothed(frame: pd.DataFrame) -> pd.DataFrame:
    """Rolling means of the rates; they begin before the window is full, when one episode no longer decides them."""
    rates = frame[["success", "intervention_rate"]].rolling(WINDOW, min_periods=min(5, len(frame))).mean()
    times = frame[[key for key in ("wall_s", "human_s") if key in frame]]
    return pd.concat([rates, times], axis=1).assign(autonomous=recent_rate(frame), episode=frame.episode + 1)


def survival_figure(panels: Sequence[Survival], path: Path) -> None:
    """Share of seeds that have not reached a level, by time: a panel for each level and clock, a step curve each."""
    rows = -(-len(panels) // 2)
    figure = Figure(figsize=(7.2, 3.0 * rows), layout="constrained")
    axes = figure.subplots(rows, 2, squeeze=False, sharey=True).flat
    for axis, (title, xlabel, curves) in zip(axes, panels, strict=False):
        for i, (label, (times, left)) in enumerate(curves.items()):
            axis.step(times, 100 * left, where="post", color=COLORS[i % len(COLORS)], lw=2, label=label)
        _dress(axis, xlabel=xlabel, ylim=(-3, 103))
        axis.set_title(title, fontsize=9, color=_INK)
    figure.supylabel("seeds not there yet, %", fontsize=9, color=_INK)
    next(iter(figure.axes)).legend(frameon=False, fontsize=8, loc="lower left")
    _save(figure, path)


def watched_figure(runs: Runs, path: Path) -> list[str]:
    """What the guards look at, by episode, a line for each training seed; returns the columns there were."""
    columns = [key for key in WATCHED if all(key in frame and frame[key].notna().any() for frame in runs.values())]
    if not columns:
        return []
    rows = -(-len(columns) // 3)
    figure = Figure(figsize=(7.2, 1.7 * rows), layout="constrained")
    axes = list(figure.subplots(rows, 3, squeeze=False).flat)
    for axis, key in zip(axes, columns, strict=False):
        for frame in runs.values():
            known = frame[frame[key].notna()]
            axis.plot(known.episode + 1, known[key], color=SUCCESS, lw=0.9, alpha=0.7)
        _dress(axis, yscale="log" if key in LOGARITHMIC else "linear")
        axis.set_title(WATCHED[key], fontsize=8, color=_INK)
        axis.tick_params(which="both", colors=_INK, length=0, labelsize=8)
    for axis in axes[len(columns) :]:
        axis.set_axis_off()
    _save(figure, path)
    return columns


def loss_figure(runs: Mapping[str, pd.DataFrame], path: Path) -> None:
    """Loss of behaviour cloning, on training and on held-out episodes, per run."""
    figure = Figure(figsize=(7.2, 3.4), layout="constrained")
    axis = figure.subplots()
    for i, (label, frame) in enumerate(runs.items()):
        color = COLORS[i % len(COLORS)]
        axis.plot(frame.step, frame.loss, color=color, lw=1.4, label=f"{label}, training")
        if frame.held_out_loss.notna().any():
            axis.plot(frame.step, frame.held_out_loss, color=color, lw=1.8, ls="--", label=f"{label}, held out")
    _dress(axis, xlabel="update", ylabel="loss")
    axis.set_yscale("log")
    axis.legend(frameon=False, fontsize=9)
    _save(figure, path)


def precision_recall_figure(
    curves: Mapping[str, pd.DataFrame], points: Mapping[str, tuple[float, float]], path: Path
) -> None:
    """Precision against recall on held-out frames, per classifier.

    Args:
        curves: columns ``recall`` and ``precision``.
        points: (recall, precision) at the chosen threshold.
    """
    figure = Figure(figsize=(7.2, 3.8), layout="constrained")
    axis = figure.subplots()
    for i, (label, curve) in enumerate(curves.items()):
        color = COLORS[i % len(COLORS)]
        ordered = curve.sort_values(["recall", "precision"], ascending=[True, False])
        axis.step(100 * ordered.recall, 100 * ordered.precision, where="post", color=color, lw=1.8, label=label)
        if label in points:
            recall, precision = points[label]
            axis.plot(100 * recall, 100 * precision, "o", ms=8, mfc=color, mec="white", zorder=5, clip_on=False)
    axis.plot([], [], "o", color=_INK, label="at the threshold")
    _dress(axis, xlabel="recall, %", ylabel="precision, %", xlim=(0, 102), ylim=(0, 104))
    axis.legend(frameon=False, fontsize=9, loc="lower left")
    _save(figure, path)


def _dress(axis: Axes, **properties: object) -> None:
    axis.set(**properties)
    axis.grid(axis="y", color=_GRID, zorder=0)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)
    axis.spines[["left", "bottom"]].set_color(_GRID)
    axis.tick_params(colors=_INK, length=0)


def _above(columns: int) -> dict[str, object]:
    return {"loc": "lower left", "bbox_to_anchor": (0, 1.0), "ncols": columns, "frameon": False, "borderaxespad": 0.2}


def _save(figure: Figure, path: Path) -> None:
    figure.savefig(path, dpi=130, facecolor="white")
