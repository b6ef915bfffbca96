"""Which of a foreign dataset's rows become frames, and which steps between them are known.

Rows may be missing (a gap in ``frame_index`` or ``timestamp``) or stored twice, and another frame rate may be wanted.
Numbers can be interpolated, pictures cannot: each frame shows the picture taken nearest to its time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hiltk.data.lerobot_files import LeRobotFiles
from hiltk.data.repair import last_rows
from hiltk.errors import ConfigError, UserError

REPEATED_S = 1e-6  # rows with less time than this between them are one
JITTERS = 0.1  # of a frame: times whose distances are off by more than this (median) come from a host's clock
BESIDE = 9  # rows before and after a late one that tell whether frames are missing there


@dataclass(frozen=True)
class Timeline:
    """M frames taken from a dataset's N rows.

    Attributes:
        rows: (M,) the row whose pictures and flags a frame has, ascending.
        share: (M,) how far its numbers lie towards those of the row after (0: just this row's, up to 1), and
            towards the row before if negative.
        episode: (M,) number of its episode.
        steps: (M,) how many frame times the next frame of the episode is away; more than 1 where some are missing.
        fps: frames per second.
        missing: rows that the recording lacks.
        repeated: rows left out because they were stored twice.
    """

    rows: np.ndarray
    share: np.ndarray
    episode: np.ndarray
    steps: np.ndarray
    fps: float
    missing: int
    repeated: int

    @property
    def known(self) -> np.ndarray:
        """Where the next frame is one frame time away, (M,) bool."""
        return self.steps == 1

    @property
    def notes(self) -> list[str]:
        """What is wrong with the rows, in sentences."""
        notes = []
        if self.missing:
            notes.append(f"{self.missing} frames are missing; the steps across the gaps are masked")
        if self.repeated:
            notes.append(f"{self.repeated} rows were stored twice; the second of each is left out")
        return notes

    @property
    def bounds(self) -> list[tuple[int, int]]:
        """First frame and frame after the last of every episode."""
        stops = np.flatnonzero(last_rows(self.episode)) + 1
        return list(zip(np.r_[0, stops[:-1]].tolist(), stops.tolist(), strict=True))

    def takes_all_of(self, files: LeRobotFiles) -> bool:
        """Whether the frames are just the dataset's rows, so that its pictures can stay as they are."""
        return len(self.rows) == files.bounds[-1][1] and not self.share.any() and not self.missing

    def numbers(self, values: np.ndarray) -> np.ndarray:
        """Values of every row (N, D) at the time of every frame (M, D)."""
        if not self.share.any():
            return values[self.rows]
        other = np.clip(self.rows + np.sign(self.share).astype(int), 0, len(values) - 1)
        share = np.abs(self.share)[:, None]
        return (1 - share) * values[self.rows] + share * values[other]


def every_row(files: LeRobotFiles) -> Timeline:
    """Every row a frame, one frame time apart, whatever index and time say."""
    episode = np.repeat(np.arange(len(files.bounds)), [stop - start for start, stop in files.bounds])
    count = len(episode)
    return Timeline(np.arange(count), np.zeros(count), episode, np.ones(count, np.int64), files.fps, 0, 0)


def timeline(files: LeRobotFiles, fps: float = 0.0) -> Timeline:
    """The frames of a dataset, at its own rate or at ``fps``.

    Raises:
        ConfigError: more frames per second are wanted than were recorded.
        UserError: times run backwards inside an episode.
    """
    episode = every_row(files).episode
    ahead = _frames_ahead(files, episode)
    kept = np.r_[True, (ahead[:-1] > 0) | (episode[1:] != episode[:-1])]
    rows, number = np.flatnonzero(kept), _numbers(ahead, episode)[kept]
    repeated = len(episode) - len(rows)
    missing = int((_steps(number, episode[rows]) - 1).sum())
    wanted = fps or files.fps
    if wanted > files.fps * (1 + 1e-6):
        raise ConfigError(
            f"the dataset has {files.fps:g} frames per second", where=f"foreign.fps={fps:g}",
            fix="pictures that were never taken cannot be made: ask for as many or fewer",
        )  # fmt: skip
    share = np.zeros(len(rows))
    if wanted < files.fps * (1 - 1e-6):
        picked, number, share = _resampled(number, episode[rows], files.fps / wanted)
        rows = rows[picked]
    _require_frames(rows, episode)
    return Timeline(rows, share, episode[rows], _steps(number, episode[rows]), wanted, missing, repeated)


def _frames_ahead(files: LeRobotFiles, episode: np.ndarray) -> np.ndarray:
    """How many frame times the next row is away (N,), by index or by time, whichever says more; 0: it is the same."""
    index = np.diff(files.column("frame_index").astype(np.int64), append=0)
    if "timestamp" in files.features:
        seconds = np.diff(files.column("timestamp").astype(np.float64).ravel(), append=0.0)
        inside = ~last_rows(episode)
        if (seconds[inside] < -REPEATED_S).any():
            row = int(np.flatnonzero(inside & (seconds < -REPEATED_S))[0]) + 1
            raise UserError(
                "the time runs backwards inside an episode", where=f"timestamp of row {row} in {files.path}"
            )
        by_time = np.maximum(_ahead_by_time(seconds * files.fps, inside, episode), 1)
        index = np.where(seconds < REPEATED_S, 0, np.maximum(index, np.where(index > 0, by_time, 0)))
    index[last_rows(episode)] = 1
    return index


def _ahead_by_time(ahead: np.ndarray, inside: np.ndarray, episode: np.ndarray) -> np.ndarray:
    """How many frame times the next row is away (N,) int, from the exact number of them.

    A camera's clock ticks evenly, a host's jitters: a row that comes late is followed by one that comes early, and no
    frame is missing. So where times jitter, a gap is what remains between the medians of the rows before and after.

    Args:
        inside: (N,) bool, rows that are not the last of an episode.
    """
    found = np.rint(ahead).astype(np.int64)
    if not inside.any() or np.median(np.abs(ahead - found)[inside]) <= JITTERS:
        return found
    starts = np.flatnonzero(np.r_[True, np.diff(episode) != 0])
    stops = np.r_[starts[1:], len(episode)]
    late = np.r_[0.0, np.cumsum(np.where(inside, ahead - 1, 0.0))[:-1]]  # in frames, against an even clock
    for row in np.flatnonzero(inside & (found > 1)):
        first, stop = starts[episode[row]], stops[episode[row]]
        before = late[max(first, row + 1 - BESIDE) : row + 1]
        after = late[row + 1 : min(stop, row + 1 + BESIDE)]
        found[row] = 1 + max(0, round(float(np.median(after) - np.median(before))))
    return found


def _numbers(ahead: np.ndarray, episode: np.ndarray) -> np.ndarray:
    """Each row's frame number (N,), counted from its episode's first."""
    number = np.r_[0, np.cumsum(ahead)[:-1]]
    starts = np.r_[0, np.flatnonzero(last_rows(episode))[:-1] + 1]
    return number - number[starts][episode]


def _steps(number: np.ndarray, episode: np.ndarray) -> np.ndarray:
    """How far the next frame of the episode is (M,); 1 in an episode's last row."""
    steps = np.diff(number, append=0)
    steps[last_rows(episode)] = 1
    return steps


def _resampled(number: np.ndarray, episode: np.ndarray, ratio: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows nearest to every ``ratio``-th frame time, the number of that time, and the way to it (see `Timeline`)."""
    tick = np.rint(number / ratio).astype(np.int64)
    off = tick * ratio - number  # in rows: how much later than the row the tick is
    order = np.lexsort((np.abs(off), tick, episode))
    first = np.r_[True, (np.diff(tick[order]) != 0) | (np.diff(episode[order]) != 0)]
    picked = np.sort(order[first])
    beyond = last_rows(episode) & (off > 1e-6)  # after the episode's last row there is nothing to interpolate with
    picked = picked[(np.abs(off[picked]) <= 0.5 + 1e-9) & ~beyond[picked]]
    share = np.where(np.abs(off[picked]) < 1e-6, 0.0, off[picked])
    other = np.clip(picked + np.sign(share).astype(int), 0, len(number) - 1)
    beside = (episode[other] == episode[picked]) & (np.abs(number[other] - number[picked]) <= 1)
    return picked, tick[picked], np.where(beside, share, 0.0)


def _require_frames(rows: np.ndarray, episode: np.ndarray) -> None:
    lengths = np.bincount(episode[rows], minlength=int(episode[-1]) + 1)
    if lengths.min() < 2:
        raise UserError(
            f"episode {int(lengths.argmin())} has {int(lengths.min())} frames, an action needs two",
            fix="drop it with `lerobot-edit-dataset`, or ask for more frames per second",
        )
