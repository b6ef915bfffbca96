"""How evenly an arm is driven: control periods within 10 % of their length, beside nothing and beside a busy core.

``uv run python -m tests.benchmarks.bench_jitter [--seconds 20] [--rates 10 30]``

The whole path of a step (`So101Env.step`): keeper process, LeRobot's driver, emulated bus with a USB millisecond, one
camera. The floor is the same loop with nothing beside it, in the same run; the busy core is a process that multiplies
matrices at the priority a terminal gives. Intervals are between the moments at which joints were read.
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
import time
from pathlib import Path

import numpy as np

from hiltk.config.groups import SceneReset, So101Conf, TaskConf
from hiltk.envs.so101 import RehearsalEnv
from hiltk.robots.arm_store import save_arm_file
from hiltk.robots.emulated.rehearsal import rehearsal_file
from hiltk.robots.keeper import log_of

WITHIN = 0.1  # of a period


def busy() -> None:
    """A learner at its worst: one core, all the time."""
    matrix = np.random.default_rng(0).normal(size=(300, 300))
    while True:
        matrix = np.tanh(matrix @ matrix)


def intervals(env: RehearsalEnv, seconds: float) -> np.ndarray:
    """Lengths of consecutive periods, seconds."""
    action = np.zeros(4, np.float32)
    found: list[float] = []
    env.reset(seed=0)
    while len(found) < seconds * env.conf.fps:
        *_, truncated, info = env.step(action)
        found.append(info["tick_s"])
        if truncated:
            env.reset(seed=0)
    return np.array(found[1:])


def measure(rate: float, seconds: float, folder: Path) -> tuple[dict[str, np.ndarray], str]:
    """Periods by what ran beside them, and what the keeper said of its scheduling."""
    arm = rehearsal_file(f"ticks{rate:g}")
    arm.emulated.usb_ms = 1.0
    path = folder / f"{arm.name}.yaml"
    save_arm_file(arm, path)
    task = TaskConf(time_limit_s=1e6)
    env = RehearsalEnv(So101Conf(fps=rate, arm=str(path), scene_reset=SceneReset.none), task)
    try:
        found = {"nothing": intervals(env, seconds)}
        beside = multiprocessing.get_context("spawn").Process(target=busy, daemon=True)
        beside.start()
        time.sleep(2)
        found["a busy core"] = intervals(env, seconds)
        beside.kill()
    finally:
        env.close()
    return found, log_of(path).read_text().splitlines()[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--rates", type=float, nargs="*", default=[10, 30])
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for rate in args.rates:
            found, said = measure(rate, args.seconds, Path(folder))
            print(f"{rate:g} Hz ({said.partition('; ')[2]})")
            shares = {}
            for beside, lengths in found.items():
                off = np.abs(lengths * rate - 1)
                shares[beside] = float((off <= WITHIN).mean())
                p99 = 1000 * float(np.percentile(off, 99)) / rate
                print(f"  beside {beside:12s} {shares[beside]:7.1%} within 10 % of {len(off)}; p99 {p99:.1f} ms off")
            floor, loaded = shares.values()
            print(f"  ratio to the floor: {loaded / floor:.3f}")


if __name__ == "__main__":
    main()
