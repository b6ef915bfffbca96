"""How the embeddings of a camera's frames are spread, and how far a new one lies from them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np


@dataclass(frozen=True)
class Cloud:
    """How a camera's embeddings are spread: a Gaussian per class, one covariance (Lee et al. 2018).

    Attributes:
        means: (K, D) float32, of frames that show success and of those that do not.
        whitening: (D, D) float32; the length of ``(x - mean) @ whitening`` is the Mahalanobis distance, over sqrt(D).
    """

    means: np.ndarray
    whitening: np.ndarray

    @cached_property
    def centres(self) -> np.ndarray:
        """The means (K, D), whitened."""
        return self.means @ self.whitening

    def distance(self, vectors: np.ndarray) -> np.ndarray:
        """From the nearer class, per dimension: about 1 for the frames it was fitted to. (N, D) to (N,)."""
        away = (vectors @ self.whitening)[:, None] - self.centres
        return np.sqrt((away**2).mean(-1)).min(1)


def fit_cloud(vectors: np.ndarray, success: np.ndarray, episodes: int) -> Cloud:
    """Class means and their common covariance, shrunk towards a multiple of the identity.

    The strength is the oracle approximating shrinkage (Chen et al. 2010, equation 23), with the number of episodes for
    that of samples: frames of one episode are near copies.

    Args:
        vectors: (N, D).
        success: (N,) bool.
    """
    classes = [vectors[success == kind] for kind in (False, True) if (success == kind).any()]
    means = np.stack([c.mean(0) for c in classes])
    centred = np.concatenate([c - m for c, m in zip(classes, means, strict=True)])
    covariance = (centred.T @ centred) / len(centred)
    size = covariance.shape[0]
    trace, square = float(np.trace(covariance)), float((covariance**2).sum())
    spread = (episodes + 1 - 2 / size) * (square - trace**2 / size)
    strength = min(1.0, ((1 - 2 / size) * square + trace**2) / spread) if spread > 0 else 1.0
    shrunk = (1 - strength) * covariance + np.eye(size) * max(strength * trace / size, 1e-12)
    values, vectors = np.linalg.eigh(shrunk)
    return Cloud(means.astype(np.float32), (vectors / np.sqrt(values)).astype(np.float32))
