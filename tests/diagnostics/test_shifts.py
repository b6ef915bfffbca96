"""Demonstrations against experience: a two-sample test for which episodes are the unit, and coverage."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import ks_2samp

from hiltk.diagnostics.shifts import coverage, shifts
from tests.conftest import build_episode
from tests.diagnostics.experiences import PLAIN, SPEC, noise, of


def test_the_distance_is_that_of_kolmogorov_and_smirnov() -> None:
    demos, online = noise(5, 9, seed=1), noise(7, 6, offset=0.7, seed=2)
    table = shifts(demos, online, SPEC)
    for i, row in enumerate(table[table.column == "state"].itertuples()):
        expected = ks_2samp(demos.state[:, i], online.state[:, i], method="asymp").statistic
        assert row.ks == pytest.approx(expected, abs=1e-6)
        assert row.demo_median == pytest.approx(float(np.median(demos.state[:, i])), rel=1e-5)
    assert len(table) == 18 + 4


def test_equal_values_are_one_step() -> None:
    """A gripper that is open or shut: ties must not be split between the sides."""
    a, b = of(build_episode(SPEC, 4)), of(build_episode(SPEC, 4))
    assert shifts(a, b, SPEC).ks.max() == pytest.approx(0, abs=1e-6)


def test_near_copies_are_no_evidence() -> None:
    """Episodes from one distribution: a test of frames calls them different nearly always, one of episodes rarely."""
    naive, ours = [], []
    for seed in range(8):
        demos, online = noise(6, 12, seed=seed), noise(6, 12, seed=100 + seed)
        table = shifts(demos, online, SPEC, seed)
        ours.append(bool((table[table.column == "state"].q < 0.05).any()))
        naive.append(ks_2samp(demos.state[:, 0], online.state[:, 0]).pvalue < 0.05)
    assert sum(naive) >= 7 and sum(ours) <= 1


def test_a_real_difference_is_found() -> None:
    table = shifts(noise(8, 10, seed=1), noise(10, 10, offset=6.0, seed=2), SPEC)
    state = table[table.column == "state"]
    assert (state.q < 0.05).all() and (state.ks > 0.95).all() and (state.moved_std > 2).all()


def test_without_demonstrations_there_is_nothing_to_compare() -> None:
    assert shifts(of(), noise(3, 5), SPEC).empty
    assert coverage(of(), noise(3, 5), PLAIN) is None


def test_coverage_of_the_same_place_and_of_another() -> None:
    demos = noise(12, 10, between=0.05, seed=1)
    near, far = noise(12, 10, between=0.05, seed=2), noise(12, 10, between=0.05, offset=3.0, seed=3)
    same, other = coverage(demos, near, PLAIN), coverage(demos, far, PLAIN)
    assert same is not None and other is not None
    assert same.online > 0.8 and same.demos > 0.8
    assert other.online == other.demos == 0.0
