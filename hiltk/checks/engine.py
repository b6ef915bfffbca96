"""Runs rules over artifacts: which ones, in which order, and what they found."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hiltk.artifacts.store import Artifact
from hiltk.checks import actions, driving, gripper, images, kinematics, learning, rewards, runs  # noqa: F401 (they register)
from hiltk.checks.rule import RULES, Reads, Rule
from hiltk.checks.subject import DatasetSubject, Made, Subjects
from hiltk.errors import ConfigError, UserError, nearest
from hiltk.findings import Finding, Severity
from hiltk.verbs import GATED

KINDS = {"datasets": "datasets", "classifiers": "classifiers", "policies": "policies", "evaluations": "evaluations"}
MARKS = {"policy.safetensors": "policies", "classifier.safetensors": "classifiers", "episodes.csv": "evaluations"}


@dataclass(frozen=True)
class Report:
    """What came of one examination.

    Attributes:
        rules: that had something to look at, in order.
        findings: by artifact, then by rule.
        ignored: rules left out on request.
        subjects: names of what was looked at.
    """

    rules: list[Rule]
    findings: list[Finding]
    ignored: list[str]
    subjects: list[str]
    seconds: float

    @property
    def errors(self) -> list[Finding]:
        return [f for f in self.findings if f.severity is Severity.error]

    @property
    def warnings(self) -> list[Finding]:
        return [f for f in self.findings if f.severity is Severity.warning]

    @property
    def summary(self) -> str:
        """``37 rules, 2 errors, 1 warning``."""
        errors, warnings = len(self.errors), len(self.warnings)
        return (
            f"{len(self.rules)} rules, {errors} error{'s' * (errors != 1)}, {warnings} warning{'s' * (warnings != 1)}"
        )


def gather(artifacts: Sequence[Artifact]) -> Subjects:
    """Subjects of artifacts of any kind.

    Raises:
        UserError: a dataset is damaged.
        ConfigError: a kind that no rule reads.
    """
    found = Subjects()
    for artifact in artifacts:
        kind = kind_of(artifact)
        if kind == "datasets":
            found.datasets.append(DatasetSubject(artifact.path, artifact.ref, artifact))
        elif kind in KINDS:
            getattr(found, kind).append(Made(artifact))
        else:
            raise ConfigError(f"there are no rules for {kind}", where=artifact.ref, fix=f"one of: {', '.join(KINDS)}")
    return found


def kind_of(artifact: Artifact) -> str:
    """Its kind; of a folder outside the store, as its files say."""
    if not artifact.version:
        return next((kind for name, kind in MARKS.items() if (Path(artifact.path) / name).is_file()), artifact.kind)
    return artifact.kind


def examine(all_: Subjects, *, step: str = "", select: Sequence[str] = (), ignore: Sequence[str] = ()) -> Report:
    """Run the rules that apply.

    Args:
        step: only those of this step's gate; empty for all.
        select, ignore: codes (``ACT001``) or families (``ACT``); an empty ``select`` means all.

    Raises:
        ConfigError: an unknown step, code or family.
    """
    started = time.perf_counter()
    selected, ignored = expand(select, "--select"), expand(ignore, "ignore")
    rules = [r for r in of_step(step) if (not selected or r.code in selected) and r.code not in ignored]
    run: list[Rule] = []
    findings: list[Finding] = []
    blind: dict[str, Finding] = {}
    for rule in rules:
        subjects = _subjects(rule, all_)
        run += [rule] if subjects else []
        for subject in subjects:
            try:
                findings += rule.apply(subject)
            except UserError as error:  # one that cannot look must not silence the others
                blind.setdefault(str(error), _blind(rule, subject, error))
    if not any(f.severity is Severity.error for f in findings):  # with a cause known, that is enough
        findings += blind.values()
    names = [one.name for one in all_.all()]
    findings.sort(key=lambda f: (names.index(f.subject) if f.subject in names else len(names), f.code))
    return Report(run, findings, sorted(ignored), names, time.perf_counter() - started)


def _blind(rule: Rule, subject: object, error: UserError) -> Finding:
    """A rule that cannot look: a file that it reads is damaged, or contradicts the metadata."""
    return Finding(
        f"{rule.code} cannot look: {error.what}",
        where=error.where,
        fix=error.fix,
        code="RUN008",
        severity=Severity.error,
        subject=getattr(subject, "name", ""),
    )


def _subjects(rule: Rule, all_: Subjects) -> list[object]:
    if rule.reads is Reads.together:
        return [all_]
    found: dict[Reads, list[DatasetSubject] | list[Made]] = {
        Reads.dataset: all_.datasets,
        Reads.classifier: all_.classifiers,
        Reads.policy: all_.policies,
        Reads.evaluation: all_.evaluations,
    }
    return list(found[rule.reads])


def of_step(step: str) -> list[Rule]:
    """The rules of one step's gate, or all, by code.

    Raises:
        ConfigError: the step has no gate.
    """
    if step and step not in GATED:
        raise ConfigError(
            f"'{step}' checks nothing", where="--step", fix=nearest(step, GATED) or f"one of: {', '.join(GATED)}"
        )
    return [rule for _, rule in sorted(RULES.items()) if not step or step in rule.steps]


def expand(words: Sequence[str], where: str) -> set[str]:
    """Codes that codes or families stand for.

    Raises:
        ConfigError: there is no such rule.
    """
    found: set[str] = set()
    for word in words:
        codes = {code for code in RULES if word and code.startswith(word.upper())}
        if not codes:
            raise ConfigError(f"there is no rule '{word}'", where=where, fix=nearest(word.upper(), RULES) or _LIST)
        found |= codes
    return found


def find(code: str) -> Rule:
    """One rule by its code.

    Raises:
        ConfigError: there is none of that name; the nearest is given.
    """
    if code.upper() not in RULES:
        raise ConfigError(f"there is no rule '{code}'", where="--explain", fix=nearest(code.upper(), RULES) or _LIST)
    return RULES[code.upper()]


_LIST = "hiltk check --list shows them all"
