"""Datasets of LeRobot's older format v2.1, brought to v3 by LeRobot's own converter; the original stays as it is."""

from __future__ import annotations

import json
import logging
from pathlib import Path

from hiltk.data.lerobot_files import RECORD_AGAIN
from hiltk.errors import HiltkError, UserError

VERSION = "v2.1"


def is_v21(path: Path) -> bool:
    """Whether a folder says that it is a LeRobotDataset v2.1."""
    try:
        info = json.loads((path / "meta" / "info.json").read_text())
    except (OSError, ValueError):
        return False
    return isinstance(info, dict) and str(info.get("codebase_version", "")).startswith(VERSION)


def to_v3(path: Path, scratch: Path) -> Path:
    """Convert into the folder ``scratch`` (existing, empty); returns the new dataset's folder.

    Raises:
        UserError: LeRobot's converter cannot read it.
    """
    link = scratch / "dataset"
    link.symlink_to(path.resolve(), target_is_directory=True)
    before = logging.root.manager.disable
    logging.disable(logging.INFO)  # the converter tells of every file
    try:
        from lerobot.scripts.convert_dataset_v21_to_v30 import convert_dataset

        # It renames its input and puts the new dataset in its place; what it renames here is only our link.
        convert_dataset("local/dataset", root=link, push_to_hub=False)
    except HiltkError:
        raise
    except Exception as error:  # whatever pyarrow, datasets, PyAV and ffmpeg make of damaged files
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(
            f"LeRobot's converter from {VERSION} cannot convert this dataset: {reason}",
            where=str(path),
            fix=RECORD_AGAIN,
        ) from error
    finally:
        logging.disable(before)
    return link
