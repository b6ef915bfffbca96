"""What a run learned from: who made it, what is rewarded, how it ended, and whether it says what the arm did."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from hiltk import limits
from hiltk.data.episode import Source
from hiltk.data.repair import asks_for_nothing
from hiltk.diagnostics.experience import Experience
from hiltk.reward_rule import run_lengths
from hiltk.spec import STATE_KEY, Spec

GIVEN = 0.1  # of a full action: an action that should move something
MOVES = 0.05  # standard deviations of a dimension of the state within one step: less is rest


def composition(demos: Experience, online: Experience, spec: Spec) -> pd.DataFrame:
    """One row for demonstrations, the policy's own steps and the human's corrections.

    ``terminated`` and ``truncated`` count ends of episodes; ``timeouts_terminal`` those stored as terminal although no
    success was rewarded: their value is learned as 0.
    """
    parts = {
        "demos": (demos, np.ones(len(demos), bool)),
        "policy": (online, online.of(Source.policy)),
        "human": (online, ~online.of(Source.policy)),
    }
    total = len(demos) + len(online)
    rows = []
    for name, (where, rows_of) in parts.items():
        positive, count = where.positive(spec) & rows_of, int(rows_of.sum())
        rows.append(
            {
                "part": name,
                "episodes": len(np.unique(where.episode[rows_of])),
                "transitions": count,
                "share": count / total if total else np.nan,
                "positive": int(positive.sum()),
                "positive_rate": positive.sum() / count if count else np.nan,
                "terminated": int((where.terminated & rows_of).sum()),
                "truncated": int((where.truncated & rows_of).sum()),
                "timeouts_terminal": int((timed_out(where, spec) & rows_of).sum()),
                "unknown_actions": int((~where.valid & rows_of).sum()),
            }
        )
    return pd.DataFrame(rows)


def timed_out(where: Experience, spec: Spec) -> np.ndarray:
    """(N,) bool: ends that are stored as terminal although no success was rewarded: their value is learned as 0."""
    return where.terminated & ~where.positive(spec)


def timed_out_share(where: Experience, spec: Spec) -> float:
    """The same as a share of all ends of episodes; 0 without any."""
    return float(timed_out(where, spec)[where.last].mean()) if len(where) else 0.0


def rewarded_share(parts: Sequence[Experience], spec: Spec) -> float:
    """Share of the episodes that end with the reward of success; 0 of none."""
    ends = np.concatenate([part.positive(spec)[part.last] for part in parts])
    return float(ends.mean()) if len(ends) else 0.0


def short_of_the_rule(demos: Experience, spec: Spec) -> float:
    """Share of the demonstrations that end without reward, or after success for under half of the rule's hold.

    Half, since a classifier may see success some frames before or after the labels do.
    """
    ends = np.flatnonzero(demos.last)
    if not len(ends):
        return 0.0
    runs = np.concatenate(
        [run_lengths(np.r_[False, demos.shown[demos.episode == e]])[-1:] for e in demos.episode[ends]]
    )
    return float((~demos.positive(spec)[ends] | (runs < spec.reward.hold_steps / 2)).mean())


def at_limit_share(parts: Sequence[Experience]) -> float:
    """Share of the steps in which a translation is at its limit; 0 of none."""
    steps = np.concatenate([np.abs(part.action[:, :3]).max(1, initial=0) > limits.AT_LIMIT for part in parts])
    return float(steps.mean()) if len(steps) else 0.0


def silent_share(where: Experience, spec: Spec) -> float:
    """Share of transitions that move, but have a zero or missing action of the arm; NaN without motion."""
    spread = np.maximum(np.array(spec.stats[STATE_KEY].std), 1e-9)
    moved = (np.abs(where.next_state - where.state) / spread).max(1, initial=0) > MOVES
    silent = asks_for_nothing(where.action, columns=3 if spec.action.ee_deltas else None)
    return float(silent[moved & where.valid].mean()) if (moved & where.valid).any() else float("nan")


def still_dimensions(demos: Experience, online: Experience, spec: Spec) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(D,) bool each: dimensions of the state that move online; of these, those that stand still in the demonstrations,
    and those that the statistics divide by next to nothing."""
    spread = online.state.std(0) if len(online) else np.zeros(len(spec.state.dims))
    alive, least = spread > 1e-6, limits.NARROW * spread
    still = demos.state.std(0) < least if len(demos) else np.zeros(len(spread), bool)
    return alive, alive & still, alive & (np.array(spec.stats[STATE_KEY].std) < least)


def still_share(demos: Experience, online: Experience, spec: Spec) -> float:
    """Of the state's dimensions that move, the share that says nothing; 1 where none moves, whatever is asked for."""
    alive, dead, narrow = still_dimensions(demos, online, spec)
    if not alive.any():
        return float(np.abs(online.action).max(initial=0) > GIVEN)
    return float((dead | narrow).sum() / alive.sum())
