"""Whole episodes of datasets: check, take out, put together. Tables and metadata are LeRobot's `dataset_tools`.

Three things LeRobot 0.6 does otherwise. It re-encodes a video file of which it keeps only some episodes (a second lossy
generation, and minutes of work); here the file is copied, and frames that nothing refers to stay in it. It
reads the metadata of all episodes anew for every episode; here once. And it aggregates statistics that may have no
spread at all; here they are computed anew, with floors.
"""

from __future__ import annotations

import functools
import json
import logging
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from hiltk.data.lerobot_files import RECORD_AGAIN, LeRobotFiles, damaged, read_stats
from hiltk.data.lerobot_io import ACTION, SPEC_FILE, Columns, read_columns, require_whole
from hiltk.data.rewrite import column_stats
from hiltk.data.statistics import floors, vector_stats
from hiltk.errors import ConfigError, HiltkError, UserError
from hiltk.reward_rule import pays_success
from hiltk.spec import STATE_KEY, Dimension, Spec, merge_parts, require_compatible

SESSIONS_FILE = Path("meta") / "hiltk_sessions.json"  # per episode, the dataset it was recorded in
# Fields of the spec that `allow` may add to `MERGED_MAY_DIFFER`. Everything else decides what a number means.
CAN_BE_ALLOWED = (
    *("task", "action.semantics", "reward", "robot.locked", "robot.calibration_id", "robot.calibration_hash"),
    *("robot.workspace_low_m", "robot.workspace_high_m", "robot.reset_ee_m", "robot.reset_noise_m"),
    "robot.reset_joints",
)
NAMES = " + "  # between the names of a merged dataset's robots
# Statistics that normalisers use as a range, lower and upper end.
RANGES = (("min", "max"), ("q01", "q99"), ("q10", "q90"))


@dataclass(frozen=True)
class Dataset:
    """A dataset on disk that was found to be whole.

    Attributes:
        name: how to call it in messages.
        files: its tables and cameras.
        spec: what its numbers mean.
        columns: every column but the cameras.
    """

    name: str
    files: LeRobotFiles
    spec: Spec
    columns: Columns

    @property
    def path(self) -> Path:
        return self.files.path

    @property
    def lengths(self) -> np.ndarray:
        """Transitions per episode, (E,): one fewer than it has rows."""
        return np.array([stop - start - 1 for start, stop in self.files.bounds])

    def sessions(self) -> list[str]:
        """Per episode the dataset it was recorded in, as far as a merge noted it; else this one's name."""
        return sessions_of(self.path, self.name, len(self.files.bounds))


def sessions_of(path: Path, name: str, episodes: int) -> list[str]:
    """Per episode the dataset it was recorded in, as far as a merge noted it; else ``name``, the dataset's own.

    Raises:
        UserError: the note is damaged, or of another number of episodes.
    """
    file = path / SESSIONS_FILE
    if not file.is_file():
        return [name] * episodes
    with damaged(file):
        found = [str(s) for s in json.loads(file.read_text())]
    if len(found) != episodes:
        raise UserError(f"{len(found)} sessions for {episodes} episodes", where=str(file))
    return found


@dataclass(frozen=True)
class Summary:
    """What a dataset holds, in the numbers that curation changes."""

    episodes: int
    frames: int
    successes: int
    success_frames: int
    shortest: int
    longest: int
    positive_rewards: int

    def to_dict(self) -> dict[str, int]:
        return asdict(self)


# ---------------------------------------------------------------- checking


def open_dataset(path: Path, name: str = "", *, finite: bool = True) -> Dataset:
    """Read every column of a dataset of hiltk's, after comparing the data, the metadata and the video files.

    Raises:
        UserError: it is no dataset, is damaged, lacks an episode, its metadata disagree, or a number is not finite.
    """
    files = LeRobotFiles(path)
    spec = require_whole(files)
    return Dataset(name or str(path), files, spec, read_columns(files, spec, finite=finite))


def summarise(dataset: Dataset) -> Summary:
    """Numbers about a dataset, for before and after."""
    bounds, flags = dataset.files.bounds, dataset.columns.flags
    lengths, rule = dataset.lengths, dataset.spec.reward
    played = [dataset.columns.episode(start, stop, {}, after_end=False).rewards for start, stop in bounds]
    return Summary(
        episodes=len(bounds),
        frames=bounds[-1][1],
        successes=int(succeeded(dataset).sum()),
        success_frames=int(flags["success"].sum()),
        shortest=int(lengths.min()),
        longest=int(lengths.max()),
        positive_rewards=int(np.sum(pays_success(np.concatenate(played), rule))),
    )


def succeeded(dataset: Dataset) -> np.ndarray:
    """Whether each episode ended in success, (E,) bool: it terminated, and success shows where it did."""
    done, success = (dataset.columns.flags[flag].reshape(-1) for flag in ("next.done", "success"))
    found = []
    for start, stop in dataset.files.bounds:
        ends = done[start : stop - 1]  # the last row holds an observation, not a transition
        found.append(bool(ends.any() and success[start + int(ends.argmax()) + 1]))
    return np.array(found, bool)


# ---------------------------------------------------------------- taking out


def parse_episodes(words: Sequence[str], count: int) -> list[int]:
    """Episode numbers (from 0) of ``["3", "7-9"]``; ranges include both ends.

    Raises:
        ConfigError: a word is no number or range, or an episode does not exist.
    """
    found: set[int] = set()
    for word in words:
        match = re.fullmatch(r"(\d+)(?:-(\d+))?", str(word).strip())
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, -1)
        if not match or first > last:
            raise ConfigError(f"'{word}' is no episode and no range", where="episodes=", fix="episodes=[3,7-9]")
        if last >= count:
            raise ConfigError(f"there is no episode {last}", where=f"episodes=; there are 0 to {count - 1}")
        found |= set(range(first, last + 1))
    return sorted(found)


def select_episodes(dataset: Dataset, episodes: Sequence[int], target: Path, *, reencode: bool = False) -> Spec:
    """Write a dataset of these episodes, in their order, into the folder ``target``; returns its spec.

    Args:
        reencode: cut the video files down to what is kept (smaller, but another lossy generation); otherwise they are
            copied as they are.

    Raises:
        UserError: no episode is left, or the result is not what was asked for.
    """
    kept = sorted(set(episodes))
    if not kept:
        raise UserError("no episode is left", where=dataset.name, fix="keep at least one")
    with _lerobots_tools(dataset.name), _own_parts(copy_videos=not reencode):
        from lerobot.datasets.dataset_tools import split_dataset

        split_dataset(_open_with_lerobot(dataset), {".selected": kept}, output_dir=target)
    _move_up(target / ".selected", target)
    sessions = dataset.sessions()
    if len(set(sessions)) > 1 or (dataset.path / SESSIONS_FILE).is_file():
        _write_sessions(target, [sessions[e] for e in kept])
    rows = np.concatenate([np.arange(*dataset.files.bounds[e]) for e in kept])
    return _finish(target, dataset.spec, [(dataset, rows)])


@contextmanager
def _own_parts(*, copy_videos: bool) -> Iterator[None]:
    """Our functions in the places of two of LeRobot's; a version built otherwise goes its own way."""
    from lerobot.datasets import dataset_tools

    ours: dict[str, Callable[..., Any]] = {"_load_episode_with_stats": _episode_reader()}
    ours |= {"_copy_and_reindex_videos": _copy_videos} if copy_videos else {}
    theirs = {name: getattr(dataset_tools, name) for name in ours if hasattr(dataset_tools, name)}
    try:
        for name in theirs:
            setattr(dataset_tools, name, ours[name])
        yield
    finally:
        for name, function in theirs.items():
            setattr(dataset_tools, name, function)


def _episode_reader() -> Callable[[Any, int], dict[str, Any]]:
    """Looks up episodes' rows of metadata; LeRobot reads the whole file for each, the square of their number in all."""
    import pandas as pd
    from lerobot.datasets.utils import DEFAULT_EPISODES_PATH

    @functools.cache
    def table(file: Path) -> pd.DataFrame:
        return pd.read_parquet(file).set_index("episode_index", drop=False)

    def read(source: Any, episode: int) -> dict[str, Any]:
        row = source.meta.episodes[episode]
        place = {name: row[f"meta/episodes/{name}"] for name in ("chunk_index", "file_index")}
        found: dict[str, Any] = table(source.root / DEFAULT_EPISODES_PATH.format(**place)).loc[episode].to_dict()
        return found

    return read


def _copy_videos(source: Any, target: Any, mapping: dict[int, int]) -> dict[int, dict[str, Any]]:
    """Copy the files the kept episodes lie in; returns, by new number, where each episode's frames are in them."""
    places: dict[int, dict[str, Any]] = {new: {} for new in mapping.values()}
    names = ("chunk_index", "file_index", "from_timestamp", "to_timestamp")
    for key in source.meta.video_keys:
        for old, new in mapping.items():
            row = source.meta.episodes[old]
            place = {name: row[f"videos/{key}/{name}"] for name in names}
            places[new] |= {f"videos/{key}/{name}": value for name, value in place.items()}
            file = source.meta.video_path.format(video_key=key, **{n: int(place[n]) for n in names[:2]})
            if not (target.root / file).exists():
                (target.root / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source.root / file, target.root / file)
    return places


# ---------------------------------------------------------------- putting together


def merge(datasets: Sequence[Dataset], target: Path, *, allow: Sequence[str] = ()) -> Spec:
    """Write the episodes of several datasets, one after the other, into the folder ``target``; returns the spec.

    Its robot has the names of all of theirs, which may differ in what is drawn with.

    Args:
        allow: fields of the spec, dotted, in which the datasets may differ; the first one's value is kept.

    Raises:
        UserError: two do not agree on what their numbers mean, or are stored differently.
    """
    first, *others = datasets
    for other in others:
        require_mergeable(first, other, allow)
    with _lerobots_tools(", ".join(d.name for d in datasets)):
        from lerobot.datasets.dataset_tools import merge_datasets

        merge_datasets([_open_with_lerobot(d) for d in datasets], "hiltk/dataset", output_dir=target / ".merged")
    _move_up(target / ".merged", target)
    _write_sessions(target, [session for d in datasets for session in d.sessions()])
    names = dict.fromkeys(name for d in datasets for name in d.spec.robot.name.split(NAMES))
    spec = replace(first.spec, robot=replace(first.spec.robot, name=NAMES.join(names)))
    return _finish(target, spec, [(d, np.arange(d.files.bounds[-1][1])) for d in datasets])


def require_mergeable(first: Dataset, other: Dataset, allow: Sequence[str] = ()) -> None:
    """Refuse to put two datasets into one where one spec cannot describe both.

    Raises:
        UserError: naming every field, column or camera in which they differ.
    """
    parts = merge_parts(first.spec, other.spec, allow)
    require_compatible(first.spec, other.spec, parts, left_name=first.name, right_name=other.name)
    for key in sorted(first.files.features.keys() | other.files.features.keys()):
        left, right = (d.files.features.get(key, {}).get("dtype", "absent") for d in (first, other))
        if left != right:
            raise UserError(
                f"the column '{key}' is stored differently: {left} against {right}",
                where=f"{first.name} and {other.name}",
                fix="record both with the same video= setting, or train on both without merging: datasets=[a,b]",
            )


# ---------------------------------------------------------------- what both need


def _open_with_lerobot(dataset: Dataset) -> Any:
    """LeRobot's own object, of a dataset that has all that LeRobot reads: what it lacks, LeRobot asks the Hub for.

    Raises:
        UserError: tasks or statistics are missing or damaged.
    """
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    if not dataset.files.tasks():
        raise UserError("meta/tasks.parquet is missing or empty", where=str(dataset.path), fix=RECORD_AGAIN)
    if not read_stats(dataset.path):
        raise UserError("meta/stats.json is missing", where=str(dataset.path), fix="`hiltk stats` makes it anew")
    opened = LeRobotDataset("hiltk/dataset", root=dataset.path, video_backend="pyav")
    opened.meta.info.robot_type = dataset.spec.robot.kind or None
    return opened


@contextmanager
def _lerobots_tools(where: str) -> Iterator[None]:
    """Without LeRobot's notes about decoders it does not need (its progress bars stay), and with its errors as ours.

    Raises:
        UserError: LeRobot cannot do it.
    """
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    except HiltkError:
        raise
    except Exception as error:  # whatever pyarrow, datasets, PyAV and LeRobot make of files they do not expect
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"LeRobot's dataset tools refuse: {reason}", where=where, fix=RECORD_AGAIN) from error
    finally:
        logging.disable(before)


def _move_up(made: Path, target: Path) -> None:
    for part in made.iterdir():
        part.rename(target / part.name)
    made.rmdir()


def _write_sessions(target: Path, sessions: list[str]) -> None:
    (target / SESSIONS_FILE).write_text(json.dumps(sessions, indent=1) + "\n")


def _finish(target: Path, spec: Spec, parts: Sequence[tuple[Dataset, np.ndarray]]) -> Spec:
    """Spec, statistics and a look at the result: the rows must be those of ``parts``, in order.

    Raises:
        UserError: they are not.
    """
    spec = Spec.from_dict(spec.to_dict())
    spec.save(target / SPEC_FILE)
    made = open_dataset(target)
    for name, values in _comparable(made.columns).items():
        expected = np.concatenate([_comparable(d.columns)[name][rows] for d, rows in parts])
        if not np.array_equal(values, expected):
            raise UserError(
                f"LeRobot's tools changed '{name}'", where=made.name, fix="nothing was written; please report this"
            )
    write_sane_stats(target, spec, made.columns)
    spec.save(target / SPEC_FILE)
    return spec


def _comparable(columns: Columns) -> dict[str, np.ndarray]:
    named = {"state": columns.state, "action": columns.action, "reward": columns.reward, "source": columns.source}
    return named | {"stratum": columns.stratum} | columns.flags


# ---------------------------------------------------------------- statistics


def write_sane_stats(path: Path, spec: Spec, columns: Columns) -> None:
    """Compute the statistics of state and action anew, in the spec given and in LeRobot's ``meta/stats.json``.

    No dimension is narrower than a part of its range (`hiltk.data.statistics.STD_FLOOR`), in either place.
    """
    spec.stats[STATE_KEY] = vector_stats(columns.state, spec.state.dims, f"{len(columns.state)} frames")
    stats: dict[str, Any] = read_stats(path)
    for key, values, dims in ((STATE_KEY, columns.state, spec.state.dims), (ACTION, columns.action, spec.action.dims)):
        stats[key] = sane_stats(values, dims)
    (path / "meta" / "stats.json").write_text(json.dumps(stats, indent=4))


def sane_stats(values: np.ndarray, dims: list[Dimension]) -> dict[str, list[float]]:
    """LeRobot's statistics of vectors (N, D); a range or deviation narrower than the floor is widened to it.

    LeRobot divides by ``max - min`` or ``std`` plus 1e-8, so that a dimension that stood still while recording would
    turn the smallest motion into values of millions.
    """
    stats: dict[str, Any] = {k: np.array(v) for k, v in column_stats(values).items()}
    least = floors(values, dims)
    stats["std"] = np.maximum(stats["std"], least)
    for low, high in RANGES:
        lacking = np.maximum(least - (stats[high] - stats[low]), 0.0) / 2
        stats[low], stats[high] = stats[low] - lacking, stats[high] + lacking
    return {k: v.tolist() for k, v in stats.items()}
