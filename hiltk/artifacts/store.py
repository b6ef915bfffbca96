"""Versioned artifacts on disk: find them by reference, write them whole or not at all.

``root/<kind>/<name>/<version>/`` with one ``run.yaml`` each. While an artifact is being written it lives in a hidden
folder beside its future place, so the last act is a rename, which is atomic on one filesystem.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock, Timeout

from hiltk.artifacts import fingerprint, provenance
from hiltk.errors import ConfigError, HiltkError, UserError, nearest
from hiltk.formats import DAMAGED, RUN, with_new_names
from hiltk.spec import Spec
from hiltk.verbs import default_root

KINDS = {"datasets": "d", "classifiers": "c", "policies": "p", "evaluations": "e", "reports": "r", "exports": "x"}
_SINGULAR = {kind: "policy" if kind == "policies" else kind[:-1] for kind in KINDS}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_VERSION = re.compile(r"([a-z])-(\d{4,})")
_DRAFT = ".draft-"  # a draft of a step that cannot be resumed; the rest of the name is random
_UNFINISHED = ".unfinished"  # the one draft that `resume=true` continues
_ABANDONED = ".abandoned"  # the draft that a fresh start pushed aside, kept until the next one
_FULL = 1 << 20  # bytes: with less than this left, a failed write failed for want of space


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


@dataclass
class Draft:
    """An artifact being written.

    Attributes:
        path: an existing folder (empty, unless resumed) to write into.
        spec: set it to have it saved with the artifact.
        notes: extra top-level keys for ``run.yaml``.
        artifact: the finished artifact, once the context has ended.
    """

    kind: str
    name: str
    path: Path
    resumed: bool = False
    spec: Spec | None = None
    notes: dict[str, Any] = field(default_factory=dict)
    artifact: Artifact = field(init=False)

    @property
    def done(self) -> Artifact:
        """The finished artifact; only after the context has ended."""
        return self.artifact


def spec_file(kind: str, path: Path) -> Path:
    """Where the spec lies: datasets keep it with LeRobot's own metadata."""
    return path / "meta" / "hiltk_spec.yaml" if kind == "datasets" else path / "hiltk_spec.yaml"


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


def split_episodes(ref: str) -> tuple[str, str]:
    """``demos:0-9`` and ``demos:near`` into the dataset and which of its episodes; all where that is empty."""
    match = re.fullmatch(r"(.+):(\d+(?:-\d+)?|[a-z_]+)", ref)
    return (match[1], match[2]) if match else (ref, "")


def is_image_folder(path: Path) -> bool:
    """Whether this is a folder of plain images, as far as can be said: one that is no dataset."""
    return path.is_dir() and not (path / "meta").is_dir()


def _a(kind: str) -> str:
    return "an artifact" if not kind else f"{'an' if kind[0] == 'e' else 'a'} {_SINGULAR[kind]}"


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
            f"there is no {_SINGULAR[kind]} '{name}'", where=str(Path(root) / kind), fix=_elsewhere(name, kind, root)
        )
    if version and version not in found:
        raise UserError(
            f"{_SINGULAR[kind]} '{name}' has no version '{version}'",
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


# ---------------------------------------------------------------- writing


def unfinished(kind: str, name: str, root: str | Path) -> Path | None:
    """The interrupted draft that ``resume=true`` would continue, if there is one."""
    path = Path(root) / kind / name / _UNFINISHED
    return path if path.is_dir() else None


@contextmanager
def create(
    kind: str,
    name: str,
    *,
    root: str | Path,
    step: str,
    cfg: Any,
    inputs: Sequence[Artifact],
    seed: int,
    resumable: bool = False,
    resume: bool = False,
    may_change: Sequence[str] = (),
    started: str = "",
) -> Iterator[Draft]:
    """Write the next version of an artifact: whole, or not at all.

    Args:
        kind: a key of `KINDS`.
        name: letters, digits, ``.``, ``_`` and ``-``.
        root: the folder of all artifacts.
        step: the command, e.g. ``train-classifier``.
        cfg: its config, a dataclass or DictConfig.
        inputs: artifacts it reads.
        seed: its seed.
        resumable: keep what was written when the body fails, for a later ``resume``.
        resume: continue in what an earlier, interrupted run left.
        may_change: settings in which the continued run may differ from the interrupted one.
        started: when the work began, where that was before this (`provenance.now`).

    Raises:
        ConfigError: the name cannot be a folder's name.
        UserError: another run is writing the same artifact, the folder cannot be written, the disk is full, or
            there is nothing to resume.
    """
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"'{name}' cannot be the name of an artifact", where="name=", fix="use letters, digits, '.', '_' and '-'"
        )
    folder = Path(root) / kind / name
    with _clear_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with _only_writer(folder, f"{_SINGULAR[kind]} '{name}'"):
            draft = _open_draft(kind, name, folder, resumable=resumable, resume=resume)
            record = _start(draft, step, cfg, inputs, seed, root, may_change)
            record |= {"started": started} if started else {}
            try:
                yield draft
                _finish(draft, record, folder)
            except BaseException:
                if not resumable:
                    shutil.rmtree(draft.path, ignore_errors=True)
                raise


@contextmanager
def _clear_errors(folder: Path) -> Iterator[None]:
    """Turn the operating system's refusals into messages a user can act on."""
    try:
        yield
    except HiltkError:
        raise
    except Exception as error:
        if _is_full(error, folder):
            raise UserError(
                "the disk is full", where=str(folder), fix="free some space, or set root= to another disk"
            ) from error
        if isinstance(error, OSError) and _concerns(error, folder):
            reason = error.strerror or type(error).__name__
            raise UserError(
                f"the output folder cannot be written: {reason}", where=str(folder), fix="set root="
            ) from error
        raise


def _is_full(error: Exception, folder: Path) -> bool:
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    # Libraries report a failed write in their own ways; what they have in common is that no space is left.
    return folder.is_dir() and shutil.disk_usage(folder).free < _FULL


def _concerns(error: OSError, folder: Path) -> bool:
    """Whether an OSError says that the output folder cannot be made or written (not that some input is missing)."""
    if error.filename is None:
        return False
    path, folder = Path(os.fsdecode(error.filename)).absolute(), folder.absolute()
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return path.is_relative_to(folder) or folder.is_relative_to(path)
    return not folder.is_dir() and folder.is_relative_to(path)


@contextmanager
def _only_writer(folder: Path, what: str) -> Iterator[None]:
    """Hold the folder's lock; the operating system frees it when the process dies, however it dies."""
    lock, owner = FileLock(folder / ".lock"), folder / ".writer"
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        who = owner.read_text().strip() if owner.is_file() else "another process"
        raise UserError(
            f"another run is writing {what} right now",
            where=f"{folder} ({who})",
            fix="wait for it, or choose another name=",
        ) from error
    try:
        owner.write_text(f"process {os.getpid()}, since {provenance.now()}\n")
        _sweep(folder)
        yield
    finally:
        owner.unlink(missing_ok=True)
        lock.release()


def _sweep(folder: Path) -> None:
    """Remove drafts of dead processes: whoever holds the lock knows that no other writer lives."""
    for stale in folder.glob(f"{_DRAFT}*"):
        shutil.rmtree(stale, ignore_errors=True)


def _open_draft(kind: str, name: str, folder: Path, *, resumable: bool, resume: bool) -> Draft:
    path = folder / (_UNFINISHED if resumable else f"{_DRAFT}{uuid.uuid4().hex[:8]}")
    if resume and not (resumable and path.is_dir()):
        raise UserError(
            f"there is no interrupted run of '{name}' to resume", where=str(folder), fix="leave out resume=true"
        )
    if path.is_dir() and not resume:
        shutil.rmtree(folder / _ABANDONED, ignore_errors=True)
        path.rename(folder / _ABANDONED)
    path.mkdir(exist_ok=resume)
    return Draft(kind, name, path, resumed=resume)


def _start(
    draft: Draft,
    step: str,
    cfg: Any,
    inputs: Sequence[Artifact],
    seed: int,
    root: str | Path,
    may_change: Sequence[str],
) -> dict[str, Any]:
    """Write the first half of ``run.yaml``: proves the folder can be written before hours are spent."""
    record = provenance.started_record(step, cfg, [a.as_input() for a in inputs], seed, root)
    if draft.resumed and (earlier := Artifact(draft.kind, draft.name, "", draft.path).run()):
        _require_same(earlier, record, may_change, draft.path)
        record["resumed_from"] = [*earlier.get("resumed_from", []), earlier.get("started", "")]
    _write_run(draft.path, record)
    return record


def _require_same(earlier: dict[str, Any], now: dict[str, Any], may_change: Sequence[str], path: Path) -> None:
    """Refuse to continue a run under other settings: its record would be true of only half of it."""
    free = {*provenance.VOLATILE, *may_change}
    before, after = (_flat(r.get("config") or {}) for r in (earlier, now))
    changed = [
        f"    {key}: {before.get(key)!r} before, {after.get(key)!r} now"
        for key in sorted(before.keys() | after.keys())
        if key.split(".")[0] not in free and before.get(key) != after.get(key)
    ]
    if changed:
        listing = "\n".join(changed[:8])
        raise UserError(
            f"the interrupted run had other settings:\n{listing}",
            where=str(path),
            fix="resume with the same settings, or start anew with resume=false",
        )


def _flat(config: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by dotted key."""
    out: dict[str, Any] = {}
    for key, value in config.items():
        out |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return out


def _write_run(path: Path, record: dict[str, Any]) -> None:
    text = yaml.safe_dump(record, sort_keys=False, allow_unicode=True, width=120)
    partial = path / f".{fingerprint.RUN_FILE}"
    partial.write_text(text)
    partial.replace(path / fingerprint.RUN_FILE)


def _finish(draft: Draft, record: dict[str, Any], folder: Path) -> None:
    if draft.spec is not None:
        file = spec_file(draft.kind, draft.path)
        file.parent.mkdir(exist_ok=True)
        draft.spec.save(file)
    # Python's own types only: numpy scalars in notes would make the record unreadable for safe loaders.
    notes = {k: _plain(v) for k, v in draft.notes.items()}
    finished = {
        "status": "finished",
        "finished": provenance.now(),
        "fingerprint": fingerprint.fingerprint(draft.path),
        "peak_memory_mb": provenance.peak_memory_mb(),
    }
    _write_run(draft.path, {**record, **finished, **notes})
    last = versions(draft.kind, draft.name, folder.parent.parent)
    version = f"{KINDS[draft.kind]}-{int(last[-1].split('-')[1]) + 1 if last else 1:04d}"
    draft.path.rename(folder / version)
    draft.path = folder / version
    draft.artifact = Artifact(draft.kind, draft.name, version, draft.path)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if hasattr(value, "tolist"):  # numpy and torch scalars and arrays
        return value.tolist()
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)
