"""The plan, the table and the lines a user sees."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from rich.console import Console

from hiltk.orchestration.board import SILENT_S, Board, PlainLines, announce, plan_table
from hiltk.orchestration.execute import Event, State
from hiltk.orchestration.plan import Pipeline
from hiltk.orchestration.progress import Progress, last_word, roughly, tail
from hiltk.orchestration.schedule import tasks

Make = Callable[..., Pipeline]


@pytest.fixture
def console(tmp_path: Path) -> Iterator[Console]:
    with (tmp_path / "screen").open("w") as file:
        yield Console(width=100, record=True, file=file)


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


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


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("recording:  45%|####5     | 9/20 [00:03<00:04,  2.9episode/s, attempts=9]", "recording 9 of 20"),
        ("eval quickstart-bc:   0%|          | 0/200 [00:00<?, ?ep/s]", "eval quickstart-bc 0 of 200"),
        (" 50%|#####     | 1/2 [00:00<00:00]", "1 of 2"),
        ("episode 40 of 150: success 35%, alone 1 of 2", "episode 40 of 150: success 35%, alone 1 of 2"),
        ("", ""),
    ],
)
def test_a_bar_is_said_in_words(tmp_path: Path, line: str, said: str) -> None:
    (tmp_path / "log").write_text(f"before\n{line}" if line else "")
    assert last_word(tmp_path / "log") == said


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "about 10 s"), (44, "about 40 s"), (89, "about 90 s"), (100, "about 2 min"), (7200, "about 2.0 h")],
)
def test_an_estimate_has_few_digits(seconds: float, said: str) -> None:
    assert roughly(seconds) == said


def test_the_plan_says_what_is_done_and_how_long_it_takes(pipeline: Make, console: Console) -> None:
    chain = pipeline((0, 1), jobs=2)
    plans = dict.fromkeys(tasks(chain), State.started) | {(0, "first"): State.skipped, (1, "first"): State.skipped}
    seconds = {(0, "first"): 50.0, (1, "first"): 50.0, (0, "second"): 100.0, (1, "second"): 100.0, (None, "page"): None}
    console.print(plan_table(chain, plans, seconds))
    lines = [line.split() for line in console.export_text().splitlines()]
    assert " ".join(lines[0]) == "chain, seeds 0, 1: about 2 min (2 at a time)"
    assert lines[2:] == [
        ["first", "hiltk", "report", "unchanged"],
        ["second", "hiltk", "report", "first", "2", "x", "2", "min"],
        ["page", "hiltk", "report", "second", "?"],
    ]


def test_the_board_shows_every_step_of_every_seed(pipeline: Make, console: Console, tmp_path: Path) -> None:
    (tmp_path / "log").write_text("training: 7 of 9\n")
    clock = Clock()
    progress = Progress(pipeline((0, 1)), {(0, "second"): tmp_path / "log"}, {(0, "second"): 100.0}, clock)
    progress.add(Event(0, "first", State.finished, "a@r-0001", 75.0))
    progress.add(Event(1, "first", State.skipped, "a@r-0001"))
    progress.add(Event(0, "second", State.started))
    progress.add(Event(1, "second", State.failed, text="no"))
    clock.now += 61
    console.print(Board(progress))
    shown = console.export_text()
    rows = {line.split()[1]: line for line in shown.splitlines() if line.startswith("│")}
    assert "1 min 15 s" in rows["first"] and "unchanged" in rows["first"]
    assert "1 min 01 s …" in rows["second"] and "failed" in rows["second"]
    assert "page" in rows
    assert "seed 0, second: training: 7 of 9" in shown
    assert "chain: 1 min 01 s, about 70 s to go" in shown  # 39 s of this step, and the page, which counts half a minute


def test_what_is_left_goes_by_how_fast_this_machine_is(pipeline: Make) -> None:
    clock = Clock()
    progress = Progress(pipeline(), {}, {(0, "first"): 10.0, (0, "second"): 100.0, (None, "page"): 5.0}, clock)
    assert progress.left_s() == 115
    progress.add(Event(0, "first", State.finished, "a@r-0001", 30.0))  # three times as long as expected
    assert progress.left_s() == 315
    progress.add(Event(0, "second", State.started))
    clock.now += 100
    assert progress.left_s() == 215


def test_plain_lines_give_a_sign_of_life_where_nothing_happens(
    pipeline: Make, console: Console, tmp_path: Path
) -> None:
    (tmp_path / "log").write_text("episode 43 of 150: success 60%\n")
    clock = Clock()
    progress = Progress(pipeline(), {(0, "first"): tmp_path / "log"}, {}, clock)
    lines = PlainLines(console, progress)
    event = Event(0, "first", State.started)
    progress.add(event)
    lines.add(event)
    for _ in range(8):  # two minutes, looked at every fifteen seconds
        clock.now += SILENT_S / 2
        lines.tick()
    assert console.export_text().splitlines()[:2] == [
        "seed 0, first ...",
        "seed 0, first: 25 s, episode 43 of 150: success 60% (about 60 s to go)",
    ]
    assert SILENT_S < 30


def test_announcements(console: Console) -> None:
    announce(console, Event(0, "bc", State.finished, "bc@p-0001", 12.3))
    announce(console, Event(0, "bc", State.skipped, "bc@p-0001"))
    announce(console, Event(None, "page", State.failed, text="no [brackets] lost"))
    assert console.export_text().splitlines() == [
        "seed 0, bc: bc@p-0001 in 12 s",
        "seed 0, bc: unchanged, skipped (bc@p-0001)",
        "page: failed: no [brackets] lost",
    ]
