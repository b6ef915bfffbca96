"""`hiltk diagnose buffer`: what a training run learned from."""

from __future__ import annotations

import pandas as pd
from rich.console import Console
from rich.table import Table

from hiltk.artifacts.store import Artifact, resolve
from hiltk.artifacts.writing import create
from hiltk.config.commands import DiagnoseBufferConf
from hiltk.diagnostics.buffer import Found, examine, verdict
from hiltk.diagnostics.buffer_figure import figure
from hiltk.diagnostics.experience import demo_artifacts, demonstrations, online, require_training
from hiltk.diagnostics.record import Record, save
from hiltk.spec import STATE_KEY

CAPTION = (
    "Who made the transitions and how many are rewarded; the human's share over time; states of demonstrations and "
    "experience; how far each dimension's distributions are apart."
)


def run(cfg: DiagnoseBufferConf) -> Artifact:
    """Write ``buffer.csv`` (composition), ``shifts.csv``, ``interventions.csv``, ``buffer.png`` and ``diagnosis.json``.

    Raises:
        UserError: the policy is no run of `hiltk train`, or its replay or demonstrations are gone.
    """
    policy = resolve(cfg.policy, "policies", cfg.root)
    require_training(policy)
    datasets, spec = demo_artifacts(policy, cfg.root, cfg.demos), policy.spec()
    demos, own = demonstrations(datasets, spec, policy.path), online(policy, spec)
    found = examine(demos, own, spec, spec.stats[STATE_KEY], cfg.seed)
    words = verdict(found)
    inputs = [policy, *datasets]
    with create(
        "evaluations", cfg.name, root=cfg.root, step="diagnose buffer", cfg=cfg, inputs=inputs, seed=cfg.seed
    ) as draft:
        draft.spec = spec
        draft.notes = {"diagnosis": "buffer", "policy": policy.ref}
        figure(found, demos, own, spec, draft.path / "buffer.png")
        found.shifts.to_csv(draft.path / "shifts.csv", index=False)
        found.episodes.to_csv(draft.path / "interventions.csv", index=False)
        save(
            Record(f"the replay of {policy.ref}", words, found.composition, {"buffer.png": CAPTION}),
            draft.path,
            "buffer",
        )
    _print(found, words, policy.ref)
    return draft.done


def _print(found: Found, words: str, name: str) -> None:
    console = Console()
    table = Table(title=f"replay of {name}", title_justify="left")
    columns = ("part", "episodes", "steps", "share", "rewarded", "terminal", "cut off", "terminal,\nunpaid")
    for column in columns:
        table.add_column(column, justify="left" if column == "part" else "right")
    for row in found.composition.itertuples():
        rate = f"{row.positive} ({row.positive_rate:.1%})" if row.transitions else "-"
        share = f"{row.share:.0%}" if row.transitions else "-"
        counts = (row.terminated, row.truncated, row.timeouts_terminal)
        table.add_row(row.part, str(row.episodes), str(row.transitions), share, rate, *map(str, counts))
    console.print(table)
    if len(found.shifts):
        console.print(_shift_table(found.shifts))
    console.print(words, highlight=False, markup=False)


def _shift_table(shifts: pd.DataFrame) -> Table:
    """The dimensions that differ most."""
    table = Table(title="demonstrations against experience: the most different dimensions", title_justify="left")
    for column in ("dimension", "demos", "online", "moved by", "distance", "q"):
        table.add_column(column, justify="left" if column == "dimension" else "right")
    for row in shifts.nlargest(6, "ks").itertuples():
        medians = (f"{row.demo_median:.4g}", f"{row.online_median:.4g}", f"{row.moved_std:+.1f} std")
        table.add_row(f"{row.column} {row.dimension}", *medians, f"{row.ks:.2f}", f"{row.q:.2g}")
    return table
