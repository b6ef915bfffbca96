"""What a user reads: findings by artifact, one line for a gate, the map of the catalogue, one document for machines."""

from __future__ import annotations

from collections.abc import Iterable
from math import isfinite
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from hiltk.checks.catalogue import CONSTRUCTION, GUARDS, IDS, Cover, covered
from hiltk.checks.engine import Report
from hiltk.checks.rule import RULES, Rule
from hiltk.findings import Finding, Severity

EXPLAINED = "says what each id and devlog was"
COLOURS = {Severity.error: "bold red", Severity.warning: "bold yellow"}


def severity(finding: Finding) -> Severity:
    """The finding's severity; `Rule.apply` has filled it in."""
    return finding.severity or Severity.error


def lines(finding: Finding) -> Text:
    """One finding: severity, code and message, then where and what to do."""
    text = Text(f"  {severity(finding).name} ", COLOURS[severity(finding)]).append(f"{finding.code} ", "bold")
    text.append(finding.what)
    for label, value in (("where", finding.where), ("fix", finding.fix)):
        if value:
            text.append(f"\n    {label + ':':<7}{value}", "dim")
    return text


def print_report(report: Report, console: Console) -> None:
    """Findings by artifact, artifacts that pass, and the summary."""
    subjects = [*report.subjects, *(f.subject for f in report.findings)]
    for name in dict.fromkeys(subjects):
        own = [f for f in report.findings if f.subject == name]
        console.print(Text(name, "bold").append("" if own else "  passes", "green"), soft_wrap=True)
        print_findings(own, console)
    left_out = f"; ignored: {', '.join(report.ignored)}" if report.ignored else ""
    console.print(f"{report.summary} ({report.seconds:.1f} s){left_out}", highlight=False, markup=False, soft_wrap=True)


def print_findings(findings: Iterable[Finding], console: Console) -> None:
    for finding in findings:
        console.print(lines(finding), soft_wrap=True)


def print_gate(report: Report, console: Console) -> None:
    """What passed in one line, what did not in full."""
    passed = len({r.code for r in report.rules} - {f.code for f in report.findings})
    left_out = f", ignored: {', '.join(report.ignored)}" if report.ignored else ""
    console.print(f"checks: {passed} of {len(report.rules)} rules pass{left_out}", highlight=False, soft_wrap=True)
    print_findings(report.findings, console)


def print_carried(codes: list[str], sources: list[str], readers: list[str], console: Console) -> None:
    """What a dataset was made of had errors already; who will refuse it for them."""
    text = f"carried over from {', '.join(sources)}: {', '.join(codes)}; refused by {', '.join(readers)} until fixed"
    console.print(Text(f"warning: {text}", COLOURS[Severity.warning]), soft_wrap=True)


# ---------------------------------------------------------------- the map


def print_map(console: Console, failures: Path) -> None:
    """Each rule with the ids it covers, then what guards and construction cover; every id is there.

    Args:
        failures: the file that explains the ids.
    """
    for code, rule in sorted(RULES.items()):
        _row(console, code, rule.covers, rule.title, mark="warning" if rule.severity is Severity.warning else "error")
    for title, covers in (("while training (guards)", GUARDS), ("impossible by construction", CONSTRUCTION)):
        console.print(f"\n{title}", style="bold")
        for cover in covers:
            _row(console, "", cover.ids, _why(cover))
    found = covered()
    console.print(
        f"\n{len(IDS)} failures of the catalogue, {sum(map(bool, found.values()))} covered, {len(RULES)} rules; "
        f"{failures} {EXPLAINED}",
        highlight=False,
        soft_wrap=True,
    )


def _why(cover: Cover) -> str:
    return f"{cover.why} ({cover.by})"


def _row(console: Console, code: str, ids: tuple[str, ...], text: str, mark: str = "") -> None:
    head = f"{code:<7} {mark:<8}" if code else " "
    row = Text(head, "bold").append(f"{', '.join(ids):<17} ", "cyan").append(text)
    console.print(row, soft_wrap=True)


def explanation(rule: Rule, failures: Path) -> str:
    """Code, severity, ids, gates, the docstring, and the file that explains the ids."""
    head = f"{rule.code}  {rule.severity.name}  {', '.join(rule.covers)}"
    gates = f"Checked by: hiltk check{''.join(f', {step}' for step in rule.steps)}"
    return f"{head}\n\n{rule.explanation}\n{gates}\nFailures:   {failures} {EXPLAINED}"


# ---------------------------------------------------------------- for machines


def as_data(report: Report) -> dict[str, Any]:
    """A report as plain containers for JSON."""
    return {
        "subjects": report.subjects,
        "rules": [rule.code for rule in report.rules],
        "ignored": report.ignored,
        "errors": len(report.errors),
        "warnings": len(report.warnings),
        "findings": [
            {
                "artifact": f.subject,
                "code": f.code,
                "severity": severity(f).name,
                "message": f.what,
                "where": f.where,
                "fix": f.fix,
                "evidence": {name: float(value) for name, value in f.evidence.items() if isfinite(value)},
            }
            for f in report.findings
        ],
        "seconds": round(report.seconds, 3),
    }


def map_data() -> dict[str, Any]:
    """The map as plain containers for JSON."""
    rules = {
        code: {
            "severity": rule.severity.name,
            "covers": list(rule.covers),
            "reads": rule.reads.name,
            "steps": list(rule.steps),
            "title": rule.title,
        }
        for code, rule in sorted(RULES.items())
    }
    others = [
        {"ids": list(c.ids), "kind": kind, "by": c.by, "why": c.why}
        for kind, covers in (("guard", GUARDS), ("construction", CONSTRUCTION))
        for c in covers
    ]
    return {"rules": rules, "others": others, "catalogue": covered()}
