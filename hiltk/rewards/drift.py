"""Drift: live episodes compared with those the success classifier was trained on, and a warning by name.

A lamp, a bumped or exchanged camera, swapped colour channels or a dirty lens change what a classifier sees, and it goes
on judging (devlogs 076, 081, 082: success fell from 55 to 28 % by a change of light).

Only the first frame of an episode is looked at: the arm is where episodes start, and nothing in it depends on who acts.
What a policy reaches later, as it learns, is new without being drift. Of every camera this follows plain quantities,
how the view is shifted against the mean first frame of training (Evangelidis & Psarakis 2008), how unlike that frame it
is, and how far the classifier's own embedding lies from those of training, which hardly notices what the task does not
need.

Each quantity has a chart of its exponentially weighted moving average over episodes (Roberts 1959), with limits that do
not depend on time (Montgomery 2009, section 9.2.1) and that allow for a mean known from few episodes. They are made for
`FALSE_ALARMS` in `EPISODES` episodes, all charts together, as far as episodes spread like a Gaussian; averages over
episodes do so better than episodes themselves (Borror et al. 1999). A plain quantity that changes by nine spreads is
said at once, by half as much after two or three episodes, by a quarter after about ten.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from scipy.stats import t as student_t

from hiltk.data.frames import Frames
from hiltk.errors import UserError
from hiltk.findings import Finding, Severity
from hiltk.formats import STATISTICS
from hiltk.observation import Observation
from hiltk.rewards.frames import LabelledFrames
from hiltk.spec import IMAGE_PREFIX

SCALARS, TENSORS = "drift.json", "drift.safetensors"
FALSE_ALARMS, EPISODES = 0.1, 1000  # expected while nothing has changed
NEWEST = 0.2  # weight of the newest episode in a chart
SPOKEN_OF = 5  # newest episodes whose mean a message tells
UNWATCHED = (
    "the classifier has no statistics of its training images: drift is not watched (train it again to have them)"
)
COLOURS = ("red", "green", "blue")
PLAIN = ("brightness", *COLOURS, "sharpness", "contrast")
SHIFTS = ("right", "down")  # pixels by which the view is shifted
SCENE, EMBEDDING = DISTANCES = ("scene", "embedding")
QUANTITIES = (*PLAIN, *SHIFTS, *DISTANCES)
MOST = 3.0  # spreads for which one episode's shift counts: where a table has a pattern, aligning fails in a few of 100
ALIGNED = 64  # pixels of the longer side at which views are aligned
FARTHEST = 0.25  # of a side; what seems shifted farther is another view
# Episodes are taken to spread at least so much, however alike those of training were: a part of the mean; of shifts
# pixels; of distances a factor. A few times this is what no classifier minds.
LEAST = {"brightness": 0.04, "red": 0.02, "green": 0.02, "blue": 0.02, "sharpness": 0.05, "contrast": 0.1}
LEAST |= {"right": 0.5, "down": 0.5, SCENE: 0.35, EMBEDDING: 0.3}
QUANTILES = (0.0, 0.05, 0.5, 0.95, 1.0)
# What explains what: another view has other contrast, a lamp another embedding. Where one chart is out of its limits,
# the first kind is said that is at least half-way there.
HALFWAY = 0.5
CAUSES = ((SCENE,), ("brightness", *COLOURS), SHIFTS, ("sharpness",), ("contrast",), (EMBEDDING,))


def describe(frame: np.ndarray) -> np.ndarray:
    """The `PLAIN` quantities (6,) of one frame (H, W, 3) uint8 RGB.

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


def small_grey(frame: np.ndarray) -> np.ndarray:
    """One frame (H, W, 3) uint8 as grey float32 of at most `ALIGNED` pixels a side."""
    grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
    scale = min(1.0, ALIGNED / max(grey.shape))
    size = (max(1, round(grey.shape[1] * scale)), max(1, round(grey.shape[0] * scale)))
    return cv2.resize(grey, size, interpolation=cv2.INTER_AREA).astype(np.float32)


def align(frame: np.ndarray, usual: np.ndarray) -> np.ndarray:
    """How the view is shifted against the usual one, and how unlike it is then: (right, down, unlikeness).

    Enhanced correlation coefficient (Evangelidis & Psarakis 2008), which gain and brightness do not change. Pixels are
    those of the frame; unlikeness is one minus the correlation, from 0. A view that cannot be aligned is not shifted
    but unlike.

    Args:
        frame: (H, W, 3) uint8.
        usual: the mean of `small_grey` over the training episodes.
    """
    grey, warp = small_grey(frame), np.eye(2, 3, dtype=np.float32)
    stop = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 50, 1e-3)
    try:
        whole = np.full(grey.shape, 255, np.uint8)
        likeness, moved = cv2.findTransformECC(usual, grey, warp, cv2.MOTION_TRANSLATION, stop, whole, 5)
        warp = np.asarray(moved)
    except cv2.error:  # it does not converge, or there is nothing to see
        likeness = np.nan
    shift = warp[:, 2] / grey.shape[::-1]  # as parts of width and height
    if not np.isfinite(likeness) or np.abs(shift).max() > FARTHEST:
        shift, likeness = np.zeros(2), _correlation(grey, usual)
    return np.array([shift[0] * frame.shape[1], shift[1] * frame.shape[0], max(1 - likeness, 0.0)])


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    a, b = a - a.mean(), b - b.mean()
    size = float(np.sqrt((a**2).sum() * (b**2).sum()))
    return float((a * b).sum()) / size if size > 0 else 0.0


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


@dataclass(frozen=True)
class Cloud:
    """How a camera's embeddings are spread: a Gaussian per class, one covariance (Lee et al. 2018).

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


def usual_views(frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The mean of `small_grey` over E frames (E, H, W, 3), and for each that of all others (E, h, w).

    A new episode is not in the mean it is compared with, so none of those it is compared with may be.
    """
    grey = np.stack([small_grey(frame) for frame in frames])
    usual = grey.mean(axis=0)
    return usual, (usual * len(grey) - grey) / (len(grey) - 1) if len(grey) > 1 else grey


def look(frame: np.ndarray, usual: np.ndarray) -> np.ndarray:
    """All quantities of one frame (H, W, 3) but its embedding's, (9,)."""
    return np.concatenate([describe(frame), align(frame, usual)])


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


# ---------------------------------------------------------------- live


@dataclass(frozen=True)
class Drift:
    """A quantity of one camera that left what is known of it.

    Attributes:
        value: of the newest episode; where that alone is nothing new, the mean of the newest few.
        episodes: how many these are.
    """

    camera: str
    quantity: str
    high: bool
    value: float
    known: Known
    episodes: int = 1
    swapped: bool = False  # the colours would fit with red and blue exchanged

    @property
    def code(self) -> str:
        return f"drift_{self.camera}_{self.quantity}_{'high' if self.high else 'low'}"

    @property
    def finding(self) -> Finding:
        """The same in words."""
        fix = f"{_FIXES[self.quantity]}; if it is meant, add episodes like these to the classifier's training"
        return Finding(self._what, fix=fix, code=self.code, severity=Severity.warning, evidence={"value": self.value})

    @property
    def _what(self) -> str:
        what, called, number, unit = _WORDS[self.quantity]
        factor = 100 if unit == " %" else 1
        value, low, high = (format(factor * v, number) + unit for v in (self.value, self.known.low, self.known.high))
        outside = not self.known.low <= self.value <= self.known.high
        trained = "anything the classifier was trained on" if outside else "the classifier's training images on average"
        swapped = ", as if red and blue were swapped" if self.swapped else ""
        when = "the first frame of an episode" if self.episodes == 1 else f"first frames of {self.episodes} episodes"
        return (
            f"camera '{self.camera}' {what[self.high]} than {trained}: {called} {value}, trained {low}..{high}{swapped}"
            f" ({when})"
        )


# What it is when below or above what is known; what its number is called, how it is written, and its unit.
_WORDS = {
    "brightness": (("is darker", "is brighter"), "brightness", ".0f", ""),
    "red": (("is less red", "is redder"), "red", ".0f", " %"),
    "green": (("is less green", "is greener"), "green", ".0f", " %"),
    "blue": (("is less blue", "is bluer"), "blue", ".0f", " %"),
    "sharpness": (("is more blurred", "is sharper or noisier"), "sharpness", ".2f", ""),
    "contrast": (("has less contrast", "has more contrast"), "contrast", ".0f", ""),
    "right": (("shows things farther left", "shows things farther right"), "shift to the right", ".1f", " px"),
    "down": (("shows things farther up", "shows things farther down"), "shift downwards", ".1f", " px"),
    SCENE: (("is more like itself", "shows another scene"), "unlikeness", ".2f", ""),
    EMBEDDING: (("looks plainer", "looks stranger"), "distance of the embedding", ".2f", ""),
}
_MOVED = "see whether the camera was moved, or the arm starts elsewhere"
_FIXES = {
    "brightness": "check lamp, daylight, exposure and what covers the lens",
    "red": "check white balance, lamp and the order of the colour channels",
    "green": "check white balance and lamp",
    "blue": "check white balance, lamp and the order of the colour channels",
    "sharpness": "check the focus, dirt on the lens and the camera's resolution",
    "contrast": "check lamp, exposure and the lens",
    "right": _MOVED,
    "down": _MOVED,
    SCENE: "see whether the camera was moved, covered or exchanged, or the scene rearranged",
    EMBEDDING: "see what is there that was not while recording, and whether the camera was moved or covered",
}


class DriftMonitor:
    """Follows the first frames of live episodes, and says once of each cause that it has drifted.

    Of what one cause explains (`CAUSES`) the first kind is said.

    Attributes:
        found: everything said so far.
        now: what is out of its limits after the newest episode, said before or not.
    """

    def __init__(self, statistics: Statistics) -> None:
        self.statistics = statistics
        self.found: list[Drift] = []
        self.now: list[Drift] = []
        self._taken, self._waiting = 0, True
        self._average = {camera: np.zeros(len(QUANTITIES)) for camera in statistics.cameras}
        self._recent = {camera: deque[np.ndarray](maxlen=SPOKEN_OF) for camera in statistics.cameras}

    def begin(self) -> None:
        """An episode begins: its first observation comes next."""
        self._waiting = True

    def see(self, observation: Observation, embedding: np.ndarray) -> list[Drift]:
        """Take in one observation; what is newly found. Only an episode's first one is looked at.

        Args:
            observation: as the observation pipeline returns it.
            embedding: (F,) what the classifier's encoder made of it, its cameras side by side.
        """
        if not self._waiting:
            return []
        self._waiting, self.now = False, []
        parts = np.split(embedding, len(self.statistics.cameras))
        for camera, part in zip(self.statistics.cameras, parts, strict=True):
            distance = self.statistics.clouds[camera].distance(part[None])
            seen = look(observation[IMAGE_PREFIX + camera], self.statistics.usual[camera])
            self.now += self._judge(camera, np.concatenate([seen, distance]))
        said = {drift.code for drift in self.found}
        new = [drift for drift in self.now if drift.code not in said]
        self.found += new
        return new

    def take(self) -> list[Drift]:
        """What was found since the last call."""
        new, self._taken = self.found[self._taken :], len(self.found)
        return new

    def _judge(self, camera: str, values: np.ndarray) -> list[Drift]:
        """The kind of drift that explains the others of this camera, if there is any; moves the charts on."""
        charts = self.statistics.cameras[camera]
        pairs = zip(QUANTITIES, values, strict=True)
        away = np.array([(scale(q, v) - charts[q].mean) / charts[q].spread for q, v in pairs])
        shifts = [QUANTITIES.index(shift) for shift in SHIFTS]
        away[shifts] = away[shifts].clip(-MOST, MOST)
        self._average[camera] += NEWEST * (away - self._average[camera])
        self._recent[camera].append(values)
        average = dict(zip(QUANTITIES, self._average[camera].tolist(), strict=True))
        excess = {q: _excess(q, average[q], charts[q]) for q in QUANTITIES}
        if max(excess.values()) <= 1:
            return []
        worst = (max(kind, key=lambda quantity: excess[quantity]) for kind in CAUSES)
        named = next(quantity for quantity in worst if excess[quantity] > HALFWAY)
        return [self._drift(camera, named, average[named] > 0)]

    def _drift(self, camera: str, quantity: str, high: bool) -> Drift:
        charts, recent = self.statistics.cameras[camera], np.array(self._recent[camera])
        newest = dict(zip(QUANTITIES, recent[-1].tolist(), strict=True))
        swapped = quantity in ("red", "blue") and _fit_swapped(newest, charts)
        chart, value, episodes = charts[quantity], newest[quantity], 1
        if chart.low <= value <= chart.high:
            value, episodes = float(recent[:, QUANTITIES.index(quantity)].mean()), len(recent)
        return Drift(camera, quantity, high, value, chart, episodes, swapped)


def _excess(quantity: str, average: float, chart: Known) -> float:
    """How far out, in limits: beyond 1 is drift. Of distances only what is far is strange."""
    return (average if quantity in DISTANCES else abs(average)) / chart.limit


def _fit_swapped(seen: Mapping[str, float], charts: Mapping[str, Known]) -> bool:
    """With red and blue exchanged the colours are within three spreads of what they were."""
    exchanged = zip(COLOURS, (seen[c] for c in reversed(COLOURS)), strict=True)
    return all(abs(value - charts[c].mean) <= 3 * charts[c].spread for c, value in exchanged)
