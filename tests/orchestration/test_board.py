"""The table and the log lines a user sees."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from hiltk.orchestration.board import Board, announce, tail
from hiltk.orchestration.execute import Event, State
from hiltk.orchestration.plan import Pipeline


@pytest.mark.parametrize(
    ("text", "lines", "expected"),
    [
        ("one\ntwo\n\n", 1, ["two"]),
        ("one\ntwo\n", 5, ["one", "two"]),
        ("done\ncloning:  10%|#\rcloning:  90%|###\r", 1, ["cloning:  90%|###"]),
        ("\x1b[31merror: red\x1b[0m\n", 1, ["error: red"]),
        ("", 3, []),
    ],
)
def test_tail(tmp_path: Path, text: str, lines: int, expected: list[str]) -> None:
    (tmp_path / "log").write_text(text)
    assert tail(tmp_path / "log", lines) == expected


def test_tail_of_a_missing_or_binary_log(tmp_path: Path) -> None:
    assert tail(tmp_path / "none", 1) == []
    (tmp_path / "log").write_bytes(b"\xff\xfe" * 20_000 + b"\nlast\n")
    assert tail(tmp_path / "log", 1) == ["last"]


def test_board_shows_every_step_of_every_seed(pipeline: Callable[..., Pipeline], tmp_path: Path) -> None:
    (tmp_path / "log").write_text("training: 7 of 9\n")
    board = Board(pipeline((0, 1)), {0: tmp_path / "log"})
    board.add(Event(0, "first", State.finished, "a@r-0001", 75.0))
    board.add(Event(1, "first", State.skipped, "a@r-0001"))
    board.add(Event(0, "second", State.started))
    board.add(Event(1, "second", State.failed, text="no"))
    console = Console(width=80, record=True, file=(tmp_path / "screen").open("w"))
    console.print(board)
    shown = console.export_text()
    rows = {line.split()[1]: line for line in shown.splitlines() if line.startswith("│")}
    assert "1 min 15 s" in rows["first"]
    assert "unchanged" in rows["first"]
    assert "…" in rows["second"]
    assert "failed" in rows["second"]
    assert "page" in rows
    assert "seed 0: training: 7 of 9" in shown


def test_announcements(tmp_path: Path) -> None:
    console = Console(width=200, record=True, file=(tmp_path / "screen").open("w"))
    announce(console, Event(0, "bc", State.finished, "bc@p-0001", 12.3))
    announce(console, Event(0, "bc", State.skipped, "bc@p-0001"))
    announce(console, Event(None, "page", State.failed, text="no [brackets] lost"))
    assert console.export_text().splitlines() == [
        "seed 0, bc: bc@p-0001 in 12 s",
        "seed 0, bc: unchanged, skipped (bc@p-0001)",
        "page: failed: no [brackets] lost",
    ]
