"""What the user sees in the terminal: the plan beforehand, a table that is kept up to date, or plain lines."""

from __future__ import annotations

from collections.abc import Mapping

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from hiltk.orchestration.execute import Event, State
from hiltk.orchestration.plan import Pipeline
from hiltk.orchestration.progress import Progress, each_takes, named, roughly
from hiltk.orchestration.schedule import Task, total_s
from hiltk.reports.page import format_duration

SILENT_S = 25.0  # plain lines come at least this often; with what a look at the logs takes, every 30 s
_STYLES = {State.started: "yellow", State.skipped: "dim", State.failed: "red", State.finished: "green"}


def plan_table(pipeline: Pipeline, plans: Mapping[Task, State], seconds: Mapping[Task, float | None]) -> Group:
    """What will be done and about how long each takes, and the whole."""
    table = Table(box=None, pad_edge=False)
    for column in ("step", "command", "needs", "time"):
        table.add_column(column, justify="right" if column == "time" else "left")
    for step in (*pipeline.each_seed, *pipeline.together):
        own = [task for task in plans if task[1] == step.label]
        to_do = [task for task in own if plans[task] is State.started]
        needs = ", ".join(label for label in _labels(pipeline) if label in pipeline.needs[step.label])
        table.add_row(step.label, f"hiltk {step.verb.name}", needs, _how_long(own, to_do, seconds))
    seeds = ", ".join(map(str, pipeline.seeds))
    skipped = [task for task, state in plans.items() if state is State.skipped]
    whole = "nothing to do" if len(skipped) == len(plans) else roughly(total_s(pipeline, seconds, skipped))
    head = f"{pipeline.name}, seed{'s' * (len(pipeline.seeds) > 1)} {seeds}: {whole} ({pipeline.jobs} at a time)"
    return Group(Text(head, style="bold"), table)


def _labels(pipeline: Pipeline) -> list[str]:
    return [step.label for step in (*pipeline.each_seed, *pipeline.together)]


def _how_long(own: list[Task], to_do: list[Task], seconds: Mapping[Task, float | None]) -> str:
    if not to_do:
        return "unchanged"
    each = each_takes(to_do, seconds) or "?"
    return each if len(own) == 1 else f"{len(to_do)} x {each}"


class Board:
    """One row per step, one column per seed, and what the running steps say."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def __rich__(self) -> Group:
        left = f", {roughly(self._progress.left_s())} to go" if self._progress.running() else ""
        head = f"{self._progress.pipeline.name}: {format_duration(self._progress.elapsed_s)}{left}"
        return Group(Text(head, style="bold"), self._table(), *self._messages())

    def _table(self) -> Table:
        pipeline, table = self._progress.pipeline, Table()
        table.add_column("step")
        for seed in pipeline.seeds:
            table.add_column(f"seed {seed}", justify="right")
        for step in pipeline.each_seed:
            table.add_row(step.label, *(self._cell((seed, step.label)) for seed in pipeline.seeds))
        for step in pipeline.together:
            table.add_row(step.label, self._cell((None, step.label)))
        return table

    def _cell(self, task: Task) -> Text:
        event = self._progress.last.get(task)
        return Text(self._progress.state(task), style=_STYLES[event.state] if event else "")

    def _messages(self) -> list[Text]:
        return [
            Text(f"{named(task)}: {self._progress.said(task)}", style="dim", no_wrap=True, overflow="ellipsis")
            for task in self._progress.running()
        ]


class PlainLines:
    """For logs and terminals that cannot redraw: a line for every event, and a sign of life where nothing happens."""

    def __init__(self, console: Console, progress: Progress) -> None:
        self._console, self._progress = console, progress
        self._spoke = progress.clock()

    def add(self, event: Event) -> None:
        self._spoke = self._progress.clock()
        announce(self._console, event)

    def tick(self) -> None:
        """Say how far the running steps are, unless something was said a short while ago."""
        if self._progress.clock() - self._spoke < SILENT_S:
            return
        self._spoke = self._progress.clock()
        left = roughly(self._progress.left_s())
        for task in self._progress.running():
            said = filter(None, [format_duration(self._progress.running_s(task)), self._progress.said(task)])
            print_plain(self._console, f"{named(task)}: {', '.join(said)} ({left} to go)")


def announce(console: Console, event: Event) -> None:
    """One plain line."""
    who = named(event.task)
    words = {
        State.started: f"{who} ...",
        State.finished: f"{who}: {event.ref} in {format_duration(event.seconds)}",
        State.skipped: f"{who}: unchanged, skipped ({event.ref})",
        State.failed: f"{who}: failed: {event.text}",
    }
    style = {State.failed: "red", State.skipped: "dim", State.finished: "green"}.get(event.state, "bold")
    print_plain(console, words[event.state], style)


def print_plain(console: Console, text: str, style: str = "") -> None:
    """A line as it is, however long and whatever brackets are in it."""
    console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)
