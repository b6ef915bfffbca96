from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from hiltk.agents.resnet import FrozenResNet
from hiltk.config.commands import AugmentConf, ClassifierConf
from hiltk.config.groups import EncoderConf
from hiltk.data.episode import Episode
from hiltk.errors import ConfigError, UserError
from hiltk.reward_rule import Verdict
from hiltk.rewards.augment import recolor
from hiltk.rewards.classifier import SuccessClassifier
from hiltk.rewards.fit import logits_of
from hiltk.rewards.frames import collect
from hiltk.rewards.maps import cached
from hiltk.rewards.training import restrict_cameras, train_classifier
from hiltk.spec import STATE_KEY, Dimension, ImageSpec, Spec, StateSpec
from tests.agents.resnets import resnet10_folder, resnet_conf

WRIST = "observation.images.wrist"


def test_a_separable_problem_is_learned(episodes: list[Episode], spec: Spec, conf: ClassifierConf) -> None:
    result = train_classifier(episodes, spec, conf)
    assert result.confusion.accuracy == 1.0
    assert result.losses[-1][2] < 0.1 < result.losses[0][1]
    assert not set(result.split.train) & set(result.split.held_out)
    assert set(result.train.episode) == set(result.split.train)
    assert set(result.held_out.episode) == set(result.split.held_out)
    verdicts = {int(n): v for n, v in zip(result.split.held_out, result.verdicts, strict=True)}
    # Success shows from frame 8 on and must hold for 2 steps.
    for number, found in verdicts.items():
        expected = (Verdict.rightly_ended, 9) if number < 6 else (Verdict.rightly_silent, None)
        assert (found.verdict, found.ended_at) == expected


def test_unseen_episodes_of_a_separable_problem(
    episodes: list[Episode], spec: Spec, conf: ClassifierConf, make_labelled: Callable[..., Episode]
) -> None:
    classifier = train_classifier(episodes, spec, conf).classifier
    fresh = make_labelled([False, True] * 10, seed=999)
    positive = classifier.probabilities(fresh.observations) >= classifier.threshold
    assert positive.tolist() == fresh.success.tolist()


def test_the_artifact_states_what_it_was_trained_with(
    episodes: list[Episode], spec: Spec, conf: ClassifierConf
) -> None:
    result = train_classifier(episodes, spec, replace(conf, steps=5, hold_steps=4, min_steps=3))
    classifier = result.classifier
    assert (classifier.hold_steps, classifier.min_steps) == (4, 3)
    assert classifier.threshold >= conf.min_threshold
    assert classifier.spec.task == "lift" and classifier.encoder_conf == conf.encoder
    np.testing.assert_allclose(classifier.probabilities(result.held_out.images), result.probabilities, rtol=1e-5)


def test_the_weights_with_the_lowest_held_out_loss_are_kept(
    episodes: list[Episode], spec: Spec, conf: ClassifierConf
) -> None:
    from hiltk.rewards.calibration import balanced_loss, fit_temperature

    # A learning rate this high makes the loss jump about, so that the last weights are not the best.
    result = train_classifier(episodes, spec, replace(conf, lr=0.3, patience=50, versions=0))
    held_out = {step: loss for step, _, loss in result.losses}
    assert result.best_step == min(held_out, key=lambda step: held_out[step])
    logits, success = logits_of(result.classifier, result.held_out)[0], result.held_out.success
    kept = balanced_loss(logits, success, fit_temperature(logits, success))
    assert kept == pytest.approx(held_out[result.best_step], rel=1e-4, abs=1e-9)


def test_features_know_the_posture_that_is_read_off_them(
    spec: Spec, conf: ClassifierConf, make_labelled: Callable[..., Episode]
) -> None:
    """A dim square's place is the state; success does not depend on it; a network that need not read it forgets it."""
    rng, episodes = np.random.default_rng(0), []
    for n in range(12):
        episode = make_labelled([False] * 8 + [n < 6] * 4, seed=n)
        place = rng.integers(0, 26, len(episode.success))
        for frame, x in zip(episode.observations[WRIST], place, strict=True):
            frame[24:30, x : x + 6] = 160
        state = np.stack([place, rng.normal(size=len(place))], 1).astype(np.float32)  # a position and its velocity
        episodes.append(replace(episode, observations=episode.observations | {STATE_KEY: state}))
    seen = replace(spec, state=StateSpec([Dimension("joint.pos", "rad"), Dimension("joint.vel", "rad/s")]))

    def explained(state_loss: float) -> float:
        result = train_classifier(episodes, seen, replace(conf, state_loss=state_loss, steps=300))
        assert result.confusion.accuracy == 1.0
        assert result.train.state is not None and result.train.state.shape == (len(result.train), 1)
        features = result.classifier.embeddings(result.train.images)["wrist"]
        x, y = np.c_[features, np.ones(len(features))], result.train.state[:, 0]
        return 1 - float(np.linalg.lstsq(x, y, rcond=None)[1][0] / ((y - y.mean()) ** 2).sum())

    without, with_it = explained(0.0), explained(1.0)
    assert with_it > 0.8 > without + 0.1


def test_training_stops_when_the_held_out_loss_no_longer_falls(
    episodes: list[Episode], spec: Spec, conf: ClassifierConf
) -> None:
    shuffled = np.random.default_rng(0)
    noise = [replace(e, success=shuffled.random(12) < 0.5) for e in episodes]
    result = train_classifier(noise, spec, replace(conf, steps=2000, patience=2))
    assert result.losses[-1][0] == result.best_step + 100 < 2000


def test_the_same_seed_gives_the_same_classifier(episodes: list[Episode], spec: Spec, conf: ClassifierConf) -> None:
    short = replace(conf, steps=25)
    torch.manual_seed(123)  # the state of the process must not matter, and must not be changed
    state = torch.get_rng_state()
    first = train_classifier(episodes, spec, short)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(456)
    second, other = (train_classifier(episodes, spec, replace(short, seed=s)) for s in (0, 1))
    for a, b in zip(first.classifier.parameters(), second.classifier.parameters(), strict=True):
        assert torch.equal(a, b)
    assert first.losses == second.losses != other.losses


def test_missing_classes_are_refused(spec: Spec, conf: ClassifierConf, make_labelled: Callable[..., Episode]) -> None:
    with pytest.raises(UserError, match="labelled as success"):
        train_classifier([make_labelled([False] * 4)] * 3, spec, conf)


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"held_out": 0.0}, "held_out"),
        ({"held_out": 1.0}, "held_out"),
        ({"max_false_positive_rate": -0.1}, "max_false_positive_rate"),
        ({"min_threshold": 1.0}, "min_threshold"),
        ({"augment": AugmentConf(color=2.0)}, "augment.color"),
        ({"augment": AugmentConf(gamma=-0.1)}, "augment.gamma"),
        ({"augment": AugmentConf(light=1.1)}, "augment.light"),
        ({"augment": AugmentConf(camera=1.1)}, "augment.camera"),
        ({"augment": AugmentConf(blur=-1.0)}, "augment.blur"),
        ({"members": 0}, "members"),
        ({"add_weight": 0.0}, "add_weight"),
        ({"weights": {"demos": 0.0}}, "weights"),
        ({"dropout": 1.0}, "dropout"),
        ({"batch_size": 1}, "batch_size"),
        ({"steps": 0}, "steps"),
        ({"patience": 0}, "patience"),
        ({"hold_steps": 0}, "hold_steps"),
        ({"min_steps": -1}, "min_steps"),
        ({"encoder": EncoderConf(name="none")}, "encoder"),
    ],
)
def test_options_out_of_range_are_refused(
    episodes: list[Episode], spec: Spec, conf: ClassifierConf, change: dict[str, object], key: str
) -> None:
    with pytest.raises(ConfigError, match=key):
        train_classifier(episodes, spec, replace(conf, **change))  # type: ignore[arg-type]


def test_recolor_keeps_range_and_leaves_the_input_alone() -> None:
    frames = torch.randint(0, 256, (16, 3, 8, 8), dtype=torch.uint8)
    before = frames.clone()
    changed = recolor(frames, 0.5, np.random.default_rng(0))
    assert changed.dtype == torch.float32 and changed.min() >= 0 and changed.max() <= 1
    assert torch.equal(frames, before)
    assert not torch.allclose(changed, before / 255, atol=0.01)


def test_recolor_by_strength_zero_is_the_plain_scaling() -> None:
    frames = torch.arange(48, dtype=torch.uint8).reshape(1, 3, 4, 4)
    torch.testing.assert_close(recolor(frames, 0.0, np.random.default_rng(0)), frames / 255)


def test_recolor_stays_within_its_strength() -> None:
    # Mid-grey is the fixed point of contrast: only brightness (10 %) and tint (5 %) move it.
    frames = torch.full((500, 3, 1, 1), 128, dtype=torch.uint8)
    ratio = recolor(frames, 0.1, np.random.default_rng(0)) / (128 / 255)
    assert 0.84 < ratio.min() < 0.9 and 1.1 < ratio.max() < 1.16


def test_cameras_are_chosen_by_name(spec: Spec) -> None:
    two = replace(spec, images=[*spec.images, ImageSpec("front", 32, 32)])
    assert [i.name for i in restrict_cameras(two, ["front"]).images] == ["front"]
    assert restrict_cameras(two, []).images == two.images
    with pytest.raises(ConfigError, match="did you mean 'front'"):
        restrict_cameras(two, ["fornt"])


# ---------------------------------------------------------------- feature maps computed once


@pytest.fixture
def frozen(conf: ClassifierConf, tmp_path: Path) -> ClassifierConf:
    encoder = replace(resnet_conf(resnet10_folder(tmp_path / "resnet10"), cache_shifts=3), dropout=0.0, shift_pad=2)
    return replace(conf, encoder=encoder, steps=100, augment=replace(conf.augment, color=0.2))


def test_a_frozen_encoder_looks_at_each_version_of_a_frame_once(
    episodes: list[Episode], spec: Spec, frozen: ClassifierConf, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    seen: list[int] = []
    forward = FrozenResNet.forward
    monkeypatch.setattr(FrozenResNet, "forward", lambda self, x: (seen.append(len(x)), forward(self, x))[1])
    result = train_classifier(episodes, spec, frozen)
    # Trained on in 3 versions; held out in 3, and in the end in 9 (1 as they are, 8 augmented).
    frames = [len(part.success) for part in (result.train, result.held_out)]
    sizes = 2 + 2  # map sizes are measured with one frame each
    assert sum(seen) <= 3 * frames[0] + (3 + 9) * frames[1] + sizes < 100 * frozen.batch_size
    assert "feature cache: up to" in capsys.readouterr().out
    assert result.confusion.accuracy > 0.9


def test_stored_versions_are_augmented_and_stay(
    episodes: list[Episode], spec: Spec, frozen: ClassifierConf, capsys: pytest.CaptureFixture[str]
) -> None:
    classifier, frames = SuccessClassifier(frozen.encoder, spec), collect(episodes, [WRIST])
    rng, rows = np.random.default_rng(0), np.array([0, 5, 5, 9])
    [cache] = cached(classifier.encoder, [(frames.images, 2)])
    versions = np.array([0, 0, 1, 1])

    def recolored(some: np.ndarray) -> torch.Tensor:
        return recolor(torch.from_numpy(some).permute(0, 3, 1, 2), 0.5, rng)

    first = cache(rows, versions, recolored)["features.wrist"]
    assert not torch.equal(first[1], first[2])  # two versions of one frame
    again = cache(rows[::-1].copy(), versions[::-1].copy(), recolored)["features.wrist"]
    assert torch.equal(again.flip(0), first)
    plain = cache(np.array([3]), np.array([0]), lambda some: torch.from_numpy(some).permute(0, 3, 1, 2))
    expected = classifier.encoder.trunk(torch.from_numpy(frames.images[WRIST][3:4]).permute(0, 3, 1, 2))
    torch.testing.assert_close(plain["features.wrist"].float(), expected, rtol=2e-3, atol=2e-3)


def test_a_cache_needs_a_frozen_encoder(episodes: list[Episode], spec: Spec, conf: ClassifierConf) -> None:
    with pytest.raises(ConfigError, match="only what a frozen encoder"):
        train_classifier(episodes, spec, replace(conf, encoder=replace(conf.encoder, cache_shifts=2)))
