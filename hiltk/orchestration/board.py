"""What the user sees while a pipeline runs: one row per step, one column per seed."""

from __future__ import annotations

import re
import time
from pathlib import Path

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from hiltk.orchestration.execute import Event, State
from hiltk.orchestration.plan import Pipeline

_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_TAIL = 8192  # bytes of a log that are looked at


def tail(log: Path, lines: int) -> list[str]:
    """The last lines of a log that say something; of a progress bar, its last state."""
    if not log.is_file():
        return []
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - _TAIL))
        text = _ESCAPES.sub("", file.read().decode(errors="replace"))
    shown = [line.rsplit("\r", 1)[-1].rstrip() for line in text.replace("\r\n", "\n").rstrip("\r\n").split("\n")]
    return [line for line in shown if line.strip()][-lines:]


class Board:
    """Collects events and shows them as a table."""

    def __init__(self, pipeline: Pipeline, logs: dict[int, Path]) -> None:
        self._pipeline, self._logs = pipeline, logs
        self._cells: dict[tuple[str, int | None], Event] = {}
        self._since: dict[tuple[str, int | None], float] = {}
        self._begun = time.monotonic()

    def add(self, event: Event) -> None:
        key = (event.label, event.seed)
        self._cells[key] = event
        self._since[key] = time.monotonic()

    def __rich__(self) -> Group:
        return Group(self._table(), *self._messages())

    def _table(self) -> Table:
        table = Table(title=f"{self._pipeline.name}: {_duration(time.monotonic() - self._begun)}", title_justify="left")
        table.add_column("step")
        for seed in self._pipeline.seeds:
            table.add_column(f"seed {seed}", justify="right")
        for step in self._pipeline.each_seed:
            table.add_row(step.label, *(self._cell(step.label, seed) for seed in self._pipeline.seeds))
        for step in self._pipeline.together:
            table.add_row(step.label, self._cell(step.label, None))
        return table

    def _cell(self, label: str, seed: int | None) -> Text:
        event = self._cells.get((label, seed))
        if event is None:
            return Text("")
        if event.state is State.started:
            return Text(f"{_duration(time.monotonic() - self._since[label, seed])} …", style="yellow")
        if event.state is State.skipped:
            return Text("unchanged", style="dim")
        if event.state is State.failed:
            return Text("failed", style="red")
        return Text(_duration(event.seconds), style="green")

    def _messages(self) -> list[Text]:
        running = sorted(seed for (_, seed), e in self._cells.items() if e.state is State.started and seed is not None)
        return [self._message(seed) for seed in running]

    def _message(self, seed: int) -> Text:
        last = tail(self._logs[seed], 1) if seed in self._logs else []
        return Text(f"seed {seed}: {last[0] if last else ''}", style="dim", no_wrap=True, overflow="ellipsis")


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def announce(console: Console, event: Event) -> None:
    """One plain line, for logs and terminals that cannot redraw."""
    who = event.label if event.seed is None else f"seed {event.seed}, {event.label}"
    words = {
        State.started: f"{who} ...",
        State.finished: f"{who}: {event.ref} in {_duration(event.seconds)}",
        State.skipped: f"{who}: unchanged, skipped ({event.ref})",
        State.failed: f"{who}: failed: {event.text}",
    }
    style = {State.failed: "red", State.skipped: "dim", State.finished: "green"}.get(event.state, "bold")
    console.print(words[event.state], style=style, markup=False, highlight=False, soft_wrap=True)
