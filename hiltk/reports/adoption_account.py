"""One short account of an adoption: what came in, what went out, and what was left out and why."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console

from hiltk.data.lerobot_files import LeRobotFiles
from hiltk.errors import listed
from hiltk.spec import Spec

MOST_NAMED = 6


@dataclass(frozen=True)
class Account:
    """What an adoption took over.

    Attributes:
        rows, episodes: how many came in and went out.
        transitions: steps of the episodes up to their ends; with an action that is known.
        after_end: rows after an episode's end, which nothing learns actions from.
        tasks, cameras: that went out.
        successes: episodes in which success shows, and that end in it.
        left_out: what did not go out or is masked, and why.
    """

    rows: tuple[int, int]
    episodes: tuple[int, int]
    transitions: tuple[int, int]
    after_end: int
    tasks: list[str]
    cameras: list[str]
    successes: tuple[int, int]
    left_out: list[str]

    def lines(self) -> list[tuple[str, str]]:
        """What to show of it, as (what, how many)."""
        rows, known = self.rows, self.transitions
        tasks = listed([f"'{task}'" for task in self.tasks], MOST_NAMED)
        left = listed(self.left_out, MOST_NAMED) if self.left_out else "nothing"
        return [
            ("rows", f"{rows[0]} in, {rows[1]} out; {self.after_end} of them after the end of their episode"),
            ("transitions", f"{known[0]}, {known[1]} with a known action"),
            ("episodes", f"{self.episodes[0]} in, {self.episodes[1]} out"),
            ("tasks", f"{len(self.tasks)}: {tasks}"),
            ("cameras", ", ".join(self.cameras) or "none"),
            ("successes", f"shown in {self.successes[0]} episodes, {self.successes[1]} end in it"),
            ("left out", left),
        ]


def adoption_account(source: Path, written: Path, spec: Spec, left_out: list[str]) -> Account:
    """Count what came in and what was written.

    Args:
        source: the dataset as it was.
        left_out: what was seen to be left out or masked, in sentences.
    """
    info, files = json.loads((source / "meta" / "info.json").read_text()), LeRobotFiles(written)
    done, success, valid = (files.column(n).astype(bool).ravel() for n in ("next.done", "success", "action_valid"))
    ends = [start + int(np.argmax(done[start:stop])) for start, stop in files.bounds]
    steps = [slice(start, min(end + 1, stop - 1)) for end, (start, stop) in zip(ends, files.bounds, strict=True)]
    played = sum(part.stop - part.start for part in steps)
    total = files.bounds[-1][1]
    reached = [bool(success[part.stop]) for part in steps]  # the observation after the last step
    return Account(
        rows=(int(info["total_frames"]), total),
        episodes=(int(info["total_episodes"]), len(files.bounds)),
        transitions=(played, int(sum(valid[part].sum() for part in steps))),
        after_end=total - played - len(files.bounds),
        tasks=sorted(set(files.episode_tasks())),
        cameras=[f"{image.name} ({image.height} x {image.width})" for image in spec.images],
        successes=(sum(bool(success[a:b].any()) for a, b in files.bounds), sum(reached)),
        left_out=left_out,
    )


def print_account(account: Account, console: Console) -> None:
    """One line each."""
    console.print("taken over", style="bold")
    for what, text in account.lines():
        console.print(f"  {what:<12}{text}", markup=False, highlight=False, soft_wrap=True)
