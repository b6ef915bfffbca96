"""Copies of a recording: refused between datasets, kept on one side within one, and told of in what is made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hiltk.artifacts.store import resolve
from hiltk.config.commands import BcConf, ClassifierConf, MergeConf, SplitBy, SplitConf, TrainConf
from hiltk.config.groups import EncoderConf, SacConf, So101SimConf
from hiltk.data.episode import Episode
from hiltk.errors import ConfigError, UserError
from hiltk.spec import STATE_KEY
from hiltk.steps import bc_pretrain, merge, split, train, train_classifier
from hiltk.steps.common import split_by_episode

TINY = EncoderConf(channels=[8, 8], kernels=[3, 3], strides=[2, 2], features=16, shift_pad=1)
BLIND = EncoderConf(name="none")


@pytest.fixture
def sets(dataset_dir: Callable[..., Path], make_episode: Callable[..., Episode]) -> tuple[str, str]:
    """A dataset of six episodes, and the last four of them with other numbers and pictures."""
    episodes = [make_episode(seed=seed, success=seed % 2 == 0) for seed in range(6)]
    near = []
    for episode in episodes[2:]:
        seen = dict(episode.observations)
        seen[STATE_KEY] = seen[STATE_KEY] + np.float32(1e-5)
        seen["observation.images.wrist"] = seen["observation.images.wrist"] // 2
        near.append(replace(episode, observations=seen))
    return str(dataset_dir("first", episodes)), str(dataset_dir("near", near))


def classifier(root: Path, *datasets: str, unseen: tuple[str, ...] = ()) -> ClassifierConf:
    return ClassifierConf(
        root=str(root), name="cube", datasets=[*datasets], unseen=[*unseen], encoder=TINY, steps=2, held_out=0.4
    )


def cloning(root: Path, *datasets: str) -> BcConf:
    return BcConf(
        root=str(root), name="bc", datasets=[*datasets], agent=SacConf(hidden=[8]), encoder=BLIND, steps=1, held_out=0.4
    )


def training(root: Path, *demos: str) -> TrainConf:
    env = So101SimConf(cameras=[])
    return TrainConf(root=str(root), name="hil", env=env, demos=[*demos], agent=SacConf(hidden=[8]), encoder=BLIND)


def test_near_copies_between_datasets_are_refused(sets: tuple[str, str], tmp_path: Path) -> None:
    also = r"RUN006 4 of its 4 episodes are also in .*first"
    with pytest.raises(UserError, match=also):
        train_classifier.run(classifier(tmp_path, *sets))
    with pytest.raises(UserError, match=f"{also}, which is learned from"):
        train_classifier.run(classifier(tmp_path, sets[0], unseen=(sets[1],)))
    with pytest.raises(UserError, match=also):
        bc_pretrain.run(cloning(tmp_path, *sets))
    assert not list(tmp_path.glob("*/*/[cp]-*"))


def test_one_dataset_named_twice_is_refused(sets: tuple[str, str], tmp_path: Path) -> None:
    first = sets[0]
    same = str(Path(first).parent / "near" / ".." / "first")
    for run in (
        lambda: train_classifier.run(classifier(tmp_path, first, same)),
        lambda: train_classifier.run(classifier(tmp_path, first, unseen=(sets[1], sets[1]))),
        lambda: bc_pretrain.run(cloning(tmp_path, first, same)),
        lambda: train.run(training(tmp_path, first, same)),
        lambda: merge.run(MergeConf(root=str(tmp_path), name="m", datasets=[first, same])),
    ):
        with pytest.raises(ConfigError, match="named twice"):
            run()
    with pytest.raises(UserError, match="to be learned from"):
        train_classifier.run(classifier(tmp_path, first, unseen=(same,)))


def test_within_one_dataset_they_stay_together_and_are_told_of(sets: tuple[str, str], tmp_path: Path) -> None:
    both = merge.run(MergeConf(root=str(tmp_path), name="both", datasets=[*sets]))
    pairs = {2: 6, 3: 7, 4: 8, 5: 9}
    made = [bc_pretrain.run(cloning(tmp_path, both.ref)), train_classifier.run(classifier(tmp_path, both.ref))]
    for artifact in [both, *made]:
        (found,) = [f for f in artifact.run()["checks"]["findings"] if f["code"] == "RUN006"]
        assert found["severity"] == "warning" and "4 of its 10 episodes are stored twice" in found["message"]
    held_out = made[0].run()["held_out_episodes"]
    assert held_out and all((n in held_out) == (twin in held_out) for n, twin in pairs.items())
    conf = SplitConf(root=str(tmp_path), name="part", dataset=both.ref, held_out=0.4, seed=2)
    kept = split.run(conf).run()["episodes"]
    assert len(kept) < 10 and all((n in kept) == (twin in kept) for n, twin in pairs.items())
    assert resolve("part-held-out", "datasets", tmp_path).run()["part"] == "held out"


def test_parts_that_would_share_a_recording_are_refused(sets: tuple[str, str], tmp_path: Path) -> None:
    both = merge.run(MergeConf(root=str(tmp_path), name="both", datasets=[*sets])).ref
    conf = SplitConf(root=str(tmp_path), name="part", dataset=both)
    with pytest.raises(UserError, match=r"4 of the episodes to train on are copies of ones held out, e.g. 2 of 6"):
        split.run(replace(conf, by=SplitBy.session, sessions=[sets[1]]))
    with pytest.raises(UserError, match="1 of the episodes to train on"):
        split.run(replace(conf, episodes=["0", "3"]))
    assert len(split.run(replace(conf, episodes=["0", "3", "7"])).run()["episodes"]) == 7


def test_splitting_by_recording() -> None:
    """Six episodes of three recordings, of which one is held out."""
    train_on, held_out = split_by_episode(6, 0.34, 0, np.array([0, 1, 0, 3, 1, 0]))
    assert sorted(train_on + held_out) == list(range(6))
    assert held_out in ([0, 2, 5], [1, 4], [3])
    assert split_by_episode(4, 0.5, 0, np.zeros(4, int)) == ([0, 1, 2, 3], [])
