"""The page of a report: one HTML file with every figure and film inside it, no scripts, nothing fetched.

The page of a running pipeline is the same, but for figures and films that lie beside it, and that it loads itself anew.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import quote

import yaml

from hiltk.artifacts.provenance import duration_s
from hiltk.artifacts.store import Artifact, title_of

LARGEST_VIDEO = 3_000_000  # bytes; a larger film is named, not embedded
_MEDIA = {".png": "image/png", ".mp4": "video/mp4"}


@dataclass
class Figure:
    """An image file with its alternative text and its caption."""

    file: Path
    alt: str
    caption: str = ""
    address: str = ""  # where the page finds it; empty: the page holds it

    @property
    def uri(self) -> str:
        return self.address or data_uri(self.file)


@dataclass
class Video:
    """A film; ``uri`` is empty for one too large to embed."""

    file: Path
    caption: str
    address: str = ""

    @property
    def uri(self) -> str:
        return self.address or (data_uri(self.file) if self.file.stat().st_size < LARGEST_VIDEO else "")


@dataclass
class Cell:
    """A table cell; ``share`` in [0, 1] draws a bar behind the text, ``first`` begins a group of columns."""

    text: str
    span: int = 1
    share: float | None = None
    note: str = ""
    first: bool = False


@dataclass
class Table:
    """Header rows and body rows; the first cell of a body row is its heading, the last row may be a total.

    ``words`` sets a table of sentences rather than numbers.
    """

    head: list[list[Cell]]
    body: list[list[Cell]]
    total: bool = False
    words: bool = False


@dataclass
class Section:
    """A heading with prose, tables, figures and films, all optional; ``more``, or all if ``folded``, starts closed."""

    title: str
    text: list[str] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    figures: list[Figure] = field(default_factory=list)
    videos: list[Video] = field(default_factory=list)
    more: list[Figure] = field(default_factory=list)
    folded: bool = False


def own_figures(artifact: Artifact) -> list[Figure]:
    """PNG files an artifact brought along, at its top or in ``figures/``."""
    files = sorted([*artifact.path.glob("*.png"), *artifact.path.glob("figures/*.png")])
    return [
        Figure(f, f"{f.stem.replace('_', ' ')} of {title_of(artifact)}", f"{title_of(artifact)}: {f.name}")
        for f in files
    ]


def beside(section: Section, page: Path) -> Section:
    """The section with figures and films that lie where they are, seen from the file ``page``."""

    return replace(
        section,
        figures=[replace(f, address=address(f.file, page)) for f in section.figures],
        videos=[replace(v, address=address(v.file, page)) for v in section.videos],
        more=[replace(f, address=address(f.file, page)) for f in section.more],
    )


def address(file: Path, page: Path) -> str:
    """How a page refers to another file."""
    return quote(os.path.relpath(file.resolve(), page.parent.resolve()))


def render(
    title: str,
    facts: Sequence[str],
    sections: Sequence[Section],
    artifacts: Sequence[Artifact],
    *,
    links: Mapping[str, str] | None = None,
    again_s: int = 0,
) -> str:
    """The whole page as one string.

    Args:
        artifacts: where everything comes from; a page without any does not say.
        links: addresses of other pages, by what is to be read.
        again_s: after how many seconds the browser loads the page anew; 0: never.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    loader = FileSystemLoader(Path(__file__).parent)
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template("page.html").render(
        title=title,
        facts=facts,
        sections=sections,
        steps=steps_table(artifacts),
        records=[(title_of(a), _record_text(a)) for a in artifacts],
        links=links or {},
        again_s=again_s,
    )


def steps_table(artifacts: Sequence[Artifact]) -> Table:
    """Every artifact with its step, seed, wall time, peak memory, commit and inputs, oldest first; no empty columns."""
    head = ["artifact", "step", "seed", "wall time", "peak memory", "code", "made from"]
    ordered = sorted(artifacts, key=lambda a: str(a.run().get("started", "")))
    rows = [_step_row(artifact) for artifact in ordered]
    kept = [i for i in range(len(head)) if i == 0 or any(row[i].text for row in rows)]
    return Table([[Cell(head[i]) for i in kept]], [[row[i] for i in kept] for row in rows])


def _step_row(artifact: Artifact) -> list[Cell]:
    record = artifact.run()
    memory = record.get("peak_memory_mb")
    code = record.get("code") or {}
    commit = f"{str(code.get('commit', ''))[:8]}{', changed' if code.get('dirty') else ''}"
    inputs = [
        f"{i.get('artifact', '')}@{i['version']}" if i.get("version") else i.get("artifact", "")
        for i in record.get("inputs") or []
    ]
    cells = [
        title_of(artifact),
        record.get("step", ""),
        str(record.get("seed", "")),
        format_duration(duration_s(record)),
        f"{memory:.0f} MB" if isinstance(memory, int | float) else "",
        commit,
        ", ".join(inputs),
    ]
    return [Cell(text) for text in cells]


def format_duration(seconds: float | None) -> str:
    """``12 s``, ``3 min 05 s``, ``1 h 02 min``; empty when unknown."""
    if seconds is None:
        return ""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def data_uri(file: Path) -> str:
    """The file's bytes as a ``data:`` address."""
    return f"data:{_MEDIA[file.suffix]};base64,{base64.b64encode(file.read_bytes()).decode()}"


def _record_text(artifact: Artifact) -> str:
    record = artifact.run()
    return yaml.safe_dump(record, sort_keys=False, allow_unicode=True, width=100) if record else "no run.yaml"
