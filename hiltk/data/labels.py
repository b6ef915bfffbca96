"""Success labels: which frames show success, and what follows from that for reward and the end of an episode.

Frames and episodes count from 0, as everywhere in hiltk, and ranges include both ends: ``78`` to ``88`` are eleven
frames. (A label file that counted from 1 was once read as counting from 0, `reference/failures.md` E10.)
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import numpy as np
import pandas as pd

from hiltk.data.dataset import OwnDataset
from hiltk.errors import UserError, nearest
from hiltk.reward_rule import settle
from hiltk.spec import RewardSpec

Bounds = Sequence[tuple[int, int]]
FLAG = "success"


class Kind(Enum):
    """What a row of a label file says of its frames."""

    success = "success"  # they show success
    exclude = "exclude"  # they do not, although a success row covers them: a gap in which the object slipped
    failure = "failure"  # the episode shows no success anywhere; such a row names no frames


@dataclass(frozen=True)
class Mark:
    """Frames ``first`` to ``last`` of an episode, both included, both from 0."""

    episode: int
    first: int
    last: int
    kind: Kind = Kind.success


# ---------------------------------------------------------------- reading


def read_marks(file: Path, lengths: Sequence[int]) -> list[Mark]:
    """Marks of a CSV file with the columns ``episode, first, last, kind``.

    ``kind`` (`Kind`) may be absent or empty: success. An empty ``last`` means up to the episode's last frame; an empty
    ``first`` is allowed only for ``failure``.

    Args:
        lengths: frames of every episode of the dataset.

    Raises:
        UserError: naming the line that cannot be meant.
    """
    try:
        frame = pd.read_csv(file, dtype=str, keep_default_na=False, skipinitialspace=True, comment="#")
    except (OSError, ValueError) as error:
        raise UserError(f"the label file cannot be read: {error}", where=str(file)) from error
    frame.columns = [str(c).strip() for c in frame.columns]
    known = ("episode", "first", "last", "kind")
    for column in frame.columns:
        if column not in known:
            raise UserError(
                f"unknown column '{column}'",
                where=str(file),
                fix=nearest(column, known) or f"known: {', '.join(known)}",
            )
    for column in ("episode", "first"):
        if column not in frame:
            raise UserError(
                f"the column '{column}' is missing", where=str(file), fix=f"the first line: {','.join(known)}"
            )
    if frame.empty:
        raise UserError("the label file has no rows", where=str(file))
    rows = frame.reindex(columns=list(known), fill_value="").to_dict("records")
    marks = [_mark({str(k): str(v).strip() for k, v in row.items()}, lengths, f"{file}, row {n}")
             for n, row in enumerate(rows, 1)]  # fmt: skip
    for n, mark in enumerate(marks, 1):
        _require_range(mark, marks, f"{file}, row {n}")
    return marks


def _require_range(mark: Mark, marks: list[Mark], where: str) -> None:
    """Refuse an exclusion from nothing: rows replace an episode's labels, so that it alone would mean failure."""
    if mark.kind is Kind.exclude and not any(
        m.kind is Kind.success and m.episode == mark.episode and m.first <= mark.last and mark.first <= m.last
        for m in marks
    ):
        raise UserError(
            f"frames {mark.first} to {mark.last} of episode {mark.episode} are excluded, but no success row has them",
            where=where,
            fix="add the row of the success range they lie in; or kind=failure for the whole episode",
        )


def _mark(row: dict[str, str], lengths: Sequence[int], where: str) -> Mark:
    kind = _kind(row["kind"], where)
    episode = _number(row["episode"], "episode", where)
    if not 0 <= episode < len(lengths):
        raise UserError(
            f"there is no episode {episode}", where=where, fix=f"episodes are 0 to {len(lengths) - 1}: counted from 0"
        )
    end = lengths[episode] - 1
    if kind is Kind.failure:
        if row["first"] or row["last"]:
            raise UserError("a failure is a whole episode, without frames", where=where, fix="kind=exclude for frames")
        return Mark(episode, 0, end, kind)
    first = _number(row["first"], "first", where)
    last = _number(row["last"], "last", where) if row["last"] else end
    if not 0 <= first <= last <= end:
        raise UserError(
            f"frames {first} to {last} are no range of episode {episode}",
            where=where,
            fix=f"its frames are 0 to {end}, counted from 0; ranges include both ends",
        )
    return Mark(episode, first, last, kind)


def _kind(text: str, where: str) -> Kind:
    names = [k.value for k in Kind]
    if text and text not in names:
        raise UserError(
            f"unknown kind '{text}'", where=where, fix=nearest(text, names) or f"one of: {', '.join(names)}"
        )
    return Kind(text or Kind.success.value)


def _number(text: str, column: str, where: str) -> int:
    if not text.removeprefix("-").isdigit():
        raise UserError(f"'{text}' is not a whole number", where=f"{where}, column '{column}'")
    return int(text)


# ---------------------------------------------------------------- applying


def success_of(marks: Iterable[Mark], bounds: Bounds, before: np.ndarray, *, others: str) -> np.ndarray:
    """Whether success shows, per row (N,) bool.

    Args:
        marks: exclusions win over successes, wherever they stand.
        bounds: first row and row after the last of every episode.
        before: (N,) bool, the labels there were.
        others: what episodes without a mark are: ``keep`` (as they were) or ``failure``.
    """
    marks = list(marks)
    marked = {m.episode for m in marks}
    success = before.copy()
    for episode, (start, stop) in enumerate(bounds):
        if episode in marked or others == "failure":
            success[start:stop] = False
    for kind in (Kind.success, Kind.exclude):
        for m in (m for m in marks if m.kind is kind):
            start = bounds[m.episode][0]
            success[start + m.first : start + m.last + 1] = kind is Kind.success
    return success


def marks_of(success: np.ndarray) -> list[tuple[int, int]]:
    """The runs of success in one episode (T+1,), as first and last frame, both included."""
    edges = np.flatnonzero(np.diff(np.r_[False, success, False].astype(np.int8)))
    return [(int(a), int(b) - 1) for a, b in edges.reshape(-1, 2)]


def write_marks(file: Path, success: np.ndarray, bounds: Bounds) -> None:
    """Labels (N,) bool of a whole dataset, in the form `read_marks` reads."""
    with file.open("w", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(["episode", "first", "last", "kind"])
        for episode, (start, stop) in enumerate(bounds):
            marks = marks_of(success[start:stop])
            rows.writerows([[episode, first, last, Kind.success.value] for first, last in marks])
            if not marks:
                rows.writerow([episode, "", "", Kind.failure.value])


def relabelled(dataset: OwnDataset, success: np.ndarray, *, rewards: str) -> dict[str, np.ndarray]:
    """The columns that new labels change, by name, over all rows.

    Only episodes with a changed label change. In those, with ``rewards=rule``, success is rewarded once and the episode
    ends where the dataset's own reward rule says; without success it runs to its last frame and is cut off there.

    Args:
        success: (N,) bool, the new labels.
        rewards: ``rule``, or ``keep``: reward and end stay as they are.
    """
    flags = dataset.columns.flags
    columns = {
        "next.reward": dataset.columns.reward.reshape(-1).copy(),
        "next.done": flags["next.done"].reshape(-1).copy(),
        "next.truncated": flags["next.truncated"].reshape(-1).copy(),
    }
    if rewards == "rule":
        before = flags[FLAG].reshape(-1)
        for start, stop in dataset.files.bounds:
            if not np.array_equal(before[start:stop], success[start:stop]):
                _apply_rule(columns, success, start, stop, dataset.spec.reward)
    return {FLAG: success.astype(bool)} | columns


def _apply_rule(columns: dict[str, np.ndarray], success: np.ndarray, start: int, stop: int, rule: RewardSpec) -> None:
    """Reward and end of one episode, whose last row is no transition but only what it ended in."""
    if stop - start < 2:
        return
    reward, done, truncated = (columns[n][start:stop] for n in ("next.reward", "next.done", "next.truncated"))
    settled = settle(success[start:stop], rule, closed=not truncated.any())
    reward[:-1], reward[-1], done[:], truncated[:] = settled.rewards, 0.0, False, False
    last = settled.steps - 1  # the episode's last transition
    # Also the rows after it are done, so that no reader goes on into the next episode.
    done[last if settled.terminated else last + 1 :] = True
    truncated[last] = settled.truncated
