"""`hiltk diagnose encoder`: what encoders make of two sets of images, through the run's own pipeline."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from hiltk.agents.encoders import ENCODERS, build_encoder, check_encoder
from hiltk.agents.make import load_policy
from hiltk.agents.policy import Policy
from hiltk.artifacts.store import Artifact, image_folder, resolve, split_episodes
from hiltk.artifacts.writing import create
from hiltk.config.commands import DiagnoseEncoderConf
from hiltk.data.lerobot_io import dataset_spec
from hiltk.diagnostics.changes import Changes, displacement, in_simulator, of_sets
from hiltk.diagnostics.encoder import Diagnosis, changes_figure, compare, figure, misled, probe, ridge, verdict
from hiltk.diagnostics.pictures import Pictures, from_dataset, from_folder, from_simulator
from hiltk.diagnostics.record import Record, save
from hiltk.diagnostics.saliency import Answer, Saliency, cube_mask, occlusion
from hiltk.diagnostics.saliency import figure as saliency_figure
from hiltk.diagnostics.subjects import Subject, decide, embed, of_policy, repeated
from hiltk.envs.make import make_bare_env, scene_class
from hiltk.errors import ConfigError, UserError, nearest
from hiltk.spec import STATE_KEY, ImageSpec, Spec
from hiltk.steps.common import set_up_torch

STRATA = ["near", "far"]
CAPTIONS = {
    "encoder.png": "Both sets along the main directions of all embeddings; where positions are known, those and the "
    "probe's.",
    "changes.png": "How far the embedding moves when one thing in the picture changes; what it should see is 1.",
    "saliency.png": "How far the answer moves when that place is covered: the policy's action where there is a policy "
    "and its state is known, else the linear probe's position, else the embedding. Blue: the cube.",
}


@dataclass(frozen=True)
class ProbeImages:
    """What one subject is shown: two sets, and pictures in which one thing changes."""

    first: Pictures
    second: Pictures
    changes: Changes | None


def run(cfg: DiagnoseEncoderConf) -> Artifact:
    """Write ``encoder.csv``, the figures and ``diagnosis.json``: what each encoder sees, and whether it is the cube.

    Raises:
        ConfigError: options contradict each other, or something else than two sets is named.
        UserError: images, datasets or policies cannot be used.
    """
    _check(cfg)
    device = set_up_torch(cfg)
    inputs: list[Artifact] = []
    subjects = _subjects(cfg, device, inputs)
    found: list[Diagnosis] = []
    maps: list[Saliency] = []
    scenes: dict[str, ProbeImages] = {}  # by what decides the pictures
    for subject in subjects:
        images = _cameras(cfg, subject.spec)
        if repr(images) not in scenes:
            scenes[repr(images)] = _scene(cfg, subject.spec, images, inputs)
        scene = scenes[repr(images)]
        rows = list(_diagnose(cfg, subject, images, scene))
        seen = list(_maps(cfg, subject, images, scene))
        gaze = {image.name: s.gaze for image, s in zip(images, seen, strict=False)}
        found += [replace(row, gaze=gaze.get(row.camera, float("nan"))) for row in rows]
        maps += seen
    names = (scene.first.name, scene.second.name)
    with create(
        "evaluations", cfg.name, root=cfg.root, step="diagnose encoder", cfg=cfg, inputs=inputs, seed=cfg.seed
    ) as draft:
        draft.spec = subjects[0].spec
        draft.notes = {"diagnosis": "encoder", "sets": list(names)}
        drawn = _draw(found, maps, names, draft.path)
        record = Record(f"{names[0]} against {names[1]}", verdict(found, names), _table(found), drawn)
        save(record, draft.path, "encoder")
    _print(found, record.verdict, names)
    return draft.done


def _check(cfg: DiagnoseEncoderConf) -> None:
    if cfg.positions:
        scene_class(cfg.env)
    if len(cfg.sets) != 2 and not (cfg.positions and not cfg.sets):
        raise ConfigError(
            f"two sets of images are compared, {len(cfg.sets)} are named",
            where="sets",
            fix="sets=[FOLDER,FOLDER], sets=[DATASET:0-9,DATASET:10-19], or positions=sim",
        )
    if cfg.images < 1:
        raise ConfigError("images must be at least 1", where="images")
    if min(cfg.changes, cfg.saliency) < 0:
        raise ConfigError("changes and saliency cannot be negative", where="changes, saliency", fix="0 leaves them out")


# ---------------------------------------------------------------- encoders and pipelines


def _subjects(cfg: DiagnoseEncoderConf, device: torch.device, inputs: list[Artifact]) -> list[Subject]:
    """The policies' encoders, and the config's pretrained one as training would find it."""
    subjects = []
    for name in cfg.policies:
        artifact = resolve(name, "policies", cfg.root)
        inputs.append(artifact)
        subjects.append(of_policy(artifact.ref, load_policy(artifact.path).to(device)))
    check_encoder(cfg.encoder)
    if ENCODERS[cfg.encoder.name].pretrained:
        spec = subjects[0].spec if subjects else _spec_without_policy(cfg)
        encoder = build_encoder(cfg.encoder, spec.images).to(device).eval()
        name = cfg.encoder.weights or "pretrained"
        subjects.append(Subject(name, encoder, spec, device, layers=("trunk",)))  # its neck is still random
    if not subjects:
        raise ConfigError(
            f"encoder={cfg.encoder.name} has learned nothing yet",
            where="policies",
            fix="hiltk diagnose encoder NAME takes the encoder of a policy; encoder=resnet10 is pretrained",
        )
    return subjects


def _spec_without_policy(cfg: DiagnoseEncoderConf) -> Spec:
    if cfg.positions:
        env = make_bare_env(cfg.env, cfg.task, seed=0)
        env.close()
        return env.io_spec
    dataset = cfg.dataset or next((s for s in cfg.sets if not Path(s).is_dir()), "")
    if not dataset:
        raise ConfigError(
            "size and crop of the images are not known",
            where="policies, dataset",
            fix="name a policy, or dataset=NAME: whose observation pipeline the images go through",
        )
    return dataset_spec(resolve(split_episodes(dataset)[0], "datasets", cfg.root).path)


def _cameras(cfg: DiagnoseEncoderConf, spec: Spec) -> list[ImageSpec]:
    names = [image.name for image in spec.images]
    if not names:
        raise UserError("there are no cameras to look through", where="images of the spec")
    if cfg.camera and cfg.camera not in names:
        fix = nearest(cfg.camera, names) or f"there are: {', '.join(names)}"
        raise ConfigError(f"there is no camera '{cfg.camera}'", where="camera", fix=fix)
    return [image for image in spec.images if cfg.camera in ("", image.name)]


# ---------------------------------------------------------------- images


def _scene(cfg: DiagnoseEncoderConf, spec: Spec, images: list[ImageSpec], inputs: list[Artifact]) -> ProbeImages:
    if cfg.positions:
        strata = cfg.sets or STRATA
        first, second = from_simulator(cfg.env, cfg.task, spec, images, strata, cfg.images, cfg.seed)
        changes = in_simulator(cfg.env, cfg.task, spec, images, cfg.changes, cfg.seed) if cfg.changes else None
    else:
        first, second = (_set(cfg, name, spec, images, inputs) for name in cfg.sets)
        changes = of_sets(first, second, cfg.changes, cfg.seed) if cfg.changes else None
    return ProbeImages(first, second, changes)


def _set(cfg: DiagnoseEncoderConf, name: str, spec: Spec, images: list[ImageSpec], inputs: list[Artifact]) -> Pictures:
    if folder := image_folder(name, cfg.root):
        return from_folder(folder, images)
    reference, which = split_episodes(name)
    artifact = resolve(reference, "datasets", cfg.root)
    if artifact.path not in [a.path for a in inputs]:
        inputs.append(artifact)
    return from_dataset(artifact, which, spec, images, first_only=cfg.frames == "first")


# ---------------------------------------------------------------- diagnosis


def _diagnose(
    cfg: DiagnoseEncoderConf, subject: Subject, images: list[ImageSpec], scene: ProbeImages
) -> Iterator[Diagnosis]:
    first, second, changes = scene.first, scene.second, scene.changes
    for image in images:
        a, b = (embed(subject, image.key, pictures.frames[image.key]) for pictures in (first, second))
        positions = _positions_mm(scene)
        before = embed(subject, image.key, changes.before.frames[image.key]) if changes else {}
        after = {n: embed(subject, image.key, p.frames[image.key]) for n, p in changes.after.items()} if changes else {}
        for layer in a:
            both = np.concatenate([a[layer], b[layer]])
            known, astray = None, {}
            if positions is not None:
                known = probe(both, positions, cfg.seed)
                nuisances = changes.nuisances if changes else []
                astray = {n: misled(both, positions, before[layer], after[n][layer]) for n in nuisances}
            yield Diagnosis(
                image.name,
                layer,
                (a[layer], b[layer]),
                compare(a[layer], b[layer]),
                known,
                subject=subject.name,
                moved={n: displacement(before[layer], e[layer]) for n, e in after.items()},
                wanted=changes.wanted if changes else "",
                misled_mm=astray,
            )


def _positions_mm(scene: ProbeImages) -> np.ndarray | None:
    """Of both sets, (N + M, 2); None where they are not known."""
    if scene.first.positions_m is None or scene.second.positions_m is None:
        return None
    return 1000 * np.concatenate([scene.first.positions_m, scene.second.positions_m])


# ---------------------------------------------------------------- maps


def _maps(
    cfg: DiagnoseEncoderConf, subject: Subject, images: list[ImageSpec], scene: ProbeImages
) -> Iterator[Saliency]:
    """A map per camera of what the subject's answer depends on, over some pictures of both sets or of the changes."""
    if not cfg.saliency:
        return
    changes = scene.changes
    shown = changes.before if changes and changes.empty else scene.first
    rows = np.linspace(0, len(shown) - 1, min(cfg.saliency, len(shown))).astype(int)
    for image in tqdm(images, f"saliency, {subject.name}", mininterval=0.5):
        frames = shown.frames[image.key][rows]
        background = np.concatenate([p.frames[image.key] for p in (scene.first, scene.second)]).mean(axis=0)
        answers, unit = _answers(subject, image, scene, shown, rows)
        heat = occlusion(frames, background.astype(np.uint8), answers)
        cube = cube_mask(frames, changes.empty.frames[image.key][rows]) if changes and changes.empty else None
        yield Saliency(f"{subject.name}, {image.name}", frames, heat, unit, cube)


def _answers(
    subject: Subject, image: ImageSpec, scene: ProbeImages, shown: Pictures, rows: np.ndarray
) -> tuple[list[Answer], str]:
    """For each picture what is asked of frames in its place, and the answer's unit."""
    policy = subject.policy
    if policy and shown.states is not None and set(shown.frames) == set(policy.spec.image_keys):
        return [_action(policy, image.key, shown, row) for row in rows.tolist()], "action"
    layer = "features" if policy else "trunk"
    positions = _positions_mm(scene)
    if positions is None:
        return [lambda frames: embed(subject, image.key, frames)[layer]] * len(rows), "embedding"
    known = np.concatenate([embed(subject, image.key, p.frames[image.key])[layer] for p in (scene.first, scene.second)])

    def where(frames: np.ndarray) -> np.ndarray:
        return ridge(known.astype(np.float64), positions, embed(subject, image.key, frames)[layer].astype(np.float64))

    return [where] * len(rows), "mm"


def _action(policy: Policy, key: str, shown: Pictures, row: int) -> Answer:
    """The policy's action (N, A) for frames of one camera, all else as in one picture."""
    assert shown.states is not None
    rest = {STATE_KEY: shown.states[row], **{k: v[row] for k, v in shown.frames.items() if k != key}}

    def act(frames: np.ndarray) -> np.ndarray:
        observations = {k: np.repeat(v[None], len(frames), axis=0) for k, v in rest.items()} | {key: frames}
        return decide(policy, repeated(observations, policy.frame_stack))

    return act


# ---------------------------------------------------------------- what is left behind


def _draw(found: list[Diagnosis], maps: list[Saliency], names: tuple[str, str], folder: Path) -> dict[str, str]:
    """The figures there is something to show in, with their captions."""
    figure(found, names, folder / "encoder.png")
    drawn = ["encoder.png"]
    if any(d.moved.get(d.wanted) for d in found):
        changes_figure(found, folder / "changes.png")
        drawn.append("changes.png")
    if maps:
        saliency_figure(maps, folder / "saliency.png")
        drawn.append("saliency.png")
    return {name: CAPTIONS[name] for name in drawn}


def _table(found: list[Diagnosis]) -> pd.DataFrame:
    rows = []
    for d in found:
        row = {"subject": d.subject, "camera": d.camera, "layer": d.layer, **asdict(d.comparison)}
        row |= {"effective_rank": d.effective_rank}
        row |= {"probe_mm": d.probe.error_mm, "chance_mm": d.probe.chance_mm} if d.probe else {}
        row |= {f"{d.wanted}_over_{n}": ratio for n, ratio in d.ratios.items()}
        row |= {f"{n}_misleads_mm": mm for n, mm in d.misled_mm.items()}
        row |= {} if np.isnan(d.gaze) else {"gaze": d.gaze}
        rows.append(row)
    table = pd.DataFrame(rows)
    return table.rename(columns=lambda name: name.replace(" ", "_"))


def _print(found: list[Diagnosis], words: str, names: tuple[str, str]) -> None:
    counts = found[0].comparison
    table = Table(title=f"{names[0]} ({counts.images_a}) against {names[1]} ({counts.images_b})")
    table.add_column("")
    for d in found:
        table.add_column(d.title, justify="right")
    for name, cells in _cells(found):
        table.add_row(name, *cells)
    Console().print(table)
    Console().print(words, highlight=False, markup=False)


def _cells(found: list[Diagnosis]) -> Iterator[tuple[str, list[str]]]:
    """Lines of the printed table: a name and a cell for each diagnosis."""
    yield "dimensions", [str(d.comparison.dimension) for d in found]
    yield "effective rank", [f"{d.effective_rank:.1f}" for d in found]
    yield "cosine", [f"{d.comparison.cosine:.4f}" for d in found]
    yield "L2", [f"{d.comparison.l2:.4g}" for d in found]
    yield "spread", [f"{d.comparison.spread_a:.3g}, {d.comparison.spread_b:.3g}" for d in found]
    if any(d.probe for d in found):
        yield "probe error", [f"{d.probe.error_mm:.1f} mm" if d.probe else "" for d in found]
        yield "by chance", [f"{d.probe.chance_mm:.1f} mm" if d.probe else "" for d in found]
    for name in found[0].ratios:
        yield f"{found[0].wanted} over {name}", [f"x {d.ratios[name]:.2g}" for d in found]
    for name in found[0].misled_mm:
        yield f"{name} misleads probe", [f"{d.misled_mm[name]:.0f} mm" for d in found]
    if any(d.gaze == d.gaze for d in found):
        yield "gaze at the cube", [f"x {d.gaze:.1f}" for d in found]
