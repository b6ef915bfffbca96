"""`hiltk check`: a linter for datasets, classifiers, policies and evaluations. Writes nothing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from hiltk.artifacts.store import resolve
from hiltk.checks import show
from hiltk.checks.engine import examine, find, gather
from hiltk.configuring.files import shipped
from hiltk.errors import ConfigError


def run(
    references: Sequence[str],
    *,
    root: str,
    step: str = "",
    select: Sequence[str] = (),
    ignore: Sequence[str] = (),
    as_json: bool = False,
) -> bool:
    """Check artifacts and print what was found; whether nothing is an error.

    Args:
        references: as everywhere: ``name``, ``name@d-0003``, a path, ``hub:owner/repo``.
        step: only the rules of this step's gate.
        select, ignore: codes or families of rules, each word may hold several with commas.

    Raises:
        ConfigError: no artifact, an unknown step or rule.
        UserError: an artifact does not exist or is damaged.
    """
    if not references:
        raise ConfigError("nothing is named to check", fix="hiltk check NAME, or hiltk check --list")
    all_ = gather([resolve(reference, "", root) for reference in references])
    report = examine(all_, step=step, select=_words(select), ignore=_words(ignore))
    if as_json:
        print(json.dumps(show.as_data(report), indent=2))
    else:
        show.print_report(report, Console())
    return not report.errors


def print_list(*, as_json: bool = False) -> None:
    """The map of rules, guards and constructions."""
    if as_json:
        print(json.dumps(show.map_data(), indent=2))
    else:
        show.print_map(Console(), _failures())


def print_explanation(code: str) -> None:
    """One rule.

    Raises:
        ConfigError: there is no such rule; the nearest is named.
    """
    Console().print(show.explanation(find(code), _failures()), markup=False, highlight=False, soft_wrap=True)


def _failures() -> Path:
    """The catalogue of failures, where it can be read on this machine."""
    return shipped("docs") / "failures.md"


def _words(values: Sequence[str]) -> list[str]:
    return [word for value in values for word in value.split(",") if word]
