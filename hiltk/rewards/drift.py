"""Drift: live frames compared with the episodes the success classifier was trained on, and a warning by name.

A lamp, a bumped or exchanged camera, swapped colour channels or a hand before the lens change what a classifier sees,
and it goes on judging (devlogs 076, 081, 082: success fell from 55 to 28 % by a change of light). Of every camera this
follows six plain quantities and two distances: of a thumbnail, and of the classifier's own embedding, which hardly
notices what the task does not need.

Neighbouring frames are near copies, so episodes are what is counted. Each gives two numbers per quantity: the mean of
its first frames, when the arm is where episodes start and nothing depends on who acts, and the mean of all of them. The
limits are made for one false alarm in `FALSE_ALARMS` unseen episodes, over all cameras and quantities together, as far
as episodes spread like a Gaussian. Their tails are heavier, so limits also keep a distance (`LEAST`) from what was
seen; what rate that gives is for tests to measure.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from scipy.stats import t as student_t
from tqdm import tqdm

from hiltk.data.frames import Frames
from hiltk.errors import UserError
from hiltk.observation import Observation
from hiltk.rewards.frames import LabelledFrames
from hiltk.spec import IMAGE_PREFIX

SCALARS, TENSORS = "drift.json", "drift.safetensors"
VERSION = 1
FALSE_ALARMS = 1000  # unseen episodes of the training distribution, of which one is called drifted
START = 5  # first frames of an episode: half a second at 10 Hz
EVERY = 4  # of the frames after those one is looked at: their neighbours are near copies, and looking takes time
UNWATCHED = (
    "the classifier has no statistics of its training images: drift is not watched (train it again to have them)"
)
COLOURS = ("red", "green", "blue")
QUANTITIES = ("brightness", *COLOURS, "sharpness", "contrast")
PLAIN = "plain"
SCENE, EMBEDDING = DISTANCES = ("scene", "embedding")
THUMBNAIL = 8  # pixels a side
# Less than this beyond what was seen is no drift however alike the episodes were, as a part of their mean (of
# distances: of the largest): who acts otherwise sees something else, without another lamp or camera.
LEAST = {"brightness": 0.08, "red": 0.09, "green": 0.09, "blue": 0.09, "sharpness": 0.2, "contrast": 0.25}
LEAST |= {SCENE: 1.0, EMBEDDING: 1.0}
QUANTILES = (0.0, 0.05, 0.5, 0.95, 1.0)
STAGES = ("start", "whole")
# What explains what: a lamp changes contrast and embedding, too. The first kind that is out of range is said.
CAUSES = (("brightness", *COLOURS), ("sharpness",), ("contrast",), (SCENE,), (EMBEDDING,))


def describe(frame: np.ndarray) -> np.ndarray:
    """The `QUANTITIES` (6,) of one frame (H, W, 3) uint8 RGB.

    Brightness is the mean of all values and contrast the standard deviation of grey, both 0 to 255; the colours are
    shares of the light, which add up to 1; sharpness is the deviation of the Laplacian relative to the contrast, which
    neither gain nor brightness changes.
    """
    channels = np.array(cv2.mean(frame)[:3])
    grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
    contrast = float(cv2.meanStdDev(grey)[1][0, 0])
    edges = float(cv2.meanStdDev(cv2.Laplacian(grey, cv2.CV_32F))[1][0, 0])
    shares = (channels + 1) / (channels.sum() + 3)  # grey where there is no light
    return np.array([channels.mean(), *shares, edges / max(contrast, 1.0), contrast])


def thumbnail(frame: np.ndarray) -> np.ndarray:
    """One frame (H, W, 3) at `THUMBNAIL` pixels a side, (192,) float32: what is where, roughly."""
    return cv2.resize(frame, (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA).astype(np.float32).ravel()


@dataclass(frozen=True)
class Known:
    """One quantity of one camera over the episodes known, of which each is one number.

    Attributes:
        mean, spread: over episodes, and their standard deviation.
        quantiles: over episodes, by `QUANTILES`.
        low_limit, high_limit: what lies outside is called drifted; of distances only what is above.
    """

    mean: float
    spread: float
    quantiles: list[float]
    low_limit: float
    high_limit: float

    @property
    def low(self) -> float:
        return self.quantiles[0]

    @property
    def high(self) -> float:
        return self.quantiles[-1]

    def excess(self, value: float) -> float:
        """How far beyond a limit, in widths of the band that is allowed beyond what was seen; 0 within the limits."""
        if value > self.high_limit:
            return (value - self.high) / max(self.high_limit - self.high, 1e-9)
        if value < self.low_limit:
            return (self.low - value) / max(self.low - self.low_limit, 1e-9)
        return 0.0


@dataclass(frozen=True)
class Cloud:
    """How embeddings or thumbnails of one camera are spread: a Gaussian per class, one covariance (Lee et al. 2018).

    Attributes:
        means: (K, D) float32, of frames that show success and of those that do not.
        whitening: (D, D) float32; the length of ``(x - mean) @ whitening`` is the Mahalanobis distance, over sqrt(D).
    """

    means: np.ndarray
    whitening: np.ndarray

    @cached_property
    def centres(self) -> np.ndarray:
        """The means (K, D), whitened."""
        return self.means @ self.whitening

    def distance(self, vectors: np.ndarray) -> np.ndarray:
        """From the nearer class, per dimension: about 1 for the frames it was fitted to. (N, D) to (N,)."""
        away = (vectors @ self.whitening)[:, None] - self.centres
        return np.sqrt((away**2).mean(-1)).min(1)


def fit_cloud(vectors: np.ndarray, success: np.ndarray, episodes: int) -> Cloud:
    """Class means and their common covariance, shrunk towards a multiple of the identity.

    The strength is the oracle approximating shrinkage (Chen et al. 2010, equation 23), with the number of episodes for
    that of samples: frames of one episode are near copies.

    Args:
        vectors: (N, D).
        success: (N,) bool.
    """
    classes = [vectors[success == kind] for kind in (False, True) if (success == kind).any()]
    means = np.stack([c.mean(0) for c in classes])
    centred = np.concatenate([c - m for c, m in zip(classes, means, strict=True)])
    covariance = (centred.T @ centred) / len(centred)
    size = covariance.shape[0]
    trace, square = float(np.trace(covariance)), float((covariance**2).sum())
    spread = (episodes + 1 - 2 / size) * (square - trace**2 / size)
    strength = min(1.0, ((1 - 2 / size) * square + trace**2) / spread) if spread > 0 else 1.0
    shrunk = (1 - strength) * covariance + np.eye(size) * max(strength * trace / size, 1e-12)
    values, vectors = np.linalg.eigh(shrunk)
    return Cloud(means.astype(np.float32), (vectors / np.sqrt(values)).astype(np.float32))


# ---------------------------------------------------------------- statistics


@dataclass(frozen=True)
class Statistics:
    """What is known of the training images.

    Attributes:
        cameras: by camera, quantity (`QUANTITIES` and `DISTANCES`) and stage (`STAGES`).
        clouds: by camera and distance.
        episodes, frames: how many were looked at.
        held_out: episodes the network was not fitted to, from which the limits of distances are.
        start: first frames that are averaged.
        false_alarms: unseen episodes of which one is called drifted.
    """

    cameras: dict[str, dict[str, dict[str, Known]]]
    clouds: dict[str, dict[str, Cloud]]
    episodes: int
    frames: int
    held_out: int
    start: int = START
    false_alarms: int = FALSE_ALARMS

    def save(self, folder: Path) -> None:
        """Numbers a person can read to ``drift.json``, clouds to ``drift.safetensors``."""
        plain = {k: v for k, v in asdict(self).items() if k != "clouds"}
        (folder / SCALARS).write_text(json.dumps({"version": VERSION, **plain}, indent=2) + "\n")
        tensors = {
            f"{camera}.{name}.{part}": np.ascontiguousarray(values)
            for camera, clouds in self.clouds.items()
            for name, cloud in clouds.items()
            for part, values in asdict(cloud).items()
        }
        save_file(tensors, folder / TENSORS)

    @staticmethod
    def load(folder: Path) -> Statistics | None:
        """What a classifier's folder says; None where it was made before there were statistics.

        Raises:
            UserError: they are damaged, or a newer hiltk's.
        """
        if not (folder / SCALARS).is_file():
            return None
        try:
            data = json.loads((folder / SCALARS).read_text())
            if data.pop("version") != VERSION:
                raise ValueError("another version of hiltk wrote them")
            cameras = {
                camera: {q: {stage: Known(**k) for stage, k in stages.items()} for q, stages in known.items()}
                for camera, known in data.pop("cameras").items()
            }
            tensors = load_file(folder / TENSORS)
            clouds = {
                c: {n: Cloud(tensors[f"{c}.{n}.means"], tensors[f"{c}.{n}.whitening"]) for n in DISTANCES}
                for c in cameras
            }
            return Statistics(cameras, clouds, **data)
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
    """`measure`, of all frames a classifier was made with; says how far it is."""
    parts = (train, held_out)
    vectors: dict[str, dict[str, np.ndarray]] = {}
    bar = tqdm(total=sum(len(p) for p in parts) * len(train.images), desc="statistics of the images", mininterval=0.5)
    seen = [classifier.embeddings(part.images) for part in parts]
    with bar:
        for key in train.images:
            camera = key.removeprefix(IMAGE_PREFIX)
            plain, small = zip(*(_described(part.images[key], bar) for part in parts), strict=True)
            embeddings = np.concatenate([s[camera] for s in seen])
            vectors[camera] = {PLAIN: np.concatenate(plain), SCENE: np.concatenate(small), EMBEDDING: embeddings}
    return measure(
        vectors,
        np.concatenate([part.success for part in parts]),
        np.concatenate([part.episode for part in parts]),
        np.repeat([False, True], [len(part) for part in parts]),
    )


def _described(frames: Frames, bar: tqdm) -> tuple[np.ndarray, np.ndarray]:
    """`describe` (N, 6) and `thumbnail` (N, 192) of each frame."""
    plain = np.empty((len(frames), len(QUANTITIES)))
    small = np.empty((len(frames), 3 * THUMBNAIL**2), np.float32)
    for i in range(len(frames)):
        frame = frames[i]
        plain[i], small[i] = describe(frame), thumbnail(frame)
        bar.update()
    return plain, small


def measure(
    vectors: Mapping[str, Mapping[str, np.ndarray]], success: np.ndarray, episode: np.ndarray, held_out: np.ndarray
) -> Statistics:
    """The statistics of all frames a classifier was made with, those of held-out episodes included.

    Plain quantities depend on nothing fitted, so every episode is as good as an unseen one. Clouds are fitted to the
    training episodes, as the network was; their limits come from the held-out ones.

    Args:
        vectors: by camera: ``plain`` (N, 6), ``scene`` (N, 192) and ``embedding`` (N, D) of each frame.
        success: (N,) bool.
        episode: (N,) number of the episode, its frames in order.
        held_out: (N,) bool, of an episode the network was not fitted to.
    """
    episodes = [np.flatnonzero(episode == n) for n in np.unique(episode)]
    unseen = np.array([bool(held_out[rows[0]]) for rows in episodes])
    # A camera has a high and a low limit for each quantity and stage; a distance has no low ones.
    probability = 1 / (FALSE_ALARMS * len(vectors) * len(STAGES) * (2 * len(QUANTITIES) + len(DISTANCES)))
    cameras: dict[str, dict[str, dict[str, Known]]] = {}
    clouds: dict[str, dict[str, Cloud]] = {}
    for camera, of in vectors.items():
        clouds[camera] = {n: fit_cloud(of[n][~held_out], success[~held_out], int((~unseen).sum())) for n in DISTANCES}
        series = dict(zip(QUANTITIES, of[PLAIN].T, strict=True))
        series |= {name: cloud.distance(of[name]) for name, cloud in clouds[camera].items()}
        cameras[camera] = {
            quantity: {
                "start": _known(quantity, np.array([v[rows[:START]].mean() for rows in episodes]), unseen, probability),
                "whole": _known(quantity, np.array([v[rows].mean() for rows in episodes]), unseen, probability),
            }
            for quantity, v in series.items()
        }
    return Statistics(cameras, clouds, len(episodes), len(episode), int(unseen.sum()))


def _known(quantity: str, values: np.ndarray, unseen: np.ndarray, probability: float) -> Known:
    """Limits that a new episode's number leaves with ``probability`` on each side, and never inside what was seen."""
    low, high = float(values.min()), float(values.max())
    if quantity in DISTANCES:
        # They spread in proportion; those of episodes that were fitted are smaller than of unseen ones.
        limit = prediction_limit(np.log(values), [g for g in (unseen, ~unseen) if g.any()], probability)
        low_limit, high_limit = 0.0, max(float(np.exp(min(limit, 30.0))), high * (1 + LEAST[quantity]))
    else:
        every, least = [np.ones(len(values), bool)], LEAST[quantity] * float(values.mean())
        low_limit = min(-prediction_limit(-values, every, probability), low - least)
        high_limit = max(prediction_limit(values, every, probability), high + least)
    quantiles = [float(q) for q in np.quantile(values, QUANTILES)]
    return Known(float(values.mean()), float(values.std()), quantiles, low_limit, high_limit)


def prediction_limit(values: np.ndarray, groups: Sequence[np.ndarray], probability: float) -> float:
    """What one more number of the first group exceeds with ``probability``, by Student's t: few numbers, wide limits.

    Args:
        values: (n,) spread like a Gaussian around their group's mean, as widely in all groups.
        groups: (n,) bool each.
    """
    parts = [values[group] for group in groups]
    freedom = len(values) - len(parts)
    if freedom < 1:
        return float("inf")
    spread = np.sqrt(sum(((p - p.mean()) ** 2).sum() for p in parts) / freedom * (1 + 1 / len(parts[0])))
    return float(parts[0].mean() + student_t.isf(probability, freedom) * spread)


# ---------------------------------------------------------------- live


@dataclass(frozen=True)
class Drift:
    """A quantity of one camera that left what is known of it; ``value`` is its mean over the frames of the stage."""

    camera: str
    quantity: str
    stage: str
    value: float
    known: Known
    swapped: bool = False  # the colours would fit with red and blue exchanged

    @property
    def code(self) -> str:
        return f"drift_{self.camera}_{self.quantity}_{'high' if self.value > self.known.high else 'low'}"

    @property
    def message(self) -> str:
        what, number, unit = _WORDS[self.quantity]
        scale = 100 if unit else 1
        value, low, high = (format(scale * v, number) + unit for v in (self.value, self.known.low, self.known.high))
        found = (
            f"camera '{self.camera}' {what[self.value > self.known.high]} than anything the classifier was trained on"
        )
        swapped = ", as if red and blue were swapped" if self.swapped else ""
        when = "in an episode's first frames" if self.stage == "start" else "on average over an episode"
        return f"{found}: {self.quantity} {value}, trained {low}..{high}{swapped} ({when})"

    @property
    def fix(self) -> str:
        return f"{_FIXES[self.quantity]}; if it is meant, add episodes like these to the classifier's training"


# What it is when below or above what is known; how its number is written; its unit.
_WORDS = {
    "brightness": (("is darker", "is brighter"), ".0f", ""),
    "red": (("is less red", "is redder"), ".0f", " %"),
    "green": (("is less green", "is greener"), ".0f", " %"),
    "blue": (("is less blue", "is bluer"), ".0f", " %"),
    "sharpness": (("is more blurred", "is sharper or noisier"), ".2f", ""),
    "contrast": (("has less contrast", "has more contrast"), ".0f", ""),
    SCENE: (("shows another scene", "shows another scene"), ".2f", ""),
    EMBEDDING: (("looks stranger", "looks stranger"), ".2f", ""),
}
_FIXES = {
    "brightness": "check lamp, daylight, exposure and what covers the lens",
    "red": "check white balance, lamp and the order of the colour channels",
    "green": "check white balance and lamp",
    "blue": "check white balance, lamp and the order of the colour channels",
    "sharpness": "check the focus, dirt on the lens and the camera's resolution",
    "contrast": "check lamp, exposure and the lens",
    SCENE: "see whether the camera was moved, covered or exchanged, or the scene rearranged",
    EMBEDDING: "see what is there that was not while recording, and whether the camera was moved or covered",
}


class DriftMonitor:
    """Compares live episodes with a classifier's statistics, and says once of each cause that it has drifted.

    Of what one cause explains (`CAUSES`) the first kind is said.

    Attributes:
        found: everything said so far.
    """

    def __init__(self, statistics: Statistics) -> None:
        self.statistics = statistics
        self.found: list[Drift] = []
        self._said: set[tuple[str, ...]] = set()
        self._taken = self._frames = self._looked = 0
        self._sum = np.zeros(sum(len(known) for known in statistics.cameras.values()))

    def begin(self) -> None:
        """An episode begins; one that nobody ended, ends."""
        self.end()
        self._frames, self._looked, self._sum = 0, 0, np.zeros_like(self._sum)

    def see(self, observation: Observation, embedding: np.ndarray) -> list[Drift]:
        """Take in one observation; what is newly found.

        Args:
            observation: as the observation pipeline returns it.
            embedding: (F,) what the classifier's encoder made of it, its cameras side by side.
        """
        self._frames += 1
        if self._frames > self.statistics.start and self._frames % EVERY:
            return []
        parts = np.split(embedding, len(self.statistics.cameras))
        values: list[np.ndarray] = []
        for camera, part in zip(self.statistics.cameras, parts, strict=True):
            frame, clouds = observation[IMAGE_PREFIX + camera], self.statistics.clouds[camera]
            scene = clouds[SCENE].distance(thumbnail(frame)[None])
            values += [describe(frame), scene, clouds[EMBEDDING].distance(part[None])]
        self._sum += np.concatenate(values)
        self._looked += 1
        return self._judge("start") if self._frames == self.statistics.start else []

    def end(self) -> list[Drift]:
        """The episode is over; what is newly found.

        One that ends within its first frames is judged by those: drift may be what makes the classifier end it.
        """
        new = self._judge("whole" if self._frames >= self.statistics.start else "start") if self._frames else []
        self._frames = 0
        return new

    def take(self) -> list[Drift]:
        """What was found since the last call."""
        new, self._taken = self.found[self._taken :], len(self.found)
        return new

    def _judge(self, stage: str) -> list[Drift]:
        means, new = iter((self._sum / self._looked).tolist()), []
        for camera, known in self.statistics.cameras.items():
            stages = {quantity: of[stage] for quantity, of in known.items()}
            found = self._first_cause(camera, stage, stages, {quantity: next(means) for quantity in known})
            new += [found] if found else []
        self.found += new
        return new

    def _first_cause(
        self, camera: str, stage: str, known: Mapping[str, Known], now: Mapping[str, float]
    ) -> Drift | None:
        """The kind of drift that explains the others of this camera; None if there is none, or it was said."""
        for kind in CAUSES:
            worst = max(kind, key=lambda quantity: known[quantity].excess(now[quantity]))
            value = now[worst]
            if known[worst].excess(value) > 0:
                side = "above" if value > known[worst].high else "below"
                cause = (camera, "colour") if worst in COLOURS else (camera, worst, side)
                if cause in self._said:
                    return None
                self._said.add(cause)
                swapped = worst in ("red", "blue") and _fit_swapped(now, known)
                return Drift(camera, worst, stage, value, known[worst], swapped)
        return None


def _fit_swapped(colours: Mapping[str, float], known: Mapping[str, Known]) -> bool:
    exchanged = dict(zip(COLOURS, (colours[c] for c in reversed(COLOURS)), strict=True))
    return all(known[c].low_limit <= v <= known[c].high_limit for c, v in exchanged.items())
