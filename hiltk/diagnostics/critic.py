"""Critic values against observed returns: are they right, and do they tell similar actions apart?

Values of executed actions are compared with the observed returns (as Fujimoto et al. 2018, TD3, section 4,
measure overestimation) and beside the range the reward rule allows; `hiltk.diagnostics.ratings` has both, and how far
values differ among similar actions.

The returns are those of whoever acted, and the critics judge the policy of today: of the newest episodes of the policy
the difference is small, of demonstrations it is a comparison and no error.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from hiltk import limits
from hiltk.arm.gripper import COMMANDS
from hiltk.data.episode import Source
from hiltk.diagnostics.ratings import PERTURBED, SOURCES, Ratings
from hiltk.findings import Finding
from hiltk.learning.guards import Expected, q_bound
from hiltk.learning.metrics import by_itself

PHASES = 5
ALWAYS, SOMETIMES = 0.98, 0.1  # shares of steps
WINDOW = 20  # training episodes averaged at the beginning and the end
TOO_HIGH, TOO_LOW = 0.1, 0.3  # of the range of returns
FLAT = 0.02  # of what a lost step costs: how far values differ between actions, below which nothing matters to them
UNRELATED = 0.2  # rank correlation of values and returns


@dataclass(frozen=True)
class CriticDiagnosis:
    """One policy's critics; ``metrics`` is the run's ``metrics.csv``, ``discount`` what returns are discounted by."""

    name: str
    ratings: Ratings
    metrics: pd.DataFrame
    discount: float


# ---------------------------------------------------------------- numbers


def error(r: Ratings, rows: np.ndarray) -> float:
    """By how much values exceed the highest return that can have been, or (negative) miss the lowest, on average.

    Limits are averaged first: a single return is one draw of what a value is the mean of.
    """
    if not rows.any():
        return float("nan")
    q, low, high = r.mean[rows].mean(), r.low[rows].mean(), r.high[rows].mean()
    return float(q - high) if q > high else float(min(0.0, q - low))


def follows(r: Ratings) -> float:
    """Rank correlation of values and returns where those are known; NaN where too few are, or all are the same."""
    q, returns = r.mean[r.known], r.low[r.known]
    if len(returns) < 10 or np.ptp(returns) == 0 or np.ptp(q) == 0:
        return float("nan")
    return float(spearmanr(q, returns).statistic)


def lost_step(d: CriticDiagnosis) -> float:
    """What one step more to the same end costs on average: the scale of what an action can be worth."""
    return (1 - d.discount) * float(np.abs(d.ratings.mean).mean())


def outside(r: Ratings, rows: np.ndarray) -> float:
    """Share of values beyond the reward rule's range by more than a tenth of it."""
    return float((limits.beyond(r.mean[rows], *r.bounds) > limits.Q_BEYOND.alarm).mean())


def gripper_row(r: Ratings, rows: np.ndarray) -> dict[str, float]:
    """The three-way gripper's head on these transitions; empty without one.

    How often it would choose each command, how often that is what was executed, the value of its choice, and by how
    much that is ahead of the second best.
    """
    if not r.gripper.shape[1]:
        return {}
    values = np.sort(r.gripper[rows], axis=1)
    best = r.gripper[rows].argmax(axis=1)
    shares = {f"gripper_{name}_percent": 100 * float((best == i).mean()) for i, name in enumerate(COMMANDS)}
    return shares | {
        "gripper_agrees_percent": 100 * float((best == r.command[rows]).mean()),
        "gripper_q": float(values[:, -1].mean()),
        "gripper_gap": float((values[:, -1] - values[:, -2]).mean()),
    }


def as_rows(d: CriticDiagnosis) -> Iterator[Mapping[str, object]]:
    """Rows of the table: for each source the whole episodes, then `PHASES` parts of them."""
    r = d.ratings
    part = np.minimum((r.phase * PHASES).astype(int), PHASES - 1)
    for source, name in SOURCES.items():
        mine = r.source == source
        for phase in range(-1, PHASES):
            rows = mine & ((part == phase) | (phase < 0))
            if not rows.any():
                continue
            yield {
                "policy": d.name,
                "source": name,
                "episode_percent": f"{100 * phase // PHASES}-{100 * (phase + 1) // PHASES}" if phase >= 0 else "0-100",
                "transitions": int(rows.sum()),
                "q_mean": r.mean[rows].mean(),
                "q_max": r.q[:, rows].max(),
                "return_low": r.low[rows].mean(),
                "return_high": r.high[rows].mean(),
                "q_error": error(r, rows),
                "outside_percent": 100 * outside(r, rows),
                "critics_differ": np.ptp(r.q[:, rows], axis=0).mean(),
                "sharpness": r.sharpness[rows].mean(),
                **gripper_row(r, rows),
            }


def growth(metrics: pd.DataFrame) -> tuple[float, float, float, float]:
    """Mean value, and success when left alone, in the first and the last `WINDOW` training episodes with updates.

    Success is NaN where no episode was left alone.
    """
    rows = metrics.dropna(subset=["q_mean"]) if "q_mean" in metrics else metrics.head(0)
    if len(rows) < 2 * WINDOW:
        return (float("nan"),) * 4
    first, last = rows.iloc[:WINDOW], rows.iloc[-WINDOW:]
    return first.q_mean.mean(), last.q_mean.mean(), by_itself(first).mean(), by_itself(last).mean()


# ---------------------------------------------------------------- in words


def findings(d: CriticDiagnosis) -> list[Finding]:
    """What is wrong; empty where nothing stands out."""
    r = d.ratings
    found = [*_impossible(d), *_too_high(r), *_too_low(r), *_growing(d), *_gripper(r)]
    if r.sharpness.mean() < FLAT * lost_step(d):
        found.append(
            Finding(
                code="flat",
                what=f"the critics hardly tell actions apart: among actions within {PERTURBED} of the policy's their "
                f"values differ by {r.sharpness.mean():.2g}, where a lost step costs {lost_step(d):.2g}; the actor has "
                "no gradient to follow",
                fix="more updates (utd), corrections that differ from what the policy does, or a shorter agent.n_step",
            )
        )
    if follows(r) < UNRELATED:
        found.append(
            Finding(
                code="unrelated",
                what=f"values do not follow returns (rank correlation {follows(r):.2f}): they cannot tell good states "
                "from bad ones",
                fix="see whether the encoder sees the cube (hiltk diagnose encoder), and that successes are rewarded "
                "(hiltk check: REW002)",
            )
        )
    return found


def _impossible(d: CriticDiagnosis) -> Iterator[Finding]:
    """[058: Q above 1 where success is rewarded with 1]"""
    r = d.ratings
    share, (low, high) = outside(r, np.ones(len(r.phase), bool)), r.bounds
    if share > 0.01:
        yield Finding(
            code="q_bound",
            what=f"{share:.0%} of the values are beyond the returns that the reward rule allows, {low:.3g} to "
            f"{high:.3g}; the "
            f"highest is {r.q.max():.3g}",
            fix="agent.clip_target=true, more critics (agent=rlpd) or a lower utd; see that no success is rewarded "
            "twice (hiltk check: REW003, LRN006)",
        )
        return
    expected = Expected(q_low=low, q_high=high)
    rows = [{k: v for k, v in row.items() if v == v} for row in d.metrics.to_dict("records")]
    tripped = (q_bound(rows[max(0, i - WINDOW) : i], expected) for i in range(3, len(rows) + 1))
    if (first := next((f for f in tripped if f), None)) is not None:
        yield Finding(code=first.code, what=f"in training, {first.what}", fix=first.fix)


def _too_high(r: Ratings) -> Iterator[Finding]:
    over = error(r, r.source == Source.policy)
    if over > TOO_HIGH * r.span:
        yield Finding(
            code="overestimates",
            what=f"the critics overestimate what the policy does: on average by {over:.2g}, {over / r.span:.0%} of the "
            "range of returns",
            fix="the policy is drawn to out-of-distribution actions: agent.clip_target=true, agent=rlpd (ten critics), "
            "a lower utd, or short corrections where it goes wrong",
        )


def _too_low(r: Ratings) -> Iterator[Finding]:
    under = error(r, r.source != Source.policy)
    if -under > TOO_LOW * r.span:
        yield Finding(
            code="underestimates",
            what=f"the critics underestimate the human's return by {-under:.2g}: reward has not propagated from the "
            "end to the beginning, or the policy could not do what the human did from there",
            fix="more updates, agent.n_step=3, or agent.mc_floor=true, which keeps targets above the observed return",
        )


def _growing(d: CriticDiagnosis) -> Iterator[Finding]:
    before, after, rate_before, rate_after = growth(d.metrics)
    if after - before > 2 * TOO_HIGH * d.ratings.span and not rate_after - rate_before >= 0.05:
        known = math.isfinite(rate_before) and math.isfinite(rate_after)
        alone = f"went from {rate_before:.0%} to {rate_after:.0%}" if known else "was not measured"
        yield Finding(
            code="growing",
            what=f"over the training values grew from {before:.2g} to {after:.2g} while success when left alone "
            f"{alone}: overestimation that grows",
            fix="stop at the best policy so far (its folder best/); agent.clip_target=true, a lower utd or agent=rlpd",
        )


def _gripper(r: Ratings) -> Iterator[Finding]:
    """One command for everything, where people gave several."""
    people = r.source != Source.policy
    if not r.gripper.shape[1] or not people.any():
        return
    best, given = r.gripper[people].argmax(axis=1), r.command[people]
    usual = int(np.bincount(best, minlength=3).argmax())
    others = float((given != usual).mean())
    if (best == usual).mean() >= ALWAYS and others >= SOMETIMES:
        yield Finding(
            code="gripper_fixed",
            what=f"the gripper's head says '{COMMANDS[usual]}' whatever it sees, where people commanded something else "
            f"in {others:.0%} of the steps",
            fix="bc-pretrain and init= teach it before training; see that the demonstrations' gripper is three-way "
            "(hiltk check: GRP001)",
        )


def verdict(diagnoses: Sequence[CriticDiagnosis]) -> str:
    """One paragraph: for each policy how values compare with returns, what is wrong, and what to do."""
    return " ".join(_sentence(d) for d in diagnoses)


def _sentence(d: CriticDiagnosis) -> str:
    r = d.ratings
    parts = []
    for source, name in SOURCES.items():
        rows = r.source == source
        if rows.any():
            low, high = r.low[rows].mean(), r.high[rows].mean()
            returns = f"{low:.2f}" if high - low < 0.005 else f"{low:.2f} to {high:.2f}"
            parts.append(f"{name} {r.mean[rows].mean():.2f} (return {returns})")
    text = f"{d.name}: mean value of actions by {', '.join(parts)}"
    if not math.isnan(follows(r)):
        text += f"; values follow returns with a rank correlation of {follows(r):.2f}"
    text += (
        f"; they differ by {r.sharpness.mean():.2g} among actions within {PERTURBED} of the policy's (a lost step "
        f"costs {lost_step(d):.2g})"
    )
    steep = _steepest(r)
    text += f", most in the part from {steep} of an episode." if steep else "."
    if gripper := gripper_row(r, np.ones(len(r.phase), bool)):
        shares = ", ".join(f"{name} {gripper[f'gripper_{name}_percent']:.0f} %" for name in COMMANDS)
        text += (
            f" The gripper's head would say {shares}, as was done in {gripper['gripper_agrees_percent']:.0f} %, its "
            f"choice ahead by {gripper['gripper_gap']:.2g}."
        )
    found = findings(d)
    if not found:
        return text + " Nothing stands out."
    return text + "".join(f" {f.what[0].upper()}{f.what[1:]}; {f.fix}." for f in found)


def _steepest(r: Ratings) -> str:
    part = np.minimum((r.phase * PHASES).astype(int), PHASES - 1)
    means = {p: float(r.sharpness[part == p].mean()) for p in range(PHASES) if (part == p).any()}
    if not means:
        return ""
    best = max(means, key=lambda p: means[p])
    return f"{100 * best // PHASES} to {100 * (best + 1) // PHASES} %"
