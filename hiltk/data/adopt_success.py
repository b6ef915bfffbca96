"""Evidence of which column says that an episode succeeded: its values decide, not its name."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hiltk.config.commands import NONE
from hiltk.data.adopt_questions import DOUBT, LIKELY, OPEN, OPTIONAL, SURE, Guess
from hiltk.data.columns import require_column
from hiltk.data.lerobot_files import LeRobotFiles

COLUMNS = {"next.success": SURE, "success": SURE, "next.reward": LIKELY}
ONE_VALUE = 0.9  # of the largest: smaller values above 0 are grades of it (1 less a penalty of 0.02 is none)
AT_ONCE = 0.2  # of the episodes with a success show it from their first or second row on: not once a task is done
MOST_ROWS = 0.5


def guess_success(files: LeRobotFiles, stated: str = "") -> Guess:
    """The column of success labels, or what is wrong with those that are called so.

    Args:
        stated: the column that a person says it is; its values are looked at all the same.

    Raises:
        UserError: there is no such column.
    """
    key, doubts = "foreign.success_column", []
    if stated and stated != NONE:
        require_column(files, stated)
        if doubt := no_success(_first(files, stated), files.bounds):
            return Guess(key, NONE, f"{stated} {doubt}", DOUBT)
        return Guess(key, stated, f"above 0 in {int((_first(files, stated) > 0).sum())} rows", LIKELY)
    for name, confidence in COLUMNS.items():
        if name not in files.features:
            continue
        values = _first(files, name)
        if doubt := no_success(values, files.bounds):
            doubts.append(f"{name} {doubt}")
        elif positive := int((values > 0).sum()):
            return Guess(key, name, f"{name} is above 0 in {positive} of {len(values)} rows", confidence)
    if doubts:
        return Guess(key, NONE, "; ".join(doubts), OPEN)
    evidence = "no row is labelled as success: fine for behaviour cloning; else foreign.success_last_frames=N"
    return Guess(key, "", evidence, OPTIONAL)


def _first(files: LeRobotFiles, column: str) -> np.ndarray:
    values = np.asarray(files.column(column), dtype=np.float64)
    return values.reshape(len(values), -1)[:, 0]


def no_success(values: np.ndarray, bounds: Sequence[tuple[int, int]]) -> str:
    """Why values (N,) above 0 are no success that shows once a task is done; empty where they may be.

    Args:
        bounds: first and last row (exclusive) of each episode.
    """
    finite = values[np.isfinite(values)]
    above = finite[finite > 0]
    if not len(above):
        return _cost(finite)
    if above.min() < ONE_VALUE * above.max():
        share = len(above) / len(values)
        return f"is graded: from {finite.min():.3g} to {finite.max():.3g}, above 0 in {share:.0%} of rows"
    shown = [(a, b) for a, b in bounds if (values[a:b] > 0).any()]
    throughout = [e for e, (a, b) in enumerate(bounds) if (values[a:b] > 0).all()]
    if len(throughout) == len(shown):
        listed = ",".join(map(str, throughout[:20])) + (",..." if len(throughout) > 20 else "")
        return (
            f"is above 0 in every row of {len(throughout)} of {len(bounds)} episodes, which says which succeed and not "
            f"when: foreign.success_last_frames=N foreign.successful_episodes=[{listed}]"
        )
    at_once = sum(bool((values[a : min(a + 2, b - 1)] > 0).any()) for a, b in shown)
    if at_once > AT_ONCE * len(shown):
        return (
            f"is above 0 from the first row on in {at_once} of {len(shown)} episodes: paid on the way, not for success"
        )
    return ""


def _cost(values: np.ndarray) -> str:
    """Of values that are never above 0: a price for every step until success, as rewards of -1 and 0 are."""
    below = values < 0
    if below.mean() <= MOST_ROWS:
        return ""
    return (
        f"is never above 0, and below it in {below.mean():.0%} of rows: a cost of each step; where success shows, "
        "foreign.success_last_frames=N says"
    )
