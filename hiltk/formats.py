"""What another hiltk stored, or people typed for it: versions of files, and settings that were renamed.

A file's version is read before anything else in it. A newer one is refused with the way out; an older one goes through
one migration per version, and a sample of each version lies in ``tests/rails/samples/``. To write a file in another
way, add the release that does so to the file's ``since``, and to its ``migrations`` what turns old contents into new.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import metadata
from typing import Any

from hiltk.errors import UserError

NEEDS = "needs"  # beside the version, from the second on: the first hiltk that reads it


@dataclass(frozen=True)
class Format:
    """One kind of file.

    Attributes:
        name: what messages call it.
        since: the hiltk that first wrote version 1, 2, ...
        migrations: the first turns the contents of version ``oldest`` into those of the next, and so on.
        oldest: the first version that can still be read.
        key: where the version stands; a file without it is of version 1.
    """

    name: str
    since: tuple[str, ...] = ("0.1.0",)
    migrations: tuple[Callable[[dict[str, Any]], dict[str, Any]], ...] = ()
    oldest: int = 1
    key: str = "format"

    @property
    def version(self) -> int:
        """What is written now."""
        return len(self.since)

    def stamp(self) -> dict[str, Any]:
        """What goes into a file that is written now."""
        return {self.key: self.version} | ({NEEDS: self.since[-1]} if self.version > 1 else {})

    def read_version(self, contents: Mapping[str, Any], where: str) -> int:
        """The version of a file's contents.

        Raises:
            UserError: this hiltk is too old for it, or it is no version.
            TypeError: the contents are no mapping; readers say so as of any damage.
        """
        if not isinstance(contents, Mapping):
            raise TypeError("it is not a mapping")
        found = contents.get(self.key, 1)
        if not isinstance(found, int) or found < 1:
            raise UserError(
                f"{self.name} cannot be used: {self.key}: {found!r} is no version", where=where, fix=DAMAGED
            )
        if found > self.version:
            maker = f"hiltk >= {contents[NEEDS]}" if NEEDS in contents else "a newer hiltk"
            raise UserError(
                f"{self.name} cannot be used: made by {maker} ({self.key}: {found}; this is hiltk "
                f"{metadata.version('hiltk')}, which reads up to {self.version})",
                where=where,
                fix="upgrade hiltk",
            )
        return found

    def upgrade(self, contents: Mapping[str, Any], where: str) -> dict[str, Any]:
        """A file's contents as they are written now, without the version.

        Raises:
            UserError, TypeError: as `read_version`.
        """
        version = self.read_version(contents, where)
        current = {k: v for k, v in contents.items() if k not in (self.key, NEEDS)}
        for migrate in self.migrations[version - self.oldest :]:
            current = migrate(current)
        return current


DAMAGED = "restore it, or make it again"
SPEC = Format("this spec", key="version")
RUN = Format("run.yaml")
POLICY = Format("the policy's config")
CLASSIFIER = Format("the classifier's config")
CHECKPOINT = Format("the checkpoint")
ARM = Format("this arm's file", key="version")
# Of version 1 were whole episodes; a classifier that has those has none (None of `Statistics.load`).
STATISTICS = Format(
    "the classifier's statistics of its training images", since=("0.1.0", "0.1.0"), oldest=2, key="version"
)

# ---------------------------------------------------------------- renamed settings

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
