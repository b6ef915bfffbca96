"""What people and their scripts hold on to: verbs, keys, rule codes, exit codes, fields of ``run.yaml`` and the spec.

``uv run python -m tests.rails.surface`` writes ``surface.json`` from the code as it is. ``surface_base.json`` is that
file at the last release. It stays until the next, when ``surface.json`` is copied over it and the "Unreleased" section
of CHANGELOG.md, which says what changed between the two, gets its number.
"""

from __future__ import annotations

import ast
import inspect
import json
import re
import signal
import tempfile
import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

import typer.main
import yaml
from omegaconf import DictConfig, OmegaConf
from typer.testing import CliRunner

from hiltk import cli, formats
from hiltk.artifacts.store import KINDS
from hiltk.configuring.composing import compose_untyped
from hiltk.configuring.files import groups
from hiltk.diagnostics import causes, causes_data, causes_learner
from hiltk.errors import ConfigError, UserError
from hiltk.interrupts import exit_code, interrupt
from hiltk.learning import guards
from hiltk.rewards.drift import LOOKS
from hiltk.spec import Spec
from hiltk.verbs import STEPS
from tests.rails.config_job import options

FILE = Path(__file__).with_suffix(".json")
BASE = FILE.with_name("surface_base.json")
CHANGELOG = Path(__file__).parents[2] / "CHANGELOG.md"
Surface = dict[str, Any]  # nested dictionaries with text in the leaves
Path_ = tuple[str, ...]


def surface() -> Surface:
    listed = json.loads(_hiltk("check", "--list", "--json"))
    return {
        "verbs": verbs(),
        "groups of settings": {group: ", ".join(names) for group, names in groups().items()},
        "keys": keys(),
        "rules": {code: rule["severity"] for code, rule in listed["rules"].items()},
        "guards": dict.fromkeys(guard_codes(), "guard"),
        "causes of diagnose run": dict.fromkeys(
            _first_words((causes, causes_data, causes_learner), "Suspect"), "cause"
        ),
        "exit codes": {
            "bad input": str(UserError.exit_code),
            "config mistake": str(ConfigError.exit_code),
            "internal error": str(cli.INTERNAL),
            "interrupted": str(exit_code(interrupt(signal.SIGINT))),
            "terminated": str(exit_code(interrupt(signal.SIGTERM))),
            "hung up": str(exit_code(interrupt(signal.SIGHUP))),
            "nobody reads what is printed": str(cli.UNREAD),
        },
        "kinds of artifacts": {kind: f"versions {letter}-0001" for kind, letter in KINDS.items()},
        "versions of files": {
            name.lower(): str(f.version) for name, f in vars(formats).items() if isinstance(f, formats.Format)
        },
        "spec": dict(typed_fields(Spec)),
        "run.yaml": run_files(),
    }


# ---------------------------------------------------------------- what the command line takes


def verbs() -> dict[str, dict[str, str]]:
    """Every command: its line of help, and what it takes."""
    found: dict[str, dict[str, str]] = {}
    for name, command in _commands(typer.main.get_command(cli.app)):
        found[name] = {"help": command.get_short_help_str(limit=200)}
        if verb := STEPS.get(name):
            found[name] |= {"writes": verb.kind, "words go to": f"{verb.words}{' (several)' * verb.many}".strip()}
            found[name] |= {} if verb.words else {"words go to": "nothing"}
        elif not hasattr(command, "commands"):
            found[name] |= {"takes": " ".join(sorted(p.opts[0] for p in command.params if _is_shown(p)))}
    return found


def _is_shown(parameter: Any) -> bool:
    """A hidden option is an old one, which only answers with the new."""
    return parameter.name != "help" and not getattr(parameter, "hidden", False)


def _commands(group: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        yield f"{prefix}{name}", command
        if hasattr(command, "commands"):
            yield from _commands(command, f"{prefix}{name} ")


def keys() -> dict[str, dict[str, str]]:
    """By verb its own settings, by option (``agent=sac``) those of its group; with their types."""
    found: dict[str, dict[str, str]] = {}
    for verb in STEPS.values():
        chosen = list(options(verb))
        of_groups = {option.partition("=")[0] for option in chosen}
        own = dict(_settings(compose_untyped(verb, []))) | dict.fromkeys(of_groups, "group")
        found[verb.name] = {k: t for k, t in own.items() if "." not in k or k.split(".")[0] not in of_groups}
        for option in chosen:
            if option not in found:
                group = option.partition("=")[0]
                found[option] = dict(_settings(compose_untyped(verb, [option])[group], f"{group}."))
    return found


def _settings(cfg: DictConfig, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Dotted keys with their types, as the schema says."""
    hints = get_type_hints(OmegaConf.get_type(cfg))
    for key in map(str, cfg):
        missing = OmegaConf.is_missing(cfg, key)
        nested = None if missing or not is_dataclass(hints[key]) else cfg[key]
        yield f"{prefix}{key}", _type(hints[key]) + (", required" if missing else "")
        if isinstance(nested, DictConfig):
            yield from _settings(nested, f"{prefix}{key}.")


def _type(hint: Any) -> str:
    """``list[int]``, ``float or null``, ``one of auto, cpu, gl``."""
    if get_origin(hint) in (Union, types.UnionType):
        return " or ".join("null" if one is type(None) else _type(one) for one in get_args(hint))
    if isinstance(hint, type) and issubclass(hint, Enum):
        return f"one of {', '.join(hint.__members__)}"
    if is_dataclass(hint):
        return "settings"
    return hint.__name__ if isinstance(hint, type) and not get_args(hint) else str(hint).replace("typing.", "")


# ---------------------------------------------------------------- what artifacts hold


def typed_fields(schema: type, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Dotted fields of a dataclass; ``[]`` marks the entries of a list or mapping."""
    for name, hint in get_type_hints(schema).items():
        inner = next((one for one in get_args(hint) if is_dataclass(one)), None)
        if is_dataclass(hint):
            yield from typed_fields(hint, f"{prefix}{name}.")
        elif inner:
            yield from typed_fields(inner, f"{prefix}{name}[].")  # type: ignore[arg-type]
        else:
            yield f"{prefix}{name}", _type(hint)


SMALL = ("env.image_height=16", "env.image_width=16")
CHAIN = {
    "record": ("name=demos", "episodes=2", *SMALL),
    "split": ("demos", "name=part", "held_out=0.5"),
    "stats": ("demos", "name=again"),
    "bc-pretrain": ("demos", "name=bc", "steps=2", "held_out=0.5", "agent.hidden=[8]", "encoder.features=8"),
    "train": ("name=lift", "demos=[demos]", "episodes=1", "agent.hidden=[8]", "encoder.features=8", *SMALL),
    "eval": ("lift", "name=rates", "episodes=1", "videos=0", *SMALL),
}
MADE = {"record": "demos", "split": "part", "stats": "again", "bc-pretrain": "bc", "train": "lift", "eval": "rates"}


def run_files() -> dict[str, dict[str, str]]:
    """Fields of ``run.yaml`` as real commands write them, by command."""
    found = {}
    with tempfile.TemporaryDirectory() as root:
        for verb, words in CHAIN.items():
            _hiltk(verb, *words, f"root={root}")
            [file] = (Path(root) / STEPS[verb].kind / MADE[verb]).glob("*/run.yaml")
            found[verb] = dict(_fields(yaml.safe_load(file.read_text())))
    return found


def _fields(record: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """The settings (``config``) are known already, and what counts by name (``strata``) has other names each time."""
    for name, value in record.items():
        if name in ("code", "packages"):
            yield from _fields(value, f"{name}.")
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            yield from _fields(value[0], f"{name}[].")
        elif name != "inputs":
            yield f"{prefix}{name}", type(value).__name__


def guard_codes() -> list[str]:
    """As they stand in ``guards.csv``, where what a classifier's drift monitor says goes, too."""
    drift = [f"drift_CAMERA_{quantity}_{'high' if high else 'low'}" for quantity, high in LOOKS]
    return [*_words(guards, "Finding", "code"), *drift]


def _first_words(modules: Sequence[types.ModuleType], call: str) -> list[str]:
    """The first argument of every call, where it is plain text: what a finding is called."""
    trees = [ast.parse(inspect.getsource(module)) for module in modules]
    nodes = [n for tree in trees for n in ast.walk(tree) if isinstance(n, ast.Call) and n.args]
    firsts = [n.args[0] for n in nodes if isinstance(n.func, ast.Name) and n.func.id == call]
    return sorted({first.value for first in firsts if isinstance(first, ast.Constant)})


def _words(module: types.ModuleType, call: str, key: str) -> list[str]:
    """The same of the argument ``key``."""
    nodes = [n for n in ast.walk(ast.parse(inspect.getsource(module))) if isinstance(n, ast.Call)]
    given = [
        k.value for n in nodes if isinstance(n.func, ast.Name) and n.func.id == call for k in n.keywords if k.arg == key
    ]
    return sorted({value.value for value in given if isinstance(value, ast.Constant)})


def _hiltk(*words: str) -> str:
    result = CliRunner().invoke(cli.app, list(words))
    assert result.exit_code == 0, result.output
    return result.stdout


# ---------------------------------------------------------------- comparing


def leaves(node: Any, path: Path_ = ()) -> dict[Path_, str]:
    if not isinstance(node, dict):
        return {path: node}
    return {p: leaf for key, value in node.items() for p, leaf in leaves(value, (*path, key)).items()}


def differences(before: Surface, now: Surface) -> dict[Path_, str]:
    """What is new, gone or changed, with a word for it; what is so as a whole (a verb, an option) once."""
    old, new = leaves(before), leaves(now)
    gone = dict.fromkeys(_only_in(old, new), "gone")
    came = dict.fromkeys(_only_in(new, old), "new")
    return gone | came | {p: f"{old[p]} -> {new[p]}" for p in old if p in new and old[p] != new[p]}


def _only_in(side: Mapping[Path_, str], other: Mapping[Path_, str]) -> list[Path_]:
    """The largest parts, below a section, that only one side has."""
    there = {path[:n] for path in other for n in range(len(path) + 1)}
    shortest = (next((p[:n] for n in range(2, len(p) + 1) if p[:n] not in there), None) for p in side)
    return list(dict.fromkeys(part for part in shortest if part))


def unnamed(before: Surface, now: Surface, changelog: str) -> list[str]:
    """Differences that no entry under "Unreleased" names in backticks; lines of help may change freely.

    A key that came or went for some verbs (or options) only is named together with them.
    """
    entries = [set(re.findall(r"`([^`]+?)=?`", entry)) for entry in _unreleased(changelog)]
    kept = {p[-1] for p in leaves(before)} & {p[-1] for p in leaves(now)}
    missing = []
    for path, word in differences(before, now).items():
        if path[0] == "verbs":
            if path[-1] == "help":
                continue
            names = {path[1]}
        else:
            names = set(path[1:]) if word in ("gone", "new") and path[-1] in kept else {path[-1]}
        if not any(names <= entry for entry in entries):
            missing.append(f"{': '.join(path)}: {word}")
    return missing


def _unreleased(changelog: str) -> list[str]:
    section = re.search(r"^## Unreleased\n(.*?)(?=^## |\Z)", changelog, re.S | re.M)
    return re.split(r"^- ", section[1], flags=re.M)[1:] if section else []


if __name__ == "__main__":
    FILE.write_text(json.dumps(surface(), indent=1, ensure_ascii=False) + "\n")
