"""`hiltk preview` on a recorded dataset and on live episodes; drift in training and recording under a classifier."""

from __future__ import annotations

import copy
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from hiltk.agents.policy import Policy
from hiltk.artifacts.store import Artifact, resolve
from hiltk.artifacts.writing import create
from hiltk.cli import app
from hiltk.config.commands import ChecksConf, ClassifierConf, PreviewConf, RecordConf, ReportConf, TrainConf
from hiltk.config.groups import (
    EncoderConf,
    GymnasiumConf,
    HumanConf,
    InterventionConf,
    RewardConf,
    SacConf,
    Schedule,
    So101SimConf,
    TaskConf,
)
from hiltk.envs.make import make_env
from hiltk.errors import ConfigError, UserError
from hiltk.rewards.classifier import SuccessClassifier
from hiltk.rewards.training_images import SCALARS
from hiltk.spec import STATE_KEY, Stats
from hiltk.steps import preview, record, report, train, train_classifier
from tests.conftest import build_episode, build_spec, write_dataset

ENV = So101SimConf(image_height=16, image_width=16)
TASK = TaskConf(time_limit_s=0.8)
TINY = EncoderConf(channels=[8, 8], kernels=[3, 3], strides=[2, 2], features=16, shift_pad=1)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a classifier that knows bright noise as success and dark noise as failure."""
    root = tmp_path_factory.mktemp("outputs")
    episodes = [build_episode(build_spec(), seed=i, success=i < 6) for i in range(10)]
    for episode in episodes:
        frames = episode.observations["observation.images.wrist"]
        frames //= 4
        frames[episode.success] += 190
    write_dataset(root / "noise", build_spec(), episodes)
    train_classifier.run(
        ClassifierConf(
            root=str(root), name="cube", datasets=[str(root / "noise")], encoder=TINY, steps=60, lr=3e-3, seed=1,
            min_steps=4, checks=ChecksConf(ignore=["RUN006"]),
        )
    )  # fmt: skip
    return root


def conf(root: Path, **changes: Any) -> PreviewConf:
    base: dict[str, Any] = {"name": "look", "classifier": "cube", "env": ENV, "task": TASK, "films": 2}
    return PreviewConf(root=str(root), **(base | changes))


def page_of(report: Artifact) -> str:
    return (report.path / "index.html").read_text()


def test_a_recorded_dataset(root: Path) -> None:
    result = CliRunner().invoke(
        app, ["preview", "cube", f"dataset={root / 'noise'}", "name=recorded", "films=2", f"root={root}"]
    )
    assert result.exit_code == 0, result.output
    assert "trained on these very episodes" in result.output and "index.html" in result.output
    made = resolve("recorded", "reports", root)
    table, frames = pd.read_csv(made.path / "episodes.csv"), pd.read_csv(made.path / "frames.csv")
    assert len(table) == 10 and table.label.tolist().count("success") == 6
    # The last two of 13 frames show success and the classifier sees them: it ends where the labels hold.
    ended = table[table.label == "success"]
    assert (ended.verdict == "rightly ended").all() and (ended.ended_at == 12).all() and (ended.delay == 0).all()
    assert (table[table.label == "failure"].verdict == "rightly not ended").all()
    assert len(frames) == 130 and set(frames.columns) >= {"episode", "frame", "probability", "hold", "label"}
    assert len(list((made.path / "videos").glob("*.mp4"))) == len(list((made.path / "strips").glob("*.png"))) == 10
    page = page_of(made)
    assert page.count("data:image/png;base64,") == 10 and page.count("data:video/mp4;base64,") == 2
    assert not re.search(r"https?://|<script|<link", page)
    assert {i["artifact"].split("@")[0] for i in made.run()["inputs"]} >= {"cube"}


def test_the_probabilities_are_the_classifiers_own(root: Path) -> None:
    from hiltk.data.lerobot_io import load_episodes

    made = preview.run(conf(root, dataset=str(root / "noise"), episodes=3, films=0))
    frames = pd.read_csv(made.path / "frames.csv")
    classifier = SuccessClassifier.load(resolve("cube", "classifiers", root).path)
    for number, episode in enumerate(load_episodes(root / "noise", after_end=True)[:3]):
        own = frames[frames.episode.str.startswith(f"noise {number}")]
        images = {"observation.images.wrist": episode.observations["observation.images.wrist"]}
        np.testing.assert_allclose(own.probability, classifier.probabilities(images), rtol=1e-4)
    assert not (made.path / "videos").exists()


def test_live_episodes_of_a_human(root: Path) -> None:
    made = preview.run(conf(root, name="live", episodes=2))
    table = pd.read_csv(made.path / "episodes.csv")
    assert set(table.episode) == {"episode 0", "episode 1"} and (table.frames == 9).all()
    # The simulator looks like nothing of the noise it was trained on.
    assert table.drift.str.contains("than anything the classifier was trained on").all()
    assert any(fact.startswith("Drift in 2 of 2 episodes") for fact in made.run()["facts"])
    again = preview.run(conf(root, name="live", episodes=2))
    assert again.version == "r-0002"
    pd.testing.assert_frame_equal(pd.read_csv(again.path / "episodes.csv"), table)


def test_live_episodes_of_a_policy(root: Path) -> None:
    spec = copy.deepcopy(make_env(ENV, TASK, RewardConf(), seed=0).io_spec)
    size = len(spec.state.dims)
    spec.stats = {STATE_KEY: Stats([0.0] * size, [1.0] * size, [-1.0] * size, [1.0] * size, "test")}
    cfg = TrainConf(root=str(root), name="pi", env=ENV, agent=SacConf(hidden=[8]))
    with create("policies", "pi", root=root, step="train", cfg=cfg, inputs=[], seed=0) as draft:
        Policy(cfg.agent, TINY, spec).save(draft.path)
    made = preview.run(conf(root, name="policy", policy="pi", episodes=1, films=0))
    assert [i["artifact"] for i in made.run()["inputs"]] == ["cube", "pi"]
    with pytest.raises(UserError, match=r"images\.wrist\.height: 16 against 24|not what the classifier was trained on"):
        preview.run(conf(root, policy="pi", env=So101SimConf(image_height=24, image_width=24)))


class Lamp(gym.Env[Any, Any]):
    """Not ours: a lamp (one camera, one number) that goes on, which is success, where the action's sum stays up."""

    def __init__(self) -> None:
        self.metadata = {"render_fps": 10}
        box = gym.spaces.Box
        self.observation_space = gym.spaces.Dict(
            {"level": box(-50.0, 50.0, (1,), np.float32), "view": box(0, 255, (16, 16, 3), np.uint8)}
        )
        self.action_space = box(-1.0, 1.0, (2,), np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.level, self.steps = 0.0, 0
        return self._see(), {"is_success": False}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.level, self.steps = self.level + float(np.sum(action)), self.steps + 1
        return self._see(), 0.0, False, self.steps == 12, {"is_success": self.level > 2}

    def _see(self) -> Any:
        frame = self.np_random.integers(0, 40, (16, 16, 3)) + (190 if self.level > 2 else 20)
        return {"level": np.array([self.level], np.float32), "view": frame.astype(np.uint8)}


def test_a_policy_in_an_environment_of_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Live, in any Gymnasium environment: its own camera, labels and end, and whoever acts."""
    gym.register("hiltk_test/Lamp-v0", entry_point=lambda **_: Lamp())
    try:
        root, env, task = str(tmp_path), GymnasiumConf(id="hiltk_test/Lamp-v0"), TaskConf()
        spec = copy.deepcopy(make_env(env, task, RewardConf(), seed=0).io_spec)
        episodes = []
        for seed in range(8):
            episode = build_episode(build_spec(), length=10, seed=seed, success=seed < 5)
            bright = 190 * episode.success[:, None, None, None] + 20
            view = np.random.default_rng(seed).integers(0, 40, (11, 16, 16, 3)) + bright
            seen = {"observation.images.view": view.astype(np.uint8), STATE_KEY: np.zeros((11, 1), np.float32)}
            episodes.append(replace(episode, observations=seen, actions=np.zeros((10, 2), np.float32)))
        write_dataset(tmp_path / "lamps", spec, episodes)
        ignore = ChecksConf(ignore=["ACT", "GRP", "IMG", "KIN", "LRN", "REW", "RUN"])
        train_classifier.run(
            ClassifierConf(
                root=root, name="lamp", datasets=[str(tmp_path / "lamps")], encoder=TINY, steps=60, lr=3e-3,
                hold_steps=2, min_steps=0, checks=ignore,
            )
        )  # fmt: skip
        spec.stats = {STATE_KEY: Stats([0.0], [1.0], [-1.0], [1.0], "test")}
        cfg = TrainConf(root=root, name="pi", env=env, agent=SacConf(hidden=[8]))
        with create("policies", "pi", root=root, step="train", cfg=cfg, inputs=[], seed=0) as draft:
            Policy(cfg.agent, TINY, spec).save(draft.path)
        for name, push, label in (("still", 0.0, "failure"), ("up", 0.5, "success")):
            monkeypatch.setattr(Policy, "act", lambda self, observation, push=push: np.full(2, push, np.float32))
            made = preview.run(
                PreviewConf(root=root, classifier="lamp", name=name, policy="pi", env=env, task=task, episodes=2)
            )
            table = pd.read_csv(made.path / "episodes.csv")
            assert (table.label == label).all() and table.drift.isna().all()
            assert table.verdict.str.startswith("rightly").all()
            assert len(list((made.path / "videos").iterdir())) == 2 and "on pi@p-0001" in page_of(made)
    finally:
        del gym.registry["hiltk_test/Lamp-v0"]


def test_images_made_otherwise_are_refused_by_name(root: Path, tmp_path: Path) -> None:
    other = write_dataset(tmp_path / "large", build_spec(24), [build_episode(build_spec(24))])
    with pytest.raises(UserError, match="camera 'wrist' of .* is not what the classifier was trained on: height 24"):
        preview.run(conf(root, dataset=str(other)))
    front = write_dataset(
        tmp_path / "front", build_spec(cameras=("front",)), [build_episode(build_spec(cameras=("front",)))]
    )
    with pytest.raises(UserError, match="looks at camera 'wrist', which .* does not have"):
        preview.run(conf(root, dataset=str(front)))
    with pytest.raises(UserError, match="camera 'wrist' of env=so101_sim is not what the classifier was trained on"):
        preview.run(conf(root, env=So101SimConf(image_height=24, image_width=24)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dataset": "noise", "policy": "pi"}, "a policy acts in live episodes"),
        ({"env": GymnasiumConf(id="Pendulum-v1")}, "the scripted human knows only the simulated SO-101"),
        ({"episodes": -1}, "episodes cannot be negative"),
        ({"films": -1}, "films cannot be negative"),
    ],
)
def test_settings_that_cannot_be_meant(root: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        preview.run(conf(root, **changes))


def test_an_old_classifier_is_not_watched(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old = shutil.copytree(resolve("cube", "classifiers", root).path, tmp_path / "old")
    (old / SCALARS).unlink()
    for cfg in (
        conf(root, classifier=str(old), episodes=1, films=0),
        conf(root, classifier=str(old), dataset=str(root / "noise"), episodes=1, films=0),
    ):
        made = preview.run(cfg)
        assert capsys.readouterr().out.count("drift is not watched") == 1
        assert pd.read_csv(made.path / "episodes.csv").drift.isna().all()


# ---------------------------------------------------------------- training and recording


def test_training_says_what_drifted(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    reward = RewardConf(source="classifier", classifier="cube")
    cfg = TrainConf(
        root=str(root), name="hil", env=ENV, task=TASK, reward=reward, agent=SacConf(hidden=[8]), encoder=TINY,
        intervention=InterventionConf(schedule=Schedule.never), episodes=3, batch_size=4, learning_starts=1000,
        checkpoint_every=1, checks=ChecksConf(ignore=["REW"]),
    )  # fmt: skip
    made = train.run(cfg)
    found = pd.read_csv(made.path / "guards.csv")
    drift = found[found.code.str.startswith("drift_wrist_")]
    assert len(drift) and (drift.episode == 0).all() and drift.code.is_unique
    assert drift.message.str.contains("than anything the classifier was trained on").all() and drift.fix.str.len().all()
    assert f"guard {drift.code.iloc[0]}: camera 'wrist'" in capsys.readouterr().out
    page = page_of(report.run(ReportConf(root=str(root), name="all", artifacts=["hil"])))
    assert "drift wrist" in page


def test_a_resumed_run_does_not_say_it_twice(tmp_path: Path) -> None:
    from hiltk.learning.guards import Finding, GuardLog

    log = GuardLog(tmp_path)
    log.write(
        1,
        [
            Finding(code="drift_wrist_brightness_low", what="dark", fix="lamp"),
            Finding(code="q_bound", what="high", fix="clip"),
        ],
    )
    log.write(7, [Finding(code="drift_wrist_contrast_low", what="flat", fix="lens")])
    resumed = GuardLog(tmp_path)
    resumed.keep("drift_", before=5)
    resumed.write(0, [])
    # Guards look at the metrics again, and what came after the checkpoint will be seen again.
    assert pd.read_csv(tmp_path / "guards.csv").code.tolist() == ["drift_wrist_brightness_low"]


def test_recording_says_what_drifted(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    reward = RewardConf(source="classifier", classifier="cube")
    made = record.run(
        RecordConf(
            root=str(root), name="rec", env=ENV, task=TASK, reward=reward, episodes=1, keep="all",
            human=HumanConf(name="wandering"),
        )
    )  # fmt: skip
    said = made.run()["drift"]
    assert said and all(m.startswith("camera 'wrist'") for m in said)
    assert "drift: camera 'wrist'" in capsys.readouterr().out
