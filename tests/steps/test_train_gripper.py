"""The three-way gripper from recorded demonstrations through cloning to training, in the real simulator."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from hiltk.agents.make import load_policy
from hiltk.artifacts.store import resolve
from hiltk.config.commands import BcConf, DiagnoseCriticConf, DiagnosePolicyConf, RecordConf, TrainConf
from hiltk.config.groups import EncoderConf, SacConf, So101SimConf, TaskConf
from hiltk.data.episode import Episode
from hiltk.data.lerobot_io import load_episodes
from hiltk.diagnostics.record import load
from hiltk.errors import ConfigError
from hiltk.spec import GripperFormat
from hiltk.steps import bc_pretrain, diagnose_critic, diagnose_policy, record, train


def test_a_three_way_gripper_is_cloned_and_trained(tmp_path: Path) -> None:
    root, agent = str(tmp_path), SacConf(hidden=[16, 16], mc_floor=True, imitation_filter=True)
    env = So101SimConf(image_height=16, image_width=16, gripper=GripperFormat.discrete3)
    encoder = EncoderConf(channels=[4], kernels=[3], strides=[4], features=8)
    record.run(RecordConf(root=root, name="demos", env=env, task=TaskConf(time_limit_s=3.0), episodes=3))
    cfg = BcConf(root=root, name="bc", datasets=["demos"], agent=agent, encoder=encoder, steps=200, held_out=0)
    policy = load_policy(bc_pretrain.run(cfg).path)
    episodes = load_episodes(resolve("demos", "datasets", root).path)
    agree = [
        policy.act({k: v[t] for k, v in e.observations.items()})[-1] == e.actions[t, -1]
        for e in episodes
        for t in range(len(e))
    ]
    assert np.mean(agree) > 0.9
    run = TrainConf(
        root=root, name="hil", env=env, task=TaskConf(time_limit_s=3.0), agent=agent, encoder=encoder, demos=["demos"],
        init="bc", episodes=2, batch_size=16, utd=0.5, learning_starts=20, capacity=500, offline_updates=10,
        checkpoint_every=1,
    )  # fmt: skip
    artifact = train.run(run)
    table = pd.read_csv(artifact.path / "metrics.csv")
    assert table.gripper_loss.iloc[-1] > 0 and table["update"].iloc[-1] == 10 + int(0.5 * (table.length.sum() - 19))
    assert set(np.unique(np.load(artifact.path / "online" / "action.npy")[:, -1])) <= {-1.0, 0.0, 1.0}
    assert (artifact.path / "guards.csv").is_file()
    with pytest.raises(ConfigError, match="needs demonstrations"):
        train.run(replace(run, demos=[]))
    _diagnose(root, episodes)


def _diagnose(root: str, demos: list[Episode]) -> None:
    """The head's choices are in the diagnoses of policy and critic, and its commands are no saturation."""
    acts = diagnose_policy.run(DiagnosePolicyConf(root=root, name="acts", policies=["bc"], frames=40))
    row = pd.read_csv(acts.path / "policy.csv").iloc[0]
    shares = [row[f"gripper_{name}_percent"] for name in ("close", "hold", "open")]
    assert sum(shares) == pytest.approx(100) and max(shares) < 100
    assert "Gripper: close " in load(acts.path).verdict
    values = diagnose_critic.run(DiagnoseCriticConf(root=root, name="values", policies=["hil"]))
    table = pd.read_csv(values.path / "critic.csv")
    demo = table[(table.source == "demo") & (table.episode_percent == "0-100")].iloc[0]
    assert demo.transitions == sum(map(len, demos)) and demo.gripper_agrees_percent > 60 and demo.gripper_gap > 0
    assert "The gripper's head would say close" in load(values.path).verdict
