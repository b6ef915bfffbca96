"""What `hiltk fix-actions` changed, as numbers, a table and a figure."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from hiltk.arm.model import JOINTS
from hiltk.data.lerobot_files import LeRobotFiles
from hiltk.data.repair import Rebuilt, asks_for_nothing, fitting_scale, forward_difference, last_rows, replay_residual
from hiltk.data.servo import Servo
from hiltk.spec import Semantics, Spec

CLIPPED_TOO_OFTEN = 0.1
HARDLY_USED = 0.3  # of the scale: where 99 % of the steps are smaller, the encoders' noise dominates
FAINT, STRONG = "0.6", "tab:orange"


@dataclass
class Pictured:
    """What the figure shows beside the numbers.

    Attributes:
        episode: the one drawn: where the replay deviates most.
        recorded_m: (T+1, 3) its path.
        replayed_m: (T+1, 3) the path of the rebuilt actions; of commanded ones the goal of each.
        steps_mm: (S,) largest component of every displacement, or of every distance to the goal.
    """

    episode: int
    recorded_m: np.ndarray
    replayed_m: np.ndarray
    steps_mm: np.ndarray


@dataclass
class RepairReport:
    """Numbers about one repair.

    Attributes:
        repaired: numbers of the episodes in which actions were rebuilt.
        intact: numbers of those that were left alone.
        transitions: rebuilt actions.
        fraction_repaired: of all transitions.
        masked: transitions whose action is not known: frames are missing there, or the state froze.
        clipped: per action dimension, the fraction of rebuilt actions that hit the limit.
        residual_mm: median and maximum distance from the recorded path. Of achieved actions, integrated:
            ``unclipped`` (restarted after every clipped step) and ``as_stored`` (from each episode's start, what
            clipping lost included). Of commanded ones: ``servo`` (the fitted servos, given the goals, from each
            episode's start).
        scale_m: metres per step at full action.
        fitting_scale_m: the scale at which 1 % of the steps would be clipped.
        per_episode: by name one number per episode: ``repaired`` and ``clipped`` (fractions), ``residual_mm`` (largest
            distance).
        semantics: achieved | commanded.
        foreign: the dataset came from elsewhere and was converted whole.
        notes: what was found wrong with frames and joints.
        servo: of commanded actions, the fitted servos.
    """

    repaired: list[int]
    intact: list[int]
    transitions: int
    fraction_repaired: float
    masked: int
    clipped: dict[str, float]
    residual_mm: dict[str, dict[str, float]]
    scale_m: float
    fitting_scale_m: float
    per_episode: dict[str, list[float]]
    semantics: str
    foreign: bool
    notes: list[str] = field(default_factory=list)
    servo: dict[str, Any] | None = None
    pictured: Pictured | None = field(default=None, repr=False)

    def summary(self) -> dict[str, Any]:
        """What ``run.yaml`` gets."""
        return {
            "repaired_episodes": len(self.repaired),
            "intact_episodes": len(self.intact),
            "fraction_repaired": self.fraction_repaired,
            "clipped": self.clipped,
            "residual_mm": self.residual_mm,
            "warnings": self.warnings(),
        }

    def to_dict(self) -> dict[str, Any]:
        return {k: v for k, v in asdict(self).items() if k != "pictured"} | {"warnings": self.warnings()}

    def warnings(self) -> list[str]:
        """What a person should look at before training on this."""
        key = "action_scale_m" if self.foreign else "env.action_scale_m"
        advice = f"{key}={self.fitting_scale_m:g} would fit" + ("" if self.foreign else " (when recording)")
        found = list(self.notes)
        often = [n for n, share in self.clipped.items() if share > CLIPPED_TOO_OFTEN and n.startswith("delta")]
        if often:
            share = f"more than {CLIPPED_TOO_OFTEN:.0%} of {', '.join(often)} hit the limit"
            found.append(f"{share}: the arm moved further than a full action; {advice}")
        elif 0 < self.fitting_scale_m < HARDLY_USED * self.scale_m:
            most = f"99% of the steps are below {1000 * self.fitting_scale_m:g} mm"
            found.append(f"{most}, a small part of a full action ({1000 * self.scale_m:g} mm); {advice}")
        return found


def make_report(
    rebuilt: Rebuilt,
    episode: np.ndarray,
    rows: np.ndarray,
    spec: Spec,
    *,
    foreign: bool,
    notes: list[str] | None = None,
    servo: dict[str, Any] | None = None,
    asked_m: np.ndarray | None = None,
) -> RepairReport:
    """Numbers about the rebuilt actions.

    Args:
        episode: (N,) episode number per row.
        rows: (N,) bool, whose actions were replaced.
        servo: see `servo_facts`.
        asked_m: (N, 3) commanded displacements before clipping; None: the recorded displacements.
    """
    scale = spec.action.scale_m
    steps = forward_difference(rebuilt.positions_m, episode) if asked_m is None else asked_m
    last = last_rows(episode)
    acts = rows & rebuilt.valid
    residual = replay_residual(rebuilt, episode, scale)
    clipped = rebuilt.clipped[acts].mean(0) if acts.any() else np.zeros(rebuilt.actions.shape[1])
    count = int(episode[-1]) + 1
    touched = np.bincount(episode[rows], minlength=count) > 0
    worst = int(episode[np.where(rows, residual.clipped, -1.0).argmax()])
    if servo is None:
        whole = rebuilt.valid & ~rebuilt.clipped[:, :3].any(1)
        reached = np.r_[False, whole[:-1]] & rows  # rows whose step from the row before was not clipped
        spreads = {"unclipped": _spread(residual.unclipped[reached]), "as_stored": _spread(residual.clipped[rows])}
        strayed = residual.clipped
    else:
        spreads, strayed = {"servo": _spread(servo["strayed_mm"])}, servo["strayed_mm"]
    return RepairReport(
        repaired=np.flatnonzero(touched).tolist(),
        intact=np.flatnonzero(~touched).tolist(),
        transitions=int(acts.sum()),
        fraction_repaired=round(float(acts.sum() / max(1, (~last).sum())), 6),
        masked=int((rows & ~rebuilt.valid & ~last).sum()),
        clipped={name: round(float(share), 6) for name, share in zip(spec.action.names, clipped, strict=True)},
        residual_mm=spreads,
        scale_m=scale,
        fitting_scale_m=fitting_scale(steps, acts),
        per_episode=_per_episode(rebuilt, episode, rows, np.where(rows, strayed, 0.0)),
        semantics=(Semantics.achieved if servo is None else Semantics.commanded).name,
        foreign=foreign,
        notes=list(notes or []),
        servo=None if servo is None else {k: v for k, v in servo.items() if k != "strayed_mm"},
        pictured=Pictured(worst, *_paths(rebuilt, episode == worst, scale, servo), 1000 * np.abs(steps[acts]).max(1)),
    )


def action_numbers(files: LeRobotFiles) -> dict[str, str | int]:
    """What a dataset holds, in the numbers that a repair changes; the last row of an episode has no action."""
    found: dict[str, str | int] = {"episodes": len(files.bounds), "frames": files.bounds[-1][1]}
    if "action" not in files.features:
        return found | {"action": "none"}
    stored = files.column("action").reshape(files.bounds[-1][1], -1)
    actions = np.delete(stored, [stop - 1 for _, stop in files.bounds], axis=0)
    missing = ~np.isfinite(actions).all(1)
    nothing = asks_for_nothing(actions)
    low, high = (f(actions[~missing]) if not missing.all() else 0.0 for f in (np.min, np.max))
    found["action"] = f"{actions.shape[1]} numbers from {low:.4g} to {high:.4g}"
    return found | {"zero or missing actions": f"{nothing.mean():.1%}"}


def _spread(values: np.ndarray) -> dict[str, float]:
    if not len(values):
        return {"median": 0.0, "max": 0.0}
    return {"median": round(float(np.median(values)), 6), "max": round(float(values.max()), 6)}


def _per_episode(
    rebuilt: Rebuilt, episode: np.ndarray, rows: np.ndarray, strayed: np.ndarray
) -> dict[str, list[float]]:
    count, acts = int(episode[-1]) + 1, rows & rebuilt.valid
    total = np.maximum(1, np.bincount(episode, minlength=count) - 1)
    done = np.bincount(episode[acts], minlength=count)
    cut = np.bincount(episode[acts & rebuilt.clipped[:, :3].any(1)], minlength=count)
    furthest = np.zeros(count)
    np.maximum.at(furthest, episode, strayed)
    found = {"repaired": done / total, "clipped": cut / np.maximum(1, done), "residual_mm": furthest}
    return {name: np.round(values, 4).tolist() for name, values in found.items()}


def _paths(
    rebuilt: Rebuilt, rows: np.ndarray, scale_m: float, servo: dict[str, Any] | None
) -> tuple[np.ndarray, np.ndarray]:
    recorded = rebuilt.positions_m[rows]
    steps = rebuilt.actions[rows, :3].astype(np.float64) * scale_m
    if servo is not None:
        return recorded, recorded + steps
    return recorded, recorded[0] + np.concatenate([np.zeros((1, 3)), np.cumsum(steps[:-1], axis=0)])


def servo_facts(servo: Servo, strayed_mm: np.ndarray, estimated: float) -> dict[str, Any]:
    """The fitted servos for `make_report`.

    Args:
        strayed_mm: (N,) distance of the fitted servos, given the goals, from the recorded path.
        estimated: share of the goals that were not stored but estimated from the motion.
    """
    names = list(JOINTS[: len(servo.gain)])
    columns = {"lag_frames": servo.lag, "gain": servo.gain, "offset_deg": servo.offset_deg}
    columns |= {"residual_deg": servo.residual_deg, "explained": servo.explained}
    joints = {
        name: {key: None if np.isnan(values[j]) else round(float(values[j]), 4) for key, values in columns.items()}
        for j, name in enumerate(names)
    }
    return {"joints": joints, "estimated_goals": round(estimated, 6), "strayed_mm": strayed_mm}


# ---------------------------------------------------------------- for people


def print_report(report: RepairReport, ref: str, console: Console) -> None:
    """The table a user sees."""
    table = Table(title=f"actions rebuilt: {ref}", show_header=False)
    table.add_row("episodes rebuilt", str(len(report.repaired)))
    table.add_row("episodes left alone", str(len(report.intact)))
    table.add_row("actions rebuilt", f"{report.transitions}, {report.fraction_repaired:.1%} of all; {report.semantics}")
    if report.masked:
        table.add_row("actions masked", str(report.masked))
    table.add_row("clipped", ", ".join(f"{name} {share:.1%}" for name, share in report.clipped.items()))
    for name, spread in report.residual_mm.items():
        table.add_row(
            f"replay residual, {name.replace('_', ' ')}", f"median {spread['median']:.3f}, max {spread['max']:.3f} mm"
        )
    for name, joint in (report.servo or {}).get("joints", {}).items():
        table.add_row(f"servo {name}", _servo_words(joint))
    console.print(table)
    for warning in report.warnings():
        console.print(f"[yellow]{warning}[/yellow]")


def _servo_words(joint: dict[str, float | None]) -> str:
    if joint["gain"] is None:
        return "did not move"
    return (
        f"lag {joint['lag_frames']:.2f} frames, gain {joint['gain']:.2f}, offset {joint['offset_deg']:.1f} deg, "
        f"residual {joint['residual_deg']:.2f} deg"
    )


def write_report(report: RepairReport, folder: Path) -> None:
    """The numbers and the figure, as ``repair.json`` and ``repair.png``."""
    (folder / "repair.json").write_text(json.dumps(report.to_dict(), indent=2) + "\n")
    plot_report(report, folder / "repair.png")


def plot_report(report: RepairReport, path: Path) -> None:
    """The worst episode's path above; below every episode, and the size of the steps beside the scale."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    assert report.pictured is not None, "reports without a path are read from disk, not plotted"
    figure, axes = plt.subplots(2, 3, figsize=(13, 6.5), layout="constrained")
    _plot_paths(axes[0], report.pictured, "goals" if report.servo else "replayed from rebuilt actions")
    _plot_episodes(axes[1, 0], report, "residual_mm", "distance from the path", "mm")
    _plot_episodes(axes[1, 1], report, "clipped", "actions at the limit", "%", 100.0)
    _plot_steps(axes[1, 2], report, report.pictured.steps_mm)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _plot_paths(axes: np.ndarray, shown: Pictured, label: str) -> None:
    for dim, axis in enumerate(axes):
        axis.plot(1000 * shown.recorded_m[:, dim], label="recorded", color="black")
        axis.plot(1000 * shown.replayed_m[:, dim], label=label, color=STRONG, linestyle="--")
        axis.set(title=f"end effector {'xyz'[dim]}, episode {shown.episode}", xlabel="step", ylabel="mm")
    axes[0].legend()


def _plot_episodes(axis: Any, report: RepairReport, key: str, title: str, unit: str, factor: float = 1.0) -> None:
    values = factor * np.array(report.per_episode[key])
    rebuilt = np.isin(np.arange(len(values)), report.repaired)
    if report.intact:
        axis.plot(np.flatnonzero(~rebuilt), values[~rebuilt], ".", color=FAINT, label="left alone")
    axis.plot(
        np.flatnonzero(rebuilt), values[rebuilt], "o" if len(values) < 100 else ".", color=STRONG, label="rebuilt"
    )
    axis.set(
        title=f"{title}, per episode",
        xlabel="episode",
        ylabel=unit,
        ylim=(-0.05 * (top := max(1.0, 1.1 * values.max())), top),
    )
    axis.xaxis.get_major_locator().set_params(integer=True)
    if report.intact:
        axis.legend()


def _plot_steps(axis: Any, report: RepairReport, steps_mm: np.ndarray) -> None:
    axis.hist(steps_mm, bins=40, color=FAINT)
    axis.axvline(1000 * report.scale_m, color="black", label=f"full action, {1000 * report.scale_m:g} mm")
    axis.axvline(
        1000 * report.fitting_scale_m, color=STRONG, ls="--", label=f"99% fit, {1000 * report.fitting_scale_m:g} mm"
    )
    title = "distance to the goal" if report.servo else "displacement"
    axis.set(title=f"{title} per step, largest component", xlabel="mm", ylabel="steps")
    axis.legend(loc="center right")
