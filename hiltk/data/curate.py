"""Whole episodes of datasets: check, take out, put together; tables and metadata by `hiltk.data.lerobot_tools`."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from hiltk.artifacts.writing import write_spec
from hiltk.data.dataset import SESSIONS_FILE, OwnDataset, open_dataset
from hiltk.data.lerobot_files import read_stats
from hiltk.data.lerobot_io import ACTION, Columns
from hiltk.data.lerobot_tools import join, split_off
from hiltk.data.statistics import column_stats, floors, vector_stats
from hiltk.errors import ConfigError, UserError, nearest
from hiltk.reward_rule import is_success_reward
from hiltk.spec import STATE_KEY, Dimension, Spec, merge_parts, require_compatible

# Fields of the spec that `allow` may add to `MERGED_MAY_DIFFER`. Everything else decides what a number means.
CAN_BE_ALLOWED = (
    *("task", "action.semantics", "reward", "robot.locked", "robot.calibration_id", "robot.calibration_hash"),
    *("robot.workspace_low_m", "robot.workspace_high_m", "robot.reset_ee_m", "robot.reset_noise_m"),
    "robot.reset_joints",
)
NAMES = " + "  # between the names of a merged dataset's robots
SHOWN = ("min", "max", "std")  # statistics that people compare
# Statistics that normalisers use as a range, lower and upper end.
RANGES = (("min", "max"), ("q01", "q99"), ("q10", "q90"))


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


def summarise(dataset: OwnDataset) -> Summary:
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
        positive_rewards=int(np.sum(is_success_reward(np.concatenate(played), rule))),
    )


def succeeded(dataset: OwnDataset) -> np.ndarray:
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


def unwanted(
    dataset: OwnDataset,
    *,
    episodes: Sequence[str],
    strata: Sequence[str],
    success: bool | None,
    longer_than: int | None,
    shorter_than: int | None,
) -> np.ndarray:
    """Which episodes are listed or meet any of the conditions, (E,) bool.

    Args:
        episodes: as for `parse_episodes`.
        success: those that ended so; None: either.
        longer_than, shorter_than: transitions; None: any length.

    Raises:
        ConfigError: an episode or a stratum does not exist.
    """
    lengths = dataset.lengths
    out = np.zeros(len(lengths), bool)
    out[parse_episodes(episodes, len(lengths))] = True
    if success is not None:
        out |= succeeded(dataset) == success
    if longer_than is not None:
        out |= lengths > longer_than
    if shorter_than is not None:
        out |= lengths < shorter_than
    return out | _of_strata(dataset, strata)


def _of_strata(dataset: OwnDataset, strata: Sequence[str]) -> np.ndarray:
    found = np.array([str(dataset.columns.stratum[start]) for start, _ in dataset.bounds])
    known = sorted(set(found.tolist()))
    for name in strata:
        if name not in known:
            hint = nearest(name, known) or f"there are: {', '.join(known)}"
            raise ConfigError(f"no episode is of stratum '{name}'", where=f"strata={list(strata)}", fix=hint)
    return np.isin(found, list(strata))


def sessions_to_split(dataset: OwnDataset, named: Sequence[str]) -> list[str]:
    """The sessions of a dataset, of which some can be held out.

    Raises:
        ConfigError: one that is named is not there.
        UserError: there is only one.
    """
    known = list(dict.fromkeys(dataset.sessions()))
    for session in named:
        if session not in known:
            raise ConfigError(
                f"there is no session '{session}'",
                where=f"sessions={list(named)}; {dataset.name} has {', '.join(known)}",
                fix=nearest(session, known),
            )
    if len(known) < 2:
        raise UserError(
            "all episodes are of one session",
            where=f"{dataset.name}: {known[0]}",
            fix="merge the sessions' datasets with `hiltk merge`, which notes them, or by=episode",
        )
    return known


def select_episodes(dataset: OwnDataset, episodes: Sequence[int], target: Path, *, reencode: bool = False) -> Spec:
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
    split_off(dataset.files, dataset.spec.robot.kind, kept, target, copy_videos=not reencode, name=dataset.name)
    sessions = dataset.sessions()
    if len(set(sessions)) > 1 or (dataset.path / SESSIONS_FILE).is_file():
        _write_sessions(target, [sessions[e] for e in kept])
    rows = np.concatenate([np.arange(*dataset.files.bounds[e]) for e in kept])
    return _finish(target, dataset.spec, [(dataset, rows)])


# ---------------------------------------------------------------- putting together


def merge(datasets: Sequence[OwnDataset], target: Path, *, allow: Sequence[str] = ()) -> Spec:
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
    join([(d.files, d.spec.robot.kind) for d in datasets], target, names=", ".join(d.name for d in datasets))
    _write_sessions(target, [session for d in datasets for session in d.sessions()])
    names = dict.fromkeys(name for d in datasets for name in d.spec.robot.name.split(NAMES))
    spec = replace(first.spec, robot=replace(first.spec.robot, name=NAMES.join(names)))
    return _finish(target, spec, [(d, np.arange(d.files.bounds[-1][1])) for d in datasets])


def require_mergeable(first: OwnDataset, other: OwnDataset, allow: Sequence[str] = ()) -> None:
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


def _write_sessions(target: Path, sessions: list[str]) -> None:
    (target / SESSIONS_FILE).write_text(json.dumps(sessions, indent=1) + "\n")


def _finish(target: Path, spec: Spec, parts: Sequence[tuple[OwnDataset, np.ndarray]]) -> Spec:
    """Spec, statistics and a look at the result: the rows must be those of ``parts``, in order.

    Raises:
        UserError: they are not.
    """
    spec = Spec.from_dict(spec.to_dict())
    write_spec(spec, "datasets", target)
    made = open_dataset(target)
    for name, values in _comparable(made.columns).items():
        expected = np.concatenate([_comparable(d.columns)[name][rows] for d, rows in parts])
        if not np.array_equal(values, expected):
            raise UserError(
                f"LeRobot's tools changed '{name}'", where=made.name, fix="nothing was written; please report this"
            )
    write_sane_stats(target, spec, made.columns)
    write_spec(spec, "datasets", target)
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


def changed_stats(before: dict[str, Any], after: dict[str, Any], spec: Spec) -> list[tuple[str, str, dict[str, float]]]:
    """``(dimension, statistic, {before, after})`` of every one that changed; nan where there was none."""
    found = []
    for key, names in ((STATE_KEY, spec.state.names), (ACTION, spec.action.names)):
        for stat in SHOWN:
            new = np.array(after[key][stat], np.float64)
            old = np.array(before.get(key, {}).get(stat, np.full(len(new), np.nan)), np.float64)
            for i, name in enumerate(names):
                if not np.isclose(old[i], new[i], rtol=1e-4, atol=1e-9):
                    found.append((name, stat, {"before": float(old[i]), "after": float(new[i])}))
    return found
