"""Moments of recorded episodes as a policy sees them: stacked, and with what another episode shows beside each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from hiltk.data.episode import Episode
from hiltk.data.replay import store_episodes
from hiltk.errors import UserError
from hiltk.observation import Observation


@dataclass(frozen=True)
class Moments:
    """N observations, stacked as a policy wants them, and the number of the episode each is from, (N,)."""

    observations: Observation
    episode: np.ndarray

    def __len__(self) -> int:
        return len(self.episode)

    def others(self, rng: np.random.Generator) -> Moments:
        """As many, moment i from another episode than moment i here.

        Raises:
            UserError: there is one episode only.
        """
        if len(np.unique(self.episode)) < 2:
            raise UserError("moments of at least two episodes are compared, there is one", where="sets")
        rows = rng.permutation(len(self))
        while (same := self.episode[rows] == self.episode).any():
            rows[same] = rng.integers(0, len(self), same.sum())
        return Moments({k: v[rows] for k, v in self.observations.items()}, self.episode[rows])

    def swapped(self, key: str, other: Moments, columns: np.ndarray | None = None) -> Observation:
        """These observations with one key, or some of its columns, taken from ``other``."""
        taken = other.observations[key]
        if columns is not None:
            mixed = self.observations[key].copy()
            mixed[:, columns] = taken[:, columns]
            taken = mixed
        return {**self.observations, key: taken}


def some_moments(episodes: Sequence[Episode], keys: Sequence[str], stack: int, count: int, seed: int) -> Moments:
    """Up to ``count`` observations, drawn without repetition, on which an action was taken."""
    slim = [replace(e, observations={k: e.observations[k] for k in keys}) for e in episodes]
    store = store_episodes(slim)
    rows = np.flatnonzero(store.moves[: store.end])
    rows = np.sort(np.random.default_rng(seed).choice(rows, min(count, len(rows)), replace=False))
    data = store.gather(rows, stack=stack, following=False)
    return Moments(data["observation"], store.episode[rows].copy())
