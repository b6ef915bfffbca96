"""A training run's replay as a LeRobotDataset v3: whole episodes of single frames, whatever stack the policy sees.

Columns and conventions are those of recorded datasets (`hiltk.data.lerobot_io`), so every reader of those takes it:
who chose each action (``source``, ``is_intervention``), how episodes ended, which actions are known, and where success
shows.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from rich.console import Console
from tqdm import tqdm

from hiltk.artifacts.replacing import is_partial
from hiltk.data.episode import Episode
from hiltk.data.lerobot_io import DatasetWriter
from hiltk.data.replay import RING_FILE, FrameStore
from hiltk.errors import UserError
from hiltk.spec import STATE_KEY, RewardSpec, Spec

Arrays = Mapping[str, np.ndarray]
# What episodes are read from, besides cameras; and what is known of the ring they lie in.
COLUMNS = (
    *("episode", "step", STATE_KEY, "action", "reward", "success", "source", "is_intervention", "valid"),
    *("terminated", "truncated"),
)
RING = ("end", "capacity", "size")


def export_store(source: Path | FrameStore, spec: Spec, out: Path) -> int:
    """Write the episodes of a replay store as a dataset; returns how many.

    The oldest episode is left out where the ring has overwritten its beginning. An interrupted run gives what its last
    checkpoint held.

    Args:
        source: the folder of a memory-mapped store (``online/`` in a policy), the policy's folder, or a store.
        spec: what its observations and actions mean; its cameras are exported.
        out: the dataset's folder, which may exist as long as it holds no dataset.

    Raises:
        UserError: there is no store, it holds no whole episode, or it does not fit the spec.
    """
    arrays, ring = _opened(source)
    where = str(source) if isinstance(source, Path) else ""
    keys = _require_columns(arrays, spec, where)
    rows, cut = _episode_rows(arrays, ring)
    if not rows:
        raise UserError("the replay store holds no whole episode", where=where, fix="train for longer first")
    if cut:
        Console().print(f"the oldest episode is left out: the ring has overwritten all but {cut} of its observations")
    with DatasetWriter(out, spec) as writer:
        for own in tqdm(rows, "exporting", unit=" episodes", mininterval=0.5):
            writer.add(_episode(arrays, own, keys))
    return len(rows)


def stored_episodes(
    source: Path | FrameStore, *, images: bool = True, rule: RewardSpec | None = None
) -> Iterator[Episode]:
    """The whole episodes of a replay store, oldest first; without ``images`` with no camera's frames.

    Args:
        rule: the run's, which their rewards follow.

    Raises:
        UserError: there is no store.
    """
    arrays, ring = _opened(source)
    keys = [k for k in arrays if k.startswith("observation." if images else STATE_KEY)]
    yield from (replace(_episode(arrays, own, keys), rule=rule) for own in _episode_rows(arrays, ring)[0])


def stored_observations(
    source: Path | FrameStore, count: int, seed: int = 0, stack: int = 1
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """At most ``count`` observations that something was done from, drawn evenly over a store, and their episodes (B,).

    Frame stacks are the policy's own: newest last, an episode's first observation standing for those before it.

    Raises:
        UserError: there is no store, or no whole episode in it.
    """
    arrays, ring = _opened(source)
    acts = [(rows, t) for rows in _episode_rows(arrays, ring)[0] for t in range(len(rows) - 1)]
    if not acts:
        raise UserError("the replay store holds no whole episode", where=str(source), fix="train for longer first")
    chosen = np.random.default_rng(seed).choice(len(acts), min(count, len(acts)), replace=False)
    picks = [acts[i] for i in np.sort(chosen)]
    places = [np.array([rows[max(0, t - back)] for rows, t in picks]) for back in reversed(range(stack))]
    keys = [k for k in arrays if k.startswith("observation.")]
    observations = {k: np.concatenate([arrays[k][at] for at in places], axis=-1) for k in keys}
    return observations, arrays["episode"][places[-1]]


def _opened(source: Path | FrameStore) -> tuple[Arrays, dict[str, int]]:
    """Every array of a store by name, and where its ring stands."""
    if isinstance(source, FrameStore):
        return source.arrays(), source.ring_state()
    folder = source / "online" if (source / "online").is_dir() else source
    if not (folder / RING_FILE).is_file():
        raise UserError(
            "there is no replay store, or nothing was ever checkpointed",
            where=str(folder),
            fix="give a policy of `hiltk train` that has passed a checkpoint",
        )
    try:
        ring = json.loads((folder / RING_FILE).read_text())
        files = [f for f in sorted(folder.glob("*.npy")) if not is_partial(f)]
        arrays, ring = {f.stem: np.load(f, mmap_mode="r") for f in files}, {k: int(v) for k, v in ring.items()}
    except (OSError, ValueError, EOFError, AttributeError, TypeError) as error:
        raise UserError(f"the replay store is damaged: {error}", where=str(folder)) from error
    if missing := [name for name in COLUMNS if name not in arrays] + [name for name in RING if name not in ring]:
        raise UserError(f"the replay store is damaged: it lacks {', '.join(missing)}", where=str(folder))
    return arrays, ring


def _require_columns(arrays: Arrays, spec: Spec, where: str) -> list[str]:
    """Keys of the spec's observations, state first.

    Raises:
        UserError: the store lacks one.
    """
    keys = [STATE_KEY, *spec.image_keys]
    if missing := [k for k in keys if k not in arrays]:
        present = ", ".join(k for k in arrays if k.startswith("observation."))
        raise UserError(f"the replay store lacks '{missing[0]}'", where=f"{where}; it has: {present}")
    return keys


def _episode_rows(arrays: Arrays, ring: Mapping[str, int]) -> tuple[list[np.ndarray], int]:
    """Places in the arrays of every whole episode's observations, in order; rows left of an overwritten beginning."""
    first = max(0, ring["end"] - ring["capacity"])
    at = np.arange(first, ring["end"]) % ring["size"]
    pieces = np.split(at, np.flatnonzero(np.diff(arrays["episode"][at])) + 1) if len(at) else []
    cut = 0
    if pieces and arrays["step"][pieces[0][0]] > 0:
        cut = len(pieces.pop(0))
    return [p for p in pieces if len(p) > 1], cut


def _episode(arrays: Arrays, rows: np.ndarray, keys: list[str]) -> Episode:
    acts = rows[:-1]
    return Episode(
        observations={k: np.asarray(arrays[k][rows]) for k in keys},
        actions=arrays["action"][acts],
        rewards=arrays["reward"][acts],
        success=arrays["success"][rows],
        source=arrays["source"][acts].astype(np.int64),
        is_intervention=arrays["is_intervention"][acts],
        action_valid=arrays["valid"][acts],
        terminated=bool(arrays["terminated"][acts[-1]]),
        truncated=bool(arrays["truncated"][acts[-1]]),
    )
