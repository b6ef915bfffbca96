"""The help of a verb: what its YAML's header says, and every setting it takes, from the settings' declarations."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from typing import Any

from hiltk.config.commands import COMMANDS
from hiltk.config.groups import PACES, SCHEMAS, Pace
from hiltk.config.setting import REQUIRED, Setting, declared
from hiltk.configuring.files import chosen_options, groups, header, option
from hiltk.configuring.words import value_text
from hiltk.verbs import Verb

WIDTH = 74  # columns for a setting and its meaning, in a terminal of 80
KEY_WIDTH = 30  # a longer setting has its meaning on the next line
LAST = ("precision", "compile", "seed", "threads", "device", "root")  # what nearly every command has

MECHANICS = """\
More
  --cfg job            show the whole composed config and stop
  -m seed=0,1,2        one run per combination
  --config-dir DIR     your own YAML files, laid out like conf/
  --hydra-help         everything else Hydra offers"""


def help_text(verb: Verb, typed: Sequence[str] = ()) -> str:
    """Help as Typer formats it: paragraphs that open with ``\\b`` keep their line breaks, those with columns.

    Args:
        typed: what else was; of each group the option that they choose is shown, and the defaults of a pace.
    """
    about = header(verb.config)
    commands = [line for line in about if line.startswith("hiltk ")]
    words = [line for line in about[1:] if line not in commands]
    sections = [
        *"\n".join(words).strip().split("\n\n"),
        "\n".join(["Examples", *(f"  {c}" for c in commands)]),
        *("\n".join([heading, *lines]) for heading, lines in tables(verb, typed)),
        MECHANICS,
    ]
    text = "\n\n".join("\b\n" + s if "  " in s else s.replace("\n", " ") for s in sections)
    return text.replace("[", "\\[")


def tables(verb: Verb, typed: Sequence[str] = ()) -> Iterator[tuple[str, list[str]]]:
    """Heading and lines of the verb's own settings, then of each group with its own option or the one typed."""
    options, known = chosen_options(verb.config), groups()
    pairs = [word.partition("=") for word in typed]
    options |= {group: name for group, _, name in pairs if group in options and name in known[group]}
    read = {group: option(group, name) for group, name in options.items()}
    schemas = {group: SCHEMAS[group][schema] for group, (schema, _) in read.items()}
    pace = next((name for key, _, name in pairs if key == "task.pace" and name in Pace.__members__), Pace.quick.name)
    values: dict[str, Any] = PACES[Pace[pace]] | {
        f"{group}.{key}": value for group, (_, changes) in read.items() for key, value in changes.items()
    }
    every = list(declared(COMMANDS[verb.name], schemas))
    own = sorted((s for s in every if "." not in s.key and (s.key in options or not s.is_group)), key=_place)
    yield "Settings, with the value they have now", _lines(own, options)
    for parent in (s for s in every if "." not in s.key and s.is_group):
        inside = [s for s in every if s.key.startswith(f"{parent.key}.") and not s.is_group]
        chosen = options.get(parent.key)
        yield f"{parent.key}={chosen}" if chosen else f"{parent.key}: {parent.help}", _lines(inside, values)


def _place(setting: Setting) -> tuple[int, int]:
    """``name`` first and what must be given, then the groups, then the command's own, then what all commands have."""
    if setting.key in LAST:
        return 4, LAST.index(setting.key)
    rank = 0 if setting.key == "name" else 1 if _is_required(setting) else 2 if setting.is_group else 3
    return rank, 0


def _is_required(setting: Setting) -> bool:
    return setting.default == REQUIRED and not setting.is_group


def _lines(settings: list[Setting], values: dict[str, Any]) -> list[str]:
    typed = [_typed(s, values.get(s.key, s.default)) for s in settings]
    width = max(len(t) for t in typed if len(t) <= KEY_WIDTH)
    lines: list[str] = []
    for setting, shown in zip(settings, typed, strict=True):
        meaning = textwrap.wrap(_meaning(setting), WIDTH - width, break_on_hyphens=False)
        first = [meaning.pop(0) if meaning else ""] if len(shown) <= width else []
        lines += [f"  {shown:<{width}}  {''.join(first)}".rstrip(), *(f"  {'':<{width}}  {line}" for line in meaning)]
    return lines


def _typed(setting: Setting, value: Any) -> str:
    if isinstance(value, str) and value == REQUIRED:
        return f"{setting.key}="
    return f"{setting.key}={value_text(getattr(value, 'name', value))}"


def _meaning(setting: Setting) -> str:
    """What a setting means, and what it can be, where the words do not say that themselves."""
    can_be = groups().get(setting.key) or setting.choices
    unsaid = "" if all(choice in setting.help for choice in can_be) else " | ".join(can_be)
    said = f"{setting.help}: {unsaid}" if setting.help and unsaid else setting.help or unsaid
    return f"required; {said}" if _is_required(setting) else said
