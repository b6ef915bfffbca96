from __future__ import annotations

from pathlib import Path

import pytest
import torch

from hiltk.errors import UserError
from hiltk.learning import checkpoint


def test_what_is_saved_comes_back(tmp_path: Path) -> None:
    assert checkpoint.load(tmp_path) is None
    rng = {"state": {"state": 2**127 + 1, "inc": 3}}  # numpy's generators hold integers of 128 bits
    checkpoint.save(tmp_path, {"weights": torch.arange(3), "rng": rng, "episode": 7})
    state = checkpoint.load(tmp_path)
    assert state is not None
    assert state["rng"] == rng and state["episode"] == 7 and torch.equal(state["weights"], torch.arange(3))
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint.pt"]


def test_a_save_that_breaks_off_leaves_the_last_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def half(state: object, file: Path) -> None:
        file.write_bytes(b"half a file")
        raise KeyboardInterrupt

    checkpoint.save(tmp_path, {"episode": 7})
    monkeypatch.setattr(torch, "save", half)
    with pytest.raises(KeyboardInterrupt):
        checkpoint.save(tmp_path, {"episode": 8})
    assert checkpoint.load(tmp_path) == {"episode": 7}


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "checkpoint.pt").write_bytes(b"half a file")
    with pytest.raises(UserError, match="cannot be read") as caught:
        checkpoint.load(tmp_path)
    assert "checkpoint.pt" in str(caught.value)
    torch.save([1], tmp_path / "checkpoint.pt")
    with pytest.raises(UserError, match="cannot be read"):
        checkpoint.load(tmp_path)


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("code from the file ran",)


def test_code_in_a_file_is_never_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"x": Evil()}, tmp_path / "checkpoint.pt")
    with pytest.raises(UserError):
        checkpoint.load(tmp_path)
    assert "ran" not in capsys.readouterr().out
