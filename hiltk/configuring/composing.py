"""Hydra composes a verb's config from ``conf/`` and overrides; here still untyped, with values possibly missing."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from hiltk.config.commands import COMMANDS
from hiltk.config.groups import PACES, SCHEMAS, Pace
from hiltk.configuring.files import FOLDERS, shipped
from hiltk.configuring.words import into_mapping
from hiltk.verbs import STEPS, Verb, default_root

if TYPE_CHECKING:
    from omegaconf import DictConfig


def register() -> None:
    """Make the schemas known to Hydra: once, and again where the default of ``root`` has become another."""
    _register(default_root())


@functools.lru_cache(maxsize=1)
def _register(root: str) -> None:
    from hydra.core.config_search_path import ConfigSearchPath
    from hydra.core.config_store import ConfigStore
    from hydra.core.plugins import Plugins
    from hydra.plugins.search_path_plugin import SearchPathPlugin
    from omegaconf import OmegaConf

    class OtherPackages(SearchPathPlugin):
        def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
            for folder in FOLDERS:
                search_path.append("other-packages", f"file://{folder}")

    Plugins.instance().register(OtherPackages)
    OmegaConf.register_new_resolver("pace", _of_pace, replace=True)
    store = ConfigStore.instance()
    for verb in STEPS.values():
        store.store(name=f"{verb.config}_schema", node=_paced("", COMMANDS[verb.name]))
    for group, schemas in SCHEMAS.items():
        for name, schema in schemas.items():
            store.store(group=group, name=name, node=_paced(group, schema))
    # Hydra copies its sources for every config it composes, and with them this store of every schema, which takes as
    # long as all the rest. There is only this one, and it gives out copies: it may be its own.
    vars(store)["__deepcopy__"] = lambda memo: store


def _paced(group: str, schema: type) -> DictConfig:
    """The schema, its defaults those of the pace where that has others: they are looked up when the config is read, so
    that an option or a word of the command line that says a value wins."""
    from omegaconf import OmegaConf

    node = OmegaConf.structured(schema)
    for key in {key for defaults in PACES.values() for key in defaults}:
        prefix, _, leaf = key.rpartition(".")
        if prefix == group and leaf in node:
            node[leaf] = f"${{pace:{key},{node[leaf]}}}"
    return node


def _of_pace(key: str, default: Any, *, _root_: DictConfig) -> Any:
    """What a setting is at the pace of the config, where nothing says it."""
    pace = _root_.task.pace if "task" in _root_ else Pace.quick
    return PACES[pace].get(key, default)


@functools.cache
def settings(verb: Verb, overrides: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Every key the verb has, dotted, with the groups chosen in ``overrides``."""
    return tuple(key for key, _ in walk(compose_untyped(verb, list(overrides))))


def compose_untyped(verb: Verb, overrides: list[str]) -> DictConfig:
    """The composed config before missing values are an error, e.g. to list settings."""
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    register()
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(shipped("conf")), version_base="1.3"):
        return hydra_compose(verb.config, [into_mapping(verb, o) for o in overrides])


def walk(cfg: DictConfig, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every key below a config, dotted, with its value; None where it is missing."""
    from omegaconf import DictConfig, OmegaConf

    for key in map(str, cfg):
        value = None if OmegaConf.is_missing(cfg, key) else cfg[key]
        yield f"{prefix}{key}", value
        if isinstance(value, DictConfig):
            yield from walk(value, f"{prefix}{key}.")
