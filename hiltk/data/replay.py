"""The replay buffer: every frame stored once, every next state the true one, views instead of copies.

A `FrameStore` is a ring of rows in time order. Each row holds one observation and, if an action was taken from it,
the transition that starts there. An episode of T transitions fills T+1 rows: its last observation is kept as a row of
its own, from which no transition starts. The next state of row i is therefore row i+1, always, for terminal
steps, time-outs and the edges of interventions alike (LeRobot 0.6.1 and the original HIL-SERL get these wrong).

Rows are addressed by an absolute number that only grows; row n lies at n modulo the size of the arrays.
"""

from __future__ import annotations

import errno
import itertools
import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from hiltk.artifacts.replacing import replacing
from hiltk.data.episode import Episode, Source
from hiltk.data.frames import Frames
from hiltk.data.indices import ReturnsToGo, RowIndex
from hiltk.data.resources import free_disk, reserve
from hiltk.errors import UserError
from hiltk.images import random_shift, to_tensor
from hiltk.observation import Observation
from hiltk.spec import IMAGE_PREFIX, STATE_KEY, Spec

RING_FILE = "ring.json"  # beside the arrays: where the ring stood at the last flush


@dataclass
class Batch:
    """B transitions, ready for a network.

    Attributes:
        observation, next_observation: per key (B, D) float32, or images (B, C, H, W) uint8.
        action: (B, A), as executed.
        reward: (B,), summed and discounted over the n steps.
        discount: (B,), what multiplies the value of the next state: discount^n, 0 after a terminal step.
        human: (B,) bool, a person chose the action (demonstration or intervention).
        source: (B,) uint8, who chose the action, as `Source` counts them; None where nobody asked.
        returns: (B,), discounted reward to the end of the episode as it was played; -inf where it has not terminated.
            None where nobody asked.
    """

    observation: dict[str, Tensor]
    action: Tensor
    reward: Tensor
    next_observation: dict[str, Tensor]
    discount: Tensor
    human: Tensor
    source: Tensor | None = None
    returns: Tensor | None = None

    def __len__(self) -> int:
        return len(self.action)

    def to(self, device: torch.device | str) -> Batch:
        """The batch on a device; the very tensors where they are there already."""
        return Batch(**{f.name: _moved(getattr(self, f.name), device) for f in fields(self)})


def _moved(value: Any, device: torch.device | str) -> Any:
    if isinstance(value, dict):
        return {k: v.to(device, non_blocking=True) for k, v in value.items()}
    return None if value is None else value.to(device, non_blocking=True)


class Features(Protocol):
    """Makes observations that an encoder has begun to look at (`hiltk.agents.features`)."""

    def observation(self, rows: np.ndarray) -> Observation: ...

    def forget(self) -> None: ...


class FrameStore:
    """A ring of frames and transitions, in memory or memory-mapped.

    Args:
        capacity: transitions and last observations kept before the oldest rows are overwritten.
        observation: one example observation; fixes keys, shapes and dtypes.
        actions: size of the action vector.
        path: folder for memory-mapped arrays; None keeps them in memory. An existing store is opened, and continues
            where `load_state_dict` puts it: a checkpoint is a flush and not a conversion.
        slack: rows that may be added after a checkpoint before one that it still holds is overwritten.
        most: rows that will be filled at most, None: all; their space on disk is taken now.
        longest: rows of the longest episode: where space cannot be taken beforehand, there must be as much when one
            begins.

    Raises:
        OSError: the disk has no room (ENOSPC), here or in `begin`; writing never fails for want of it.
        UserError: an existing store is of another shape.
    """

    def __init__(
        self,
        capacity: int,
        observation: Mapping[str, np.ndarray],
        actions: int,
        path: Path | None = None,
        slack: int = 0,
        most: int | None = None,
        longest: int = 0,
    ) -> None:
        self.capacity, self.path = capacity, path
        self.end = 0  # absolute number of the next row
        self._episode = -1
        self.size = capacity + 1 + slack  # rows the arrays have room for
        self._most, self._longest = self.size if most is None else min(most, self.size), longest
        self._reserved, self._made = True, list[Path]()  # whether space on disk is sure; files made here
        self._usable, self._corrections = RowIndex(), RowIndex()
        self._returns: ReturnsToGo | None = None
        self.features: Features | None = None  # what is handed out in place of single frames, if anything
        if path is not None:
            path.mkdir(parents=True, exist_ok=True)
        layout = {k: (v.shape, v.dtype) for k, v in observation.items()}
        self.frames: dict[str, Any] = {k: self._array(k, shape, dtype) for k, (shape, dtype) in layout.items()}
        self.action = self._array("action", (actions,), np.float32)
        self.reward = self._array("reward", (), np.float32)
        self.terminated = self._array("terminated", (), np.bool_)
        self.truncated = self._array("truncated", (), np.bool_)
        self.source = self._array("source", (), np.uint8)
        self.is_intervention = self._array("is_intervention", (), np.bool_)
        self.valid = self._array("valid", (), np.bool_)  # a transition with a known action starts at this row
        self.moves = self._array("moves", (), np.bool_)  # a transition starts at this row
        self.success = self._array("success", (), np.bool_)  # success shows in this row's observation
        self.episode = self._array("episode", (), np.int64)
        self.step = self._array("step", (), np.int32)

    # ------------------------------------------------------------------ writing

    def begin(self, observation: Observation, *, success: bool = False) -> None:
        """Start an episode with its first observation."""
        if not self._reserved:
            self._look()
        self._episode += 1
        self._write(observation, step=0, success=success)

    def add(
        self,
        action: np.ndarray,
        reward: float,
        observation: Observation,
        *,
        terminated: bool,
        truncated: bool,
        source: Source,
        is_intervention: bool = False,
        valid: bool = True,
        success: bool = False,
    ) -> None:
        """Add the transition from the newest row, and the observation it led to as the next row.

        Args:
            valid: the action is known.
            success: success shows in ``observation``; a label that only exported datasets use.
        """
        row = (self.end - 1) % self.size
        self.action[row], self.reward[row] = action, reward
        self.terminated[row], self.truncated[row] = terminated, truncated
        self.source[row], self.is_intervention[row] = source, is_intervention
        self.valid[row], self.moves[row] = valid, True
        if valid:
            self._usable.append(self.end - 1)
            if is_intervention:
                self._corrections.append(self.end - 1)
        self._write(observation, step=int(self.step[row]) + 1, success=success)

    def add_episode(self, episode: Episode) -> None:
        """Add a whole recorded episode."""
        observations = [{k: v[t] for k, v in episode.observations.items()} for t in range(len(episode) + 1)]
        self.begin(observations[0], success=bool(episode.success[0]))
        for t in range(len(episode)):
            last = t == len(episode) - 1
            self.add(
                episode.actions[t],
                float(episode.rewards[t]),
                observations[t + 1],
                terminated=last and episode.terminated,
                truncated=last and episode.truncated,
                source=Source(int(episode.source[t])),
                is_intervention=bool(episode.is_intervention[t]),
                valid=bool(episode.action_valid[t]),
                success=bool(episode.success[t + 1]),
            )

    def _look(self) -> None:
        """Refuse to begin an episode that the disk may have no room for."""
        assert self.path is not None
        if free_disk(self.path) < self._longest * self.row_bytes:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))

    def _write(self, observation: Observation, step: int, success: bool) -> None:
        row = self.end % self.size
        for key, array in self.frames.items():
            array[row] = observation[key]
        self.episode[row], self.step[row], self.success[row] = self._episode, step, success
        self.valid[row] = self.moves[row] = False
        self.end += 1

    # ------------------------------------------------------------------ reading

    @property
    def begin_row(self) -> int:
        """The oldest row still held, as an absolute number."""
        return max(0, self.end - self.capacity)

    def transitions(self) -> np.ndarray:
        """Absolute numbers of every row a usable transition starts from, oldest first; read-only."""
        self._usable.drop_before(self.begin_row)
        return self._usable.rows

    def interventions(self) -> np.ndarray:
        """The view of executed human corrections: the policy's own steps around them are not in it."""
        self._corrections.drop_before(self.begin_row)
        return self._corrections.rows

    def returns_to_go(self, rows: np.ndarray, discount: float) -> np.ndarray:
        """Discounted reward (B,) from absolute ``rows`` to the end of their episodes; -inf where none is known."""
        if self._returns is None or self._returns.discount != discount:
            self._returns = ReturnsToGo(self, discount)
        return self._returns.at(rows)

    def gather(
        self,
        rows: np.ndarray,
        *,
        discount: float = 1.0,
        n_step: int = 1,
        stack: int = 1,
        following: bool = True,
        copy: bool = True,
    ) -> dict[str, Any]:
        """The transitions starting at absolute ``rows`` as numpy arrays, keyed like `Batch`.

        Without ``following`` the next observations stay out: supervised learning has no use for them. Without ``copy``
        single frames come as lists of views into the store, for whoever copies them anyway.

        n-step sums stop at the episode's end and where control passes between human and policy; frame stacks repeat
        the oldest frame of the episode that is still held. Both are by index: no frame is stored twice.
        """
        total: np.ndarray = np.zeros(len(rows), np.float32)
        last, going = rows.copy(), np.ones(len(rows), bool)
        factor: np.ndarray = np.ones(len(rows), np.float32)
        human = self._human(rows)
        for k in range(n_step):
            row = rows + k
            # From an episode's last observation, and from the newest row of a running one, nothing moves.
            going &= (row < self.end) & self.moves[row % self.size] & (self._human(row) == human)
            total += np.where(going, factor * self.reward[row % self.size], 0)
            factor = np.where(going, factor * discount, factor)
            last = np.where(going, row, last)
        at = rows % self.size
        return {
            "observation": self._stacked(rows, stack, copy),
            "action": self.action[at],
            "reward": total,
            "next_observation": self._stacked(last + 1, stack, copy) if following else {},
            "discount": factor * ~self.terminated[last % self.size],
            "human": human,
            "source": self.source[at],
        }

    def _human(self, rows: np.ndarray) -> np.ndarray:
        return self.source[rows % self.size] != Source.policy

    def _stacked(self, rows: np.ndarray, stack: int, copy: bool) -> dict[str, Any]:
        if stack == 1 and self.features is None:
            at = rows % self.size
            return {k: v[at] if copy or v.ndim < 4 else _views(v, at) for k, v in self.frames.items()}
        first = np.maximum(rows - self.step[rows % self.size], self.begin_row)
        picks = [np.maximum(rows - back, first) for back in reversed(range(stack))]
        if self.features is not None:
            return self.features.observation(np.stack(picks))
        return {k: np.concatenate([v[p % self.size] for p in picks], axis=-1) for k, v in self.frames.items()}

    def nbytes(self) -> int:
        """Bytes of all arrays; memory and disk are only taken as rows are written."""
        return sum(a.nbytes for a in self.arrays().values())

    @property
    def row_bytes(self) -> int:
        """What one transition costs."""
        return self.nbytes() // self.size

    # ------------------------------------------------------------------ persistence

    def flush(self) -> None:
        """Put every row on disk, and note where the ring stands beside them: what a checkpoint refers to must be there.

        Only rows written since the last flush cost anything.
        """
        if self.path is None:
            return
        for array in self.arrays().values():
            if isinstance(array, np.memmap):
                array.flush()
        self._note()

    def _note(self) -> None:
        if self.path is None:
            return
        with replacing(self.path / RING_FILE) as partial:
            partial.write_text(json.dumps(self.ring_state()))

    def state_dict(self) -> dict[str, int]:
        """Where the ring stands. Rows are on disk already (``path``), so this is all a checkpoint has to hold."""
        return {"end": self.end, "episode": self._episode, "capacity": self.capacity}

    def ring_state(self) -> dict[str, int]:
        """`state_dict`, and the number of rows: row n lies at n modulo ``size``."""
        return self.state_dict() | {"size": self.size}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go back to an earlier `state_dict`: rows added since are forgotten, rows overwritten since are still there.

        Raises:
            UserError: the store was made with another capacity.
        """
        if state["capacity"] != self.capacity:
            raise UserError(
                f"the replay store holds {state['capacity']} transitions, the config says {self.capacity}",
                where=str(self.path),
                fix=f"capacity={state['capacity']}",
            )
        self.end, self._episode = state["end"], state["episode"]
        if self.end:  # whatever was done from the newest row is among what is forgotten
            self.valid[(self.end - 1) % self.size] = self.moves[(self.end - 1) % self.size] = False
        rows = np.arange(self.begin_row, self.end)
        usable = rows[self.valid[rows % self.size]]
        self._usable = RowIndex(usable)
        self._corrections = RowIndex(usable[self.is_intervention[usable % self.size]])
        self._returns = None
        if self.features is not None:
            self.features.forget()
        self._note()

    def trim(self) -> None:
        """Flush, and cut the files down to the rows in use, at the end of a run; the store is closed afterwards."""
        self.flush()
        if self.path is None or self.end >= self.size:
            return
        for name in self.arrays():
            _resize(self.path / f"{name}.npy", self.end)

    def _array(self, name: str, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        full = (self.size, *shape)
        if self.path is None:
            return np.zeros(full, dtype)
        file = self.path / f"{name}.npy"
        if not file.is_file():
            np.lib.format.open_memmap(file, mode="w+", dtype=dtype, shape=full)
            self._made.append(file)
        array = np.lib.format.open_memmap(file, mode="r+")
        if array.dtype == dtype and array.shape[1:] == shape and len(array) < self.size:
            _resize(file, self.size)  # trimmed at the end of a run that was then interrupted
            array = np.lib.format.open_memmap(file, mode="r+")
        if array.shape != full or array.dtype != dtype:
            raise UserError(
                f"'{name}' in the replay store is {array.dtype}{array.shape}, this run needs {np.dtype(dtype)}{full}",
                where=str(file),
                fix="resume with the same env, cameras and capacity, or start under another name=",
            )
        self._reserve(file, array)
        return array

    def _reserve(self, file: Path, array: np.memmap[Any, Any]) -> None:
        """Take the space of all rows that will be filled; what there is no space for must not fill the disk."""
        try:
            self._reserved &= reserve(file, array.offset + self._most * (array.nbytes // self.size))
        except OSError:
            for made in self._made:
                made.unlink()
            raise

    def arrays(self) -> dict[str, Any]:
        """Every column by name, as long as the ring has rows; what the files are called on disk."""
        own = {k: v for k, v in vars(self).items() if isinstance(v, np.ndarray)}
        return own | self.frames


def _resize(file: Path, rows: int) -> None:
    """Make an array on disk shorter, or longer by zeros, in place: there may be no space for a copy.

    In this order a kill in between leaves a file that is longer than its header says, which can be read.
    """
    with file.open("r+b") as stream:
        np.lib.format.read_magic(stream)
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream)
        start, row = stream.tell(), math.prod(shape[1:]) * dtype.itemsize
        if rows > shape[0]:
            stream.truncate(start + rows * row)
        stream.seek(0)
        header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": fortran, "shape": (rows, *shape[1:])}
        np.lib.format.write_array_header_1_0(stream, header)  # as long for any number of rows
        assert stream.tell() == start
        stream.truncate(start + rows * row)


class ReplaySampler:
    """Draws batches: a share from demonstrations and interventions, the rest from everything seen online.

    Demonstrations live in a store of their own and are never evicted. Interventions are a view on the online store.
    """

    def __init__(
        self,
        demos: FrameStore,
        online: FrameStore,
        *,
        discount: float,
        pad: int,
        rng: np.random.Generator,
        n_step: int = 1,
        stack: int = 1,
        returns: bool = False,
    ) -> None:
        self.demos, self.online = demos, online
        self.discount, self.pad, self.rng = discount, pad, rng
        self.n_step, self.stack, self.returns = n_step, stack, returns
        self._demo_rows = demos.transitions()

    def sample(self, size: int, demo_fraction: float) -> Batch:
        """A batch of ``size`` transitions, ``demo_fraction`` of them human; all of them while nothing else exists."""
        online = self.online.transitions()
        corrections = self.online.interventions()
        human = round(size * demo_fraction) if len(online) else size
        if not len(self._demo_rows) + len(corrections):
            human = 0
        from_demos = self._split(human, len(self._demo_rows), len(corrections))
        parts = [
            self._draw(self.demos, self._demo_rows, from_demos),
            self._draw(self.online, corrections, human - from_demos),
            self._draw(self.online, online, size - human),
        ]
        return to_batch(merge([p for p in parts if p is not None]), self.pad, self.rng)

    def _split(self, count: int, demos: int, corrections: int) -> int:
        """How many of ``count`` human rows come from demonstrations: each human transition is equally likely."""
        return int(self.rng.binomial(count, demos / (demos + corrections))) if demos + corrections else 0

    def _draw(self, store: FrameStore, rows: np.ndarray, count: int) -> dict[str, Any] | None:
        if count == 0:
            return None
        rows = self.rng.choice(rows, count)
        data = store.gather(rows, discount=self.discount, n_step=self.n_step, stack=self.stack, copy=False)
        return data | ({"returns": store.returns_to_go(rows, self.discount)} if self.returns else {})


def merge(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """Concatenate gathered parts row by row."""
    if len(parts) == 1:
        return parts[0]
    out: dict[str, Any] = {}
    for name in parts[0]:
        values = [p[name] for p in parts]
        if isinstance(values[0], dict):
            out[name] = {k: _joined([v[k] for v in values]) for k in values[0]}
        else:
            out[name] = _joined(values)
    return out


def _joined(values: list[Any]) -> Any:
    return list(itertools.chain(*values)) if isinstance(values[0], list) else np.concatenate(values)


def _views(frames: np.ndarray | Frames, at: np.ndarray) -> list[np.ndarray]:
    if isinstance(frames, Frames):
        return frames.views(at)
    frames = np.asarray(frames)  # views of a memory map are slow to make
    return [frames[i] for i in at.tolist()]


def to_batch(data: dict[str, Any], pad: int, rng: np.random.Generator) -> Batch:
    """Shift the frames at random, observation and next observation apart, and hand everything over to torch."""
    return Batch(
        observation=_tensors(data["observation"], pad, rng),
        action=torch.from_numpy(data["action"]),
        reward=torch.from_numpy(data["reward"]),
        next_observation=_tensors(data["next_observation"], pad, rng),
        discount=torch.from_numpy(data["discount"].astype(np.float32)),
        human=torch.from_numpy(data["human"]),
        source=torch.from_numpy(data["source"]) if "source" in data else None,
        returns=torch.from_numpy(data["returns"]) if "returns" in data else None,
    )


def _tensors(observation: dict[str, np.ndarray], pad: int, rng: np.random.Generator) -> dict[str, Tensor]:
    out = {}
    for key, value in observation.items():
        if key.startswith(IMAGE_PREFIX):
            out[key] = to_tensor(random_shift(value, pad, rng))
        else:
            out[key] = torch.from_numpy(value)
    return out


def example_observation(spec: Spec) -> dict[str, np.ndarray]:
    """An observation of zeros with the shapes and dtypes of a spec."""
    out: dict[str, np.ndarray] = {STATE_KEY: np.zeros(len(spec.state.dims), np.float32)}
    for image in spec.images:
        out[image.key] = np.zeros((image.height, image.width, 3), np.uint8)
    return out


def store_episodes(episodes: list[Episode]) -> FrameStore:
    """A store that holds exactly these episodes, e.g. the demonstrations; their frames stay where they are."""
    rows = sum(len(e) + 1 for e in episodes)
    first = episodes[0].observations
    vectors = {k: v[0] for k, v in first.items() if not k.startswith(IMAGE_PREFIX)}
    store = FrameStore(rows, vectors, episodes[0].actions.shape[1])
    for episode in episodes:
        store.add_episode(episode)
    # In the order of the episodes' own keys, in which frames are drawn and shifted.
    store.frames = {
        k: store.frames[k] if k in vectors else Frames([e.observations[k] for e in episodes]) for k in first
    }
    return store
