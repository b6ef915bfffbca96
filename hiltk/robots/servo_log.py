"""What a keeper leaves in writing: a row per reading of the servos, and lines of its own."""

from __future__ import annotations

import contextlib
import csv
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from hiltk.arm.model import JOINTS
from hiltk.robots.bus import Reading
from hiltk.robots.messages import NUMBERS


class ServoLog:
    """A CSV row per reading, where a file was named. A full disk ends the log, never the keeper."""

    def __init__(self, path: str) -> None:
        self._file: TextIO | None = None
        if path:
            self._try(lambda: self._open(path))

    def _open(self, path: str) -> None:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        self._file = open(path, "w", newline="", buffering=1)  # noqa: SIM115
        kinds = ("goal_deg", *NUMBERS)
        csv.writer(self._file).writerow(["stamp_s", *(f"{kind}.{joint}" for kind in kinds for joint in JOINTS)])

    def add(self, reading: Reading, goal: np.ndarray) -> None:
        if self._file is not None:
            numbers = np.concatenate([goal, *(getattr(reading, name) for name in NUMBERS)])
            row = [f"{reading.stamp_s:.4f}", *(f"{number:.5g}" for number in numbers)]
            self._try(lambda: csv.writer(self._file).writerow(row) if self._file else None)

    def close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            self._try(file.close)

    def _try(self, write: Callable[[], Any]) -> None:
        try:
            write()
        except OSError as error:
            self._file = None
            say(f"no log of the servos from here on: {error}")


def say(text: str) -> None:
    """A line of the keeper's own log; nobody may be there to read it."""
    with contextlib.suppress(OSError, ValueError):
        print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)
