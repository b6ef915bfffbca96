"""`hiltk diagnose run` and `hiltk diagnose buffer` on a real training run: tables, figures, words, report, errors."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from omegaconf import OmegaConf
from typer.testing import CliRunner

from hiltk import cli
from hiltk.artifacts.store import Artifact, resolve
from hiltk.config.commands import DiagnoseBufferConf, DiagnoseRunConf, ReportConf
from hiltk.data.episode import Source
from hiltk.data.replay_export import stored_episodes
from hiltk.diagnostics.record import load
from hiltk.diagnostics.suspects import STANDS_OUT
from hiltk.errors import ConfigError, UserError
from hiltk.steps import diagnose_buffer, diagnose_run, report
from tests.diagnostics.planted import World, no_demonstrations


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    world = World(tmp_path_factory.mktemp("runs"), seed=0)
    no_demonstrations(world)
    return world


def buffer(world: World, **changes: object) -> Artifact:
    conf = DiagnoseBufferConf(root=world.root, name="buffer", policy="no-demonstrations")
    return diagnose_buffer.run(replace(conf, **changes))  # type: ignore[arg-type]


def test_the_buffers_numbers_are_those_of_the_store(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    found = buffer(world)
    table = load(found.path).table.set_index("part")
    episodes = list(stored_episodes(resolve("no-demonstrations", "policies", world.folder).path))
    sources = np.concatenate([e.source for e in episodes])
    assert table.transitions["policy"] == (sources == Source.policy).sum()
    assert table.transitions["human"] == (sources == Source.human).sum()
    assert table.positive["policy"] + table.positive["human"] == sum(e.terminated for e in episodes)
    assert table.episodes["demos"] == 8 and table.positive["demos"] == 8
    rates = pd.read_csv(found.path / "interventions.csv").rate
    metrics = pd.read_csv(resolve("no-demonstrations", "policies", world.folder).path / "metrics.csv")
    np.testing.assert_allclose(rates, metrics.intervention_rate, atol=1e-5)
    shifts = pd.read_csv(found.path / "shifts.csv")
    assert len(shifts) == 18 + 4 and shifts.ks.between(0, 1).all() and shifts.q.between(0, 1).all()
    out = " ".join(capsys.readouterr().out.split())
    assert "replay of no-demonstrations@p-0001" in out and load(found.path).verdict[:60] in out
    assert found.run()["step"] == "diagnose buffer" and [i["kind"] for i in found.run()["inputs"]] == [
        "policies", "datasets",
    ]  # fmt: skip


def test_the_run_is_judged_and_reported(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    found = diagnose_run.run(DiagnoseRunConf(root=world.root, name="run", policy="no-demonstrations", samples=64))
    record = load(found.path)
    assert record.table.score.is_monotonic_decreasing and record.table.score.iloc[0] >= STANDS_OUT
    assert record.table.cause.iloc[0] == "demonstrations do not reach the batches" == found.run()["first"]
    assert "demo_fraction 0" in record.table.numbers.iloc[0] and "demo_fraction=0.5" in record.table.fix.iloc[0]
    assert "Most likely: demonstrations do not reach the batches" in record.verdict
    out = " ".join(capsys.readouterr().out.split())
    assert "asked and cleared:" in out and "zero actions" in out
    buffer(world)
    page = report.run(
        ReportConf(
            root=world.root, name="why",
            artifacts=["policies/no-demonstrations", "evaluations/run", "evaluations/buffer"],
        )
    )  # fmt: skip
    html = (page.path / "index.html").read_text()
    assert "Diagnosis: what holds back no-demonstrations@p-0001" in html
    assert "Diagnosis: the replay of no-demonstrations@p-0001" in html


def test_what_is_no_training_run_is_refused(world: World, tmp_path: Path) -> None:
    cloned = tmp_path / "bc"
    shutil.copytree(resolve("no-demonstrations", "policies", world.folder).path, cloned)
    record = OmegaConf.load(cloned / "run.yaml")
    record.step = "bc-pretrain"
    OmegaConf.save(record, cloned / "run.yaml")
    for step, conf in ((diagnose_run, DiagnoseRunConf), (diagnose_buffer, DiagnoseBufferConf)):
        with pytest.raises(UserError, match="no training run: it was made by bc-pretrain") as caught:
            step.run(conf(root=world.root, name="x", policy=str(cloned)))  # type: ignore[attr-defined]
        assert "hiltk train" in caught.value.fix
    with pytest.raises(ConfigError, match="at least 10 observations"):
        diagnose_run.run(DiagnoseRunConf(root=world.root, name="x", policy="no-demonstrations", samples=3))
    assert not (world.folder / "evaluations" / "x").exists()


def test_a_run_whose_demonstrations_are_gone(world: World, tmp_path: Path) -> None:
    moved = tmp_path / "outputs"
    shutil.copytree(world.folder / "policies", moved / "policies")
    with pytest.raises(UserError, match="demos"):
        diagnose_buffer.run(DiagnoseBufferConf(root=str(moved), name="x", policy="no-demonstrations"))


@pytest.mark.parametrize(("verb", "words"), [("run", "Severity"), ("buffer", "whole episodes")])
def test_help_teaches(verb: str, words: str) -> None:
    assert words in CliRunner().invoke(cli.app, ["diagnose", verb, "--help"], terminal_width=200).output


def test_the_command_itself(world: World) -> None:
    done = CliRunner().invoke(cli.app, ["diagnose", "buffer", "no-demonstrations", f"root={world.root}", "name=typed"])
    assert done.exit_code == 0 and (world.folder / "evaluations" / "typed" / "e-0001" / "buffer.png").is_file()
    wrong = CliRunner().invoke(cli.app, ["diagnose", "run", "no-such-run", f"root={world.root}", "name=x"])
    assert wrong.exit_code == 1 and "no-such-run" in wrong.output
