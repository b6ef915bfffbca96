"""`hiltk report`: one folder and one page that show what a run achieved and where it came from."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from rich.console import Console

from hiltk.artifacts.store import Artifact
from hiltk.artifacts.writing import create
from hiltk.config.commands import ReportConf
from hiltk.data.consistency import require_consistent
from hiltk.data.dataset import open_dataset
from hiltk.data.lerobot_files import LeRobotFiles
from hiltk.data.lerobot_io import SPEC_FILE
from hiltk.reports.contents import facts, inputs_of, sections
from hiltk.reports.page import render
from hiltk.reports.sections import terminal_table
from hiltk.reports.sources import find
from hiltk.reports.success import SuccessBoard


def run(cfg: ReportConf) -> Artifact:
    """Read artifacts of any kind, write ``index.html`` (self-contained), ``figures/`` and ``success.csv``.

    Raises:
        ConfigError: no artifact is named.
        UserError: one does not exist, or is damaged.
    """
    artifacts = find(cfg.artifacts, cfg.root)
    inputs = inputs_of(artifacts)
    for dataset in inputs.of("datasets"):
        _require_whole(dataset)
    with create("reports", cfg.name, root=cfg.root, step="report", cfg=cfg, inputs=artifacts, seed=0) as draft:
        figures = draft.path / "figures"
        figures.mkdir()
        page = render(cfg.title or cfg.name, facts(inputs), sections(inputs, figures), artifacts)
        (draft.path / "index.html").write_text(page, encoding="utf-8")
        if inputs.boards:
            tables = pd.concat([board.table() for board in inputs.boards], ignore_index=True)
            tables.to_csv(draft.path / "success.csv", index=False)
    _print(inputs.boards, draft.done)
    return draft.done


def _require_whole(dataset: Artifact) -> None:
    """Refuse a dataset that no other step would read; its page would show figures of data that are not there any more.

    Raises:
        UserError: naming the damage.
    """
    if (dataset.path / SPEC_FILE).is_file():
        open_dataset(dataset.path, dataset.ref)
    else:  # made elsewhere, and not adopted yet
        require_consistent(LeRobotFiles(dataset.path))


def _print(found: Sequence[SuccessBoard], report: Artifact) -> None:
    console = Console()
    for board in found:
        console.print(terminal_table(board))
    console.print(f"report {report.ref}: {report.path / 'index.html'}", markup=False, soft_wrap=True)
