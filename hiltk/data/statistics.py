"""Statistics that normalise vectors, safe for dimensions that hardly move."""

from __future__ import annotations

import numpy as np

from hiltk.spec import Dimension, Stats

# Demonstrations may leave a dimension nearly still that training later moves. Dividing by its tiny spread would blow
# it up (0.1 rad became 10^7 in the project's history), so no dimension counts as narrower than this part of its range.
STD_FLOOR = 0.01


def vector_stats(values: np.ndarray, dims: list[Dimension], source: str) -> Stats:
    """Mean, spread and extremes of vectors (N, D), dimension by dimension.

    The standard deviation is never below `STD_FLOOR` times the dimension's range in ``dims``; a dimension without a
    range (low == high, or unbounded) takes that part of its largest magnitude, or of 1 where that is smaller.
    """
    values = np.asarray(values, dtype=np.float64)
    std = np.maximum(values.std(0), floors(values, dims))
    return Stats(values.mean(0).tolist(), std.tolist(), values.min(0).tolist(), values.max(0).tolist(), source)


def floors(values: np.ndarray, dims: list[Dimension]) -> np.ndarray:
    """The least spread (D,) that each dimension of ``values`` (N, D) counts as having; see `vector_stats`."""
    values = np.asarray(values, dtype=np.float64)
    span = np.array([d.high - d.low for d in dims])
    known = np.isfinite(span) & (span > 0)
    magnitude = np.maximum(np.maximum(np.abs(values.min(0)), np.abs(values.max(0))), 1.0)
    return STD_FLOOR * np.where(known, span, magnitude)
