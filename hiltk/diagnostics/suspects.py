"""What causes are weighed by, and the ranking as table, figure and one paragraph."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from hiltk.checks.rule import RULES
from hiltk.diagnostics.evidence import Evidence
from hiltk.findings import Finding
from hiltk.intervals import wilson

STANDS_OUT = 0.3
SEEN = 0.01  # scores below are no sign of anything
FEW_EPISODES = 20  # of training: too few to judge by


@dataclass(frozen=True)
class Suspect:
    """A finding with its weight among the others.

    Attributes:
        cause: its name.
        severity, certainty: 0 to 1; see `hiltk.diagnostics.causes`.
        finding: what was seen and what that means, what to do, the numbers; its code is where it is explained, a rule,
            a guard, or an id of the catalogue of failures.
    """

    cause: str
    severity: float
    certainty: float
    finding: Finding

    @property
    def score(self) -> float:
        return self.severity * self.certainty

    @property
    def link(self) -> str:
        """How to read more."""
        code = self.finding.code
        return f"hiltk check --explain {code}" if code in RULES else code


Cause = Callable[[Evidence], Suspect | None]


def at_least(count: int, of: int) -> float:
    """What a share is at least, by its 95 % Wilson interval; 0 of none."""
    return wilson(count, of).low


# ---------------------------------------------------------------- in words


def table(ranked: list[Suspect]) -> pd.DataFrame:
    """A row per cause that was asked."""
    return pd.DataFrame(
        [
            {
                "cause": s.cause,
                "score": round(s.score, 3),
                "severity": round(s.severity, 3),
                "certainty": round(s.certainty, 3),
                # The words accuse: beside a score of nothing they would read as if it were so.
                "what was seen": s.finding.what if s.score >= SEEN else "no sign of it",
                "numbers": ", ".join(f"{k} {v:.4g}" for k, v in s.finding.evidence.items()),
                "fix": s.finding.fix if s.score >= STANDS_OUT else "",
                "explained by": s.link,
            }
            for s in ranked
        ]
    )


def verdict(ranked: list[Suspect], e: Evidence) -> str:
    """What most likely holds the run back, in one paragraph."""
    played = len(e.metrics)
    unaided = f"{e.unaided:.0%} of those left alone succeeded" if np.isfinite(e.unaided) else "none was left alone"
    state = f"At the end of {played} episodes of training {unaided}."
    state += f" Evaluated, it succeeds in {e.evaluated:.0%}." if np.isfinite(e.evaluated) else ""
    few = f" {played} episodes are few to judge by." if played < FEW_EPISODES else ""
    top = [s for s in ranked if s.score >= STANDS_OUT]
    if not top:
        return f"{state}{few} Nothing stands out: {len(ranked)} causes were asked and none has enough evidence."
    first, *others = top
    said = (
        f"Most likely: {first.cause} ({first.score:.2f}): {first.finding.what}. Do: {first.finding.fix} [{first.link}]."
    )
    also = "; ".join(f"{s.cause} ({s.score:.2f})" for s in others)
    return f"{state}{few} {said}" + (f" Also: {also}." if also else "")


def figure(ranked: list[Suspect], path: Path) -> None:
    """Scores of all causes; pale: the severity that certainty takes down."""
    own = ranked[::-1]
    sheet = Figure(figsize=(8.0, 0.6 + 0.3 * len(own)), layout="constrained")
    axis = sheet.subplots()
    names = [s.cause for s in own]
    axis.barh(names, [s.severity for s in own], color="#e3e6e8", label="severity")
    colors = ["#D55E00" if s.score >= STANDS_OUT else "#0072B2" for s in own]
    axis.barh(names, [s.score for s in own], color=colors, height=0.5, label="score: severity x certainty")
    axis.axvline(STANDS_OUT, color="#33383d", lw=0.8, ls="--")
    axis.set(xlim=(0, 1), xlabel=f"evidence; what stands out is beyond {STANDS_OUT:g}")
    axis.tick_params(axis="y", labelsize=9)
    axis.margins(y=0.01)
    axis.legend(loc="lower right")
    sheet.savefig(path, dpi=130)
