"""The time an arm lives in: the wall clock, or an emulated arm's, whose seconds pass only while somebody waits."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Seconds since some start, and waiting."""

    def now(self) -> float: ...

    def sleep_until(self, due: float) -> None:
        """Return at ``due``, at once where that has passed."""


class WallClock:
    """Real seconds."""

    def now(self) -> float:
        return time.monotonic()

    def sleep_until(self, due: float) -> None:
        time.sleep(max(0.0, due - time.monotonic()))
