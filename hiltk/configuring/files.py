"""The YAML files that ship with hiltk: where they are, and what their comments say.

Standard library only: help is made from this.
"""

from __future__ import annotations

import re
from pathlib import Path

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
