"""When a run may end: worked by hand, and simulated as often as it says it can be looked at."""

from __future__ import annotations

import math

import numpy as np
import pytest

from hiltk.config.commands import UntilConf
from hiltk.errors import ConfigError
from hiltk.learning.until import check_until, reached, stakes


def rows(outcomes: list[bool], left_alone: float = 1.0) -> list[dict[str, float]]:
    return [{"success": float(success), "left_alone": left_alone} for success in outcomes]


def test_stakes_by_hand() -> None:
    # Guesses: 1/2 (no bet against 0.6), 3/4, 5/6, then after a failure 5/8.
    assert stakes([True, True, False, True], 0.6) == pytest.approx(
        [1, 0.75 / 0.6, 0.75 / 0.6 * (1 / 6) / 0.4, 0.75 / 0.6 * (1 / 6) / 0.4 * 0.625 / 0.6]
    )


def test_a_policy_that_never_fails_needs_so_many_episodes() -> None:
    """Each success multiplies by guess / rate, where the guess is (n + 0.5) / (n + 1), of the last 20."""
    guesses = [(min(n, 20) + 0.5) / (min(n, 20) + 1) for n in range(40)]
    logs = np.cumsum([math.log(g / 0.85) if g > 0.85 else 0.0 for g in guesses])
    first = int(np.argmax(logs >= math.log(20))) + 1
    conf = UntilConf(rate=0.85)
    assert first == 29
    assert not reached(conf, rows([True] * 28)) and reached(conf, rows([True] * 29))
    assert reached(conf, rows([True] * 29 + [False] * 50))  # it had been reached


def test_what_was_before_it_could_do_it_is_forgotten() -> None:
    assert reached(UntilConf(rate=0.85), rows([False] * 60 + [True] * 50))


def test_only_episodes_left_alone_count() -> None:
    conf = UntilConf(rate=0.5)
    assert reached(conf, rows([True] * 30))
    assert not reached(conf, rows([True] * 300, left_alone=0.0))
    assert not reached(conf, [{"success": 1.0, "autonomous": 1.0}] * 300)  # metrics of an older hiltk
    assert not reached(UntilConf(), rows([True] * 300))


def stops(truth: float | np.ndarray, rate: float, confidence: float = 0.95, runs: int = 2000, n: int = 150) -> float:
    """Share of runs that end early although each of ``n`` episodes is looked at."""
    outcomes = np.random.default_rng(0).random((runs, n)) < truth
    return float(np.mean([max(stakes(o.tolist(), rate)) >= 1 / (1 - confidence) for o in outcomes]))


def test_at_most_one_run_in_twenty_ends_without_being_better_than_asked() -> None:
    assert stops(0.85, rate=0.85) <= 0.05  # just not above it
    assert stops(0.85, rate=0.9, runs=500) <= 0.01
    assert stops(0.85, rate=0.85, confidence=0.8, runs=500) <= 0.2
    drifting = 0.85 - 0.3 * np.abs(np.sin(np.arange(150) / 10))
    assert stops(drifting, rate=0.85, runs=500) <= 0.05


def test_a_good_policy_ends_its_run() -> None:
    assert stops(0.98, rate=0.85, runs=200) >= 0.95
    learns = np.interp(np.arange(150), [0, 40, 60], [0.1, 0.4, 0.98])
    assert stops(learns, rate=0.85, runs=200) >= 0.8


@pytest.mark.parametrize("conf", [UntilConf(rate=1.0), UntilConf(rate=0.0), UntilConf(confidence=1.0)])
def test_numbers_out_of_range(conf: UntilConf) -> None:
    with pytest.raises(ConfigError, match="until"):
        check_until(conf)
