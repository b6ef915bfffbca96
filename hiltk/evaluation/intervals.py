"""Whether two policies differ; how sure one success rate is says `hiltk.reward_rule.Rate`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import binomtest


@dataclass(frozen=True)
class Paired:
    """Two policies on the same episodes. ``difference`` is second minus first; ``p_value`` is exact McNemar's."""

    n: int
    only_first: int
    only_second: int
    difference: float
    p_value: float


def compare_paired(first: Sequence[bool] | np.ndarray, second: Sequence[bool] | np.ndarray) -> Paired:
    """Exact McNemar test (McNemar 1947): only episodes that one policy solves and the other does not say anything.

    Args:
        first: (N,) success of the first policy.
        second: (N,) success of the second policy in the same episodes, in the same order.
    """
    a, b = np.asarray(first, dtype=bool), np.asarray(second, dtype=bool)
    if a.shape != b.shape or a.ndim != 1:
        raise ValueError(f"the episodes do not pair up: {a.shape} against {b.shape}")
    only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
    discordant = only_a + only_b
    p_value = float(binomtest(only_a, discordant, 0.5).pvalue) if discordant else 1.0
    difference = (only_b - only_a) / len(a) if len(a) else float("nan")
    return Paired(len(a), only_a, only_b, difference, p_value)
