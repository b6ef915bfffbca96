"""What `hiltk fix-actions` changed, as numbers, a table and a figure."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from hiltk.data.repair import Rebuilt, replay_residual
from hiltk.spec import Spec

CLIPPED_TOO_OFTEN = 0.1


@dataclass
class WorstPath:
    """The repaired episode whose replay strays furthest, in metres, for the figure."""

    episode: int
    recorded_m: np.ndarray
    replayed_m: np.ndarray


@dataclass
class RepairReport:
    """Numbers about one repair.

    Attributes:
        repaired: numbers of the episodes whose actions were rebuilt.
        intact: numbers of those that were left alone.
        transitions: rebuilt actions.
        clipped: per action dimension, the fraction of rebuilt actions that hit the limit.
        residual_mm: median and maximum distance between the recorded path and the one the rebuilt actions replay,
            ``unclipped`` (clipped steps taken as recorded: arithmetic only) and ``as_stored`` (clipping included).
        foreign: the dataset came from elsewhere and was converted whole.
    """

    repaired: list[int]
    intact: list[int]
    transitions: int
    clipped: dict[str, float]
    residual_mm: dict[str, dict[str, float]]
    foreign: bool
    worst: WorstPath | None = field(default=None, repr=False)

    def summary(self) -> dict[str, Any]:
        """What ``run.yaml`` gets."""
        return {
            "repaired_episodes": len(self.repaired),
            "intact_episodes": len(self.intact),
            "clipped": self.clipped,
            "residual_mm": self.residual_mm,
        }

    def to_dict(self) -> dict[str, Any]:
        return {k: v for k, v in asdict(self).items() if k != "worst"}


def make_report(
    rebuilt: Rebuilt, episode: np.ndarray, chosen: np.ndarray, spec: Spec, *, foreign: bool
) -> RepairReport:
    """Numbers about the rebuilt episodes.

    Args:
        episode: (N,) episode number per row.
        chosen: (E,) bool, whose actions were replaced.
    """
    rows = chosen[episode]
    acts = rows & rebuilt.valid
    residual = replay_residual(rebuilt, episode, spec.action.scale_m)
    clipped = rebuilt.clipped[acts].mean(0) if acts.any() else np.zeros(rebuilt.actions.shape[1])
    worst = int(episode[np.where(rows, residual.clipped, -1.0).argmax()])
    return RepairReport(
        repaired=np.flatnonzero(chosen).tolist(),
        intact=np.flatnonzero(~chosen).tolist(),
        transitions=int(acts.sum()),
        clipped={name: round(float(share), 6) for name, share in zip(spec.action.names, clipped, strict=True)},
        residual_mm={"unclipped": _spread(residual.unclipped[rows]), "as_stored": _spread(residual.clipped[rows])},
        foreign=foreign,
        worst=_path(rebuilt, episode == worst, worst, spec.action.scale_m),
    )


def _spread(values: np.ndarray) -> dict[str, float]:
    return {"median": round(float(np.median(values)), 6), "max": round(float(values.max()), 6)}


def _path(rebuilt: Rebuilt, rows: np.ndarray, number: int, scale_m: float) -> WorstPath:
    recorded = rebuilt.positions_m[rows]
    steps = rebuilt.actions[rows, :3][:-1].astype(np.float64) * scale_m
    replayed = recorded[0] + np.concatenate([np.zeros((1, 3)), np.cumsum(steps, axis=0)])
    return WorstPath(number, recorded, replayed)


def print_report(report: RepairReport, ref: str, console: Console) -> None:
    """The table a user sees."""
    table = Table(title=f"actions rebuilt: {ref}", show_header=False)
    table.add_row("episodes rebuilt", str(len(report.repaired)))
    table.add_row("episodes left alone", str(len(report.intact)))
    table.add_row("actions rebuilt", str(report.transitions))
    table.add_row("clipped", ", ".join(f"{name} {share:.1%}" for name, share in report.clipped.items()))
    for name, spread in report.residual_mm.items():
        table.add_row(
            f"replay residual, {name.replace('_', ' ')}", f"median {spread['median']:.3f}, max {spread['max']:.3f} mm"
        )
    console.print(table)
    often = [name for name, share in report.clipped.items() if share > CLIPPED_TOO_OFTEN and name.startswith("delta")]
    if often:
        advice = "raise action_scale_m" if report.foreign else "record with a larger env.action_scale_m"
        share = f"more than {CLIPPED_TOO_OFTEN:.0%} of {', '.join(often)} hit the limit"
        console.print(f"[yellow]{share}: the arm moved further than a full action; {advice}[/yellow]")


def plot_report(report: RepairReport, path: Path) -> None:
    """Recorded against replayed path of the worst episode, and how often each dimension was clipped."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, 2, figsize=(10, 6), layout="constrained")
    worst = report.worst
    assert worst is not None, "reports without a path are read from disk, not plotted"
    for axis, dim in zip((axes[0, 0], axes[0, 1], axes[1, 0]), range(3), strict=True):
        axis.plot(1000 * worst.recorded_m[:, dim], label="recorded", color="black")
        axis.plot(
            1000 * worst.replayed_m[:, dim], label="replayed from rebuilt actions", color="tab:orange", linestyle="--"
        )
        axis.set(title=f"end effector {'xyz'[dim]}, episode {worst.episode}", xlabel="step", ylabel="mm")
    axes[0, 0].legend()
    axes[1, 1].bar(list(report.clipped), [100 * share for share in report.clipped.values()], color="tab:orange")
    axes[1, 1].set(title="actions at the limit", ylabel="%", ylim=(0, max(5.0, 110 * max(report.clipped.values()))))
    figure.savefig(path, dpi=120)
    plt.close(figure)
