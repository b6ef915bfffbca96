"""The page of a running pipeline: how far each step is, and what there is to see so far. It loads itself anew."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from hiltk.artifacts.replacing import replacing
from hiltk.artifacts.store import unfinished
from hiltk.orchestration.execute import State
from hiltk.orchestration.progress import Progress, each_takes, named, roughly
from hiltk.orchestration.schedule import Task
from hiltk.reports.curve import running_curve
from hiltk.reports.exhibits import Exhibit
from hiltk.reports.page import Cell, Section, Table, address, beside, format_duration, render

AGAIN_S = 10  # the browser looks again after so long, and running steps are written down as often


class LivePage:
    """Writes the page anew whenever something has changed.

    Args:
        file: where it lies.
    """

    def __init__(self, progress: Progress, file: Path) -> None:
        self.file, self._progress = file, progress
        self._exhibits: dict[Task, Exhibit] = {}
        self._written = float("-inf")
        self._results: dict[str, Path] = {}

    @property
    def uri(self) -> str:
        return self.file.resolve().as_uri()

    def add(self, task: Task, exhibit: Exhibit) -> None:
        """Show what a step has made."""
        self._exhibits[task] = exhibit
        self.write()

    def tick(self) -> None:
        if self._progress.clock() - self._written >= AGAIN_S:
            self.write()

    def end(self, state: str, results: dict[str, Path]) -> None:
        """The page as it stays: how it ended, and where the results are, by what they are called."""
        self._results = results
        self.write(state)

    def write(self, ended: str = "") -> None:
        """Replace the file at once: a browser never reads half of it."""
        pipeline, elapsed = self._progress.pipeline, format_duration(self._progress.elapsed_s)
        facts = [fact for task in self._shown() for fact in self._exhibits[task].facts]
        sections = [self._steps(), *self._curves(), *([Section("So far", facts)] if facts else [])]
        sections += [beside(section, self.file) for task in self._shown() for section in self._sections(task)]
        html = render(
            f"{pipeline.name}: {ended} after {elapsed}" if ended else f"{pipeline.name}: {self._how_far(elapsed)}",
            [],
            sections,
            [],
            links={f"{name}: the whole result": address(path, self.file) for name, path in self._results.items()},
            again_s=0 if ended else AGAIN_S,
        )
        # A full disk is the steps' to report; they may have what they need.
        with suppress(OSError), replacing(self.file) as partial:
            partial.write_text(html, encoding="utf-8")
        self._written = self._progress.clock()

    def _how_far(self, elapsed: str) -> str:
        """With the time of day: a page that is not written any more must not look alive."""
        now = datetime.now().strftime("%H:%M:%S")
        return f"{elapsed} so far, {roughly(self._progress.left_s())} to go (at {now})"

    def _shown(self) -> list[Task]:
        return [task for task in self._progress.steps if task in self._exhibits]

    def _sections(self, task: Task) -> list[Section]:
        """Under the step's name; of seeds after the first closed at first."""
        folded = task[0] not in (None, self._progress.pipeline.seeds[0])
        own = self._exhibits[task].sections
        return [replace(s, title=f"{named(task)}: {s.title}", folded=s.folded or folded) for s in own]

    def _curves(self) -> list[Section]:
        """How trainings that are still running learn."""
        found = []
        for task in self._progress.running():
            step, root = self._progress.steps[task], self._progress.pipeline.root
            draft = unfinished(step.verb.kind, self._progress.pipeline.name_of(step, task[0]), root)
            if draft and (curve := running_curve(draft / "metrics.csv")):
                found.append(Section(f"{named(task)}, so far", figures=[curve]))
        return found

    def _steps(self) -> Section:
        progress, pipeline = self._progress, self._progress.pipeline
        head = ["step", "about", *(f"seed {seed}" for seed in pipeline.seeds)]
        body = [
            self._row(step.label, [(seed, step.label) for seed in pipeline.seeds]) for step in pipeline.each_seed
        ] + [self._row(step.label, [(None, step.label)]) for step in pipeline.together]
        said = [f"{named(task)}: {progress.said(task)}" for task in progress.running()]
        failed = [f"{named(task)} failed: {e.text}" for task, e in progress.last.items() if e.state is State.failed]
        return Section("Steps", [*failed, *said], [Table([[Cell(text) for text in head]], body)])

    def _row(self, label: str, own: list[Task]) -> list[Cell]:
        cells = [
            Cell(label),
            Cell(each_takes(own, self._progress.seconds)),
            *(Cell(self._progress.state(task)) for task in own),
        ]
        return cells + [Cell("")] * (len(self._progress.pipeline.seeds) - len(own))
