"""Statistics that normalise vectors, safe for dimensions that hardly move; and those that LeRobot keeps."""

from __future__ import annotations

from typing import Any

import numpy as np

from hiltk.spec import Dimension, Stats

# Demonstrations may leave a dimension nearly still that training later moves. Dividing by its tiny spread would blow
# it up (0.1 rad became 10^7 in the project's history), so no dimension counts as narrower than this part of its range.
STD_FLOOR = 0.01
QUANTILES = {"q01": 0.01, "q10": 0.1, "q50": 0.5, "q90": 0.9, "q99": 0.99}  # the ones LeRobot stores


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


# ---------------------------------------------------------------- as LeRobot keeps them


def column_stats(values: np.ndarray) -> dict[str, list[Any]]:
    """The statistics LeRobot keeps of a numeric column (N,) or (N, D), per dimension."""
    rows = values.reshape(len(values), -1)
    dims = [
        _stats(rows[:, [d]].astype(np.float64)) for d in range(rows.shape[1])
    ]  # one copy of one dimension at a time
    return {key: [float(dim[key][0]) for dim in dims] for key in dims[0]} | {"count": [len(rows)]}


def _stats(values: np.ndarray) -> dict[str, np.ndarray]:
    """Statistics (D,) of values (N, D) float64."""
    stats = {"min": values.min(0), "max": values.max(0), "mean": values.mean(0), "std": values.std(0)}
    return stats | dict(zip(QUANTILES, np.quantile(values, list(QUANTILES.values()), axis=0), strict=True))


def episode_stats(columns: dict[str, np.ndarray], bounds: list[tuple[int, int]]) -> dict[str, dict[str, list[Any]]]:
    """`column_stats` of every episode: by column and statistic, one entry per episode."""
    wide = {name: values.reshape(len(values), -1) for name, values in columns.items()}
    edges = np.cumsum([0, *(values.shape[1] for values in wide.values())])
    found: dict[str, dict[str, list[Any]]] = {name: {} for name in wide}
    for start, stop in bounds:
        # All columns of an episode at once: with ten thousand episodes the calls are what takes time.
        stats = _stats(np.concatenate([v[start:stop].astype(np.float64) for v in wide.values()], axis=1))
        for name, low, high in zip(wide, edges, edges[1:], strict=False):
            for key, values in stats.items():
                found[name].setdefault(key, []).append(values[low:high].tolist())
            found[name].setdefault("count", []).append([stop - start])
    return found
