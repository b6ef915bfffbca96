"""`hiltk run`: a chain of commands, each fed with what the ones before it wrote."""

from __future__ import annotations

import os
import traceback
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live

from hiltk.artifacts.store import resolve
from hiltk.errors import HiltkError, UserError
from hiltk.orchestration.board import Board, announce, tail
from hiltk.orchestration.execute import Event, State, forecast, run_chain
from hiltk.orchestration.plan import Pipeline, load
from hiltk.orchestration.workers import Workers


def run(name: str, changes: list[str], *, dry_run: bool = False) -> None:
    """Run a pipeline, or with ``dry_run`` say what would run.

    Raises:
        ConfigError: the pipeline, a change or any step's settings are wrong; nothing has been run.
        UserError: a step failed.
    """
    # Threads of numeric libraries fight each other when several processes share few cores.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    pipeline, console = load(name, changes), Console()
    if dry_run:
        return _forecast(pipeline, console)
    logs = _log_files(pipeline) if pipeline.jobs > 1 and len(pipeline.seeds) > 1 else {}
    board = Board(pipeline, logs)
    try:
        made = _side_by_side(pipeline, board, logs, console) if logs else _one_by_one(pipeline, board, console)
        together = {step.label: [made[seed][step.label] for seed in pipeline.seeds] for step in pipeline.each_seed}
        run_chain(pipeline, None, together, _listener(board, console))
    except KeyboardInterrupt:
        console.print("the same command goes on from here: steps that are done will be skipped")
        raise
    console.print(board)
    _say_where(pipeline, together, console)


def _listener(board: Board, console: Console) -> Any:
    def listen(event: Event) -> None:
        board.add(event)
        announce(console, event)

    return listen


def _log_files(pipeline: Pipeline) -> dict[int, Path]:
    folder = Path(pipeline.root) / "logs" / pipeline.name
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"the output folder cannot be written: {error.strerror}", where=str(folder), fix="set root="
        ) from error
    return {seed: folder / f"seed-{seed}.log" for seed in pipeline.seeds}


def _one_by_one(pipeline: Pipeline, board: Board, console: Console) -> dict[int, dict[str, Any]]:
    """Every seed in this process, with the steps' own output; one seed's failure does not stop the next."""
    made: dict[int, dict[str, Any]] = {}
    failed: dict[int, str] = {}
    for seed in pipeline.seeds:
        try:
            made[seed] = run_chain(pipeline, seed, {}, _listener(board, console))
        except HiltkError as error:
            failed[seed] = str(error)
        except Exception as error:
            traceback.print_exc()
            failed[seed] = f"{type(error).__name__}: {error}"
    _raise_if_failed(pipeline, failed, "see the output above")
    return made


def _side_by_side(
    pipeline: Pipeline, board: Board, logs: dict[int, Path], console: Console
) -> dict[int, dict[str, str]]:
    """Seeds in processes of their own; a live table on a terminal, plain lines elsewhere."""
    if console.is_terminal:
        workers = Workers(pipeline, logs, board.add)
        # The board is drawn a last time, with the steps after the seeds, when everything is done.
        with Live(board, console=console, refresh_per_second=2, transient=True):
            workers.run()
    else:
        workers = Workers(pipeline, logs, _listener(board, console))
        workers.run()
    failed = {seed: _story(event, logs[seed]) for seed, event in workers.failed.items()}
    _raise_if_failed(pipeline, failed, "the whole log: " + ", ".join(str(logs[s]) for s in failed))
    return workers.made


def _story(event: Event, log: Path) -> str:
    lines = tail(log, 12)
    # A message of ours says it all; before anything else stands what led to it.
    start = max((i for i, line in enumerate(lines) if line.startswith("error: ")), default=0)
    return "\n".join([f"{event.label}: {event.text}", *(f"    {line}" for line in lines[start:])])


def _raise_if_failed(pipeline: Pipeline, failed: dict[int, str], where: str) -> None:
    if failed:
        stories = "\n".join(f"  seed {seed}: {story}" for seed, story in failed.items())
        raise UserError(
            f"{len(failed)} of {len(pipeline.seeds)} seeds failed\n{stories}",
            where=where,
            fix="fix it and run the same command again: finished steps are skipped",
        )


def _forecast(pipeline: Pipeline, console: Console) -> None:
    """Print what each step would do."""
    together: dict[str, list[str]] = {step.label: [] for step in pipeline.each_seed}
    for seed in pipeline.seeds:
        made: dict[str, Any] = {}
        plans = forecast(pipeline, seed, made)
        _print_plans(plans, f"seed {seed}", console)
        for label, ref in made.items():
            together[label].append(ref)
    _print_plans(forecast(pipeline, None, dict(together)), "together", console)


def _print_plans(plans: dict[str, State], who: str, console: Console) -> None:
    words = {State.skipped: "unchanged, would be skipped", State.started: "would run"}
    for label, state in plans.items():
        console.print(f"{who}: {label}: {words[state]}", markup=False, highlight=False)


def _say_where(pipeline: Pipeline, made: dict[str, list[str]], console: Console) -> None:
    """The last lines: where the results of the steps after the seeds are."""
    for step in pipeline.together:
        path = resolve(made[step.label][0], step.verb.kind, pipeline.root).path
        page = path / "index.html"
        console.print(
            f"{step.label}: {page if page.is_file() else path}", markup=False, highlight=False, soft_wrap=True
        )
