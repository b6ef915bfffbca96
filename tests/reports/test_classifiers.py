"""The section on success classifiers, from what a real training wrote down."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hiltk.artifacts.store import Artifact
from hiltk.config.commands import ClassifierConf
from hiltk.data.episode import Episode
from hiltk.reports.classifiers import classifier_section
from hiltk.reports.page import Section, Table
from hiltk.rewards.frames import LabelledFrames, Origin
from hiltk.rewards.report import metrics
from hiltk.rewards.training import train_classifier
from hiltk.rewards.unseen import judge
from hiltk.spec import Spec
from tests.rewards.conftest import conf, episodes, spec  # noqa: F401  (fixtures)


def texts(table: Table) -> list[list[str]]:
    return [[cell.text for cell in row] for row in table.body]


def section(classifier: Artifact, folder: Path) -> Section:
    found = classifier_section([classifier], folder / "f.png")
    assert found is not None and (folder / "f.png").is_file()
    return found


def test_rule_and_sessions_are_told(
    maker: Any, tmp_path: Path, episodes: list[Episode], spec: Spec, conf: ClassifierConf  # noqa: F811
) -> None:  # fmt: skip
    tuned = replace(conf, steps=100, hold_steps=None, min_steps=None)
    origins = [Origin("morning" if i % 2 else "evening") for i in range(12)]
    result = train_classifier(episodes, spec, tuned, origins=origins)
    made = maker.classifier("cube")
    (made.path / "metrics.json").write_text(json.dumps(metrics(result, [str(n) for n in range(12)])))
    found = section(made, tmp_path)
    rule = result.tuning
    assert f"after {rule.hold_steps} frames in a row" in found.text[0]
    assert f"not before step {rule.min_steps}" in found.text[0] and "5.0 failure frames per success" in found.text[0]
    [sessions] = found.tables
    rows = texts(sessions)
    assert {row[0].split(": ")[1] for row in rows} == {"morning", "evening"}
    assert [row[1] for row in rows] == ["other episodes of it"] * 2 + ["none of it"] * 2
    assert all(row[3].endswith("/6") for row in rows[2:])


def test_added_frames_are_told_before_and_after(maker: Any, tmp_path: Path) -> None:
    def share(count: int, n: int) -> dict[str, float]:
        return {"count": count, "n": n, "low": 0.1, "high": 0.4}

    made = maker.classifier("cube")
    before, now = (
        {"false_positives": share(n, 30), "false_negatives": share(0, 0), "wrongly_ended": share(n // 10, 3)}
        for n in (20, 0)
    )
    record: dict[str, Any] = {"added": {"before_version": "cube@c-0001", "before": before, "now": now}}
    (made.path / "metrics.json").write_text(json.dumps(record))
    [added] = section(made, tmp_path).tables
    assert [row[0] for row in texts(added)] == ["cube@c-0001", "classifiers/cube@c-0001 (trained on them)"]
    assert [row[1:] for row in texts(added)] == [["20/30", "", "2/3"], ["0/30", "", "0/3"]]
    record["added"] |= {"before": None, "before_version": None}
    (made.path / "metrics.json").write_text(json.dumps(record))
    assert len(texts(section(made, tmp_path).tables[0])) == 1


@pytest.mark.parametrize("content", ["", "{", "[]", '{"threshold": 0.5}'])
def test_classifiers_from_before_are_shown_as_ever(maker: Any, tmp_path: Path, content: str) -> None:
    made = maker.classifier("cube")
    if content:
        (made.path / "metrics.json").write_text(content)
    found = section(made, tmp_path)
    assert not found.text and not found.tables and len(found.figures) == 1


def test_unseen_episodes_are_told(maker: Any, tmp_path: Path) -> None:
    success = np.array([0, 0, 1, 1, 0, 0, 0, 0], bool)
    frames = LabelledFrames({}, success, np.repeat([0, 1], 4), np.tile(np.arange(4), 2))
    made = maker.classifier("cube")
    judged = judge(np.array([0, 0, 1, 1, 0, 1, 1, 0], bool), frames, 2, 0, 2)
    (made.path / "metrics.json").write_text(json.dumps({"unseen": judged.to_dict()}))
    [unseen] = section(made, tmp_path).tables
    assert texts(unseen) == [["classifiers/cube@c-0001", "75.0 %", "1/1", "0/1", "0/1"]]
