from __future__ import annotations

from pathlib import Path

import pytest

from hiltk.data import resources
from hiltk.data.resources import available_memory, free_disk, human_size, require_memory
from hiltk.errors import UserError


@pytest.mark.parametrize(
    ("count", "said"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1 KiB"),
        (1536 * 1024, "2 MiB"),
        (2**30, "1.00 GiB"),
        (3.5e12, "3,259.63 GiB"),
    ],
)
def test_sizes_are_said_as_people_say_them(count: float, said: str) -> None:
    assert human_size(count) == said


def test_only_what_does_not_fit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resources, "available_memory", lambda: 2**20)
    require_memory(2**20, "it needs", where="here", fix="less")
    with pytest.raises(UserError, match="it needs 2 MiB of memory, 1 MiB are available"):
        require_memory(2 * 2**20, "it needs", where="here", fix="less")
    monkeypatch.setattr(resources, "available_memory", lambda: None)  # where nobody says, nobody is refused
    require_memory(2**60, "it needs", where="here", fix="less")


def test_the_machine_says_what_it_has(tmp_path: Path) -> None:
    assert free_disk(tmp_path / "not" / "there" / "yet") > 0
    available = available_memory()
    assert available is None or available > 2**20
