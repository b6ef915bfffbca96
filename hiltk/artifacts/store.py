"""Versioned artifacts on disk, found by reference: ``root/<kind>/<name>/<version>/`` with one ``run.yaml`` each."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from hiltk.artifacts import fingerprint
from hiltk.errors import ConfigError, UserError, nearest
from hiltk.formats import DAMAGED, RUN, with_new_names
from hiltk.spec import Spec
from hiltk.verbs import default_root

KINDS = {"datasets": "d", "classifiers": "c", "policies": "p", "evaluations": "e", "reports": "r", "exports": "x"}
SPEC_NAME = "hiltk_spec.yaml"
SINGULAR = {kind: "policy" if kind == "policies" else kind[:-1] for kind in KINDS}
UNFINISHED = ".unfinished"  # the one draft that `resume=true` continues
SNAPS = "snaps"  # beside the kinds: folders of plain pictures, which `hiltk arm snap` takes
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_NO_NAMES = ("nan", "NaN", "None", "null")  # what a script writes that did not have one
_VERSION = re.compile(r"([a-z])-(\d{4,})")


@dataclass(frozen=True)
class Artifact:
    """One immutable folder.

    Attributes:
        kind: a key of `KINDS`.
        name: what the user called it (for a path, the folder's name).
        version: e.g. ``d-0003``; for the Hub the commit; empty for a path outside any store.
        path: the folder.
        origin: the reference it was found by, where that is not ``name@version``.
    """

    kind: str
    name: str
    version: str
    path: Path
    origin: str = ""

    @property
    def ref(self) -> str:
        """A reference that always finds this very version: ``name@d-0003``, a path or ``hub:owner/repo@tag``."""
        return self.origin or f"{self.name}@{self.version}"

    def spec(self) -> Spec:
        """The spec that travels with it.

        Raises:
            UserError: it has none.
        """
        return Spec.load(spec_file(self.kind, self.path))

    def run(self) -> dict[str, Any]:
        """What ``run.yaml`` says, settings by today's names; empty for a folder that no `hiltk` command wrote.

        Raises:
            UserError: it is damaged, or a newer hiltk's.
        """
        file = self.path / fingerprint.RUN_FILE
        try:
            record = yaml.safe_load(file.read_text()) or {} if file.is_file() else {}
            if not isinstance(record, dict):
                raise ValueError("it holds no settings")
        except (yaml.YAMLError, ValueError) as error:  # UnicodeDecodeError is a ValueError
            reason = (str(error).splitlines() or [repr(error)])[0]
            raise UserError(f"{fingerprint.RUN_FILE} is damaged: {reason}", where=str(file), fix=DAMAGED) from error
        record = RUN.upgrade(record, str(file))
        config = record.get("config")
        return record | {"config": with_new_names(config)} if isinstance(config, dict) else record

    @property
    def fingerprint(self) -> str:
        """Content hash, as recorded when it was written, else computed from the files now."""
        return str(self.run().get("fingerprint") or fingerprint.fingerprint(self.path))

    def is_intact(self) -> bool:
        """Whether the files still are what ``run.yaml`` says they were."""
        return self.run().get("fingerprint") == fingerprint.fingerprint(self.path)

    def as_input(self) -> dict[str, str]:
        """The entry that ``run.yaml`` of a step reading this artifact gets."""
        return {
            "kind": self.kind,
            "artifact": self.origin or self.name,
            "version": self.version,
            "fingerprint": self.fingerprint,
        }


def title_of(artifact: Artifact) -> str:
    """``policies/hil@p-0001``, or the path of an artifact outside the store."""
    return artifact.ref if artifact.origin else f"{artifact.kind}/{artifact.ref}"


def spec_file(kind: str, path: Path) -> Path:
    """Where the spec lies: datasets keep it with LeRobot's own metadata."""
    return path / "meta" / SPEC_NAME if kind == "datasets" else path / SPEC_NAME


def check_name(name: str) -> None:
    """Refuse what cannot be the name of an artifact.

    Raises:
        ConfigError: it cannot be a folder's name everywhere, or is a script's word for nothing.
    """
    if not _NAME.fullmatch(name) or name in _NO_NAMES:
        fix = "use letters, digits, '.', '_' and '-'"
        fix += f"; not {', '.join(_NO_NAMES)}" if name in _NO_NAMES else ""
        raise ConfigError(f"'{name}' cannot be the name of an artifact", where=f"name={name}", fix=fix)


# ---------------------------------------------------------------- finding


def versions(kind: str, name: str, root: str | Path) -> list[str]:
    """Finished versions of one name, oldest first."""
    folder = Path(root) / kind / name
    names = [p.name for p in folder.iterdir() if p.is_dir()] if folder.is_dir() else []
    found = [m for n in names if (m := _VERSION.fullmatch(n)) and m[1] == KINDS[kind]]
    return [m[0] for m in sorted(found, key=lambda m: int(m[2]))]


def names(kind: str, root: str | Path) -> list[str]:
    """Names of one kind that have at least one finished version."""
    folder = Path(root) / kind
    found = sorted(p.name for p in folder.iterdir() if p.is_dir()) if folder.is_dir() else []
    return [n for n in found if versions(kind, n, root)]


def resolve(ref: str, kind: str, root: str | Path | None = None) -> Artifact:
    """Find an artifact.

    Args:
        ref: ``name`` (its newest version), ``name@d-0003``, a path, or ``hub:owner/repo@tag``; where any kind will do
            also ``policies/name``.
        kind: a key of `KINDS`; empty for any kind (a reference with a version says its kind itself).
        root: the folder of all artifacts; None: the default.

    Raises:
        UserError: nothing of that kind is called so; the nearest name is given.
    """
    ref, root = str(ref), default_root() if root is None else root
    if not ref or ref == "???":
        raise ConfigError(f"the name of {_a(kind)} is missing")
    if ref.startswith("hub:"):
        return _from_hub(ref, kind or "datasets")
    first, _, rest = ref.partition("/")
    if not kind and first in KINDS and rest and not Path(ref).is_dir():
        kind, ref = first, rest
    if "/" in ref or os.sep in ref or ref in (".", ".."):
        return _from_path(ref, kind, root)
    name, _, version = ref.partition("@")
    return _newest(name, _kind_of(name, version, kind, root), version, root)


def resolve_each(refs: Sequence[str], kind: str, root: str | Path | None = None) -> list[Artifact]:
    """Find several artifacts, none of them twice.

    Raises:
        ConfigError: two references mean the same one.
        UserError: as `resolve` does.
    """
    found = [resolve(ref, kind, root) for ref in refs]
    paths = [one.path.resolve() for one in found]
    for n, path in enumerate(paths):
        if (first := paths.index(path)) < n:
            raise ConfigError(
                f"a {SINGULAR[kind]} is named twice: {found[n].ref}",
                where=" and ".join(dict.fromkeys(map(str, (refs[first], refs[n])))),
                fix="name it once",
            )
    return found


def split_episodes(ref: str) -> tuple[str, str]:
    """``demos:0-9`` and ``demos:near`` into the dataset and which of its episodes; all where that is empty."""
    match = re.fullmatch(r"(.+):(\d+(?:-\d+)?|[a-z_]+)", ref)
    return (match[1], match[2]) if match else (ref, "")


def image_folder(name: str, root: str | Path) -> Path | None:
    """The folder of plain images that a word means: a path, or what `hiltk arm snap` took under that name.

    Raises:
        UserError: a dataset has the same name.
    """
    path = Path(name).expanduser()
    if path.is_dir() and not (path / "meta").is_dir():
        return path
    taken = Path(root) / SNAPS / name
    if not _NAME.fullmatch(name) or not taken.is_dir():
        return None
    if versions("datasets", name, root):
        fix = f"{taken}, or {name}@{versions('datasets', name, root)[-1]}"
        raise UserError(f"pictures and a dataset are called '{name}'", where=str(root), fix=fix)
    return taken


def _a(kind: str) -> str:
    return "an artifact" if not kind else f"{'an' if kind[0] == 'e' else 'a'} {SINGULAR[kind]}"


def _kind_of(name: str, version: str, kind: str, root: str | Path) -> str:
    """The kind a reference means: as demanded, as its version's letter says, or the only kind that has the name."""
    if kind:
        return kind
    if version:
        letters = {letter: k for k, letter in KINDS.items()}
        if version[0] not in letters:
            raise UserError(f"'{version}' is not a version", where=f"{name}@{version}", fix="versions look like p-0001")
        return letters[version[0]]
    having = [k for k in KINDS if versions(k, name, root)]
    if len(having) > 1:
        options = " or ".join(f"{name}@{versions(k, name, root)[-1]}" for k in having)
        raise UserError(f"'{name}' could be {' or '.join(_a(k) for k in having)}", fix=f"say which: {options}")
    if not having:
        every = sorted({n for k in KINDS for n in names(k, root)})
        raise UserError(f"there is no artifact '{name}'", where=str(root), fix=_known(name, every, ""))
    return having[0]


def _newest(name: str, kind: str, version: str, root: str | Path) -> Artifact:
    found = versions(kind, name, root)
    if not found:
        raise UserError(
            f"there is no {SINGULAR[kind]} '{name}'", where=str(Path(root) / kind), fix=_elsewhere(name, kind, root)
        )
    if version and version not in found:
        raise UserError(
            f"{SINGULAR[kind]} '{name}' has no version '{version}'",
            where=str(Path(root) / kind / name),
            fix=f"it has {', '.join(found[-8:])}",
        )
    version = version or found[-1]
    return Artifact(kind, name, version, Path(root) / kind / name / version)


def _elsewhere(name: str, kind: str, root: str | Path) -> str:
    others = [_a(k) for k in KINDS if k != kind and versions(k, name, root)]
    if others:
        return f"'{name}' is {' and '.join(others)}"
    return _known(name, names(kind, root), kind)


def _known(name: str, existing: list[str], kind: str) -> str:
    if hint := nearest(name, existing):
        return hint
    listed = ", ".join(existing[:12])
    return f"there are: {listed}" if existing else f"make {_a(kind)} first, or set root= to where it is"


def _from_path(ref: str, kind: str, root: str | Path) -> Artifact:
    path = Path(ref).expanduser()
    if not path.is_dir():
        near = nearest(path.name, [p.name for p in path.parent.iterdir()]) if path.parent.is_dir() else ""
        raise UserError("there is no such folder", where=str(path), fix=near)
    kind = kind or (path.parts[-3] if len(path.parts) > 2 and path.parts[-3] in KINDS else "datasets")
    inside = Path(root).resolve() / kind / path.parent.name / path.name
    if inside == path.resolve() and path.name in versions(kind, path.parent.name, root):
        return Artifact(kind, path.parent.name, path.name, path)
    return Artifact(kind, path.name, "", path, origin=str(path))


def _from_hub(ref: str, kind: str) -> Artifact:
    """Download a snapshot of a Hub repository; its version is the commit, so that a moved tag is noticed."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    repo, _, tag = ref.removeprefix("hub:").partition("@")
    repo_type = "dataset" if kind == "datasets" else "model"
    try:
        path = Path(snapshot_download(repo, repo_type=repo_type, revision=tag or None))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise UserError(
            f"'{repo}' cannot be fetched from the Hub: {reason}",
            where=f"{repo_type} {ref}",
            fix="check the name, the tag and the network; private repositories need `hf auth login`",
        ) from error
    return Artifact(kind, repo, path.name, path, origin=f"hub:{repo}@{tag or path.name}")


def unfinished(kind: str, name: str, root: str | Path) -> Path | None:
    """The interrupted draft that ``resume=true`` would continue, if there is one."""
    path = Path(root) / kind / name / UNFINISHED
    return path if path.is_dir() else None
