"""The learning curve of a training that is still running, from its ``metrics.csv``.

An SVG picture, written here: matplotlib takes seconds to import, on a core that the training could use.
"""

from __future__ import annotations

import csv
from collections import deque
from collections.abc import Iterable, Sequence
from pathlib import Path
from urllib.parse import quote

from hiltk.learning.metrics import WINDOW
from hiltk.reports.colors import INTERVENTION, SUCCESS
from hiltk.reports.page import Figure

SERIES = {"success": SUCCESS, "intervention_rate": INTERVENTION}
_WIDTH, _HEIGHT, _LEFT, _TOP = 720, 200, 40, 24


def running_curve(metrics: Path) -> Figure | None:
    """Success and intervention rate by episode so far; None before there are two points."""
    try:
        with metrics.open(newline="") as file:
            rows = [{key: float(row[key]) for key in SERIES} for row in csv.DictReader(file)]
    except (OSError, KeyError, TypeError, ValueError):  # not there yet, of another step, or a line half written
        return None
    if len(rows) < 2:
        return None
    smooth = {key: list(_means(row[key] for row in rows)) for key in SERIES}
    ends = ", ".join(f"{key.replace('_', ' ')} {100 * values[-1]:.0f} %" for key, values in smooth.items())
    caption = f"{len(rows)} episodes so far; over the last {min(WINDOW, len(rows))}: {ends}."
    return Figure(metrics, f"Learning curves: {caption}", caption, "data:image/svg+xml," + quote(_drawn(smooth)))


def _means(values: Iterable[float]) -> Iterable[float]:
    last: deque[float] = deque(maxlen=WINDOW)
    for value in values:
        last.append(value)
        yield sum(last) / len(last)


def _drawn(smooth: dict[str, list[float]]) -> str:
    lines = [
        f'<line x1="{_LEFT}" x2="{_WIDTH}" y1="{_y(v)}" y2="{_y(v)}" stroke="#e3e6e8"/>'
        f'<text x="{_LEFT - 6}" y="{_y(v) + 4}" text-anchor="end">{100 * v:.0f} %</text>'
        for v in (0.0, 0.5, 1.0)
    ]
    for place, (key, values) in enumerate(smooth.items()):
        lines.append(f'<polyline fill="none" stroke-width="2" stroke="{SERIES[key]}" points="{_points(values)}"/>')
        lines.append(f'<text x="{_LEFT + 120 * place}" y="14" fill="{SERIES[key]}">{key.replace("_", " ")}</text>')
    size = f'viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" height="{_HEIGHT}"'
    style = 'font-family="sans-serif" font-size="12" fill="#33383d"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} {style}>{"".join(lines)}</svg>'


def _points(values: Sequence[float]) -> str:
    step = (_WIDTH - _LEFT - 4) / (len(values) - 1)
    return " ".join(f"{_LEFT + i * step:.1f},{_y(value)}" for i, value in enumerate(values))


def _y(value: float) -> float:
    return round(_TOP + (1 - value) * (_HEIGHT - _TOP - 10), 1)
