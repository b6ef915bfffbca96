"""Drift (domain shift): live episodes compared with those the success classifier was trained on, and a warning by name.

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

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from hiltk.findings import Finding, Severity
from hiltk.observation import Observation
from hiltk.rewards.training_images import NEWEST, Known, Statistics, scale
from hiltk.rewards.views import COLOURS, DISTANCES, EMBEDDING, QUANTITIES, SCENE, SHIFTS, look
from hiltk.spec import IMAGE_PREFIX

SPOKEN_OF = 5  # newest episodes whose mean a message tells
UNWATCHED = (
    "the classifier has no statistics of its training images: drift is not watched (train it again to have them)"
)
MOST = 3.0  # spreads for which one episode's shift counts: where a table has a pattern, aligning fails in a few of 100
# What explains what: another view has other contrast, a lamp another embedding. Where one chart is out of its limits,
# the first kind is said that is at least half-way there.
HALFWAY = 0.5
CAUSES = ((SCENE,), ("brightness", *COLOURS), SHIFTS, ("sharpness",), ("contrast",), (EMBEDDING,))


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
        called, number, unit = _NUMBERS[self.quantity]
        factor = 100 if unit == " %" else 1
        value, low, high = (format(factor * v, number) + unit for v in (self.value, self.known.low, self.known.high))
        outside = not self.known.low <= self.value <= self.known.high
        trained = "anything the classifier was trained on" if outside else "the classifier's training images on average"
        swapped = ", as if red and blue were swapped" if self.swapped else ""
        when = "the first frame of an episode" if self.episodes == 1 else f"first frames of {self.episodes} episodes"
        return (
            f"camera '{self.camera}' {LOOKS[self.quantity, self.high]} than {trained}: {called} {value}, trained "
            f"{low}..{high}{swapped} ({when})"
        )


# How a camera looks whose quantity is too high (True) or too low. Of distances only what is far is strange.
LOOKS = {
    ("brightness", False): "is darker",
    ("brightness", True): "is brighter",
    ("red", False): "is less red",
    ("red", True): "is redder",
    ("green", False): "is less green",
    ("green", True): "is greener",
    ("blue", False): "is less blue",
    ("blue", True): "is bluer",
    ("sharpness", False): "is more blurred",
    ("sharpness", True): "is sharper or noisier",
    ("contrast", False): "has less contrast",
    ("contrast", True): "has more contrast",
    ("right", False): "shows things farther left",
    ("right", True): "shows things farther right",
    ("down", False): "shows things farther up",
    ("down", True): "shows things farther down",
    (SCENE, True): "shows another scene",
    (EMBEDDING, True): "looks stranger",
}
# What a quantity's number is called, how it is written, and its unit.
_NUMBERS = {
    "brightness": ("brightness", ".0f", ""),
    "red": ("red", ".0f", " %"),
    "green": ("green", ".0f", " %"),
    "blue": ("blue", ".0f", " %"),
    "sharpness": ("sharpness", ".2f", ""),
    "contrast": ("contrast", ".0f", ""),
    "right": ("shift to the right", ".1f", " px"),
    "down": ("shift downwards", ".1f", " px"),
    SCENE: ("unlikeness", ".2f", ""),
    EMBEDDING: ("distance of the embedding", ".2f", ""),
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
    """How far out, in limits: beyond 1 is drift; a distance is so on one side only (`LOOKS`)."""
    return (average if quantity in DISTANCES else abs(average)) / chart.limit


def _fit_swapped(seen: Mapping[str, float], charts: Mapping[str, Known]) -> bool:
    """With red and blue exchanged the colours are within three spreads of what they were."""
    exchanged = zip(COLOURS, (seen[c] for c in reversed(COLOURS)), strict=True)
    return all(abs(value - charts[c].mean) <= 3 * charts[c].spread for c, value in exchanged)
