"""A dataset made elsewhere, opened: what stands in the way of reading it is mended in a copy, or named and left out."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from hiltk.data.consistency import require_consistent
from hiltk.data.keep_episodes import keep_episodes, numbering
from hiltk.data.lerobot_files import NO_COLOURS, LeRobotFiles
from hiltk.data.lerobot_tools import is_older, to_v3
from hiltk.errors import ConfigError, UserError, listed


@dataclass
class Opened:
    """A dataset made elsewhere that can be read.

    Attributes:
        files: its files, or those of a copy that lasts as long as it is open.
        episodes: the number that each episode has in the original.
        notes: what was mended or left out, as (what, why).
    """

    files: LeRobotFiles
    episodes: list[int]
    notes: list[tuple[str, str]] = field(default_factory=list)


@contextmanager
def open_foreign(path: Path, cameras: dict[str, str] | None = None, task: str = "") -> Iterator[Opened]:
    """Open a LeRobotDataset of v2.0, v2.1 or v3 that hiltk did not write.

    Episodes that cannot be learned from are left out, those after them numbered anew; sizes of pictures are taken
    from the pictures; cameras that show no colours are left out.

    Args:
        cameras: those that will be used, ours to theirs; others are not looked at. None or empty: all.
        task: of several sentences the one whose episodes are wanted; any other text wants them all.

    Raises:
        UserError: it is damaged, empty or no LeRobotDataset.
    """
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hiltk-")))
        notes: list[tuple[str, str]] = []
        if version := is_older(path):
            path = to_v3(path, scratch)
            notes.append(("version", f"LeRobot {version}, converted to v3 by LeRobot's own converter"))
        found = numbering(path)
        kept = found.usable
        if not found.sound:
            keep_episodes(path, kept, scratch / "kept", link=True)
            path = scratch / "kept"
            notes += [(f"episode {number}", f"left out: {why}") for number, why in sorted(found.odd.items())]
            if kept != list(range(len(kept))):
                notes.append(("episodes", f"numbered from 0; they are {listed(kept, 12)} in the original"))
        files = LeRobotFiles(path, gaps=True)
        said = files.episode_tasks()
        if task in said and len(set(said)) > 1:
            chosen = [number for number, sentence in enumerate(said) if sentence == task]
            keep_episodes(path, chosen, scratch / "chosen", link=True)
            kept = [kept[number] for number in chosen]
            notes.append(("task", f"{len(chosen)} of {len(said)} episodes say '{task}'; the others are left out"))
            files = LeRobotFiles(scratch / "chosen", gaps=True)
        elif len(set(said)) > 1 and not task:
            notes.append(("tasks", f"{len(set(said))} sentences, kept with each episode; foreign.task= takes one"))
        notes += [(key, f"left out: {NO_COLOURS}; pictures need three") for key in files.depth_cameras]
        notes += [("clock", text) for text in files.set_clocks()]
        used = [key for key in files.cameras if not cameras or key in cameras.values()]
        notes += [("size", text + "; taken from the pictures") for text in files.correct_sizes(used)]
        require_consistent(files, cameras=used)
        yield Opened(files, kept or list(range(len(files.bounds))), notes)


def here(opened: Opened, numbers: list[int], where: str) -> list[int]:
    """Episode numbers of the original as they are in what was opened.

    Raises:
        ConfigError: there never was such an episode.
        UserError: it was left out.
    """
    for number in numbers:
        told = f"{where}; there are {len(opened.episodes)}"
        if number in _left_out(opened):
            raise UserError(f"there is no episode {number} left", where=told)
        if number not in opened.episodes:
            raise ConfigError(f"there is no episode {number}", where=told)
    return [opened.episodes.index(number) for number in numbers]


def _left_out(opened: Opened) -> set[int]:
    return {int(what.split()[1]) for what, _ in opened.notes if what.startswith("episode ")}
