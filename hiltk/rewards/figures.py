"""Figures of a trained classifier: its curve, and the held-out frames it gets most wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from hiltk.reward_rule import is_positive
from hiltk.rewards.calibration import reliability
from hiltk.rewards.training import Result

SUCCESS, FAILURE = "#1b7f5c", "#b5482f"
PER_CLASS, COLUMNS = 12, 6  # frames of each kind on the contact sheet


def plot_curve(result: Result, path: Path) -> None:
    """Precision-recall curve, reliability, histogram of scores with the threshold, and losses; a PNG at ``path``."""
    figure = Figure(figsize=(17, 3.8), layout="constrained")
    axes = figure.subplots(1, 4)
    plots = (_plot_precision_recall, _plot_reliability, _plot_scores, _plot_losses)
    for axis, plot in zip(axes, plots, strict=True):
        plot(axis, result)
    figure.savefig(path, dpi=110)


def plot_hold(result: Result, path: Path) -> None:
    """How many held-out episodes each rule wrongly ends or misses, and the rule that was chosen; a PNG at ``path``."""
    tuning = result.tuning
    wrong, missed = tuning.wrongly_ended.sum(-1), tuning.missed.sum(-1)
    figure = Figure(figsize=(2.5 + 1.1 * len(tuning.earliest), 1.6 + 0.36 * len(tuning.holds)), layout="constrained")
    axis = figure.subplots()
    most = 1.5 * max(1, (wrong + missed).max())  # darker would hide the numbers
    axis.imshow(wrong + missed, cmap="Reds", vmin=0, vmax=most, aspect="auto")
    for (i, j), count in np.ndenumerate(wrong + missed):
        text = f"{wrong[i, j]} + {missed[i, j]}" if count else "0"
        axis.text(j, i, text, ha="center", va="center", fontsize=9)
    place = (tuning.chosen[1] - 0.5, tuning.chosen[0] - 0.5)
    axis.add_patch(Rectangle(place, 1, 1, fill=False, edgecolor="black", linewidth=2.5))
    axis.set_xticks(range(len(tuning.earliest)), [str(n) for n in tuning.earliest])
    axis.set_yticks(range(len(tuning.holds)), [str(n) for n in tuning.holds])
    axis.set(xlabel="not before step (min_steps)", ylabel="frames that must hold (hold_steps)")
    each = f", {tuning.versions} versions of each" if tuning.versions > 1 else ""
    axis.set_title(f"of {tuning.episodes} held-out episodes{each}:\nwrongly ended + missed", fontsize=10)
    figure.savefig(path, dpi=110)


def plot_mistakes(result: Result, names: list[str], path: Path) -> None:
    """Contact sheet of held-out frames: the failures scored highest and the successes scored lowest; a PNG at ``path``.

    Mistakes have a coloured frame; without mistakes the sheet still shows the closest calls.

    Args:
        names: of every episode, by its number.
    """
    p, success = result.probabilities, result.held_out.success
    closest = np.argsort(p)
    rows = {
        "failures scored highest": [i for i in closest[::-1] if not success[i]][:PER_CLASS],
        "successes scored lowest": [i for i in closest if success[i]][:PER_CLASS],
    }
    lines = PER_CLASS // COLUMNS
    figure = Figure(figsize=(13, 2.6 * 2 * lines), layout="constrained")
    axes = figure.subplots(2 * lines, COLUMNS, squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    for half, (title, frames) in enumerate(rows.items()):
        top = axes[half * lines : (half + 1) * lines]
        top[0, 0].annotate(title, (0, 1.3), xycoords="axes fraction", fontsize=11, fontweight="bold")
        for axis, i in zip(top.flat, frames, strict=False):
            _show(axis, result, names, int(i))
    figure.suptitle(f"held-out frames; threshold {result.classifier.threshold:.3f}; framed: mistaken")
    figure.savefig(path, dpi=90)


def _show(axis: Axes, result: Result, names: list[str], i: int) -> None:
    frames, p = result.held_out, result.probabilities[i]
    axis.set_axis_on()
    axis.imshow(np.concatenate([v[i] for v in frames.images.values()], axis=1))
    axis.set_title(f"{names[frames.episode[i]]}\nframe {frames.step[i]}, p = {p:.3f}", fontsize=7)
    axis.set_xticks([])
    axis.set_yticks([])
    mistaken = is_positive(p, result.classifier.threshold) != frames.success[i]
    for spine in axis.spines.values():
        spine.set_visible(bool(mistaken))
        spine.set(color=FAILURE, linewidth=4)


def _plot_precision_recall(axis: Axes, result: Result) -> None:
    axis.step(result.curve.recall, result.curve.precision, where="post", color=SUCCESS)
    axis.plot(result.confusion.recall, result.confusion.precision, "o", color="black", label="at the threshold")
    axis.set(xlabel="recall", ylabel="precision", xlim=(0, 1.02), ylim=(0, 1.02), title="held-out frames")
    axis.legend(loc="lower left")


def _plot_reliability(axis: Axes, result: Result) -> None:
    found = reliability(result.probabilities, result.held_out.success)
    axis.plot([0, 1], [0, 1], linestyle=":", color="grey")
    axis.scatter(
        found.said, found.seen, s=20 + 300 * found.weight, color=SUCCESS, alpha=0.7, label="larger: weighs more"
    )
    axis.set(xlabel="probability said", ylabel="share of successes seen", xlim=(-0.05, 1.05), ylim=(-0.05, 1.05))
    axis.set_title(f"reliability, classes weighted equally; error {found.error:.1%}", fontsize=11)
    axis.legend(loc="upper left")


def _plot_scores(axis: Axes, result: Result) -> None:
    bins = np.linspace(0, 1, 41).tolist()
    success = result.held_out.success
    axis.hist(result.probabilities[~success], bins, color=FAILURE, alpha=0.7, label="failure")
    axis.hist(result.probabilities[success], bins, color=SUCCESS, alpha=0.7, label="success")
    axis.axvline(result.classifier.threshold, color="black", label=f"threshold {result.classifier.threshold:.3f}")
    axis.set(xlabel="probability of success", ylabel="frames", yscale="log", title="scores of held-out frames")
    axis.legend()


def _plot_losses(axis: Axes, result: Result) -> None:
    for k, fit in enumerate(result.fits):
        steps, train, held_out = zip(*fit.losses, strict=True)
        axis.plot(steps, train, color="silver", label="" if k else "training (augmented)")
        axis.plot(steps, held_out, color="black", label="" if k else "held out")
        axis.axvline(fit.best_step, linestyle=":", color="black", label="" if k else "kept")
    axis.set(xlabel="step", ylabel="cross-entropy", yscale="log", title="loss, both classes weighted equally")
    axis.legend()
