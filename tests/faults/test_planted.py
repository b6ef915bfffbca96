"""What the rules' explanations promise: every clause names planted faults, and each sets off exactly that rule."""

from __future__ import annotations

from pathlib import Path

import pytest

from hiltk.checks.engine import examine
from hiltk.checks.rule import READERS, RULES, WRITERS, Reads
from hiltk.checks.subject import Subjects
from tests.faults.planted import FAULTS, Bench

PROMISED = [(code, name) for code, rule in sorted(RULES.items()) for c in rule.clauses for name in c.shown_by]


@pytest.fixture
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Bench:
    return Bench(request, tmp_path)


@pytest.mark.parametrize("code", sorted(RULES))
def test_every_rule_promises_something_in_words(code: str) -> None:
    clauses = RULES[code].clauses
    assert clauses and all(len(c.text) > 10 and c.text[-1] != "." for c in clauses)
    assert all(c.text in " ".join(RULES[code].explanation.split()) for c in clauses)


@pytest.mark.parametrize(("code", "name"), PROMISED, ids=[f"{code}-{name}" for code, name in PROMISED])
def test_what_is_promised_is_detected(code: str, name: str, bench: Bench) -> None:
    fault = FAULTS[name]
    assert fault.code == code
    planted = fault.plant(bench)
    report = examine(planted)
    assert {f.code for f in report.findings} == {code} | fault.also, [str(f) for f in report.findings]
    own = [f for f in report.findings if f.code == code]
    assert all(f.what and (f.where or f.fix) for f in own)
    assert fault.severity is None or {f.severity for f in own} == {fault.severity}
    if RULES[code].reads is Reads.together:
        assert_writers_refuse_what_readers_refuse(planted)


def assert_writers_refuse_what_readers_refuse(all_: Subjects) -> None:
    """Of a dataset alone. Rules about datasets are every writer's by construction; these may be about more than one.

    Not REW003: training pays by its environment's rule and looks at the dataset's only where it has none. Not RUN001:
    what is being written has no fingerprint yet. Nor ACT009: ``foreign.kinematics=none`` asks for such a dataset, for
    the classifier, and is told who refuses it.
    """
    if len(list(all_.all())) > 1 or not all_.datasets or all_.target or all_.config:
        return
    refused = {f.code for step in READERS for f in examine(all_, step=step).errors} - {"REW003", "RUN001", "ACT009"}
    for writer in WRITERS:
        assert refused <= {f.code for f in examine(all_, step=writer).errors}, writer


def test_every_fault_is_promised() -> None:
    """Once: a fault that two clauses name would not tell them apart."""
    assert sorted(name for _, name in PROMISED) == sorted(FAULTS)
