"""`hiltk train-classifier`: a success classifier from labelled episodes, with its threshold and its evidence."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from hiltk.artifacts.store import Artifact, create, resolve
from hiltk.checks.gate import gate
from hiltk.config import ClassifierConf
from hiltk.data.decoded import cached_episodes
from hiltk.data.episode import Episode
from hiltk.data.lerobot_io import dataset_spec
from hiltk.errors import UserError
from hiltk.rewards.figures import plot_curve, plot_mistakes
from hiltk.rewards.report import curve_table, metrics, table, warnings
from hiltk.rewards.training import Result, check_options, restrict_cameras, train_classifier
from hiltk.spec import Spec, require_compatible
from hiltk.steps.common import frame_cache, set_up_torch


def run(cfg: ClassifierConf) -> Artifact:
    """Read labelled datasets, write a classifier artifact with its metrics on held-out episodes.

    The artifact holds ``classifier.safetensors``, ``classifier.yaml``, ``metrics.json``, ``curve.csv``, ``curve.png``
    and ``mistakes.png``.

    Raises:
        ConfigError: an option or a camera's name is wrong.
        UserError: the datasets do not fit together, or their labels cannot be learned from.
    """
    check_options(cfg)
    device = set_up_torch(cfg)
    inputs = _resolve(cfg)
    spec = _common_spec(inputs, cfg.cameras)
    gate("train-classifier", cfg, inputs)
    episodes, sources, names = _load(inputs, spec, frame_cache(cfg.root))
    result = train_classifier(episodes, spec, cfg, groups=sources, device=device)
    with create(
        "classifiers", cfg.name, root=cfg.root, step="train-classifier", cfg=cfg, inputs=inputs, seed=cfg.seed
    ) as draft:
        report = metrics(result, names) | {"warnings": warnings(result, cfg)}
        _write(result, report, names, draft.path)
        draft.spec = result.classifier.spec
        draft.notes = {
            key: report[key] for key in ("threshold", "precision", "recall", "accuracy", "wrongly_ended", "missed")
        }
    _print(result, report["warnings"], draft.done)
    return draft.done


def _resolve(cfg: ClassifierConf) -> list[Artifact]:
    if not cfg.datasets:
        raise UserError("no dataset is named", where="datasets", fix="e.g. datasets=[demos]")
    return [resolve(reference, "datasets", cfg.root) for reference in cfg.datasets]


def _common_spec(inputs: list[Artifact], cameras: list[str]) -> Spec:
    """The spec of the first dataset with the cameras used; the others must make those images in the same way.

    A classifier sees images only, so states and actions may differ between the datasets.
    """
    first = restrict_cameras(dataset_spec(inputs[0].path), cameras)
    for other in inputs[1:]:
        found = restrict_cameras(dataset_spec(other.path), cameras or [image.name for image in first.images])
        require_compatible(first, found, ("task", "images"), left_name=inputs[0].ref, right_name=other.ref)
    return first


def _load(inputs: list[Artifact], spec: Spec, cache: Path) -> tuple[list[Episode], list[str], list[str]]:
    """Episodes with the frames recorded after success; per episode where it comes from, and its name."""
    episodes: list[Episode] = []
    sources: list[str] = []
    names: list[str] = []
    for artifact in inputs:
        own = replace(dataset_spec(artifact.path), images=spec.images)
        found = cached_episodes(artifact.path, own, cache=cache, after_end=True, name=artifact.ref)
        episodes += found
        sources += [artifact.ref] * len(found)
        names += [f"{artifact.name} {i}" + (f" ({e.stratum})" if e.stratum else "") for i, e in enumerate(found)]
    return episodes, sources, names


def _write(result: Result, report: dict[str, object], names: list[str], folder: Path) -> None:
    result.classifier.save(folder)
    (folder / "metrics.json").write_text(json.dumps(report, indent=2) + "\n")
    curve_table(result).to_csv(folder / "curve.csv", index=False, float_format="%.6g")
    plot_curve(result, folder / "curve.png")
    plot_mistakes(result, names, folder / "mistakes.png")


def _print(result: Result, cautions: list[str], artifact: Artifact) -> None:
    console = Console()
    console.print(table(result))
    for caution in cautions:
        console.print(f"caution: {caution}", style="yellow", markup=False)
    console.print(f"classifier {artifact.ref}: {artifact.path}", markup=False, soft_wrap=True)
