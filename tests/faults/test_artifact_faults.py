"""Rules about classifiers, policies, evaluations and settings: what they name, and what they let pass."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from hiltk.artifacts.store import Artifact
from hiltk.checks.engine import Report, examine, gather
from hiltk.findings import Finding
from hiltk.learning.guards import GuardLog
from hiltk.rewards.classifier import SuccessClassifier
from tests.faults.inject import JOINTS, Good, copy_artifact
from tests.faults.recordings import ahead, behind, leader_recording


def found(*artifacts: Artifact, config: dict[str, Any] | None = None, **options: Any) -> Report:
    all_ = gather(artifacts)
    all_.config = config or {}
    return examine(all_, **options)


def codes(report: Report) -> list[str]:
    return [f.code for f in report.findings]


def test_good_artifacts_pass_together(
    demos: Artifact, play: Artifact, classifier: Artifact, policy: Artifact, evaluation: Artifact
) -> None:
    # The classifier is a tiny one, trained for moments: that its figures are poor, and it ends early, is right.
    report = found(demos, play, classifier, policy, evaluation, ignore=["LRN003", "REW010", "RUN005"])
    assert report.findings == []
    assert {rule.code for rule in report.rules} >= {"LRN006", "LRN007", "REW007", "RUN002"}


def edit_json(file: Path, **changes: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def test_a_classifier_with_poor_figures(classifier: Artifact, tmp_path: Path) -> None:
    copy = copy_artifact(classifier, tmp_path)
    edit_json(copy.path / "metrics.json", precision=0.99, recall=0.9, accuracy=0.99)
    assert codes(found(copy, select=["LRN003"])) == []
    edit_json(copy.path / "metrics.json", precision=0.7)
    (finding,) = found(copy, select=["LRN003"]).warnings
    assert "precision 70%" in finding.what
    edit_json(copy.path / "metrics.json", episodes={"train": 8, "held_out": 0})
    assert "no episode was held out" in found(copy, select=["LRN003"]).warnings[0].what


def test_a_classifier_that_never_fires(demos: Artifact, classifier: Artifact, tmp_path: Path) -> None:
    assert codes(found(demos, classifier, select=["REW007"])) == []
    dead = copy_artifact(classifier, tmp_path)
    model = SuccessClassifier.load(dead.path)
    model.set_rule(threshold=1.0, hold_steps=2, min_steps=0)
    model.save(dead.path)
    (finding,) = found(demos, dead, select=["REW007"]).errors
    assert "recognises 0% of the successes" in finding.what and finding.subject == dead.ref


def test_a_classifier_on_frames_made_differently(good: Good, classifier: Artifact) -> None:
    """Negatives of photographs stand for any pipeline that scales or crops otherwise."""
    good.frames("observation.images.wrist", lambda row, frame: 255 - frame)
    assert codes(found(good.artifact(), classifier, select=["REW007"])) == ["REW007"]


def test_statistics_of_a_policy(demos: Artifact, policy: Artifact, tmp_path: Path) -> None:
    broken = copy_artifact(policy, tmp_path)
    spec = broken.spec()
    stats = spec.stats["observation.state"]
    stats.std[4] = 1e-9
    for name in JOINTS[:2]:
        stats.mean[spec.state.names.index(name)] += 500.0
    spec.save(broken.path / "hiltk_spec.yaml")
    (finding,) = found(demos, broken, select=["LRN"]).errors  # its network is sound: that is what counts
    assert finding.code == "LRN008" and "its spec says 5" in finding.what
    (broken.path / "policy.safetensors").unlink()  # only the spec is left to judge by
    report = found(demos, broken, select=["LRN001", "LRN002"])
    assert sorted(codes(report)) == ["LRN001", "LRN002"]
    assert "wrist_roll.pos 1.0e-09" in report.findings[1].what


def test_guards_that_spoke(policy: Artifact, tmp_path: Path) -> None:
    broken = copy_artifact(policy, tmp_path)
    GuardLog(broken.path).write(12, [Finding(code="q_bound", what="Q is 3", fix="agent.clip_target=true")])
    (finding,) = found(broken, select=["LRN006"]).warnings
    assert finding.what == "q_bound: Q is 3" and finding.where == "episode 12, guards.csv"


def test_thin_evaluations(evaluation: Artifact, tmp_path: Path) -> None:
    broken = copy_artifact(evaluation, tmp_path)
    table = (broken.path / "episodes.csv").read_text().splitlines()
    (broken.path / "episodes.csv").write_text("\n".join(table[:11]) + "\n")
    run = yaml.safe_load((broken.path / "run.yaml").read_text())
    run["config"]["stochastic"] = True
    (broken.path / "run.yaml").write_text(yaml.safe_dump(run))
    messages = [f.what for f in found(broken, select=["LRN007"]).warnings]
    assert messages == ["few episodes: bc 10", "actions were sampled, not the policy's best"]


DRQ = {"name": "drqv2", "noise": "linear(0.2,0.05,5000)", "explore_steps": 0}
SAC = {"name": "sac", "temperature": 0.01, "target_entropy": None, "backup_entropy": False}


@pytest.mark.parametrize(
    ("code", "config"),
    [
        ("LRN004", {"init": "bc", "agent": DRQ | {"noise": "linear(1.0,0.1,50000)"}}),
        ("LRN004", {"init": "bc", "agent": DRQ | {"explore_steps": 500}}),
        ("LRN005", {"demos": ["demos"], "agent": SAC | {"target_entropy": -4}}),
        ("LRN005", {"demos": ["demos"], "agent": SAC | {"temperature": 0.2}}),
        ("LRN005", {"demos": ["demos"], "agent": SAC | {"backup_entropy": True}}),
        ("LRN005", {"agent": DRQ, "capacity": 4999, "episodes": 101, "task": {"time_limit_s": 5.0}}),
        ("", {"agent": DRQ, "capacity": 5000, "episodes": 150, "task": {"time_limit_s": 5.0}}),
        ("", {"agent": DRQ, "capacity": 1000, "episodes": 20, "task": {"time_limit_s": 5.0}}),  # all of the run
        ("LRN004", {"init": "bc", "agent": DRQ | {"noise": ".8"}}),
        ("", {"init": "bc", "agent": DRQ | {"noise": ".2"}}),  # as the learner reads it, not 2
        ("", {"init": "bc", "agent": DRQ | {"noise": "linear(2E-1,0.05,5000)"}}),
        ("IMG005", {"encoder": {"name": "resnet"}}),
        ("", {"init": "bc", "agent": DRQ}),
        ("", {"init": "", "agent": DRQ | {"noise": "linear(1.0,0.1,50000)", "explore_steps": 2000}}),
        ("", {"demos": ["demos"], "agent": SAC}),
        ("", {"agent": SAC | {"temperature": 1.0, "target_entropy": -1.5}, "encoder": {"name": "cnn"}}),
    ],
)
def test_settings(code: str, config: dict[str, Any], demos: Artifact) -> None:
    report = found(demos, config=config, select=["LRN004", "LRN005", "IMG005"])
    assert codes(report) == ([code] if code else [])


def test_files_changed_afterwards(demos: Artifact, tmp_path: Path) -> None:
    copy = copy_artifact(demos, tmp_path)
    assert codes(found(copy, select=["RUN001"])) == []
    with (copy.path / "meta" / "info.json").open("a") as file:
        file.write("\n")
    assert codes(found(copy, select=["RUN001"])) == ["RUN001"]


def test_inputs_replaced_under_the_same_name(demos: Artifact, policy: Artifact, tmp_path: Path) -> None:
    data, copy = copy_artifact(demos, tmp_path), copy_artifact(policy, tmp_path)
    assert codes(found(copy, select=["RUN002"])) == []
    run = yaml.safe_load((data.path / "run.yaml").read_text())
    (data.path / "run.yaml").write_text(yaml.safe_dump(run | {"fingerprint": "f" * 16}))
    (finding,) = found(copy, select=["RUN002"]).errors
    assert finding.what.startswith("demos@d-0001 has changed since")


def test_a_leader_that_leads_and_others(good: Good, tmp_path: Path) -> None:
    """Recordings of LeRobot's own recorder, without a spec of ours: sound, offset, led by the follower, dead."""
    assert found(leader_recording(tmp_path / "sound", good, ahead)).findings == []
    offset = leader_recording(tmp_path / "offset", good, lambda joints: ahead(joints) + np.eye(6)[2] * 25)
    assert codes(found(offset)) == ["KIN007"]
    led = leader_recording(tmp_path / "led", good, behind)
    assert codes(found(led)) == ["KIN007"] and "trails" in found(led).findings[0].what
    dead = leader_recording(tmp_path / "dead", good, lambda joints: joints * 0)
    assert codes(found(dead)) == ["ACT001"]
