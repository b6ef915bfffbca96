"""What a training run writes down: one CSV row per episode, and a live table for whoever watches."""

from __future__ import annotations

import csv
import io
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from rich.console import Console
from rich.live import Live
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from hiltk.artifacts.replacing import write_rows
from hiltk.findings import Finding

if TYPE_CHECKING:
    import pandas as pd

Row = dict[str, float]
COLUMNS = [
    "episode",
    "env_step",
    "update",
    "success",
    "true_success",
    "early",
    "missing_mm",
    "autonomous",
    "left_alone",
    "intervention_rate",
    "interventions",
    "intervention_length",
    "return",
    "length",
    "q_mean",
    "q_max",
    "critic_loss",
    "actor_loss",
    "alpha",
    "entropy",
    "saturation",
    "action_size",
    "critic_gradient",
    "actor_gradient",
    "gripper_loss",
    "imitation_loss",
    "imitation_samples",
    "imitation_weight",
    "noise",
    "demo_share",
    "batch_demos",
    "batch_interventions",
    "batch_policy",
    "positive_share",
    "utd",
    "steps_per_s",
    "wall_s",
    "human_s",
]
WINDOW = 20
QUIET_S = 10.0  # plain lines come every ten episodes, and at the end of one that took this long to come


def early(success: Any, true_success: Any) -> Any:
    """Whether an episode was ended as a success before the task's own predicate had held: in part, or nothing of it.

    Args:
        success, true_success: of one episode or, columns, of many; what is not known (NaN) is not early.
    """
    return (success > 0) & (true_success <= 0)


def missed(success: Any, true_success: Any) -> Any:
    """Whether an episode truly succeeded and was not rewarded; as `early`."""
    return (success <= 0) & (true_success > 0)


def alone(rows: Sequence[Row]) -> list[bool]:
    """Whether the policy succeeded, of each episode it was left alone in: what it can do by itself, without bias.

    Runs from before episodes were left alone on purpose have none.
    """
    return [row["success"] > 0 for row in rows if row.get("left_alone", 0.0) > 0]


def by_itself(metrics: pd.DataFrame) -> pd.Series:
    """Success of each episode that the policy was left alone in, NaN of the others: (E,) float, one per row.

    Only these tell without bias what it can do. Metrics of older versions do not say which they are: there every
    episode counts, one with help as a failure, which is too pessimistic.
    """
    return metrics.success.where(metrics.left_alone > 0) if "left_alone" in metrics else metrics.autonomous


def recent_rate(metrics: pd.DataFrame) -> pd.Series:
    """Mean of `by_itself` over the last `WINDOW` such episodes, as it stood after each episode; NaN before five."""
    counted = by_itself(metrics).dropna()
    return counted.rolling(WINDOW, min_periods=min(5, len(metrics))).mean().reindex(metrics.index).ffill()


class CsvLog:
    """Appends rows to ``metrics.csv``; each is on disk when `write` returns.

    Args:
        keep: rows of an earlier run to keep, by episode number; the rest was done after its last checkpoint.
    """

    def __init__(self, folder: Path, columns: list[str], keep: int = 0) -> None:
        self.path, self.columns = folder / "metrics.csv", columns
        self.rows: list[Row] = self._read(keep) if keep and self.path.is_file() else []
        # Whole or not at all: a kill here must not cost the metrics of the run so far.
        write_rows(self.path, columns, (self._formatted(row) for row in self.rows))

    def _read(self, keep: int) -> list[Row]:
        text = self.path.read_text()
        whole = text[: text.rfind("\n") + 1]  # a row that did not fit on the disk any more is no row
        rows = [{k: float(v) for k, v in row.items() if v} for row in csv.DictReader(io.StringIO(whole))]
        return [r for r in rows if r["episode"] < keep]

    def write(self, row: Row) -> None:
        self.rows.append(row)
        with self.path.open("a", newline="") as file:
            csv.DictWriter(file, self.columns).writerow(self._formatted(row))

    def _formatted(self, row: Row) -> dict[str, Any]:
        return {k: _short(row[k]) for k in self.columns if k in row}


def _short(value: float) -> Any:
    return int(value) if float(value).is_integer() else f"{value:.6g}"


class TrainingDisplay:
    """A progress bar with a table of the last 20 episodes; plain lines where there is no terminal."""

    def __init__(self, episodes: int, console: Console | None = None) -> None:
        self.console = console or Console()
        self.episodes, self.spoke = episodes, time.monotonic()
        self.recent: deque[Row] = deque(maxlen=WINDOW)
        self.progress = Progress(
            TextColumn("training"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
        )
        self.task = self.progress.add_task("train", total=episodes)
        self.live = Live(self.progress, console=self.console, refresh_per_second=4)

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            self.live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self.console.is_terminal:
            self.live.stop()

    def update(self, row: Row) -> None:
        """Show one more finished episode."""
        self.recent.append(row)
        self.progress.update(self.task, completed=row["episode"] + 1)
        if self.console.is_terminal:
            grid = Table.grid()
            grid.add_row(self.progress)
            grid.add_row(self._table(row))
            self.live.update(grid)
        elif (row["episode"] + 1) % 10 == 0 or time.monotonic() - self.spoke > QUIET_S:
            cells = ", ".join(f"{name} {value}" for name, value in self._cells(row))
            self.console.print(f"episode {row['episode'] + 1:.0f} of {self.episodes}: {cells}", soft_wrap=True)
            self.spoke = time.monotonic()

    def announce(self, finding: Finding) -> None:
        """Say what a guard found, above the table."""
        head, body = f"guard {finding.code}: ", f"{finding.what}; {finding.fix}"
        self.console.print(Text(head, "bold yellow").append(body, "yellow"), soft_wrap=True)

    def _table(self, row: Row) -> Table:
        table = Table(box=None, pad_edge=False)
        cells = self._cells(row)
        for name, _ in cells:
            table.add_column(name, justify="right")
        table.add_row(*(value for _, value in cells))
        return table

    def _cells(self, row: Row) -> list[tuple[str, str]]:
        def mean(key: str) -> float:
            return sum(r.get(key, 0.0) for r in self.recent) / len(self.recent)

        by_itself = alone(list(self.recent))
        return [
            ("success", f"{mean('success'):.0%}"),
            ("alone", f"{sum(by_itself)} of {len(by_itself)}"),
            ("intervened", f"{mean('intervention_rate'):.0%}"),
            ("return", f"{mean('return'):.2f}"),
            ("steps", f"{row['env_step']:.0f}"),
            ("Q", f"{row.get('q_mean', float('nan')):.2f}"),
            ("alpha", f"{row.get('alpha', float('nan')):.4f}"),
            ("steps/s", f"{row['steps_per_s']:.1f}"),
        ]
