"""`hiltk diagnose run`: what most likely holds a training run back."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from hiltk.artifacts.store import Artifact, resolve
from hiltk.artifacts.writing import create
from hiltk.config.commands import DiagnoseRunConf
from hiltk.diagnostics.causes import rank
from hiltk.diagnostics.evidence import Evidence
from hiltk.diagnostics.record import Record, save
from hiltk.diagnostics.suspects import STANDS_OUT, Suspect, figure, table, verdict
from hiltk.errors import ConfigError
from hiltk.steps.common import set_up_torch

CAPTION = "The evidence for each cause: severity times certainty. What stands out is beyond the dashed line."


def run(cfg: DiagnoseRunConf) -> Artifact:
    """Write ``run.csv`` (every cause that was asked), ``run.png`` and ``diagnosis.json``.

    Raises:
        ConfigError: a setting is out of range.
        UserError: the policy is no run of `hiltk train`, or what it names is gone.
    """
    if cfg.samples < 10:
        raise ConfigError("at least 10 observations are needed", where=f"samples={cfg.samples}")
    device = set_up_torch(cfg)
    policy = resolve(cfg.policy, "policies", cfg.root)
    evidence = Evidence.of(policy, cfg.root, cfg.samples, cfg.seed)
    evidence.policy.to(device)
    ranked = rank(evidence)
    words = verdict(ranked, evidence)
    inputs = [policy, *evidence.inputs]
    with create(
        "evaluations", cfg.name, root=cfg.root, step="diagnose run", cfg=cfg, inputs=inputs, seed=cfg.seed
    ) as draft:
        draft.spec = evidence.spec
        draft.notes = {"diagnosis": "run", "policy": policy.ref, "first": _first(ranked)}
        figure(ranked, draft.path / "run.png")
        save(Record(f"what holds back {policy.ref}", words, table(ranked), {"run.png": CAPTION}), draft.path, "run")
    _print(ranked, words, policy.ref)
    return draft.done


def _first(ranked: list[Suspect]) -> str:
    """The likeliest cause; empty where nothing stands out."""
    return ranked[0].cause if ranked[0].score >= STANDS_OUT else ""


def _print(ranked: list[Suspect], words: str, name: str) -> None:
    console = Console()
    top = [s for s in ranked if s.score >= STANDS_OUT]
    if top:
        shown = Table(title=f"what holds back {name}", title_justify="left")
        for column in ("score", "cause", "what was seen", "what to do"):
            shown.add_column(column, justify="right" if column == "score" else "left", overflow="fold")
        for s in top:
            shown.add_row(f"{s.score:.2f}", f"{s.cause}\n[{s.link}]", s.finding.what, s.finding.fix, end_section=True)
        console.print(shown, markup=False)
    cleared = ", ".join(s.cause for s in ranked if s.score < STANDS_OUT)
    console.print(words, highlight=False, markup=False)
    console.print(f"asked and cleared: {cleared}", highlight=False, markup=False)
