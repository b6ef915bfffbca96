"""What a million frames cost the commands that read or curate a dataset: seconds and peak memory of each.

    uv run python -m tests.benchmarks.bench_curation [FRAMES]

The dataset is the one of `bench_repair`, without its camera; every command runs in a process of its own, as a user
would start it. Imports are in the figures: `hiltk show` is what a command costs that does next to nothing.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tests.benchmarks.bench_repair import CAMERA, make_dataset

COMMANDS = {
    "show": ["show", "{data}", "root={root}"],
    "check": ["check", "{data}", "root={root}"],
    "inspect": ["inspect", "{data}", "name=page", "root={root}"],
    "stats": ["stats", "{data}", "name=stats", "root={root}"],
    "drop-episodes": ["drop-episodes", "{data}", "name=some", "episodes=[0,7-9]", "root={root}"],
    "split": ["split", "{data}", "name=parts", "root={root}"],
    "merge": ["merge", "{data}", "{other}", "name=both", "root={root}"],
}


def make_numbers(path: Path, frames: int) -> None:
    """The dataset, without pictures; with tasks and statistics, which LeRobot's tools read."""
    import pandas as pd
    import yaml

    from hiltk.data.lerobot_files import LeRobotFiles
    from hiltk.data.statistics import column_stats

    make_dataset(path, frames, foreign=False)
    for video in path.glob("videos/*/*/*.mp4"):
        video.unlink()
    info = json.loads((path / "meta/info.json").read_text())
    del info["features"][CAMERA]
    (path / "meta/info.json").write_text(json.dumps(info | {"video_path": None}))
    spec = yaml.safe_load((path / "meta/hiltk_spec.yaml").read_text())
    (path / "meta/hiltk_spec.yaml").write_text(yaml.safe_dump(spec | {"images": []}))
    (episodes,) = path.glob("meta/episodes/*/*.parquet")
    table = pq.read_table(episodes, partitioning=None)
    table = table.select([name for name in table.column_names if not name.startswith("videos/")])
    for name in ("meta/episodes/chunk_index", "meta/episodes/file_index"):
        table = table.append_column(name, pa.array(np.zeros(len(table), np.int64)))
    pq.write_table(table, episodes)
    tasks = pd.DataFrame({"task_index": [0]}, index=pd.Index(["lift"], name="task"))
    tasks.to_parquet(path / "meta/tasks.parquet")
    files = LeRobotFiles(path)
    numbers = [name for name, feature in info["features"].items() if feature["dtype"] != "string"]
    (path / "meta/stats.json").write_text(json.dumps({name: column_stats(files.column(name)) for name in numbers}))


def run(words: list[str]) -> tuple[int, float, float, float]:
    """Exit code, seconds, processor seconds and peak MiB of a command."""
    started = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-c", "from hiltk.cli import main; main()", *words], stdout=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - started
    return os.waitstatus_to_exitcode(status), wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def main() -> None:
    frames = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    with tempfile.TemporaryDirectory() as folder:
        places = {"data": f"{folder}/data", "other": f"{folder}/other", "root": f"{folder}/out"}
        make_numbers(Path(places["data"]), frames)
        make_numbers(Path(places["other"]), frames // 10)
        print(f"{frames} frames on {os.cpu_count()} cores", flush=True)
        for name, words in COMMANDS.items():
            code, wall, busy, memory = run([word.format(**places) for word in words])
            print(f"{name:14} exit {code}  {wall:6.1f} s  {busy:6.1f} s of processor  {memory:6.0f} MiB", flush=True)


if __name__ == "__main__":
    main()
