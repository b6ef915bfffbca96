"""Commands compose, links lead somewhere, names exist, and the table of failures is the code's."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from hiltk.checks.catalogue import IDS
from tests.docs import FAILURES, ROOT, ROW, pages, with_covers


def test_the_table_of_failures_is_the_codes() -> None:
    text = FAILURES.read_text()
    assert [m[1] for m in ROW.finditer(text)] == IDS
    assert with_covers(text) == text, "`uv run python -m tests.docs` writes the column 'caught by'"


def test_the_front_page_is_short() -> None:
    assert (ROOT / "README.md").stat().st_size <= 9_000


@pytest.mark.parametrize("page", pages(), ids=lambda p: p.name)
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text())
    wrong = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert wrong == []


@pytest.mark.parametrize("page", pages(), ids=lambda p: p.name)
def test_files_that_are_named_exist(page: Path) -> None:
    """Paths of this repository, in backticks or trees."""
    named = re.findall(r"`((?:hiltk|tests|conf|pipelines|docs)/[\w./-]+)`", page.read_text())
    assert [name for name in named if "NAME" not in name and not (ROOT / name).exists()] == []
