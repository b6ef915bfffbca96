"""Whether a dataset's metadata say what its data are: asked before anything is made from it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from hiltk.data.lerobot_files import RECORD_AGAIN, LeRobotFiles, damaged, require_content
from hiltk.errors import UserError
from hiltk.spec import STATE_KEY

LEROBOTS_OWN = ("timestamp", "frame_index", "episode_index", "index", "task_index")
MOST_OFF = 0.02  # of a rate: clocks differ by less, and 29.97 frames per second are called 30
FIX = "correct meta/info.json in a copy, or record or download it again"


def require_consistent(files: LeRobotFiles, *, look: bool = True, cameras: Sequence[str] | None = None) -> None:
    """Refuse metadata that contradict the tables; reads numbers and headers only, and of each camera one frame.

    Args:
        look: at that frame; otherwise whoever decodes frames has to hold them against the metadata.
        cameras: those that will be used; None: all.

    Raises:
        UserError: naming what disagrees, with both values.
    """
    _require_columns(files)
    files.tasks()  # refuses a damaged table of them
    _require_episodes(files)
    _require_times(files)
    for column in (STATE_KEY, "action"):
        _require_width(files, column)
    for camera in files.cameras if cameras is None else cameras:
        if files.features[camera]["dtype"] == "video":
            _require_videos(files, camera)
        if look:
            files.require_shape(camera, files.first_frame(camera).shape)


def _require_columns(files: LeRobotFiles) -> None:
    if lacking := [name for name in LEROBOTS_OWN if name not in files.features]:
        raise UserError(
            f"meta/info.json lacks the columns every LeRobotDataset has: {', '.join(lacking)}",
            where=str(files.path),
            fix=FIX,
        )
    announced = {name for name, feature in files.features.items() if feature["dtype"] != "video"}
    for file in files.data_files:
        with damaged(file):
            held = set(pq.read_schema(file).names)
        if lacking := sorted(announced - held):
            raise UserError(
                f"meta/info.json announces columns that are not there: {', '.join(lacking)}", where=str(file), fix=FIX
            )


def _require_episodes(files: LeRobotFiles) -> None:
    said, found = files.total_episodes, len(files.bounds)
    if said != found:
        raise UserError(
            f"meta/info.json announces {said} episodes, the tables hold {found}",
            where=str(files.path),
            fix=RECORD_AGAIN,
        )
    numbers = files.column("episode_index")[[start for start, _ in files.bounds]]
    if len(wrong := np.flatnonzero(numbers != np.arange(found))):
        first = int(wrong[0])
        what = f"episode {first} is missing: episode {int(numbers[first])} is in its place"
        raise UserError(
            what if first not in numbers else "an episode's rows are scattered",
            where=str(files.path / "data"),
            fix=RECORD_AGAIN,
        )
    for row, held in zip(files.episode_rows(["dataset_from_index", "dataset_to_index"]), files.bounds, strict=True):
        if held != (row["dataset_from_index"], row["dataset_to_index"]):
            raise UserError(
                f"the metadata put episode {row['episode_index']} in rows {row['dataset_from_index']} to "
                f"{row['dataset_to_index']}, it is in rows {held[0]} to {held[1]}",
                where=str(files.path / "meta" / "episodes"),
                fix=RECORD_AGAIN,
            )


def _require_times(files: LeRobotFiles) -> None:
    """Timestamps against the frame rate, on which velocities and the choice of video frames rest."""
    times = files.column("timestamp").astype(np.float64).reshape(-1)
    inside = np.concatenate([np.diff(times[start:stop]) for start, stop in files.bounds])
    if not len(inside):
        return
    if not np.isfinite(inside).all():
        raise UserError("timestamps are not finite", where=str(files.path / "data"), fix=RECORD_AGAIN)
    # The median of jittering times is no sharp number, their mean none where rows are missing.
    periods = np.array([np.median(inside), np.mean(inside)])
    period = float(periods[0])
    if (np.abs(periods * files.fps - 1) > MOST_OFF).all():
        rate = f"{1 / period:.4g}" if period > 0 else "no"
        raise UserError(
            f"meta/info.json says {files.fps:g} frames per second, the timestamps say {rate}",
            where=str(files.path),
            fix=FIX,
        )


def _require_width(files: LeRobotFiles, column: str) -> None:
    if column not in files.features:
        return
    values = files.column(column)
    found, said = values.reshape(len(values), -1).shape[1], int(np.prod(files.features[column]["shape"]))
    if found != said:
        raise UserError(
            f"'{column}' has {found} numbers a row, meta/info.json says {said}", where=str(files.path), fix=FIX
        )


# ---------------------------------------------------------------- videos


def _require_videos(files: LeRobotFiles, camera: str) -> None:
    for file, group in groupby(files.segments(camera), key=lambda segment: segment.file):
        last = max(int(s.frames.max(initial=0)) for s in group)
        _require_whole(file)
        frames, size, rate = _video_header(file)
        if rate and abs(rate / files.fps - 1) > MOST_OFF:
            raise UserError(
                f"meta/info.json says {files.fps:g} frames per second, the video says {rate:.4g}",
                where=str(file),
                fix=FIX,
            )
        if frames and frames <= last:  # 0: the header does not say
            raise UserError(
                f"the video has {frames} frames, the tables need {last + 1}", where=str(file), fix=RECORD_AGAIN
            )
        files.require_shape(camera, (*size, 3))


def _video_header(file: Path) -> tuple[int, tuple[int, int], float]:
    """Number of frames, height and width, frames per second; 0 where the header does not say."""
    import av

    try:
        with av.open(str(file)) as container:
            stream = container.streams.video[0]
            found = stream.frames, (stream.height, stream.width), float(stream.average_rate or 0)
    except (av.FFmpegError, IndexError) as error:
        raise UserError(f"a video file is damaged: {error}", where=str(file), fix=RECORD_AGAIN) from error
    return found


def _require_whole(file: Path) -> None:
    """An mp4 is a row of boxes that say their length; one that was cut short ends inside a box."""
    if not file.is_file():
        raise UserError("a video file is missing", where=str(file), fix=RECORD_AGAIN)
    require_content(file)
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
        raise UserError("a video file is damaged: it is cut short", where=str(file), fix=RECORD_AGAIN)
