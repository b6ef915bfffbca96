"""Shell completion of settings: ``agent=<TAB>`` offers options, ``env.im<TAB>`` keys, ``demos=<TAB>`` artifacts."""

from __future__ import annotations

import os
import re
from typing import get_args

from hiltk.config.commands import COMMANDS
from hiltk.config.setting import declared
from hiltk.configuring.composing import compose_untyped, settings
from hiltk.configuring.files import groups, pipelines
from hiltk.verbs import Verb, default_root


def complete(verb: Verb, words: list[str], incomplete: str) -> list[str]:
    """What may follow, given the words before and the one being typed.

    bash cuts words at ``=`` and replaces only what is behind it, so there the values are offered bare.
    """
    rejoined = _bash_words(verb)
    if rejoined is None:
        return _candidates(verb, words, incomplete)
    *words, incomplete = rejoined
    offered = _candidates(verb, words, incomplete)
    return [o.partition("=")[2] for o in offered] if "=" in incomplete else offered


def complete_names(verb: Verb, words: list[str], incomplete: str) -> list[str]:
    """For a command without a config: pipelines for `hiltk run`, artifacts for the others, and ``root=``."""
    *words, incomplete = _bash_words(verb) or [*words, incomplete]
    if verb.words == "pipeline":
        names = pipelines()
    else:
        from hiltk.artifacts import store

        roots = [word.removeprefix("root=") for word in words if word.startswith("root=")]
        names = sorted({n for kind in store.KINDS for n in store.names(kind, [default_root(), *roots][-1])})
    return [option for option in (*names, "root=") if option.startswith(incomplete)]


def _bash_words(verb: Verb) -> list[str] | None:
    """The words after the verb with ``key``, ``=``, ``value`` put together again; None where nothing was cut."""
    line = os.environ.get("COMP_WORDS", "")
    if not re.search(r"\s=(\s|$)", line):
        return None
    words = re.sub(r"\s+=\s?", "=", line).split()
    if line[-1:].isspace() and not re.search(r"\s=\s$", line):
        words.append("")
    return words[1 + len(verb.name.split()) :]


def _candidates(verb: Verb, words: list[str], incomplete: str) -> list[str]:
    chosen = [w for w in words if w.partition("=")[0] in groups() and w.partition("=")[2]]
    key, equals, _ = incomplete.partition("=")
    if equals:
        return [o for o in _assignments(verb, key, chosen) if o.startswith(incomplete)]
    keys = settings(verb, tuple(chosen))
    # One level at a time: `env.` opens a group's own settings.
    here = [k for k in keys if k.count(".") == incomplete.count(".") and k.startswith(incomplete)]
    shown = [k if _has_more(k, keys) and k not in groups() else f"{k}=" for k in here]
    if len(shown) != 1 or not shown[0].endswith("="):
        return shown
    # Shells put a space behind the only candidate; with its values beside it, they stop at `=`.
    return _assignments(verb, here[0], chosen) or [shown[0], f"{shown[0]}{_current(verb, here[0], chosen)}"]


def _has_more(key: str, keys: tuple[str, ...]) -> bool:
    return any(k.startswith(f"{key}.") for k in keys)


def _assignments(verb: Verb, key: str, chosen: list[str]) -> list[str]:
    return [f"{key}={value}" for value in _values(verb, key, chosen)]


def _values(verb: Verb, key: str, chosen: list[str]) -> list[str]:
    """What a setting can be, where that can be listed: options of a group, choices, artifacts."""
    if key in groups():
        return groups()[key]
    found = next((s for s in declared(COMMANDS[verb.name]) if s.key == key), None)
    if found is None:
        return []
    if found.reference:
        from hiltk.artifacts.store import KINDS, names

        root = compose_untyped(verb, chosen).root
        kinds = [found.reference.kind] if found.reference.kind else list(KINDS)
        return [name for kind in kinds for name in names(kind, root)]
    return ["true", "false"] if bool in (found.type, *get_args(found.type)) else list(found.choices)


def _current(verb: Verb, key: str, chosen: list[str]) -> str:
    """The value a setting has now, where it is one word."""
    from omegaconf import OmegaConf

    value = OmegaConf.select(compose_untyped(verb, chosen), key)
    return str(value) if isinstance(value, int | float) or (isinstance(value, str) and value.isidentifier()) else "..."
