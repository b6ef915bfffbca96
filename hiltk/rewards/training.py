"""Training of the success classifier: fit, calibrate, choose the threshold, judge whole held-out episodes."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from hiltk.agents.augment import random_shift
from hiltk.agents.encoders import ResNetEncoder, check_encoder
from hiltk.config import ClassifierConf
from hiltk.data.episode import Episode
from hiltk.errors import ConfigError, nearest
from hiltk.rewards.calibration import (
    Confusion,
    Curve,
    balanced_loss,
    choose_threshold,
    confusion,
    fit_temperature,
    precision_recall_curve,
    sigmoid,
)
from hiltk.rewards.classifier import SuccessClassifier, to_tensor
from hiltk.rewards.frames import LabelledFrames, Split, balanced_rows, collect, split_episodes
from hiltk.rewards.hold import EpisodeVerdict, judge_episode
from hiltk.rewards.maps import cached
from hiltk.spec import Spec

EVALUATE_EVERY = 25
See = Callable[[np.ndarray], dict[str, Tensor]]  # rows (B,) to what the network is shown of them


@dataclass
class Result:
    """A trained classifier and what it does on episodes it was not fitted to.

    Best step, temperature and threshold are chosen on these held-out episodes, so the figures are slightly kind.

    Attributes:
        split: which episodes were held out.
        train: the frames trained on.
        held_out: the frames of the held-out episodes.
        probabilities: (N,) of the held-out frames.
        verdicts: per held-out episode, in the order of ``split.held_out``.
        losses: (step, training loss, held-out loss) at each evaluation; both classes weighted equally.
        best_step: whose weights were kept.
    """

    classifier: SuccessClassifier
    split: Split
    train: LabelledFrames
    held_out: LabelledFrames
    probabilities: np.ndarray
    confusion: Confusion
    curve: Curve
    verdicts: list[EpisodeVerdict]
    losses: list[tuple[int, float, float]]
    best_step: int


def train_classifier(
    episodes: Sequence[Episode],
    spec: Spec,
    conf: ClassifierConf,
    *,
    groups: Sequence[str] = (),
    device: torch.device | str = "cpu",
) -> Result:
    """Train on labelled episodes; the same seed and data give the same classifier.

    Args:
        episodes: with labels in ``success`` and the cameras of ``spec.images``.
        spec: its images are the cameras used.
        groups: where each episode comes from; both parts of the split get their share of every group.

    Raises:
        UserError: a class is missing, or there are too few episodes to hold some out.
        ConfigError: an option is out of range.
    """
    check_options(conf)
    split = split_episodes(episodes, conf.held_out, conf.seed, groups)
    train, held_out = (collect(episodes, spec.image_keys, part) for part in (split.train, split.held_out))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(conf.seed)
        classifier = SuccessClassifier(conf.encoder, spec, hidden=conf.hidden, dropout=conf.dropout).to(device)
        losses, best_step = _fit(classifier, train, held_out, conf)
    probabilities = _calibrate(classifier, held_out, conf)
    return Result(
        classifier=classifier,
        split=split,
        train=train,
        held_out=held_out,
        probabilities=probabilities,
        confusion=confusion(probabilities, held_out.success, classifier.threshold),
        curve=precision_recall_curve(probabilities, held_out.success),
        verdicts=judge_episodes(classifier, held_out, probabilities, split.held_out),
        losses=losses,
        best_step=best_step,
    )


def check_options(conf: ClassifierConf) -> None:
    """Refuse options out of range.

    Raises:
        ConfigError: naming the key and what it may be.
    """
    for key, fits, meaning in (
        ("held_out", 0 < conf.held_out < 1, "a fraction between 0 and 1"),
        ("max_false_positive_rate", 0 <= conf.max_false_positive_rate < 1, "a fraction from 0 to below 1"),
        ("min_threshold", 0 < conf.min_threshold < 1, "a probability between 0 and 1"),
        ("color_jitter", 0 <= conf.color_jitter <= 1, "from 0 to 1"),
        ("dropout", 0 <= conf.dropout < 1, "from 0 to below 1"),
        ("batch_size", conf.batch_size >= 2, "at least 2: one success and one failure"),
        ("steps", conf.steps >= 1, "at least 1"),
        ("patience", conf.patience >= 1, "at least 1"),
        ("hold_steps", conf.hold_steps >= 1, "at least 1"),
        ("min_steps", conf.min_steps >= 0, "not negative"),
    ):
        if not fits:
            raise ConfigError(f"{key} must be {meaning}", where=f"{key}={getattr(conf, key)}")
    if conf.encoder.name == "none":
        raise ConfigError("a success classifier needs an image encoder", where="encoder=none", fix="encoder=cnn")
    check_encoder(conf.encoder)


def judge_episodes(
    classifier: SuccessClassifier,
    frames: LabelledFrames,
    probabilities: np.ndarray,
    numbers: Sequence[int] | np.ndarray,
) -> list[EpisodeVerdict]:
    """The classifier's threshold and hold rule over whole episodes, given the probability of each frame."""
    verdicts = []
    for number in numbers:
        rows = frames.episode == number
        positive = probabilities[rows] >= classifier.threshold
        verdicts.append(judge_episode(positive, frames.success[rows], classifier.hold_steps, classifier.min_steps))
    return verdicts


def logits_of(
    classifier: SuccessClassifier, frames: LabelledFrames, batch_size: int = 512, see: See | None = None
) -> np.ndarray:
    """Logits (N,) float64 of every frame, before the temperature and without dropout.

    Args:
        see: gives the images of rows, or what an encoder has made of them.
    """
    was_training, see = classifier.training, see or _plain(classifier, frames)
    classifier.eval()
    with torch.inference_mode():
        every = np.arange(len(frames))
        parts = [classifier(see(every[i : i + batch_size])) for i in range(0, len(frames), batch_size)]
    classifier.train(was_training)
    return torch.cat(parts).double().cpu().numpy()


def _fit(
    classifier: SuccessClassifier, train: LabelledFrames, held_out: LabelledFrames, conf: ClassifierConf
) -> tuple[list[tuple[int, float, float]], int]:
    """Train every parameter; leaves the weights with the lowest held-out loss in the classifier."""
    rng = np.random.default_rng(conf.seed)
    optimizer = torch.optim.AdamW(classifier.parameters(), lr=conf.lr, weight_decay=conf.weight_decay)
    losses: list[tuple[int, float, float]] = []
    best, best_step, best_weights, recent = np.inf, 0, {}, []
    augmented, plain = _eyes(classifier, train, held_out, conf, rng)
    bar = tqdm(range(1, conf.steps + 1), desc="training the classifier", mininterval=0.5)
    classifier.train()
    for step in bar:
        recent.append(_update(classifier, optimizer, train, augmented, conf, rng))
        if step % EVALUATE_EVERY and step != conf.steps:
            continue
        logits = logits_of(classifier, held_out, see=plain)
        losses.append((step, float(np.mean(recent)), balanced_loss(logits, held_out.success)))
        recent = []
        bar.set_postfix(loss=f"{losses[-1][1]:.4f}", held_out=f"{losses[-1][2]:.4f}")
        if losses[-1][2] < best:
            best, best_step, best_weights = (losses[-1][2], step, copy.deepcopy(classifier.state_dict()))
        elif step - best_step >= conf.patience * EVALUATE_EVERY:
            break
    bar.close()
    classifier.load_state_dict(best_weights)
    classifier.eval()
    return losses, best_step


def _update(
    classifier: SuccessClassifier,
    optimizer: torch.optim.Optimizer,
    train: LabelledFrames,
    augmented: See,
    conf: ClassifierConf,
    rng: np.random.Generator,
) -> float:
    """One gradient step on a batch with as many successes as failures."""
    rows = balanced_rows(train.success, conf.batch_size, rng)
    images = augmented(rows)
    target = torch.from_numpy(train.success[rows]).to(classifier.device, torch.float32)
    loss = F.binary_cross_entropy_with_logits(classifier(images), target)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
    return loss.item()


def _eyes(
    classifier: SuccessClassifier,
    train: LabelledFrames,
    held_out: LabelledFrames,
    conf: ClassifierConf,
    rng: np.random.Generator,
) -> tuple[See, See]:
    """What the network is shown of training frames, augmented, and of held-out ones, as they are."""

    def augment(frames: np.ndarray) -> Tensor:
        return _augmented(frames, conf, rng, classifier.device)

    if not conf.encoder.cache_shifts:
        return lambda rows: {k: augment(v[rows]) for k, v in train.images.items()}, _plain(classifier, held_out)
    assert isinstance(classifier.encoder, ResNetEncoder)  # as `check_encoder` demands
    parts = [(train.images, conf.encoder.cache_shifts), (held_out.images, 1)]
    seen, known = cached(classifier.encoder, parts)
    return (
        lambda rows: seen(rows, rng.integers(seen.versions, size=len(rows)), augment),
        lambda rows: known(rows, np.zeros_like(rows), lambda frames: to_tensor(frames, classifier.device)),
    )


def _plain(classifier: SuccessClassifier, frames: LabelledFrames) -> See:
    return lambda rows: {k: to_tensor(v[rows], classifier.device) for k, v in frames.images.items()}


def _augmented(frames: np.ndarray, conf: ClassifierConf, rng: np.random.Generator, device: torch.device) -> Tensor:
    """Shifted and recoloured frames (B, 3, H, W): uint8 where colours are left alone, else float in [0, 1]."""
    tensor = to_tensor(random_shift(frames, conf.encoder.shift_pad, rng), device)
    return recolor(tensor, conf.color_jitter, rng) if conf.color_jitter else tensor


def recolor(frames: Tensor, strength: float, rng: np.random.Generator) -> Tensor:
    """Brightness, contrast and tint of each frame changed at random, as lamps, daylight and auto-exposure do.

    Args:
        frames: (B, 3, H, W) uint8.
        strength: largest relative change of brightness and of contrast; a channel's tint changes by half as much.

    Returns:
        (B, 3, H, W) float32 in [0, 1].
    """
    batch = len(frames)
    gain = 1 + strength * rng.uniform(-1, 1, (batch, 1)) + 0.5 * strength * rng.uniform(-1, 1, (batch, 3))
    contrast = 1 + strength * rng.uniform(-1, 1, (batch, 1))
    # Contrast around mid-grey, then the gain: pixel -> ((pixel - 0.5) * contrast + 0.5) * gain.
    scale, offset = gain * contrast / 255, gain * (0.5 - 0.5 * contrast)
    return torch.addcmul(_per_channel(offset, frames), frames.float(), _per_channel(scale, frames)).clamp_(0, 1)


def _per_channel(values: np.ndarray, like: Tensor) -> Tensor:
    return torch.from_numpy(values).to(like.device, torch.float32)[:, :, None, None]


def _calibrate(classifier: SuccessClassifier, held_out: LabelledFrames, conf: ClassifierConf) -> np.ndarray:
    """Set temperature, threshold and hold rule from held-out episodes; returns their probabilities."""
    logits = logits_of(classifier, held_out)
    classifier.temperature = fit_temperature(logits, held_out.success)
    probabilities = sigmoid(logits / classifier.temperature)
    threshold = choose_threshold(probabilities, held_out.success, conf.max_false_positive_rate, conf.min_threshold)
    classifier.set_rule(threshold=threshold, hold_steps=conf.hold_steps, min_steps=conf.min_steps)
    return probabilities


def restrict_cameras(spec: Spec, cameras: Sequence[str]) -> Spec:
    """The spec with only these cameras; all of them when none is named.

    Raises:
        ConfigError: a camera is not in the spec.
    """
    names = [image.name for image in spec.images]
    for camera in cameras:
        if camera not in names:
            hint = nearest(camera, names) or f"it has: {', '.join(names) or 'none'}"
            raise ConfigError(f"the dataset has no camera '{camera}'", where="cameras", fix=hint)
    return replace(spec, images=[image for image in spec.images if not cameras or image.name in cameras])
