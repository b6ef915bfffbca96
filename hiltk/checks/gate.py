"""Gates: the rules a step runs over its inputs or its result by itself, before anything is made of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch
from rich.console import Console

from hiltk.artifacts.provenance import plain_config
from hiltk.artifacts.store import Artifact
from hiltk.artifacts.writing import Draft
from hiltk.checks.engine import Report, examine, expand, gather
from hiltk.checks.rule import READERS, RULES
from hiltk.checks.show import print_carried, print_gate, severity
from hiltk.checks.subject import DatasetSubject, Subjects
from hiltk.config.commands import ChecksConf
from hiltk.envs.base import HilEnv
from hiltk.errors import UserError
from hiltk.findings import Severity
from hiltk.spec import Spec

if TYPE_CHECKING:
    from hiltk.rewards.demonstrations import Demonstrations


class Gated(Protocol):
    """The config of a step that has a gate."""

    checks: ChecksConf


def gate(
    step: str,
    cfg: Gated,
    artifacts: Sequence[Artifact],
    *,
    env: HilEnv | None = None,
    demonstrations: Demonstrations | None = None,
    unseen: Sequence[Artifact] = (),
) -> dict[str, Any]:
    """Check a step's inputs; say in one line what passed and in full what did not.

    Args:
        artifacts: what the step reads.
        env: the environment it will act in; it is driven a little.
        demonstrations: what it learns from, where it has judged them already.
        unseen: datasets that will judge what it makes.

    Returns:
        What was found, for ``run.yaml`` of what it makes; see `notes`.

    Raises:
        UserError: a rule found an error that ``cfg.checks.ignore`` does not name.
        ConfigError: it names a rule that does not exist.
    """
    all_ = gather(artifacts)
    all_.step, all_.config = step, plain_config(cfg)
    all_.env, all_.target, all_.demonstrations = env, env.io_spec if env else None, demonstrations
    all_.unseen = gather(unseen).datasets
    with torch.random.fork_rng(devices=[]):  # rules load networks: what they draw must not change the step's own draws
        report = examine(all_, step=step, ignore=cfg.checks.ignore)
    print_gate(report, Console())
    refuse(report, step)
    return notes(report, inputs=True)


def keeps_copies_together(cfg: Gated) -> bool:
    """Whether a step that holds episodes out treats copies of one recording (RUN006) as one."""
    return "RUN006" not in expand(cfg.checks.ignore, "checks.ignore")


def examine_written(step: str, path: Path, name: str, spec: Spec | None, ignore: Sequence[str]) -> Report:
    """Check a dataset that a step has written and not yet committed, and say what was found; refuses nothing."""
    report = _examine_dataset(step, path, name, spec, ignore)
    print_gate(report, Console())
    return report


def examine_change(step: str, cfg: Gated, draft: Draft, sources: Sequence[Artifact]) -> None:
    """Check a dataset that a step has made of other artifacts and not yet committed, and note what was found.

    An error that a source has, too, is a warning here: else nobody could clean a dataset step by step.

    Raises:
        UserError: an error that no source has and ``cfg.checks.ignore`` does not name.
        ConfigError: it names a rule that does not exist.
    """
    report, console = _examine_dataset(step, draft.path, draft.name, draft.spec, cfg.checks.ignore), Console()
    codes = sorted({f.code for f in report.errors})
    known = {f.code for f in examine(gather(sources), step=step, select=codes).errors} if codes else set()
    findings = [replace(f, severity=Severity.warning) if f.code in known else f for f in report.findings]
    report = replace(report, findings=findings)
    print_gate(report, console)
    if known:
        readers = [reader for reader in READERS if any(reader in RULES[code].steps for code in known)]
        print_carried(sorted(known), [source.ref for source in sources], readers, console)
    refuse(report, step)
    draft.notes |= notes(report)
    draft.notes["checks"] |= {"carried_over": sorted(known)}


def _examine_dataset(step: str, path: Path, name: str, spec: Spec | None, ignore: Sequence[str]) -> Report:
    return examine(Subjects([DatasetSubject(path, name, spec=spec)], step=step), step=step, ignore=ignore)


def refuse(report: Report, step: str, *, fix: str = "") -> None:
    """Stop the step if there is an error.

    Raises:
        UserError: naming the first, and the way round it.
    """
    if not report.errors:
        return
    codes = list(dict.fromkeys(f.code for f in report.errors))
    first, more = report.errors[0], f" (and {len(codes) - 1} more)" if len(codes) > 1 else ""
    raise UserError(
        f"{step} refuses: {first.code} {first.what}{more}",
        where=f"{first.subject}: {first.where}",
        fix=f"{fix or first.fix}; `hiltk check --explain {first.code}` says more; checks.ignore=[{','.join(codes)}] "
        "continues in spite of it",
    )


def notes(report: Report, *, inputs: bool = False) -> dict[str, Any]:
    """What goes into ``run.yaml`` of what was checked as it was written, or was made of what was checked."""
    found = [
        {"code": f.code, "severity": severity(f).name, "message": f"{f.subject}: {f.what}" if inputs else f.what}
        for f in report.findings
    ]
    return {"checks": {"rules": len(report.rules), "ignored": report.ignored, "findings": found}}
