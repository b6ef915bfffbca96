"""Versions of held-out episodes: what stays, what changes, and that an episode is changed as a whole."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from hiltk.config.commands import AugmentConf, ClassifierConf
from hiltk.data.episode import Episode
from hiltk.rewards import versions as module
from hiltk.rewards.frames import LabelledFrames, collect
from hiltk.rewards.training import train_classifier
from hiltk.rewards.versions import versions_of, with_versions
from hiltk.spec import Spec

WRIST, FRONT = "observation.images.wrist", "observation.images.front"


@pytest.fixture
def frames(make_labelled: Callable[..., Episode]) -> LabelledFrames:
    """Episodes 2 and 5 of three frames each, every frame of an episode the same picture."""
    made = [make_labelled([False, False, True], seed=i, keys=(WRIST, FRONT)) for i in range(6)]
    for episode in made:
        for key in (WRIST, FRONT):
            episode.observations[key][1:] = episode.observations[key][0]
    return collect(made, (WRIST, FRONT), [2, 5])


@pytest.fixture
def strong(conf: ClassifierConf) -> ClassifierConf:
    return replace(conf, augment=AugmentConf())


def test_the_recorded_episodes_come_first_as_they_are(frames: LabelledFrames, strong: ClassifierConf) -> None:
    out = with_versions(frames, strong, 3)
    assert len(out) == 18
    for key, images in frames.images.items():
        assert (out.images[key][:6] == images[:]).all()
    assert out.success.tolist() == [False, False, True] * 6
    assert out.step.tolist() == [0, 1, 2] * 6
    assert out.episode.tolist() == [n for first in (2, 5, 8, 11, 14, 17) for n in [first] * 3]


def test_an_episode_is_changed_alike_and_unlike_the_others(frames: LabelledFrames, strong: ClassifierConf) -> None:
    out = with_versions(frames, strong, 3)
    wrist = {n: out.images[WRIST][np.flatnonzero(out.episode == n)] for n in np.unique(out.episode).tolist()}
    for pictures in wrist.values():
        assert (pictures == pictures[0]).all()
    assert len({pictures[0].tobytes() for pictures in wrist.values()}) == 6
    changed = np.flatnonzero(out.episode == 8)  # here both cameras saw the same
    assert (out.images[WRIST][changed] != out.images[FRONT][changed]).any()


def test_versions_follow_from_the_seed(frames: LabelledFrames, strong: ClassifierConf) -> None:
    first, again, other = (with_versions(frames, replace(strong, seed=s), 2).images[WRIST][6:] for s in (0, 0, 1))
    assert (first == again).all() and (first != other).any()


def test_without_augmentation_a_version_is_a_copy(frames: LabelledFrames, conf: ClassifierConf) -> None:
    none = replace(conf, augment=AugmentConf(0, 0, 0, 0, 0), encoder=replace(conf.encoder, shift_pad=0))
    assert (with_versions(frames, none, 2).images[WRIST][6:] == frames.images[WRIST][:]).all()


def test_memory_bounds_the_number(frames: LabelledFrames, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (versions_of(frames, 8), versions_of(frames, 0)) == (9, 1)
    monkeypatch.setattr(module, "MOST_BYTES", 2.5 * sum(v.nbytes for v in frames.images.values()))
    assert versions_of(frames, 8) == 2
    monkeypatch.setattr(module, "MOST_BYTES", 1)
    assert versions_of(frames, 8) == 1


def test_rule_and_report_are_of_the_episodes_as_recorded(
    episodes: list[Episode], spec: Spec, conf: ClassifierConf
) -> None:
    """Threshold and hold are chosen on versions as well; what is said of the held-out episodes is not."""
    result = train_classifier(episodes, spec, replace(conf, steps=50, versions=4, hold_steps=None))
    held_out = len(result.split.held_out)
    assert (result.tuning.versions, result.tuning.episodes) == (5, held_out)
    assert result.tuning.wrongly_ended.shape[-1] == 5 * held_out
    assert len(result.verdicts) == held_out
    assert len(result.probabilities) == result.opinions.shape[1] == len(result.held_out) == 12 * held_out
    said = result.classifier.probabilities(result.held_out.images)
    assert np.allclose(result.probabilities, said, atol=1e-5)
