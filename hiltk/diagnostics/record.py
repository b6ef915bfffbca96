"""What every diagnosis leaves behind and a report shows: a paragraph, a table and pictures."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from hiltk.errors import UserError

FILE = "diagnosis.json"


@dataclass(frozen=True)
class Record:
    """One diagnosis.

    Attributes:
        title: what was examined, for a heading.
        verdict: one paragraph: what the numbers say.
        table: a row for each thing examined; columns carry their unit in the name.
        pictures: captions of PNG files in the artifact's folder, by name.
    """

    title: str
    verdict: str
    table: pd.DataFrame
    pictures: Mapping[str, str] = field(default_factory=dict)


def save(record: Record, folder: Path, name: str) -> None:
    """Write ``<name>.csv`` and ``diagnosis.json``; the pictures are there already."""
    record.table.to_csv(folder / f"{name}.csv", index=False)
    content = {
        "title": record.title,
        "verdict": record.verdict,
        "table": f"{name}.csv",
        "pictures": dict(record.pictures),
    }
    (folder / FILE).write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def load(folder: Path) -> Record:
    """What `save` wrote.

    Raises:
        UserError: it is missing or damaged, or names files that are not there.
    """
    try:
        content = json.loads((folder / FILE).read_text(encoding="utf-8"))
        table = pd.read_csv(_inside(folder, content["table"]))
        pictures = {str(name): str(caption) for name, caption in content["pictures"].items()}
        for name in pictures:
            _inside(folder, name)
        return Record(str(content["title"]), str(content["verdict"]), table, pictures)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"the diagnosis cannot be read: {error!r}", where=str(folder / FILE), fix="`hiltk diagnose` again"
        ) from error


def _inside(folder: Path, name: str) -> Path:
    """A file of the folder itself, wherever else its name may point."""
    if name != Path(name).name or not (folder / name).is_file():
        raise ValueError(f"there is no file '{name}' beside it")
    return folder / name
