"""A dataset recorded through LeRobot alone, with dead actions, through every step up to training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from hiltk.config.commands import BcConf, ChecksConf, ClassifierConf, FixActionsConf, RecordConf, StatedConf, TrainConf
from hiltk.config.groups import EncoderConf, RewardConf, SacConf, So101SimConf, TaskConf
from hiltk.data.lerobot_io import load_episodes
from hiltk.steps import bc_pretrain, fix_actions, record, train, train_classifier
from tests.steps.test_fix_actions import record_foreign

ENV = So101SimConf(image_height=32, image_width=32)
TASK = TaskConf(time_limit_s=3.0)
AGENT = SacConf(hidden=[16, 16])
ENCODER = EncoderConf(channels=[4], kernels=[3], strides=[4], features=8)


def test_repair_classify_clone_and_train(tmp_path: Path) -> None:
    root, outputs = tmp_path / "outputs", str(tmp_path / "outputs")
    native = So101SimConf(image_height=64, image_width=64)
    cfg = RecordConf(root=outputs, name="sim", env=native, task=TASK, episodes=4, steps_after_success=4)
    recorded = load_episodes(record.run(cfg).path, after_end=True)
    foreign = record_foreign(tmp_path / "foreign", recorded)
    before = sorted((p, p.stat().st_mtime_ns) for p in foreign.rglob("*") if p.is_file())

    conventions = StatedConf(
        cameras={"wrist": "observation.images.gripper_cam"},
        success_last_frames=6,
        task="lift",
        image_height=32,
        image_width=32,
    )
    mine = fix_actions.run(FixActionsConf(root=outputs, name="mine", dataset=str(foreign), foreign=conventions))
    train_classifier.run(
        ClassifierConf(root=outputs, name="cube", datasets=["mine"], encoder=ENCODER, steps=60, held_out=0.5)
    )
    cloned = bc_pretrain.run(
        BcConf(root=outputs, name="bc", datasets=["mine"], agent=AGENT, encoder=ENCODER, steps=150, held_out=0.25)
    )
    losses = pd.read_csv(cloned.path / "metrics.csv").loss
    assert losses.iloc[-1] < 0.7 * losses.iloc[0]  # there is something to learn from in the rebuilt actions
    trained = train.run(
        TrainConf(
            root=outputs, name="hil", env=ENV, task=TASK, agent=AGENT, encoder=ENCODER, demos=["mine"], init="bc",
            reward=RewardConf(source="classifier", classifier="cube"), episodes=2, batch_size=16, utd=0.5,
            learning_starts=10, capacity=500,
            checks=ChecksConf(ignore=["LRN003", "REW007", "REW008"]),  # sixty steps do not make a classifier
        )
    )  # fmt: skip
    table = pd.read_csv(trained.path / "metrics.csv")
    assert np.isfinite(table.critic_loss.dropna()).all() and table.imitation_samples.max() >= 8
    assert [i["artifact"] for i in trained.run()["inputs"]] == ["mine", "cube", "bc"]
    assert mine.path.is_relative_to(root)
    assert sorted((p, p.stat().st_mtime_ns) for p in foreign.rglob("*") if p.is_file()) == before
