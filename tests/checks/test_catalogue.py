"""The map of the catalogue: complete, and true of the code it names."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path

import pytest

from hiltk.checks import catalogue, engine
from hiltk.checks.rule import RULES
from hiltk.learning import guards
from hiltk.verbs import GATED

SECTIONS = ("Symptom:", "Cause:", "Detected:", "Fix:", "Source:")
FAMILIES = {"ACT", "GRP", "KIN", "IMG", "REW", "LRN", "RUN"}


def test_no_id_is_missing() -> None:
    assert len(catalogue.IDS) == 83
    assert [id_ for id_, covers in catalogue.covered().items() if not covers] == []


def test_rules_cover_only_ids_there_are() -> None:
    assert {id_ for rule in RULES.values() for id_ in rule.covers} <= set(catalogue.IDS)
    assert all(rule.covers for rule in RULES.values())


@pytest.mark.parametrize("cover", catalogue.CONSTRUCTION, ids=lambda c: c.by)
def test_what_construction_names_is_there(cover: catalogue.Cover) -> None:
    parts = cover.by.split(".")
    for cut in range(len(parts) - 1, 0, -1):
        if Path(engine.__file__).parents[1].joinpath(*parts[1:cut]).with_suffix(".py").is_file():
            thing = importlib.import_module(".".join(parts[:cut]))
            for name in parts[cut:]:
                thing = getattr(thing, name)
            return
    pytest.fail(f"no module of {cover.by}")


@pytest.mark.parametrize("cover", catalogue.GUARDS, ids=lambda c: c.by)
def test_what_guards_name_is_there(cover: catalogue.Cover) -> None:
    names = {guard.__name__ for guard in guards.GUARDS} | {"_regression", "drift"}
    assert cover.by in names


@pytest.mark.parametrize("code", sorted(RULES))
def test_every_rule_explains_itself(code: str) -> None:
    rule = RULES[code]
    assert code[:3] in FAMILIES and code[3:].isdigit()
    lines = rule.explanation.splitlines()
    assert lines[0].endswith(".") and lines[1] == ""
    assert [s for s in SECTIONS if not any(line.startswith(s) for line in lines)] == []
    assert set(rule.steps) <= set(GATED)
    assert len(inspect.signature(rule.check).parameters) == 1


def test_every_step_with_a_gate_has_rules() -> None:
    for step in GATED:
        assert engine.of_step(step), step
