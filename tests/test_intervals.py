"""Golden numbers: Wilson and t by hand, McNemar by summing the binomial; coverage by simulation."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hiltk.intervals import SeedRate, compare_over_seeds, compare_paired, over_seeds, wilson

# ---------------------------------------------------------------- one policy


def test_wilson_interval_by_hand() -> None:
    # Wilson, 0 of 8 with z = 1.959964: upper end z^2 / (n + z^2) = 3.8415 / 11.8415.
    none = wilson(0, 8)
    assert none.low == pytest.approx(0, abs=1e-12) and none.high == pytest.approx(0.32441, abs=1e-5)
    assert (wilson(0, 0).low, wilson(0, 0).high) == (0.0, 1.0)
    assert none.counted == "0 of 8 (95 %: 0% to 32%)"
    assert wilson(0, 0).counted == "0 of 0"


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [
        (20, 20, 0.8389, 1.0),  # low = n / (n + z^2) = 20 / 23.8415
        (0, 10, 0.0, 0.2775),  # high = z^2 / (n + z^2) = 3.8415 / 13.8415
        (190, 200, 0.9104, 0.9726),
        (14, 20, 0.4810, 0.8545),  # the user's best result on hardware: 48-85 %
    ],
)
def test_wilson_golden(successes: int, n: int, low: float, high: float) -> None:
    rate = wilson(successes, n)
    assert (rate.low, rate.high) == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))


@given(st.integers(0, 300), st.integers(1, 300))
def test_wilson_is_the_textbook_formula(successes: int, n: int) -> None:
    successes = min(successes, n)
    z, p = 1.959963984540054, successes / n
    center = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    rate = wilson(successes, n)
    assert rate.low == pytest.approx(max(0, center - half), abs=1e-9)
    assert rate.high == pytest.approx(min(1, center + half), abs=1e-9)
    assert rate.low <= rate.rate <= rate.high


def test_no_episodes_say_nothing() -> None:
    rate = wilson(0, 0)
    assert (rate.low, rate.high) == (0, 1) and math.isnan(rate.rate)
    assert str(rate) == "no episodes"


def test_rate_reads_as_percent() -> None:
    assert str(wilson(190, 200)) == "95.0 % [91.0, 97.3]"


# ---------------------------------------------------------------- several trainings


def of_200(successes: Sequence[int]) -> SeedRate:
    return over_seeds([(count, 200) for count in successes])


def test_interval_over_seeds_is_at_least_the_t_interval() -> None:
    """182, 154, 198 of 200: mean 0.89, s = 0.11136, half width 4.3027 s / sqrt(3) = 0.27662; 1 cuts the upper end."""
    rate = of_200([182, 154, 198])
    assert rate.rate == pytest.approx(0.89)
    assert (rate.low, rate.high) == (pytest.approx(0.89 - 0.27662, abs=1e-4), 1.0)
    assert str(rate) == "89.0 % [61.3, 100.0]"
    assert rate.singles == "182, 154, 198 of 200"
    assert str(rate.pooled) == "89.0 % [86.2, 91.3]"  # under its own name only: far too narrow


def test_trainings_that_all_succeed_leave_room_for_one_that_would_not() -> None:
    three, ten = of_200([200] * 3), of_200([200] * 10)
    assert three.high == ten.high == 1
    assert 0.94 < three.low < 0.97 and 0.985 < ten.low < 0.99
    assert three.low < three.pooled.low and ten.low < ten.pooled.low
    none = of_200([0] * 3)
    assert (none.low, none.high) == (0, pytest.approx(1 - three.low, abs=1e-3))


def test_ten_trainings_are_not_absurdly_wide() -> None:
    rate = of_200([198, 196, 200, 191, 199, 197, 195, 198, 200, 194])
    assert rate.high - rate.low < 0.04 and rate.low > 0.95


def test_one_training_has_the_interval_of_its_episodes() -> None:
    assert (of_200([190]).low, of_200([190]).high) == (wilson(190, 200).low, wilson(190, 200).high)
    assert str(over_seeds([])) == "no episodes" and math.isnan(over_seeds([(0, 0)]).rate)
    assert over_seeds([(9, 10), (0, 0), (18, 20)]).singles == "9 of 10, 18 of 20"


@given(st.lists(st.integers(0, 40), min_size=2, max_size=10), st.integers(0, 40))
def test_interval_over_seeds_has_its_mean_inside_and_no_order(successes: list[int], other: int) -> None:
    trainings = [(count, 40) for count in [*successes, other]]
    rate, turned = over_seeds(trainings), over_seeds(trainings[::-1])
    assert 0 <= rate.low <= rate.rate + 1e-12 and rate.rate - 1e-12 <= rate.high <= 1
    assert (rate.low, rate.high) == (pytest.approx(turned.low), pytest.approx(turned.high))
    failures = over_seeds([(40 - count, 40) for count, _ in trainings])
    assert (failures.low, failures.high) == (
        pytest.approx(1 - rate.high, abs=1e-6),
        pytest.approx(1 - rate.low, abs=1e-6),
    )


def coverage(seeds: int, mean: float, spread: float, runs: int, episodes: int = 200) -> float:
    """How often the interval holds the true mean, over simulated sets of trainings.

    Args:
        spread: standard deviation between trainings, whose true success rates are drawn from a beta distribution.
    """
    rng = np.random.default_rng([seeds, round(1e4 * mean), round(1e4 * spread)])
    size = mean * (1 - mean) / spread**2 - 1 if spread else 0.0
    rates = rng.beta(mean * size, (1 - mean) * size, (runs, seeds)) if spread else np.full((runs, seeds), mean)
    drawn, times = np.unique(np.sort(rng.binomial(episodes, rates), axis=1), axis=0, return_counts=True)
    found = [over_seeds([(int(count), episodes) for count in row]) for row in drawn]
    return float(sum(n for rate, n in zip(found, times, strict=True) if rate.low <= mean <= rate.high) / runs)


@pytest.mark.parametrize("seeds", [3, 5, 10])
@pytest.mark.parametrize("mean", [0.9, 0.98, 0.995])
def test_coverage(seeds: int, mean: float) -> None:
    assert min(coverage(seeds, mean, spread, runs=300) for spread in (0, 0.01, 0.05)) >= 0.93


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [3, 5, 10])
@pytest.mark.parametrize("mean", [0.9, 0.92, 0.94, 0.96, 0.97, 0.98, 0.99, 0.995])
@pytest.mark.parametrize("episodes", [200, 40])
def test_coverage_everywhere(seeds: int, mean: float, episodes: int) -> None:
    for spread in (0, 0.005, 0.01, 0.02, 0.03, 0.04, 0.05):
        assert coverage(seeds, mean, spread, runs=2000, episodes=episodes) >= 0.93, spread


# ---------------------------------------------------------------- differences


def test_mcnemar_golden() -> None:
    """Ten discordant pairs, nine for the second policy: p = 2 (C(10,0) + C(10,1)) / 2^10 = 22/1024."""
    first = [True] * 5 + [True] + [False] * 9 + [False] * 5
    second = [True] * 5 + [False] + [True] * 9 + [False] * 5
    test = compare_paired(first, second)
    assert (test.n, test.only_first, test.only_second) == (20, 1, 9)
    assert test.difference == pytest.approx(8 / 20)
    assert test.p_value == pytest.approx(22 / 1024)


def test_equal_policies_do_not_differ() -> None:
    test = compare_paired([True, False, True], [True, False, True])
    assert (test.difference, test.p_value) == (0, 1)


def test_unequal_lengths_do_not_pair() -> None:
    with pytest.raises(ValueError, match="do not pair up"):
        compare_paired(np.ones(3), np.ones(4))


def pairs(*won_and_lost: tuple[int, int], n: int = 100) -> list:
    return [
        compare_paired([i < lost for i in range(n)], [n - won <= i for i in range(n)]) for won, lost in won_and_lost
    ]


def test_differences_are_paired_by_seed() -> None:
    """0.10, 0.20, 0.30: mean 0.2, s = 0.1, half width 4.3027 x 0.1 / sqrt(3) = 0.24842."""
    gap = compare_over_seeds(pairs((10, 0), (25, 5), (30, 0)))
    assert (gap.difference, gap.n) == (pytest.approx(0.2), 300)
    assert (gap.low, gap.high) == (pytest.approx(0.2 - 0.24842, abs=1e-4), pytest.approx(0.2 + 0.24842, abs=1e-4))
    assert str(gap) == "+20.0 points [-4.8, +44.8]"


def test_equal_differences_do_not_make_certain() -> None:
    """Bonett and Price: 1 of 302 each way, 1.96 sqrt((2 / 302) / 302) = 0.00918."""
    gap = compare_over_seeds(pairs((0, 0), (0, 0), (0, 0)))
    assert (gap.low, gap.high) == (pytest.approx(-0.00918, abs=1e-5), pytest.approx(0.00918, abs=1e-5))


def test_without_a_pair_nothing_is_known() -> None:
    gap = compare_over_seeds([compare_paired([], [])])
    assert math.isnan(gap.difference) and (gap.low, gap.high, gap.n) == (-1, 1, 0)
