"""`hiltk report`: one folder and one page that show what a run achieved and where it came from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from rich.console import Console

from hiltk.artifacts.store import Artifact
from hiltk.artifacts.writing import create
from hiltk.config.commands import ReportConf
from hiltk.data.consistency import require_consistent
from hiltk.data.dataset import open_dataset
from hiltk.data.lerobot_files import LeRobotFiles
from hiltk.data.lerobot_io import SPEC_FILE
from hiltk.reports.classifiers import classifier_section
from hiltk.reports.facts import classifier_fact, success_facts, training_facts
from hiltk.reports.page import Section, render
from hiltk.reports.sections import (
    dataset_sections,
    diagnosis_section,
    film_sections,
    guard_section,
    learning_sections,
    milestone_section,
    success_section,
    terminal_table,
)
from hiltk.reports.sources import find, kind_of, training_runs
from hiltk.reports.success import SuccessBoard, boards


@dataclass(frozen=True)
class ReportInputs:
    """The artifacts of a report by kind."""

    artifacts: list[Artifact]
    boards: list[SuccessBoard]

    def of(self, kind: str) -> list[Artifact]:
        """All of one kind; ``diagnoses`` are a kind of their own here."""
        return [artifact for artifact in self.artifacts if kind_of(artifact) == kind]


def run(cfg: ReportConf) -> Artifact:
    """Read artifacts of any kind, write ``index.html`` (self-contained), ``figures/`` and ``success.csv``.

    Raises:
        ConfigError: no artifact is named.
        UserError: one does not exist, or is damaged.
    """
    artifacts = find(cfg.artifacts, cfg.root)
    evidence = ReportInputs(artifacts, boards([a for a in artifacts if kind_of(a) == "evaluations"]))
    for dataset in evidence.of("datasets"):
        _require_whole(dataset)
    with create("reports", cfg.name, root=cfg.root, step="report", cfg=cfg, inputs=artifacts, seed=0) as draft:
        page = render(cfg.title or cfg.name, _facts(evidence), _sections(evidence, draft.path), artifacts)
        (draft.path / "index.html").write_text(page, encoding="utf-8")
        if evidence.boards:
            tables = pd.concat([board.table() for board in evidence.boards], ignore_index=True)
            tables.to_csv(draft.path / "success.csv", index=False)
    _print(evidence.boards, draft.done)
    return draft.done


def _require_whole(dataset: Artifact) -> None:
    """Refuse a dataset that no other step would read; its page would show figures of data that are not there any more.

    Raises:
        UserError: naming the damage.
    """
    if (dataset.path / SPEC_FILE).is_file():
        open_dataset(dataset.path, dataset.ref)
    else:  # made elsewhere, and not adopted yet
        require_consistent(LeRobotFiles(dataset.path))


def _facts(evidence: ReportInputs) -> list[str]:
    facts = []
    for board in evidence.boards:
        prefix = f"[{board.setting}] " if board.setting else ""
        facts += [prefix + fact for fact in success_facts(board)]
    for label, runs in training_runs(evidence.of("policies"), "train").items():
        facts += training_facts(label, runs)
    facts += [classifier_fact(classifier) for classifier in evidence.of("classifiers")]
    return [fact for fact in facts if fact]


def _sections(evidence: ReportInputs, folder: Path) -> list[Section]:
    figures = folder / "figures"
    figures.mkdir()
    found: list[Section | None] = [
        success_section(board, figures / f"success_{i}.png") for i, board in enumerate(evidence.boards, 1)
    ]
    found += learning_sections(evidence.of("policies"), figures)
    found.append(milestone_section(evidence.of("policies"), figures / "time_to_success.png"))
    found.append(guard_section(evidence.of("policies")))
    found += film_sections(evidence.of("evaluations"))
    found.append(classifier_section(evidence.of("classifiers"), figures / "classifier.png"))
    found += [diagnosis_section(diagnosis) for diagnosis in evidence.of("diagnoses")]
    found += dataset_sections(evidence.of("datasets"))
    return [section for section in found if section]


def _print(found: Sequence[SuccessBoard], report: Artifact) -> None:
    console = Console()
    for board in found:
        console.print(terminal_table(board))
    console.print(f"report {report.ref}: {report.path / 'index.html'}", markup=False, soft_wrap=True)
