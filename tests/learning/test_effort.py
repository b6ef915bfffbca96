"""A person's time, in seconds worked by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hiltk.artifacts.store import Artifact
from hiltk.artifacts.writing import create
from hiltk.config.commands import BcConf, ClassifierConf, RecordConf
from hiltk.config.groups import CostsConf, SacConf, So101SimConf
from hiltk.learning.effort import Effort, behind, trained
from tests.conftest import build_episode, build_spec, write_dataset


@pytest.fixture
def recorded(tmp_path: Path) -> Any:
    """``recorded(name, episodes, attempts)``: a dataset of handmade episodes."""

    def write(name: str, episodes: int, attempts: int) -> Artifact:
        cfg = RecordConf(root=str(tmp_path), name=name, env=So101SimConf())
        with create("datasets", name, root=tmp_path, step="record", cfg=cfg, inputs=[], seed=0) as draft:
            write_dataset(draft.path, build_spec(), [build_episode(build_spec()) for _ in range(episodes)])
            draft.notes = {"attempts": attempts}
        return draft.done

    return write


def made(root: Path, kind: str, step: str, cfg: Any, inputs: list[Artifact]) -> Artifact:
    with create(kind, cfg.name, root=root, step=step, cfg=cfg, inputs=inputs, seed=0) as draft:
        pass
    return draft.done


def test_training_counts_corrections_and_resets() -> None:
    effort = trained(human_steps=40, episodes=3, fps=10, costs=CostsConf(reset_s=6))
    assert effort == Effort(corrections_s=4, resets_s=18)
    assert effort.note() == {
        "human_s": {"total": 22.0, "demonstrations": 0.0, "labels": 0.0, "corrections": 4.0, "resets": 18.0}
    }
    assert str(effort) == "a person's time: 0.4 minutes (corrections 0.1, resets 0.3)"


def test_what_a_run_starts_from_counts_once(recorded: Any, tmp_path: Path) -> None:
    demos, views = recorded("demos", 2, attempts=3), recorded("views", 1, attempts=1)
    steps = len(build_episode(build_spec()).actions)
    seconds = steps / build_spec().fps
    costs = CostsConf(reset_s=6, label_s=7)
    bc = made(tmp_path, "policies", "bc-pretrain", BcConf(name="bc", datasets=["demos"], agent=SacConf()), [demos])
    cube = made(tmp_path, "classifiers", "train-classifier", ClassifierConf(name="cube", datasets=["views"]), [views])
    found = behind([demos, cube, bc], costs, tmp_path)
    # Demonstrations stand behind the run and behind its first weights; three attempts were set up for two episodes.
    assert found.demonstrations_s == pytest.approx(3 * seconds)
    assert (found.labels_s, found.resets_s, found.corrections_s) == (7, 6 * (3 + 1), 0)
    assert behind([demos], costs, tmp_path).labels_s == 0
