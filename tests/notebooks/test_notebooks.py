"""Every notebook runs from top to bottom, as a notebook."""

from __future__ import annotations

from pathlib import Path

import jupytext
import pandas as pd
import pytest
from nbclient import NotebookClient

from hiltk.artifacts.writing import create

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.py"))


def write_evaluation(root: Path, name: str, successes: int) -> None:
    """Four episodes near and four far, of each the first so many successful."""
    rows = [(name, i, i, place, i < successes, 20 + i, 0.0) for place in ("near", "far") for i in range(4)]
    columns = ["policy", "seed", "episode", "stratum", "success", "steps", "return"]
    with create("evaluations", name, root=root, step="eval", cfg={}, inputs=[], seed=0) as draft:
        pd.DataFrame(rows, columns=columns).to_csv(draft.path / "episodes.csv", index=False)


@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda p: p.stem)
def test_notebook_runs(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_evaluation(tmp_path, "bc", 1)
    write_evaluation(tmp_path, "hil", 4)
    monkeypatch.setenv("HILTK_ROOT", str(tmp_path))
    monkeypatch.setenv("HILTK_EVALUATIONS", "bc hil")
    notebook = jupytext.read(file)
    NotebookClient(notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": tmp_path}}).execute()
    outputs = [o for cell in notebook.cells for o in cell.get("outputs", [])]
    assert sum("image/png" in o.get("data", {}) for o in outputs) == 2
    table = next(o["data"]["text/plain"] for o in outputs if "text/plain" in o.get("data", {}))
    assert "0.25" in table  # bc: 2 of 8
    assert "1.00" in table
