"""The YAML files of settings and pipelines: where they are, and what they say. Help reads this, so nothing heavy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from hiltk.errors import ConfigError

_PACKAGE = Path(__file__).resolve().parents[1]
# Folders laid out like conf/. Another package adds its own before it calls hiltk.
FOLDERS: list[Path] = []


def shipped(folder: str) -> Path:
    """``conf``, ``pipelines`` or ``docs``: inside the package in a wheel, beside it in a checkout.

    Raises:
        ConfigError: the installation is incomplete.
    """
    for path in (_PACKAGE / folder, _PACKAGE.parent / folder):
        if path.is_dir():
            return path
    raise ConfigError(f"hiltk's {folder}/ folder is missing", where=str(_PACKAGE), fix="install hiltk again")


def groups() -> dict[str, list[str]]:
    """Config groups and their options, as the YAML files in ``conf/`` and `FOLDERS` say."""
    found: dict[str, set[str]] = {}
    for file in (file for folder in (shipped("conf"), *FOLDERS) for file in folder.glob("*/*.yaml")):
        found.setdefault(file.parent.name, set()).add(file.stem)
    return {group: sorted(options) for group, options in sorted(found.items())}


def pipelines() -> list[str]:
    """Names of the pipelines that ship with hiltk."""
    return sorted(p.stem for p in shipped("pipelines").glob("*.yaml"))


def header(name: str) -> list[str]:
    """The comment lines that open ``conf/<name>.yaml``, without ``#``."""
    lines = []
    for line in _file(name).read_text().splitlines():
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


def has_option(name: str) -> bool:
    """Whether there is an option such as ``agent/sac``."""
    return _file(name).is_file()


def _read(name: str) -> dict[str, Any]:
    return yaml.safe_load(_file(name).read_text())


def _file(name: str) -> Path:
    """As Hydra looks it up: hiltk's own first."""
    places = [folder / f"{name}.yaml" for folder in (shipped("conf"), *FOLDERS)]
    return next(filter(Path.is_file, places), places[0])
