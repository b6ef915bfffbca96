"""From command-line words to a typed config: Hydra composes, the schemas check, mistakes become one message.

Standard library only at module level; Hydra comes in when a command really runs.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hiltk.errors import ConfigError, nearest
from hiltk.steps import Verb

if TYPE_CHECKING:
    from omegaconf import DictConfig

_HERE = Path(__file__).resolve().parent
# Hydra's own options that take a value in the next word.
_WITH_VALUE = {"-c", "--cfg", "-p", "--package", "-cp", "--config-path", "-cn", "--config-name", "-cd", "--config-dir"}
_WITH_VALUE |= {"-i", "--info", "--experimental-rerun"}
# Settings that hold free mappings: Hydra wants `++` for new keys even there, which nobody should have to know.
MAPPINGS = ("env.kwargs", "foreign.cameras")


def shipped(folder: str) -> Path:
    """``conf`` or ``pipelines``: inside the package in a wheel, beside it in a checkout.

    Raises:
        ConfigError: the installation is incomplete.
    """
    for path in (_HERE / folder, _HERE.parent / folder):
        if path.is_dir():
            return path
    raise ConfigError(f"hiltk's {folder}/ folder is missing", where=str(_HERE), fix="install hiltk again")


def groups() -> dict[str, list[str]]:
    """Config groups and their options, as the YAML files in ``conf/`` say."""
    folders = sorted(p for p in shipped("conf").iterdir() if p.is_dir())
    return {f.name: sorted(p.stem for p in f.glob("*.yaml")) for f in folders}


# ---------------------------------------------------------------- words


def words_to_overrides(verb: Verb, words: list[str]) -> list[str]:
    """Turn ``a b key=value -m`` into Hydra's argv: plain words go to the verb's main key, as ``policies=['a','b']``.

    Raises:
        ConfigError: the verb takes no plain words, or only one.
    """
    plain, rest = _split_words(words)
    rest = [_into_mapping(word) for word in rest]
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


def _into_mapping(word: str) -> str:
    key = word.partition("=")[0]
    return f"++{word}" if any(key == m or key.startswith(f"{m}.") for m in MAPPINGS) else word


def _split_words(words: list[str]) -> tuple[list[str], list[str]]:
    plain: list[str] = []
    rest: list[str] = []
    for before, word in zip(["", *words], words, strict=False):
        is_plain = "=" not in word and word[:1] not in ("-", "~") and before not in _WITH_VALUE
        (plain if is_plain else rest).append(word)
    return plain, rest


def override(key: str, value: Any) -> str:
    """One Hydra override ``key=value`` from plain Python data, quoted so that nothing in a string has a meaning."""
    return f"{key}={_value(value)}"


def _value(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, list | tuple):
        return f"[{','.join(_value(v) for v in value)}]"
    if isinstance(value, dict):
        return "{" + ",".join(f"{_value(str(k))}:{_value(v)}" for k, v in value.items()) + "}"
    return _text(str(value))


def _text(text: str) -> str:
    """A string in Hydra's grammar: bare where that is safe (group choices must be), in quotes otherwise."""
    if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.-]*", text) and text.lower() not in ("null", "true", "false", "nan", "inf"):
        return text
    escaped = re.sub(r"(\\*)('|$)", lambda m: m[1] * 2 + ("\\'" if m[2] else ""), text)
    return f"'{escaped}'"


# ---------------------------------------------------------------- composing


@functools.cache
def register() -> None:
    """Make the schemas known to Hydra, once."""
    from hiltk import config

    config.register()


def compose(verb: Verb, overrides: list[str]) -> Any:
    """The verb's typed config, as the command line would make it.

    Raises:
        ConfigError: an override does not fit the schema, or a value is missing.
    """
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir

    register()
    with explained(verb), initialize_config_dir(str(shipped("conf")), version_base="1.3"):
        return typed(verb, hydra_compose(verb.config, [_into_mapping(o) for o in overrides]))


def typed(verb: Verb, cfg: DictConfig) -> Any:
    """The dataclass of a composed config.

    Raises:
        ConfigError: a key is not in the schema (``+`` gets past Hydra's own check) or a value is missing.
    """
    from omegaconf import OmegaConf

    for path, options in _unknown(cfg):
        raise ConfigError(f"'{path}' is not a setting of `hiltk {verb.name}`", fix=_near_key(path, options))
    if missing := sorted(OmegaConf.missing_keys(cfg)):
        keys = ", ".join(f"{key}=" for key in missing)
        raise ConfigError(f"`hiltk {verb.name}` needs {keys}", fix=f"for example: {_example_with(verb, missing, cfg)}")
    return OmegaConf.to_object(cfg)


def _example_with(verb: Verb, missing: list[str], cfg: DictConfig) -> str:
    """A command that sets the missing keys: the verb's own, or that of the group option that wants more."""
    group = next((key.split(".")[0] for key in missing if "." in key), "")
    option = f"{group}/{cfg[group].get('name')}" if group else ""
    return header(option if (shipped("conf") / f"{option}.yaml").is_file() else verb.config)[0]


def _unknown(cfg: DictConfig, prefix: str = "") -> Iterator[tuple[str, list[str]]]:
    """Keys that the dataclass of their node does not have, with those it does."""
    from omegaconf import DictConfig, OmegaConf

    schema = OmegaConf.get_type(cfg)
    known = [f.name for f in fields(schema)] if is_dataclass(schema) else None
    for key in cfg:
        path = f"{prefix}{key}"
        if known is not None and key not in known:
            yield path, [f"{prefix}{k}" for k in known]
        elif not OmegaConf.is_missing(cfg, key) and isinstance(node := cfg[key], DictConfig):
            yield from _unknown(node, f"{path}.")


def _near_key(path: str, options: list[str]) -> str:
    return nearest(path, options) or f"there are: {', '.join(options)}"


# ---------------------------------------------------------------- help from the YAML files


def header(name: str) -> list[str]:
    """The comment lines that open ``conf/<name>.yaml``, without ``#``."""
    lines = []
    for line in (shipped("conf") / f"{name}.yaml").read_text().splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.removeprefix("#").removeprefix(" "))
    return lines


_KEY = re.compile(r"^(?P<indent> *)(?:- )?(?P<key>[a-z_]+): *(?P<value>[^#]*?)(?: +# (?P<comment>.*))?$")


def documented_keys(name: str) -> list[tuple[str, str, str]]:
    """``(key, value, comment)`` of every commented line of a root YAML: its groups first, then its own keys."""
    text = (shipped("conf") / f"{name}.yaml").read_text()
    found, parent = [], ""
    for match in filter(None, map(_KEY.match, text.splitlines())):
        key, value, comment = match["key"], match["value"], match["comment"]
        nested = match["indent"] and parent != "defaults"
        parent = parent if match["indent"] else key
        if comment and value:
            found.append((f"{parent}.{key}" if nested else key, value, comment))
    return found


# ---------------------------------------------------------------- mistakes


class explained:  # noqa: N801  (used as a context manager, like contextlib's)
    """Turn Hydra's and OmegaConf's exceptions into one `ConfigError` that names the nearest right thing."""

    def __init__(self, verb: Verb) -> None:
        self.verb = verb

    def __enter__(self) -> None: ...

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        from hydra.errors import HydraException
        from omegaconf.errors import OmegaConfBaseException

        if isinstance(error, HydraException | OmegaConfBaseException):
            raise _explain(self.verb, error) from error


def _explain(verb: Verb, error: BaseException) -> ConfigError:
    from hydra.errors import OverrideParseException

    if isinstance(error, OverrideParseException):
        return _bad_grammar(error)
    text = "\n".join(str(e) for e in _chain(error))
    for rule in (_unknown_option, _unknown_key, _wrong_value):
        if found := rule(verb, text):
            return found
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return ConfigError(lines[0] if lines else type(error).__name__, where=f"hiltk {verb.name}")


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def _unknown_option(verb: Verb, text: str) -> ConfigError | None:
    """``Could not find 'env/so100'`` with the list of options of the group."""
    found = re.search(r"Could not find '(?:[^'\n]*/)?([^/'\n]*)'\s*\n\s*Available options in '([^']+)':((?:\n\t.*)+)", text)
    if not found:
        return None
    group = found[2].split("/")[-1]
    options = [o for o in found[3].split() if not o.endswith("_schema")]
    listed = f"there are: {', '.join(options)}"
    near = nearest(found[1], options)
    return ConfigError(f"{group}={found[1]}: there is no such {group}", fix=f"{near}  ({listed})" if near else listed)


def _unknown_key(verb: Verb, text: str) -> ConfigError | None:
    found = re.search(r"Could not (?:override|append to|delete from)[^'\n]*'([^'\n]+)'", text) or re.search(
        r"Key '([^']+)' (?:is )?not in '", text
    )
    if not found or "Value '" in text:
        return None
    full = re.search(r"full_key: (\S+)", text)
    key = found[1] if not full or found[1].endswith(full[1]) else full[1]
    return ConfigError(f"'{key}' is not a setting of `hiltk {verb.name}`", fix=_nearest_setting(verb, key))


def _nearest_setting(verb: Verb, key: str) -> str:
    keys = settings(verb)
    siblings = [k for k in keys if k.rpartition(".")[0] == key.rpartition(".")[0]]
    leaf = [k for k in keys if k.rpartition(".")[2] == key.rpartition(".")[2]]
    near = nearest(key, siblings) or (f"did you mean '{leaf[0]}'?" if leaf else "") or nearest(key, keys)
    return near or f"`hiltk {verb.name} --help` lists the settings"


def settings(verb: Verb, overrides: list[str] | None = None) -> list[str]:
    """Every key the verb has, dotted, with the groups chosen in ``overrides``."""
    return [key for key, _ in _walk(compose_untyped(verb, overrides or []))]


def compose_untyped(verb: Verb, overrides: list[str]) -> DictConfig:
    """The composed config before missing values are an error, e.g. to list settings."""
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    register()
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(shipped("conf")), version_base="1.3"):
        return hydra_compose(verb.config, overrides)


def _walk(cfg: DictConfig, prefix: str = "") -> Iterator[tuple[str, Any]]:
    from omegaconf import DictConfig, OmegaConf

    for key in cfg:
        value = None if OmegaConf.is_missing(cfg, key) else cfg[key]
        yield f"{prefix}{key}", value
        if isinstance(value, DictConfig):
            yield from _walk(value, f"{prefix}{key}.")


def _wrong_value(verb: Verb, text: str) -> ConfigError | None:
    """``Value 'abc' of type 'str' could not be converted to Integer``, ``Invalid value 'x', expected one of [...]``."""
    key = re.search(r"full_key: ([\w.]+)", text)
    merged = re.search(r"Error merging override ([^=\s]+)=(.*)", text)
    where = key[1] if key else merged[1] if merged else ""
    if found := re.search(r"Invalid value '([^']*)', expected one of \[([^\]]*)\]", text):
        options = [o.strip() for o in found[2].split(",")]
        near = nearest(found[1], options)
        listed = f"one of {', '.join(options)}"
        return ConfigError(f"{where}={found[1]} is not a choice", fix=f"{near}  ({listed})" if near else listed)
    if where and (found := re.search(r"Value '([^']*)' (?:of type|is not a valid)|Invalid (?:value|type) assigned", text)):
        value = found[1] if found[1] is not None else merged[2] if merged else "?"
        return ConfigError(f"{where}={value} does not fit", fix=_expected(verb, where))
    return None


_TYPES = {int: "a whole number", float: "a number", bool: "true or false", str: "text", list: "a list", dict: "a mapping"}


def _expected(verb: Verb, key: str) -> str:
    """What a setting takes, by the value it has now."""
    from omegaconf import OmegaConf

    value = dict(_walk(compose_untyped(verb, []))).get(key)
    if value is None:
        return f"`hiltk {verb.name} --cfg job` shows what it is now"
    plain = OmegaConf.to_container(value) if OmegaConf.is_config(value) else value
    return f"it takes {_TYPES.get(type(plain), type(plain).__name__)}, e.g. {key}={_value(plain)}"


def _bad_grammar(error: BaseException) -> ConfigError:
    override_text = getattr(error, "override", "") or ""
    return ConfigError(
        f"'{override_text}' cannot be read: {str(error).splitlines()[0]}",
        fix="settings look like key=value, lists like key=[a,b]; in the shell, quote what has spaces or brackets",
    )
