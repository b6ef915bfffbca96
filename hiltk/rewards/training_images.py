"""What is known of the images that a success classifier was trained on: a chart of every quantity of every camera."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from scipy.stats import t as student_t

from hiltk.data.frames import Frames
from hiltk.errors import UserError
from hiltk.formats import STATISTICS
from hiltk.rewards.cloud import Cloud, fit_cloud
from hiltk.rewards.frames import LabelledFrames
from hiltk.rewards.views import DISTANCES, EMBEDDING, PLAIN, QUANTITIES, SCENE, look, usual_views
from hiltk.spec import IMAGE_PREFIX

SCALARS, TENSORS = "drift.json", "drift.safetensors"
FALSE_ALARMS, EPISODES = 0.1, 1000  # expected while nothing has changed
NEWEST = 0.2  # weight of the newest episode in a chart
# Episodes are taken to spread at least so much, however alike those of training were: a part of the mean; of shifts
# pixels; of distances a factor. A few times this is what no classifier minds.
LEAST = {"brightness": 0.04, "red": 0.02, "green": 0.02, "blue": 0.02, "sharpness": 0.05, "contrast": 0.1}
LEAST |= {"right": 0.5, "down": 0.5, SCENE: 0.35, EMBEDDING: 0.3}
QUANTILES = (0.0, 0.05, 0.5, 0.95, 1.0)


@dataclass(frozen=True)
class Known:
    """One quantity of one camera over the training episodes, of which each is one number.

    Attributes:
        mean, spread: over episodes, and their standard deviation or `LEAST`; of distances those of the logarithm.
        quantiles: over episodes, by `QUANTILES`.
        limit: how far the moving average of episodes may be from the mean, in spreads.
    """

    mean: float
    spread: float
    quantiles: list[float]
    limit: float

    @property
    def low(self) -> float:
        return self.quantiles[0]

    @property
    def high(self) -> float:
        return self.quantiles[-1]


# ---------------------------------------------------------------- statistics


@dataclass(frozen=True)
class Statistics:
    """What is known of the training images.

    Attributes:
        cameras: by camera and quantity (`QUANTITIES`).
        clouds: of embeddings, by camera.
        usual: by camera, the mean first frame as `small_grey`, (h, w) float32.
        episodes, frames: how many were looked at.
        held_out: episodes the network was not fitted to, whose embeddings are those of unseen ones.
    """

    cameras: dict[str, dict[str, Known]]
    clouds: dict[str, Cloud]
    usual: dict[str, np.ndarray]
    episodes: int
    frames: int
    held_out: int

    def save(self, folder: Path) -> None:
        """Numbers a person can read to ``drift.json``, the rest to ``drift.safetensors``."""
        counts = {name: getattr(self, name) for name in ("episodes", "frames", "held_out")}
        known = {camera: {q: asdict(k) for q, k in of.items()} for camera, of in self.cameras.items()}
        (folder / SCALARS).write_text(json.dumps({**STATISTICS.stamp(), **counts, "cameras": known}, indent=2) + "\n")
        tensors = {f"{camera}.usual": image for camera, image in self.usual.items()}
        for camera, cloud in self.clouds.items():
            tensors |= {f"{camera}.{part}": np.ascontiguousarray(values) for part, values in asdict(cloud).items()}
        save_file(tensors, folder / TENSORS)

    @staticmethod
    def load(folder: Path) -> Statistics | None:
        """What a classifier's folder says; None where it was made before there were statistics like these.

        Raises:
            UserError: they are damaged, or a newer hiltk's.
        """
        if not (folder / SCALARS).is_file():
            return None
        try:
            data = json.loads((folder / SCALARS).read_text())
            if STATISTICS.key not in data:
                raise KeyError(STATISTICS.key)
            if STATISTICS.read_version(data, str(folder / SCALARS)) < STATISTICS.oldest:
                return None
            data = STATISTICS.upgrade(data, str(folder / SCALARS))
            cameras = {c: {q: Known(**k) for q, k in known.items()} for c, known in data.pop("cameras").items()}
            tensors = load_file(folder / TENSORS)
            clouds = {c: Cloud(tensors[f"{c}.means"], tensors[f"{c}.whitening"]) for c in cameras}
            return Statistics(cameras, clouds, {c: tensors[f"{c}.usual"] for c in cameras}, **data)
        except (OSError, SafetensorError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(
                f"the classifier's statistics of its training images cannot be used: {error!r}",
                where=str(folder / SCALARS),
                fix="train the classifier again",
            ) from error


class Embeds(Protocol):
    """What is needed of `hiltk.rewards.classifier.SuccessClassifier`."""

    def embeddings(self, images: Mapping[str, Frames | np.ndarray]) -> dict[str, np.ndarray]: ...


def training_statistics(classifier: Embeds, train: LabelledFrames, held_out: LabelledFrames) -> Statistics:
    """`measure`, of all frames a classifier was made with."""
    parts = (train, held_out)
    seen = [classifier.embeddings(part.images) for part in parts]
    episode = np.concatenate([part.episode for part in parts])
    first = _first_rows(episode).tolist()
    images = {
        key.removeprefix(IMAGE_PREFIX): np.stack(
            [train.images[key][i] if i < len(train) else held_out.images[key][i - len(train)] for i in first]
        )
        for key in train.images
    }
    return measure(
        images,
        {camera: np.concatenate([s[camera] for s in seen]) for camera in images},
        np.concatenate([part.success for part in parts]),
        episode,
        np.repeat([False, True], [len(part) for part in parts]),
    )


def _first_rows(episode: np.ndarray) -> np.ndarray:
    """(E,) the row of the first frame of each episode."""
    return np.unique(episode, return_index=True)[1]


def measure(
    images: Mapping[str, np.ndarray],
    embeddings: Mapping[str, np.ndarray],
    success: np.ndarray,
    episode: np.ndarray,
    held_out: np.ndarray,
) -> Statistics:
    """The statistics of E episodes of N frames, those of held-out episodes included.

    What is seen in a frame depends on nothing fitted, so every episode is as good as an unseen one. Embeddings are
    those of a network that knows its training episodes; of a new one they lie where those of held-out ones do.

    Args:
        images: by camera (E, H, W, 3) uint8, the first frame of each episode, in the order of their numbers.
        embeddings: by camera (N, D).
        success: (N,) bool.
        episode: (N,) number of the episode, its frames in order.
        held_out: (N,) bool, of an episode the network was not fitted to.
    """
    first = _first_rows(episode)
    unseen, every = held_out[first], np.ones(len(first), bool)
    chance = FALSE_ALARMS / (EPISODES * len(images) * 2 * len(QUANTITIES))  # of each side of a chart
    cameras, clouds, usual = {}, {}, {}
    for camera, frames in images.items():
        fitted = embeddings[camera][~held_out]
        clouds[camera] = fit_cloud(fitted, success[~held_out], int((~unseen).sum()))
        usual[camera], others = usual_views(frames)
        values = np.array([look(frame, other) for frame, other in zip(frames, others, strict=True)])
        distance = clouds[camera].distance(embeddings[camera][first])
        series = dict(zip(QUANTITIES, [*values.T, distance], strict=True))
        cameras[camera] = {q: known(q, v, unseen if q == EMBEDDING else every, chance) for q, v in series.items()}
    return Statistics(cameras, clouds, usual, len(first), len(episode), int(unseen.sum()))


def known(quantity: str, values: np.ndarray, like_new: np.ndarray, chance: float) -> Known:
    """What episodes show of a quantity, and the limit that new ones' moving average leaves with this chance a side.

    Args:
        values: (E,) of each episode.
        like_new: (E,) bool, those whose mean new ones have; the others spread as widely around a mean of their own.
        chance: by Student's t, so that few episodes give wide limits.
    """
    scaled = scale(quantity, values)
    groups = [scaled[group] for group in (like_new, ~like_new) if group.any()]
    freedom = len(values) - len(groups)
    spread = float(np.sqrt(sum(((g - g.mean()) ** 2).sum() for g in groups) / freedom)) if freedom > 0 else 0.0
    mean = float(groups[0].mean())
    spread = max(spread, LEAST[quantity] * (abs(mean) if quantity in PLAIN else 1.0), 1e-6)
    # Of the moving average itself (Montgomery 2009, equation 9.25), and of the mean it is compared with.
    variance = NEWEST / (2 - NEWEST) + 1 / len(groups[0])
    limit = float(student_t.isf(chance, freedom)) * variance**0.5 if freedom > 0 else float("inf")
    return Known(mean, spread, [float(q) for q in np.quantile(values, QUANTILES)], limit)


def scale(quantity: str, values: np.ndarray) -> np.ndarray:
    """The logarithm of distances, which spread in proportion, of unlikeness beyond a tenth; others as they are."""
    if quantity not in DISTANCES:
        return values
    return np.log(values + 0.1 if quantity == SCENE else np.maximum(values, 1e-6))
