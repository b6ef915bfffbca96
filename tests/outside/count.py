"""The command that `tests.outside` adds."""

from __future__ import annotations

from hiltk.artifacts.store import Artifact, resolve
from hiltk.artifacts.writing import create
from hiltk.data.dataset import open_dataset
from tests.outside import CountConf


def run(cfg: CountConf) -> Artifact:
    """Write how many frames a dataset has."""
    source = resolve(cfg.dataset, "datasets", cfg.root)
    frames = len(open_dataset(source.path, source.ref).columns.state)
    with create("reports", cfg.name, root=cfg.root, step="count", cfg=cfg, inputs=[source], seed=0) as draft:
        (draft.path / "count.txt").write_text(f"{frames}\n")
    return draft.done
