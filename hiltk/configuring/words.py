"""Command-line words into Hydra's overrides, and plain data into its grammar. Standard library only."""

from __future__ import annotations

import functools
import re
from typing import Any, get_origin

from hiltk.config.commands import COMMANDS
from hiltk.config.setting import declared
from hiltk.errors import ConfigError
from hiltk.verbs import Verb

# Hydra's own options that take a value in the next word.
_WITH_VALUE = {"-c", "--cfg", "-p", "--package", "-cp", "--config-path", "-cn", "--config-name", "-cd", "--config-dir"}
_WITH_VALUE |= {"-i", "--info", "--experimental-rerun"}


def words_to_overrides(verb: Verb, words: list[str]) -> list[str]:
    """Turn ``a b key=value -m`` into Hydra's argv: plain words go to the verb's main key, as ``policies=['a','b']``.

    Raises:
        ConfigError: the verb takes no plain words, or only one.
    """
    plain, rest = _split_words(words)
    rest = [into_mapping(verb, word) for word in rest]
    if not plain:
        return rest
    if not verb.words:
        raise ConfigError(
            f"'{plain[0]}' is not a setting",
            where=f"hiltk {verb.name}",
            fix=f"settings look like key=value; `hiltk {verb.name} --help` lists them",
        )
    if len(plain) > 1 and not verb.many:
        raise ConfigError(f"hiltk {verb.name} takes one {verb.words}, not {len(plain)}", where=" ".join(plain))
    return [override(verb.words, plain if verb.many else plain[0]), *rest]


def into_mapping(verb: Verb, word: str) -> str:
    """Let an override add keys to a setting that is a free mapping: Hydra wants ``++`` for them, even there.

    Dimensions of a column, ``state[0:6]``, are quoted: Hydra's grammar has no word that goes on in brackets.
    """
    key, _, value = word.partition("=")
    if re.fullmatch(r"[^\[\]{}'\",]+\[[\d:,]+\].*", value):  # a column's dimensions, `state[0:6]`: no list to Hydra
        word = f"{key}={_text(value)}"
    return f"++{word}" if any(key == m or key.startswith(f"{m}.") for m in _mappings(verb)) else word


@functools.cache
def _mappings(verb: Verb) -> list[str]:
    return [s.key for s in declared(COMMANDS[verb.name]) if get_origin(s.type) is dict]


def _split_words(words: list[str]) -> tuple[list[str], list[str]]:
    plain: list[str] = []
    rest: list[str] = []
    for before, word in zip(["", *words], words, strict=False):
        is_plain = "=" not in word and not _is_option(word) and before not in _WITH_VALUE
        (plain if is_plain else rest).append(word)
    return plain, rest


def _is_option(word: str) -> bool:
    """An option of Hydra, or ``~key``, which deletes; ``~/folder`` is a path the shell did not expand."""
    return word.startswith("-") or (word.startswith("~") and not word.startswith("~/"))


def override(key: str, value: Any) -> str:
    """One Hydra override ``key=value`` from plain Python data, quoted so that nothing in a string has a meaning."""
    return f"{key}={value_text(value)}"


def value_text(value: Any) -> str:
    """Plain data in Hydra's override grammar."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, list | tuple):
        return f"[{','.join(value_text(v) for v in value)}]"
    if isinstance(value, dict):
        return "{" + ",".join(f"{value_text(str(k))}:{value_text(v)}" for k, v in value.items()) + "}"
    return _text(str(value))


def _text(text: str) -> str:
    """A string in Hydra's grammar: bare where that is safe (group choices must be), in quotes otherwise."""
    if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.-]*", text) and text.lower() not in ("null", "true", "false", "nan", "inf"):
        return text
    escaped = re.sub(r"(\\*)('|$)", lambda m: m[1] * 2 + ("\\'" if m[2] else ""), text)
    return f"'{escaped}'"
