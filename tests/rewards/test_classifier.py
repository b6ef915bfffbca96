from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from hiltk.config.groups import EncoderConf
from hiltk.errors import UserError
from hiltk.rewards.classifier import CONFIG, WEIGHTS, SuccessClassifier
from hiltk.spec import ImageSpec, Spec

WRIST = "observation.images.wrist"
SMALL = EncoderConf(channels=[4, 4], kernels=[5, 3], strides=[4, 2], features=8)


@pytest.fixture
def classifier(spec: Spec) -> SuccessClassifier:
    torch.manual_seed(0)
    made = SuccessClassifier(SMALL, spec, hidden=6, dropout=0.3, temperature=1.7)
    made.set_rule(threshold=0.73, hold_steps=3, min_steps=5)
    return made


def frames(count: int = 5, size: int = 32) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


def test_save_and_load_give_the_same_classifier(classifier: SuccessClassifier, tmp_path: Path) -> None:
    images = {WRIST: frames()}
    before = classifier.probabilities(images)
    classifier.save(tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {WEIGHTS, CONFIG}
    loaded = SuccessClassifier.load(tmp_path)
    np.testing.assert_array_equal(loaded.probabilities(images), before)
    assert (loaded.threshold, loaded.hold_steps, loaded.min_steps, loaded.temperature) == (0.73, 3, 5, 1.7)
    assert loaded.spec == classifier.spec and loaded.spec.reward.source == "classifier"
    assert loaded.encoder_conf == SMALL and loaded.cameras == ["wrist"]
    assert not loaded.training


def test_one_and_many_agree_and_are_probabilities(classifier: SuccessClassifier) -> None:
    images = frames(7)
    many = classifier.probabilities({WRIST: images}, batch_size=3)
    assert many.shape == (7,) and (many > 0).all() and (many < 1).all()
    assert len(set(many.round(9))) == 7
    one = [classifier.probability({WRIST: f, "observation.state": np.zeros(3)}) for f in images]
    np.testing.assert_allclose(one, many, rtol=1e-5)
    assert isinstance(one[0], float)


def test_probability_is_the_sigmoid_of_the_cooled_logit(classifier: SuccessClassifier) -> None:
    images = frames(3)
    with torch.no_grad():
        [logits] = classifier.eval()({WRIST: torch.from_numpy(images).permute(0, 3, 1, 2)}).double().numpy()
    np.testing.assert_allclose(classifier.probabilities({WRIST: images}), 1 / (1 + np.exp(-logits / 1.7)), rtol=1e-6)


def test_dropout_is_off_while_judging_and_training_goes_on(classifier: SuccessClassifier) -> None:
    classifier.train()
    first = classifier.probabilities({WRIST: frames()})
    np.testing.assert_array_equal(first, classifier.probabilities({WRIST: frames()}))
    assert classifier.training


def test_no_frames_no_probabilities(classifier: SuccessClassifier) -> None:
    assert classifier.probabilities({WRIST: frames(0)}).shape == (0,)


def test_every_parameter_is_trained(classifier: SuccessClassifier) -> None:
    # LeRobot's classifier runs its neck without gradients (failures.md S5).
    classifier({WRIST: torch.from_numpy(frames()).permute(0, 3, 1, 2)}).sum().backward()
    without = [name for name, p in classifier.named_parameters() if p.grad is None or not p.grad.abs().sum()]
    assert without == []


def test_every_camera_counts(spec: Spec) -> None:
    two = replace(spec, images=[*spec.images, ImageSpec("front", 32, 32, 32, 32)])
    torch.manual_seed(0)
    classifier = SuccessClassifier(SMALL, two)
    images = {WRIST: frames(), "observation.images.front": frames()}
    changed = {**images, "observation.images.front": 255 - frames()}
    assert (classifier.probabilities(images) != classifier.probabilities(changed)).all()
    with pytest.raises(UserError, match=r"needs 'observation\.images\.front'"):
        classifier.probabilities({WRIST: frames()})


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ({"observation.images.front": frames()}, "needs 'observation.images.wrist'"),
        (
            {WRIST: frames(size=64)},
            "has frames of shape (64, 64, 3), the success classifier was trained on (32, 32, 3)",
        ),
        ({WRIST: frames().astype(np.float32) / 255}, "has dtype float32"),
        ({WRIST: frames().transpose(0, 3, 1, 2)}, "has frames of shape (3, 32, 32)"),
        ({WRIST: frames()[..., :1]}, "has frames of shape (32, 32, 1)"),
    ],
)
def test_images_it_was_not_trained_on_are_refused(
    classifier: SuccessClassifier, images: dict[str, np.ndarray], message: str
) -> None:
    with pytest.raises(UserError) as many:
        classifier.probabilities(images)
    with pytest.raises(UserError) as one:
        classifier.probability({k: v[0] for k, v in images.items()})
    assert message in str(many.value) and message in str(one.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "wirst"}, "did you mean 'wirst'?"),
        ({"height": 64}, "height 64, trained on 32"),
        ({"color": "bgr"}, "color 'bgr', trained on 'rgb'"),
        ({"crop": [0, 8, 32, 24]}, "crop [0, 8, 32, 24], trained on []"),
    ],
)
def test_an_environment_with_other_images_is_refused(
    classifier: SuccessClassifier, change: dict[str, object], message: str
) -> None:
    other = replace(classifier.spec.images[0], **change)  # type: ignore[arg-type]
    with pytest.raises(UserError) as caught:
        classifier.require_fits([other], name="env=real")
    assert message in str(caught.value) and "env=real" in str(caught.value)


def test_more_cameras_or_a_larger_native_frame_fit(classifier: SuccessClassifier) -> None:
    front = ImageSpec("front", 99, 99)
    wrist = replace(classifier.spec.images[0], native_height=480, native_width=640, crop=[0, 80, 480, 480])
    classifier.require_fits([front, wrist], name="env=real")


def test_a_folder_without_a_classifier_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not a success classifier"):
        SuccessClassifier.load(tmp_path)


def test_damaged_files_are_refused(classifier: SuccessClassifier, tmp_path: Path) -> None:
    classifier.save(tmp_path)
    weights, config = (tmp_path / WEIGHTS).read_bytes(), (tmp_path / CONFIG).read_text()
    (tmp_path / WEIGHTS).write_bytes(weights[: len(weights) // 2])
    with pytest.raises(UserError, match="weights cannot be used"):
        SuccessClassifier.load(tmp_path)
    (tmp_path / WEIGHTS).write_bytes(weights)
    for broken in ("hidden: 6\n", "[", "- 1\n", config.replace("hidden: 6", "hidden: six")):
        (tmp_path / CONFIG).write_text(broken)
        with pytest.raises(UserError, match="config cannot be read"):
            SuccessClassifier.load(tmp_path)
    (tmp_path / CONFIG).write_text(config.replace("hidden: 6", "hidden: 7"))
    with pytest.raises(UserError, match="weights cannot be used"):
        SuccessClassifier.load(tmp_path)


# ---------------------------------------------------------------- ensembles


def test_an_ensemble_says_the_mean_and_shows_its_disagreement(spec: Spec, tmp_path: Path) -> None:
    torch.manual_seed(0)
    ensemble = SuccessClassifier(SMALL, spec, hidden=6, temperature=1.3, members=3)
    images = {WRIST: frames(4)}
    opinions = ensemble.opinions(images, batch_size=3)
    assert opinions.shape == (3, 4) and (opinions.std(0) > 0).all()
    np.testing.assert_allclose(ensemble.probabilities(images), opinions.mean(0))
    assert ensemble.probability({WRIST: images[WRIST][2]}) == pytest.approx(opinions.mean(0)[2], rel=1e-5)
    ensemble.save(tmp_path)
    loaded = SuccessClassifier.load(tmp_path)
    assert len(loaded.members) == 3
    np.testing.assert_array_equal(loaded.opinions(images, batch_size=3), opinions)


def test_artifacts_from_before_ensembles_load(classifier: SuccessClassifier, tmp_path: Path) -> None:
    before = classifier.probabilities({WRIST: frames()})
    classifier.save(tmp_path)
    weights = load_file(tmp_path / WEIGHTS)
    save_file({k.removeprefix("members.0."): v for k, v in weights.items()}, tmp_path / WEIGHTS)
    config = (tmp_path / CONFIG).read_text()
    (tmp_path / CONFIG).write_text(config.replace("members: 1\n", ""))
    assert "members" not in (tmp_path / CONFIG).read_text()
    np.testing.assert_array_equal(SuccessClassifier.load(tmp_path).probabilities({WRIST: frames()}), before)
