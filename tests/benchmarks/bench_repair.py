"""`hiltk fix-actions` on a million frames, beside reading and writing the same table with pyarrow alone.

    uv run python -m tests.benchmarks.bench_repair [FRAMES]

Two datasets, several data files and a video each: one of hiltk's with dead actions (repaired), one made elsewhere with
six joints and nothing else (converted). Every command runs in a process of its own; read the ratios and the memory.
The floor copies every column of the repaired dataset, file by file, and the video.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

EPISODE = 100
PER_FILE = 1000  # episodes
CAMERA = "observation.images.wrist"
JOINTS = ("shoulder_pan", "shoulder_lift", "elbow_flex", "wrist_flex", "wrist_roll", "gripper")
ENCODED = 20_000  # frames of the one video; it is stored once per so many frames


def make_video(path: Path) -> None:
    """A small video with `ENCODED` frames, 32 x 32."""
    import av

    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"preset": "ultrafast", "g": "2"})
        stream.width = stream.height = 32
        stream.pix_fmt = "yuv420p"
        scene = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
        for t in range(ENCODED):
            image = np.roll(scene, t, axis=1)  # the checks refuse cameras that show nothing, or nothing new
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())


def joint_paths(count: int, seed: int) -> np.ndarray:
    """(count * EPISODE, 6) smooth paths, degrees and percent."""
    rng = np.random.default_rng(seed)
    phase, speed = rng.uniform(0, 6, (2, count, 1, 6))
    t = np.arange(EPISODE)[None, :, None] / 10
    return ([0, -30, 30, 80, 90, 40] + 10 * np.sin(0.2 * (1 + speed) * t + phase)).reshape(-1, 6)


def make_dataset(path: Path, frames: int, *, foreign: bool) -> None:
    """A LeRobotDataset v3 written with pyarrow: making it through LeRobot would take hours."""
    from hiltk.arm.kinematics import Kinematics
    from hiltk.arm.state import action_spec, state_spec
    from hiltk.data.foreign import _states
    from hiltk.data.lerobot_io import features
    from hiltk.spec import GripperFormat, ImageSpec, Spec

    spec = Spec(
        task="lift",
        state=state_spec(),
        action=action_spec(0.02, GripperFormat.continuous, 15.0),
        images=[ImageSpec("wrist", 32, 32, 32, 32)],
    )
    kin, episodes = Kinematics(), frames // EPISODE
    rows = []
    for file, first in enumerate(range(0, episodes, PER_FILE)):
        count = min(PER_FILE, episodes - first)
        joints = joint_paths(count, file)
        state = joints.astype(np.float32)
        if not foreign:
            whole = [
                _states(kin, joints[i : i + EPISODE], np.ones(EPISODE), spec) for i in range(0, len(joints), EPISODE)
            ]
            state = np.concatenate(whole)
        write_file(path / f"data/chunk-000/file-{file:03d}.parquet", state, first, foreign=foreign)
        rows += [episode_row(e, file) for e in range(first, first + count)]
    names = [f"{joint}.pos" for joint in JOINTS]
    table = features(spec, video=True)
    if foreign:
        vector = {"dtype": "float32", "shape": (6,), "names": names}
        table = {"observation.state": vector, "action": vector, CAMERA: table[CAMERA]}
    table |= {
        name: {"dtype": "float32" if name == "timestamp" else "int64", "shape": (1,), "names": None}
        for name in ("timestamp", "frame_index", "episode_index", "index", "task_index")
    }
    write_meta(path, table, rows, frames)
    if not foreign:
        spec.save(path / "meta/hiltk_spec.yaml")
    make_video(path / "video.mp4")
    for n in range(-(-frames // ENCODED)):
        video = path / f"videos/{CAMERA}/chunk-000/file-{n:03d}.mp4"
        video.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path / "video.mp4", video)
    (path / "video.mp4").unlink()


def write_file(path: Path, state: np.ndarray, first: int, *, foreign: bool) -> None:
    count = len(state)
    frame = np.arange(count) % EPISODE
    columns: dict[str, pa.Array] = {
        "observation.state": vectors(state),
        "action": vectors(np.zeros((count, 6 if foreign else 4), np.float32)),
    }
    if not foreign:
        last = frame == EPISODE - 1
        columns |= {
            "next.reward": pa.array(np.zeros(count, np.float32)),
            "source": pa.array(np.zeros(count, np.int64)),
            "stratum": pa.array(["near"] * count),
            "next.done": pa.array(last),
            "next.truncated": pa.array(np.zeros(count, bool)),
            "success": pa.array(np.zeros(count, bool)),
            "is_intervention": pa.array(np.zeros(count, bool)),
            "action_valid": pa.array(~last),
        }
    columns |= {
        "timestamp": pa.array((frame / 10).astype(np.float32)),
        "frame_index": pa.array(frame),
        "episode_index": pa.array(first + np.arange(count) // EPISODE),
        "index": pa.array(first * EPISODE + np.arange(count)),
        "task_index": pa.array(np.zeros(count, np.int64)),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path, row_group_size=EPISODE)  # as LeRobot does: one per episode


def vectors(values: np.ndarray) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1])


def episode_row(episode: int, file: int) -> dict[str, object]:
    start = episode * EPISODE
    video, offset = divmod(start, ENCODED)
    place = {"chunk_index": 0, "file_index": video, "from_timestamp": offset / 10, "to_timestamp": offset / 10 + 10}
    return {
        "episode_index": episode,
        "tasks": ["lift"],
        "length": EPISODE,
        "data/chunk_index": 0,
        "data/file_index": file,
        "dataset_from_index": start,
        "dataset_to_index": start + EPISODE,
        **{f"videos/{CAMERA}/{key}": value for key, value in place.items()},
    }


def write_meta(path: Path, table: dict[str, object], rows: list[dict[str, object]], frames: int) -> None:
    info = {
        "codebase_version": "v3.0",
        "fps": 10,
        "features": table,
        "total_episodes": len(rows),
        "total_frames": frames,
        "total_tasks": 1,
        "chunks_size": 1000,
        "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
        "video_path": "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4",
        "robot_type": "so101",
        "splits": {"train": f"0:{len(rows)}"},
    }
    (path / "meta/episodes/chunk-000").mkdir(parents=True)
    (path / "meta/info.json").write_text(json.dumps(info))
    pq.write_table(pa.Table.from_pylist(rows), path / "meta/episodes/chunk-000/file-000.parquet")


def floor(path: str, target: str) -> None:
    """Read and write every column, and copy the video."""
    for file in sorted(Path(path).glob("data/*/*.parquet")):
        out = Path(target) / file.name
        out.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pq.read_table(file, partitioning=None), out, row_group_size=EPISODE)
    shutil.copytree(Path(path) / "videos", Path(target) / "videos")


def fix(path: str, root: str) -> None:
    from hiltk.config.commands import FixActionsConf
    from hiltk.steps import fix_actions

    fix_actions.run(FixActionsConf(root=root, name="fixed", dataset=path))


def measure(side: str, *arguments: str) -> tuple[float, float, float]:
    """Seconds, processor seconds and peak MiB of a fresh process."""
    command = [sys.executable, "-m", "tests.benchmarks.bench_repair", side, *arguments]
    start = time.perf_counter()
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    busy, memory = map(float, done.stdout.split()[-2:])
    return time.perf_counter() - start, busy, memory


def main() -> None:
    if len(sys.argv) > 2:
        {"floor": floor, "fix": fix}[sys.argv[1]](*sys.argv[2:])
        usage = resource.getrusage(resource.RUSAGE_SELF)
        print(usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)
        return
    frames = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    with tempfile.TemporaryDirectory() as folder:
        places = {kind: Path(folder) / kind for kind in ("repaired", "converted")}
        for kind, place in places.items():
            make_dataset(place, frames, foreign=kind == "converted")
        wall, least, memory = measure("floor", str(places["repaired"]), f"{folder}/floor")
        print(f"{frames} frames on {os.cpu_count()} cores")
        print(f"floor: {wall:.1f} s, {least:.1f} s of processor time; peak {memory:.0f} MiB", flush=True)
        for kind, place in places.items():
            wall, busy, memory = measure("fix", str(place), f"{folder}/{kind}-out")
            ratio = f"{busy / least:.1f} times the floor's processor time"
            print(f"{kind}: {wall:.1f} s, {busy:.1f} s of processor time, {ratio}; peak {memory:.0f} MiB", flush=True)


if __name__ == "__main__":
    main()
