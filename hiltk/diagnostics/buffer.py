"""What is in a run's replay buffer: numbers, what follows from them, and the same in words."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd

from hiltk import limits
from hiltk.diagnostics.composition import composition
from hiltk.diagnostics.experience import Experience
from hiltk.diagnostics.shifts import LARGE_EFFECT, Coverage, coverage, shifts
from hiltk.diagnostics.takeovers import Takeovers, interventions, summary
from hiltk.findings import Finding
from hiltk.spec import Spec, Stats

LEAST_COVERED = 0.5
PAPER = "HIL-SERL, arXiv 2410.21845"
SOURCES = {
    "no_human_data": f"{PAPER}, Table 1b: without demonstrations and corrections none of three tasks was learned",
    "positive_rate": "devlog 058: 53 of 5866; devlog 072: reward in a third of the episodes",
    "terminal_timeouts": "Pardo et al. 2018, arXiv 1712.00378; HIL-SERL's own environment stores them so",
    "nobody_intervened": f"{PAPER}, Table 1b: demonstrations without interventions solved 48, 0 and 100 of 100, with "
    "them 100 each",
    "long_interventions": f"{PAPER}, its section on interventions: avoid long sparse ones that lead to success; "
    "devlogs 072 and 073",
    "share_does_not_fall": "devlog 072: it should fall as the policy improves; if not, something is wrong",
    "apart": "failures C4, C12 and S1; devlog 046",
    "uncovered": "devlog 072: more demonstrations at the hard positions",
}


@dataclass(frozen=True)
class Found:
    """Everything measured on one run's experience."""

    composition: pd.DataFrame
    shifts: pd.DataFrame
    coverage: Coverage | None
    episodes: pd.DataFrame
    takeovers: Takeovers

    def part(self, name: str) -> pd.Series:
        return self.composition.set_index("part").loc[name]


def examine(demos: Experience, online: Experience, spec: Spec, stats: Stats, seed: int = 0) -> Found:
    """Measure all of it; ``stats`` are those that the run normalised states by."""
    table = interventions(online, spec)
    return Found(
        composition(demos, online, spec),
        shifts(demos, online, spec, seed),
        coverage(demos, online, stats, seed),
        table,
        summary(table),
    )


def findings(found: Found) -> list[Finding]:
    """What follows from the numbers, the most pressing first; who says so is in `SOURCES`, by code."""
    return [*_on_data(found), *_on_interventions(found), *_on_overlap(found)]


def _on_data(found: Found) -> Iterator[Finding]:
    demos, policy, human = (found.part(name) for name in ("demos", "policy", "human"))
    rewarded = (demos.positive + policy.positive + human.positive) / max(1, found.composition.transitions.sum())
    late = int(found.composition.timeouts_terminal.sum())
    if not demos.transitions + human.transitions:
        yield Finding(
            "There is no human data at all", fix="20 to 30 demonstrations, then brief corrections", code="no_human_data"
        )
    if rewarded < limits.POSITIVE.alarm:
        yield Finding(
            f"Only {rewarded:.2%} of all transitions are rewarded",
            fix="more demonstrations that end in success, and corrections that reach it in every third episode",
            code="positive_rate",
        )
    if late:
        yield Finding(
            f"{late} time-outs are stored as terminal: critics do not bootstrap there and learn that waiting is "
            "worth nothing",
            fix="reward.timeout=truncated bootstraps through them",
            code="terminal_timeouts",
        )


def _on_interventions(found: Found) -> Iterator[Finding]:
    t = found.takeovers
    if not t.takeovers:
        yield Finding(
            "Nobody intervened",
            fix="brief corrections reach what demonstrations alone do not",
            code="nobody_intervened",
        )
        return
    if t.long > limits.LONG_TAKEOVERS.alarm or t.rate > limits.TAKEN_OVER.alarm:
        yield Finding(
            f"{t.long:.0%} of the intervened episodes had a long takeover, {t.mean_length:.0f} steps on average",
            fix="correct one thing, then let go (intervention=brief); critics credit the policy with what the human "
            "did",
            code="long_interventions",
        )
    if len(found.episodes) >= 20 and t.rate_last > 0.1 and t.rate_last >= 0.9 * t.rate_first:
        yield Finding(
            f"The human's share does not fall ({t.rate_first:.0%} of the steps at first, {t.rate_last:.0%} at the "
            "end), so the policy does not learn from the corrections",
            fix="`hiltk diagnose run` looks for the reason",
            code="share_does_not_fall",
        )


def _on_overlap(found: Found) -> Iterator[Finding]:
    state = found.shifts[found.shifts.column == "state"] if len(found.shifts) else found.shifts
    apart = state[(state.ks > LARGE_EFFECT) & (state.q < 0.05)] if len(state) else state
    if len(apart):
        yield Finding(
            f"{', '.join(apart.dimension[:4])} hardly overlap between demonstrations and experience",
            fix="look for another unit, frame, calibration or reset pose (hiltk check) before anything else",
            code="apart",
        )
    if found.coverage is not None and found.coverage.online < LEAST_COVERED:
        yield Finding(
            f"{1 - found.coverage.online:.0%} of the states the policy visits are far from any demonstration",
            fix="demonstrate or correct there",
            code="uncovered",
        )


def verdict(found: Found) -> str:
    """What the numbers say and what to do, in one paragraph."""
    parts = [
        f"{row.part}: {row.transitions} transitions of {row.episodes} episodes, {row.positive} rewarded"
        for row in found.composition.itertuples()
        if row.transitions
    ]
    t, facts = found.takeovers, [f"{'; '.join(parts) or 'nothing'}."]
    facts.append(
        f"{t.takeovers} takeovers of {t.mean_length:.1f} steps on average made {t.rate:.0%} of the steps "
        f"({t.rate_first:.0%} in the first third, {t.rate_last:.0%} in the last)."
        if t.takeovers
        else "Nobody intervened."
    )
    if found.coverage:
        facts.append(
            f"{found.coverage.online:.0%} of the experienced states lie among the demonstrated ones, "
            f"{found.coverage.demos:.0%} of the demonstrated were experienced."
        )
    if len(found.shifts):
        worst = found.shifts.loc[found.shifts.ks.idxmax()]
        facts.append(
            f"The distributions differ most in {worst.column} {worst.dimension} (distance {worst.ks:.2f}, "
            f"q {worst.q:.2g} over whole episodes)."
        )
    return " ".join([*facts, *(f"{f.what}: {f.fix}. [{SOURCES[f.code]}]" for f in findings(found))])
