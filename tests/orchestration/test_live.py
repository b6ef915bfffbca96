"""The page of a running pipeline, at every stage."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from hiltk.orchestration.execute import Event, State
from hiltk.orchestration.live import AGAIN_S, LivePage
from hiltk.orchestration.plan import Pipeline
from hiltk.orchestration.progress import Progress
from hiltk.reports.exhibits import Exhibit
from hiltk.reports.page import Figure, Section, Video
from tests.reports.test_page import Checker, parse

Make = Callable[..., Pipeline]


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def look(page: LivePage) -> Checker:
    return parse(page.file.read_text())


def test_the_page_grows_and_ends(pipeline: Make, tmp_path: Path, clock: Clock) -> None:
    folder = tmp_path / "a #1" / "logs"
    folder.mkdir(parents=True)
    (folder / "log").write_text("episode 7 of 9: success 50%\n")
    film, picture = folder / "films" / "é 1.mp4", tmp_path / "picture.png"
    film.parent.mkdir()
    film.write_bytes(b"a film")
    Image.new("RGB", (4, 4)).save(picture)
    progress = Progress(pipeline((0, 1)), {(0, "second"): folder / "log"}, {(0, "first"): 120.0}, clock)
    page = LivePage(progress, folder / "index.html")
    page.write()
    assert not look(page).addresses and f'content="{AGAIN_S}"' in page.file.read_text()
    assert page.uri.startswith("file:///") and "%231" in page.uri

    progress.add(Event(0, "first", State.finished, "f@r-0001", 61.0))
    section = Section("Films", ["words"], figures=[Figure(picture, "a picture")], videos=[Video(film, "a film")])
    page.add((0, "first"), Exhibit(["one fact"], [section]))
    page.add((1, "first"), Exhibit([], [section]))
    progress.add(Event(0, "second", State.started))
    page.tick()  # not yet
    assert "episode 7 of 9" not in page.file.read_text()
    clock.now += AGAIN_S
    page.tick()
    text, found = page.file.read_text(), look(page)
    assert sorted(set(found.addresses)) == ["../../picture.png", "films/%C3%A9%201.mp4"]
    for said in (
        "1 min 01 s",
        "one fact",
        "seed 0, first: Films",
        "seed 0, second: episode 7 of 9: success 50%",
        "2 min",
    ):
        assert said in text, said
    assert text.count('class="whole"') == 1  # the second seed's is folded
    assert not found.seen & {"script", "link", "iframe"}

    page.end("done", {"page": tmp_path / "reports" / "index.html"})
    text = page.file.read_text()
    assert 'href="../../reports/index.html"' in text and "refresh" not in text and "a film" in text
    assert [file.name for file in folder.iterdir() if file.suffix == ".part"] == []


def test_a_running_training_shows_its_curve(pipeline: Make, tmp_path: Path, clock: Clock) -> None:
    draft = tmp_path / "reports" / "chain-first-s0" / ".unfinished"
    draft.mkdir(parents=True)
    progress = Progress(pipeline(), {}, {}, clock)
    progress.add(Event(0, "first", State.started))
    page = LivePage(progress, tmp_path / "index.html")
    for rows, shown in (("", 0), ("1,0.5\n", 0), ("1,0.5\n0,0.25\n", 1), ("1,0.5\n0,0.25\n1", 0)):
        (draft / "metrics.csv").write_text(f"success,intervention_rate\n{rows}")
        page.write()
        assert len(look(page).images) == shown, rows
    (draft / "metrics.csv").write_text("success,intervention_rate\n" + "0,1\n" * 30 + "1,0\n" * 10)
    page.write()
    (image,) = look(page).images
    assert image["alt"] == (
        "Learning curves: 40 episodes so far; over the last 20: success 50 %, intervention rate 50 %."
    )
    assert str(image["src"]).startswith("data:image/svg+xml,%3Csvg")
    progress.add(Event(0, "first", State.finished, "f@r-0001"))
    page.write()
    assert not look(page).images


def test_a_page_that_cannot_be_written_fails_nothing(pipeline: Make, tmp_path: Path, clock: Clock) -> None:
    page = LivePage(Progress(pipeline(), {}, {}, clock), tmp_path / "gone" / "index.html")
    page.write()
    page.end("done", {})


def test_everything_is_escaped(pipeline: Make, tmp_path: Path, clock: Clock) -> None:
    evil = "<script>alert('x')</script>"
    (tmp_path / "log").write_text(f"{evil}\n")
    chain = pipeline()
    named = {  # what a step writes can have no such name
        part: tuple(replace(step, settings={**step.settings, "name": step.label}) for step in getattr(chain, part))
        for part in ("each_seed", "together")
    }
    chain = replace(chain, name=evil, **named)
    progress = Progress(chain, {(0, "second"): tmp_path / "log"}, {}, clock)
    page = LivePage(progress, tmp_path / "index.html")
    progress.add(Event(0, "first", State.failed, text=evil))
    progress.add(Event(0, "second", State.started))
    section = Section(evil, [evil], videos=[Video(tmp_path / f"{evil.replace('/', '')}.mp4", evil)])
    page.add((0, "first"), Exhibit([evil], [section]))
    page.end(evil, {evil: tmp_path / 'a" onclick="b'})
    assert "script" not in look(page).seen
    assert "<script" not in page.file.read_text() and 'onclick="b' not in page.file.read_text()
