"""Shell completion of settings: ``agent=<TAB>`` offers options, ``env.im<TAB>`` keys, ``demos=<TAB>`` artifacts."""

from __future__ import annotations

import os
import re
from enum import Enum
from typing import Any

from hiltk.composing import compose_untyped, groups, settings
from hiltk.steps import Verb


def complete(verb: Verb, words: list[str], incomplete: str) -> list[str]:
    """What may follow, given the words before and the one being typed.

    bash cuts words at ``=`` and replaces only what is behind it, so there the values are offered bare.
    """
    rejoined = _bash_words()
    if rejoined is None:
        return _candidates(verb, words, incomplete)
    *words, incomplete = rejoined
    offered = _candidates(verb, words, incomplete)
    return [o.partition("=")[2] for o in offered] if "=" in incomplete else offered


def _bash_words() -> list[str] | None:
    """The words after the verb with ``key``, ``=``, ``value`` put together again; None where nothing was cut."""
    line = os.environ.get("COMP_WORDS", "")
    if not re.search(r"\s=(\s|$)", line):
        return None
    words = re.sub(r"\s+=[^\S\n]?", "=", line).split()
    if line[-1:].isspace() and not re.search(r"\s=\s$", line):
        words.append("")
    return words[2:]


def _candidates(verb: Verb, words: list[str], incomplete: str) -> list[str]:
    chosen = [w for w in words if w.partition("=")[0] in groups() and w.partition("=")[2]]
    key, equals, _ = incomplete.partition("=")
    if equals:
        return [f"{key}={v}" for v in _values(verb, key, chosen) if f"{key}={v}".startswith(incomplete)]
    keys = settings(verb, chosen)
    # One level at a time: `env.` opens a group's own settings.
    depth = incomplete.count(".")
    shown = [k if _has_more(k, keys) and k not in groups() else f"{k}=" for k in keys if k.count(".") == depth]
    return [k for k in shown if k.startswith(incomplete)]


def _has_more(key: str, keys: list[str]) -> bool:
    return any(k.startswith(f"{key}.") for k in keys)


def _values(verb: Verb, key: str, chosen: list[str]) -> list[str]:
    if key in groups():
        return groups()[key]
    from hiltk.artifacts.provenance import REFERENCES
    from hiltk.artifacts.store import KINDS, names
    from omegaconf import OmegaConf

    cfg = compose_untyped(verb, chosen)
    if key in REFERENCES:
        kinds = [REFERENCES[key]] if REFERENCES[key] else list(KINDS)
        return [name for kind in kinds for name in names(kind, cfg.root)]
    return _choices(OmegaConf.select(cfg, key))


def _choices(value: Any) -> list[str]:
    if isinstance(value, Enum):
        return list(type(value).__members__)
    return ["true", "false"] if isinstance(value, bool) else []
