"""`hiltk run` as a whole, with a step that needs no robot in place of `hiltk report`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from hiltk.artifacts.store import resolve, versions
from hiltk.artifacts.writing import create
from hiltk.errors import ConfigError, UserError
from hiltk.steps.run import run
from hiltk.verbs import STEPS

CHAIN = """
seeds: [0, 1]
vars: {word: one}
each_seed:
  first:
    report: {artifacts: [], title: "${vars.word}"}
  second:
    report: {artifacts: ["${out.first}"]}
together:
  page:
    report: {name: page, artifacts: ["${all.second}"]}
"""


@pytest.fixture
def chain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    def report(cfg: Any) -> Any:
        print(f"writing {cfg.name}")
        if cfg.title == "fail" and cfg.name.endswith("-s0"):
            raise UserError("no figures", fix="draw some")
        with create("reports", cfg.name, root=cfg.root, step="report", cfg=cfg, inputs=[], seed=0) as draft:
            (draft.path / "index.html").write_text(f"{cfg.title}{cfg.artifacts}")
        return draft.artifact

    module = ModuleType("hiltk.steps.report")
    module.run = report  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, STEPS["report"].module, module)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "chain.yaml").write_text(CHAIN)
    return str(tmp_path / "chain.yaml")


def test_the_whole_chain_runs_and_says_where_the_result_is(chain: str, capsys: pytest.CaptureFixture[str]) -> None:
    run(chain, [])
    out = capsys.readouterr().out
    assert out.count("writing ") == 5
    assert "seed 1, second: chain-second-s1@r-0001" in out
    assert out.rstrip().endswith(f"page: {Path('outputs/reports/page/r-0001/index.html')}")
    page = resolve("page", "reports").path / "index.html"
    assert page.read_text() == "['chain-second-s0@r-0001', 'chain-second-s1@r-0001']"


def test_the_second_time_everything_is_skipped_and_said(chain: str, capsys: pytest.CaptureFixture[str]) -> None:
    run(chain, [])
    capsys.readouterr()
    run(chain, [])
    out = capsys.readouterr().out
    assert "writing" not in out
    assert out.count("unchanged, skipped") == 5
    run(chain, ["seeds=[0,1,2]"])
    assert capsys.readouterr().out.count("writing") == 3  # the new seed's two, and the page that now has three


def test_dry_run_writes_nothing(chain: str, capsys: pytest.CaptureFixture[str]) -> None:
    run(chain, [], dry_run=True)
    out = capsys.readouterr().out
    assert out.count("would run") == 5
    assert not Path("outputs").exists()
    run(chain, [])
    capsys.readouterr()
    run(chain, ["second.title=new"], dry_run=True)
    out = capsys.readouterr().out
    assert "seed 0: first: unchanged, would be skipped" in out
    assert "seed 0: second: would run" in out
    assert "together: page: would run" in out


def test_a_mistake_in_a_later_step_is_found_before_the_first_runs(chain: str) -> None:
    with pytest.raises(ConfigError, match="step 'page'"):
        run(chain, ["page.titel=x"])
    assert not Path("outputs").exists()


def test_one_seed_fails_the_other_finishes(chain: str) -> None:
    with pytest.raises(UserError) as error:
        run(chain, ["first.title=fail"])
    assert "1 of 2 seeds failed" in str(error.value)
    assert "seed 0: no figures" in str(error.value)
    assert versions("reports", "chain-second-s1", "outputs") == ["r-0001"]
    assert not versions("reports", "page", "outputs")


def test_an_unwritable_root_is_said_at_once(chain: str) -> None:
    Path("file").write_text("x")
    with pytest.raises(UserError, match="output folder cannot be written"):
        run(chain, ["root=file/outputs", "jobs=2"])


def test_threads_are_limited_for_the_steps(chain: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS")
    run(chain, ["seeds=[0]"])
    assert os.environ.pop("OMP_NUM_THREADS") == "1"
