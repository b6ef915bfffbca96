"""Thresholds that several ask for: their order, and degrees by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from hiltk import limits

LIMITS = {name: value for name, value in vars(limits).items() if isinstance(value, limits.Limit)}


@pytest.mark.parametrize("name", LIMITS)
def test_what_speaks_lies_between_sound_and_spoilt(name: str) -> None:
    """What trips a rule or a guard already counts with `diagnose run`, and never only after everything is spoilt."""
    one = LIMITS[name]
    low, high = sorted((one.sound, one.spoilt))
    assert low <= one.alarm <= high and low < high
    assert one.degree(one.sound) == 0 and one.degree(one.spoilt) == 1
    assert one.degree((one.sound + one.spoilt) / 2) == pytest.approx(0.5)
    assert one.degree(math.nan) == 0


def test_beyond_the_returns_by_hand() -> None:
    assert limits.beyond(np.array([-1.0, 0.0, 1.5, 3.0, 4.0]), 0.0, 2.0).tolist() == [0.5, 0, 0, 0.5, 1]
    assert limits.beyond(7.0, -math.inf, math.inf) == 0
    assert np.isnan(limits.beyond(math.nan, 0.0, 1.0))
