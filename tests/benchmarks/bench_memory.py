"""Peak memory of a process that trains like the quickstart: hiltk beside LeRobot 0.6's own replay buffer and SAC.

    uv run python -m tests.benchmarks.bench_memory

Each side runs in a process of its own: imports, replay filled with the quickstart's 150 episodes of 50 steps and
as many demonstrated transitions, the agent, ten updates at batch 128 on 64 x 64 frames of one camera. Read the ratio.
"""

from __future__ import annotations

import resource
import subprocess
import sys

from tests.benchmarks import bench_learning as parts

CASE = parts.Case(cameras=1, pixels=64, batch=128)
ONLINE = 150 * 50  # both stores are this large here; the demonstrations of a real run are fewer
UPDATES = 10


def ours() -> None:
    parts.TRANSITIONS = ONLINE
    sampler, agent = parts.our_sampler(CASE), parts.our_agent(CASE)
    for _ in range(UPDATES):
        agent.update(sampler.sample(CASE.batch, 0.5))


def theirs() -> None:
    parts.TRANSITIONS = ONLINE
    buffers, algorithm = parts.their_buffers(CASE, optimize_memory=True), parts.their_algorithm(CASE)
    batches = parts.their_batches(buffers, CASE.batch)
    for _ in range(UPDATES):
        algorithm.update(batches)


def peak_mib(side: str) -> float:
    """Peak resident memory of a fresh process that runs one side."""
    command = [sys.executable, "-m", "tests.benchmarks.bench_memory", side]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


def main() -> None:
    if len(sys.argv) > 1:
        {"nothing": lambda: None, "ours": ours, "theirs": theirs}[sys.argv[1]]()
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        return
    floor, a, b = peak_mib("nothing"), peak_mib("ours"), peak_mib("theirs")
    print(f"imports alone {floor:.0f} MiB; hiltk {a:.0f} MiB; LeRobot {b:.0f} MiB; ratio {b / a:.1f}")


if __name__ == "__main__":
    main()
