"""Whoever makes a dataset of another artifact checks it: old errors pass with a warning, new ones do not pass."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from hiltk import cli
from hiltk.artifacts.store import resolve, versions
from hiltk.artifacts.writing import create
from hiltk.checks.engine import examine, gather
from hiltk.data.episode import Episode
from hiltk.data.replay import FrameStore, example_observation
from hiltk.spec import STATE_KEY, Spec
from hiltk.steps import stats
from tests.conftest import START_DEG, build_episode, build_spec, write_dataset

LENGTH = 20


def hiltk(root: Path, *words: str) -> Result:
    return CliRunner().invoke(cli.app, [*words, f"root={root}"], env={"COLUMNS": "120"})


def episodes(spec: Spec, seeds: range) -> list[Episode]:
    return [build_episode(spec, LENGTH, seed) for seed in seeds]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Datasets: one without a fault; one in whose episode 1 all actions are 0; `moved`, four that start where their
    spec says and three that do not; `there` and `elsewhere`, the like apart, of which each by itself is sound."""
    folder, spec = tmp_path_factory.mktemp("data"), build_spec()
    write_dataset(folder / "sound", spec, episodes(spec, range(4)))
    broken = episodes(spec, range(10, 14))
    broken[1].actions[:] = 0
    write_dataset(folder / "broken", spec, broken)
    home = build_spec()
    state = episodes(home, range(1))[0].observations[STATE_KEY][0]
    home.robot.reset_ee_m = [float(state[home.state.names.index(f"ee.{axis}")]) for axis in "xyz"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tests.conftest.START_DEG", START_DEG + np.array([25.0, 0, 0, 0, 0, 0]))
        away = episodes(home, range(30, 35))
    write_dataset(folder / "moved", home, [*episodes(home, range(20, 24)), *away[:3]])
    write_dataset(folder / "there", home, episodes(home, range(20, 22)))
    write_dataset(folder / "elsewhere", spec, away)
    return folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "root"


def test_the_datasets_are_as_meant(folder: Path) -> None:
    def codes(name: str) -> set[str]:
        return {f.code for f in examine(gather([resolve(str(folder / name), "datasets")])).findings}

    assert {name: codes(name) for name in ("sound", "broken", "moved", "there", "elsewhere")} == {
        "sound": set(),
        "broken": {"ACT001"},
        "moved": set(),
        "there": set(),
        "elsewhere": set(),
    }


LABELS = "episode,first,last,kind\n0,15,,\n"
CARRIED = {
    "merge": ("datasets=[{folder}/sound,{folder}/broken]",),
    "split": ("{folder}/broken", "episodes=[1]", "held_out_name=other"),
    "drop-episodes": ("{folder}/broken", "episodes=[0]"),
    "label": ("{folder}/broken", "file={folder}/labels.csv"),
    "stats": ("{folder}/broken",),
}


@pytest.mark.parametrize("verb", CARRIED)
def test_an_error_that_was_there_is_said_and_passes(verb: str, folder: Path, root: Path) -> None:
    (folder / "labels.csv").write_text(LABELS)
    result = hiltk(root, verb, *(w.format(folder=folder) for w in CARRIED[verb]), "name=made")
    assert result.exit_code == 0, result.output
    assert "warning ACT001" in result.output and "warning: carried over from" in result.output
    assert "ACT001; refused by bc-pretrain, train until fixed" in result.output
    checks = resolve("other" if verb == "split" else "made", "datasets", root).run()["checks"]
    assert checks["carried_over"] == ["ACT001"] and checks["rules"] > 20
    assert [(f["code"], f["severity"]) for f in checks["findings"]] == [("ACT001", "warning")]


def test_what_is_clean_afterwards_says_so(folder: Path, root: Path) -> None:
    """Only the part with the bad episode has the error; without that episode nothing is left of it."""
    split = hiltk(root, "split", f"{folder}/broken", "episodes=[1]", "name=made")
    assert split.exit_code == 0 and split.output.count("carried over") == 1, split.output
    assert resolve("made", "datasets", root).run()["checks"]["carried_over"] == []
    dropped = hiltk(root, "drop-episodes", f"{folder}/broken", "episodes=[1]", "name=clean")
    assert dropped.exit_code == 0 and "carried over" not in dropped.output, dropped.output
    assert resolve("clean", "datasets", root).run()["checks"]["findings"] == []


def spoilt_stats(path: Path, spec: Spec, columns: Any) -> None:
    """In place of the right statistics: a joint that is normalised by almost nothing."""
    spec.stats[STATE_KEY].std[0] = 1e-9


BROUGHT_IN = {  # no source has the error that comes of it
    "merge": ("KIN005", "datasets=[{folder}/there,{folder}/elsewhere]", "allow=[robot.reset_ee_m]"),
    "split": ("KIN005", "{folder}/moved", "episodes=[4-6]", "held_out_name=other"),
    "drop-episodes": ("KIN005", "{folder}/moved", "episodes=[0-3]"),
    "label": ("REW006", "{folder}/sound", "file={folder}/labels.csv", "rewards=keep"),
    "stats": ("LRN001", "{folder}/sound"),
}


@pytest.mark.parametrize("verb", BROUGHT_IN)
def test_an_error_that_the_step_brings_in_is_refused(
    verb: str, folder: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "labels.csv").write_text("episode,first,last,kind\n0,2,,\n1,,,failure\n2,,,failure\n3,,,failure\n")
    monkeypatch.setattr(stats, "write_sane_stats", spoilt_stats)
    code, *words = (w.format(folder=folder) for w in BROUGHT_IN[verb])
    refused = hiltk(root, verb, *words, "name=made")
    assert refused.exit_code == 1 and f"{verb} refuses: {code}" in refused.stderr, refused.output
    assert f"checks.ignore=[{code}" in refused.stderr and "Traceback" not in refused.output
    assert not versions("datasets", "made", root) and not versions("datasets", "other", root)
    ignored = hiltk(root, verb, *words, "name=made", f"checks.ignore=[{code[:3]}]")
    assert ignored.exit_code == 0, ignored.output
    assert resolve("made", "datasets", root).run()["checks"]["ignored"].count(code) == 1


def policy(root: Path, lived: list[Episode]) -> None:
    """A policy that has lived through these episodes, as far as exporting them goes."""
    spec = build_spec()
    with create("policies", "lift", root=root, step="train", cfg={}, inputs=[], seed=0) as draft:
        store = FrameStore(500, example_observation(spec), 4, draft.path / "online")
        for episode in lived:
            store.add_episode(episode)
        store.flush()
        draft.spec = spec


def test_export_replay(root: Path) -> None:
    lived = episodes(build_spec(), range(4))
    policy(root, lived)
    done = hiltk(root, "export-replay", "lift", "name=made")
    assert done.exit_code == 0, done.output
    assert resolve("made", "datasets", root).run()["checks"]["findings"] == []
    lived[2].actions = np.zeros_like(lived[2].actions)
    policy(root, lived)
    refused = hiltk(root, "export-replay", "lift", "name=zeros")
    assert refused.exit_code == 1 and "export-replay refuses: ACT001" in refused.stderr, refused.output
    assert not versions("datasets", "zeros", root)
    assert hiltk(root, "export-replay", "lift", "name=zeros", "checks.ignore=[ACT001]").exit_code == 0


@pytest.mark.parametrize("verb", [*CARRIED, "export-replay"])
def test_a_rule_that_is_not_there(verb: str, folder: Path, root: Path) -> None:
    words = CARRIED.get(verb, ("lift",))
    result = hiltk(root, verb, *(w.format(folder=folder) for w in words), "name=made", "checks.ignore=[ACT999]")
    assert result.exit_code == 2 and "there is no rule 'ACT999'" in result.stderr, result.output
