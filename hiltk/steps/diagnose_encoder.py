"""`hiltk diagnose encoder`: what an encoder makes of two sets of images, through the run's own pipeline."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from rich.console import Console
from rich.table import Table

from hiltk.agents.drqv2 import DrqEncoder
from hiltk.agents.encoders import Encoder, FrameByFrame, build_encoder
from hiltk.agents.policy import Policy
from hiltk.artifacts.store import Artifact, create, resolve
from hiltk.config import DiagnoseEncoderConf, So101SimConf
from hiltk.data.lerobot_io import dataset_spec
from hiltk.diagnostics.encoder import Diagnosis, compare, figure, probe, verdict
from hiltk.diagnostics.pictures import Pictures, from_dataset, from_folder, from_simulator, split_reference
from hiltk.diagnostics.record import Record, save
from hiltk.errors import ConfigError, UserError, nearest
from hiltk.spec import ImageSpec, Spec
from hiltk.steps.common import set_up_torch

CHUNK = 64  # images through the encoder at once
STRATA = ["near", "far"]
CAPTION = "Both sets along the main directions of all embeddings; where positions are known, those and the probe's."


@dataclass(frozen=True)
class Subject:
    """Whose eyes are examined.

    Attributes:
        spec: its observation pipeline.
        stack: frames its first layer takes; an image stands for all of them, as the first of an episode does.
        layers: which of the encoder's layers say something; None for all.
    """

    encoder: Encoder
    spec: Spec
    stack: int = 1
    layers: tuple[str, ...] | None = None


def run(cfg: DiagnoseEncoderConf) -> Artifact:
    """Write ``encoder.csv``, ``encoder.png`` and ``diagnosis.json``: similarity of two sets, and a probe's error.

    Raises:
        ConfigError: options contradict each other, or something else than two sets is named.
        UserError: images, datasets or policies cannot be used.
    """
    _check(cfg)
    device = set_up_torch(cfg)
    inputs: list[Artifact] = []
    subject = _subject(cfg, device, inputs)
    images = _cameras(cfg, subject.spec)
    first, second = _sets(cfg, subject.spec, images, inputs)
    found, names = list(_diagnose(cfg, subject, images, first, second, device)), (first.name, second.name)
    record = Record(f"{names[0]} against {names[1]}", verdict(found, names), _table(found), {"encoder.png": CAPTION})
    with create(
        "evaluations", cfg.name, root=cfg.root, step="diagnose encoder", cfg=cfg, inputs=inputs, seed=cfg.seed
    ) as draft:
        draft.spec = subject.spec
        draft.notes = {"diagnosis": "encoder", "sets": list(names)}
        figure(found, names, draft.path / "encoder.png")
        save(record, draft.path, "encoder")
    _print(found, record.verdict, names)
    return draft.done


def _check(cfg: DiagnoseEncoderConf) -> None:
    if cfg.positions not in ("", "sim"):
        raise ConfigError(f"positions={cfg.positions} is not a choice", where="positions", fix="positions=sim, or none")
    if cfg.positions and not isinstance(cfg.env, So101SimConf):
        raise ConfigError("only the simulated arm knows where its cube is", where="env", fix="env=so101_sim")
    if len(cfg.sets) != 2 and not (cfg.positions and not cfg.sets):
        raise ConfigError(
            f"two sets of images are compared, {len(cfg.sets)} are named",
            where="sets",
            fix="sets=[FOLDER,FOLDER], sets=[DATASET:0-9,DATASET:10-19], or positions=sim",
        )
    if cfg.frames not in ("first", "all"):
        raise ConfigError(f"frames={cfg.frames} is not a choice", where="frames", fix="frames=first or frames=all")
    if cfg.images < 1:
        raise ConfigError("images must be at least 1", where="images")


# ---------------------------------------------------------------- encoder and pipeline


def _subject(cfg: DiagnoseEncoderConf, device: torch.device, inputs: list[Artifact]) -> Subject:
    """A policy's encoder and spec; without one the config's pretrained encoder, as training would find it."""
    if cfg.policy:
        artifact = resolve(cfg.policy, "policies", cfg.root)
        inputs.append(artifact)
        return _of_policy(Policy.load(artifact.path).to(device))
    if cfg.encoder.name != "resnet":
        raise ConfigError(
            f"encoder={cfg.encoder.name} has learned nothing yet",
            where="policy",
            fix="policy=NAME takes the encoder of a policy; encoder=resnet10 is pretrained",
        )
    spec = _spec_without_policy(cfg)
    encoder = build_encoder(cfg.encoder, spec.images).to(device).eval()
    return Subject(encoder, spec, layers=("trunk",))  # its neck is still random


def _of_policy(policy: Policy) -> Subject:
    encoder = policy.torso.encoder
    if not encoder.out_features:
        raise UserError("the policy looks at no images", where="policy")
    if isinstance(encoder, FrameByFrame):
        return Subject(encoder.encoder, policy.spec)
    return Subject(encoder, policy.spec, stack=policy.frame_stack if isinstance(encoder, DrqEncoder) else 1)


def _spec_without_policy(cfg: DiagnoseEncoderConf) -> Spec:
    if cfg.positions and isinstance(cfg.env, So101SimConf):
        from hiltk.envs.so101_sim import So101SimEnv

        env = So101SimEnv(cfg.env, cfg.task)
        env.close()
        return env.io_spec
    dataset = cfg.dataset or next((s for s in cfg.sets if not Path(s).is_dir()), "")
    if not dataset:
        raise ConfigError(
            "size and crop of the images are not known",
            where="policy, dataset",
            fix="policy=NAME or dataset=NAME: whose observation pipeline the images go through",
        )
    return dataset_spec(resolve(split_reference(dataset)[0], "datasets", cfg.root).path)


def _cameras(cfg: DiagnoseEncoderConf, spec: Spec) -> list[ImageSpec]:
    names = [image.name for image in spec.images]
    if not names:
        raise UserError("there are no cameras to look through", where="images of the spec")
    if cfg.camera and cfg.camera not in names:
        fix = nearest(cfg.camera, names) or f"there are: {', '.join(names)}"
        raise ConfigError(f"there is no camera '{cfg.camera}'", where="camera", fix=fix)
    return [image for image in spec.images if cfg.camera in ("", image.name)]


# ---------------------------------------------------------------- images


def _sets(cfg: DiagnoseEncoderConf, spec: Spec, images: list[ImageSpec], inputs: list[Artifact]) -> list[Pictures]:
    if cfg.positions:
        assert isinstance(cfg.env, So101SimConf)
        return from_simulator(cfg.env, cfg.task, spec, images, cfg.sets or STRATA, cfg.images, cfg.seed)
    return [_set(cfg, name, spec, images, inputs) for name in cfg.sets]


def _set(cfg: DiagnoseEncoderConf, name: str, spec: Spec, images: list[ImageSpec], inputs: list[Artifact]) -> Pictures:
    folder = Path(name).expanduser()
    if folder.is_dir() and not (folder / "meta").is_dir():
        return from_folder(folder, images)
    reference, which = split_reference(name)
    artifact = resolve(reference, "datasets", cfg.root)
    if artifact.path not in [a.path for a in inputs]:
        inputs.append(artifact)
    return from_dataset(artifact, which, spec, images, first_only=cfg.frames == "first")


# ---------------------------------------------------------------- diagnosis


def _diagnose(
    cfg: DiagnoseEncoderConf,
    subject: Subject,
    images: list[ImageSpec],
    first: Pictures,
    second: Pictures,
    device: torch.device,
) -> Iterator[Diagnosis]:
    for image in images:
        a, b = (_embed(subject, image.key, pictures.frames[image.key], device) for pictures in (first, second))
        for layer in a:
            known = None
            if first.positions_m is not None and second.positions_m is not None:
                positions = 1000 * np.concatenate([first.positions_m, second.positions_m])
                known = probe(np.concatenate([a[layer], b[layer]]), positions, cfg.seed)
            yield Diagnosis(image.name, layer, (a[layer], b[layer]), compare(a[layer], b[layer]), known)


@torch.no_grad()
def _embed(subject: Subject, key: str, frames: np.ndarray, device: torch.device) -> dict[str, np.ndarray]:
    """Embeddings (N, D) of frames (N, H, W, 3) by layer."""
    parts: dict[str, list[np.ndarray]] = {}
    for start in range(0, len(frames), CHUNK):
        tensor = torch.from_numpy(frames[start : start + CHUNK]).to(device).permute(0, 3, 1, 2)
        for layer, values in subject.encoder.embed(key, tensor.repeat(1, subject.stack, 1, 1)).items():
            if subject.layers is None or layer in subject.layers:
                parts.setdefault(layer, []).append(values.flatten(1).cpu().numpy())
    return {layer: np.concatenate(values) for layer, values in parts.items()}


def _table(found: list[Diagnosis]) -> pd.DataFrame:
    rows = []
    for d in found:
        errors = {"probe_mm": d.probe.error_mm, "chance_mm": d.probe.chance_mm} if d.probe else {}
        rows.append({"camera": d.camera, "layer": d.layer, **asdict(d.comparison), **errors})
    return pd.DataFrame(rows)


def _print(found: list[Diagnosis], words: str, names: tuple[str, str]) -> None:
    counts = found[0].comparison
    table = Table(title=f"{names[0]} ({counts.images_a}) against {names[1]} ({counts.images_b})")
    for name in ("camera", "layer", "dim", "cosine", "L2", "spread", "probe error", "by chance"):
        table.add_column(name, justify="left" if name in ("camera", "layer") else "right")
    for d in found:
        c = d.comparison
        errors = [f"{d.probe.error_mm:.1f} mm", f"{d.probe.chance_mm:.1f} mm"] if d.probe else ["-", "-"]
        spread = f"{c.spread_a:.3g}, {c.spread_b:.3g}"
        table.add_row(d.camera, d.layer, str(c.dimension), f"{c.cosine:.4f}", f"{c.l2:.4g}", spread, *errors)
    Console().print(table)
    Console().print(words, highlight=False, markup=False)
