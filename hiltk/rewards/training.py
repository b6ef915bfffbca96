"""Training of the success classifier: fit, calibrate, choose threshold and hold, judge whole held-out episodes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from hiltk.agents.encoders import ENCODERS, check_encoder
from hiltk.config.commands import ClassifierConf, ClassifierSplit
from hiltk.data.episode import Episode
from hiltk.errors import ConfigError, UserError, nearest
from hiltk.limits import longest_hold
from hiltk.reward_rule import EpisodeVerdict, is_positive
from hiltk.rewards.augment import check_augment
from hiltk.rewards.calibration import (
    Confusion,
    Curve,
    choose_threshold,
    confusion,
    fit_temperature,
    precision_recall_curve,
    sigmoid,
)
from hiltk.rewards.classifier import SuccessClassifier
from hiltk.rewards.fit import Fit, fit, fit_for, logits_of
from hiltk.rewards.frames import LabelledFrames, Origin, Split, collect
from hiltk.rewards.sessions import Judged, SessionScore, judge_unseen, rounds, score_sessions, split_by_origin
from hiltk.rewards.tuning import Replays, Tuning, hold_candidates, min_candidates, tune
from hiltk.rewards.versions import versions_of, with_versions
from hiltk.spec import EE_POSITION, STATE_KEY, Spec

STOP_BY = 3  # versions of each held-out episode that training stops by; calibration has time for more


@dataclass
class Result:
    """A trained classifier and what it does on episodes it was not fitted to.

    Best step, temperature, threshold and hold are chosen on these held-out episodes, so the figures are slightly kind.

    Attributes:
        split: which episodes were held out.
        train: the frames trained on.
        held_out: the frames of the held-out episodes.
        opinions: (K, N) probability of the held-out frames, of each network.
        probabilities: (N,) their mean.
        verdicts: per held-out episode, in the order of ``split.held_out``.
        to_go_mm: per held-out episode, the end effector's way left where the rule ended it early; NaN where it did not.
        tuning: how hold and minimum steps were chosen.
        fits: how each network was fitted.
        sessions: held-out episodes of each session, and, where that was asked for, each session as if unseen.
        origins: of every episode.
    """

    classifier: SuccessClassifier
    split: Split
    train: LabelledFrames
    held_out: LabelledFrames
    opinions: np.ndarray
    probabilities: np.ndarray
    confusion: Confusion
    curve: Curve
    verdicts: list[EpisodeVerdict]
    to_go_mm: list[float]
    tuning: Tuning
    fits: list[Fit]
    sessions: list[SessionScore] = field(default_factory=list)
    origins: list[Origin] = field(default_factory=list)

    @property
    def losses(self) -> list[tuple[int, float, float]]:
        """Of the first network: (step, training loss, held-out loss)."""
        return self.fits[0].losses

    @property
    def best_step(self) -> int:
        """Of the first network: whose weights were kept."""
        return self.fits[0].best_step


def train_classifier(
    episodes: Sequence[Episode],
    spec: Spec,
    conf: ClassifierConf,
    *,
    origins: Sequence[Origin] = (),
    device: torch.device | str = "cpu",
) -> Result:
    """Train on labelled episodes; the same seed and data give the same classifier.

    Args:
        episodes: with labels in ``success`` and the cameras of ``spec.images``.
        spec: its images are the cameras used; its reward rule says for how long success must hold in the labels.
        origins: where each episode comes from; every session has its share of the held-out episodes.

    Raises:
        UserError: a class is missing, or there are too few episodes or sessions to hold some out.
        ConfigError: an option is out of range.
    """
    check_options(conf)
    origins = list(origins) or [Origin()] * len(episodes)
    split = split_by_origin(episodes, conf.held_out, conf.seed, origins)
    turns = _turns(episodes, origins, conf)
    train, held_out = (_frames(episodes, spec, part, origins) for part in (split.train, split.held_out))
    versions = versions_of(held_out, conf.versions)
    trials = with_versions(held_out, conf, versions)
    stop_by = with_versions(held_out, conf, min(versions, STOP_BY))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(conf.seed)
        classifier = _build(spec, conf, conf.members, device)
        fits = [
            fit(network, train, stop_by, conf, seed=conf.seed + k, name=_called(k, conf.members))
            for k, network in enumerate(classifier.networks)
        ]
        opinions = _calibrate(classifier, trials, conf)
        probabilities = opinions.mean(0)
        replays = _replays(classifier, trials, probabilities, spec.reward.hold_steps)
        every = [e.success for e in episodes]
        starts = min_candidates(conf.min_steps, every, spec.reward)
        holds = hold_candidates(conf.hold_steps, longest_hold(spec.action.scale_m, spec.fps))
        tuning = tune(replays, holds, starts, versions)
        classifier.set_rule(threshold=classifier.threshold, hold_steps=tuning.hold_steps, min_steps=tuning.min_steps)
        # What follows is about the episodes as they were recorded; these come first.
        opinions, probabilities = opinions[:, : len(held_out)], probabilities[: len(held_out)]
        verdicts = replays.judge(tuning.hold_steps, tuning.min_steps)[: tuning.episodes]
        judged = held_out, probabilities, verdicts
        sessions = score_sessions(judged, split.held_out, origins, classifier.threshold, unseen=False)
        steps = max(1, round(float(np.mean([f.best_step for f in fits]))))
        sessions += judge_unseen(
            turns,
            origins,
            classifier.threshold,
            lambda turn: _as_unseen(turn, episodes, origins, spec, classifier, conf, steps),
        )
    return Result(
        classifier=classifier,
        split=split,
        train=train,
        held_out=held_out,
        opinions=opinions,
        probabilities=probabilities,
        confusion=confusion(probabilities, held_out.success, classifier.threshold),
        curve=precision_recall_curve(probabilities, held_out.success),
        verdicts=verdicts,
        to_go_mm=[_to_go_mm(episodes[n], spec, v) for n, v in zip(split.held_out, verdicts, strict=True)],
        tuning=tuning,
        fits=fits,
        sessions=sessions,
        origins=origins,
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
        ("hard", 0 <= conf.hard < 1, "from 0 to below 1"),
        ("dropout", 0 <= conf.dropout < 1, "from 0 to below 1"),
        ("state_loss", conf.state_loss >= 0, "not negative"),
        ("batch_size", conf.batch_size >= 2, "at least 2: one success and one failure"),
        ("steps", conf.steps >= 1, "at least 1"),
        ("patience", conf.patience >= 1, "at least 1"),
        ("members", conf.members >= 1, "at least 1"),
        ("versions", conf.versions >= 0, "not negative"),
        ("add_weight", conf.add_weight > 0, "more than 0"),
        ("weights", all(w > 0 for w in conf.weights.values()), "more than 0; to leave a dataset out, do not name it"),
        ("hold_steps", conf.hold_steps is None or conf.hold_steps >= 1, "at least 1, or null"),
        ("min_steps", conf.min_steps is None or conf.min_steps >= 0, "not negative, or null"),
    ):
        if not fits:
            raise ConfigError(f"{key} must be {meaning}", where=f"{key}={getattr(conf, key)}")
    check_augment(conf.augment)
    check_encoder(conf.encoder)
    if not ENCODERS[conf.encoder.name].sees:
        raise ConfigError(
            "a success classifier needs an image encoder", where=f"encoder={conf.encoder.name}", fix="encoder=cnn"
        )


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


def _turns(episodes: Sequence[Episode], origins: Sequence[Origin], conf: ClassifierConf) -> list[Split]:
    """The sessions to leave out in turn; none where there is only one, or it is not wanted."""
    if conf.split is ClassifierSplit.episode:
        return []
    turns = rounds(episodes, origins)
    if len(turns) < 2 and conf.split is ClassifierSplit.session:
        raise UserError(
            "no two sessions show success and failure each, so that one could be judged by the other",
            where=f"sessions: {', '.join(dict.fromkeys(o.session for o in origins if not o.added))}",
            fix="name datasets of several days, or split=episode",
        )
    return turns if len(turns) > 1 else []


def _frames(episodes: Sequence[Episode], spec: Spec, numbers: np.ndarray, origins: Sequence[Origin]) -> LabelledFrames:
    posture = [i for i, d in enumerate(spec.state.dims) if not d.unit.endswith("/s")]  # a frame shows no velocities
    frames = collect(episodes, spec.image_keys, numbers, posture)
    weight = np.array([o.weight for o in origins])[frames.episode]
    return replace(frames, weight=None if (weight == 1).all() else weight)


def _build(spec: Spec, conf: ClassifierConf, members: int, device: torch.device | str) -> SuccessClassifier:
    made = SuccessClassifier(conf.encoder, spec, hidden=conf.hidden, dropout=conf.dropout, members=members)
    return made.to(device)


def _called(k: int, members: int) -> str:
    return "the classifier" if members == 1 else f"network {k + 1} of {members}"


def _calibrate(classifier: SuccessClassifier, held_out: LabelledFrames, conf: ClassifierConf) -> np.ndarray:
    """Set temperature and threshold from held-out frames; returns the probabilities (K, N) of each network."""
    logits = logits_of(classifier, held_out)
    classifier.temperature = fit_temperature(logits, held_out.success)
    opinions = sigmoid(logits / classifier.temperature)
    threshold = choose_threshold(opinions.mean(0), held_out.success, conf.max_false_positive_rate, conf.min_threshold)
    classifier.set_rule(threshold=threshold, hold_steps=1, min_steps=0)
    return opinions


def _to_go_mm(episode: Episode, spec: Spec, verdict: EpisodeVerdict) -> float:
    """How far the end effector is, where the rule ended an episode early, from where success has held."""
    if not verdict.early or not {*EE_POSITION} <= {*spec.state.names}:
        return float("nan")
    at = episode.observations[STATE_KEY][:, [spec.state.names.index(name) for name in EE_POSITION]]
    return 1000 * float(np.linalg.norm(at[verdict.should_end_at] - at[verdict.ended_at]))


def _replays(
    classifier: SuccessClassifier,
    frames: LabelledFrames,
    probabilities: np.ndarray,
    true_hold_steps: int,
) -> Replays:
    positive = is_positive(probabilities, classifier.threshold)
    rows = [frames.episode == n for n in np.unique(frames.episode)]
    return Replays([positive[r] for r in rows], [frames.success[r] for r in rows], true_hold_steps)


def _as_unseen(
    turn: Split,
    episodes: Sequence[Episode],
    origins: Sequence[Origin],
    spec: Spec,
    classifier: SuccessClassifier,
    conf: ClassifierConf,
    steps: int,
) -> Judged:
    """The sessions left out, under the classifier's own rule, by a network that was trained on the others only."""
    train, unseen = (_frames(episodes, spec, part, origins) for part in (turn.train, turn.held_out))
    other = _build(spec, conf, 1, classifier.device)
    other.temperature = classifier.temperature
    left_out = ", ".join(dict.fromkeys(origins[n].session for n in turn.held_out))
    fit_for(other.networks[0], train, conf, steps=steps, seed=conf.seed, name=f"without {left_out}")
    probabilities = sigmoid(logits_of(other, unseen) / other.temperature).mean(0)
    replays = _replays(classifier, unseen, probabilities, spec.reward.hold_steps)
    return unseen, probabilities, replays.judge(classifier.hold_steps, classifier.min_steps)
