"""`hiltk split`: training and held-out set from one dataset, by whole episodes or sessions."""

from __future__ import annotations

from contextlib import ExitStack

import numpy as np
from rich.console import Console

from hiltk.artifacts.store import Artifact, resolve
from hiltk.artifacts.writing import create
from hiltk.checks.engine import expand
from hiltk.checks.gate import examine_change, keeps_copies_together
from hiltk.config.commands import SplitBy, SplitConf
from hiltk.data.copies import recordings
from hiltk.data.curate import parse_episodes, select_episodes, sessions_to_split, summarise
from hiltk.data.dataset import OwnDataset, open_dataset
from hiltk.errors import ConfigError, UserError
from hiltk.reports.curation import print_change
from hiltk.steps.common import split_by_episode


def run(cfg: SplitConf) -> Artifact:
    """Write both parts, or neither; returns the training part, which has the name asked for.

    Raises:
        ConfigError: the parts cannot be meant.
        UserError: the dataset cannot be used, a part would be empty, or a check finds an error in one that the
            dataset does not have.
    """
    second = _check(cfg)
    source = resolve(cfg.dataset, "datasets", cfg.root)
    dataset = open_dataset(source.path, source.ref)
    held_out = _held_out(cfg, dataset)
    parts = {cfg.name: sorted(set(range(len(dataset.files.bounds))) - set(held_out)), second: held_out}
    for name, episodes in parts.items():
        if not episodes:
            raise UserError(f"no episode is left for '{name}'", where=f"{source.ref}: {len(held_out)} held out")
    numbers = {}
    with ExitStack() as both:
        stores = {
            name: create("datasets", name, root=cfg.root, step="split", cfg=cfg, inputs=[source], seed=cfg.seed)
            for name in parts
        }
        # Left in reverse order: the part that pipelines look for is the last to be complete.
        drafts = {name: both.enter_context(store) for name, store in stores.items()}
        for name, draft in drafts.items():
            draft.spec = select_episodes(dataset, parts[name], draft.path, reencode=cfg.reencode)
            numbers[name] = summarise(open_dataset(draft.path)).to_dict()
            draft.notes = {
                "parent": source.ref,
                "part": "training" if name == cfg.name else "held out",
                "episodes": parts[name],
                "before": summarise(dataset).to_dict(),
                "after": numbers[name],
            }
            examine_change("split", cfg, draft, [source])
    for name, draft in drafts.items():
        print_change(f"{draft.notes['part']} part: {draft.done.ref}", draft.notes["before"], numbers[name], Console())
    return drafts[cfg.name].done


def _check(cfg: SplitConf) -> str:
    """The name of the held-out part."""
    expand(cfg.checks.ignore, "checks.ignore")
    if not 0 < cfg.held_out < 1:
        raise ConfigError("must be between 0 and 1", where=f"held_out={cfg.held_out}", fix="held_out=0.2")
    if cfg.seed < 0:
        raise ConfigError("a seed cannot be negative", where=f"seed={cfg.seed}", fix="seed=0")
    if cfg.episodes and (cfg.sessions or cfg.by is SplitBy.session):
        raise ConfigError("episodes and sessions cannot both decide", where="episodes=, by=, sessions=", fix="keep one")
    second = cfg.held_out_name or f"{cfg.name}-held-out"
    if second == cfg.name:
        raise ConfigError("the two parts need two names", where=f"held_out_name={second}")
    return second


def _held_out(cfg: SplitConf, dataset: OwnDataset) -> list[int]:
    """Numbers of the episodes to hold out; copies of one recording stay together.

    Raises:
        UserError: episodes or sessions were asked for that part two copies.
    """
    count = len(dataset.files.bounds)
    same = recordings(dataset.traces()) if keeps_copies_together(cfg) else np.arange(count)
    if cfg.by is SplitBy.episode and not cfg.episodes and not cfg.sessions:
        return split_by_episode(count, cfg.held_out, cfg.seed, same)[1]
    chosen = parse_episodes(cfg.episodes, count) if cfg.episodes else _of_sessions(cfg, dataset)
    left = sorted(set(range(count)) - set(chosen))
    shared = np.flatnonzero(np.isin(same[left], same[chosen]))
    if len(shared):
        one = left[shared[0]]
        other = next(n for n in chosen if same[n] == same[one])
        raise UserError(
            f"{len(shared)} of the episodes to train on are copies of ones held out, e.g. {one} of {other}",
            where=dataset.name,
            fix="hiltk drop-episodes takes the copies out; by=episode keeps them together; checks.ignore=[RUN006]",
        )
    return chosen


def _of_sessions(cfg: SplitConf, dataset: OwnDataset) -> list[int]:
    known = sessions_to_split(dataset, cfg.sessions)
    chosen = cfg.sessions or [known[i] for i in split_by_episode(len(known), cfg.held_out, cfg.seed)[1]]
    return [episode for episode, session in enumerate(dataset.sessions()) if session in chosen]
