"""A verb's config as the typed dataclass its step takes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any

from hiltk.artifacts.store import check_name
from hiltk.config.setting import check_numbers
from hiltk.configuring.composing import compose_untyped
from hiltk.configuring.files import has_option, header
from hiltk.configuring.mistakes import explained, unknown_key
from hiltk.errors import ConfigError, nearest
from hiltk.verbs import Verb, default_root

if TYPE_CHECKING:
    from omegaconf import DictConfig


def compose(verb: Verb, overrides: list[str]) -> Any:
    """The verb's typed config, as the command line would make it.

    Raises:
        ConfigError: an override does not fit the schema, or a value is missing.
    """
    with explained(verb, overrides):
        return typed(verb, compose_untyped(verb, overrides))


def typed(verb: Verb, cfg: DictConfig) -> Any:
    """The dataclass of a composed config.

    Raises:
        ConfigError: a key is not in the schema (``+`` gets past Hydra's own check), a value is missing, a number is
            none, or the name cannot be one.
    """
    from omegaconf import OmegaConf

    for path, options in _unknown(cfg):
        raise unknown_key(verb, path, _near_key(path, options))
    if missing := sorted(OmegaConf.missing_keys(cfg)):
        keys = ", ".join(f"{key}=" for key in missing)
        raise ConfigError(f"`hiltk {verb.name}` needs {keys}", fix=f"for example: {_example_with(verb, missing, cfg)}")
    conf: Any = OmegaConf.to_object(cfg)
    check_name(conf.name)
    check_numbers(conf)
    if not conf.root:
        raise ConfigError("the folder of all artifacts has no name", where="root=", fix=f"root={default_root()}")
    return conf


def _example_with(verb: Verb, missing: list[str], cfg: DictConfig) -> str:
    """A command that sets the missing keys: the verb's own, or that of the group option that wants more."""
    group = next((key.split(".")[0] for key in missing if "." in key), "")
    option = f"{group}/{cfg[group].get('name')}" if group else ""
    return next(iter([*(header(option) if has_option(option) else []), *header(verb.config)]))


def _unknown(cfg: DictConfig, prefix: str = "") -> Iterator[tuple[str, list[str]]]:
    """Keys that the dataclass of their node does not have, with those it does."""
    from omegaconf import DictConfig, OmegaConf

    schema = OmegaConf.get_type(cfg)
    known = [f.name for f in fields(schema)] if is_dataclass(schema) else None
    for key in map(str, cfg):
        path = f"{prefix}{key}"
        if known is not None and key not in known:
            yield path, [f"{prefix}{k}" for k in known]
        elif not OmegaConf.is_missing(cfg, key) and isinstance(node := cfg[key], DictConfig):
            yield from _unknown(node, f"{path}.")


def _near_key(path: str, options: list[str]) -> str:
    return nearest(path, options) or f"there are: {', '.join(options)}"
