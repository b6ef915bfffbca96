"""A program that drives the emulated arm until somebody kills it: ``python -m tests.robots.commanding PATH``."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import numpy as np

from hiltk.robots.emulated.rehearsal import rehearsal_file
from hiltk.robots.keeper import ArmClient
from tests.robots.fakes import READY


def main() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's & has it ignored
    path = Path(sys.argv[1])
    arm = rehearsal_file(path.stem)
    arm.emulated.time = "fast"
    print("starting", flush=True)
    with ArmClient(arm, path) as client:
        print("connected", flush=True)
        while True:
            client.move_to(READY)
            print("driving", flush=True)
            for tick in range(100):
                client.clock.sleep_until(client.clock.now() + 0.1)
                client.observe()
                client.command(np.add(READY, [20 * np.sin(tick / 5), 5, 0, 0, 0, 0]))
            client.hold()


if __name__ == "__main__":
    main()
