"""LeRobotDataset v3 folders written with pyarrow alone: rows that LeRobot's own writer would never make, and fast."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

JOINTS = ["shoulder_pan", "shoulder_lift", "elbow_flex", "wrist_flex", "wrist_roll", "gripper"]
CAMERA = "observation.images.cam"


def handmade(
    path: Path,
    columns: dict[str, np.ndarray],
    lengths: list[int],
    *,
    fps: float = 10.0,
    names: list[str] | None = None,
    pictures: np.ndarray | None = None,
    frame_index: np.ndarray | None = None,
    timestamp: np.ndarray | None = None,
) -> Path:
    """Write a dataset.

    Args:
        columns: by name over all rows, (N,) bool or (N, D) numbers.
        lengths: rows of each episode.
        names: of the dimensions of every vector column.
        pictures: (N, H, W, 3) uint8, stored as PNG.
        frame_index: (N,); None: counted. ``timestamp``: (N,) s; None: as the index says.
    """
    episode = np.repeat(np.arange(len(lengths)), lengths)
    counted = np.concatenate([np.arange(n) for n in lengths])
    frame = counted if frame_index is None else frame_index
    time = frame / fps if timestamp is None else timestamp
    table: dict[str, pa.Array] = {}
    features: dict[str, dict[str, Any]] = {}
    for name, values in columns.items():
        wide = values.ndim > 1
        kind = "bool" if values.dtype == bool else "float32"
        cells = values.astype(kind)
        table[name] = (
            pa.FixedSizeListArray.from_arrays(pa.array(cells.ravel()), values.shape[1]) if wide else pa.array(cells)
        )
        features[name] = {"dtype": kind, "shape": values.shape[1:] or (1,), "names": names if wide else None}
    if pictures is not None:
        cells = [{"bytes": cv2.imencode(".png", p[..., ::-1])[1].tobytes(), "path": None} for p in pictures]
        table[CAMERA] = pa.array(cells, pa.struct([("bytes", pa.binary()), ("path", pa.string())]))
        features[CAMERA] = {"dtype": "image", "shape": pictures.shape[1:], "names": ["height", "width", "channels"]}
    own = {"timestamp": time.astype(np.float32), "frame_index": frame, "episode_index": episode,
           "index": np.arange(len(episode)), "task_index": np.zeros(len(episode), np.int64)}  # fmt: skip
    for name, values in own.items():
        table[name] = pa.array(values)
        features[name] = {"dtype": str(values.dtype), "shape": (1,), "names": None}
    _write(path, table, features, lengths, fps)
    return path


def _write(path: Path, table: dict[str, pa.Array], features: dict[str, Any], lengths: list[int], fps: float) -> None:
    import pandas as pd

    for part in ("data/chunk-000", "meta/episodes/chunk-000"):
        (path / part).mkdir(parents=True)
    pq.write_table(pa.table(table), path / "data/chunk-000/file-000.parquet")
    stops = np.cumsum(lengths).tolist()
    rows = [
        {"episode_index": e, "tasks": ["lift"], "length": n, "data/chunk_index": 0, "data/file_index": 0,
         "dataset_from_index": stop - n, "dataset_to_index": stop}
        for e, (n, stop) in enumerate(zip(lengths, stops, strict=True))
    ]  # fmt: skip
    pq.write_table(pa.Table.from_pylist(rows), path / "meta/episodes/chunk-000/file-000.parquet")
    frame = pd.DataFrame({"task_index": [0]}, index=pd.Index(["lift"], name="task"))
    frame.to_parquet(path / "meta/tasks.parquet")
    info = {
        "codebase_version": "v3.0", "fps": fps, "features": features, "total_episodes": len(lengths),
        "total_frames": stops[-1], "total_tasks": 1, "chunks_size": 1000, "robot_type": "so101",
        "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
        "video_path": "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4",
        "splits": {"train": f"0:{len(lengths)}"},
    }  # fmt: skip
    (path / "meta/info.json").write_text(json.dumps(info))


def smooth_joints(count: int, seed: int = 0, fps: float = 10.0) -> np.ndarray:
    """(count, 6) joints of a calm motion, degrees and percent, the same whatever the frame rate."""
    rng = np.random.default_rng(seed)
    phase, speed = rng.uniform(0, 6, 6), rng.uniform(0.5, 1.5, 6)
    t = np.arange(count)[:, None] / fps
    return np.array([0.0, -30, 30, 70, 80, 50]) + [8, 8, 8, 8, 8, 30] * np.sin(speed * t + phase)


def picture_of(rows: np.ndarray, size: int = 8) -> np.ndarray:
    """(N, size, size, 3) pictures that tell their row apart: noise of their own, bright enough for every check."""
    made = [np.random.default_rng(1000 + int(r)).integers(0, 256, (size, size, 3), dtype=np.uint8) for r in rows]
    return np.stack(made)
