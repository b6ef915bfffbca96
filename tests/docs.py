"""What ``docs/`` says that the code knows: which rule, guard or object catches each failure of the catalogue.

``uv run python -m tests.docs`` writes that column of ``docs/failures.md`` anew.
"""

from __future__ import annotations

import re
from pathlib import Path

from hiltk.checks import engine  # noqa: F401 (its rules register)
from hiltk.checks.catalogue import covered

ROOT = Path(__file__).parents[1]
FAILURES = ROOT / "docs" / "failures.md"
ROW = re.compile(r"^\| ([A-Z]\d+) \|(.*)\|[^|]*\|$", re.MULTILINE)


def pages() -> list[Path]:
    """The README and every page of ``docs/``."""
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def with_covers(text: str) -> str:
    """The table of failures with its last column as the code has it."""
    by = covered()
    return ROW.sub(lambda m: f"| {m[1]} |{m[2]}| {', '.join(map(_shown, by[m[1]])) or 'nothing yet'} |", text)


def _shown(cover: str) -> str:
    return f"`{cover.removeprefix('hiltk.')}`"


if __name__ == "__main__":
    FAILURES.write_text(with_covers(FAILURES.read_text()))
