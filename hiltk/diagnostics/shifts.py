"""Domain shift from demonstrations to experience: how far their distributions are apart, and where they overlap.

Episodes are the unit wherever chance is judged: neighbouring frames are near-copies, and a test that counts them one by
one calls any two recordings different.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.spatial import cKDTree
from scipy.stats import false_discovery_control

from hiltk import limits
from hiltk.diagnostics.experience import Experience
from hiltk.spec import Spec, Stats

SAMPLE = 2000  # states of each side that coverage is measured on
SHUFFLES = 400  # of episodes, for the two-sample test
FAR_QUANTILE = 0.95
# Of Kolmogorov and Smirnov's distance: an effect that is large, if it is significant; one that needs no test.
LARGE_EFFECT, NO_OVERLAP = 0.8, 0.95


def shifts(demos: Experience, online: Experience, spec: Spec, seed: int = 0) -> pd.DataFrame:
    """Demonstrations against what was experienced, dimension by dimension of state and action.

    ``ks`` is the distance of Kolmogorov and Smirnov between the two distributions of frames (0 the same, 1 no overlap):
    the effect size. ``moved_std`` is how far the median moved, in standard deviations of the demonstrations. ``p`` is
    the share of `SHUFFLES` random assignments of whole episodes to the two sides with a distance as large, and ``q``
    the same after Benjamini and Hochberg, for all dimensions together. Empty where one side has no data.
    """
    if not len(demos) or not len(online):
        return pd.DataFrame(
            columns=["column", "dimension", "demo_median", "online_median", "moved_std", "ks", "p", "q"]
        )
    weights = _assignments(demos.lengths, online.lengths, seed)
    rows = []
    for column, names in (("state", spec.state.names), ("action", spec.action.names)):
        a, b = getattr(demos, column).astype(np.float64), getattr(online, column).astype(np.float64)
        for i, name in enumerate(names):
            distances = _distances(np.concatenate([a[:, i], b[:, i]]), weights)
            spread = max(float(a[:, i].std()), 1e-9)
            rows.append(
                {
                    "column": column,
                    "dimension": name,
                    "demo_median": float(np.median(a[:, i])),
                    "online_median": float(np.median(b[:, i])),
                    "moved_std": float(np.median(b[:, i]) - np.median(a[:, i])) / spread,
                    "ks": distances[0],
                    "p": float((1 + (distances[1:] >= distances[0] - 1e-12).sum()) / len(distances)),
                }
            )
    table = pd.DataFrame(rows)
    return table.assign(q=false_discovery_control(table.p))


def apart_share(table: pd.DataFrame) -> float:
    """Share of the state's dimensions, of `shifts`, that hardly overlap and lie far off; 0 where there are none."""
    own = table[table.column == "state"]
    return float(((own.ks > NO_OVERLAP) & (own.moved_std.abs() > limits.FAR_STD)).mean()) if len(own) else 0.0


def _assignments(demo_lengths: np.ndarray, online_lengths: np.ndarray, seed: int) -> np.ndarray:
    """Weights (1 + SHUFFLES, N) of every frame: +1/n on the first side, -1/m on the second; row 0 as it really was."""
    lengths, first = np.concatenate([demo_lengths, online_lengths]), len(demo_lengths)
    rng, sides = np.random.default_rng(seed), np.zeros((1 + SHUFFLES, len(lengths)), bool)
    sides[0, :first] = True
    for row in sides[1:]:
        row[rng.permutation(len(lengths))[:first]] = True
    frames = np.repeat(sides, lengths, axis=1)
    count = frames.sum(1, keepdims=True)
    return np.where(frames, 1 / count, -1 / (frames.shape[1] - count)).astype(np.float32)


def _distances(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Kolmogorov and Smirnov's distance of the two sides under every assignment; equal values count as one step."""
    order = np.argsort(values, kind="stable")
    ends = np.r_[np.diff(values[order]) > 0, True]
    out = [np.abs(np.cumsum(row[order], dtype=np.float64)[ends]).max() for row in weights]
    return np.array(out)


@dataclass(frozen=True)
class Coverage:
    """How far the two bodies of data lie in the same place.

    Attributes:
        online: share of online states that lie as near to a demonstrated one as demonstrations do to each other.
        demos: share of demonstrated states that lie so near to an online one.
    """

    online: float
    demos: float


def coverage(demos: Experience, online: Experience, stats: Stats, seed: int = 0) -> Coverage | None:
    """Overlap of the states, each dimension divided by its standard deviation; None where one side has no data.

    "Near" is the distance within which `FAR_QUANTILE` of demonstrated states have one of *another* demonstration.
    """
    if demos.episodes < 2 or not len(online):
        return None
    rng, scale = np.random.default_rng(seed), np.maximum(np.array(stats.std), 1e-9)
    a, b = _some(demos, rng), _some(online, rng)
    x, y = demos.state[a] / scale, online.state[b] / scale
    near = float(np.quantile(_to_others(x, demos.episode[a]), FAR_QUANTILE))
    to_demos, to_online = cKDTree(x).query(y)[0], cKDTree(y).query(x)[0]
    return Coverage(float((to_demos <= near).mean()), float((to_online <= near).mean()))


def _some(where: Experience, rng: np.random.Generator) -> np.ndarray:
    return np.sort(rng.choice(len(where), min(len(where), SAMPLE), replace=False))


def _to_others(x: np.ndarray, episode: np.ndarray) -> np.ndarray:
    """Distance of each state to the nearest one of another episode."""
    out = np.empty(len(x))
    for number in np.unique(episode):
        own = episode == number
        out[own] = cKDTree(x[~own]).query(x[own])[0]
    return out
