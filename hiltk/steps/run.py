"""`hiltk run`: a chain of commands, each fed with what the ones before it wrote."""

from __future__ import annotations

import os
from pathlib import Path

from rich.console import Console
from rich.live import Live

from hiltk.artifacts.store import resolve
from hiltk.errors import UserError
from hiltk.orchestration.board import Board, PlainLines, plan_table, print_plain
from hiltk.orchestration.execute import Event, State, forecast
from hiltk.orchestration.live import LivePage
from hiltk.orchestration.plan import Pipeline, load
from hiltk.orchestration.progress import Progress, named, tail
from hiltk.orchestration.schedule import Schedule, Task, expected, tasks
from hiltk.orchestration.workers import Workers
from hiltk.reports.exhibits import exhibit

PAGE = "index.html"


def run(name: str, changes: list[str], *, dry_run: bool = False) -> None:
    """Run a pipeline, or with ``dry_run`` say what would run.

    Raises:
        ConfigError: the pipeline, a change or any step's settings are wrong; nothing has been run.
        UserError: a step failed.
    """
    # Threads of numeric libraries fight each other when several processes share few cores.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    pipeline, console = load(name, changes), Console()
    plans, seconds = forecast(pipeline), expected(pipeline)
    if dry_run:
        _print_plans(pipeline, plans, console)
        return console.print(plan_table(pipeline, plans, seconds))
    folder = _log_folder(pipeline)
    logs = {task: folder / _log_name(task) for task in plans}
    progress, schedule = Progress(pipeline, logs, seconds), Schedule(pipeline, seconds)
    page = LivePage(progress, folder / PAGE)
    page.write()
    console.print(plan_table(pipeline, plans, seconds))
    print_plain(console, f"watch: {page.uri}\nlogs:  {folder}{os.sep}")
    try:
        failed = _work(schedule, progress, page, console)
    except BaseException:
        page.end("interrupted", {})
        console.print("the same command goes on from here: steps that are done will be skipped")
        raise
    progress.end()
    if failed:
        page.end("failed", {})
        raise _failure(pipeline, failed, logs)
    results = _results(schedule)
    page.end("done", results)
    _print_end(schedule, progress, results, console)


def _log_folder(pipeline: Pipeline) -> Path:
    folder = Path(pipeline.root) / "logs" / pipeline.name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / PAGE).touch()
    except OSError as error:
        raise UserError(
            f"the output folder cannot be written: {error.strerror}", where=str(folder), fix="set root="
        ) from error
    return folder


def _log_name(task: Task) -> str:
    seed, label = task
    return f"{label}.log" if seed is None else f"{label}-s{seed}.log"


def _work(schedule: Schedule, progress: Progress, page: LivePage, console: Console) -> dict[Task, Event]:
    """Run everything, with a live table on a terminal and plain lines elsewhere; returns what failed."""
    board, lines = Board(progress), PlainLines(console, progress)
    # The board is drawn a last time, whole, when everything is done.
    live = Live(board, console=console, auto_refresh=False, transient=True) if console.is_terminal else None

    def listen(event: Event) -> None:
        progress.add(event)
        if live is None:
            lines.add(event)
        page.write()

    def tick() -> None:
        lines.tick() if live is None else live.refresh()
        page.tick()

    workers = Workers(
        schedule, progress.logs, listen, tick, show=exhibit, shown=page.add, folder=page.file.parent / "page"
    )
    if live is None:
        workers.run()
    else:
        with live:
            workers.run()
    return workers.failed


def _failure(pipeline: Pipeline, failed: dict[Task, Event], logs: dict[Task, Path]) -> UserError:
    seeds = {seed for seed, _ in failed if seed is not None}
    what = f"{len(seeds)} of {len(pipeline.seeds)} seeds failed" if seeds else "a step after the seeds failed"
    stories = "\n".join(f"  {_story(event, logs[task])}" for task, event in failed.items())
    return UserError(
        f"{what}\n{stories}",
        where="the whole log: " + ", ".join(str(logs[task]) for task in failed),
        fix="fix it and run the same command again: finished steps are skipped",
    )


def _story(event: Event, log: Path) -> str:
    lines = tail(log, 12)
    # A message of ours says it all; before anything else stands what led to it.
    start = max((i for i, line in enumerate(lines) if line.startswith("error: ")), default=0)
    return "\n".join([f"{named(event.task)}: {event.text}", *(f"    {line}" for line in lines[start:])])


def _print_plans(pipeline: Pipeline, plans: dict[Task, State], console: Console) -> None:
    """A line for what each step would do."""
    words = {State.skipped: "unchanged, would be skipped", State.started: "would run"}
    for (seed, label), state in plans.items():
        who = "together" if seed is None else f"seed {seed}"
        print_plain(console, f"{who}: {label}: {words[state]}")


def _results(schedule: Schedule) -> dict[str, Path]:
    """Where the steps after the seeds left what they made: a page where there is one."""
    found = {}
    for step in schedule.pipeline.together:
        path = resolve(schedule.made[None, step.label], step.verb.kind, schedule.pipeline.root).path
        page = path / "index.html"
        found[step.label] = page if page.is_file() else path
    return found


def _print_end(schedule: Schedule, progress: Progress, results: dict[str, Path], console: Console) -> None:
    """What the steps after the seeds said, the board, and where the results are."""
    for task in tasks(schedule.pipeline):
        if task[0] is None and progress.last[task].state is State.finished:
            for line in tail(progress.logs[task], 100):
                print_plain(console, line)
    console.print(Board(progress))
    for label, path in results.items():
        print_plain(console, f"{label}: {path}")
