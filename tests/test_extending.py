"""One agent, environment, human, encoder, task and verb from outside the package, through the command line.

The environment is a real arm in miniature: it has no predicate, pays nothing and repeats nothing. Nothing in hiltk
knows its name, so what works and what is refused here follows from what it declares.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from hiltk.agents.encoders import ENCODERS
from hiltk.agents.make import AGENTS, Learner
from hiltk.config.groups import SCHEMAS, EncoderConf, HumanConf, TaskConf
from hiltk.config.setting import declared
from hiltk.configuring.files import groups, option
from hiltk.envs.make import ENVS, EnvRow
from hiltk.envs.tasks import TASKS
from hiltk.humans.make import HUMANS

HERE = Path(__file__).parents[1]
# One process for all: imports take longer than any of these commands. What fails says why and does not end it.
DRIVER = """
import json, sys
import tests.outside
from hiltk.cli import main
for words in json.loads(sys.argv[1]):
    sys.argv = ["hiltk", *words]
    try:
        main()
    except SystemExit as end:
        print("ENDED", json.dumps([words[1], end.code or 0]), file=sys.stderr, flush=True)
"""
DESK = ("env=desk", "human=pusher", "reward=env")
SMALL = ("agent.hidden=[8]", "batch_size=4", "learning_starts=4", "utd=0.5", "capacity=50", "episodes=2")
COMMANDS = (
    ("record", "name=pushes", "episodes=2", "keep=all", *DESK),
    ("count", "name=how-many", "pushes"),
    ("train", "name=pushed", *DESK, "agent=cautious", "encoder=brightness", "demos=[pushes]", *SMALL),
    ("record", "name=hovering", "episodes=1", "env.cameras=[]", "task=hover", "human.noise=0"),
    ("record", "name=scripted", "env=desk", "reward=env"),
    ("record", "name=unjudged", "env=desk", "human=pusher"),
    ("eval", "name=measured", "pushed", "env=desk", "judge=env"),
    ("preview", "name=seen", "cube", "env=desk"),
    ("label", "name=judged", "pushes", "source=predicate", "rewards=keep"),
    ("diagnose", "policy", "name=moved", "pushed", "env=desk", "positions=sim"),
    ("diagnose", "encoder", "name=shown", "pushed", "env=desk", "positions=sim"),
)


@dataclass(frozen=True)
class Outcome:
    code: int
    said: str


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("outside")


@pytest.fixture(scope="module")
def outcomes(root: Path) -> dict[str, Outcome]:
    """How each command ended, by the name of what it was to make."""
    commands = [[*words, f"root={root}"] for words in COMMANDS]
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, json.dumps(commands)],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(HERE), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
    )
    *parts, rest = done.stderr.split("ENDED ")
    assert len(parts) == len(COMMANDS), done.stderr
    codes = [json.loads(part.splitlines()[0])[1] for part in (*parts[1:], rest)]
    names = [next(w for w in words if w.startswith("name=")).removeprefix("name=") for words in COMMANDS]
    said = [parts[0], *("\n".join(part.splitlines()[1:]) for part in parts[1:])]
    return {name: Outcome(code, " ".join(text.split())) for name, code, text in zip(names, codes, said, strict=True)}


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("pushes", "datasets/pushes/d-0001/run.yaml"),  # environment, human
        ("how-many", "reports/how-many/r-0001/count.txt"),  # verb
        ("pushed", "policies/pushed/p-0001/policy.safetensors"),  # environment, human, agent, encoder
        ("hovering", "datasets/hovering/d-0001/run.yaml"),  # task
    ],
)
def test_what_another_package_adds_works(root: Path, outcomes: dict[str, Outcome], name: str, file: str) -> None:
    assert outcomes[name].code == 0, outcomes[name].said
    assert (root / file).is_file()


def test_what_was_added_is_in_the_record(root: Path, outcomes: dict[str, Outcome]) -> None:
    config = yaml.safe_load((root / "policies/pushed/p-0001/run.yaml").read_text())["config"]
    assert config["env"] == {"name": "desk", "fps": 10.0, "reach_m": 0.1}
    assert (config["agent"]["name"], config["agent"]["caution"]) == ("cautious", 0.5)
    assert (config["encoder"]["name"], config["human"]["name"]) == ("brightness", "pusher")
    assert (root / "reports/how-many/r-0001/count.txt").read_text() == "14\n"  # two episodes of six steps


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("scripted", "the scripted human only knows the simulated SO-101, not DeskEnv"),
        ("unjudged", "this environment does not say when its task is done"),
        ("measured", "env=desk cannot tell success by itself, so there is nothing to evaluate against"),
        ("seen", "the scripted human knows only the simulated SO-101, not env=desk"),
        ("judged", "was not recorded in the simulated arm"),
        ("moved", "only the simulated arm can move its cube"),
        ("shown", "only the simulated arm knows where its cube is"),
    ],
)
def test_what_it_does_not_declare_is_refused_by_name(outcomes: dict[str, Outcome], name: str, why: str) -> None:
    assert outcomes[name].code in (1, 2)
    assert why in outcomes[name].said


def test_help_and_completion_list_what_another_package_adds() -> None:
    script = """
import json, sys
import tests.outside
from hiltk.configuring.completion import complete
from hiltk.configuring.help import help_text
from hiltk.verbs import VERBS
train, count = VERBS["train"], VERBS["count"]
words = [([], "env="), ([], "agent="), (["env=desk"], "env.reach"), (["agent=cautious"], "agent.cau")]
print(json.dumps([help_text(train), help_text(count), *(complete(train, *said) for said in words)]))
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=HERE, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    train, count, envs, agents, env_keys, agent_keys = json.loads(done.stdout)
    for named in (
        "desk | gymnasium | so101 | so101_sim",
        "grasp | hover",
        "clumsy | pusher",
        "cautious | drqv2",
        "brightness | cnn",
    ):
        assert named in train
    assert "Count the frames of a dataset." in count and "whose frames are counted" in count
    assert "env=desk" in envs and "agent=cautious" in agents
    assert env_keys == ["env.reach_m=", "env.reach_m=0.1"]
    assert agent_keys == ["agent.caution=", "agent.caution=0.5"]


# ---------------------------------------------------------------- the tables themselves


@pytest.mark.parametrize(("schema", "table"), [(TaskConf, TASKS), (HumanConf, HUMANS), (EncoderConf, ENCODERS)])
def test_the_help_of_a_name_lists_the_rows(schema: type, table: Mapping[str, object]) -> None:
    name = next(setting for setting in declared(schema) if setting.key == "name")
    assert set(table) <= set(re.findall(r"\w+", name.help))


@pytest.mark.parametrize(
    ("group", "table"),
    [("env", ENVS), ("human", HUMANS), ("task", TASKS), ("encoder", ENCODERS), ("agent", AGENTS)],
)
def test_every_row_has_an_option_and_every_option_a_row(group: str, table: Mapping[str, object]) -> None:
    named = set()
    for name in groups()[group]:
        schema, values = option(group, name)
        named.add(values.get("name", SCHEMAS[group][schema].name))
    assert named == set(table)


@pytest.mark.parametrize(("group", "table"), [("env", ENVS), ("agent", AGENTS)])
def test_a_row_and_an_option_mean_the_same_settings(group: str, table: Mapping[str, EnvRow | Learner]) -> None:
    assert {row.conf for row in table.values()} == set(SCHEMAS[group].values())


def test_contributing_names_files_that_exist() -> None:
    named = re.findall(r"`((?:hiltk|conf|tests)/[\w/.]+)`", (HERE / "CONTRIBUTING.md").read_text())
    assert len(named) > 10
    assert [n for n in named if "NAME" not in n and not (HERE / n).exists()] == []
    assert [n for n in named if "NAME" in n and not (HERE / n).parent.is_dir()] == []
