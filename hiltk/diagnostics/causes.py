"""What can hold a training run back: one function per cause, which weighs what others have found.

Rules, guards and the other diagnoses detect and measure (`Evidence`); `causes_data` and `causes_learner` make what they
found comparable, and here it is ranked.

A score is ``severity * certainty``, both from 0 to 1, so that causes can be ranked against each other:

- *Severity*: how much of what the run learns from or with (actions, observations, reward, human data, updates) is
  spoilt. 1: nothing of it is left. Mostly a measured share; where a number has no natural share, a ramp between a value
  that sound runs stay below and one where nothing worked (`hiltk.limits`).
- *Certainty*: 1 where the fault itself was read or measured; 0.8 where the measurement needs an assumption; 0.5 to 0.6
  where a symptom was seen that other causes share. A share of few cases counts by the lower end of its 95 % Wilson
  interval.

Faults that only slow learning down are scaled by what there is left to learn (`Evidence.headroom`): they do not hold
back a policy that succeeds. Spoilt data are not, and false rewards only by an evaluation: the success rate of training
says nothing about them.
"""

from __future__ import annotations

from hiltk.diagnostics.causes_data import DATA_CAUSES
from hiltk.diagnostics.causes_learner import LEARNER_CAUSES
from hiltk.diagnostics.evidence import Evidence
from hiltk.diagnostics.suspects import Cause, Suspect
from hiltk.findings import Finding, Severity


def refused_inputs(e: Evidence) -> Suspect | None:
    """Whatever else the gate of training finds in the inputs: an error that was ignored, or that newer rules see."""
    errors = [f for f in e.refusals if f.severity is Severity.error]
    codes = list(dict.fromkeys(f.code for f in errors))
    return Suspect(
        "inputs that the checks refuse",
        0.9 if errors else 0.0,
        0.5,  # often another view of a cause above, which then knows more
        Finding(
            f"{codes[0]} {errors[0].what}" + (f"; also {', '.join(codes[1:])}" if codes[1:] else "")
            if errors
            else "the gate of training finds no error in the inputs",
            fix=errors[0].fix if errors else "",
            code=codes[0] if codes else "hiltk check --step train",
            evidence={"errors": float(len(errors))},
        ),
    )


CAUSES: list[Cause] = [*DATA_CAUSES, *LEARNER_CAUSES, refused_inputs]


def rank(e: Evidence) -> list[Suspect]:
    """Every cause that could be asked, the likeliest first."""
    found = [suspect for cause in CAUSES if (suspect := cause(e)) is not None]
    return sorted(found, key=lambda s: -s.score)
