"""Normalising statistics never blow up a dimension that demonstrations left still."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hiltk.data.statistics import STD_FLOOR, vector_stats
from hiltk.spec import Dimension


def test_by_hand() -> None:
    values = np.array([[0.0, 5.0], [2.0, 5.0], [4.0, 5.0]])
    stats = vector_stats(values, [Dimension("a", low=0, high=10), Dimension("b", low=-50, high=50)], "test")
    assert stats.mean == [2.0, 5.0]
    assert stats.std == pytest.approx([np.sqrt(8 / 3), STD_FLOOR * 100])
    assert (stats.low, stats.high, stats.source) == ([0.0, 5.0], [4.0, 5.0], "test")


@pytest.mark.parametrize("dim", [Dimension("a"), Dimension("a", low=-np.inf, high=np.inf)])
def test_a_dimension_without_range_still_gets_a_floor(dim: Dimension) -> None:
    assert vector_stats(np.full((4, 1), 300.0), [dim], "").std == [pytest.approx(STD_FLOOR * 300)]
    assert vector_stats(np.zeros((4, 1)), [dim], "").std == [pytest.approx(STD_FLOOR)]


@given(st.floats(-1, 1), st.floats(0, 1e-9))
def test_anything_in_range_stays_within_a_hundred_deviations(value: float, jitter: float) -> None:
    """Devlog S1: with a spread of 1e-10 taken at face value the same numbers became 10^8."""
    dim = Dimension("ee.yaw", low=-1, high=1)
    stats = vector_stats(np.array([[value], [value + jitter]]), [dim], "")
    assert max(abs(edge - stats.mean[0]) / stats.std[0] for edge in (-1, 1)) <= 2 / (2 * STD_FLOOR) + 1e-6
