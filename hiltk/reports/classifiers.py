"""The section on success classifiers: precision and recall, sessions, the reward rule, added false positives."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hiltk.artifacts.store import Artifact, title_of
from hiltk.reports.figures import precision_recall_figure
from hiltk.reports.page import Cell, Figure, Section, Table, own_figures
from hiltk.reports.sources import read_csv

METRICS = "metrics.json"


def classifier_section(classifiers: Sequence[Artifact], file: Path) -> Section | None:
    """Precision and recall of every classifier, and what else it recorded; its own figures are folded away."""
    with_curve = [c for c in classifiers if (c.path / "curve.csv").is_file()]
    if not with_curve:
        return None
    curves = {title_of(c): read_csv(c, "curve.csv", ["recall", "precision"]) for c in with_curve}
    records = {title_of(c): c.run() for c in with_curve}
    points = {t: (r["recall"], r["precision"]) for t, r in records.items() if {"recall", "precision"} <= set(r)}
    precision_recall_figure(curves, points, file)
    ends = "; ".join(f"{t}: recall {r:.2f}, precision {p:.2f}" for t, (r, p) in points.items())
    figure = Figure(file, f"Precision against recall of the success classifier. {ends}.", "Held-out episodes.")
    found = {title_of(c): _metrics(c) for c in with_curve}
    tables = [t for t in (_unseen(found), _sessions(found), _added(found)) if t]
    more = [f for c in with_curve for f in own_figures(c)]
    return Section("Reward classifier", list(_sentences(found)), tables, [figure], more=more)


def _metrics(classifier: Artifact) -> Mapping[str, Any]:
    """What training wrote down; empty for a classifier without it or from before a key was there."""
    path = classifier.path / METRICS
    try:
        found = json.loads(path.read_text()) if path.is_file() else {}
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _sentences(found: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """The reward rule of each classifier and how it was chosen."""
    for title, record in found.items():
        if "tuning" not in record:
            continue
        apart = record["tuning"]["mistakes_by_rule_of_the_others"]
        yield (
            f"{title}: success is declared after {record['hold_steps']} frames in a row at probability "
            f"{record['threshold']:.3f} or above, not before step {record['min_steps']}. Replayed through that rule, "
            f"{_share(record['wrongly_ended'])} held-out episodes are wrongly ended "
            f"({_share(record['wrongly_rewarded'])} failures rewarded) and {_share(record['missed'])} successes missed"
            f"; cross-validated (the rule tuned on the other episodes), {_share(apart)} are judged wrongly. "
            f"Calibration error {100 * record['calibration_error']:.1f} %; "
            f"{record['negatives_per_positive']['train']:.1f} failure frames per success frame in training."
        )


def _sessions(found: Mapping[str, Mapping[str, Any]]) -> Table | None:
    """Session by session; None where no classifier has more than one."""
    rows = [
        [
            Cell(f"{title}: {score['session']}"),
            Cell("none of it" if score["unseen"] else "other episodes of it"),
            Cell(f"{100 * score['accuracy']:.1f} %", share=score["accuracy"], note=f"{_frames(score)} frames"),
            _share_cell(score["wrongly_ended"]),
            _share_cell(score["missed"]),
        ]
        for title, record in found.items()
        for score in record.get("sessions", [])
        if len({s["session"] for s in record["sessions"]}) > 1
    ]
    head = ["session", "trained on", "accuracy by frame", "episodes wrongly ended", "successes missed"]
    return Table([[Cell(text) for text in head]], rows) if rows else None


def _unseen(found: Mapping[str, Mapping[str, Any]]) -> Table | None:
    """The test set (`hiltk train-classifier unseen=[...]`); None where there was none."""
    rows = []
    for title, record in found.items():
        if "unseen" in record:
            judged = record["unseen"]
            accuracy = judged["accuracy"]
            right = Cell(f"{100 * accuracy['value']:.1f} %", share=accuracy["value"], note=_interval(accuracy))
            shares = [judged[key] for key in ("wrongly_rewarded", "missed", "early")]
            rows.append([Cell(title), right, *(_share_cell(share) for share in shares)])
    head = ["unseen episodes", "accuracy by frame", "failures rewarded", "successes missed", "ended early"]
    return Table([[Cell(text) for text in head]], rows) if rows else None


def _added(found: Mapping[str, Mapping[str, Any]]) -> Table | None:
    """Added false positives, before and after; None where none were added."""
    rows = []
    for title, record in found.items():
        if "added" not in record:
            continue
        added = record["added"]
        for when, judged in ((added["before_version"], added["before"]), (f"{title} (trained on them)", added["now"])):
            if judged:
                shares = [judged[key] for key in ("false_positives", "false_negatives", "wrongly_ended")]
                rows.append([Cell(when), *(_share_cell(share) for share in shares)])
    head = ["added frames, judged by", "false positives", "false negatives", "episodes wrongly ended"]
    return Table([[Cell(text) for text in head]], rows) if rows else None


def _frames(score: Mapping[str, Any]) -> int:
    return sum(score["confusion"].values())


def _share(share: Mapping[str, Any]) -> str:
    return f"{share['count']} of {share['n']}" + (f" (95 %: {_interval(share)})" if share["n"] else "")


def _share_cell(share: Mapping[str, Any]) -> Cell:
    if not share["n"]:
        return Cell("")
    return Cell(f"{share['count']}/{share['n']}", share=share["count"] / share["n"], note=_interval(share))


def _interval(share: Mapping[str, Any]) -> str:
    return f"{100 * share['low']:.0f} to {100 * share['high']:.0f} %"
