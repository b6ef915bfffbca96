"""Pipeline files: what they mean, and how their mistakes are told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hiltk.configuring.files import pipelines
from hiltk.errors import ConfigError
from hiltk.orchestration.plan import Pipeline, find, load

CHAIN = """
seeds: [4, 7]
vars: {image: 32, base: 10}
common:
  env.image_height: ${vars.image}
  env.jitter.color: 0.5
each_seed:
  demos:
    record: {task: grasp, episodes: 3, seed: "${vars.base}${seed}"}
  bc:
    bc-pretrain: {datasets: ["${out.demos}"], agent.hidden: [8, 8]}
  check:
    eval: {policies: ["${out.bc}"], env.image_height: 16}
together:
  page:
    report: {artifacts: ["${all.check}", "${all.bc}", fixed], title: "it's done: 100%"}
"""


@pytest.fixture
def write(tmp_path: Path) -> Any:
    def write(text: str = CHAIN) -> str:
        file = tmp_path / "chain.yaml"
        file.write_text(text)
        return str(file)

    return write


def config(pipeline: Pipeline, label: str, seed: int | None = 4, **made: Any) -> Any:
    step = next(s for s in (*pipeline.each_seed, *pipeline.together) if s.label == label)
    return pipeline.config(step, seed, made)


def test_settings_reach_the_steps(write: Any) -> None:
    pipeline = load(write(), ["root=/tmp/somewhere"])
    demos = config(pipeline, "demos", 7)
    assert (demos.name, demos.root, demos.seed, demos.task.name) == ("chain-demos-s7", "/tmp/somewhere", 107, "grasp")
    bc = config(pipeline, "bc", demos="chain-demos-s4@d-0002")
    assert (bc.datasets, bc.agent.hidden, bc.seed) == (["chain-demos-s4@d-0002"], [8, 8], 4)


def test_common_settings_go_to_the_steps_that_have_them_and_yield_to_their_own(write: Any) -> None:
    pipeline = load(write())
    assert config(pipeline, "demos").env.image_height == 32
    assert config(pipeline, "check", bc="b").env.image_height == 16
    assert config(pipeline, "check", bc="b").env.jitter.color == 0.5


def test_steps_after_the_seeds_see_all_of_them(write: Any) -> None:
    page = config(load(write()), "page", None, check=["c4@e-0001", "c7@e-0001"], bc=["b4", "b7"])
    assert page.artifacts == ["c4@e-0001", "c7@e-0001", "b4", "b7", "fixed"]
    assert (page.name, page.title) == ("chain-page", "it's done: 100%")
    assert not hasattr(page, "seed")  # nothing in a report is random


def test_changes_from_the_command_line(write: Any) -> None:
    changes = ["seeds=[1]", "jobs=3", "vars.image=84", "demos.episodes=9", "bc.lr=1e-4", "demos.task.stratum=near"]
    pipeline = load(write(), changes)
    assert (pipeline.seeds, pipeline.jobs) == ((1,), 3)
    demos = config(pipeline, "demos", 1)
    assert (demos.env.image_height, demos.episodes, demos.task.stratum) == (84, 9, "near")
    assert config(pipeline, "bc", demos="d").lr == 1e-4


def test_one_seed_needs_no_brackets(write: Any) -> None:
    assert load(write(), ["seeds=0"]).seeds == (0,)


def test_a_step_waits_for_those_whose_artifacts_it_names(write: Any) -> None:
    assert load(write()).needs == {
        "demos": set(),
        "bc": {"demos"},
        "check": {"bc"},
        "page": {"check", "bc"},
    }


@pytest.mark.parametrize(
    ("old", "new", "needs"),
    [
        # By its own name, in all its forms; through a variable; because it writes what another writes.
        ('datasets: ["${out.demos}"]', "datasets: [chain-demos-s4]", {"demos"}),
        ('datasets: ["${out.demos}"]', 'datasets: ["chain-demos-s${seed}@d-0001"]', {"demos"}),
        ('datasets: ["${out.demos}"]', 'datasets: ["outputs/datasets/chain-demos-s4/d-0001"]', {"demos"}),
        ('datasets: ["${out.demos}"]', 'datasets: ["${out.demos}:0-9"]', {"demos"}),
        ('datasets: ["${out.demos}"]', 'datasets: ["${vars.from}"]', {"demos"}),
        ('datasets: ["${out.demos}"]', 'datasets: ["chain-demos-s4b"]', set()),
        ('datasets: ["${out.demos}"]', "name: chain-demos-s4, datasets: [x]", {"demos"}),
    ],
)
def test_needs_by_name(write: Any, old: str, new: str, needs: set[str]) -> None:
    text = CHAIN.replace("vars: {", 'vars: {from: "${out.demos}", ')
    assert old in text
    assert load(write(text.replace(old, new))).needs["bc"] == needs


def test_the_quickstart_runs_side_by_side_what_can() -> None:
    needs = load("quickstart").needs
    assert not needs["demos"] | needs["views"] | needs["play"]
    assert needs["classifier"] == {"views", "play"} and needs["bc"] == {"demos"} and needs["bc_check"] == {"bc"}
    assert needs["hil"] == {"demos", "bc", "classifier"}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("sedes=[1]", "did you mean 'seeds'?"),
        ("vars.imag=1", "did you mean 'vars.image'?"),
        ("demos.episods=1", "did you mean 'episodes'?"),
        ("demo.episodes=1", "'demo.episodes' is not a setting"),
        ("jobs=many", "jobs=many"),
        ("jobs=0", "at least one step"),
        ("seeds=[]", "at least one seed"),
        ("seeds=[1,1]", "a seed appears twice"),
        ("seeds=-1", "a seed cannot be negative"),
        ("seeds=abc", "seeds=abc"),
        ("seeds={a: 1}", "seeds={a: 1}"),
        ("jobs=[1]", "jobs=[1]"),
        ("vars.image=[1", "'[1' cannot be read as a value"),
        ("seeds", "'seeds' is not a setting"),
        ("common.env.imge_height=1", "did you mean 'env.image_height'?"),
    ],
)
def test_wrong_changes_are_named(write: Any, change: str, said: str) -> None:
    with pytest.raises(ConfigError) as error:
        load(write(), [change])
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("${out.demos}", "${out.demo}", "did you mean 'out.demos'?"),
        ("${out.bc}", "${out.page}", "${out.page} is not there yet"),
        ("${all.check}", "${all.chekc}", "did you mean 'all.check'?"),
        ("${vars.image}", "${vars.imag}", "did you mean 'vars.image'?"),
        ("bc-pretrain:", "bc-pretrian:", "did you mean 'bc-pretrain'?"),
        ("bc-pretrain:", "check:", "`hiltk check` writes no artifact"),
        ("episodes: 3", "episodes: three", "step 'demos' of pipeline 'chain': episodes=three does not fit"),
        ("agent.hidden: [8, 8]", "agent: sca", "did you mean 'sac'?"),
        ("env.jitter.color: 0.5", "evn.fps: 3", "no step has the setting 'evn.fps'"),
        ("each_seed:", "each_sed:", "did you mean 'each_seed'?"),
        ("  page:", "  bc:", "two steps are called 'bc'"),
        ("  page:", "  vars:", "'vars' cannot be a step's label"),
        ("    eval: {", "    eval: {a: 1}\n    record: {", "a step is one command"),
        ("seeds: [4, 7]", "seeds: [a]", "could not be converted to Integer"),
        ("seeds: [4, 7]", "seeds: [4, 7", "cannot be read"),
        ("seeds: [4, 7]", "seconds: {demo: 3}", "did you mean 'demos'?"),
        ("seeds: [4, 7]", "seconds: {demos: 0}", "demos: 0 is not a duration"),
        ("  demos:", "  bc:", "cannot be read"),  # a key twice
    ],
)
def test_wrong_files_are_explained_before_anything_runs(write: Any, old: str, new: str, said: str) -> None:
    assert old in CHAIN
    with pytest.raises(ConfigError) as error:
        load(write(CHAIN.replace(old, new)))
    assert said in str(error.value)


def test_an_empty_pipeline_is_refused(write: Any) -> None:
    with pytest.raises(ConfigError, match="has no steps"):
        load(write("seeds: [0]\n"))


def test_names_are_looked_up(tmp_path: Path) -> None:
    assert {"quickstart", "lift"} <= set(pipelines())
    assert find("lift").name == "lift.yaml"
    with pytest.raises(ConfigError, match="did you mean 'lift'"):
        find("lfit")
    with pytest.raises(ConfigError, match="no such pipeline file"):
        find(str(tmp_path / "x.yaml"))


@pytest.mark.parametrize("name", pipelines())
def test_shipped_pipelines_open_with_their_command_and_are_valid(name: str) -> None:
    assert find(name).read_text().startswith(f"# hiltk run {name}\n")
    pipeline = load(name)
    assert pipeline.seeds == ((0,) if name in ("quickstart", "real") else (0, 1, 2))
    assert pipeline.together[-1].verb.name == "report"


def test_the_environment_sets_the_root_of_a_pipeline(write: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write()
    assert load(file).root == "outputs"
    monkeypatch.setenv("HILTK_ROOT", "/a")
    pipeline = load(file)
    made = {"demos": "d@d-0001", "bc": "b@p-0001"}
    assert pipeline.root == pipeline.config(pipeline.each_seed[0], 4, made).root == "/a"
    assert load(file, ["root=/b"]).root == load(write("root: /b\n" + CHAIN)).root == "/b"
