"""`hiltk train-classifier`: a success classifier from labelled episodes, with its threshold and its evidence."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from hiltk.artifacts.provenance import now
from hiltk.artifacts.store import Artifact, resolve, resolve_each, versions
from hiltk.artifacts.writing import create
from hiltk.checks.gate import gate, keeps_copies_together
from hiltk.config.commands import ClassifierConf
from hiltk.data.copies import recordings, traces_of
from hiltk.data.dataset import sessions_of
from hiltk.data.decoded import cached_episodes
from hiltk.data.episode import Episode
from hiltk.data.lerobot_io import dataset_spec
from hiltk.errors import ConfigError, UserError, nearest
from hiltk.reward_rule import is_positive
from hiltk.rewards.added import judge_added
from hiltk.rewards.classifier import SuccessClassifier
from hiltk.rewards.figures import plot_curve, plot_hold, plot_mistakes
from hiltk.rewards.frames import Origin, collect
from hiltk.rewards.report import curve_table, metrics, session_table, table, warnings
from hiltk.rewards.training import Result, check_options, restrict_cameras, train_classifier
from hiltk.rewards.training_images import training_statistics
from hiltk.rewards.unseen import Judgement, judge, unseen_table
from hiltk.spec import CLASSIFIER_PARTS, Spec, require_compatible, say_what_differs
from hiltk.steps.common import frame_cache, set_up_torch


@dataclass
class Loaded:
    """Episodes of all datasets, with the frames recorded after success; beside each its origin and its name."""

    episodes: list[Episode] = field(default_factory=list)
    origins: list[Origin] = field(default_factory=list)
    names: list[str] = field(default_factory=list)


def run(cfg: ClassifierConf) -> Artifact:
    """Read labelled datasets, write a classifier artifact with its metrics on held-out episodes.

    The artifact holds ``classifier.safetensors``, ``classifier.yaml``, ``metrics.json``, ``curve.csv``, ``curve.png``,
    ``hold.png`` and ``mistakes.png``.

    Raises:
        ConfigError: an option or a camera's name is wrong.
        UserError: the datasets do not fit together, or their labels cannot be learned from.
    """
    started = now()
    check_options(cfg)
    device = set_up_torch(cfg)
    inputs = _resolve(cfg)
    spec = _common_spec(inputs, cfg.cameras)
    unseen = _unseen(cfg, inputs, spec)
    checked = gate("train-classifier", cfg, inputs, unseen=unseen)
    data = _load(cfg, inputs, spec)
    before = _previous(cfg)
    result = train_classifier(data.episodes, spec, cfg, origins=data.origins, device=device)
    result.classifier.statistics = training_statistics(result.classifier, result.train, result.held_out)
    report = metrics(result, data.names) | {"warnings": warnings(result, cfg)}
    report |= _added(result, data, spec, before)
    judgement = _judge(result.classifier, unseen, spec, frame_cache(cfg.root)) if unseen else None
    if judgement:
        report["unseen"] = judgement.to_dict()
    with create(
        "classifiers", cfg.name, root=cfg.root, step="train-classifier", cfg=cfg, inputs=inputs + unseen,
        seed=cfg.seed, started=started,
    ) as draft:  # fmt: skip
        _write(result, report, data.names, draft.path)
        draft.spec = result.classifier.spec
        keys = ("threshold", "precision", "recall", "accuracy", "wrongly_ended", "missed")
        draft.notes = {key: report[key] for key in keys} | checked
    _print(result, report, judgement, draft.done)
    return draft.done


def _resolve(cfg: ClassifierConf) -> list[Artifact]:
    """The datasets, then the added ones."""
    if not cfg.datasets:
        raise UserError("no dataset is named", where="datasets", fix="e.g. datasets=[demos]")
    found = [*resolve_each(cfg.datasets, "datasets", cfg.root), *resolve_each(cfg.add, "datasets", cfg.root)]
    paths = [artifact.path.resolve() for artifact in found]
    for artifact in found[len(cfg.datasets) :]:
        if paths.count(artifact.path.resolve()) > 1:
            what = f"{artifact.ref} is both among the datasets and added"
            raise ConfigError(what, where=f"add={cfg.add}", fix="keep one")
    return found


def _common_spec(inputs: list[Artifact], cameras: list[str]) -> Spec:
    """The spec of the first dataset with the cameras used; the others must make those images in the same way.

    A classifier sees images only, so states and actions may differ between the datasets.
    """
    first = restrict_cameras(dataset_spec(inputs[0].path), cameras)
    for other in inputs[1:]:
        found = restrict_cameras(dataset_spec(other.path), cameras or [image.name for image in first.images])
        require_compatible(first, found, CLASSIFIER_PARTS, left_name=inputs[0].ref, right_name=other.ref)
        say_what_differs(first, found, left_name=inputs[0].ref, right_name=other.ref)
    return first


def _unseen(cfg: ClassifierConf, inputs: list[Artifact], spec: Spec) -> list[Artifact]:
    """The datasets to be judged, which must show the same cameras and not have been learned from."""
    unseen = resolve_each(cfg.unseen, "datasets", cfg.root)
    for artifact in unseen:
        if artifact.path.resolve() in {other.path.resolve() for other in inputs}:
            raise UserError(
                "these episodes are to be learned from: on them every classifier is good",
                where=f"unseen: {artifact.ref}, also in datasets or add",
                fix="record others with another seed",
            )
        found = restrict_cameras(dataset_spec(artifact.path), [image.name for image in spec.images])
        require_compatible(spec, found, CLASSIFIER_PARTS, left_name=inputs[0].ref, right_name=artifact.ref)
    return unseen


def _judge(classifier: SuccessClassifier, unseen: list[Artifact], spec: Spec, cache: Path) -> Judgement:
    episodes: list[Episode] = []
    for artifact in unseen:
        own = replace(dataset_spec(artifact.path), images=spec.images)
        episodes += cached_episodes(artifact.path, own, cache=cache, after_end=True, name=artifact.ref)
    frames = collect(episodes, spec.image_keys)
    positive = is_positive(classifier.probabilities(frames.images), classifier.threshold)
    return judge(positive, frames, classifier.hold_steps, classifier.min_steps, spec.reward.hold_steps)


def _load(cfg: ClassifierConf, inputs: list[Artifact], spec: Spec) -> Loaded:
    data, used, traces = Loaded(), set(), []
    for place, artifact in enumerate(inputs):
        own, added = replace(dataset_spec(artifact.path), images=spec.images), place >= len(cfg.datasets)
        found = cached_episodes(artifact.path, own, cache=frame_cache(cfg.root), after_end=True, name=artifact.ref)
        data.episodes += found
        traces += traces_of(found, own)
        for i, session in enumerate(sessions_of(artifact.path, artifact.ref, len(found))):
            called = [key for key in _also_called(artifact, session) if key in cfg.weights]
            used |= set(called)
            weight = float(np.prod([cfg.weights[key] for key in called])) * (cfg.add_weight if added else 1.0)
            data.origins.append(Origin(session, weight, added))
            stratum = found[i].stratum
            data.names.append(f"{artifact.name} {i}" + (f" ({stratum})" if stratum else ""))
    if keeps_copies_together(cfg):
        same = recordings(traces).tolist()
        data.origins = [replace(origin, recording=n) for origin, n in zip(data.origins, same, strict=True)]
    known = list(dict.fromkeys([*(o.session for o in data.origins), *(a.name for a in inputs)]))
    for key in cfg.weights:
        if key not in used:
            hint = nearest(key, known) or f"there are: {', '.join(known)}"
            raise ConfigError(f"no session or dataset is called '{key}'", where="weights", fix=hint)
    return data


def _also_called(artifact: Artifact, session: str) -> list[str]:
    """What `weights` may call an episode by: its dataset or the session it was merged from, with or without version."""
    return list(dict.fromkeys([artifact.name, artifact.ref, session, session.split("@")[0]]))


def _previous(cfg: ClassifierConf) -> Artifact | None:
    """The newest classifier of this name so far, where false positives are added to what it was trained on."""
    if not cfg.add or not versions("classifiers", cfg.name, cfg.root):
        return None
    return resolve(cfg.name, "classifiers", cfg.root)


def _added(result: Result, data: Loaded, spec: Spec, before: Artifact | None) -> dict[str, Any]:
    """How the added frames were judged by the classifier before this one, if it looks at the same images, and now."""
    numbers = [n for n, origin in enumerate(data.origins) if origin.added]
    if not numbers:
        return {}
    frames, hold = collect(data.episodes, spec.image_keys, numbers), spec.reward.hold_steps
    found: dict[str, Any] = {"episodes": len(numbers), "frames": len(frames), "before": None, "before_version": None}
    if before:
        old = SuccessClassifier.load(before.path)
        if old.spec.images == spec.images:
            found |= {"before": judge_added(old, frames, hold), "before_version": before.ref}
    return {"added": found | {"now": judge_added(result.classifier, frames, hold)}}


def _write(result: Result, report: dict[str, Any], names: Sequence[str], folder: Path) -> None:
    result.classifier.save(folder)
    (folder / "metrics.json").write_text(json.dumps(report, indent=2) + "\n")
    curve_table(result).to_csv(folder / "curve.csv", index=False, float_format="%.6g")
    plot_curve(result, folder / "curve.png")
    plot_mistakes(result, list(names), folder / "mistakes.png")
    if result.tuning.is_choice:
        plot_hold(result, folder / "hold.png")


def _print(result: Result, report: dict[str, Any], judgement: Judgement | None, artifact: Artifact) -> None:
    console = Console()
    console.print(table(result))
    if judgement:
        console.print(unseen_table(judgement))
    sessions = session_table(result)
    if sessions:
        console.print(sessions)
    if "added" in report:
        console.print(_told(report["added"]), markup=False, soft_wrap=True)
    for caution in report["warnings"]:
        console.print(f"caution: {caution}", style="yellow", markup=False)
    console.print(f"classifier {artifact.ref}: {artifact.path}", markup=False, soft_wrap=True)


def _told(added: dict[str, Any]) -> str:
    now, before = added["now"]["false_positives"], added["before"]
    was = f"{before['false_positives']['count']} by {added['before_version']}, " if before else ""
    return f"of {now['n']} added failure frames called success: {was}{now['count']} now (they were trained on)"
