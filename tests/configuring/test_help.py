"""Help: every setting with its meaning, in a terminal of 80 columns."""

from __future__ import annotations

import re

import pytest
from typer.testing import CliRunner

from hiltk import cli
from hiltk.config.commands import COMMANDS
from hiltk.config.groups import SCHEMAS
from hiltk.config.setting import declared
from hiltk.configuring.composing import compose_untyped, walk
from hiltk.configuring.help import tables
from hiltk.verbs import STEPS


def shown(name: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("COLUMNS", "80")
    return CliRunner().invoke(cli.app, [*name.split(), "--help"], terminal_width=80).output


@pytest.mark.parametrize("name", list(STEPS))
def test_help_lists_every_setting_that_a_command_takes(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = set(re.findall(r"^   ([a-z][\w.]*)=", shown(name, monkeypatch), re.MULTILINE))
    cfg = dict(walk(compose_untyped(STEPS[name], [])))
    leaves = {key for key in cfg if not any(other.startswith(f"{key}.") for other in cfg)}
    assert leaves <= listed
    assert listed <= set(cfg)


@pytest.mark.parametrize("name", list(STEPS))
def test_every_line_of_the_settings_fits(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither cut nor broken by the terminal: every line that is made comes out as it is."""
    lines = [line.strip() for line in shown(name, monkeypatch).splitlines()]
    for heading, settings in tables(STEPS[name]):
        assert heading in lines
        assert not [line for line in settings if line.strip() not in lines]


@pytest.mark.parametrize("schema", [*COMMANDS.values(), *(s for group in SCHEMAS.values() for s in group.values())])
def test_every_field_says_what_it_means(schema: type) -> None:
    assert not [s.key for s in declared(schema) if not s.help]


def test_the_values_are_those_of_the_option_that_the_command_takes() -> None:
    text = "\n".join(line for _, lines in tables(STEPS["train-classifier"]) for line in lines)
    assert re.search(r"encoder=cnn_fine +what turns images into features", text)
    assert "encoder.channels=[16,32,48,48]" in text  # conf/encoder/cnn_fine.yaml
    assert re.search(r"encoder.features=64 +per camera", text)  # the field's own


def test_a_setting_that_must_be_given_says_so() -> None:
    headings = dict(tables(STEPS["preview"]))
    own = headings["Settings, with the value they have now"]
    assert [line.split()[:2] for line in own[:2]] == [["name=", "required;"], ["classifier=", "required;"]]
    assert [line.split("=")[0].strip() for line in own if re.match(r"  \w+=", line)][-4:] == [
        "seed",
        "threads",
        "device",
        "root",
    ]


def test_help_lists_the_settings_of_the_options_that_were_typed(monkeypatch: pytest.MonkeyPatch) -> None:
    by_itself = shown("train", monkeypatch)
    typed = shown("train agent=drqv2 env=gymnasium task=nonsense", monkeypatch)
    assert "agent.noise=" not in by_itself and "agent.temperature=" in by_itself
    assert "agent.noise=" in typed and "agent.temperature=" not in typed and "agent=drqv2" in typed
    assert "env.jitter" not in typed and "task=lift" in typed
