"""How sure a success rate is: of one policy's episodes, of a way to train over several trainings, of a difference.

Two questions are easily taken for each other. *How good is this policy?* is answered by its episodes alone (`wilson`).
*How good is what this way of training makes?* depends on the seed as well: trainings differ, and more episodes of three
policies say nothing of a fourth. `over_seeds` answers that one, from the successes of each training.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.special import betaln
from scipy.stats import beta, binomtest, norm, t

CONFIDENCE = 0.95  # of every interval
# How alike the episodes of one training are before anything is seen: the prior of their correlation is Beta(1/2, 6).
# `tests/test_intervals.py` simulates what it is chosen by: from 3 to 10 trainings, a true 90 to 99.5 % and a standard
# deviation between trainings of up to 5 points. A flatter prior is wide without need; from Beta(1/2, 12) on, ten
# trainings without a failure claim too much.
CORRELATION_PRIOR = (0.5, 6.0)
_MEANS, _CORRELATIONS = 300, 32  # points of the posterior's grid


@dataclass(frozen=True)
class Rate:
    """A count among n with its 95 % Wilson score interval (Wilson 1927); [0, 1] when n is 0."""

    count: int
    n: int
    low: float
    high: float

    @property
    def rate(self) -> float:
        """NaN when n is 0."""
        return self.count / self.n if self.n else float("nan")

    def __str__(self) -> str:
        if not self.n:
            return "no episodes"
        return _with_interval(self)

    @property
    def counted(self) -> str:
        """``1 of 8 (95 %: 2% to 47%)``, for counts so small that a percentage says too much."""
        return f"{self.count} of {self.n}" + (f" (95 %: {self.low:.0%} to {self.high:.0%})" if self.n else "")


def _with_interval(of: Rate | SeedRate) -> str:
    """``89.0 % [61.3, 100.0]``."""
    return f"{100 * of.rate:.1f} % [{100 * of.low:.1f}, {100 * of.high:.1f}]"


@lru_cache(maxsize=4096)
def wilson(count: int, n: int) -> Rate:
    """The 95 % Wilson interval, which stays honest at 0 % and 100 %."""
    if n == 0:
        return Rate(0, 0, 0.0, 1.0)
    interval = binomtest(int(count), int(n)).proportion_ci(confidence_level=CONFIDENCE, method="wilson")
    return Rate(int(count), int(n), float(interval.low), float(interval.high))


# ---------------------------------------------------------------- several trainings


@dataclass(frozen=True)
class SeedRate:
    """Success of a way to train: the mean over its trainings, with a 95 % interval for the mean of all such trainings.

    Attributes:
        seeds: each training by itself.
        low, high: include the variation between trainings, as far as there is more than one.
    """

    seeds: tuple[Rate, ...]
    low: float
    high: float

    @property
    def rate(self) -> float:
        """Each training counts alike; NaN without episodes."""
        return float(np.mean([seed.rate for seed in self.seeds])) if self.seeds else float("nan")

    @property
    def pooled(self) -> Rate:
        """All episodes as if of one policy. Its interval ignores the variation between seeds."""
        return wilson(self.count, self.n)

    @property
    def count(self) -> int:
        """Successes of all trainings."""
        return sum(seed.count for seed in self.seeds)

    @property
    def n(self) -> int:
        """Episodes of all trainings."""
        return sum(seed.n for seed in self.seeds)

    @property
    def singles(self) -> str:
        """``182, 154, 198 of 200``, or ``9 of 10, 18 of 20`` where they differ in episodes."""
        if len({seed.n for seed in self.seeds}) == 1:
            return f"{', '.join(str(seed.count) for seed in self.seeds)} of {self.seeds[0].n}"
        return ", ".join(f"{seed.count} of {seed.n}" for seed in self.seeds)

    def __str__(self) -> str:
        if not self.seeds:
            return "no episodes"
        return _with_interval(self)


def over_seeds(trainings: Sequence[tuple[int, int]]) -> SeedRate:
    """The success rate of a way to train, from (successes, episodes) of each of its trainings.

    The t interval over the trainings' rates, at least as wide as what a beta-binomial model says. The first is right
    where the trainings spread visibly, whatever their distribution, and shrinks to nothing where they succeed alike. In
    the second (Skellam 1948) trainings draw their rates from a beta distribution with mean mu and correlation
    rho = 1 / (a + b + 1), and episodes are Bernoulli; the interval is the equal-tailed posterior of mu under Jeffreys'
    prior for mu and `CORRELATION_PRIOR` for rho. As usual with Jeffreys' it reaches 0 without a success and 1 without a
    failure (Brown, Cai and DasGupta 2001). So trainings that all succeeded still leave room for one that would not.

    Of one training the interval is Wilson's over its episodes: it says how good that policy is, and nothing of others.
    """
    seeds = tuple(wilson(count, n) for count, n in trainings if n)
    if len(seeds) < 2:
        return SeedRate(seeds, *((seeds[0].low, seeds[0].high) if seeds else (0.0, 1.0)))
    rates = [seed.rate for seed in seeds]
    low, high = _beta_binomial(seeds)
    lowest, highest = _t_interval(rates)
    return SeedRate(
        seeds,
        0.0 if max(rates) == 0 else max(0.0, min(low, lowest)),
        1.0 if min(rates) == 1 else min(1.0, max(high, highest)),
    )


def _t_interval(values: Sequence[float]) -> tuple[float, float]:
    """Of the mean of independent values, two or more."""
    mean, error = np.mean(values), np.std(values, ddof=1) / np.sqrt(len(values))
    half = t.ppf(0.5 + CONFIDENCE / 2, len(values) - 1) * error
    return float(mean - half), float(mean + half)


def _beta_binomial(seeds: Sequence[Rate]) -> tuple[float, float]:
    """The equal-tailed posterior of the mean, on a grid."""
    log = np.sum([_log_likelihood(seed.count, seed.n) for seed in seeds], axis=0)
    weight = np.exp(log - log.max()).sum(axis=1)
    tail = (1 - CONFIDENCE) / 2
    low, high = np.interp([tail, 1 - tail], np.concatenate([[0.0], weight.cumsum() / weight.sum()]), _mean_edges())
    return float(low), float(high)


def _mean_edges() -> np.ndarray:
    """Borders of the grid of means (M+1,): equal steps of Jeffreys' prior, whose quantiles are sin^2."""
    return np.sin(np.pi / 2 * np.linspace(0, 1, _MEANS + 1)) ** 2


@lru_cache(maxsize=1024)
def _log_likelihood(count: int, n: int) -> np.ndarray:
    """Of one training, up to a constant, at every mean and correlation of the grid: (M, R) float64."""
    middle = (np.arange(_MEANS) + 0.5) / _MEANS
    mean = np.sin(np.pi / 2 * middle)[:, None] ** 2
    rho = beta.ppf((np.arange(_CORRELATIONS) + 0.5) / _CORRELATIONS, *CORRELATION_PRIOR)
    a, b = mean * (1 / rho - 1), (1 - mean) * (1 / rho - 1)
    return np.asarray(betaln(a + count, b + n - count) - betaln(a, b))


# ---------------------------------------------------------------- differences


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

    It compares these two policies. Of two ways to train it says nothing: that is `compare_over_seeds`.

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


@dataclass(frozen=True)
class SeedDifference:
    """Two ways to train, paired by seed: the mean of the differences, second minus first, with a 95 % interval.

    Attributes:
        seeds: each pair of trainings, on the episodes both played.
    """

    seeds: tuple[Paired, ...]
    low: float
    high: float

    @property
    def n(self) -> int:
        """Episodes of all pairs."""
        return sum(pair.n for pair in self.seeds)

    @property
    def difference(self) -> float:
        """NaN without a pair."""
        return float(np.mean([pair.difference for pair in self.seeds])) if self.seeds else float("nan")

    def __str__(self) -> str:
        return f"{100 * self.difference:+.1f} points [{100 * self.low:+.1f}, {100 * self.high:+.1f}]"


def compare_over_seeds(pairs: Sequence[Paired]) -> SeedDifference:
    """The t interval of the differences, one for each seed; at least as wide as the one over the pooled episodes.

    The latter (Bonett and Price 2012) is the only one where there is a single pair, and keeps the interval from
    shrinking to nothing where every pair differs alike.
    """
    pairs = tuple(pair for pair in pairs if pair.n)
    if not pairs:
        return SeedDifference((), -1.0, 1.0)
    n = sum(pair.n for pair in pairs) + 2
    lost, won = (sum(pair.only_first for pair in pairs) + 1) / n, (sum(pair.only_second for pair in pairs) + 1) / n
    half = norm.ppf(0.5 + CONFIDENCE / 2) * np.sqrt((lost + won - (won - lost) ** 2) / n)
    bounds = [won - lost - half, won - lost + half]
    if len(pairs) > 1:
        bounds += _t_interval([pair.difference for pair in pairs])
    return SeedDifference(pairs, max(-1.0, float(min(bounds))), min(1.0, float(max(bounds))))
