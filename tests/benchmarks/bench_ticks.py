"""How even the ticks of an arm are, alone and beside a busy process, through the real processes in real time.

Run: python -m tests.benchmarks.bench_ticks [--seconds 20] [--plain]

A tick is what a policy's is without the policy: wait for its time, read the servos (through the arm's own process and
LeRobot's driver), take the newest frame and shrink it, send goals. "Within" is the share of intervals between starts of
ticks that are off by at most 10 % of the period; "out" is how long after its time a tick's goals are sent. Segments
alone and beside another process alternate, so that other load on the machine hits all alike: a busy one, and one that
steps aside for others (SCHED_IDLE), as a learner should. Where SCHED_FIFO is allowed the arm's process takes it, and so
does the loop unless --plain; without privileges (as root: `setpriv --bounding-set -sys_nice python -m ...`) neither
does.
"""

from __future__ import annotations

import argparse
import gc
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np

from hiltk.robots.clock import WallClock
from hiltk.robots.emulated.client import start_emulator
from hiltk.robots.emulated.rehearsal import rehearsal_file
from hiltk.robots.keeper import ArmClient

POSE_DEG = np.array([0.0, -30.0, 40.0, 70.0, 90.0, 40.0])
SEGMENT_S = 5.0
PRIORITY = 10


# What a learner does to the second core.
BUSY = """
import os, sys
import numpy as np
os.sched_setscheduler(0, int(sys.argv[1]), os.sched_param(0))
print("ready", flush=True)
a = np.random.default_rng(0).normal(size=(256, 256))
while True:
    a = np.tanh(a @ a / 16)
"""
CASES = {"alone": None, "beside a busy process": os.SCHED_OTHER, "beside an idle one": os.SCHED_IDLE}


@contextmanager
def beside(policy: int | None) -> Iterator[None]:
    """With another process scheduled so; None: without."""
    if policy is None:
        yield
        return
    command = [sys.executable, "-c", BUSY, str(policy)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=os.environ | {"OMP_NUM_THREADS": "1"}) as neighbour:
        assert neighbour.stdout is not None
        neighbour.stdout.readline()
        try:
            yield
        finally:
            neighbour.kill()


def real_time() -> bool:
    """Go before all others, if that is allowed."""
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(PRIORITY))
    except (OSError, AttributeError):
        return False
    return True


def segment(client: ArmClient, camera: object, hz: float, start_deg: np.ndarray, count: int) -> tuple[list[float], ...]:
    """Starts and ends of ``count`` ticks, seconds after they were due."""
    starts, ends = [], []
    clock, begin = WallClock(), time.monotonic() + 0.05
    for tick in range(count):
        due = begin + tick / hz
        clock.sleep_until(due)
        starts.append(time.monotonic() - due)
        client.observe()
        cv2.resize(camera.read_latest(), (64, 64), interpolation=cv2.INTER_AREA)  # type: ignore[attr-defined]
        client.command(start_deg + 5 * np.sin(tick / hz * 2))
        ends.append(time.monotonic() - due)
    return starts, ends


def told(starts: list[list[float]], ends: list[list[float]], hz: float) -> str:
    off = np.abs(np.concatenate([np.diff(one) for one in starts]))
    within = 100 * np.mean(off <= 0.1 / hz)
    p99, worst = 1e3 * np.percentile(off, 99), 1e3 * off.max()
    out = 1e3 * np.percentile(np.concatenate(ends), [50, 99])
    return (
        f"within {within:5.1f} %   off p99 {p99:5.1f} max {worst:5.1f} ms   out p50 {out[0]:4.1f} p99 {out[1]:5.1f} ms"
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=20.0, help="of each case and rate")
    parser.add_argument("--plain", action="store_true", help="the loop itself does not take SCHED_FIFO")
    args = parser.parse_args()
    from hiltk.robots.emulated.camera import EmulatedCamera, camera_config

    arm, path = rehearsal_file("ticks"), Path(tempfile.mkdtemp()) / "ticks.yaml"
    with start_emulator(arm, path) as emulated:
        camera = EmulatedCamera(camera_config(emulated, arm.cameras["wrist"]))
        camera.connect()
        gc.collect(), gc.freeze()
        first = not args.plain and real_time()
        print(f"loop: {'SCHED_FIFO' if first else 'normal scheduling'}; load {os.getloadavg()[0]:.1f}", flush=True)
        for hz in (10.0, 30.0):
            seen: dict[str, list[tuple[list[float], ...]]] = {case: [] for case in CASES}
            with ArmClient(arm, path, emulated, fps=hz) as client:
                for _ in range(max(1, round(args.seconds / SEGMENT_S))):
                    for case, policy in CASES.items():
                        with beside(policy):
                            client.move_to(POSE_DEG)
                            seen[case].append(segment(client, camera, hz, POSE_DEG, round(SEGMENT_S * hz)))
                            client.hold()
            for case, segments in seen.items():
                starts, ends = zip(*segments, strict=True)
                print(f"{hz:2.0f} Hz {case:21} {told(list(starts), list(ends), hz)}", flush=True)
        camera.disconnect()
        emulated.stop()


if __name__ == "__main__":
    main()
