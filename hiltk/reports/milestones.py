"""How long a training takes until it reaches autonomous success, over several seeds: survival curves.

A run that ends before it gets there says that it would take longer, not how long: it is right-censored. Leaving such
runs out, or counting their length, would make a slow way to train look fast; Kaplan and Meier's estimate (1958) does
neither. It takes it that a run's end has nothing to do with how near it was; with `until`, which ends runs that are
good, the curves are late.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import CensoredData, ecdf

from hiltk.learning.metrics import WINDOW, by_itself
from hiltk.reports.figures import Runs

LEVELS = (0.9, 0.95)
# What time is counted in: a column of metrics.csv, what divides it, and its name.
CLOCKS = {"episode": (1.0, "episodes"), "human_s": (60.0, "minutes of a person")}


@dataclass(frozen=True)
class Waiting:
    """Time until a level, of each seed.

    Attributes:
        reached: of the seeds that did.
        ended: when those ended that did not.
    """

    reached: tuple[float, ...]
    ended: tuple[float, ...]

    @property
    def seeds(self) -> int:
        return len(self.reached) + len(self.ended)

    def curve(self) -> tuple[np.ndarray, np.ndarray]:
        """Times (K,) and the share of seeds that has not reached the level after each (K,), from (0, 1) on."""
        survival = ecdf(CensoredData(uncensored=self.reached, right=self.ended)).sf
        return np.concatenate([[0.0], survival.quantiles]), np.concatenate([[1.0], survival.probabilities])

    @property
    def median(self) -> float:
        """When half of the seeds are there; NaN where that was not seen."""
        times, left = self.curve()
        there = np.flatnonzero(left <= 0.5 + 1e-9)
        return float(times[there[0]]) if len(there) else float("nan")


def waiting(runs: Runs, level: float, clock: str) -> Waiting | None:
    """The time each seed took to ``level``; None where a run did not count that time.

    Args:
        clock: a key of `CLOCKS`.
    """
    if any(clock not in frame or frame[clock].isna().any() for frame in runs.values()):
        return None
    unit, offset = CLOCKS[clock][0], 1 if clock == "episode" else 0
    reached: list[float] = []
    ended: list[float] = []
    for frame in runs.values():
        at = arrival(frame, level)
        row = len(frame) - 1 if at is None else at
        (ended if at is None else reached).append((float(frame[clock].iloc[row]) + offset) / unit)
    return Waiting(tuple(reached), tuple(ended))


def arrival(frame: pd.DataFrame, level: float) -> int | None:
    """The row at which `WINDOW` episodes in which the policy was left alone first reach ``level``; None: never."""
    success = by_itself(frame)
    there = success.dropna().rolling(WINDOW).mean() >= level - 1e-9
    return int(frame.index.get_loc(there.idxmax())) if there.any() else None


def milestones(runs: Mapping[str, Runs]) -> pd.DataFrame:
    """One row per way to train and level: how many seeds got there, and when half of them had."""
    rows = []
    for label, seeds in runs.items():
        for level in LEVELS:
            times = {clock: waiting(seeds, level, clock) for clock in CLOCKS}
            first = times["episode"]
            assert first is not None  # every metrics.csv counts episodes
            medians = [float("nan") if found is None else found.median for found in times.values()]
            rows.append((label, level, len(first.reached), first.seeds, *medians))
    return pd.DataFrame(rows, columns=["policy", "level", "reached", "seeds", *CLOCKS])
