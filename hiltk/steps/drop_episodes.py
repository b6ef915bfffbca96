"""`hiltk drop-episodes`: copy a dataset without some episodes."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from rich.console import Console

from hiltk.artifacts.store import Artifact, resolve
from hiltk.artifacts.writing import create
from hiltk.checks.engine import expand
from hiltk.checks.gate import examine_change
from hiltk.config.commands import DropConf
from hiltk.data.curate import parse_episodes, select_episodes, summarise, unwanted
from hiltk.data.dataset import open_dataset
from hiltk.data.keep_episodes import keep_episodes, numbering
from hiltk.data.lerobot_io import SPEC_FILE
from hiltk.errors import ConfigError, UserError
from hiltk.reports.curation import print_change


def run(cfg: DropConf) -> Artifact:
    """Write a new version without the episodes that are listed or meet a condition.

    Raises:
        ConfigError: nothing is said to be dropped, or an episode does not exist.
        UserError: the dataset cannot be used, no episode is left, none would go, or a check finds an error in the
            result that the dataset does not have.
    """
    expand(cfg.checks.ignore, "checks.ignore")
    if not (cfg.episodes or cfg.strata) and cfg.success is cfg.longer_than is cfg.shorter_than is None:
        raise ConfigError(
            "it is not said which episodes to drop",
            where="hiltk drop-episodes",
            fix="episodes=[3,7-9] or success=false",
        )
    source = resolve(cfg.dataset, "datasets", cfg.root)
    if not (source.path / SPEC_FILE).is_file():
        return _of_any(cfg, source)
    dataset = open_dataset(source.path, source.ref)
    out = unwanted(
        dataset,
        episodes=cfg.episodes,
        strata=cfg.strata,
        success=cfg.success,
        longer_than=cfg.longer_than,
        shorter_than=cfg.shorter_than,
    )
    dropped = np.flatnonzero(out).tolist()
    kept = [e for e in range(len(dataset.bounds)) if e not in set(dropped)]
    _require_some(dropped, kept, source.ref)
    with create("datasets", cfg.name, root=cfg.root, step="drop-episodes", cfg=cfg, inputs=[source], seed=0) as draft:
        draft.spec = select_episodes(dataset, kept, draft.path, reencode=cfg.reencode)
        before, after = summarise(dataset).to_dict(), summarise(open_dataset(draft.path)).to_dict()
        draft.notes = {"parent": source.ref, "dropped": dropped, "before": before, "after": after}
        examine_change("drop-episodes", cfg, draft, [source])
    print_change(f"{draft.done.ref}: {len(dropped)} episodes dropped", before, after, Console())
    return draft.done


def _require_some(dropped: Collection[int], kept: Collection[int], where: str) -> None:
    if not dropped:
        raise UserError("nothing to drop: no episode meets the conditions", where=where)
    if not kept:
        raise UserError("no episode would be left", where=where, fix="narrow the conditions")


def _of_any(cfg: DropConf, source: Artifact) -> Artifact:
    """The same for a dataset without a spec, whose episodes have numbers and lengths only, and may be damaged."""
    if cfg.strata or cfg.success is not None:
        raise ConfigError(
            "a dataset without a spec says nothing of strata or success",
            where="strata=, success=",
            fix="episodes=[3,7-9], longer_than= or shorter_than=, or `hiltk adopt` it first",
        )
    found = numbering(source.path)
    most = max(found.rows, default=-1)
    dropped = set(parse_episodes(cfg.episodes, most + 1))
    for number, rows in found.rows.items():
        beyond = cfg.longer_than is not None and rows - 1 > cfg.longer_than
        below = cfg.shorter_than is not None and rows - 1 < cfg.shorter_than
        dropped |= {number} if beyond or below else set()
    kept = [n for n in sorted(found.rows) if n not in dropped and n in found.described]
    dropped &= set(found.rows)
    _require_some(dropped, kept, source.ref)
    with create("datasets", cfg.name, root=cfg.root, step="drop-episodes", cfg=cfg, inputs=[source], seed=0) as draft:
        keep_episodes(source.path, kept, draft.path)
        before = {"episodes": len(found.rows), "frames": sum(found.rows.values())}
        after = {"episodes": len(kept), "frames": sum(found.rows[n] for n in kept)}
        draft.notes = {"parent": source.ref, "dropped": sorted(dropped), "before": before, "after": after}
    print_change(f"{draft.done.ref}: {len(dropped)} episodes dropped; it has no spec", before, after, Console())
    return draft.done
