"""The table of verbs, and that what derives from it does."""

from __future__ import annotations

import ast
import importlib.util
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hiltk import cli
from hiltk.artifacts.store import KINDS
from hiltk.checks.engine import RULES  # with every rule registered
from hiltk.configuring.composing import settings
from hiltk.verbs import GATED, STEPS, VERBS, Verb


def source(verb: Verb) -> ast.Module:
    spec = importlib.util.find_spec(verb.module)
    assert spec and spec.origin
    return ast.parse(Path(spec.origin).read_text())


def calls(tree: ast.Module, name: str) -> list[ast.Call]:
    found = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return [call for call in found if isinstance(call.func, ast.Name) and call.func.id == name]


def test_every_row_is_a_command_and_every_command_a_row() -> None:
    names = [info.name for info in cli.app.registered_commands]
    for prefix in cli.app.registered_groups:
        assert prefix.typer_instance
        names += [f"{prefix.name} {info.name}" for info in prefix.typer_instance.registered_commands]
    assert sorted(map(str, names)) == sorted(VERBS)


def test_the_help_lists_the_verbs_by_group() -> None:
    lines = CliRunner().invoke(cli.app, ["--help"], terminal_width=200).output.splitlines()
    listed, group = {}, ""
    for line in lines:
        if line.startswith("╭─ "):
            group = line.split()[1]
        elif line.startswith("│ ") and not line.startswith("│  "):
            listed[line.split()[1]] = group
    expected = {name.split()[0]: verb.group for name, verb in VERBS.items()}
    assert {name: group for name, group in listed.items() if group != "Options"} == expected
    assert list(dict.fromkeys(listed.values()))[1:] == list(dict.fromkeys(expected.values()))


@pytest.mark.parametrize("verb", VERBS.values(), ids=lambda verb: verb.name)
def test_a_verb_has_a_module_that_runs(verb: Verb) -> None:
    functions = [node.name for node in source(verb).body if isinstance(node, ast.FunctionDef)]
    assert "run" in functions
    assert verb.has_config == bool(verb.kind) and verb.kind in ("", *KINDS)


@pytest.mark.parametrize("verb", STEPS.values(), ids=lambda verb: verb.name)
def test_what_a_step_writes_is_recorded_under_its_name(verb: Verb) -> None:
    """Else `run.yaml` names another command, and the key of the run covers another's code."""
    tree = source(verb)
    assert {ast.literal_eval(call.args[0]) for call in calls(tree, "create")} <= {verb.kind}
    given = [k.value for n in ast.walk(tree) if isinstance(n, ast.Call) for k in n.keywords if k.arg == "step"]
    assert {node.value for node in given if isinstance(node, ast.Constant)} == {verb.name}


@pytest.mark.parametrize("verb", STEPS.values(), ids=lambda verb: verb.name)
def test_plain_words_go_to_a_setting(verb: Verb) -> None:
    assert not verb.words or verb.words in settings(verb)


@pytest.mark.parametrize("verb", VERBS.values(), ids=lambda verb: verb.name)
def test_a_verb_checks_what_the_table_says(verb: Verb) -> None:
    tree = source(verb)
    names = {"inputs": "gate", "output": "examine_written", "change": "examine_change"}
    checked = [where for where, name in names.items() if calls(tree, name)]
    assert checked == ([verb.gate] if verb.gate else [])


def test_whoever_writes_a_dataset_checks_it() -> None:
    assert [
        verb.name for verb in VERBS.values() if verb.kind == "datasets" and verb.gate not in ("output", "change")
    ] == []


def test_rules_belong_to_verbs_that_check() -> None:
    assert {step for rule in RULES.values() for step in rule.steps} == set(GATED)
