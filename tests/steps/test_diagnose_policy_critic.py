"""`hiltk diagnose policy` and `hiltk diagnose critic` on policies that the steps themselves made."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file

from hiltk.agents.policy import WEIGHTS
from hiltk.artifacts.store import Artifact, resolve
from hiltk.artifacts.writing import create
from hiltk.config.commands import BcConf, DiagnoseCriticConf, DiagnosePolicyConf, RecordConf, ReportConf, TrainConf
from hiltk.config.groups import DrqConf, EncoderConf, GymnasiumConf, SacConf, So101SimConf, TaskConf
from hiltk.data.lerobot_io import load_episodes
from hiltk.diagnostics.record import load
from hiltk.errors import ConfigError, UserError
from hiltk.learning import checkpoint
from hiltk.steps import bc_pretrain, diagnose_critic, diagnose_policy, record, report, train

ENV = So101SimConf(image_height=32, image_width=32)
TASK = TaskConf(time_limit_s=2.0)
AGENT = SacConf(hidden=[16, 16])
SMALL = EncoderConf(channels=[4], kernels=[3], strides=[4], features=8)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Demonstrations, a policy cloned from them and two trained on: SAC on one frame, DrQ-v2 on stacks of two."""
    root = tmp_path_factory.mktemp("outputs")
    record.run(RecordConf(root=str(root), name="demos", env=ENV, task=TASK, episodes=3, keep="all"))
    made = {"root": str(root), "encoder": SMALL}
    bc_pretrain.run(BcConf(**made, name="bc", datasets=["demos"], agent=AGENT, steps=30))
    fast = {"episodes": 2, "batch_size": 4, "utd": 0.2, "learning_starts": 5, "capacity": 300, "checkpoint_every": 1}
    shared = {**made, "env": ENV, "task": TASK, "demos": ["demos"], **fast}
    train.run(TrainConf(**shared, name="hil", agent=AGENT, init="bc"))
    train.run(TrainConf(**shared, name="drq", agent=DrqConf(frame_stack=2, hidden=[16], own_encoder=False)))
    return root


def policy_conf(root: Path, **changes: object) -> DiagnosePolicyConf:
    base = DiagnosePolicyConf(root=str(root), name="acts", policies=["bc"], env=ENV, task=TASK, frames=40, scenes=6)
    return replace(base, **changes)  # type: ignore[arg-type]


def critic_conf(root: Path, **changes: object) -> DiagnoseCriticConf:
    return replace(DiagnoseCriticConf(root=str(root), name="values", policies=["hil"]), **changes)  # type: ignore[arg-type]


def altered(root: Path, name: str, columns: slice) -> Artifact:
    """The cloned policy with some columns of its actor's first layer zeroed, as an artifact of its own."""
    original = resolve("bc", "policies", root)
    cfg = policy_conf(root, name=name)
    with create("policies", name, root=str(root), step="train", cfg=cfg, inputs=[], seed=0) as draft:
        weights = load_file(original.path / WEIGHTS)
        weights["actor.trunk.0.weight"][:, columns] = 0
        save_file(weights, draft.path / WEIGHTS)
        (draft.path / "policy.yaml").write_text((original.path / "policy.yaml").read_text())
        draft.spec = original.spec()
    return draft.done


# ---------------------------------------------------------------- policy


def test_what_policies_act_on_with_positions(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = diagnose_policy.run(policy_conf(root, policies=["bc", "drq"], positions="sim"))
    table = pd.read_csv(found.path / "policy.csv")
    assert table.policy.unique().tolist() == ["bc@p-0001", "drq@p-0001"]
    bc = table[table.policy == "bc@p-0001"].set_index("changed")
    names = resolve("demos", "datasets", root).spec().state.names
    assert bc.index.tolist() == ["everything", "state", "camera wrist", *names, "noise", "cube", "light", "camera"]
    assert bc.percent["everything"] == 100 and bc.percent["state"] > 2 and bc.percent["cube"] > 0
    assert {"policy.png", "policy.csv", "diagnosis.json"} <= {f.name for f in found.path.iterdir()}
    assert found.kind == "evaluations" and found.run()["step"] == "diagnose policy"
    words = load(found.path).verdict
    assert words in " ".join(capsys.readouterr().out.split()) and "bc@p-0001: of the" in words


def test_planted_faults_are_named(root: Path) -> None:
    state = len(resolve("demos", "datasets", root).spec().state.names)
    altered(root, "no-state", slice(0, state))
    altered(root, "no-eyes", slice(state, None))
    said = {
        name: load(diagnose_policy.run(policy_conf(root, policies=[name], sets=["demos"], positions="sim")).path)
        for name in ("no-state", "no-eyes")
    }
    assert "It ignores its state" in said["no-state"].verdict and "camera wrist:" not in said["no-state"].verdict
    assert (
        "It ignores camera wrist" in said["no-eyes"].verdict and "The same motion everywhere" in said["no-eyes"].verdict
    )
    seen = said["no-eyes"].table.set_index("changed").percent
    assert seen["cube"] == seen["camera wrist"] == 0 and seen["state"] == pytest.approx(100)


def test_slices_and_missing_data(root: Path) -> None:
    diagnose_policy.run(policy_conf(root, sets=["demos:0-1"]))
    with pytest.raises(UserError, match="at least two episodes"):
        diagnose_policy.run(policy_conf(root, sets=["demos:0"]))
    with pytest.raises(UserError, match="no episodes '7-9'"):
        diagnose_policy.run(policy_conf(root, sets=["demos:7-9"]))
    altered(root, "orphan", slice(0, 0))
    with pytest.raises(ConfigError, match=r"orphan@p-0001 was made from no dataset(.|\n)*sets=\[NAME\]"):
        diagnose_policy.run(policy_conf(root, policies=["orphan"]))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"policies": []}, "no policy is named"),
        ({"positions": "guess"}, "is not a choice"),
        ({"positions": "sim", "env": GymnasiumConf(id="x")}, "only the simulated arm"),
        ({"frames": 1}, "at least 2"),
    ],
)
def test_contradictions(root: Path, changes: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        diagnose_policy.run(policy_conf(root, **changes))


# ---------------------------------------------------------------- critic


def test_values_of_trained_policies(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = diagnose_critic.run(critic_conf(root, policies=["hil", "drq"]))
    table = pd.read_csv(found.path / "critic.csv")
    whole = table[(table.episode_percent == "0-100") & (table.policy == "hil@p-0001")].set_index("source")
    demos = load_episodes(resolve("demos", "datasets", root).path)
    metrics = pd.read_csv(resolve("hil", "policies", root).path / "metrics.csv")
    human = round((metrics.intervention_rate * metrics.length).sum())
    counts = {"demo": sum(map(len, demos)), "policy": metrics.length.sum() - human} | (
        {"human": human} if human else {}
    )
    assert whole.transitions.to_dict() == counts
    expected = [0.97 ** np.arange(len(e))[::-1] * e.terminated for e in demos]
    assert whole.return_low["demo"] == pytest.approx(np.concatenate(expected).mean(), rel=1e-4)
    assert table.sharpness.gt(0).all() and set(table.policy) == {"hil@p-0001", "drq@p-0001"}
    pictures = load(found.path).pictures
    assert list(pictures) == ["critic.png", "values_0.png", "values_1.png"]
    assert load(found.path).verdict in " ".join(capsys.readouterr().out.split())
    page = report.run(ReportConf(root=str(root), name="critics", artifacts=["evaluations/values"]))
    html = (page.path / "index.html").read_text()
    section = html[html.index("<h2>Diagnosis: values of hil@p-0001, drq@p-0001") :]
    assert section[: section.index("</section>")].count("data:image/png") == 3


def test_values_are_those_of_the_checkpoint(root: Path) -> None:
    """Critics that say the highest possible value of everything, planted in the checkpoint itself."""
    artifact = resolve("hil", "policies", root)
    before = (artifact.path / checkpoint.FILE).read_bytes()
    state = checkpoint.load(artifact.path)
    assert state is not None
    last = max(k for k in state["agent"]["critic"] if k.endswith("weight"))
    torch.nn.init.zeros_(state["agent"]["critic"][last])
    state["agent"]["critic"][last.replace("weight", "bias")].fill_(3.0)
    checkpoint.save(artifact.path, state)
    try:
        found = load(diagnose_critic.run(critic_conf(root, demos=False)).path)
        del state["agent"]["critic"][last]
        checkpoint.save(artifact.path, state)
        with pytest.raises(UserError, match="the checkpoint does not fit the policy"):
            diagnose_critic.run(critic_conf(root))
    finally:
        (artifact.path / checkpoint.FILE).write_bytes(before)
    assert "demo" not in set(found.table.source) and (found.table.q_mean == 3).all()
    assert (
        "100% of the values are beyond the returns that the reward rule allows, 0 to 1; the highest is 3"
        in found.verdict
    )
    assert "hardly tell actions apart" in found.verdict and "overestimate what the policy does" in found.verdict


@pytest.mark.parametrize("left", ["nothing", "the header"])
def test_a_run_without_metrics_is_refused(root: Path, left: str) -> None:
    file = resolve("hil", "policies", root).path / "metrics.csv"
    before = file.read_bytes()
    file.write_bytes(before.splitlines(keepends=True)[0]) if left == "the header" else file.unlink()
    try:
        with pytest.raises(UserError, match="the run's metrics are missing or empty"):
            diagnose_critic.run(critic_conf(root, name="none"))
    finally:
        file.write_bytes(before)
    assert not list((root / "evaluations").glob("none/*"))


def test_policies_without_critics_are_refused(root: Path) -> None:
    with pytest.raises(UserError, match="bc@p-0001 has no critics"):
        diagnose_critic.run(critic_conf(root, policies=["bc"]))
    with pytest.raises(ConfigError, match="at least one policy"):
        diagnose_critic.run(critic_conf(root, policies=[]))
    assert not list((root / "evaluations" / "values").glob(".unfinished*"))
