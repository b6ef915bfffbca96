"""One picture of an arm's cameras: what they give, what networks see, and what a classifier was trained on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from hiltk.artifacts.store import Artifact, resolve
from hiltk.data.lerobot_io import dataset_spec, iter_episodes
from hiltk.errors import UserError
from hiltk.observation import fit_image
from hiltk.rewards.classifier import SuccessClassifier
from hiltk.robots.arm_file import ArmFile
from hiltk.robots.cameras import image_spec
from hiltk.robots.snaps import write_png
from hiltk.spec import ImageSpec

HEIGHT, GAP, LINE = 240, 8, 22  # pixels


@dataclass(frozen=True)
class Reference:
    """What a classifier was trained on, of one camera.

    Attributes:
        image: how its pictures are made.
        frame: the first one of a dataset, (H, W, 3) uint8 as networks get it.
        dataset: whose it is.
    """

    image: ImageSpec
    frame: np.ndarray
    dataset: str

    def differences(self, own: ImageSpec) -> Iterator[str]:
        """In what this arm's camera is another one."""
        fields = ("native_height", "native_width", "crop", "driver", "native_fps", "exposure")
        for name in fields:
            theirs, ours = getattr(self.image, name), getattr(own, name)
            if theirs and theirs != ours:
                yield f"camera {own.name}: {name} {ours} here, {theirs} when the classifier's pictures were taken"


def trained_on(classifier: str, root: str) -> dict[str, Reference]:
    """By camera a picture of the first dataset that a classifier learned from.

    Raises:
        UserError: there is no such classifier, or its datasets are gone.
    """
    artifact = resolve(classifier, "classifiers", root)
    spec = SuccessClassifier.load(artifact.path).spec
    dataset = _dataset(artifact, root)
    wanted = dataset_spec(dataset.path)
    wanted.images = [image for image in wanted.images if image.name in {i.name for i in spec.images}]
    episode = next(iter(iter_episodes(dataset.path, wanted)))
    return {i.name: Reference(i, episode.observations[i.key][0], dataset.ref) for i in wanted.images}


def _dataset(artifact: Artifact, root: str) -> Artifact:
    for made_of in artifact.run().get("inputs", []):
        try:
            return resolve(f"{made_of['artifact']}@{made_of['version']}", "datasets", root)
        except UserError:
            continue
    raise UserError("none of the datasets it learned from is here", where=artifact.ref, fix="leave --classifier out")


def page(
    file: Path,
    arm: ArmFile,
    frames: Mapping[str, np.ndarray],
    images: Mapping[str, ImageSpec],
    references: Mapping[str, Reference],
) -> Path:
    """Write a PNG with a row for each camera.

    Args:
        frames: as the drivers give them, (H, W, 3) uint8 RGB.
        images: what becomes of them.
    """
    rows = []
    for name, frame in frames.items():
        own, seen = arm.cameras[name], images[name]
        shown = frame.copy()
        if own.crop:
            top, left, height, width = own.crop
            corners = (left, top), (left + width - 1, top + height - 1)
            cv2.rectangle(shown, *corners, (255, 220, 0), max(1, frame.shape[0] // 160))
        made = image_spec(name, own, seen.height, seen.width)
        cells = [_cell(shown, f"{name}: as it comes")]
        cells.append(_cell(fit_image(frame, made), f"networks see {made.height} x {made.width}"))
        if name in references:
            cells.append(_cell(references[name].frame, f"classifier: {references[name].dataset}"))
        rows.append(np.hstack(cells))
    width = max(row.shape[1] for row in rows)
    sheet = np.vstack([np.pad(row, ((0, 0), (0, width - row.shape[1]), (0, 0)), constant_values=255) for row in rows])
    write_png(file, sheet, "page")
    return file


def _cell(frame: np.ndarray, title: str) -> np.ndarray:
    """One picture at the sheet's height, with a line above it."""
    width = round(frame.shape[1] * HEIGHT / frame.shape[0])
    way = cv2.INTER_AREA if frame.shape[0] > HEIGHT else cv2.INTER_NEAREST
    cell = np.full((LINE + HEIGHT + GAP, max(width, 180) + GAP, 3), 255, np.uint8)
    cell[LINE : LINE + HEIGHT, :width] = cv2.resize(frame, (width, HEIGHT), interpolation=way)
    cv2.putText(cell, title, (2, LINE - 7), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (0, 0, 0), 1, cv2.LINE_AA)
    return cell
