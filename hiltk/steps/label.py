"""`hiltk label`: label success frame by frame, as a new version of a dataset."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from rich.console import Console

from hiltk.artifacts.store import Artifact, resolve
from hiltk.artifacts.writing import create
from hiltk.checks.engine import expand
from hiltk.checks.gate import examine_change
from hiltk.config.commands import LabelConf, LabelRewards, LabelSource
from hiltk.data.curate import summarise
from hiltk.data.dataset import OwnDataset, open_dataset
from hiltk.data.labels import read_marks, relabelled, success_of, write_marks
from hiltk.data.rewrite import replace_columns
from hiltk.errors import ConfigError, UserError
from hiltk.reports.curation import labels_figure, print_change
from hiltk.spec import Spec

FILE = "labels.csv"  # the labels of the new version, in the form `file=` reads


def run(cfg: LabelConf) -> Artifact:
    """Write a new version with other labels; reward and the end of relabelled episodes follow by the dataset's rule.

    Raises:
        ConfigError: settings contradict each other.
        UserError: the dataset or the labels cannot be used, nothing would change, or a check finds an error in the
            result that the dataset does not have.
        KeyboardInterrupt: whoever labels gave up.
    """
    _check(cfg)
    source = resolve(cfg.dataset, "datasets", cfg.root)
    dataset = open_dataset(source.path, source.ref)
    _check_rule(cfg, dataset)
    before = dataset.columns.flags["success"].reshape(-1).astype(bool)
    after = _labels(cfg, dataset, source, before)
    changed = [e for e, (a, b) in enumerate(dataset.files.bounds) if not np.array_equal(before[a:b], after[a:b])]
    if not changed:
        raise UserError("nothing to change: every frame is labelled so already", where=source.ref)
    with create("datasets", cfg.name, root=cfg.root, step="label", cfg=cfg, inputs=[source], seed=0) as draft:
        replace_columns(dataset.files, draft.path, relabelled(dataset, after, rewards=cfg.rewards.value))
        draft.spec = _spec(dataset, cfg)
        numbers = [summarise(d).to_dict() for d in (dataset, open_dataset(draft.path))]
        write_marks(draft.path / FILE, after, dataset.bounds)
        labels_figure(before, after, changed, dataset.files.bounds, dataset.spec.fps, draft.path / "labels.png")
        draft.notes = {"parent": source.ref, "relabelled": changed, "before": numbers[0], "after": numbers[1]}
        examine_change("label", cfg, draft, [source])
    title = f"labelled {draft.done.ref}: {len(changed)} of {len(dataset.files.bounds)} episodes changed"
    print_change(title, numbers[0], numbers[1], Console())
    return draft.done


def _check(cfg: LabelConf) -> None:
    expand(cfg.checks.ignore, "checks.ignore")
    if (cfg.source is LabelSource.csv) != bool(cfg.file):
        fix = "file=labels.csv" if cfg.source is LabelSource.csv else "leave file= out, or source=csv"
        raise ConfigError("labels from a file need source=csv and file=", where=f"source={cfg.source.name}", fix=fix)
    if cfg.predicate and cfg.source is not LabelSource.predicate:
        raise ConfigError("only source=predicate asks one", where=f"predicate={cfg.predicate}", fix="source=predicate")


def _check_rule(cfg: LabelConf, dataset: OwnDataset) -> None:
    if cfg.rewards is LabelRewards.rule and dataset.spec.reward.source == "env":
        raise ConfigError(
            "rewards and ends of this dataset are its environment's own; labels cannot decide them",
            where="reward.source in the dataset's spec is env",
            fix="rewards=keep changes nothing but the labels",
        )


def _labels(cfg: LabelConf, dataset: OwnDataset, source: Artifact, before: np.ndarray) -> np.ndarray:
    """Success per row, (N,) bool."""
    if cfg.source is LabelSource.csv:
        lengths = [stop - start for start, stop in dataset.files.bounds]
        marks = read_marks(Path(cfg.file).expanduser(), lengths)
        return success_of(marks, dataset.files.bounds, before, others=cfg.others.name)
    if cfg.source is LabelSource.predicate:
        from hiltk.evaluation.resimulate import resimulated_success

        return resimulated_success(dataset, source, cfg.predicate, cfg.root)
    return _by_keys(cfg, dataset)


def _by_keys(cfg: LabelConf, dataset: OwnDataset) -> np.ndarray:
    import click

    from hiltk.humans.labeller import label_by_keys

    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UserError("labelling by keys needs a terminal", where="source=keys", fix="source=csv file=labels.csv")
    after, touched = label_by_keys(dataset, click.getchar, Console())
    if cfg.others.name == "failure":
        for episode in set(range(len(dataset.files.bounds))) - touched:
            after[slice(*dataset.files.bounds[episode])] = False
    return after


def _spec(dataset: OwnDataset, cfg: LabelConf) -> Spec:
    """The dataset's spec; its task is the one that was judged by."""
    spec = Spec.from_dict(dataset.spec.to_dict())
    spec.task = cfg.predicate or spec.task
    return spec
