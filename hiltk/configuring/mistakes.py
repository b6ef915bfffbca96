"""Hydra's and OmegaConf's exceptions as one message that names the nearest right thing."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, get_origin

from hiltk.config.commands import COMMANDS
from hiltk.config.setting import declared, wrong_choice
from hiltk.configuring.composing import compose_untyped, settings, walk
from hiltk.configuring.files import groups
from hiltk.configuring.words import value_text
from hiltk.errors import ConfigError, nearest
from hiltk.formats import new_name
from hiltk.verbs import Verb


@contextmanager
def explained(verb: Verb, overrides: Sequence[str]) -> Iterator[None]:
    """Turn Hydra's and OmegaConf's exceptions about the overrides into one `ConfigError`.

    Raises:
        ConfigError: instead of theirs.
    """
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    try:
        yield
    except (HydraException, OmegaConfBaseException) as error:
        raise _explain(verb, error) from error
    except ValueError as error:
        if "Config group override" not in str(error):
            raise
        raise _no_option(verb, overrides) from error


def _no_option(verb: Verb, overrides: Sequence[str]) -> ConfigError:
    """A group was given what Hydra reads as a number, a truth value or nothing; or the key is missing."""
    for word in overrides:
        group, _, value = word.partition("=")
        if not group:
            return ConfigError(f"'{word}' says no setting", fix="settings look like key=value")
        if group in groups() and _is_no_text(word):
            return unknown_option(group, value, groups()[group])
    return ConfigError("a group takes the name of an option", where=f"hiltk {verb.name}", fix=_SETTINGS)


def _is_no_text(word: str) -> bool:
    from hydra.core.override_parser.overrides_parser import OverridesParser

    value = OverridesParser.create().parse_override(word).value()
    return value is None or isinstance(value, bool | int | float)


def _explain(verb: Verb, error: BaseException) -> ConfigError:
    from hydra.errors import OverrideParseException

    if isinstance(error, OverrideParseException):
        return _bad_grammar(error)
    text = "\n".join(str(e) for e in _chain(error))
    for rule in (_unknown_option, _unknown_key, _unresolved, _several, _wrong_value):
        if found := rule(verb, text):
            return found
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return ConfigError(lines[0] if lines else type(error).__name__, where=f"hiltk {verb.name}", fix=_SETTINGS)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def _unknown_option(verb: Verb, text: str) -> ConfigError | None:
    """``Could not find 'env/so100'`` with the list of options of the group."""
    found = re.search(
        r"Could not find '(?:[^'\n]*/)?([^/'\n]*)'\s*\n\s*Available options in '([^']+)':((?:\n\t.*)+)", text
    )
    if not found:
        return None
    group = found[2].split("/")[-1]
    options = [o for o in found[3].split() if not o.endswith("_schema")]
    return unknown_option(group, found[1], options)


def unknown_option(group: str, value: str, options: list[str]) -> ConfigError:
    """What to raise of an option that a group does not have."""
    listed = f"there are: {', '.join(options)}"
    near = nearest(value, options)
    return ConfigError(f"{group}={value}: there is no such {group}", fix=f"{near}  ({listed})" if near else listed)


def _unknown_key(verb: Verb, text: str) -> ConfigError | None:
    found = re.search(r"Could not (?:override|append to|delete from)[^'\n]*'([^'\n]+)'", text) or re.search(
        r"Key '([^']+)' (?:is )?not in '", text
    )
    if not found or "Value '" in text:
        return None
    full = re.search(r"full_key: (\S+)", text)
    key = found[1] if not full or found[1].endswith(full[1]) else full[1]
    return unknown_key(verb, key, _nearest_setting(verb, key))


def unknown_key(verb: Verb, key: str, near: str) -> ConfigError:
    """What to raise of a key that the verb does not have: it has another name now, or ``near`` is the best hint."""
    if key == "resume":
        fix = "leave resume out: the same command starts anew"
        return ConfigError(f"`hiltk {verb.name}` cannot go on from an interrupted run", where=key, fix=fix)
    new = new_name(key)
    if new and new.split(".")[0] in settings(verb):
        return ConfigError(f"'{key}' is now '{new}'", where=f"hiltk {verb.name}", fix=f"{new}=...")
    return ConfigError(f"'{key}' is not a setting of `hiltk {verb.name}`", fix=near)


def _nearest_setting(verb: Verb, key: str) -> str:
    keys = list(settings(verb))
    siblings = [k for k in keys if k.rpartition(".")[0] == key.rpartition(".")[0]]
    leaf = [k for k in keys if k.rpartition(".")[2] == key.rpartition(".")[2]]
    near = nearest(key, siblings) or (f"did you mean '{leaf[0]}'?" if leaf else "") or nearest(key, keys)
    return near or f"`hiltk {verb.name} --help` lists the settings"


def _unresolved(verb: Verb, text: str) -> ConfigError | None:
    """``seed=${x}``: nothing is called so, or it leads nowhere."""
    key = re.search(r"full_key: ([\w.]+)", text)
    where = key[1] if key else f"hiltk {verb.name}"
    if found := re.search(r"Interpolation key '([^']*)' not found", text):
        near = nearest(found[1], settings(verb)) or "write the value itself"
        return ConfigError(
            f"${{{found[1]}}} names no setting", where=where, fix=f"{near}; in a shell, variables are $X"
        )
    if found := re.search(r"Environment variable '([^']*)' not found", text):
        fix = f"set it, or give a value for when it is not: ${{oc.env:{found[1]},VALUE}}"
        return ConfigError(f"the environment variable {found[1]} is not set", where=where, fix=fix)
    if found := re.search(r"Unsupported interpolation type (\S+)", text):
        fix = "there are: ${SETTING} and ${oc.env:VARIABLE}"
        return ConfigError(f"${{{found[1]}:...}} is not known here", where=where, fix=fix)
    if "Recursive interpolation" in text:
        return ConfigError("a setting refers to itself", where=where, fix="write the value itself")
    return None


def _several(verb: Verb, text: str) -> ConfigError | None:
    """``seed=1,2`` of a single run."""
    found = re.search(r"(?:Ambiguous value for argument|Sweep parameters) '([^=']+)=(.*)'", text)
    if not found:
        return None
    fix = f"one run for each: hiltk {verb.name} -m ...; a list: {found[1]}=[{found[2]}]; text with a comma needs quotes"
    return ConfigError(f"{found[1]} is given several values", where=f"{found[1]}={found[2]}", fix=fix)


def _wrong_value(verb: Verb, text: str) -> ConfigError | None:
    """``Value 'abc' of type 'str' could not be converted to Integer``, ``Invalid value 'x', expected one of [...]``."""
    key = re.search(r"full_key: ([\w.]+)", text)
    merged = re.search(r"Error merging override ([^=\s]+)=(.*)", text)
    where = key[1] if key else merged[1] if merged else ""
    if found := re.search(r"Invalid value '([^']*)', expected one of \[([^\]]*)\]", text):
        return wrong_choice(where, found[1], [o.strip() for o in found[2].split(",")])
    if where and (
        found := re.search(
            r"Value '([^']*)' (?:of type|is not a valid)|Invalid (?:value|type) assigned|Error merging override", text
        )
    ):
        value = found[1] if found[1] is not None else merged[2] if merged else "?"
        return ConfigError(f"{where}={value} does not fit", fix=_expected(verb, where))
    return None


_TYPES: dict[Any, str] = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "text",
    list: "a list",
    dict: "a mapping",
}


def _expected(verb: Verb, key: str) -> str:
    """What a setting takes, by the value it has now."""
    from omegaconf import OmegaConf

    value = dict(walk(compose_untyped(verb, []))).get(key)
    if value is None:
        hint = next((s.type for s in declared(COMMANDS[verb.name]) if s.key == key), None)
        known = _TYPES.get(get_origin(hint) or hint) if hint else None
        return f"it takes {known}" if known else f"`hiltk {verb.name} --cfg job` shows what it is now"
    plain = OmegaConf.to_container(value) if OmegaConf.is_config(value) else value
    return f"it takes {_TYPES.get(type(plain), type(plain).__name__)}, e.g. {key}={value_text(plain)}"


_SETTINGS = "settings look like key=value, lists like key=[a,b]; in the shell, quote what has spaces or brackets"


def _bad_grammar(error: BaseException) -> ConfigError:
    override_text = getattr(error, "override", "") or ""
    return ConfigError(
        f"'{override_text}' cannot be read: {str(error).splitlines()[0]}",
        fix=_SETTINGS,
    )
