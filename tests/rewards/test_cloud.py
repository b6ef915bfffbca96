"""Distances of embeddings from those of training."""

from __future__ import annotations

import numpy as np
import pytest

from hiltk.rewards.cloud import fit_cloud


def test_distance_of_embeddings() -> None:
    rng = np.random.default_rng(0)
    success = np.arange(4000) % 2 == 0
    spread = np.array([0.5, 2.0, 1.0])
    points = rng.normal(size=(4000, 3)) * spread + np.where(success[:, None], 10.0, -10.0)
    fitted = fit_cloud(points, success, episodes=4000)
    np.testing.assert_allclose(np.sqrt((fitted.distance(points) ** 2).mean()), 1.0, rtol=0.01)
    # Three deviations along one of three dimensions, from the nearer class: 3 / sqrt(3).
    away = np.full((1, 3), 10.0) + np.array([[0.0, 6.0, 0.0]])
    assert fitted.distance(away)[0] == pytest.approx(3**0.5, rel=0.05)


def test_few_episodes_shrink_towards_the_identity() -> None:
    rng = np.random.default_rng(0)
    points = np.repeat(rng.normal(size=(3, 8)), 50, axis=0)  # three episodes of equal frames: rank 2 at most
    fitted = fit_cloud(points, np.zeros(150, bool), episodes=3)
    assert np.isfinite(fitted.whitening).all() and fitted.means.shape == (1, 8)
    assert fitted.distance(rng.normal(size=(1, 8)))[0] < 10
