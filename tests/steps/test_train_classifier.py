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

from hiltk.config.commands import AugmentConf, ChecksConf, ClassifierConf, ClassifierSplit
from hiltk.config.groups import EncoderConf
from hiltk.configuring.typed import compose
from hiltk.configuring.words import words_to_overrides
from hiltk.data.episode import Episode
from hiltk.data.lerobot_io import dataset_spec
from hiltk.errors import ConfigError, UserError
from hiltk.rewards.classifier import SuccessClassifier
from hiltk.spec import ImageSpec, Spec
from hiltk.steps import train_classifier
from hiltk.verbs import STEPS

WRIST = "observation.images.wrist"
FILES = {"classifier.safetensors", "classifier.yaml", "metrics.json", "curve.csv", "curve.png", "mistakes.png"}
TWICE = ChecksConf(ignore=["RUN006"])  # copies of one session, which a rule would refuse


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
        root=str(root), name="cube", datasets=[str(d) for d in datasets], encoder=encoder, steps=100, lr=3e-3, seed=1,
        augment=AugmentConf(color=0.1, gamma=0.0, light=0.0, blur=0.0, camera=0.0),
    )  # fmt: skip
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


def test_unseen_episodes_are_judged_and_decide_nothing(
    make_dataset: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = make_dataset("seen"), make_dataset("unseen", successes=2)
    rule = {"hold_steps": 1, "checks": ChecksConf(ignore=["RUN006"])}
    plain = train_classifier.run(conf(tmp_path / "out", first, **rule))
    judged = train_classifier.run(conf(tmp_path / "out", first, unseen=[str(second)], **rule))
    assert len(judged.run()["inputs"]) == 2
    one, two = (json.loads((a.path / "metrics.json").read_text()) for a in (plain, judged))
    found = two.pop("unseen")
    assert one == two
    assert found["wrongly_rewarded"]["n"] == 6 and found["missed"]["n"] == 2
    assert found["accuracy"]["low"] <= found["accuracy"]["value"] and found["accuracy"]["value"] > 0.9
    assert "On unseen episodes" in capsys.readouterr().out
    with pytest.raises(UserError, match="to be learned from"):
        train_classifier.run(conf(tmp_path / "out", first, unseen=[str(first)], **rule))


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
        ({"weights": {"shard": 2.0}}, ConfigError, "no session or dataset is called 'shard'"),
        ({"weights": {"shared": -1.0}}, ConfigError, "weights must be more than 0"),
        ({"add": ["nothing-here"]}, UserError, "nothing-here"),
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


# ---------------------------------------------------------------- sessions, weights, false positives


def test_sessions_are_reported_each_and_as_if_unseen(
    make_dataset: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    datasets = make_dataset("morning"), make_dataset("evening")
    artifact = train_classifier.run(conf(tmp_path / "out", *datasets, steps=30, checks=TWICE))
    sessions = json.loads((artifact.path / "metrics.json").read_text())["sessions"]
    assert {(Path(s["session"]).name.split("@")[0], s["unseen"]) for s in sessions} == {
        (name, unseen) for name in ("morning", "evening") for unseen in (False, True)
    }
    assert all(s["wrongly_ended"]["n"] == 8 for s in sessions if s["unseen"])
    assert "as if never seen" in " ".join(capsys.readouterr().out.split())


def test_a_merged_dataset_remembers_its_sessions(make_dataset: Callable[..., Path], tmp_path: Path) -> None:
    path = make_dataset("both")
    (path / "meta" / "hiltk_sessions.json").write_text(json.dumps(["morning@d-0001", "evening@d-0002"] * 4))
    cfg = conf(tmp_path / "out", path, steps=2, split=ClassifierSplit.episode, weights={"evening": 3.0})
    data = train_classifier._load(cfg, inputs := train_classifier._resolve(cfg), dataset_spec(inputs[0].path))
    assert {(o.session, o.weight) for o in data.origins} == {("morning@d-0001", 1.0), ("evening@d-0002", 3.0)}
    report = json.loads((train_classifier.run(cfg).path / "metrics.json").read_text())
    assert {s["session"] for s in report["sessions"]} == {"morning@d-0001", "evening@d-0002"}


def test_false_positives_of_one_version_are_mended_by_the_next(
    make_dataset: Callable[..., Path], dataset_dir: Callable[..., Path], make_episode: Callable[..., Episode],
    tmp_path: Path, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """Bright frames were all it knew of success; now there are bright ones with a dark corner that are failures."""
    fooled = [make_episode(seed=50 + i, success=False) for i in range(3)]
    for episode in fooled:
        for key in [k for k in episode.observations if "images" in k]:
            frames = episode.observations[key]
            frames[5:] = frames[5:] // 4 + 190
            frames[5:, :6, :6] = 0
    views, tricks = make_dataset("views"), dataset_dir("tricks", fooled)
    first = train_classifier.run(conf(tmp_path / "out", views))
    assert "added" not in json.loads((first.path / "metrics.json").read_text())
    second = train_classifier.run(conf(tmp_path / "out", views, steps=120, add=[str(tricks)]))
    report = json.loads((second.path / "metrics.json").read_text())
    added = report["added"]
    assert second.ref == "cube@c-0002" and added["before_version"] == "cube@c-0001"
    assert added["episodes"] == 3 and added["before"]["false_positives"]["n"] == added["frames"]
    assert added["before"]["false_positives"]["count"] > added["now"]["false_positives"]["count"]
    assert report["episodes"] == {"train": 9, "held_out": 2}  # of the eight, two; the three added are all trained on
    assert "added failure frames called success" in capsys.readouterr().out


def test_a_dataset_is_not_both_learned_from_and_added(make_dataset: Callable[..., Path], tmp_path: Path) -> None:
    views = make_dataset("views")
    with pytest.raises(ConfigError, match="both among the datasets and added"):
        train_classifier.run(conf(tmp_path / "out", views, add=[str(views)]))


def test_weights_are_given_on_the_command_line() -> None:
    words = ["views", "old-views", "name=cube", "weights={old-views: 0.5, views@d-0001: 2}"]
    cfg = compose(STEPS["train-classifier"], words_to_overrides(STEPS["train-classifier"], words))
    assert isinstance(cfg, ClassifierConf)
    assert cfg.weights == {"old-views": 0.5, "views@d-0001": 2.0} and cfg.split is ClassifierSplit.auto
