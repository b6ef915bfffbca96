"""Pipelines whose steps are fakes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hiltk.orchestration.plan import Pipeline, Step
from tests.orchestration.fakes import FAKE


@pytest.fixture
def pipeline(tmp_path: Path) -> Callable[..., Pipeline]:
    """Per seed first -> second, and alone beside them; then a page over all. ``second="fail:1"``: a step's title."""

    def make(seeds: tuple[int, ...] = (0,), jobs: int = 1, *, alone: str | None = None, **titles: str) -> Pipeline:
        def step(label: str, artifacts: list[Any], title: str = "") -> Step:
            return Step(label, FAKE, {"artifacts": artifacts, "title": titles.get(label, title)})

        each = (step("first", []), step("second", ["${out.first}"]))
        beside = () if alone is None else (step("alone", [], alone),)
        return Pipeline("chain", seeds, jobs, str(tmp_path), {}, each + beside, (step("page", ["${all.second}"]),))

    return make
