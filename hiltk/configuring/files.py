"""The YAML files that ship with hiltk: where they are, and what they say. Help is made from this, so nothing heavy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from hiltk.errors import ConfigError

_PACKAGE = Path(__file__).resolve().parents[1]


def shipped(folder: str) -> Path:
    """``conf`` or ``pipelines``: inside the package in a wheel, beside it in a checkout.

    Raises:
        ConfigError: the installation is incomplete.
    """
    for path in (_PACKAGE / folder, _PACKAGE.parent / folder):
        if path.is_dir():
            return path
    raise ConfigError(f"hiltk's {folder}/ folder is missing", where=str(_PACKAGE), fix="install hiltk again")


def groups() -> dict[str, list[str]]:
    """Config groups and their options, as the YAML files in ``conf/`` say."""
    folders = sorted(p for p in shipped("conf").iterdir() if p.is_dir())
    return {f.name: sorted(p.stem for p in f.glob("*.yaml")) for f in folders}


def pipelines() -> list[str]:
    """Names of the pipelines that ship with hiltk."""
    return sorted(p.stem for p in shipped("pipelines").glob("*.yaml"))


def header(name: str) -> list[str]:
    """The comment lines that open ``conf/<name>.yaml``, without ``#``."""
    lines = []
    for line in (shipped("conf") / f"{name}.yaml").read_text().splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.removeprefix("#").removeprefix(" "))
    return lines


def chosen_options(name: str) -> dict[str, str]:
    """The option that ``conf/<name>.yaml`` takes of each of its groups."""
    entries = [entry for entry in _read(name)["defaults"] if isinstance(entry, dict)]
    return {group: option for entry in entries for group, option in entry.items() if not group.startswith("override ")}


def option(group: str, name: str) -> tuple[str, dict[str, Any]]:
    """An option's schema, by Hydra's name, and the values that the option and those it builds on give it."""
    read = _read(f"{group}/{name}")
    base = read.pop("defaults")[0]
    if base.endswith("_schema"):
        return base, read
    schema, values = option(group, base)
    return schema, values | read


def _read(name: str) -> dict[str, Any]:
    return yaml.safe_load((shipped("conf") / f"{name}.yaml").read_text())
