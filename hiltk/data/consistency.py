"""Whether a dataset's metadata say what its data are: asked before anything is made from it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from hiltk.data.lerobot_files import RECORD_AGAIN, LeRobotFiles
from hiltk.errors import UserError
from hiltk.spec import STATE_KEY

LEROBOTS_OWN = ("timestamp", "frame_index", "episode_index", "index", "task_index")
MEND = "mend meta/info.json in a copy, or record or download it again"


def require_consistent(files: LeRobotFiles) -> None:
    """Refuse metadata that contradict the tables; reads numbers only, and of each camera one frame.

    Raises:
        UserError: naming what disagrees, with both values.
    """
    info = json.loads((files.path / "meta" / "info.json").read_text())
    if lacking := [name for name in LEROBOTS_OWN if name not in files.features]:
        raise UserError(
            f"meta/info.json lacks the columns every LeRobotDataset has: {', '.join(lacking)}",
            where=str(files.path),
            fix=MEND,
        )
    _require_episodes(files, info)
    _require_times(files)
    for column in (STATE_KEY, "action"):
        _require_width(files, column)
    for camera in files.cameras:
        if files.features[camera]["dtype"] == "video":
            for file in dict.fromkeys(segment.file for segment in files.segments(camera)):
                _require_whole(file)
        _require_size(files, camera)


def _require_episodes(files: LeRobotFiles, info: dict[str, Any]) -> None:
    said, found = int(info.get("total_episodes", len(files.bounds))), len(files.bounds)
    if said != found:
        raise UserError(
            f"meta/info.json announces {said} episodes, the tables hold {found}",
            where=str(files.path),
            fix=RECORD_AGAIN,
        )
    numbers = files.column("episode_index")[[start for start, _ in files.bounds]]
    missing = sorted(set(range(int(numbers.max()) + 1)) - set(numbers.tolist()))
    if missing or len(set(numbers.tolist())) < found:
        what = f"episode {missing[0]} is missing" if missing else "an episode's rows are scattered"
        raise UserError(what, where=str(files.path / "data"), fix=RECORD_AGAIN)


def _require_times(files: LeRobotFiles) -> None:
    """Timestamps against the frame rate, on which velocities and the choice of video frames rest."""
    if not (np.isfinite(files.fps) and files.fps > 0):
        raise UserError(f"meta/info.json says {files.fps} frames per second", where=str(files.path), fix=MEND)
    times = files.column("timestamp").astype(np.float64).reshape(-1)
    inside = np.concatenate([np.diff(times[start:stop]) for start, stop in files.bounds])
    if not len(inside):
        return
    if not np.isfinite(inside).all():
        raise UserError("timestamps are not finite", where=str(files.path / "data"), fix=RECORD_AGAIN)
    period = float(np.median(inside))
    if abs(period * files.fps - 1) > 0.02:
        rate = f"{1 / period:.4g}" if period > 0 else "no"
        raise UserError(
            f"meta/info.json says {files.fps:g} frames per second, the timestamps say {rate}",
            where=str(files.path),
            fix=MEND,
        )


def _require_width(files: LeRobotFiles, column: str) -> None:
    if column not in files.features:
        return
    values = files.column(column)
    found, said = values.reshape(len(values), -1).shape[1], int(np.prod(files.features[column]["shape"]))
    names = files.names(column)
    if found != said or (names and len(names) != found):
        named = f" with {len(names)} names" if names else ""
        raise UserError(
            f"'{column}' has {found} numbers a row, meta/info.json says {said}{named}", where=str(files.path), fix=MEND
        )


def _require_whole(file: Path) -> None:
    """An mp4 is a row of boxes that say their length; one that was cut short ends inside a box."""
    if not file.is_file():
        raise UserError("a video file is missing", where=str(file), fix=RECORD_AGAIN)
    at, size = 0, file.stat().st_size
    with file.open("rb") as stream:
        while at < size:
            stream.seek(at)
            head = stream.read(16)
            length = int.from_bytes(head[:4])
            if length == 1:  # the length is behind the box's name
                length = int.from_bytes(head[8:])
            if length == 0:  # until the end of the file
                return
            at += max(8, length)
    if at > size:
        raise UserError("a video file is cut short", where=str(file), fix=RECORD_AGAIN)


def _require_size(files: LeRobotFiles, camera: str) -> None:
    found, said = files.first_frame(camera).shape, tuple(files.features[camera]["shape"])
    if sorted(found) != sorted(said):  # some recorders put the channels first
        raise UserError(
            f"the frames of {camera} are {found}, meta/info.json says {said}", where=str(files.path), fix=MEND
        )
