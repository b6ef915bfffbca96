"""Frames of one camera that lie in several arrays, addressed as if they lay in one: views, never a copy."""

from __future__ import annotations

import mmap
from collections.abc import Sequence

import numpy as np


class Frames:
    """N frames (H, W, C) in the order of ``pieces``; read-only, indexed like an array by number, slice or numbers.

    Args:
        pieces: arrays (n, H, W, C) of one frame size, e.g. one for each episode; memory-mapped ones stay on disk.
    """

    ndim = 4

    def __init__(self, pieces: Sequence[np.ndarray]) -> None:
        self._pieces = [np.asarray(p) for p in pieces]  # views of a memory map are slow to make
        self._starts = np.cumsum([0, *(len(p) for p in pieces)])
        self.shape = (int(self._starts[-1]), *self._pieces[0].shape[1:])
        self.dtype = self._pieces[0].dtype
        self.nbytes = sum(p.nbytes for p in self._pieces)
        self.mapped_bytes = sum(p.nbytes for p in self._pieces if _is_mapped(p))  # of these; they need no memory

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: int | np.integer | slice | np.ndarray) -> np.ndarray:
        """One frame as a view; several, (B, H, W, C), as a copy."""
        if isinstance(rows, int | np.integer):
            return self.views(np.array([rows]))[0]
        if isinstance(rows, slice):
            rows = np.arange(*rows.indices(len(self)))
        return np.stack(self.views(rows)) if len(rows) else np.empty((0, *self.shape[1:]), self.dtype)

    def views(self, rows: np.ndarray) -> list[np.ndarray]:
        """The frames with these numbers (from 0), where they lie."""
        piece = np.searchsorted(self._starts, rows, side="right") - 1
        within = (rows - self._starts[piece]).tolist()
        return [self._pieces[p][i] for p, i in zip(piece.tolist(), within, strict=True)]


def _is_mapped(array: object) -> bool:
    while isinstance(array, np.ndarray):
        array = array.base
    return isinstance(array, mmap.mmap)
