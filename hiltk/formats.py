"""What was stored or typed by an earlier hiltk, in today's words."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

# Settings that were renamed: dotted key then, dotted key now; what lies below a key goes with it. An old one that is
# typed is answered with the new one, and stored configs are read by it: an old name must never mean something else.
RENAMED_KEYS: dict[str, str] = {}


def new_name(key: str) -> str:
    """What a setting is called now; empty where it was not renamed."""
    for old, new in RENAMED_KEYS.items():
        if key == old or key.startswith(f"{old}."):
            return new + key.removeprefix(old)
    return ""


def with_new_names(config: Mapping[str, Any]) -> dict[str, Any]:
    """A nested config, as it was stored, with its settings where they are now."""
    out: dict[str, Any] = copy.deepcopy(dict(config))
    for old, new in RENAMED_KEYS.items():
        *parents, last = old.split(".")
        place: Any = out
        for parent in parents:
            place = place.get(parent) if isinstance(place, dict) else None
        if not isinstance(place, dict) or last not in place:
            continue
        value = place.pop(last)
        *parents, last = new.split(".")
        place = out
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = value
    return out
