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
    """A chain first -> second per seed, then a page over all; ``second="fail:1"`` sets a step's title."""

    def make(seeds: tuple[int, ...] = (0,), jobs: int = 1, **titles: str) -> Pipeline:
        def step(label: str, artifacts: list[Any]) -> Step:
            return Step(label, FAKE, {"artifacts": artifacts, "title": titles.get(label, "")})

        each = (step("first", []), step("second", ["${out.first}"]))
        return Pipeline("chain", seeds, jobs, str(tmp_path), {}, each, (step("page", ["${all.second}"]),))

    return make
