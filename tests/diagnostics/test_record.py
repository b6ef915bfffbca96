"""What a diagnosis leaves behind comes back as it was, and is refused where it has been damaged."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from hiltk.diagnostics.record import FILE, Record, load, save
from hiltk.errors import UserError


def record(folder: Path) -> Record:
    (folder / "a.png").write_bytes(b"PNG")
    table = pd.DataFrame({"camera": ["wrist", "front"], "l2": [0.5, 1.25], "probe_mm": [12.0, None]})
    return Record("near against far", "It sees über 3 cm.", table, {"a.png": "Both sets."})


def test_what_is_written_is_read(tmp_path: Path) -> None:
    written = record(tmp_path)
    save(written, tmp_path, "encoder")
    assert {f.name for f in tmp_path.iterdir()} == {"encoder.csv", "a.png", FILE}
    read = load(tmp_path)
    assert (read.title, read.verdict, read.pictures) == (written.title, written.verdict, written.pictures)
    pd.testing.assert_frame_equal(read.table, written.table)


@pytest.mark.parametrize(
    "change",
    [
        {"table": "other.csv"},
        {"table": "../encoder.csv"},
        {"pictures": {"b.png": "not there"}},
        {"pictures": {"/etc/hostname": "of somebody else"}},
        {"pictures": ["a.png"]},
        {"title": None, "verdict": None, "table": None},
    ],
)
def test_a_damaged_record_is_bad_input(tmp_path: Path, change: dict[str, object]) -> None:
    save(record(tmp_path), tmp_path, "encoder")
    content = json.loads((tmp_path / FILE).read_text())
    (tmp_path / FILE).write_text(json.dumps(content | change))
    with pytest.raises(UserError, match="the diagnosis cannot be read"):
        load(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", "{}", '"words"'])
def test_other_files_are_bad_input(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE).write_text(text)
    with pytest.raises(UserError, match=FILE):
        load(tmp_path)
    (tmp_path / FILE).unlink()
    with pytest.raises(UserError, match="the diagnosis cannot be read"):
        load(tmp_path)
