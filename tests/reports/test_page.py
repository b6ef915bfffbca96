from __future__ import annotations

import base64
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from hiltk.reports import page
from hiltk.reports.page import Cell, Figure, Section, Table, Video, format_duration, render


class Checker(HTMLParser):
    """Collects addresses and looks for unclosed elements."""

    VOID = ("meta", "img", "br", "link")

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.images: list[dict[str, str | None]] = []
        self.tags: list[str] = []
        self.seen: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.seen.add(tag)
        self.addresses += [found[k] or "" for k in ("src", "href", "poster", "data") if k in found]
        if tag == "img":
            self.images.append(found)
        if tag not in self.VOID:
            self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.tags.pop() == tag


def parse(html: str) -> Checker:
    checker = Checker()
    checker.feed(html)
    assert not checker.tags, checker.tags
    return checker


@pytest.fixture
def image(tmp_path: Path) -> Path:
    from PIL import Image

    Image.new("RGB", (4, 4), (1, 2, 3)).save(tmp_path / "image.png")
    return tmp_path / "image.png"


def test_page_carries_everything_inside(image: Path, tmp_path: Path, maker: Any) -> None:
    video = tmp_path / "film.mp4"
    video.write_bytes(b"not really a film")
    table = Table([[Cell("stratum"), Cell("hil", span=2)]], [[Cell("near"), Cell("9/10", share=0.9), Cell("total")]])
    section = Section(
        "One", ["words"], [table], [Figure(image, "an alt")], [Video(video, "hil: success")], [Figure(image, "b")]
    )
    html = render("A title", ["a fact"], [section, Section("Two", folded=True)], [maker.trained("hil-s0")])
    found = parse(html)
    assert len(found.addresses) == 3 and all(a.startswith("data:") for a in found.addresses)
    assert base64.b64decode(found.addresses[0].split(",")[1]) == image.read_bytes()
    assert [i["alt"] for i in found.images] == ["an alt", "b"]
    assert not found.seen & {"script", "link", "iframe"}
    assert not re.search(r"https?://|@import|url\(", html)
    for text in ("A title", "a fact", "words", "9/10", "background-size: 90.0%", "policies/hil-s0@p-0001", "812 MB"):
        assert text in html, text


def test_steps_table_drops_what_nobody_recorded(maker: Any) -> None:
    quiet, measured = maker.cloned("bc"), maker.trained("hil")
    record = quiet.path / "run.yaml"
    record.write_text(re.sub(r"peak_memory_mb: .*\n", "", record.read_text()))  # as older versions wrote it
    assert "peak memory" not in [cell.text for cell in page.steps_table([quiet]).head[0]]
    table = page.steps_table([measured, quiet])
    column = [cell.text for cell in table.head[0]].index("peak memory")
    assert sorted(row[column].text for row in table.body) == ["", "812 MB"]


def test_text_is_escaped(maker: Any) -> None:
    html = render("<b>bold</b> & more", ["1 < 2"], [], [])
    assert "&lt;b&gt;bold" in html and "1 &lt; 2" in html and "<b>" not in html
    parse(html)


def test_large_films_are_named_instead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    video = tmp_path / "film.mp4"
    video.write_bytes(b"0" * 100)
    monkeypatch.setattr(page, "LARGEST_VIDEO", 100)
    html = render("t", [], [Section("Films", videos=[Video(video, "long one")])], [])
    assert "<video" not in html and "film.mp4" in html and "too large" in html


@pytest.mark.parametrize(
    ("seconds", "text"), [(None, ""), (0.4, "0 s"), (59, "59 s"), (185, "3 min 05 s"), (3720, "1 h 02 min")]
)
def test_durations(seconds: float | None, text: str) -> None:
    assert format_duration(seconds) == text
