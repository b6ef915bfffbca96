"""The config that ``hiltk VERB --cfg job`` shows, of every verb and with every option of its groups, as plain JSON.

``uv run python -m tests.rails.config_job`` writes ``config_job.json`` from the code as it is. It is the yardstick of a
change that should leave every config alone, so it is written before such a change, never to make a test pass.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf

from hiltk.configuring.composing import compose_untyped
from hiltk.configuring.files import groups, shipped
from hiltk.verbs import STEPS, VERBS, Verb

FILE = Path(__file__).with_suffix(".json")
# By verb, dotted keys that it did not have then, with their values.
ADDED: dict[str, dict[str, Any]] = {
    "adopt": {  # what fix-actions had: both bring datasets over alike
        "foreign.locked": {},
        "foreign.fps": 0.0,
        "foreign.commands": "",
        "method": "achieved",
        "checks.ignore": [],
    },
    "bc-pretrain": {"costs": {"reset_s": 5.0, "label_s": 5.0}},
    "train": {
        "intervention.alone": 0.2,
        "task.pace": "quick",
        "until.rate": None,
        "until.confidence": 0.95,
        "costs": {"reset_s": 5.0, "label_s": 5.0},
    },
    "record": {"task.pace": "quick", "resume": False},
    "eval": {"task.pace": "quick", "judge": "auto", "classifier": "", "resume": False},
    "preview": {"task.pace": "quick"},
    "diagnose encoder": {"task.pace": "quick"},
    "diagnose policy": {"task.pace": "quick"},
    # these check what they write
    **{verb.name: {"checks.ignore": []} for verb in VERBS.values() if verb.gate == "change"},
}
# The same by option of the group ``env``.
ADDED_TO_ENV: dict[str, dict[str, Any]] = {
    "so101_sim": {"env.ee_frame": "base", "env.actions": "ee", "env.joint_step_deg": 5.0}
}
NEW_OPTIONS = ("env=so101",)  # that no verb had then
Config = dict[str, Any]
for _verb in (
    "adopt",
    "fix-actions",
):  # what others' datasets are: columns, arm, zero, ranges, what is kept of pictures
    ADDED.setdefault(_verb, {}).update({
        "foreign.state": "", "foreign.action": "", "foreign.kinematics": "", "foreign.model_path": "",
        "foreign.zero": "", "foreign.ranges_deg": [], "foreign.crop": {},
    })  # fmt: skip


def composed(verb: Verb) -> dict[str, Config]:
    """The whole config by command: ``train``, ``train agent=sac``, ..."""
    chosen = {f"{verb.name} {option}": plain(verb, option) for option in options(verb)}
    return {verb.name: plain(verb), **chosen}


def options(verb: Verb) -> Iterator[str]:
    """``group=option`` for every option of every group in the verb's list of defaults."""
    listed = yaml.safe_load((shipped("conf") / f"{verb.config}.yaml").read_text())["defaults"]
    own = {group for entry in listed if isinstance(entry, dict) for group in entry}
    return (f"{group}={name}" for group, names in groups().items() if group in own for name in names)


def plain(verb: Verb, *overrides: str) -> Config:
    """Enums by name, missing values as ``???``."""
    cfg = compose_untyped(verb, list(overrides))
    return OmegaConf.to_container(cfg, resolve=True, enum_to_str=True)  # type: ignore[return-value]


def added(config: Config, table: Mapping[str, Any]) -> Config:
    """A config with the keys of ``table``, none of which it may have."""
    out = copy.deepcopy(config)
    for key, value in table.items():
        *parents, last = key.split(".")
        place = out
        for parent in parents:
            place = place.setdefault(parent, {})
        assert last not in place, f"{key} is not new"
        place[last] = copy.deepcopy(value)
    return out


# ---------------------------------------------------------------- the file


def save(by_verb: Mapping[str, dict[str, Config]]) -> None:
    """With an option only what it changes, by whole top-level keys; one line per key, so that changes can be read."""
    blocks = []
    for verb, configs in by_verb.items():
        for command, config in configs.items():
            assert config.keys() == configs[verb].keys(), f"{command} has other keys than {verb}"
            lines = [
                f"  {json.dumps(key)}: {json.dumps(value)}"
                for key, value in config.items()
                if command == verb or value != configs[verb][key]
            ]
            blocks.append(f"{json.dumps(command)}: {{" + ("\n" + ",\n".join(lines) + "\n}" if lines else "}"))
    FILE.write_text("{\n" + ",\n".join(blocks) + "\n}\n")


def stored(verb: str) -> dict[str, Config]:
    """What `composed` gave when the file was written."""
    every = json.loads(FILE.read_text())
    return {c: {**every[verb], **changes} for c, changes in every.items() if verb_of(c) == verb}


def verb_of(command: str) -> str:
    """``diagnose encoder env=gymnasium`` -> ``diagnose encoder``."""
    return " ".join(word for word in command.split() if "=" not in word)


if __name__ == "__main__":
    save({verb.name: composed(verb) for verb in STEPS.values()})
