"""Episodes to and from LeRobotDataset v3: written through LeRobot's own API, read directly.

Columns beside LeRobot's own: ``observation.state``, ``observation.images.<camera>``, ``action``, ``next.reward``,
``next.done`` (terminated: no future), ``next.truncated``, ``success`` (of this row's observation),
``is_intervention``, ``source`` (`Source`), ``action_valid``, ``stratum``. An episode of T transitions has T+1 rows; the
last one holds the observation it ended in, with a zero action that is marked invalid, and ``next.done`` set, so that a
stock reader never continues into the next episode.

Rows after the first ``next.done`` show what came after the end (more frames of success for a reward classifier); they
are no part of the reinforcement-learning episode.
"""

from __future__ import annotations

import copy
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from hiltk.artifacts.store import spec_file
from hiltk.artifacts.writing import write_spec
from hiltk.data.consistency import require_consistent
from hiltk.data.episode import Episode, Source
from hiltk.data.lerobot_files import RECORD_AGAIN, LeRobotFiles, take
from hiltk.data.lerobot_tools import create_dataset
from hiltk.data.scheduling import scheduling_kept
from hiltk.data.statistics import vector_stats
from hiltk.errors import UserError
from hiltk.observation import fit_image
from hiltk.spec import STATE_KEY, ImageSpec, RewardSpec, Spec

SPEC_FILE = spec_file("datasets", Path())  # inside a dataset's folder
ACTION = "action"
FLAGS = ("next.done", "next.truncated", "success", "is_intervention", "action_valid")


def features(spec: Spec, *, video: bool) -> dict[str, dict[str, Any]]:
    """LeRobot's feature table for a spec, without the columns LeRobot adds by itself."""
    table: dict[str, dict[str, Any]] = {
        STATE_KEY: {"dtype": "float32", "shape": (len(spec.state.dims),), "names": spec.state.names},
        ACTION: {"dtype": "float32", "shape": (len(spec.action.dims),), "names": spec.action.names},
        "next.reward": {"dtype": "float32", "shape": (1,), "names": None},
        "source": {"dtype": "int64", "shape": (1,), "names": None},
        "stratum": {"dtype": "string", "shape": (1,), "names": None},
    }
    table |= {flag: {"dtype": "bool", "shape": (1,), "names": None} for flag in FLAGS}
    for image in spec.images:
        shape = (image.height, image.width, 3)
        table[image.key] = {
            "dtype": "video" if video else "image",
            "shape": shape,
            "names": ["height", "width", "channels"],
        }
    return table


# ---------------------------------------------------------------- writing


class DatasetWriter:
    """Writes episodes as a LeRobotDataset v3 with a spec beside LeRobot's metadata.

    The folder may exist already as long as it holds no dataset. Files get their final place in `close`; until then
    they lie in a subfolder, so that an interrupted run never looks like a dataset.

    Args:
        path: the dataset's folder.
        spec: what the episodes follow; `close` fills in the ``stats`` of the state in the writer's own copy.
        video: store cameras as video (small, lossy) instead of images (exact pixels).
    """

    def __init__(self, path: Path, spec: Spec, *, video: bool = False) -> None:
        self.path, self.spec = Path(path), copy.deepcopy(spec)
        if (self.path / "meta").exists():
            raise UserError("there is a dataset already; nothing is overwritten", where=str(self.path))
        self._partial = self.path / ".partial"
        shutil.rmtree(self._partial, ignore_errors=True)
        self.path.mkdir(parents=True, exist_ok=True)
        table = features(spec, video=video)
        self._dataset = create_dataset(self._partial, spec.fps, table, spec.robot.kind, video=video)
        self._states: list[np.ndarray] = []
        self._closed = False

    @property
    def episodes(self) -> int:
        """Episodes written so far."""
        return len(self._states)

    def add(self, episode: Episode, *, after: Episode | None = None, task: str = "") -> None:
        """Write one episode.

        Args:
            after: what was seen after its end: an episode that starts with the observation ``episode`` ends in.
            task: the sentence that describes it; empty: the spec's.

        Raises:
            UserError: an array does not fit the spec, or a number is not finite.
        """
        from lerobot.utils.utils import SuppressProgressBars

        check_episode(episode, self.spec, name=f"episode {self.episodes}")
        rows = episode_rows(episode, after)
        count = len(rows[ACTION])
        with SuppressProgressBars(), scheduling_kept():
            for t in range(count):
                self._dataset.add_frame({k: v[t] for k, v in rows.items()} | {"task": task or self.spec.task or "task"})
            self._dataset.save_episode(parallel_encoding=False)  # no forks: simulators and torch run threads
        self._states.append(rows[STATE_KEY])

    def abandon(self) -> None:
        """Remove what was written, if it was not finished; the writer is closed afterwards."""
        if self._closed:
            return
        self._closed = True
        shutil.rmtree(self._partial, ignore_errors=True)
        # LeRobot's own writer finishes its files at the latest when it is collected: not then, in the midst of others'.
        with suppress(Exception):
            self._dataset.finalize()
        shutil.rmtree(self._partial, ignore_errors=True)

    def close(self) -> None:
        """Finish the files and write the spec; may be called twice."""
        if self._closed:
            return
        self._dataset.clear_episode_buffer()
        self._dataset.finalize()
        if self._states:
            states = np.concatenate(self._states)
            self.spec.stats[STATE_KEY] = vector_stats(states, self.spec.state.dims, f"{len(states)} recorded frames")
        shutil.rmtree(self._partial / "images", ignore_errors=True)
        write_spec(self.spec, "datasets", self._partial)
        for part in self._partial.iterdir():
            part.rename(self.path / part.name)
        self._partial.rmdir()
        self._closed = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abandon()


def check_episode(episode: Episode, spec: Spec, *, name: str) -> None:
    """Refuse arrays that do not fit the spec.

    Raises:
        UserError: naming the array and what is wrong with it.
    """
    length = len(episode)
    shapes: dict[str, tuple[int, ...]] = {STATE_KEY: (length + 1, len(spec.state.dims))}
    shapes |= {i.key: (length + 1, i.height, i.width, 3) for i in spec.images}
    for key, shape in shapes.items():
        if key not in episode.observations:
            raise UserError(f"{name} lacks '{key}'", where=f"it has: {', '.join(episode.observations)}")
        if episode.observations[key].shape != shape:
            raise UserError(f"'{key}' has shape {episode.observations[key].shape}, the spec says {shape}", where=name)
    if episode.actions.shape != (length, len(spec.action.dims)):
        raise UserError(
            f"actions have {episode.actions.shape[1]} dimensions, the spec says {len(spec.action.dims)}", where=name
        )
    for key, values in ((STATE_KEY, episode.observations[STATE_KEY]), (ACTION, episode.actions)):
        names = spec.state.names if key == STATE_KEY else spec.action.names
        require_finite(values, names, column=key, where=name)


def require_finite(values: np.ndarray, names: list[str], *, column: str, where: str) -> None:
    """Refuse NaN and infinity.

    Raises:
        UserError: naming the first bad row and dimension, and how many there are.
    """
    bad = ~np.isfinite(values.reshape(len(values), -1))
    if bad.any():
        row, dim = np.argwhere(bad)[0]
        label = names[dim] if dim < len(names) else f"dimension {dim}"
        raise UserError(
            f"'{column}' is not finite in {bad.any(1).sum()} of {len(values)} rows",
            where=f"{where}, first in row {row}, {label}",
            fix="drop the episodes concerned, or rebuild missing actions with `hiltk fix-actions`",
        )


def episode_rows(episode: Episode, after: Episode | None) -> dict[str, Any]:
    """The columns of T+1 rows (and those that follow the end), by name; text columns as lists."""
    rows = _transitions(episode)
    if after is not None:
        # The end's own observation is row 0 of what follows, which carries the action taken from there.
        tail = _transitions(after) | {"next.done": np.ones((len(after) + 1, 1), bool)}
        rows = {k: np.concatenate([rows[k][:-1], tail[k]]) for k in rows}
    return rows | {"stratum": [episode.stratum] * len(rows[ACTION])}


def _transitions(episode: Episode) -> dict[str, np.ndarray]:
    length = len(episode)
    done, truncated = np.zeros(length, bool), np.zeros(length, bool)
    done[-1:], truncated[-1:] = episode.terminated, episode.truncated
    return dict(episode.observations) | {
        ACTION: _padded(episode.actions.astype(np.float32), 0.0),
        "next.reward": _padded(episode.rewards.astype(np.float32), 0.0)[:, None],
        "next.done": _padded(done, True)[:, None],
        "next.truncated": _padded(truncated, False)[:, None],
        "success": episode.success.astype(bool)[:, None],
        "is_intervention": _padded(episode.is_intervention.astype(bool), False)[:, None],
        "source": _padded(episode.source.astype(np.int64), episode.source[-1] if length else Source.demo)[:, None],
        "action_valid": _padded(episode.action_valid.astype(bool), False)[:, None],
    }


def _padded(values: np.ndarray, last: Any) -> np.ndarray:
    """One more row, for the observation after which nothing was done."""
    return np.concatenate([values, np.full((1, *values.shape[1:]), last, values.dtype)])


# ---------------------------------------------------------------- reading


def dataset_spec(path: Path) -> Spec:
    """The spec of a dataset on disk, checked against its columns.

    Raises:
        UserError: not a LeRobotDataset v3, empty, without a spec, its columns differ from the spec, or its metadata
            from its data.
    """
    return require_whole(LeRobotFiles(path))


def require_whole(files: LeRobotFiles, *, look: bool = True) -> Spec:
    """The spec of a dataset whose files were opened; raises as `dataset_spec`, and looks as `require_consistent`."""
    spec = _spec_of(files)
    require_consistent(files, look=look)
    return spec


def load_episodes(path: Path, spec: Spec | None = None, *, after_end: bool | int = False) -> list[Episode]:
    """All episodes of a dataset, in order.

    Args:
        path: the dataset's folder.
        spec: what the reader needs: its cameras are loaded and brought to its size, its state layout is required.
            None takes the dataset's own.
        after_end: append frames recorded after the end: all of them, or so many at most. They come without rewards, and
            the end no longer is the last transition: for classifiers, cloning, and to be judged by another rule
            (`hiltk.data.episode.end_at`).

    Raises:
        UserError: the dataset is damaged, empty, lacks a camera, has another state layout, or holds NaN.
    """
    return list(iter_episodes(path, spec, after_end=after_end))


def iter_episodes(path: Path, spec: Spec | None = None, *, after_end: bool | int = False) -> Iterator[Episode]:
    """`load_episodes`, one at a time: memory for one episode's frames only."""
    yield from DatasetReader(path, spec).episodes(after_end=after_end)


class DatasetReader:
    """A dataset as a spec wants it: every column but the cameras at once, the cameras frame by frame.

    Args:
        path: the dataset's folder.
        spec: as for `load_episodes`.
        name: what its episodes are called by, with their numbers; empty: they have no name.

    Attributes:
        bounds: first row and row after the last of every episode.
        cameras: by key, what `frames` gives.

    Raises:
        UserError: the dataset is damaged, empty, lacks a camera, has another state layout, or holds NaN.
    """

    def __init__(self, path: Path, spec: Spec | None = None, name: str = "") -> None:
        self._files = LeRobotFiles(path)
        stored = require_whole(self._files, look=False)  # frames may be known already, and none decoded
        wanted = spec or stored
        self.path, self.bounds = self._files.path, self._files.bounds
        self.name = name
        self.cameras = {image.key: image for image in wanted.images}
        self.fits = {image.key: _camera_fit(self._files, stored, image) for image in wanted.images}
        require_same_state(stored, wanted, self.path)
        self._columns = read_columns(self._files, stored)

    def __len__(self) -> int:
        """Rows of all episodes, those after an end included."""
        return self.bounds[-1][1]

    def frames(self, key: str) -> Iterator[np.ndarray]:
        """Every frame of one camera in row order, (H, W, 3) uint8, cropped and resized as wanted."""
        fit = self.fits[key]
        for row, frame in enumerate(self._files.frames(key)):
            if row == 0:
                self._files.require_shape(key, frame.shape)
            yield frame if fit is None else fit_image(frame, fit)

    def episodes(self, *, after_end: bool | int) -> Iterator[Episode]:
        """All episodes in order, decoded one after the other."""
        cameras = {key: self.frames(key) for key in self.cameras}
        for number, (start, stop) in enumerate(self.bounds):
            images = {k: np.stack(take(frames, stop - start)) for k, frames in cameras.items()}
            yield self.episode(number, images, after_end=after_end)

    def episode(self, number: int, images: dict[str, np.ndarray], *, after_end: bool | int) -> Episode:
        """One episode; ``images`` holds all its frames, those after the end included."""
        found = self._columns.episode(*self.bounds[number], images, after_end=after_end)
        return replace(found, name=f"{self.name} {number}") if self.name else found


@dataclass
class Columns:
    """Every column but the cameras, over all rows; and the rule their rewards follow."""

    state: np.ndarray
    action: np.ndarray
    reward: np.ndarray
    source: np.ndarray
    stratum: np.ndarray
    flags: dict[str, np.ndarray]
    rule: RewardSpec

    def episode(self, start: int, stop: int, images: dict[str, np.ndarray], *, after_end: bool | int) -> Episode:
        """Rows ``start`` to ``stop`` as an episode; ``images`` has as many frames per camera."""
        done = self.flags["next.done"][start : stop - 1]
        ends = bool(done.any())
        length = stop - start - 1
        if ends:
            length = min(length, int(done.argmax()) + 1 + (length if after_end is True else after_end))
        acts = slice(start, start + length)
        sees = slice(start, start + length + 1)
        return Episode(
            observations={STATE_KEY: self.state[sees]} | {k: v[: length + 1] for k, v in images.items()},
            actions=self.action[acts],
            rewards=self.reward[acts],
            success=self.flags["success"][sees],
            source=self.source[acts],
            is_intervention=self.flags["is_intervention"][acts],
            action_valid=self.flags["action_valid"][acts],
            terminated=ends,
            truncated=not ends and bool(self.flags["next.truncated"][acts].any()),
            stratum=str(self.stratum[start]),
            rule=self.rule,
        )


def read_columns(files: LeRobotFiles, spec: Spec, *, finite: bool = True) -> Columns:
    """Read and check every column but the cameras.

    Args:
        finite: refuse NaN in actions too (a repair reads actions that may be missing).

    Raises:
        UserError: a column is missing or damaged, or holds NaN or infinity.
    """
    state, action = files.column(STATE_KEY), files.column(ACTION)
    reward = files.column("next.reward")
    where = str(files.path)
    require_finite(state, spec.state.names, column=STATE_KEY, where=where)
    require_finite(reward, [], column="next.reward", where=where)
    if finite:
        require_finite(action, spec.action.names, column=ACTION, where=where)
    return Columns(
        # A column of one dimension is stored as plain numbers.
        state=state.astype(np.float32).reshape(len(state), -1),
        action=action.astype(np.float32).reshape(len(action), -1),
        reward=reward.astype(np.float32),
        source=files.column("source").astype(np.int64),
        stratum=files.column("stratum"),
        flags={flag: files.column(flag).astype(bool) for flag in FLAGS},
        rule=spec.reward,
    )


def _spec_of(files: LeRobotFiles) -> Spec:
    spec = Spec.load(files.path / SPEC_FILE)
    for key, expected in features(spec, video=False).items():
        found = files.features.get(key)
        if found is None:
            present = ", ".join(files.features)
            raise UserError(
                f"the dataset lacks '{key}', which its spec announces", where=f"{files.path}; it has: {present}"
            )
        if tuple(found["shape"]) != tuple(expected["shape"]):
            raise UserError(
                f"'{key}' has shape {tuple(found['shape'])} in the dataset and {expected['shape']} in its spec",
                where=str(files.path / SPEC_FILE),
                fix=RECORD_AGAIN,
            )
        if names := files.names(key):
            _require_equal(f"names of {key}", names, expected["names"], files)
    _require_equal("fps", files.fps, spec.fps, files)
    return spec


def _require_equal(what: str, found: object, said: object, files: LeRobotFiles) -> None:
    if found != said:
        raise UserError(
            f"{what}: {said} in the spec, {found} in meta/info.json",
            where=str(files.path / SPEC_FILE),
            fix="undo the edit: specs and metadata are written together",
        )


def require_same_state(stored: Spec, wanted: Spec, path: Path) -> None:
    """Refuse a dataset whose state has other dimensions, or the same in another order.

    Raises:
        UserError: naming what is missing, what is too much, or the order.
    """
    have, need = stored.state.names, wanted.state.names
    if have == need:
        return
    missing, extra = ([n for n in need if n not in have], [n for n in have if n not in need])
    parts = [f"it lacks {', '.join(missing)}"] if missing else []
    parts += [f"it has besides {', '.join(extra)}"] if extra else []
    raise UserError(
        f"the dataset has another state layout ({len(have)} dimensions) than needed ({len(need)}): "
        + ("; ".join(parts) or "the same dimensions in another order"),
        where=str(path),
        fix="record with the environment the policy is for, or adopt the dataset with `hiltk adopt`",
    )


def _camera_fit(files: LeRobotFiles, stored: Spec, wanted: ImageSpec) -> ImageSpec | None:
    """What to do with every stored frame of one camera to get what is wanted; None: nothing."""
    have = {image.key: image for image in stored.images}
    if wanted.key not in have:
        raise UserError(
            f"the dataset lacks the camera '{wanted.name}'",
            where=f"{files.path}; its cameras: {', '.join(i.name for i in stored.images) or 'none'}",
            fix="record with that camera, or train without it",
        )
    image = have[wanted.key]
    if (image.height, image.width, image.crop) == (wanted.height, wanted.width, wanted.crop):
        return None
    if image.crop == wanted.crop:  # cropped when it was stored
        return replace(wanted, crop=[])
    if not image.crop and (image.height, image.width) == (wanted.native_height, wanted.native_width):
        return wanted
    raise UserError(
        f"camera '{wanted.name}' was stored with crop {image.crop or 'none'}, needed is {wanted.crop or 'none'}",
        where=str(files.path),
        fix="use the same crop, or record the whole frame",
    )
