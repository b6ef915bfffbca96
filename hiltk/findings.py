"""What is wrong, in one shape: rules, guards, diagnoses and the drift of cameras all answer with it.

It has the words of `hiltk.errors`: what, where, fix. An error stops a command; a finding is listed, and whoever asked
decides what follows from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum


class Severity(Enum):
    """What a finding means for the step that is about to run."""

    error = "error"  # the step refuses
    warning = "warning"  # the step says so and goes on


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong.

    Attributes:
        what: what was seen, with its numbers, and what that means.
        where: episode, column or file.
        fix: what to do about it.
        code: the rule, the guard or the name of a diagnosis; a rule's is filled in by `hiltk.checks.rule.Rule.apply`.
        severity: as the finder has it; None: the rule's own, or a warning.
        evidence: the numbers, by name.
        subject: the artifact it is about, where several were looked at.
    """

    what: str
    where: str = ""
    fix: str = ""
    code: str = ""
    severity: Severity | None = None
    evidence: Mapping[str, float] = field(default_factory=dict)
    subject: str = ""
