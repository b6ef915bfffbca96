"""The YAML files: each explains itself, and says nothing that a field says."""

from __future__ import annotations

import importlib.util
import shlex
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from omegaconf import OmegaConf

from hiltk.config.commands import COMMANDS
from hiltk.config.groups import SCHEMAS
from hiltk.config.setting import declared
from hiltk.configuring.composing import compose_untyped
from hiltk.configuring.files import groups, header, option, shipped
from hiltk.configuring.typed import compose
from hiltk.configuring.words import words_to_overrides
from hiltk.verbs import STEPS
from tests.verbs import verb_of

CONF = shipped("conf")
EVERY = sorted(str(p.relative_to(CONF).with_suffix("")) for p in CONF.rglob("*.yaml") if p.stem != "common")


@pytest.mark.parametrize("name", EVERY)
def test_the_command_a_file_opens_with_composes(name: str) -> None:
    words = shlex.split(header(name)[0])
    found = verb_of(words)
    assert words[0] == "hiltk" and found
    compose(found[0], words_to_overrides(*found))


@pytest.mark.parametrize("name", list(STEPS))
def test_every_example_of_a_verb_composes(name: str) -> None:
    verb = STEPS[name]
    examples = [shlex.split(line) for line in header(verb.config) if line.startswith("hiltk ")]
    assert len(examples) >= 4
    for example in examples:
        words = [w for w in example[1 + len(name.split()) :] if w != "-m"]
        words = [w.split(",")[0] if "[" not in w else w for w in words]  # of a sweep its first job
        compose(verb, words_to_overrides(verb, words))


@pytest.mark.parametrize("name", EVERY)
def test_a_file_says_only_what_differs_from_the_defaults(name: str) -> None:
    """A default has one home, the field; a file in ``conf/`` that repeated it would be a second one."""
    said = yaml.safe_load((CONF / f"{name}.yaml").read_text())
    base = said.pop("defaults")[0]
    group, _, _ = name.rpartition("/")
    if not group:  # a command: which options it takes, nothing else
        assert not said
        return
    schema, below = (base, {}) if base.endswith("_schema") else option(group, base)
    without = defaults(SCHEMAS[group][schema]) | below
    assert said.keys() <= without.keys()
    assert not [key for key, value in said.items() if value == without[key]]


def defaults(schema: type) -> dict[str, Any]:
    return {s.key: getattr(s.default, "name", s.default) for s in declared(schema)}


@pytest.mark.parametrize("group", list(SCHEMAS))
def test_options_start_from_their_schema_and_are_read_as_hydra_reads_them(group: str) -> None:
    verb = STEPS["train"]
    for name in groups()[group]:
        cfg = OmegaConf.to_container(compose_untyped(verb, [f"{group}={name}"])[group], resolve=True, enum_to_str=True)
        schema, values = option(group, name)
        top = {k: v for k, v in (defaults(SCHEMAS[group][schema]) | values).items() if "." not in k}
        assert {k: v for k, v in top.items() if not is_dataclass(v)}.items() <= cfg.items(), name


def test_settings_are_only_where_something_reads_them() -> None:
    for verb in STEPS.values():
        keys = {s.key for s in declared(COMMANDS[verb.name])}
        without = verb.name in ("report", "fix-actions", "adopt", "export-policy", "export-replay")
        without |= verb.name in ("label", "merge", "drop-episodes", "stats", "inspect")
        assert ({"seed", "threads", "device"} & keys == set()) == without, verb.name
    assert "tracker" not in groups()


def test_schedules_leave_the_policy_the_same_steps() -> None:
    from hiltk.config.groups import InterventionConf

    for name in groups()["intervention"]:
        cfg = compose(STEPS["train"], ["name=x", f"intervention={name}"])
        assert cfg.intervention.explore_steps == InterventionConf.explore_steps


def test_groups_hide_schemas() -> None:
    assert groups()["env"] == ["gymnasium", "so101", "so101_sim"]
    assert not [o for options in groups().values() for o in options if "schema" in o]


def test_every_verb_has_a_module_and_a_file() -> None:
    for verb in STEPS.values():
        assert (CONF / f"{verb.config}.yaml").is_file()
        spec = importlib.util.find_spec(verb.module)
        assert spec is not None
        assert Path(str(spec.origin)).is_file()
