"""Golden numbers: the Wilson formula worked by hand with z = 1.959964, McNemar by summing the binomial."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hiltk.evaluation.intervals import compare_paired, wilson


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
