"""Sets of pictures as an arm's cameras give them, and as networks see them: ``ROOT/snaps/NAME``.

``CAMERA/0001.png`` is what the driver gave, ``CAMERA/seen/0001.png`` what networks see, ``snap.json`` how the one
becomes the other, whose arm it was and when.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from hiltk.artifacts.store import SNAPS, check_name
from hiltk.errors import UserError
from hiltk.observation import fit_image
from hiltk.robots.arm_file import ArmFile
from hiltk.spec import ImageSpec

ABOUT, SEEN = "snap.json", "seen"


class SnapWriter:
    """Adds pictures to a set, or begins it.

    Raises:
        ConfigError: it cannot be a folder's name.
        UserError: the set that is there was taken by another arm or with other cameras.
    """

    def __init__(self, root: str | Path, name: str, arm: ArmFile, images: Sequence[ImageSpec]) -> None:
        check_name(name)
        self.folder, self.images = Path(root) / SNAPS / name, {image.name: image for image in images}
        self._about: dict[str, Any] = {
            "arm": arm.name,
            "arm_hash": arm.hash,
            "cameras": {image.name: asdict(image) for image in images},
            "pictures": [],
        }
        file = self.folder / ABOUT
        if file.is_file():
            before = _read(file)
            unlike = [key for key in ("arm_hash", "cameras") if before.get(key) != self._about[key]]
            if unlike:
                what = f"'{name}' was taken by another arm or with other cameras ({', '.join(unlike)} of {ABOUT})"
                raise UserError(what, where=str(self.folder), fix="another name, or delete the folder")
            self._about = before

    def __len__(self) -> int:
        return len(self._about["pictures"])

    def add(self, frames: Mapping[str, np.ndarray], ages_s: Mapping[str, float]) -> None:
        """One frame (H, W, 3) uint8 RGB of each camera, as the driver gave it, and how old it was."""
        number = f"{len(self) + 1:04d}.png"
        for name, image in self.images.items():
            write_png(self.folder / name / number, frames[name])
            write_png(self.folder / name / SEEN / number, fit_image(frames[name], image))
        taken = datetime.now(UTC).isoformat(timespec="milliseconds")
        self._about["pictures"].append({"file": number, "taken": taken, "age_s": dict(ages_s)})
        (self.folder / ABOUT).write_text(json.dumps(self._about, indent=1) + "\n")


def cameras_of(folder: Path) -> dict[str, ImageSpec]:
    """How the pictures of a set were made, by camera; empty of a folder that is none.

    Raises:
        UserError: what it says of itself cannot be read.
    """
    file = folder / ABOUT
    if not file.is_file():
        return {}
    try:
        return {name: ImageSpec(**plain) for name, plain in _read(file)["cameras"].items()}
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"the snap cannot be used: {error!r}", where=str(file), fix="take it again") from error


def _read(file: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(file.read_text()))
    except (OSError, ValueError) as error:
        raise UserError(f"the snap cannot be read: {error}", where=str(file), fix="take it again") from error


def write_png(file: Path, frame: np.ndarray, what: str = "picture") -> None:
    """A picture (H, W, 3) uint8 RGB as a PNG file.

    Raises:
        UserError: it cannot be written.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(file), cv2.cvtColor(frame, cv2.COLOR_RGB2BGR)):
        raise UserError(f"the {what} cannot be written", where=str(file), fix="is the disk full?")
