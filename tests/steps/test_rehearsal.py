"""A whole afternoon at an arm by the commands one would type, through LeRobot's own driver and an emulated bus."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from hiltk import cli
from hiltk.artifacts.store import resolve
from hiltk.robots.arm_store import load_arm_file, save_arm_file

SMALL = (
    "env.image_height=32", "env.image_width=32", "encoder=cnn", "encoder.channels=[4]", "encoder.kernels=[3]",
    "encoder.strides=[4]", "encoder.features=8", "agent.hidden=[16,16]",
)  # fmt: skip
ARM = ("env=so101", "env.arm=desk", *SMALL[:2])


def done(*words: str, answers: str = "") -> str:
    result = CliRunner().invoke(cli.app, list(words), terminal_width=200, input=answers)
    assert result.exit_code == 0, f"{' '.join(words)}\n{result.output}"
    return result.output


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An emulated arm in simulated time, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    done("arm", "init", "desk", "--emulated")
    arm = load_arm_file("desk")
    arm.emulated.time = "fast"
    save_arm_file(arm, Path("arms/desk.yaml"))
    return tmp_path


def test_an_afternoon_at_the_arm(desk: Path) -> None:
    done("record", "name=near", *ARM, "task.stratum=near", "episodes=2")
    done("record", "name=lost", *ARM, "task.stratum=near", "episodes=2", "fault=zero_actions", "seed=3")
    assert "rebuilt" in done("fix-actions", "lost", "name=found")
    done("record", "name=views", *ARM, "keep=all", "human.skill=0.7", "episodes=4", "steps_after_success=6")
    done("record", "name=play", *ARM, "keep=all", "human=wandering", "episodes=2", "task.time_limit_s=3")
    done("train-classifier", "views", "play", "name=cube", "steps=60")
    done("bc-pretrain", "near", "found", "name=bc", "steps=60", *SMALL[2:])
    learned = done(
        "train", "name=lift", *ARM, *SMALL[2:], "demos=[near,found]", "init=bc", "reward=classifier",
        "reward.classifier=cube", "episodes=2", "batch_size=16", "checks.ignore=[REW007,REW008,LRN003]",
    )  # fmt: skip
    assert "trained 2 episodes" in learned
    said = done(
        "eval", "bc", "lift", "name=judged", *ARM, "judge=person", "classifier=cube", "strata=[near]", "episodes=1",
        answers="s\nf\n",
    )  # fmt: skip
    assert "The classifier's verdict beside the person's" in said
    evaluated = resolve("judged", "evaluations", "outputs").path
    rows = pd.read_csv(evaluated / "episodes.csv")
    assert sorted(rows.policy) == ["bc", "lift"] and sorted(rows.success) == [False, True]


def test_a_policy_from_simulation_starts_a_training_on_the_arm(desk: Path) -> None:
    done("record", "name=sim", *SMALL[:2], "episodes=2")
    done("bc-pretrain", "sim", "name=bc", "steps=40", *SMALL[2:])
    said = done(
        "train", "name=lift", *ARM, *SMALL[2:], "demos=[sim]", "init=bc", "episodes=1", "batch_size=16",
        "task.time_limit_s=1",
    )  # fmt: skip
    assert "starting from bc" in said
    assert "robot.name" in said and "so101_sim" in said and "(emulated)" in said  # what merely differs is named
    refused = CliRunner().invoke(
        cli.app, ["train", "name=other", *ARM, *SMALL[2:], "init=bc", "env.fps=5"], terminal_width=200
    )
    assert refused.exit_code == 1 and "fps: 10.0 against 5.0" in refused.output  # what must agree is enforced


# What makes the manual's commands small enough for a test.
SMALLER = {
    "record": (*SMALL[:2], "episodes=3"),
    "train-classifier": ("steps=60",),
    "bc-pretrain": ("steps=40", *SMALL[2:]),
    "train": (*SMALL, "episodes=1", "batch_size=16", "checks.ignore=[REW007,REW008,LRN003]"),
    "eval": (*SMALL[:2], "episodes=1", "strata=[near]"),
}


@pytest.mark.slow
def test_the_manual_from_demonstrations_to_a_verdict(desk: Path) -> None:
    text = (Path(__file__).parents[2] / "docs/first-hour.md").read_text()
    lines = [line for block in re.findall(r"```bash\n(.*?)```", text, re.DOTALL) for line in block.splitlines()]
    ran = []
    for line in lines:
        verb, *words = line.replace("black", "desk").split()[1:]
        if verb in SMALLER:
            done(verb, *words, *SMALLER[verb], answers="s\nf\n")
            ran.append(verb)
    assert ran == ["record"] * 3 + ["train-classifier", "bc-pretrain", "train", "eval"]
