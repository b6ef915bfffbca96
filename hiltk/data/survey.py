"""What is in a dataset: numbers per episode, per dimension and per camera, from its columns and few of its frames."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from hiltk.data.consistency import require_consistent
from hiltk.data.curate import succeeded
from hiltk.data.dataset import Dataset, open_dataset
from hiltk.data.episode import Source
from hiltk.data.lerobot_files import NO_COLOURS, LeRobotFiles
from hiltk.data.lerobot_io import ACTION, SPEC_FILE
from hiltk.data.statistics import STD_FLOOR, floors
from hiltk.errors import UserError, listed
from hiltk.spec import STATE_KEY, Dimension

STATE_COLUMNS = ("name", "unit", "min", "p1", "median", "p99", "max", "low", "high", "outside", "still")
ACTION_COLUMNS = ("name", "min", "mean", "max", "std", "zero", "at_limit")
_AT_ONCE = 16  # frames held in memory while sampling
STATES, ACTIONS = (STATE_KEY, "state"), (ACTION, "actions")  # LeRobot's names, and those of other tools
MOST_TASKS = 3  # sentences that are shown
AT_LIMIT = 0.99  # an action this close to the end of its range is at its limit
ZERO = 1e-6


@dataclass(frozen=True)
class Contents:
    """The columns of a dataset of hiltk's or of anybody's; what the latter lack is empty.

    Attributes:
        state, action: (N, D), (N, A) float32.
        state_dims, action_dims: their dimensions; without a spec only names, and without a range.
        acts: (N,) bool, rows with an action that counts (an episode's last row holds only an observation).
        success: (N,) bool, or None where nothing says so.
        ended_in_success: (E,) bool.
        intervention: (N,) bool.
        stratum, session: per episode; empty where unknown.
        cameras: whose pictures can be shown.
        notes: what hiltk cannot use, and why, in sentences.
    """

    dataset: Dataset
    task: str
    state: np.ndarray
    action: np.ndarray
    state_dims: list[Dimension]
    action_dims: list[Dimension]
    acts: np.ndarray
    success: np.ndarray | None
    ended_in_success: np.ndarray
    intervention: np.ndarray
    stratum: list[str]
    session: list[str]
    cameras: list[str]
    notes: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.dataset.name

    @property
    def files(self) -> LeRobotFiles:
        return self.dataset.files

    @property
    def bounds(self) -> list[tuple[int, int]]:
        return self.dataset.bounds

    @property
    def episode(self) -> np.ndarray:
        """The number of the episode of every row, (N,)."""
        return self.dataset.episode


@dataclass(frozen=True)
class Rules:
    """When a step counts as idle and a gripper as turned; see `hiltk.config.InspectConf`."""

    idle_below: float = 0.005
    gripper_turn: float = 5.0


# ---------------------------------------------------------------- reading


def read_contents(path: Path, name: str) -> Contents:
    """Every column but the cameras.

    Raises:
        UserError: it is no dataset, is damaged, its metadata disagree with the data, or a number is not finite.
    """
    return _own(path, name) if (path / SPEC_FILE).is_file() else _foreign(path, name)


def _own(path: Path, name: str) -> Contents:
    dataset = open_dataset(path, name)
    columns, flags = dataset.columns, {k: v.reshape(-1) for k, v in dataset.columns.flags.items()}
    by_human = columns.source.reshape(-1) == Source.human
    return Contents(
        dataset=dataset,
        task=dataset.spec.task,
        state=columns.state,
        action=columns.action,
        state_dims=dataset.spec.state.dims,
        action_dims=dataset.spec.action.dims,
        acts=flags["action_valid"] & _has_next(dataset.files.bounds),
        success=flags["success"],
        ended_in_success=succeeded(dataset),
        intervention=(flags["is_intervention"] | by_human) & _has_next(dataset.files.bounds),
        stratum=[str(columns.stratum[start]) for start, _ in dataset.files.bounds],
        session=dataset.sessions(),
        cameras=dataset.files.cameras,
    )


def _foreign(path: Path, name: str) -> Contents:
    """Whatever LeRobot's reader opens; what hiltk cannot use is named and left out."""
    dataset = Dataset(path, name, gaps=True)
    files = dataset.files
    clocks = files.set_clocks()
    cameras, notes = _shown_cameras(files)
    notes += [f"{text}." for text in clocks]
    try:
        require_consistent(files, cameras=cameras)
    except UserError as error:
        notes.append(f"Steps refuse it: {error.what} ({error.where}).")
    rows, episodes = files.bounds[-1][1], len(files.bounds)
    state, state_dims = _vector(files, STATES, rows, notes)
    action, action_dims = _vector(files, ACTIONS, rows, notes)
    return Contents(
        dataset=dataset,
        task=listed(sorted(set(files.episode_tasks())), MOST_TASKS),
        state=state,
        action=action,
        state_dims=state_dims,
        action_dims=action_dims,
        acts=_has_next(files.bounds),
        success=None,
        ended_in_success=np.zeros(episodes, bool),
        intervention=np.zeros(rows, bool),
        stratum=[""] * episodes,
        session=[""] * episodes,
        cameras=cameras,
        notes=notes,
    )


def _shown_cameras(files: LeRobotFiles) -> tuple[list[str], list[str]]:
    """The cameras whose first and last picture can be read, and what is to be said of the others."""
    cameras = []
    notes = [f"{key} is {NO_COLOURS}: hiltk leaves it out." for key in files.depth_cameras]
    for key in files.cameras:
        try:
            notes += [f"{text}." for text in files.correct_sizes([key])]
            files.frames_at(key, np.array([0, files.bounds[-1][1] - 1]))
            cameras.append(key)
        except UserError as error:
            notes.append(f"{key} cannot be read: {error.what}.")
    return cameras, notes


def _vector(
    files: LeRobotFiles, names: tuple[str, ...], rows: int, notes: list[str]
) -> tuple[np.ndarray, list[Dimension]]:
    """The first of some columns that is there, (N, D) float32, and its dimensions; without any where none is."""
    key = next((name for name in names if name in files.features), "")
    if not key:
        notes.append(f"It has no column {names[0]}; its columns: {', '.join(files.features)}.")
        return np.zeros((rows, 0), np.float32), []
    if key != names[0]:
        notes.append(f"Its column '{key}' is shown as {names[0]}.")
    values: np.ndarray = files.column(key).astype(np.float32).reshape(rows, -1)
    if (lost := ~np.isfinite(values)).any():
        notes.append(f"'{key}' is not finite in {lost.any(1).sum()} of {rows} rows; they are shown as 0.")
        values = np.where(lost, 0, values)
    return values, _named(files, key, values.shape[1])


def _named(files: LeRobotFiles, key: str, size: int) -> list[Dimension]:
    names = files.names(key)
    return [Dimension(names[i] if i < len(names) else f"{key.split('.')[-1]} {i}") for i in range(size)]


def _has_next(bounds: list[tuple[int, int]]) -> np.ndarray:
    rows = np.ones(bounds[-1][1], bool)
    rows[[stop - 1 for _, stop in bounds]] = False
    return rows


# ---------------------------------------------------------------- episodes


def episode_table(contents: Contents, rules: Rules) -> pd.DataFrame:
    """One row per episode: length, success, idle time, gripper, takeovers, actions."""
    idle, turns = idle_steps(contents, rules.idle_below), gripper_turns(contents, rules.gripper_turn)
    zero = (np.abs(contents.action) < ZERO).all(1) & bool(contents.action_dims)
    rows = []
    for episode, (start, stop) in enumerate(contents.bounds):
        steps = slice(start, stop - 1)
        acts = contents.acts[steps]
        rows.append(
            {
                "episode": episode,
                "frames": stop - start,
                "seconds": round((stop - start) / contents.files.fps, 3),
                **_success_columns(contents, episode),
                "idle": _share(idle[steps]),
                "idle_at_start": _share(np.logical_and.accumulate(idle[steps])),
                "idle_at_end": _share(np.logical_and.accumulate(idle[steps][::-1])),
                "gripper_opens": int((turns[start:stop] > 0).sum()),
                "gripper_closes": int((turns[start:stop] < 0).sum()),
                "intervention": _share(contents.intervention[steps]),
                "zero_actions": _share(zero[steps][acts]),
                "stratum": contents.stratum[episode],
                "session": contents.session[episode],
            }
        )
    return pd.DataFrame(rows)


def _share(values: np.ndarray) -> float:
    return round(float(values.mean()), 4) if len(values) else 0.0


def _success_columns(contents: Contents, episode: int) -> dict[str, object]:
    """Whether it ended in success, how many frames show it and the first that does; empty where unknown."""
    if contents.success is None:
        return {"ended_in_success": "", "success_frames": "", "first_success_frame": ""}
    shown = contents.success[slice(*contents.bounds[episode])]
    first = int(shown.argmax()) if shown.any() else ""
    ended = bool(contents.ended_in_success[episode])
    return {"ended_in_success": ended, "success_frames": int(shown.sum()), "first_success_frame": first}


def idle_steps(contents: Contents, idle_below: float) -> np.ndarray:
    """Rows after which no joint moves, (N,) bool; False in an episode's last row.

    A joint moves when it changes by more than ``idle_below`` of the range (1st to 99th percentile) it has in this
    dataset. One that hardly moves at all says nothing. Joints are the dimensions called ``*.pos``, or else all.
    """
    if not contents.state_dims:
        return np.zeros(len(contents.state), bool)
    joints = contents.state[:, _positions(contents.state_dims)]
    dims = [contents.state_dims[i] for i in _positions(contents.state_dims)]
    low, high = np.percentile(joints, [1, 99], axis=0)
    telling = (high - low) > floors(joints, dims) if any(d.high > d.low for d in dims) else high > low
    change = np.abs(np.diff(joints[:, telling], axis=0, append=joints[-1:, telling]))
    return (change <= idle_below * (high - low)[telling]).all(1) & _has_next(contents.bounds)


def _positions(dims: list[Dimension]) -> list[int]:
    joints = [i for i, d in enumerate(dims) if d.name.endswith(".pos")]
    return joints or [i for i, d in enumerate(dims) if not d.unit.endswith("/s")] or list(range(len(dims)))


def gripper_turns(contents: Contents, turn: float) -> np.ndarray:
    """Where the gripper is seen to open (+1) or close (-1), (N,) int8; all 0 without a gripper in the state.

    An event is a move of more than ``turn`` percent from the last extreme, so that a hand that keeps closing counts
    once, however far it gets before it meets the object.
    """
    events = np.zeros(len(contents.state), np.int8)
    found = [i for i, d in enumerate(contents.state_dims) if "gripper" in d.name and not d.name.endswith(".vel")]
    if not found:
        return events
    values = contents.state[:, found[0]].astype(np.float64)
    full = 100.0 if contents.state_dims[found[0]].unit == "percent" else float(values.max() - values.min())
    if full > 0:
        for start, stop in contents.bounds:
            events[start:stop] = turning_points(values[start:stop], turn / 100 * full)
    return events


def turning_points(values: np.ndarray, least: float) -> np.ndarray:
    """+1 where a rise, and -1 where a fall, of more than ``least`` from the last extreme is complete; (T,) int8."""
    events = np.zeros(len(values), np.int8)
    lowest = highest = values[0]
    direction = 0
    for t, value in enumerate(values.tolist()):
        lowest, highest = min(lowest, value), max(highest, value)
        if direction != 1 and value - lowest > least:
            events[t] = direction = 1
            highest = value
        elif direction != -1 and highest - value > least:
            events[t] = direction = -1
            lowest = value
    return events


# ---------------------------------------------------------------- dimensions


def state_table(contents: Contents) -> pd.DataFrame:
    """One row per state dimension: extremes, percentiles, the spec's range and the share of rows well outside it."""
    quantiles = np.quantile(contents.state, [0, 0.01, 0.5, 0.99, 1], axis=0)
    rows = []
    for i, d in enumerate(contents.state_dims):
        known = d.high > d.low
        slack = STD_FLOOR * (d.high - d.low) if known else 0.0  # servos overshoot, and rounding does
        outside = (contents.state[:, i] < d.low - slack) | (contents.state[:, i] > d.high + slack)
        rows.append(
            {"name": d.name, "unit": d.unit}
            | dict(zip(("min", "p1", "median", "p99", "max"), quantiles[:, i].tolist(), strict=True))
            | {"low": d.low if known else np.nan, "high": d.high if known else np.nan}
            | {"outside": float(outside.mean()) if known else 0.0, "still": False}
        )
    table = pd.DataFrame(rows, columns=list(STATE_COLUMNS))
    table["still"] = (table["max"] - table["min"]) < floors(contents.state, contents.state_dims)
    return table


def action_table(contents: Contents) -> pd.DataFrame:
    """One row per action dimension, over the actions that count: mean, spread, and shares at zero and at the limits."""
    actions = contents.action[contents.acts]
    rows = []
    for i, d in enumerate(contents.action_dims):
        values = actions[:, i] if len(actions) else np.zeros(1, np.float32)
        reach = max(abs(d.low), abs(d.high)) if d.high > d.low else 0.0
        at_limit = float((np.abs(values) >= AT_LIMIT * reach).mean()) if reach else 0.0
        rows.append(
            {
                "name": d.name,
                "min": float(values.min()),
                "mean": float(values.mean()),
                "max": float(values.max()),
                "std": float(values.std()),
                "zero": float((np.abs(values) < ZERO).mean()),
                "at_limit": at_limit,
            }
        )
    return pd.DataFrame(rows, columns=list(ACTION_COLUMNS))


# ---------------------------------------------------------------- frames


def sampled_frames(files: LeRobotFiles, camera: str, rows: np.ndarray) -> Iterator[np.ndarray]:
    """The frames of one camera in ascending ``rows``, (H, W, 3) uint8, few of them in memory at a time.

    Raises:
        UserError: a file is missing or damaged.
    """
    for first in range(0, len(rows), _AT_ONCE):
        yield from files.frames_at(camera, rows[first : first + _AT_ONCE])


def evenly(count: int, most: int) -> np.ndarray:
    """At most ``most`` of the numbers below ``count``, evenly spaced, both ends included."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(int))


def brightness(files: LeRobotFiles, camera: str, rows: np.ndarray) -> np.ndarray:
    """Mean brightness of some frames, 0 (black) to 1 (white), (R,)."""
    return np.array([frame.mean() / 255 for frame in sampled_frames(files, camera, rows)])
