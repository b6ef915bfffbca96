"""How sure a success rate is, and whether two policies differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import binomtest

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Rate:
    """A success rate with its Wilson score interval (Wilson 1927); ``rate`` is NaN without episodes."""

    successes: int
    n: int
    low: float
    high: float

    @property
    def rate(self) -> float:
        return self.successes / self.n if self.n else float("nan")

    def __str__(self) -> str:
        if not self.n:
            return "no episodes"
        return f"{100 * self.rate:.1f} % [{100 * self.low:.1f}, {100 * self.high:.1f}]"


def wilson(successes: int, n: int) -> Rate:
    """The 95 % Wilson interval, which stays honest at 0 % and 100 %; without episodes it is [0, 1]."""
    if n == 0:
        return Rate(0, 0, 0.0, 1.0)
    interval = binomtest(int(successes), int(n)).proportion_ci(confidence_level=CONFIDENCE, method="wilson")
    return Rate(int(successes), int(n), float(interval.low), float(interval.high))


@dataclass(frozen=True)
class Paired:
    """Two policies on the same episodes. ``difference`` is second minus first; ``p_value`` is exact McNemar's."""

    n: int
    only_first: int
    only_second: int
    difference: float
    p_value: float


def compare_paired(first: Sequence[bool] | np.ndarray, second: Sequence[bool] | np.ndarray) -> Paired:
    """Exact McNemar test (McNemar 1947): only episodes that one policy solves and the other does not say anything.

    Args:
        first: (N,) success of the first policy.
        second: (N,) success of the second policy in the same episodes, in the same order.
    """
    a, b = np.asarray(first, dtype=bool), np.asarray(second, dtype=bool)
    if a.shape != b.shape or a.ndim != 1:
        raise ValueError(f"the episodes do not pair up: {a.shape} against {b.shape}")
    only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
    discordant = only_a + only_b
    p_value = float(binomtest(only_a, discordant, 0.5).pvalue) if discordant else 1.0
    difference = (only_b - only_a) / len(a) if len(a) else float("nan")
    return Paired(len(a), only_a, only_b, difference, p_value)
