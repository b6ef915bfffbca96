"""The success classifier on whole episodes, recorded or live: what it says of every frame, and what follows from it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from hiltk.data.episode import Episode
from hiltk.envs.rewards import SuccessRule
from hiltk.observation import Observation
from hiltk.reward_rule import EpisodeVerdict, Verdict, first_hold, is_positive, judge_end, run_lengths
from hiltk.rewards.classifier import SuccessClassifier
from hiltk.rewards.drift import Drift, DriftMonitor
from hiltk.spec import IMAGE_PREFIX, RewardSpec

Act = Callable[[Observation], np.ndarray]
AFTER = 10  # steps of a live episode after its end
# Wrong ones first: what somebody who looks at a classifier looks for.
ORDER = (Verdict.wrongly_ended, Verdict.missed, Verdict.rightly_ended, Verdict.rightly_silent)


@dataclass(frozen=True)
class Look:
    """One episode of T+1 frames as the classifier saw it.

    Attributes:
        name: for people, e.g. ``views 3 (far)``.
        images: by camera (T+1, H, W, 3) uint8, as the network gets them.
        probability: (T+1,) of success.
        spread: (T+1,) standard deviation among the networks of an ensemble; 0 for a single one.
        success: (T+1,) bool, the labels or the simulator's predicate; None where nobody knows.
        ended_at: frame at which the rule ends the episode; None: never.
        rule: the classifier's; its threshold and hold are read.
        drift: what was out of its limits after this episode and those before it, and at which frame it was seen.
        true_hold_steps: an episode succeeds where its labels hold for so long; 0: as long as the rule asks for.
    """

    name: str
    images: dict[str, np.ndarray]
    probability: np.ndarray
    spread: np.ndarray
    success: np.ndarray | None
    ended_at: int | None
    rule: RewardSpec
    fps: float
    drift: list[tuple[int, Drift]] = field(default_factory=list)
    true_hold_steps: int = 0

    def __len__(self) -> int:
        return len(self.probability)

    @property
    def positive(self) -> np.ndarray:
        """(T+1,) bool, judged success."""
        return np.asarray(is_positive(self.probability, self.rule.threshold))

    @property
    def run(self) -> np.ndarray:
        """(T+1,) frames in a row judged success so far, as the rule counts them: the first observation does not."""
        return run_lengths(self.positive)

    @property
    def first_positive(self) -> int | None:
        return _first(self.positive)

    @property
    def first_label(self) -> int | None:
        return None if self.success is None else _first(self.success)

    @property
    def verdict(self) -> EpisodeVerdict | None:
        """The rule's end against the labels; None without labels."""
        if self.success is None:
            return None
        return judge_end(self.ended_at, self.success, self.true_hold_steps or self.rule.hold_steps)

    @property
    def delay(self) -> int | None:
        """Frames from where the labels would have ended the episode to where the rule did; None unless rightly."""
        verdict = self.verdict
        return verdict.delay if verdict and verdict.verdict is Verdict.rightly_ended else None

    @property
    def wrong(self) -> bool:
        return self.verdict is not None and self.verdict.verdict in (Verdict.wrongly_ended, Verdict.missed)

    @property
    def rank(self) -> tuple[int, int, int]:
        """Wrong episodes first, then drifted and late ones."""
        kind = ORDER.index(self.verdict.verdict) if self.verdict else (self.ended_at is None)
        return kind, -len(self.drift), -(self.delay or 0)


def look_at(
    classifier: SuccessClassifier,
    episode: Episode,
    name: str,
    fps: float,
    drift: DriftMonitor | None = None,
    true_hold_steps: int = 0,
) -> Look:
    """A recorded episode, its frames already as the classifier takes them.

    Args:
        true_hold_steps: as in `Look`: the hold of the dataset's own rule.
        drift: has seen the episodes before; None: nobody watches drift.

    Raises:
        UserError: a camera is missing, or its frames have another size or dtype than the classifier was trained on.
    """
    images = {key: np.asarray(episode.observations[key]) for key in classifier.spec.image_keys}
    opinions = classifier.opinions(images)
    probability, rule = opinions.mean(0), classifier.spec.reward
    return Look(
        name,
        by_camera(images),
        probability,
        opinions.std(0),
        episode.success.astype(bool),
        first_hold(is_positive(probability, rule.threshold), rule.hold_steps, rule.min_steps),
        rule,
        fps,
        _drift(classifier, images, drift) if drift else [],
        true_hold_steps,
    )


def play(env: SuccessRule, classifier: SuccessClassifier, act: Act, seed: int, name: str) -> Look:
    """A live episode, judged frame by frame by the classifier in ``env``.

    It goes on until the environment ends it, or for `AFTER` steps once the rule has ended it and nothing contradicts:
    a success that comes later than the rule's end is to be seen.

    Args:
        env: with the classifier's reward rule; success does not close an episode here.
        act: gives the action for an observation.
    """
    env.end_on_success = False
    observation, info = env.reset(seed=seed)
    seen, infos, closed = [observation], [info], False
    left = AFTER
    while not closed and left:
        observation, _, terminated, truncated, info = env.step(act(observation))
        seen.append(observation)
        infos.append(info)
        closed = terminated or truncated
        left -= bool(info["success"] and info["true_success"] is not False)
    images = {key: np.stack([o[key] for o in seen]) for key in classifier.spec.image_keys}
    probability = np.array([i["success_probability"] for i in infos])
    ended_at = _first(np.array([bool(i["success"]) for i in infos]))
    return Look(
        name,
        by_camera(images),
        probability,
        classifier.opinions(images).std(0),
        np.array([bool(i["success_now"]) for i in infos]) if env.has_predicate else None,
        ended_at,
        classifier.spec.reward,
        env.fps,
        [(0, found) for found in env.drift.now] if env.drift else [],
        env.true_hold_steps,
    )


def by_camera(images: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {key.removeprefix(IMAGE_PREFIX): frames for key, frames in images.items()}


def _drift(
    classifier: SuccessClassifier, images: dict[str, np.ndarray], monitor: DriftMonitor
) -> list[tuple[int, Drift]]:
    """What is out of its limits with this episode."""
    first = {key: frames[:1] for key, frames in images.items()}
    embedding = np.concatenate(list(classifier.embeddings(first).values()), axis=1)[0]
    monitor.begin()
    monitor.see({key: frames[0] for key, frames in first.items()}, embedding)
    return [(0, found) for found in monitor.now]


def _first(values: np.ndarray) -> int | None:
    return int(values.argmax()) if values.any() else None
