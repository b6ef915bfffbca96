"""What people have on their disks still loads, acts as it did, and trains on: artifacts of an older version.

They are made by `tests.rails.make_artifacts`. Where one of these tests fails, an old artifact is not read as it was
meant: fix the reading (or add a migration), never the artifact.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from safetensors.torch import load_file
from typer.testing import CliRunner

from hiltk import cli
from hiltk.agents.make import load_policy
from hiltk.artifacts.store import KINDS, Artifact, names, resolve, unfinished
from hiltk.data.lerobot_io import load_episodes
from tests.rails.make_artifacts import (
    ARTIFACTS,
    GOLDEN,
    INTERRUPTED,
    POLICIES,
    RESNET,
    actions,
    columns,
    dataset_of,
    observations,
    probabilities,
    train,
)

CLOSE = 1e-5  # floating point differs between machines
MADE_BY = "98064d7123b5ed7a83afb1ed83a40719045295e4"


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that people called hiltk in, with its ``outputs/``, which the tests add to."""
    folder = tmp_path_factory.mktemp("old")
    shutil.copytree(ARTIFACTS, folder / "outputs")
    shutil.copy(ARTIFACTS / RESNET, folder)
    return folder


@pytest.fixture(scope="module")
def golden() -> dict[str, np.ndarray]:
    with np.load(ARTIFACTS / GOLDEN) as file:
        return dict(file)


@pytest.fixture(autouse=True)
def inside(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(old)


def hiltk(*words: str) -> None:
    result = CliRunner().invoke(cli.app, list(words), terminal_width=200)
    assert result.exit_code == 0, result.output


def first(name: str, kind: str) -> Artifact:
    """The version that came with the tests."""
    return resolve(f"{name}@{KINDS[kind]}-0001", kind)


def rows(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / "metrics.csv")


EVERY = [(kind, name) for kind in KINDS for name in names(kind, ARTIFACTS)]


def test_there_is_one_of_each() -> None:
    assert {name for kind, name in EVERY if kind == "policies"} == set(POLICIES)
    assert {kind for kind, _ in EVERY} == {"datasets", "classifiers", "policies", "exports"}
    size = sum(f.stat().st_size for f in ARTIFACTS.rglob("*") if f.is_file())
    assert size < 3e6


@pytest.mark.parametrize(("kind", "name"), EVERY)
def test_is_whole_and_says_how_it_was_made(kind: str, name: str) -> None:
    artifact = first(name, kind)
    assert artifact.is_intact()
    assert artifact.run()["code"] == {"commit": MADE_BY, "dirty": False}
    assert artifact.spec().task == "lift"


def test_the_dataset_holds_what_was_recorded(golden: dict[str, np.ndarray]) -> None:
    held = columns(Path("outputs"))
    assert all(np.array_equal(values, golden[name]) for name, values in held.items())
    assert golden["rewards"].sum() == 6 and len(held) == 8


@pytest.mark.parametrize("name", POLICIES)
def test_a_policy_acts_as_it_did(name: str, golden: dict[str, np.ndarray]) -> None:
    policy = load_policy(first(name, "policies").path)
    acts = actions(policy, observations(Path("outputs"), dataset_of(name)))
    assert acts.shape == golden[name].shape
    assert np.abs(acts - golden[name]).max() < CLOSE


def test_a_classifier_judges_as_it_did(golden: dict[str, np.ndarray]) -> None:
    assert np.abs(probabilities(Path("outputs")) - golden["cube"]).max() < CLOSE
    assert golden["cube"].std() > 0.1


@pytest.mark.parametrize("name", POLICIES)
def test_a_policy_trains_on(name: str) -> None:
    hiltk(*train(name, f"init={name}@p-0001", "episodes=1", "checkpoint_every=1"))
    trained = resolve(name, "policies")
    assert trained.version == "p-0002" and len(rows(trained.path)) == 1
    before, after = (load_file(a.path / "policy.safetensors") for a in (first(name, "policies"), trained))
    assert before.keys() == after.keys()
    moved = max(float((before[k].double() - after[k].double()).abs().max()) for k in before)
    assert 0 < moved < 0.1  # it went on from there


def test_an_interrupted_training_is_resumed() -> None:
    draft = unfinished("policies", "interrupted", "outputs")
    assert draft is not None
    earlier = rows(draft)
    hiltk(*INTERRUPTED, "resume=true")
    done = resolve("interrupted", "policies")
    table = rows(done.path)
    assert table.episode.tolist() == [0, 1, 2, 3]
    kept = table[earlier.columns][:2]  # newer versions write more columns
    pd.testing.assert_frame_equal(kept, earlier[:2], check_dtype=False)  # before the checkpoint: kept, not done again
    assert table["update"].tolist() == sorted(table["update"]) and len(done.run()["resumed_from"]) == 1
    assert np.unique(np.load(done.path / "online" / "episode.npy")).tolist() == [0, 1, 2, 3]


def test_a_replay_is_exported() -> None:
    hiltk("export-replay", "sac@p-0001", "name=lived")
    episodes = load_episodes(resolve("lived", "datasets").path)
    table = rows(first("sac", "policies").path)
    assert [len(e) for e in episodes] == table.length.tolist()
    assert [e.rewards.sum() for e in episodes] == pytest.approx(table["return"])


def test_an_export_is_what_lerobot_reads() -> None:
    folder = first("lerobot", "exports").path
    config = json.loads((folder / "config.json").read_text())
    assert config["type"] == "gaussian_actor" and set(config["input_features"]) >= {"observation.state"}
    weights = load_file(folder / "model.safetensors")
    assert all(w.isfinite().all() for w in weights.values() if w.is_floating_point())
    assert {k.split(".")[0] for k in weights} >= {"actor"}


@pytest.mark.slow  # LeRobot's policies take a while to import
def test_an_export_acts_in_lerobot_and_is_made_again(golden: dict[str, np.ndarray]) -> None:
    from tests.agents.test_lerobot_policy import act_like_lerobot

    folder = first("lerobot", "exports").path
    (seen,) = observations(Path("outputs"), "large")
    assert np.abs(act_like_lerobot(folder, seen) - golden["lerobot"][0]).max() < CLOSE
    hiltk("export-policy", "lerobot@p-0001", "name=again")
    weights, again = (load_file(f / "model.safetensors") for f in (folder, resolve("again", "exports").path))
    assert weights.keys() == again.keys()
    assert all(np.array_equal(weights[k], again[k]) for k in weights)
