"""One dataset on disk as everything above sees it: columns, episodes, spec and frames, each read when it is asked for.

`hiltk.data.lerobot_files` knows the files; this knows what they are to hiltk.
"""

from __future__ import annotations

import json
from functools import cached_property
from pathlib import Path

import numpy as np

from hiltk.artifacts.store import spec_file
from hiltk.data.copies import Trace, traces
from hiltk.data.lerobot_files import LeRobotFiles, damaged
from hiltk.data.lerobot_io import Columns, read_columns, require_whole
from hiltk.errors import UserError
from hiltk.spec import Spec

SESSIONS_FILE = Path("meta") / "hiltk_sessions.json"  # per episode, the dataset it was recorded in


class _ReadOnce(LeRobotFiles):
    """A dataset's files, of which each column is read once, whoever asks for it."""

    def __init__(self, path: Path, *, gaps: bool = False) -> None:
        super().__init__(path, gaps=gaps)
        self._columns: dict[str, np.ndarray] = {}

    def column(self, name: str) -> np.ndarray:
        if name not in self._columns:
            self._columns[name] = super().column(name)
        return self._columns[name]


class Dataset:
    """One LeRobotDataset v3, hiltk's own or anybody's. Columns are read when somebody asks for them, once.

    Attributes:
        name: how the user knows it.
        files: its tables and cameras.
        spec: what its numbers mean; None for one made elsewhere.

    Args:
        spec: what it is said to be; None: as its own spec file says.
        gaps: accept episodes in which rows are missing or stored twice; None: of one made elsewhere.

    Raises:
        UserError: it is damaged, empty or no LeRobotDataset v3.
    """

    opens: type[LeRobotFiles] = _ReadOnce  # how its files are read

    def __init__(self, path: Path, name: str = "", *, spec: Spec | None = None, gaps: bool | None = None) -> None:
        self.path, self.name = Path(path), name or Path(path).name
        own = spec_file("datasets", self.path)
        self.files = self.opens(self.path, gaps=not own.is_file() if gaps is None else gaps)
        self.spec = spec or (Spec.load(own) if own.is_file() else None)

    def __len__(self) -> int:
        """Rows."""
        return self.bounds[-1][1]

    @property
    def bounds(self) -> list[tuple[int, int]]:
        """First row and the row after the last, per episode."""
        return self.files.bounds

    @cached_property
    def episode(self) -> np.ndarray:
        """(N,) number of each row's episode."""
        return np.repeat(np.arange(len(self.bounds)), [stop - start for start, stop in self.bounds])

    @property
    def lengths(self) -> np.ndarray:
        """Transitions per episode, (E,): one fewer than it has rows."""
        return np.array([stop - start - 1 for start, stop in self.bounds])

    def has(self, *names: str) -> bool:
        return all(name in self.files.features for name in names)

    def column(self, name: str) -> np.ndarray:
        """A column (N,) or (N, D); NaN are as stored."""
        return self.files.column(name)

    def sessions(self) -> list[str]:
        """Per episode the dataset it was recorded in, as far as a merge noted it; else this one's name."""
        return sessions_of(self.path, self.name, len(self.bounds))


class OwnDataset(Dataset):
    """A dataset of hiltk's that was found to be whole.

    Attributes:
        columns: every column but the cameras, checked.
    """

    spec: Spec
    columns: Columns
    opens = LeRobotFiles  # `columns` keeps what was read, once is enough

    def traces(self) -> list[Trace]:
        """What its episodes are told apart by."""
        return traces(self.files, self.columns.state, self.spec.state.dims)


def open_dataset(path: Path, name: str = "", *, finite: bool = True) -> OwnDataset:
    """Read every column of a dataset of hiltk's, after comparing the data, the metadata and the video files.

    Args:
        finite: refuse NaN in actions, too.

    Raises:
        UserError: it is no dataset, is damaged, lacks an episode, its metadata disagree, or a number is not finite.
    """
    dataset = OwnDataset(path, name or str(path), gaps=False)
    dataset.spec = require_whole(dataset.files)
    dataset.columns = read_columns(dataset.files, dataset.spec, finite=finite)
    return dataset


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
