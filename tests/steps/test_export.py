"""`hiltk export-policy` and `hiltk export-replay`: from recording to LeRobot, through the real command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner, Result

from hiltk import cli
from hiltk.agents.make import load_policy
from hiltk.agents.policy import Policy
from hiltk.artifacts.store import Artifact, resolve, versions
from hiltk.config.groups import SacConf
from hiltk.configuring.completion import complete
from hiltk.data.lerobot_io import load_episodes
from hiltk.observation import Observation
from hiltk.verbs import STEPS
from tests.agents.test_lerobot_encoder import lerobot_conf, spec_with_stats
from tests.agents.test_lerobot_policy import act_like_lerobot

SMALL = ("env.image_height=40", "env.image_width=40", "task.time_limit_s=3")
LAYOUT = (
    "encoder=lerobot", "encoder.channels=[6,6,6,6]", "encoder.features=12", "agent.activation=silu",
    "agent.hidden=[16,16]",
)  # fmt: skip
# What a user of LeRobot runs, who has never heard of hiltk.
IN_LEROBOT = """
import sys
import numpy as np
import torch
from lerobot.policies.factory import make_pre_post_processors
from lerobot.policies.gaussian_actor.modeling_gaussian_actor import GaussianActorPolicy

folder, seen, out = sys.argv[1:]
policy = GaussianActorPolicy.from_pretrained(folder, strict=True)
before, after = make_pre_post_processors(policy.config, pretrained_path=folder)
data = np.load(seen)
actions = []
for state, frame in zip(data["observation.state"], data["observation.images.wrist"]):
    image = torch.from_numpy(frame).permute(2, 0, 1) / 255
    observation = {"observation.state": torch.from_numpy(state), "observation.images.wrist": image}
    actions.append(after(policy.select_action(before(observation))).numpy()[0])
np.save(out, actions)
assert not [name for name in sys.modules if name.startswith("hiltk")]
"""


def hiltk(*words: str) -> Result:
    return CliRunner().invoke(cli.app, list(words), terminal_width=200)


def done(*words: str) -> Result:
    result = hiltk(*words)
    assert result.exit_code == 0, result.output
    return result


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Demonstrations, a policy cloned from them in LeRobot's layout, and one trained on from there."""
    root = tmp_path_factory.mktemp("outputs")
    place = f"root={root}"
    done("record", "name=demos", "episodes=3", place, *SMALL)
    done("bc-pretrain", "demos", "name=bc", "steps=40", "batch_size=32", place, *LAYOUT)
    done(
        "train", "name=hil", "demos=[demos]", "init=bc", "episodes=1", "batch_size=16", "learning_starts=20", "utd=0.5",
        "capacity=200", place, *SMALL, *LAYOUT,
    )  # fmt: skip
    return root


@pytest.fixture(scope="module")
def exported(root: Path) -> Artifact:
    done("export-policy", "hil", "name=hil-lerobot", f"root={root}")
    return resolve("hil-lerobot", "exports", root)


def seen_and_done(root: Path) -> tuple[list[Observation], np.ndarray]:
    """What was seen in a demonstration, and what the trained policy does there."""
    policy = load_policy(resolve("hil", "policies", root).path)
    episode = load_episodes(resolve("demos", "datasets", root).path)[0].observations
    seen = [{k: v[i] for k, v in episode.items()} for i in range(10)]
    return seen, np.stack([policy.act(o) for o in seen])


def test_a_trained_policy_acts_the_same_in_lerobot(root: Path, exported: Artifact) -> None:
    assert exported.version == "x-0001" and exported.is_intact()
    assert [i["artifact"] for i in exported.run()["inputs"]] == ["hil"]
    assert exported.spec() == resolve("hil", "policies", root).spec()
    seen, ours = seen_and_done(root)
    assert np.abs(act_like_lerobot(exported.path, seen) - ours).max() < 1e-5


@pytest.mark.slow  # LeRobot's policies take a while to import
def test_nothing_of_hiltk_is_needed_to_load_it(root: Path, exported: Artifact, tmp_path: Path) -> None:
    seen, ours = seen_and_done(root)
    np.savez(tmp_path / "seen.npz", **{k: np.stack([o[k] for o in seen]) for k in seen[0]})
    words = [str(exported.path), str(tmp_path / "seen.npz"), str(tmp_path / "actions.npy")]
    env = {**os.environ, "HF_HUB_OFFLINE": "1"}
    run = subprocess.run([sys.executable, "-c", IN_LEROBOT, *words], capture_output=True, text=True, env=env)
    assert run.returncode == 0, run.stderr[-2000:]
    assert np.abs(np.load(tmp_path / "actions.npy") - ours).max() < 1e-5


def test_the_replay_becomes_a_dataset_to_clone(root: Path) -> None:
    done("export-replay", "hil", "name=lived", f"root={root}")
    episodes = load_episodes(resolve("lived", "datasets", root).path)
    table = pd.read_csv(resolve("hil", "policies", root).path / "metrics.csv")
    assert [len(e) for e in episodes] == table.length.tolist()
    done("bc-pretrain", "lived", "name=again", "steps=2", "held_out=0", f"root={root}", *LAYOUT)


def test_a_cloned_policy_has_no_replay(root: Path) -> None:
    result = hiltk("export-replay", "bc", "name=nothing", f"root={root}")
    assert result.exit_code == 1 and "no replay store" in result.output
    assert not versions("datasets", "nothing", root)


def test_stochastic_is_asked_for(root: Path) -> None:
    done("export-policy", "bc", "name=sampling", "stochastic=true", f"root={root}")
    config = json.loads((resolve("sampling", "exports", root).path / "config.json").read_text())
    assert config["policy_kwargs"]["std_max"] == pytest.approx(np.exp(2))  # the largest variance: exp(1) squared


def test_another_network_is_refused_and_nothing_written(tmp_path: Path) -> None:
    folder = tmp_path / "policies" / "plain" / "p-0001"
    folder.mkdir(parents=True)
    Policy(SacConf(hidden=[8]), lerobot_conf(channels=[4] * 4, features=8), spec_with_stats()).save(folder)
    result = hiltk("export-policy", "plain", "name=x", f"root={tmp_path}")
    assert result.exit_code == 1
    assert "agent.activation=tanh" in result.output and "agent.activation=silu encoder=lerobot" in result.output
    assert not (tmp_path / "exports").exists()


def test_completion_offers_policies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("COMP_WORDS", raising=False)
    (tmp_path / "outputs" / "policies" / "lift" / "p-0001").mkdir(parents=True)
    for verb, key in (("export-policy", "policy"), ("export-replay", "policy"), ("diagnose encoder", "policies")):
        assert complete(STEPS[verb], [], f"{key}=") == [f"{key}=lift"]
