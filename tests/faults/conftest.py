"""Good artifacts, recorded and trained once: every fault is injected into a copy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hiltk.artifacts.store import Artifact
from hiltk.config.commands import AugmentConf, BcConf, ClassifierConf, EvalConf, RecordConf
from hiltk.config.groups import EncoderConf, HumanConf, SacConf, So101SimConf, TaskConf
from hiltk.steps import bc_pretrain, eval, record, train_classifier
from tests.faults.inject import Good

ENV = So101SimConf(image_height=24, image_width=24, cameras=["wrist", "front"])
TINY = EncoderConf(channels=[8, 8], kernels=[3, 3], strides=[2, 2], features=16, shift_pad=0)


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("good")


@pytest.fixture(scope="session")
def demos(root: Path) -> Artifact:
    """Eight demonstrations with two cameras."""
    return record.run(RecordConf(root=str(root), name="demos", env=ENV, episodes=8, steps_after_success=4))


@pytest.fixture(scope="session")
def play(root: Path) -> Artifact:
    """Three failures."""
    return record.run(
        RecordConf(
            root=str(root), name="play", env=ENV, episodes=3, keep="all", human=HumanConf(name="wandering"), seed=1,
            task=TaskConf(time_limit_s=3.0),
        )
    )  # fmt: skip


@pytest.fixture(scope="session")
def classifier(root: Path, demos: Artifact, play: Artifact) -> Artifact:
    conf: dict[str, Any] = {
        "steps": 150,
        "hold_steps": 2,  # the demonstrations go on for four frames only
        "max_false_positive_rate": 0.05,  # of 60 frames: one odd frame shall not decide the threshold
        "min_threshold": 0.5,  # it has seen too little to be sure
        "augment": AugmentConf(color=0.0, gamma=0.0, light=0.0, blur=0.0, camera=0.0),
        "batch_size": 32,
        "cameras": ["wrist"],
    }
    return train_classifier.run(
        ClassifierConf(root=str(root), name="cube", datasets=["demos", "play"], encoder=TINY, **conf)
    )


@pytest.fixture(scope="session")
def policy(root: Path, demos: Artifact) -> Artifact:
    conf = BcConf(
        root=str(root), name="bc", datasets=["demos"], agent=SacConf(hidden=[16]), encoder=TINY, steps=2, batch_size=8
    )
    return bc_pretrain.run(conf)


@pytest.fixture(scope="session")
def evaluation(root: Path, policy: Artifact) -> Artifact:
    short = TaskConf(time_limit_s=0.2)
    conf = EvalConf(
        root=str(root), name="check", policies=["bc"], env=ENV, task=short, strata=["near"], episodes=20, videos=0
    )
    return eval.run(conf)


@pytest.fixture
def good(demos: Artifact, tmp_path: Path) -> Good:
    """The good dataset, ready to be broken in a copy."""
    return Good(demos.path, tmp_path / "broken")


@pytest.fixture
def another(demos: Artifact, tmp_path: Path) -> Callable[[str], Good]:
    """``another(name)``: one more copy."""
    return lambda name: Good(demos.path, tmp_path / name)
