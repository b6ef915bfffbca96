"""Rules: one function each, registered under a code, its docstring the explanation a user reads."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from enum import Enum
from string import Formatter
from typing import Any

from hiltk.findings import Finding, Severity
from hiltk.verbs import VERBS

# Whoever writes a dataset checks it by every rule that a step which reads datasets would refuse it by.
WRITERS = tuple(verb.name for verb in VERBS.values() if verb.gate in ("output", "change"))
READERS = tuple(verb.name for verb in VERBS.values() if verb.gate == "inputs")


class Reads(Enum):
    """What a rule is given: one artifact of a kind, or everything that is to be used together."""

    dataset = "dataset"
    classifier = "classifier"
    policy = "policy"
    evaluation = "evaluation"
    together = "together"


@dataclass(frozen=True)
class Clause:
    """One thing that a rule's explanation promises to detect, as ``- text [fault, ...]`` in the docstring.

    Attributes:
        shown_by: names of planted faults (`tests.faults.planted`) that set off this rule by it.
    """

    text: str
    shown_by: tuple[str, ...]


_SHOWN_BY = re.compile(r"\s+\[(\w+(?:,\s+\w+)*)\]$", re.M)

Check = Callable[[Any], Iterable[Finding]]


class _Thresholds(Formatter):
    """Fills in thresholds where a docstring names them, from the rule's own module: ``{LEAST_PATH_DEG:g} degrees``."""

    def format_field(self, value: Any, format_spec: str) -> str:
        """``:%`` writes a share as ``20 %``."""
        return f"{100 * value:g} %" if format_spec == "%" else str(super().format_field(value, format_spec))


@dataclass(frozen=True)
class Rule:
    """A check with what the map, the gates and ``--explain`` need to know of it.

    Attributes:
        covers: ids of the catalogue of failures that it recognises.
        steps: commands that run it by themselves.
    """

    code: str
    severity: Severity
    covers: tuple[str, ...]
    reads: Reads
    steps: tuple[str, ...]
    check: Check

    @property
    def title(self) -> str:
        """The docstring's first line."""
        return self.explanation.splitlines()[0]

    @property
    def explanation(self) -> str:
        """Symptom, cause, detection, fix and source, as a user reads them."""
        return _SHOWN_BY.sub("", self._doc)

    @property
    def clauses(self) -> list[Clause]:
        """What the explanation promises to detect."""
        detected = self._doc.partition("\nDetected:")[2].partition("\nFix:")[0]
        found = []
        for item in re.split(r"(?:^ |\n +)- ", detected)[1:]:
            shown_by = _SHOWN_BY.search(item)
            assert shown_by is not None, f"{self.code}: what shows that {item}?"
            found.append(Clause(" ".join(item[: shown_by.start()].split()), tuple(re.split(r",\s+", shown_by[1]))))
        return found

    @property
    def _doc(self) -> str:
        doc = inspect.cleandoc(self.check.__doc__ or "")
        return _Thresholds().vformat(doc, (), getattr(self.check, "__globals__", {}))

    def apply(self, subject: Any) -> Iterator[Finding]:
        """What the rule has to say of a subject, marked with whose word it is."""
        for finding in self.check(subject):
            yield replace(
                finding,
                code=self.code,
                severity=finding.severity or self.severity,
                subject=finding.subject or subject.name,
            )


RULES: dict[str, Rule] = {}


def rule(
    code: str,
    *,
    covers: tuple[str, ...],
    steps: tuple[str, ...] = (),
    severity: Severity = Severity.error,
    reads: Reads = Reads.dataset,
) -> Callable[[Check], Check]:
    """Register a function as the rule ``code``.

    Args:
        steps: what reads; of a dataset's rules, whatever writes a dataset by itself is added.
    """
    if reads is Reads.dataset and set(steps) & set(READERS):
        steps = (*WRITERS, *steps)

    def register(check: Check) -> Check:
        assert code not in RULES, code
        RULES[code] = Rule(code, severity, covers, reads, steps, check)
        return check

    return register
