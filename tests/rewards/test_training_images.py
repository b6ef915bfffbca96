"""Charts of training images: limits by hand, false alarms over whole trainings, saved and loaded."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hiltk.errors import UserError
from hiltk.formats import STATISTICS
from hiltk.rewards.training_images import (
    EPISODES,
    FALSE_ALARMS,
    NEWEST,
    SCALARS,
    TENSORS,
    Statistics,
    known,
)
from hiltk.rewards.views import QUANTITIES
from tests.rewards.scenes import CAMERAS

VERSION = STATISTICS.version


def test_limits_by_student() -> None:
    values, every = np.array([100.0, 200.0, 300.0]), np.ones(3, bool)
    # Mean 200, deviation 100. The moving average varies by 0.2 / 1.8 of the variance, the mean by a third of it;
    # t with 2 degrees of freedom is 2.92 at 5 %.
    made = known("contrast", values, every, 0.05)
    assert (made.mean, made.spread) == (pytest.approx(200), pytest.approx(100))
    assert made.limit == pytest.approx(2.919986 * (1 / 9 + 1 / 3) ** 0.5)
    # Around the mean of the two held out, as wide as all: deviation of logarithms 1 with 3 degrees of freedom, t 2.353.
    both = np.exp([1.0, 2.0, 3.0, 4.5, 5.5])
    new = np.array([False, False, False, True, True])
    made = known("embedding", both, new, 0.05)
    assert (made.mean, made.spread) == (pytest.approx(5), pytest.approx((2.5 / 3) ** 0.5))
    assert made.limit == pytest.approx(2.353363 * (1 / 9 + 1 / 2) ** 0.5)
    assert known("contrast", values[:1], every[:1], 0.05).limit == np.inf
    # Alike to the digit is no reason to call the next one drifted.
    assert known("brightness", np.full(9, 100.0), np.ones(9, bool), 0.05).spread == pytest.approx(4)
    assert known("right", np.zeros(9), np.ones(9, bool), 0.05).spread == 0.5


@settings(deadline=None)
@given(st.integers(3, 60), st.integers(0, 100), st.sampled_from(QUANTITIES))
def test_few_episodes_give_wide_limits(count: int, seed: int, quantity: str) -> None:
    values = np.exp(np.random.default_rng(seed).normal(size=count))
    every = np.ones(count, bool)
    few, many = (known(quantity, np.tile(values, n), np.tile(every, n), 1e-6).limit for n in (1, 4))
    assert few > many > 4.75 * (NEWEST / (2 - NEWEST)) ** 0.5  # a Gaussian's, of a mean known exactly


def test_false_alarms_of_whole_trainings() -> None:
    """200 trainings of 1000 episodes, each with 40 training episodes of its own to know them by, two cameras."""
    rng, runs, charts = np.random.default_rng(0), 200, 2 * len(QUANTITIES)
    chance = FALSE_ALARMS / (EPISODES * charts * 2)
    values = rng.normal(100, 30, (runs, charts, 40))
    made = [[known("contrast", v, np.ones(40, bool), chance) for v in run] for run in values]
    mean, spread, limit = (np.array([[getattr(k, n) for k in r] for r in made]) for n in ("mean", "spread", "limit"))
    average, alarms = np.zeros((runs, charts)), np.zeros((runs, charts), bool)
    for _ in range(EPISODES):
        average += NEWEST * ((rng.normal(100, 30, (runs, charts)) - mean) / spread - average)
        alarms |= abs(average) > limit
    assert 0 < alarms.any(axis=1).mean() <= FALSE_ALARMS


def test_saved_with_the_classifier_and_readable(trained: Statistics, tmp_path: Path) -> None:
    trained.save(tmp_path)
    plain = json.loads((tmp_path / SCALARS).read_text())
    assert (plain["episodes"], plain["frames"], plain["held_out"]) == (40, 320, 10)
    assert set(plain["cameras"]["wrist"]) == set(QUANTITIES)
    low, *_, high = plain["cameras"]["wrist"]["brightness"]["quantiles"]
    assert low < plain["cameras"]["wrist"]["brightness"]["mean"] < high
    loaded = Statistics.load(tmp_path)
    assert loaded is not None and loaded.cameras == trained.cameras
    for camera in CAMERAS:
        np.testing.assert_array_equal(loaded.clouds[camera].whitening, trained.clouds[camera].whitening)
        np.testing.assert_array_equal(loaded.usual[camera], trained.usual[camera])


def test_a_classifier_of_before_has_none(trained: Statistics, tmp_path: Path) -> None:
    assert Statistics.load(tmp_path) is None
    trained.save(tmp_path)
    (tmp_path / SCALARS).write_text('{"version": 1, "cameras": {}}')  # those of before looked at whole episodes
    assert Statistics.load(tmp_path) is None


@pytest.mark.parametrize("damage", ["{", "[]", f'{{"version": {VERSION}}}', f'{{"version": {VERSION + 1}}}'])
def test_damaged_statistics_are_refused(trained: Statistics, tmp_path: Path, damage: str) -> None:
    trained.save(tmp_path)
    (tmp_path / SCALARS).write_text(damage)
    with pytest.raises(UserError, match="statistics of its training images cannot be used"):
        Statistics.load(tmp_path)
    trained.save(tmp_path)
    (tmp_path / TENSORS).unlink()
    with pytest.raises(UserError, match="statistics of its training images cannot be used"):
        Statistics.load(tmp_path)
