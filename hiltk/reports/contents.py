"""What there is to say and to show of artifacts of any kind: the facts and sections of a report."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hiltk.artifacts.store import Artifact
from hiltk.reports.classifiers import classifier_section
from hiltk.reports.facts import classifier_fact, success_facts, training_facts
from hiltk.reports.page import Section
from hiltk.reports.sections import (
    dataset_sections,
    diagnosis_section,
    film_sections,
    guard_section,
    learning_sections,
    milestone_section,
    success_section,
)
from hiltk.reports.sources import kind_of, training_runs
from hiltk.reports.success import SuccessBoard, boards


@dataclass(frozen=True)
class ReportInputs:
    """Artifacts by kind, and what their evaluations add up to."""

    artifacts: list[Artifact]
    boards: list[SuccessBoard]

    def of(self, kind: str) -> list[Artifact]:
        """All of one kind; ``diagnoses`` are a kind of their own here."""
        return [artifact for artifact in self.artifacts if kind_of(artifact) == kind]


def inputs_of(artifacts: list[Artifact]) -> ReportInputs:
    return ReportInputs(artifacts, boards([a for a in artifacts if kind_of(a) == "evaluations"]))


def facts(inputs: ReportInputs) -> list[str]:
    """The sentences at the top."""
    found = []
    for board in inputs.boards:
        prefix = f"[{board.setting}] " if board.setting else ""
        found += [prefix + fact for fact in success_facts(board)]
    for label, runs in training_runs(inputs.of("policies"), "train").items():
        found += training_facts(label, runs)
    found += [classifier_fact(classifier) for classifier in inputs.of("classifiers")]
    return [fact for fact in found if fact]


def sections(inputs: ReportInputs, figures: Path) -> list[Section]:
    """Everything below; what has to be drawn is written into the folder ``figures``, which must exist."""
    found: list[Section | None] = [
        success_section(board, figures / f"success_{i}.png") for i, board in enumerate(inputs.boards, 1)
    ]
    found += learning_sections(inputs.of("policies"), figures)
    found.append(milestone_section(inputs.of("policies"), figures / "time_to_success.png"))
    found.append(guard_section(inputs.of("policies")))
    found += film_sections(inputs.of("evaluations"))
    found.append(classifier_section(inputs.of("classifiers"), figures / "classifier.png"))
    found += [diagnosis_section(diagnosis) for diagnosis in inputs.of("diagnoses")]
    found += dataset_sections(inputs.of("datasets"))
    return [section for section in found if section]
