"""How people intervened: how often, how long, and whether a takeover carried the episode to its success."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from hiltk.data.episode import Source
from hiltk.diagnostics.experience import Experience
from hiltk.spec import Spec

BRIEF_STEPS = 10  # a takeover up to this is brief: here the schedule that follows the paper lets go
LONG_STEPS, LONG_SHARE = 20, 0.5  # beyond this it is long; or, unless brief, beyond this part of the episode


def interventions(online: Experience, spec: Spec) -> pd.DataFrame:
    """One row per online episode: its takeovers, how long they were, and whether the human carried it to success."""
    rows = []
    rewarded = online.positive(spec)
    for number in np.unique(online.episode):
        own = np.flatnonzero(online.episode == number)
        human = online.source[own] != Source.policy
        edges = np.flatnonzero(np.diff(np.r_[False, human, False].astype(int)))
        lengths = edges[1::2] - edges[::2]
        rows.append(
            {
                "episode": int(number),
                "steps": len(own),
                "human_steps": int(human.sum()),
                "rate": float(human.mean()),
                "takeovers": len(lengths),
                "mean_length": float(lengths.mean()) if len(lengths) else np.nan,
                "longest": int(lengths.max(initial=0)),
                "success": bool(rewarded[own[-1]]),
                "carried": bool(rewarded[own[-1]] and human[-1] and _is_long(lengths[-1], len(own))),
            }
        )
    return pd.DataFrame(rows)


def _is_long(length: Any, steps: Any) -> Any:
    """Whether takeovers are long: in themselves, or for their episodes; a brief one never is."""
    return (length > LONG_STEPS) | ((length > BRIEF_STEPS) & (length > LONG_SHARE * steps))


@dataclass(frozen=True)
class Takeovers:
    """Interventions of a whole run.

    Attributes:
        rate, rate_first, rate_last: share of steps by the human: overall, in the first and the last third of episodes.
        trend: rank correlation of an episode's rate with its number, -1 to 1; NaN where it never varies.
        mean_length: steps of a takeover, on average.
        long: share of the intervened episodes with a long takeover.
        carried: share of the rewarded episodes that a long takeover brought to success.
    """

    rate: float
    rate_first: float
    rate_last: float
    trend: float
    takeovers: int
    mean_length: float
    long: float
    carried: float


def summary(table: pd.DataFrame) -> Takeovers:
    """The whole run from the rows of `interventions`."""
    third = max(1, len(table) // 3)
    first, last, with_any = table.head(third), table.tail(third), table[table.takeovers > 0]
    is_long = _is_long(with_any.longest, with_any.steps)
    varies = len(table) > 2 and table.rate.nunique() > 1
    return Takeovers(
        rate=_ratio(table.human_steps.sum(), table.steps.sum()),
        rate_first=_ratio(first.human_steps.sum(), first.steps.sum()),
        rate_last=_ratio(last.human_steps.sum(), last.steps.sum()),
        trend=float(spearmanr(table.episode, table.rate).statistic) if varies else float("nan"),
        takeovers=int(table.takeovers.sum()),
        mean_length=_ratio(table.human_steps.sum(), table.takeovers.sum()),
        long=float(is_long.mean()) if len(with_any) else 0.0,
        carried=float(table.carried[table.success].mean()) if table.success.any() else 0.0,
    )


def _ratio(part: float, whole: float) -> float:
    return float(part / whole) if whole else 0.0
