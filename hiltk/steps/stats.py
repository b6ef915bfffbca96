"""`hiltk stats`: normalisation statistics, recomputed with floors, as a new version of a dataset."""

from __future__ import annotations

import numpy as np
from rich.console import Console
from rich.table import Table

from hiltk.artifacts.store import Artifact, resolve
from hiltk.artifacts.writing import create
from hiltk.checks.engine import expand
from hiltk.checks.gate import examine_change
from hiltk.config.commands import StatsConf
from hiltk.data.curate import changed_stats, write_sane_stats
from hiltk.data.dataset import open_dataset
from hiltk.data.lerobot_files import read_stats
from hiltk.data.lerobot_io import ACTION
from hiltk.data.rewrite import replace_columns
from hiltk.spec import STATE_KEY, Spec


def run(cfg: StatsConf) -> Artifact:
    """Write a new version whose statistics of state and action are right; frames and numbers stay as they are.

    Raises:
        UserError: the dataset cannot be used, or a check finds an error in the result that it does not have.
    """
    expand(cfg.checks.ignore, "checks.ignore")
    source = resolve(cfg.dataset, "datasets", cfg.root)
    dataset = open_dataset(source.path, source.ref)
    before = read_stats(source.path)
    with create("datasets", cfg.name, root=cfg.root, step="stats", cfg=cfg, inputs=[source], seed=0) as draft:
        # The same values again: what this renews is each episode's own statistics.
        same = {STATE_KEY: dataset.columns.state, ACTION: dataset.columns.action}
        replace_columns(dataset.files, draft.path, same)
        draft.spec = Spec.from_dict(dataset.spec.to_dict())
        write_sane_stats(draft.path, draft.spec, dataset.columns)
        after = read_stats(draft.path)
        rows = changed_stats(before, after, dataset.spec)
        draft.notes = {"parent": source.ref} | {
            when: {f"{name} {stat}": _number(pair[when]) for name, stat, pair in rows} for when in ("before", "after")
        }
        examine_change("stats", cfg, draft, [source])
    _print(draft.done.ref, rows, Console())
    return draft.done


def _number(value: float) -> str:
    return "none" if np.isnan(value) else f"{value:.6g}"


def _print(ref: str, rows: list[tuple[str, str, dict[str, float]]], console: Console) -> None:
    table = Table("dimension", "statistic", "before", "after", title=f"statistics of {ref}")
    for name, stat, pair in rows:
        table.add_row(name, stat, _number(pair["before"]), _number(pair["after"]))
    if rows:
        console.print(table)
    else:
        console.print(f"{ref}: the statistics of state and action were right already", markup=False)
