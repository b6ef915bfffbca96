"""What is sound must pass: recordings with odd but legal settings, and what the steps make of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hiltk.artifacts.store import Artifact, resolve
from hiltk.checks.engine import examine, gather
from hiltk.config.commands import (
    AdoptConf,
    AdoptedConf,
    ChecksConf,
    DropConf,
    Fault,
    FixActionsConf,
    LabelConf,
    MergeConf,
    RecordConf,
    SplitBy,
    SplitConf,
    StatedConf,
    StatsConf,
)
from hiltk.config.groups import HumanConf, JitterConf, RewardConf, So101SimConf, TaskConf
from hiltk.errors import ConfigError, UserError
from hiltk.spec import GripperFormat, Semantics
from hiltk.steps import adopt, drop_episodes, fix_actions, label, merge, record, split, stats
from tests.faults.inject import Good
from tests.faults.recordings import ahead, leader_recording

SMALL = So101SimConf(image_height=16, image_width=16)
WORKSPACE = {"workspace_low_m": [0.10, -0.2, 0.008], "workspace_high_m": [0.38, 0.2, 0.25]}
ODD: dict[str, dict[str, Any]] = {
    "three-way gripper": {"env": replace(SMALL, gripper=GripperFormat.discrete3)},
    "no gripper": {"env": replace(SMALL, gripper=GripperFormat.none), "task": TaskConf(name="reach")},
    "twice as fast": {"env": replace(SMALL, fps=20.0, action_scale_m=0.01), "task": TaskConf(name="grasp")},
    "slow and sloppy": {
        "env": replace(SMALL, fps=5.0, action_scale_m=0.03),
        "human": HumanConf(skill=0.3, noise=0.4),
        "keep": "all",
    },
    "two cameras": {"env": replace(SMALL, cameras=["front", "wrist"])},
    "thirty a second": {"env": replace(SMALL, fps=30.0, action_scale_m=0.007)},
    "tiny episodes": {"task": TaskConf(name="reach", time_limit_s=0.3), "keep": "all"},
    "one episode, large pictures": {"env": replace(SMALL, image_height=180, image_width=240), "episodes": 1},
    "no cameras": {"env": replace(SMALL, cameras=[])},
    "changing light": {"env": replace(SMALL, jitter=JitterConf(0.8, 0.8, 0.8))},
    "penalties": {"reward": RewardConf(success_value=10, step_value=-0.05, timeout="terminal"), "keep": "all"},
    "long hold": {"task": TaskConf(hold_steps=4), "steps_after_success": 6},
    "late success": {"reward": RewardConf(min_steps=25), "task": TaskConf(time_limit_s=6.0)},
    "elsewhere": {"env": replace(SMALL, reset_ee_m=[0.24, 0.04, 0.11], reset_noise_m=[0.0, 0.0, 0.0], **WORKSPACE)},
    "nothing but failures": {"human": HumanConf(name="wandering"), "keep": "all"},
    "video": {"video": True, "env": replace(SMALL, image_height=64, image_width=64)},
}


def clean(*artifacts: Artifact) -> None:
    report = examine(gather(artifacts))
    assert [f"{f.code} {f.what}" for f in report.findings] == []


@pytest.mark.parametrize("changes", ODD.values(), ids=list(ODD))
def test_odd_but_legal(changes: dict[str, Any], tmp_path: Path) -> None:
    cfg = RecordConf(root=str(tmp_path), name="odd", env=SMALL, task=TaskConf(), episodes=3)
    artifact = record.run(replace(cfg, **changes))
    clean(artifact)
    assert artifact.run()["checks"]["findings"] == []


def test_repaired_recordings(tmp_path: Path) -> None:
    cfg = RecordConf(root=str(tmp_path), name="broken", env=SMALL, episodes=3, fault=Fault.zero_actions)
    assert record.run(cfg).run()["checks"]["ignored"] == ["ACT001", "GRP002"]
    clean(fix_actions.run(FixActionsConf(root=str(tmp_path), name="fixed", dataset="broken")))


def test_what_every_step_makes(demos: Artifact, play: Artifact, tmp_path: Path) -> None:
    """Datasets that went through curation, in any order, are as sound as those they were made from."""
    root, (a, b) = str(tmp_path), (str(demos.path), str(play.path))
    merged = merge.run(MergeConf(root=root, name="both", datasets=[a, b]))
    made = [merged]
    made += [drop_episodes.run(DropConf(root=root, name="some", dataset=merged.ref, episodes=["0", "9"]))]
    made += [split.run(SplitConf(root=root, name="train", dataset=merged.ref, by=SplitBy.session))]
    made += [resolve("train-held-out", "datasets", tmp_path)]
    made += [stats.run(StatsConf(root=root, name="stats", dataset=merged.ref))]
    (tmp_path / "labels.csv").write_text("episode,first,last,kind\n0,,,failure\n")
    file = str(tmp_path / "labels.csv")
    made += [label.run(LabelConf(root=root, name="labels", dataset=merged.ref, file=file))]
    made += [fix_actions.run(FixActionsConf(root=root, name="rebuilt", dataset=merged.ref, force=True))]
    for one in made:
        clean(one)


def test_what_adopt_makes_of_lerobots_own_recorder(good: Good, tmp_path: Path) -> None:
    """A leader arm through LeRobot's dataset API, brought over by both commands."""
    theirs = leader_recording(tmp_path / "theirs", good, ahead)
    clean(theirs)
    foreign = {"joint_unit": "degrees", "gripper_unit": "percent"}
    paths = {"root": str(tmp_path), "dataset": str(theirs.path)}
    clean(adopt.run(AdoptConf(name="adopted", foreign=AdoptedConf(**foreign), **paths)))
    for method in (Semantics.achieved, Semantics.commanded):
        conf = StatedConf(**foreign, commands="action" if method is Semantics.commanded else "")
        clean(fix_actions.run(FixActionsConf(name=method.name, foreign=conf, method=method, **paths)))


def test_record_refuses_but_keeps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A recorder that loses its actions without having been told to."""
    lose = record._faulty
    monkeypatch.setattr(record, "_faulty", lambda episode, fault: lose(episode, Fault.zero_actions))
    cfg = RecordConf(root=str(tmp_path), name="demos", env=SMALL, episodes=2)
    with pytest.raises(UserError, match="record refuses: ACT001") as caught:
        record.run(cfg)
    assert "kept as demos@d-0001" in caught.value.fix
    kept = resolve("demos", "datasets", tmp_path).run()
    assert kept["episodes_kept"] == 2 and kept["checks"]["findings"][0]["code"] == "ACT001"
    cfg.checks.ignore = ["ACT001", "GRP002"]
    assert record.run(cfg).run()["config"]["checks"] == {"ignore": ["ACT001", "GRP002"]}


def test_a_rule_there_is_not_is_said_before_anything_is_recorded(tmp_path: Path) -> None:
    cfg = RecordConf(root=str(tmp_path), name="demos", env=SMALL, checks=ChecksConf(ignore=["ACT9"]))
    with pytest.raises(ConfigError, match="there is no rule 'ACT9'"):
        record.run(cfg)
    assert not (tmp_path / "datasets").exists()


def test_fix_actions_writes_nothing_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cfg = RecordConf(root=str(tmp_path), name="broken", env=SMALL, episodes=2, fault=Fault.zero_actions)
    record.run(cfg)
    monkeypatch.setattr("hiltk.checks.actions.BROKEN_SHARE", -1.0)  # now nothing passes
    fix = FixActionsConf(root=str(tmp_path), name="fixed", dataset="broken")
    with pytest.raises(UserError, match="fix-actions refuses: ACT001"):
        fix_actions.run(fix)
    with pytest.raises(UserError):
        resolve("fixed", "datasets", tmp_path)
