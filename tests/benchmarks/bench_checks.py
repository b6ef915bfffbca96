"""All rules about datasets over 100 000 frames, beside reading the same columns with pyarrow alone.

    uv run python -m tests.benchmarks.bench_checks [FRAMES]

The dataset is the one of `bench_repair`: dead actions (so that rules have something to say), the 18-D state, a video.
Read the ratio to the floor, which reads every numeric column once and looks at nothing; hashing the files (RUN001) is
apart, since no gate does it. Seconds are of the processor, so that other programs do not count.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from hiltk.artifacts.store import Artifact
from hiltk.checks.engine import examine, gather
from hiltk.checks.rule import RULES
from hiltk.data.lerobot_files import CAMERA_TYPES, LeRobotFiles
from tests.benchmarks.bench_repair import make_dataset

REPEATS = 3


def read_columns(path: Path) -> None:
    """The floor."""
    files = LeRobotFiles(path)
    for name, feature in files.features.items():
        if feature["dtype"] not in (*CAMERA_TYPES, "string"):
            files.column(name)


def seconds(act: Callable[[], object]) -> float:
    started = time.process_time()
    act()
    return time.process_time() - started


def main() -> None:
    frames = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "dataset"
        make_dataset(path, frames, foreign=False)
        artifact = Artifact("datasets", "bench", "", path, origin="bench")
        report = examine(gather([artifact]), ignore=["RUN001"])  # warms up
        floors, every = [], []
        for _ in range(REPEATS):
            floors.append(seconds(lambda: read_columns(path)))
            every.append(seconds(lambda: examine(gather([artifact]), ignore=["RUN001"])))
        floor, total = statistics.median(floors), statistics.median(every)
        print(f"{frames:,} frames, {report.summary}")
        print(f"reading the columns   {floor:7.3f} s   1.0")
        print(f"all rules             {total:7.3f} s   {total / floor:.1f}")
        all_ = gather([artifact])
        taken = {code: seconds(lambda code=code: examine(all_, select=[code])) for code in sorted(RULES)}  # type: ignore[misc]
        for code, own in sorted(taken.items(), key=lambda item: -item[1])[:6]:
            print(f"  {code} (with what it is the first to need)  {own:.3f} s   {own / floor:.1f}")


if __name__ == "__main__":
    main()
