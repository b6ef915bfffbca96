"""Encoding a video must not change how this process is scheduled."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator


@contextlib.contextmanager
def scheduling_kept() -> Iterator[None]:
    """SVT-AV1, LeRobot's encoder, makes the thread that calls it a real-time one (SCHED_FIFO) where it may, as root
    may, and leaves it so: whatever that process does next, and all it starts, would starve the rest of the machine."""
    if not hasattr(os, "sched_getscheduler"):  # macOS, Windows
        yield
        return
    policy, priority = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            os.sched_setscheduler(0, policy, priority)
