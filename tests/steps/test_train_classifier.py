"""`hiltk train-classifier` on real LeRobot datasets: what it writes, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from hiltk.config import ChecksConf, ClassifierConf, EncoderConf
from hiltk.data.episode import Episode
from hiltk.errors import ConfigError, UserError
from hiltk.rewards.classifier import SuccessClassifier
from hiltk.spec import ImageSpec, Spec
from hiltk.steps import train_classifier

WRIST = "observation.images.wrist"
FILES = {"classifier.safetensors", "classifier.yaml", "metrics.json", "curve.csv", "curve.png", "mistakes.png"}


@pytest.fixture
def make_dataset(dataset_dir: Callable[..., Path], make_episode: Callable[..., Episode]) -> Callable[..., Path]:
    """``make_dataset(name, spec=)``: four successes, four failures; the last two frames of a success are bright."""

    def make(name: str, *, spec: Spec | None = None, successes: int = 4) -> Path:
        episodes = [make_episode(seed=i, success=i < successes, spec=spec) for i in range(8)]
        for episode in episodes:
            for key in [k for k in episode.observations if "images" in k]:
                episode.observations[key][episode.success] //= 4
                episode.observations[key][episode.success] += 190
        return dataset_dir(name, episodes, spec)

    return make


def conf(root: Path, *datasets: Path, **changes: Any) -> ClassifierConf:
    encoder = EncoderConf(channels=[8, 8], kernels=[3, 3], strides=[2, 2], features=16, shift_pad=1)
    base = ClassifierConf(
        root=str(root), name="cube", datasets=[str(d) for d in datasets], encoder=encoder, steps=60, lr=3e-3, seed=1
    )
    return replace(base, **changes)


def test_writes_a_classifier_with_its_evidence(
    make_dataset: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = make_dataset("morning"), make_dataset("evening")
    # The second session is a copy of the first, which a rule would refuse.
    twice = ChecksConf(ignore=["RUN006"])
    artifact = train_classifier.run(conf(tmp_path / "out", first, second, hold_steps=1, checks=twice))
    assert artifact.ref == "cube@c-0001"
    assert {p.name for p in artifact.path.iterdir()} >= FILES
    assert not [p for p in artifact.path.rglob("*") if p.suffix in (".pt", ".pkl")]
    loaded = SuccessClassifier.load(artifact.path)
    report = json.loads((artifact.path / "metrics.json").read_text())
    assert report["accuracy"] == 1.0 and report["wrongly_ended"]["count"] == report["missed"]["count"] == 0
    assert report["threshold"] == loaded.threshold
    assert {name.split()[0] for name in (e["episode"] for e in report["held_out_episodes"])} <= {"morning", "evening"}
    assert artifact.spec() == loaded.spec
    run = artifact.run()
    assert run["threshold"] == pytest.approx(loaded.threshold) and len(run["inputs"]) == 2
    assert pd.read_csv(artifact.path / "curve.csv").columns[0] == "threshold"
    assert "Success classifier on held-out episodes" in capsys.readouterr().out


def test_datasets_made_differently_are_refused(
    make_dataset: Callable[..., Path], tiny_spec: Spec, tmp_path: Path
) -> None:
    larger = replace(tiny_spec, images=[ImageSpec("wrist", 24, 24, 24, 24)])
    with pytest.raises(UserError, match=r"images\.wrist\.height: 16 against 24"):
        train_classifier.run(conf(tmp_path / "out", make_dataset("small"), make_dataset("large", spec=larger)))
    grasp = replace(tiny_spec, task="grasp")
    with pytest.raises(UserError, match="task: 'lift' against 'grasp'"):
        train_classifier.run(conf(tmp_path / "out", make_dataset("lift"), make_dataset("grasp", spec=grasp)))
    assert not list((tmp_path / "out").glob("classifiers/cube/c-*"))


def test_only_the_cameras_used_must_agree(make_dataset: Callable[..., Path], tiny_spec: Spec, tmp_path: Path) -> None:
    both = replace(tiny_spec, images=[ImageSpec("front", 24, 24, 24, 24), *tiny_spec.images])
    datasets = make_dataset("both", spec=both), make_dataset("wrist")
    artifact = train_classifier.run(
        conf(tmp_path / "out", *datasets, cameras=["wrist"], steps=2, checks=ChecksConf(ignore=["RUN006"]))
    )
    loaded = SuccessClassifier.load(artifact.path)
    assert loaded.cameras == ["wrist"]
    assert 0 < loaded.probability({WRIST: np.zeros((16, 16, 3), np.uint8)}) < 1


def test_frames_after_success_are_used(
    dataset_dir: Callable[..., Path], make_episode: Callable[..., Episode], tiny_spec: Spec, tmp_path: Path
) -> None:
    from hiltk.data.lerobot_io import DatasetWriter

    path = tmp_path / "held"
    with DatasetWriter(path, tiny_spec, video=False) as writer:
        for seed in range(4):
            episode, after = make_episode(seed=seed), make_episode(seed=seed + 10, length=3)
            after.success[:] = True
            after.observations = {
                k: np.concatenate([episode.observations[k][-1:], v[1:]]) for k, v in after.observations.items()
            }
            writer.add(episode, after=after)
    artifact = train_classifier.run(conf(tmp_path / "out", path, steps=1))
    frames = json.loads((artifact.path / "metrics.json").read_text())["frames"]
    # 13 frames up to the end, two of them success, and 3 more of success: 4 episodes, one held out.
    assert frames["held_out"] == {"frames": 16, "success": 5, "failure": 11}
    assert frames["train"]["success"] == 15


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"cameras": ["wirst"]}, ConfigError, "did you mean 'wrist'"),
        ({"held_out": 1.5}, ConfigError, "held_out must be"),
        ({"datasets": []}, UserError, "no dataset is named"),
        ({"datasets": ["nothing-here"]}, UserError, "nothing-here"),
    ],
)
def test_bad_input_is_refused(
    shared_dataset: Path, tmp_path: Path, changes: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        train_classifier.run(conf(tmp_path / "out", shared_dataset, **changes))


def test_unlabelled_episodes_are_refused(make_dataset: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="none of the 8 episodes has a frame labelled as success"):
        train_classifier.run(conf(tmp_path / "out", make_dataset("failures", successes=0)))
    assert not list((tmp_path / "out").glob("classifiers/cube/*"))
