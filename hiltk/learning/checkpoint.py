"""Checkpoints of a training run: one file that appears whole or not at all, read without running code from it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch

from hiltk.errors import UserError
from hiltk.formats import CHECKPOINT

FILE = "checkpoint.pt"


def save(folder: Path, state: dict[str, Any]) -> None:
    """Write ``state`` (tensors and plain containers) into the folder, replacing the last checkpoint atomically."""
    temporary = folder / (FILE + ".tmp")
    torch.save({**CHECKPOINT.stamp(), **state}, temporary)
    os.replace(temporary, folder / FILE)


def load(folder: Path) -> dict[str, Any] | None:
    """The last checkpoint, or None where there is none.

    Raises:
        UserError: the file is damaged, or a newer hiltk's.
    """
    file = folder / FILE
    if not file.is_file():
        return None
    try:
        return CHECKPOINT.upgrade(torch.load(file, map_location="cpu", weights_only=True), str(file))
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f"the checkpoint cannot be read: {error}",
            where=str(file),
            fix="start over with resume=false",
        ) from error
