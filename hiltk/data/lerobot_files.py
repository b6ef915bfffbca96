"""The files of a LeRobotDataset v3, read directly: tables with pyarrow, cameras decoded once from front to back.

Needs neither LeRobot nor torch, so it starts at once; LeRobot's own reader opens the same files. Format: LeRobot
0.6, ``datasets/utils.py`` and ``datasets/dataset_metadata.py`` (codebase version v3.0).
"""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby, islice, zip_longest
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from hiltk.errors import UserError

CAMERA_TYPES = ("image", "video")
NO_COLOURS = "a depth map, or of one channel"  # what is said of a camera that hiltk cannot use
RECORD_AGAIN = "record or download it again; `lerobot-edit-dataset` can drop single episodes"


@dataclass(frozen=True)
class VideoSegment:
    """Where the frames of one episode lie.

    Attributes:
        file: the video, which may hold several episodes.
        place: the file's chunk and number.
        start_s: the time of the episode's frame 0 in the file, seconds.
        frames: number in the file of the picture of every row of the episode: the one nearest to the row's time.
    """

    file: Path
    place: tuple[int, int]
    start_s: float
    frames: np.ndarray


def tables(folder: Path) -> list[Path]:
    """The Parquet files of a part of a dataset, in order; hidden ones (macOS leaves a ``._`` beside each) are none."""
    return sorted(file for file in folder.glob("*/*.parquet") if not file.name.startswith("."))


class LeRobotFiles:
    """One LeRobotDataset v3 on disk, read-only.

    Attributes:
        path: the dataset's folder, the one with ``meta/`` in it.
        fps: frames per second.
        total_episodes: how many the metadata announce.
        features: LeRobot's feature table, by column name: ``dtype``, ``shape``, ``names``.
        times_s: (N,) time of every row since its episode's start in the video, seconds.
        robot_type: what LeRobot calls the robot that recorded it; empty where nobody says.

    Args:
        gaps: accept episodes in which rows are missing or stored twice, as their ``frame_index`` tells.

    Raises:
        UserError: the folder is not a LeRobotDataset v3, is empty, or lacks files.
    """

    def __init__(self, path: Path, *, gaps: bool = False) -> None:
        self.path = Path(path)
        info = read_info(self.path)
        self.fps: float = info["fps"]
        self.total_episodes: int = info["total_episodes"]
        self.features: dict[str, dict[str, Any]] = info["features"]
        self.robot_type = str(info.get("robot_type") or "")
        self._video_path = info.get("video_path") or ""
        self.data_files = tables(self.path / "data")
        if not info["total_episodes"] or not self.data_files:
            raise UserError(
                "the dataset is empty: it has no episodes", where=str(self.path), fix="record some episodes first"
            )
        self.times_s: np.ndarray = np.zeros(0)
        self._footers: dict[Path, pq.FileMetaData] = {}
        self.bounds = self._episode_bounds(info["total_frames"], gaps=gaps)

    @property
    def cameras(self) -> list[str]:
        """Keys of all cameras that show colours, stored as images or as video."""
        return [k for k, f in self.features.items() if f["dtype"] in CAMERA_TYPES and k not in self.depth_cameras]

    @property
    def depth_cameras(self) -> list[str]:
        """Keys of cameras that hiltk cannot use: depth maps, and others of one channel."""
        found = []
        for key, feature in self.features.items():
            about = {k.removeprefix("video."): v for k, v in (feature.get("info") or {}).items()}
            if feature["dtype"] in CAMERA_TYPES and (about.get("is_depth_map") or 1 in feature["shape"][::2]):
                found.append(key)
        return found

    def names(self, column: str) -> list[str]:
        """Names of a vector column's dimensions; empty where the dataset has none, or not one for each.

        LeRobot writes lists and ``{"motors": [...]}``, others lists of lists, or one name for all.
        """
        names = list(_flat(self.features[column].get("names")))
        size = int(np.prod(self.features[column]["shape"]))
        return names if len(names) == size else []

    def size(self, camera: str) -> tuple[int, int]:
        """Height and width of a camera's pictures, as the metadata say.

        Raises:
            UserError: its shape is none of a picture.
        """
        feature = self.features[camera]
        shape, names = [int(n) for n in feature["shape"]], list(_flat(feature.get("names")))
        if len(shape) != 3:
            raise UserError(
                f"the frames of '{camera}' are said to have the shape {shape}", where=f"{self.path}/meta/info.json"
            )
        first = names.index("height") if "height" in names else int(shape[0] in (1, 3) and shape[2] not in (1, 3))
        return shape[min(first, 1)], shape[min(first, 1) + 1]

    def column(self, name: str) -> np.ndarray:
        """A numeric or text column over all rows, (N,) or (N, D).

        Raises:
            UserError: the column is absent or its file is damaged.
        """
        if name not in self.features:
            present = ", ".join(self.features)
            raise UserError(f"the dataset has no column '{name}'", where=f"{self.path}; it has: {present}")
        try:
            return to_numpy(self._table([name]).column(name))
        except (pa.ArrowException, ValueError) as error:
            raise UserError(
                f"column '{name}' has empty or uneven rows", where=str(self.path), fix=RECORD_AGAIN
            ) from error

    def tasks(self) -> list[str]:
        """The sentences that describe the tasks."""
        return list(self._tasks().values())

    def episode_tasks(self) -> list[str]:
        """Of every episode the sentence its first row says; empty where it says none."""
        tasks = self._tasks()
        if "task_index" not in self.features:
            return [""] * len(self.bounds)
        numbers = self.column("task_index").reshape(-1)
        return [tasks.get(int(numbers[start]), "") for start, _ in self.bounds]

    def _tasks(self) -> dict[int, str]:
        file = self.path / "meta" / "tasks.parquet"
        if not file.is_file():
            return {}
        with damaged(file):
            frame = pq.read_table(file, partitioning=None).to_pandas()
        sentences = frame["task"] if "task" in frame.columns else frame.index
        numbers = frame["task_index"] if "task_index" in frame.columns else range(len(frame))
        return {int(n): str(t) for n, t in zip(numbers, sentences, strict=True)}

    def frames(self, camera: str) -> Iterator[np.ndarray]:
        """Every frame of one camera in row order, each (H, W, 3) uint8 RGB, decoded in one pass.

        Raises:
            UserError: a file is missing or damaged, or holds too few frames.
        """
        stored = self.features[camera]["dtype"]
        return self._video_frames(camera) if stored == "video" else self._image_frames(camera)

    def frames_at(self, camera: str, rows: np.ndarray) -> np.ndarray:
        """The frames of one camera in some rows, (R, H, W, 3) uint8 RGB; only what these rows need is read and decoded.

        Raises:
            UserError: a file is missing or damaged.
        """
        stored = self.features[camera]["dtype"]
        wanted = sorted({int(r) for r in rows})
        found = dict(self._video_rows(camera, wanted) if stored == "video" else self._image_rows(camera, wanted))
        return np.stack([found[int(r)] for r in rows])

    def first_frame(self, camera: str) -> np.ndarray:
        """The first frame of one camera, (H, W, 3) uint8 RGB, whatever size the metadata say.

        Raises:
            UserError: it is missing or damaged.
        """
        if self.features[camera]["dtype"] == "video":
            return next(self._video_frames(camera))
        with damaged(self.data_files[0]):
            batch = next(pq.ParquetFile(self.data_files[0]).iter_batches(batch_size=1, columns=[camera]))
        return self._decoded(batch.column(0)[0].as_py(), camera)

    # ------------------------------------------------------------------ tables

    def _table(self, columns: list[str]) -> pa.Table:
        parts = []
        for file in self.data_files:
            with damaged(file):
                # Not read_table: on one row group per episode, as LeRobot writes, its planning takes most of the time.
                if file not in self._footers:
                    self._footers[file] = pq.read_metadata(file)
                reader = pq.ParquetFile(file, metadata=self._footers[file])
                parts.append(reader.read(columns=columns).select(columns))
        return pa.concat_tables(parts)

    def episode_rows(self, columns: Sequence[str] = ()) -> list[dict[str, Any]]:
        """Some columns of ``meta/episodes``, one row per episode, in order; with each episode's number and length.

        Raises:
            UserError: a file is damaged or lacks a column, or the metadata disagree with the tables.
        """
        wanted, rows = ["episode_index", "length", *columns], []
        for file in tables(self.path / "meta" / "episodes"):
            with damaged(file):
                rows += pq.read_table(file, columns=wanted, partitioning=None).select(wanted).to_pylist()
        rows.sort(key=lambda r: r["episode_index"])
        said = [(row["episode_index"], row["length"]) for row in rows]
        held = [(number, stop - start) for number, (start, stop) in enumerate(self.bounds)]
        if said != held:
            one, other = next(pair for pair in zip_longest(said, held) if pair[0] != pair[1])
            raise UserError(
                f"the metadata describe {len(said)} episodes, the tables hold {len(held)}: "
                f"{_described(one)} against {_described(other)}",
                where=str(self.path / "meta" / "episodes"),
                fix=RECORD_AGAIN,
            )
        return rows

    def _episode_bounds(self, total: int, *, gaps: bool) -> list[tuple[int, int]]:
        timed = "timestamp" in self.features
        table = self._table(["episode_index", "frame_index", *["timestamp"] * timed])
        episode, frame = (to_numpy(table.column(n)) for n in ("episode_index", "frame_index"))
        if len(episode) != total:
            raise UserError(
                f"the dataset announces {total} frames but its tables hold {len(episode)}",
                where=str(self.path / "data"),
                fix=RECORD_AGAIN,
            )
        edges = np.flatnonzero(np.diff(episode)) + 1
        starts, stops = np.r_[0, edges], np.r_[edges, len(episode)]
        self.times_s = to_numpy(table.column("timestamp")).astype(np.float64) if timed else frame / self.fps
        forward = np.diff(frame, append=frame[-1:]) >= 0
        forward[stops - 1] = True
        whole = np.array_equal(frame, np.arange(len(frame)) - np.repeat(starts, stops - starts))
        if not (whole or (gaps and forward.all())):
            raise UserError(
                "rows are missing or out of order inside an episode", where=str(self.path / "data"), fix=RECORD_AGAIN
            )
        return list(zip(starts.tolist(), stops.tolist(), strict=True))

    # ------------------------------------------------------------------ cameras

    def _image_frames(self, camera: str) -> Iterator[np.ndarray]:
        # OpenCV decodes without Python's lock: threads use every core. Few frames at once, since they may be large.
        with ThreadPoolExecutor() as pool:
            for file in self.data_files:
                with damaged(file):
                    for batch in pq.ParquetFile(file).iter_batches(batch_size=32, columns=[camera]):
                        yield from pool.map(lambda cell: self._decode_image(cell, camera), batch.column(0).to_pylist())

    def _image_rows(self, camera: str, wanted: list[int]) -> Iterator[tuple[int, np.ndarray]]:
        first = 0
        for file in self.data_files:
            with damaged(file):
                reader = pq.ParquetFile(file)
                for group in range(reader.num_row_groups):
                    length = reader.metadata.row_group(group).num_rows
                    inside = wanted[bisect_left(wanted, first) : bisect_left(wanted, first + length)]
                    if inside:
                        cells = reader.read_row_group(group, columns=[camera]).column(0)
                        yield from ((row, self._decode_image(cells[row - first].as_py(), camera)) for row in inside)
                    first += length

    def _decode_image(self, cell: dict[str, Any], camera: str) -> np.ndarray:
        frame = self._decoded(cell, camera)
        self.require_shape(camera, frame.shape)
        return frame

    def _decoded(self, cell: dict[str, Any], camera: str) -> np.ndarray:
        data = (cell or {}).get("bytes")
        if data is None and cell and cell.get("path"):  # not embedded: the row names a file beside the tables
            data = (self.path / cell["path"]).read_bytes()
        frame = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if data else None
        if frame is None:
            raise UserError(f"a frame of {camera} cannot be decoded", where=str(self.path), fix=RECORD_AGAIN)
        return cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)

    def correct_sizes(self, cameras: Sequence[str]) -> list[str]:
        """Take the size of pictures from the pictures where the metadata say another; returns what was corrected."""
        notes = []
        for camera in cameras:
            shape, said = self.first_frame(camera).shape, self.size(camera)
            if shape[:2] != said:
                self.features[camera] |= {"shape": list(shape), "names": ["height", "width", "channels"]}
                notes.append(f"{camera}: its pictures are {_times(shape[:2])}, the metadata say {_times(said)}")
        return notes

    def set_clocks(self) -> list[str]:
        """Count times from each episode's start where they are a clock's, beyond the end of every video.

        LeRobot's reader finds no picture for such a row.
        """
        videos = [key for key in self.cameras if self.features[key]["dtype"] == "video"]
        ends = [
            row[f"videos/{k}/to_timestamp"] for k in videos for row in self.episode_rows([f"videos/{k}/to_timestamp"])
        ]
        starts = [self.times_s[start] for start, _ in self.bounds]
        if not ends or min(starts) <= max(ends):
            return []
        self.times_s -= np.repeat(starts, [stop - start for start, stop in self.bounds])
        return [f"times are a clock's, from {min(starts):.6g} s on; counted from each episode's first row"]

    def require_shape(self, camera: str, shape: tuple[int, ...]) -> None:
        """Refuse frames of another shape (H, W, 3) than the metadata say, in whichever order they put the channels.

        Raises:
            UserError: with both.
        """
        said = (*self.size(camera), 3)
        if tuple(shape) != said:
            raise UserError(
                f"the frames of {camera} are {_times(shape)}, the metadata say {_times(said)} (height x width)",
                where=str(self.path),
                fix="correct the shape in meta/info.json, or record it again",
            )

    def _video_frames(self, camera: str) -> Iterator[np.ndarray]:
        for file, group in groupby(self.segments(camera), key=lambda s: s.file):
            yield from _decode_video(file, np.concatenate([s.frames for s in group]), self.fps)

    def _video_rows(self, camera: str, wanted: list[int]) -> Iterator[tuple[int, np.ndarray]]:
        for (start, stop), segment in zip(self.bounds, self.segments(camera), strict=True):
            inside = wanted[bisect_left(wanted, start) : bisect_left(wanted, stop)]
            if inside:
                once, which = np.unique(segment.frames[np.array(inside) - start], return_inverse=True)
                frames = list(_decode_video(segment.file, once, self.fps, seek=True))
                yield from ((row, frames[i]) for row, i in zip(inside, which.tolist(), strict=True))

    def segments(self, camera: str) -> list[VideoSegment]:
        """Where each episode's frames of a camera stored as video lie.

        Raises:
            UserError: the metadata disagrees with the tables about the episodes.
        """
        prefix = f"videos/{camera}/"
        rows = self.episode_rows([prefix + n for n in ("chunk_index", "file_index", "from_timestamp")])
        return [self._segment(camera, row, prefix, bounds) for row, bounds in zip(rows, self.bounds, strict=True)]

    def _segment(self, camera: str, row: dict[str, Any], prefix: str, bounds: tuple[int, int]) -> VideoSegment:
        place = {n: int(row[prefix + n]) for n in ("chunk_index", "file_index")}
        file = self.path / self._video_path.format(video_key=camera, **place)
        # As LeRobot: by the row's time (`DatasetReader._query_videos`), not by its index, which may start anew.
        start_s, times = float(row[prefix + "from_timestamp"]), self.times_s[slice(*bounds)]
        frames = np.rint((start_s + times) * self.fps).astype(np.int64)
        if (np.diff(frames) < 0).any():
            late = bounds[0] + int(np.flatnonzero(np.diff(frames) < 0)[0]) + 1
            raise UserError(
                "the time runs backwards inside an episode", where=f"timestamp of row {late} in {self.path}"
            )
        return VideoSegment(file, (place["chunk_index"], place["file_index"]), start_s, frames)


def _decode_video(file: Path, wanted: np.ndarray, fps: float, *, seek: bool = False) -> Iterator[np.ndarray]:
    """The frames with the given numbers (ascending, counted from the file's start), RGB, in one pass.

    Args:
        seek: start at the keyframe before the first of them instead of at the file's start.
    """
    import av

    if not file.is_file():
        raise UserError("a video file is missing", where=str(file), fix=RECORD_AGAIN)
    pending = iter(wanted)
    need = next(pending, None)
    with damaged(file), av.open(str(file)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        if seek and need is not None:
            container.seek(int(need / fps / stream.time_base), stream=stream)
        for frame in container.decode(stream):
            if need is None:
                return
            # Timestamps rather than a count: concatenated files may repeat or skip a frame at the seam.
            while frame.time is not None and round(frame.time * fps) == need:  # a row may be stored twice
                yield frame.to_ndarray(format="rgb24")
                need = next(pending, None)
    if need is not None:
        raise UserError(f"the video ends before frame {need}", where=str(file), fix=RECORD_AGAIN)


def _times(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))


def _described(episode: tuple[int, int] | None) -> str:
    return f"episode {episode[0]} of {episode[1]} frames" if episode else "none"


def read_info(path: Path) -> dict[str, Any]:
    """``meta/info.json``, checked to be of LeRobot's version 3, and every number and feature in it to be one.

    Raises:
        UserError: it is missing, damaged or of another version.
    """
    file = path / "meta" / "info.json"
    if not path.exists():
        raise UserError("no such dataset", where=str(path))
    if not file.is_file():
        raise UserError(
            "this is not a LeRobotDataset: meta/info.json is missing",
            where=str(path),
            fix="give the folder that contains meta/ and data/",
        )
    try:
        info = json.loads(file.read_text())
        version = str(info["codebase_version"])
        info |= {key: int(info[key]) for key in ("total_frames", "total_episodes")} | {"fps": float(info["fps"])}
        info["features"] = {
            name: feature | {"dtype": str(feature["dtype"]), "shape": [int(n) for n in feature["shape"]]}
            for name, feature in info["features"].items()
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"meta/info.json cannot be read: {error!r}", where=str(file), fix=RECORD_AGAIN) from error
    if not version.startswith("v3"):
        raise UserError(
            f"the dataset has LeRobot version {version}, hiltk reads v3",
            where=str(path),
            fix="`hiltk adopt` converts v2.0 and v2.1 (by LeRobot's own lerobot.scripts.convert_dataset_v21_to_v30)",
        )
    if not 0 < info["fps"] < float("inf"):
        raise UserError(f"meta/info.json says {info['fps']:g} frames per second", where=str(file), fix=RECORD_AGAIN)
    return dict(info)


def read_stats(path: Path) -> dict[str, dict[str, Any]]:
    """``meta/stats.json`` of a dataset, by column and statistic; empty where there is none.

    Raises:
        UserError: it is something else than numbers under these two names.
    """
    file = path / "meta" / "stats.json"
    if not file.is_file():
        return {}
    try:
        stats: dict[str, dict[str, Any]] = json.loads(file.read_text())
        for statistics in stats.values():
            for values in statistics.values():
                np.asarray(values, np.float64)
    except (ValueError, TypeError, AttributeError) as error:
        reason = (str(error).splitlines() or [repr(error)])[0]
        raise UserError(
            f"meta/stats.json cannot be read: {reason}",
            where=str(file),
            fix="delete it in a copy of the dataset; `hiltk stats` computes it anew",
        ) from error
    return stats


@contextmanager
def damaged(file: Path) -> Iterator[None]:
    """Turn what pyarrow and PyAV raise on damaged files into one message that names the file."""
    import av.error

    try:
        yield
    except (pa.ArrowException, av.error.FFmpegError, OSError, KeyError, ValueError) as error:
        require_content(file)
        reason = (str(error).splitlines() or [repr(error)])[0]
        raise UserError(f"a file of the dataset is damaged: {reason}", where=str(file), fix=RECORD_AGAIN) from error


def require_content(file: Path) -> None:
    """Refuse what Git LFS leaves in the place of a large file that was not fetched.

    Raises:
        UserError: saying how to fetch it.
    """
    if file.is_file():
        with file.open("rb") as stream:
            if stream.read(24) == b"version https://git-lfs.":
                raise UserError(
                    "this is a Git LFS pointer, not the file itself",
                    where=str(file),
                    fix="run `git lfs pull` in the dataset's folder, or download it with huggingface_hub",
                )


def _flat(names: Any) -> Iterator[str]:
    """The names in lists and mappings of any depth."""
    if isinstance(names, dict | list | tuple):
        for part in names.values() if isinstance(names, dict) else names:
            yield from _flat(part)
    elif names is not None:
        yield str(names)


def to_numpy(column: pa.ChunkedArray) -> np.ndarray:
    """A column of numbers, text or equally long lists as one array."""
    array = column.combine_chunks()
    if not (pa.types.is_list(array.type) or pa.types.is_fixed_size_list(array.type)):
        return array.to_numpy(zero_copy_only=False)
    flat = array.flatten()
    values = flat.to_numpy(zero_copy_only=False)
    return values.reshape(len(array), len(flat) // max(1, len(array)))


def take(frames: Iterator[np.ndarray], count: int) -> list[np.ndarray]:
    """The next ``count`` frames.

    Raises:
        UserError: there are fewer.
    """
    taken = list(islice(frames, count))
    if len(taken) < count:
        raise too_few(count - len(taken))
    return taken


def too_few(missing: int) -> UserError:
    """What to say where a camera has fewer frames than the tables have rows."""
    return UserError(f"a camera has {missing} frames too few", fix=RECORD_AGAIN)
