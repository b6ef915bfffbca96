"""Memory, threads and open files of processes, to see whether they grow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import psutil


@dataclass(frozen=True)
class Footprint:
    """Of several processes together; memory in MB, resident."""

    memory_mb: float
    threads: int
    files: int

    @staticmethod
    def of(pids: Sequence[int]) -> Footprint:
        processes = [psutil.Process(pid) for pid in pids]
        return Footprint(
            sum(one.memory_info().rss for one in processes) / 1e6,
            sum(one.num_threads() for one in processes),
            sum(one.num_fds() for one in processes),
        )

    def grown_to(self, later: Footprint, *, slack_mb: float) -> list[str]:
        """What is more in ``later``, in words; memory counts beyond ``slack_mb``."""
        found = []
        if later.memory_mb > self.memory_mb + slack_mb:
            found.append(f"memory {self.memory_mb:.1f} -> {later.memory_mb:.1f} MB")
        if later.threads > self.threads:
            found.append(f"threads {self.threads} -> {later.threads}")
        if later.files > self.files:
            found.append(f"open files {self.files} -> {later.files}")
        return found
