"""DrQ-v2 through `hiltk bc-pretrain`, `hiltk train` and `hiltk eval` in the real simulator, small."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from hiltk.agents.drqv2 import DrqPolicy
from hiltk.agents.make import load_policy
from hiltk.artifacts.store import resolve
from hiltk.config.commands import BcConf, EvalConf, RecordConf, TrainConf
from hiltk.config.groups import DrqConf, So101SimConf, TaskConf
from hiltk.errors import ConfigError, UserError
from hiltk.steps import bc_pretrain, record, train
from hiltk.steps import eval as evaluation

ENV, TASK = So101SimConf(image_height=16, image_width=16), TaskConf(time_limit_s=3.0)
AGENT = DrqConf(hidden=[16, 16], noise="linear(0.3,0.1,60)", explore_steps=0, imitation_weight=1.0)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with demonstrations and a policy cloned from them."""
    root = tmp_path_factory.mktemp("outputs")
    record.run(RecordConf(root=str(root), name="demos", env=ENV, task=TASK, episodes=3))
    bc_pretrain.run(
        BcConf(root=str(root), name="bc", datasets=["demos"], agent=AGENT, steps=60, batch_size=32, held_out=0.4)
    )
    return root


def conf(root: Path, **changes: object) -> TrainConf:
    base = TrainConf(
        root=str(root), name="hil", env=ENV, task=TASK, agent=AGENT, demos=["demos"], episodes=2, batch_size=16,
        utd=0.5, learning_starts=20, capacity=500, checkpoint_every=1,
    )  # fmt: skip
    return replace(base, **changes)  # type: ignore[arg-type]


def test_cloned_trained_and_evaluated(root: Path) -> None:
    losses = pd.read_csv(resolve("bc", "policies", root).path / "metrics.csv")
    assert losses.loss.iloc[-1] < losses.loss.iloc[0] and np.isfinite(losses.held_out_loss).all()
    artifact = train.run(conf(root, init="bc"))
    table = pd.read_csv(artifact.path / "metrics.csv")
    assert table.imitation_samples.dropna().min() >= 8 and 0.1 <= table.noise.iloc[-1] < 0.3
    policy = load_policy(artifact.path)
    assert isinstance(policy, DrqPolicy) and policy.torso.normalize.mean.shape == (54,)
    stored = np.load(artifact.path / "online" / "observation.images.wrist.npy")
    assert stored.shape[1:] == (16, 16, 3)  # single frames, whatever the stack
    result = evaluation.run(
        EvalConf(root=str(root), name="e", policies=["hil"], env=ENV, task=TASK, strata=["near"], episodes=2, videos=0)
    )
    assert len(pd.read_csv(result.path / "episodes.csv")) == 2


def test_training_starts_from_a_snapshot_or_refuses_it(root: Path, tmp_path: Path) -> None:
    file = tmp_path / "best_snapshot.pt"
    torch.save({"agent": {"encoder.convs_per_cam.0.0.bias": torch.full((32,), 0.25)}}, file)
    agent = replace(AGENT, layout="robobase")
    with pytest.raises(UserError, match=r"missing: policy\.torso\.encoder\.trunks\.0\.0\.weight"):
        train.run(conf(root, init=str(file), agent=agent))
    agent = replace(agent, init_allow_missing=["policy", "critic", "target_critic"])
    artifact = train.run(conf(root, init=str(file), agent=agent, episodes=1, learning_starts=1000))
    policy = load_policy(artifact.path)
    assert torch.equal(policy.torso.encoder.trunks[0][0].bias, torch.full((32,), 0.25))


def test_cloning_starts_from_a_snapshot_or_refuses_it(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "best_snapshot.pt"
    torch.save({"agent": {"encoder.convs_per_cam.0.0.bias": torch.full((32,), 0.25)}}, file)
    cfg = BcConf(root=str(root), name="bc2", datasets=["demos"], agent=replace(AGENT, layout="robobase"), steps=1,
                 lr=1e-9, init=str(file))  # fmt: skip
    with pytest.raises(UserError, match=r"missing: policy\.actor\.trunk"):
        bc_pretrain.run(cfg)
    with pytest.raises(ConfigError, match="agent=drqv2_robobase"):
        bc_pretrain.run(replace(cfg, agent=AGENT))
    assert not list((root / "policies").glob("bc2/*"))
    agent = replace(AGENT, layout="robobase", init_allow_missing=["policy"])
    policy = load_policy(bc_pretrain.run(replace(cfg, agent=agent)).path)
    assert torch.allclose(policy.torso.encoder.trunks[0][0].bias, torch.full((32,), 0.25))
    assert "1 parameters loaded" in capsys.readouterr().out
