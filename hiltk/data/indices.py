"""What replay knows about its rows without looking at all of them: row numbers in order, and returns to go."""

from __future__ import annotations

from typing import Protocol

import numpy as np


class Ring(Protocol):
    """What returns to go are computed from, of `hiltk.data.replay.FrameStore`."""

    size: int
    end: int
    reward: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    moves: np.ndarray
    step: np.ndarray

    @property
    def begin_row(self) -> int: ...


class RowIndex:
    """Absolute row numbers in growing order: added at the end, dropped at the front, each in constant time."""

    def __init__(self, rows: np.ndarray | None = None) -> None:
        self._rows = np.empty(0, np.int64) if rows is None else np.array(rows, np.int64)
        self._start, self._stop = 0, len(self._rows)

    def append(self, row: int) -> None:
        if self._stop == len(self._rows):
            self._move()
        self._rows[self._stop] = row
        self._stop += 1

    def drop_before(self, row: int) -> None:
        """Forget the numbers below ``row``."""
        while self._start < self._stop and self._rows[self._start] < row:
            self._start += 1

    @property
    def rows(self) -> np.ndarray:
        """All numbers held, as a read-only view; later changes to the index leave it as it is."""
        view = self._rows[self._start : self._stop]
        view.flags.writeable = False
        return view

    def _move(self) -> None:
        """Into an array twice as large; never in place, for the sake of views already given out."""
        held = self._rows[self._start : self._stop]
        self._rows = np.empty(max(64, 2 * len(held)), np.int64)
        self._rows[: len(held)] = held
        self._start, self._stop = 0, len(held)


class ReturnsToGo:
    """The discounted reward from each row of a store to the end of its episode, as it was really played.

    Known only where an episode terminated: of one that is still running, or was cut off by a time-out, the rest is
    missing. Rows without one are -inf, the floor that never counts.
    """

    def __init__(self, store: Ring, discount: float) -> None:
        self.store, self.discount = store, discount
        self._values = np.full(store.size, -np.inf, np.float32)
        self._final = 0  # rows before this one will not change
        self._seen = 0  # the store's end when last looked at

    def at(self, rows: np.ndarray) -> np.ndarray:
        """The returns (B,) from absolute ``rows``."""
        if self._seen != self.store.end:
            self._catch_up()
        return self._values[rows % len(self._values)]

    def _catch_up(self) -> None:
        """Look at the rows of episodes that were not finished last time."""
        store = self.store
        rows = np.arange(max(self._final, store.begin_row), store.end)
        at = rows % store.size
        self._values[at] = -np.inf
        for end in rows[store.moves[at] & (store.terminated[at] | store.truncated[at])].tolist():
            start = max(int(rows[0]), end - int(store.step[end % store.size]))
            if store.terminated[end % store.size]:
                self._fill(start, end)
            self._final = end + 1
        self._seen = store.end

    def _fill(self, start: int, end: int) -> None:
        total = 0.0
        for row in range(end, start - 1, -1):
            total = float(self.store.reward[row % self.store.size]) + self.discount * total
            self._values[row % self.store.size] = total
