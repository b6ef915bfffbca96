"""The YAML files: each explains itself, and says the same as the schemas."""

from __future__ import annotations

import importlib.util
import shlex
from dataclasses import MISSING, Field, fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from hiltk.configuring.composing import compose_untyped
from hiltk.configuring.files import documented_keys, groups, header, shipped
from hiltk.configuring.typed import compose
from hiltk.configuring.words import override, words_to_overrides
from hiltk.steps import VERBS
from tests.verbs import verb_of

CONF = shipped("conf")
EVERY = sorted(str(p.relative_to(CONF).with_suffix("")) for p in CONF.rglob("*.yaml") if p.stem != "common")


@pytest.mark.parametrize("name", EVERY)
def test_the_command_a_file_opens_with_composes(name: str) -> None:
    words = shlex.split(header(name)[0])
    found = verb_of(words)
    assert words[0] == "hiltk" and found
    compose(found[0], words_to_overrides(*found))


@pytest.mark.parametrize("name", list(VERBS))
def test_every_example_of_a_verb_composes(name: str) -> None:
    verb = VERBS[name]
    examples = [shlex.split(line) for line in header(verb.config) if line.startswith("hiltk ")]
    assert len(examples) >= 4
    for example in examples:
        words = [w for w in example[1 + len(name.split()) :] if w != "-m"]
        words = [w.split(",")[0] if "[" not in w else w for w in words]  # of a sweep its first job
        compose(verb, words_to_overrides(verb, words))


def differences(node: Any, defaults: Any, path: str = "") -> list[str]:
    """Keys whose value in the YAML is not the dataclass's default."""
    found = []
    for f in fields(defaults):
        value, default = getattr(node, f.name), getattr(defaults, f.name)
        if is_dataclass(value) and is_dataclass(default):
            found += differences(value, default, f"{path}{f.name}.")
        elif value != default and default != "???":
            found.append(f"{path}{f.name}: YAML {value!r}, schema {default!r}")
    return found


@pytest.mark.parametrize("name", list(VERBS))
def test_yaml_and_schema_agree(name: str) -> None:
    """Building the dataclasses in Python gives the values that ``conf/`` shows: a change must be made in both."""
    from hiltk.config import AgentConf, So101SimConf

    verb = VERBS[name]
    schema = OmegaConf.get_type(compose_untyped(verb, []))
    required = {f.name: ["x"] if f.name.endswith("s") else "x" for f in fields(schema) if default_of(f) == "???"}
    groups = {k: v for k, v in {"env": So101SimConf(), "agent": AgentConf()}.items() if k in required}
    required = {k: v for k, v in required.items() if k not in groups}
    typed = compose(verb, [override(k, v) for k, v in required.items()])
    assert not differences(typed, schema(**required, **groups))


@pytest.mark.parametrize("name", list(VERBS))
def test_every_setting_is_in_the_yaml(name: str) -> None:
    schema = OmegaConf.get_type(compose_untyped(VERBS[name], []))
    text = (CONF / f"{VERBS[name].config}.yaml").read_text()
    assert not [
        f.name for f in fields(schema) if f"\n{f.name}: " not in text and f.name not in groups() | {"foreign": []}
    ]


def default_of(f: Field[Any]) -> Any:
    return f.default if f.default is not MISSING else None


@pytest.mark.parametrize("name", list(VERBS))
def test_help_lists_only_real_settings(name: str) -> None:
    keys = {key for key, _, _ in documented_keys(VERBS[name].config)}
    known = {k.split(".")[0] for k in keys} - set(compose_untyped(VERBS[name], []))
    assert "name" in keys
    assert not known


def test_settings_are_only_where_something_reads_them() -> None:
    for verb in VERBS.values():
        keys = {key for key, _, _ in documented_keys(verb.config)}
        without = verb.name in ("report", "fix-actions", "adopt", "export-policy", "export-replay")
        without |= verb.name in ("label", "merge", "drop-episodes", "stats", "inspect")
        assert ({"seed", "threads", "device"} & keys == set()) == without, verb.name
    assert "tracker" not in groups()


def test_schedules_leave_the_policy_the_same_steps() -> None:
    from hiltk.config import InterventionConf

    for option in groups()["intervention"]:
        cfg = compose(VERBS["train"], ["name=x", f"intervention={option}"])
        assert cfg.intervention.explore_steps == InterventionConf.explore_steps


def test_groups_hide_schemas() -> None:
    assert groups()["env"] == ["gymnasium", "so101_sim"]
    assert not [o for options in groups().values() for o in options if "schema" in o]


def test_every_verb_has_a_module_and_a_file() -> None:
    for verb in VERBS.values():
        assert (CONF / f"{verb.config}.yaml").is_file()
        spec = importlib.util.find_spec(verb.module)
        assert spec is not None
        assert Path(str(spec.origin)).is_file()
