"""Files that take another's place whole or not at all, whatever ends the writing."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

import pytest

from hiltk.artifacts.replacing import is_partial, replacing, sweep


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, OSError])
def test_what_was_there_stays_when_writing_fails(tmp_path: Path, error: type[BaseException]) -> None:
    file = tmp_path / "metrics.csv"
    file.write_text("old")
    with pytest.raises(error), replacing(file) as partial:
        assert partial.suffix == ".csv"  # libraries tell the format by it
        partial.write_text("half")
        raise error
    assert file.read_text() == "old" and names(tmp_path) == ["metrics.csv"]
    with replacing(file) as partial:
        partial.write_text("new")
    assert file.read_text() == "new" and names(tmp_path) == ["metrics.csv"]


def test_folders_are_replaced_too(tmp_path: Path) -> None:
    for text in ("old", "new"):
        with replacing(tmp_path / "best") as partial:
            partial.mkdir()
            (partial / text).touch()
    with pytest.raises(RuntimeError), replacing(tmp_path / "best") as partial:
        partial.mkdir()
        raise RuntimeError
    assert names(tmp_path) == ["best"] and names(tmp_path / "best") == ["new"]


def test_a_full_disk_is_recognised_before_what_filled_it_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """torch says that a write failed, and not why; once the half file is gone, the disk has room again."""
    file = tmp_path / "checkpoint.pt"

    def usage(folder: Path) -> object:
        return shutil._ntuple_diskusage(10, 10, 0 if names(tmp_path) else 10**9)  # type: ignore[attr-defined]

    monkeypatch.setattr(shutil, "disk_usage", usage)
    with pytest.raises(OSError, match="No space left") as caught, replacing(file) as partial:
        partial.write_text("half")
        raise RuntimeError("PytorchStreamWriter failed writing file")
    assert caught.value.errno == errno.ENOSPC and not names(tmp_path)
    with pytest.raises(RuntimeError), replacing(file):
        raise RuntimeError("another fault")


def test_what_a_killed_process_left_is_swept(tmp_path: Path) -> None:
    (tmp_path / "online").mkdir()
    (tmp_path / "best.tmp~").mkdir()
    kept = ["online/observation.images.tmp.npy", "tmp", "checkpoint.pt"]  # a camera may be called so
    for name in [*kept, "checkpoint.pt.tmp", "online/reward.tmp~.npy", "best.tmp~/policy.yaml"]:
        (tmp_path / name).touch()
    sweep(tmp_path)
    assert sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()) == sorted(kept)
    assert not any(map(is_partial, tmp_path.rglob("*")))
