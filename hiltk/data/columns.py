"""Columns of a dataset made elsewhere by what a person calls them: ``qpos``, ``state[0:6]``, ``arm[0:5]+jaws``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from hiltk.data.lerobot_files import LeRobotFiles
from hiltk.errors import ConfigError, UserError, nearest

EXAMPLE = "COLUMN[0:6]"
_PART = re.compile(r"(?P<column>[^\[\]+]+)(\[(?P<index>[\d:,]+)\])?")


@dataclass(frozen=True)
class Part:
    """A column, or some of its dimensions.

    Attributes:
        index: which dimensions, in order; None: all.
    """

    column: str
    index: slice | list[int] | None

    def of(self, files: LeRobotFiles) -> np.ndarray:
        """Its values over all rows, (N, D)."""
        values = files.column(self.column)
        return self._taken(values.reshape(len(values), -1), files)

    def names(self, files: LeRobotFiles) -> list[str]:
        """The names of its dimensions; empty where the dataset has none."""
        names = np.array(files.names(self.column), dtype=object)
        return [str(n) for n in self._taken(names[None], files)[0]] if len(names) else []

    def _taken(self, values: np.ndarray, files: LeRobotFiles) -> np.ndarray:
        """The dimensions (N, D) of values (N, W)."""
        width = values.shape[1]
        if self.index is None:
            return values
        asked = list(range(width))[self.index] if isinstance(self.index, slice) else self.index
        beyond = isinstance(self.index, slice) and (self.index.stop or 0) > width
        if beyond or not asked or max(asked) >= width:
            raise UserError(
                f"'{self.column}' has {width} dimensions, numbered from 0",
                where=f"{_written(self)} of {files.path}",
                fix=f"{self.column}[0:{width}] are all of them",
            )
        return values[:, asked]


def parts(text: str, key: str) -> list[Part]:
    """What a reference to columns names.

    Raises:
        ConfigError: it cannot be read.
    """
    found = [_PART.fullmatch(piece) for piece in text.split("+")]
    if None in found:
        raise ConfigError(
            "this names no column", where=f"{key}={text}", fix=f"{key}=COLUMN, {key}={EXAMPLE} or {key}=ONE+OTHER[0]"
        )
    try:
        return [Part(m["column"], _index(m["index"])) for m in found if m]
    except ValueError as error:
        raise ConfigError(
            f"[{error}] names no dimensions", where=f"{key}={text}", fix=f"{key}={EXAMPLE}, or [0,1,2,3,4,5]"
        ) from error


def _index(text: str | None) -> slice | list[int] | None:
    if text is None:
        return None
    if found := re.fullmatch(r"(\d*):(\d*)", text):
        return slice(*(int(end) if end else None for end in found.groups()))
    if not re.fullmatch(r"\d+(,\d+)*", text):
        raise ValueError(text)
    return [int(n) for n in text.split(",")]


def _written(part: Part) -> str:
    if part.index is None:
        return part.column
    one = part.index
    ends = f"{one.start or 0}:{one.stop}" if isinstance(one, slice) else ",".join(map(str, one))
    return f"{part.column}[{ends}]"


class ChosenColumns(LeRobotFiles):
    """A dataset in which some columns, by name, are others of its own or dimensions of them.

    Attributes:
        chosen: the names they have here.

    Args:
        files: the dataset.
        chosen: by the name it gets here, what a column is.

    Raises:
        ConfigError: a choice cannot be read.
        UserError: it names a column or dimension that is not there, or no numbers.
    """

    def __init__(self, files: LeRobotFiles, chosen: Mapping[str, str]) -> None:
        vars(self).update(vars(files))
        self._of, self._chosen = files, {name: parts(text, name) for name, text in chosen.items()}
        self.chosen = frozenset(chosen)
        self.features = files.features | {name: self._feature(found) for name, found in self._chosen.items()}

    def column(self, name: str) -> np.ndarray:
        if name not in self._chosen:
            return self._of.column(name)
        return np.concatenate([part.of(self._of) for part in self._chosen[name]], axis=1)

    def _feature(self, found: list[Part]) -> dict[str, Any]:
        for part in found:
            require_column(self._of, part.column)
        named = [part.names(self._of) for part in found]
        width = sum(part.of(self._of).shape[1] for part in found)
        names = [n for names in named for n in names] if all(named) else None
        return {"dtype": "float32", "shape": [width], "names": names}


def require_column(files: LeRobotFiles, column: str) -> None:
    """Refuse a column of numbers that is not there, with those that are."""
    there = numeric(files)
    if column not in there:
        raise UserError(
            f"the dataset has no column of numbers '{column}'",
            where=f"{files.path} has: {', '.join(there)}",
            fix=nearest(column, there),
        )


def numeric(files: LeRobotFiles, least: int = 1) -> list[str]:
    """The columns that hold numbers, at least so many a row."""
    plain = {k: f for k, f in files.features.items() if f["dtype"] not in ("image", "video", "string")}
    return [name for name, feature in plain.items() if int(np.prod(feature["shape"])) >= least]
