"""Finished episodes of a recording that goes on: one file each, on disk before the next episode begins.

LeRobot's files can be read only once they are closed, so what ends a recording without a word (kill -9, a full disk)
would end its finished episodes, too. These files are what ``record resume=true`` goes on from; they are no dataset.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hiltk.artifacts.replacing import replacing
from hiltk.data.episode import Episode
from hiltk.errors import UserError

ARRAYS = ("actions", "rewards", "success", "source", "is_intervention", "action_valid")
PLAIN = ("terminated", "truncated", "stratum")
NOTES = "notes"
LEVEL = 1  # of zlib: the simulator's images become seven times smaller or better, at about 100 MB/s


class EpisodeJournal:
    """A folder of finished episodes, in the order in which they were recorded."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def _files(self) -> list[Path]:
        return sorted(self.folder.glob("[0-9]*.npz"))

    def add(self, episode: Episode, after: Episode | None, notes: Mapping[str, Any]) -> None:
        """Keep an episode, what was seen after its end (None: nothing), and plain notes on the recording so far."""
        arrays = _arrays("episode", episode) | (_arrays("after", after) if after is not None else {})
        arrays[NOTES] = np.array(json.dumps(notes))
        with replacing(self.folder / f"{len(self._files()):06d}.npz") as partial:
            _save(partial, arrays)

    def read(self) -> Iterator[tuple[Episode, Episode | None, dict[str, Any]]]:
        """What was added, in that order, one at a time; the rule of the rewards is not kept.

        Raises:
            UserError: a file is damaged.
        """
        for file in self._files():
            try:
                with np.load(file, allow_pickle=False) as arrays:
                    found = {key: arrays[key] for key in arrays.files}
                after = _episode("after", found) if "after/actions" in found else None
                yield _episode("episode", found), after, json.loads(found[NOTES].item())
            except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
                fix = "start anew with resume=false, or remove this file and those after it"
                raise UserError(f"a recorded episode is damaged: {error}", where=str(file), fix=fix) from error


def _arrays(name: str, episode: Episode) -> dict[str, np.ndarray]:
    """An episode as named arrays."""
    seen = {f"{name}/observations/{key}": values for key, values in episode.observations.items()}
    return seen | {f"{name}/{key}": np.asarray(getattr(episode, key)) for key in (*ARRAYS, *PLAIN)}


def _episode(name: str, arrays: Mapping[str, np.ndarray]) -> Episode:
    seen = f"{name}/observations/"
    own: dict[str, Any] = {key: arrays[f"{name}/{key}"] for key in ARRAYS}
    plain: dict[str, Any] = {key: arrays[f"{name}/{key}"].item() for key in PLAIN}
    return Episode({k.removeprefix(seen): v for k, v in arrays.items() if k.startswith(seen)}, **own, **plain)


def _save(file: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """As ``np.savez_compressed``, which has no say in how hard to compress."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=LEVEL) as archive:
        for key, values in arrays.items():
            with archive.open(f"{key}.npy", "w", force_zip64=True) as stream:
                np.lib.format.write_array(stream, np.asanyarray(values), allow_pickle=False)
