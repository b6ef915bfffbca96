"""An artifact is written whole or not at all.

While it is being written it lives in a hidden folder beside its future place, so the last act is a rename, which is
atomic on one filesystem.
"""

from __future__ import annotations

import errno
import os
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
from hiltk.artifacts.replacing import disk_is_full, remove, replacing, sweep
from hiltk.artifacts.store import KINDS, SINGULAR, UNFINISHED, Artifact, check_name, spec_file, versions
from hiltk.console import say
from hiltk.errors import HiltkError, UserError
from hiltk.spec import Spec

_DRAFT = ".draft-"  # a draft of a step that cannot be resumed; the rest of the name is random
_ABANDONED = ".abandoned"  # the draft that a fresh start pushed aside, kept until the next one


@dataclass
class Draft:
    """An artifact being written.

    Attributes:
        path: an existing folder (empty, unless resumed) to write into.
        spec: set it to have it saved with the artifact.
        notes: extra top-level keys for ``run.yaml``.
        rest: name of a hidden folder inside with what a resume needs and the artifact does not.
        goes_on: the artifact is finished early, and ``resume=true`` may go on from ``rest`` to another version.
        artifact: the finished artifact, once the context has ended.
    """

    kind: str
    name: str
    path: Path
    resumed: bool = False
    spec: Spec | None = None
    notes: dict[str, Any] = field(default_factory=dict)
    rest: str = ""
    goes_on: bool = False
    artifact: Artifact = field(init=False)

    @property
    def done(self) -> Artifact:
        """The finished artifact; only after the context has ended."""
        return self.artifact

    def keep_only(self, rest: str) -> None:
        """A resumed run starts from the hidden folder ``rest`` alone: remove whatever else the interrupted one left."""
        self.rest = rest
        for part in self.path.iterdir():
            if part.name not in (rest, fingerprint.RUN_FILE):
                remove(part)


def write_spec(spec: Spec, kind: str, path: Path) -> None:
    """Write the spec of an artifact; the only way a spec file comes to be."""
    file = spec_file(kind, path)
    file.parent.mkdir(exist_ok=True)
    spec.save(file)


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
    check_name(name)
    folder = Path(root) / kind / name
    with _clear_errors(folder, resumable=resumable):
        folder.mkdir(parents=True, exist_ok=True)
        with _only_writer(folder, f"{SINGULAR[kind]} '{name}'"):
            draft = _open_draft(kind, name, folder, resumable=resumable, resume=resume)
            record = _start(draft, step, cfg, inputs, seed, root, may_change)
            record |= {"started": started} if started else {}
            try:
                with _clear_errors(folder, resumable=resumable):  # while it can still be seen that the disk is full
                    yield draft
                    _finish(draft, record, folder)
            except BaseException:
                if not resumable:
                    shutil.rmtree(draft.path, ignore_errors=True)
                raise


@contextmanager
def _clear_errors(folder: Path, *, resumable: bool) -> Iterator[None]:
    """Turn the operating system's refusals into messages a user can act on."""
    try:
        yield
    except HiltkError:
        raise
    except Exception as error:
        if disk_is_full(error, folder):
            goes_on = ", then go on with resume=true" if resumable else ""
            raise UserError(
                "the disk is full",
                where=str(folder),
                fix=f"free some space{goes_on}, or set root= to another disk",
            ) from error
        if isinstance(error, OSError) and _concerns(error, folder):
            reason = error.strerror or type(error).__name__
            raise UserError(
                f"the output folder cannot be written: {reason}", where=str(folder), fix="set root="
            ) from error
        raise


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
        say(f"what an earlier run of '{folder.name}' wrote, before it was killed, is removed; this one starts anew")
        shutil.rmtree(stale, ignore_errors=True)


def _open_draft(kind: str, name: str, folder: Path, *, resumable: bool, resume: bool) -> Draft:
    path = folder / (UNFINISHED if resumable else f"{_DRAFT}{uuid.uuid4().hex[:8]}")
    if resume and not (resumable and path.is_dir()):
        raise UserError(
            f"there is no interrupted run of '{name}' to resume", where=str(folder), fix="leave out resume=true"
        )
    if path.is_dir() and not resume:
        aside = folder / _ABANDONED
        shutil.rmtree(aside, ignore_errors=True)
        path.rename(aside)
        say(
            f"starts anew; an interrupted run of '{name}', from which resume=true goes on, lies in {aside} until the "
            "next one is put there"
        )
    path.mkdir(exist_ok=resume)
    sweep(path)
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
        _require_same(earlier, record, provenance.defaults(cfg), may_change, draft.path)
        record["resumed_from"] = [*earlier.get("resumed_from", []), earlier.get("started", "")]
    _write_run(draft.path, record)
    return record


def _require_same(
    earlier: dict[str, Any], now: dict[str, Any], defaults: dict[str, Any], may_change: Sequence[str], path: Path
) -> None:
    """Refuse to continue a run under other settings: its record would be true of only half of it.

    A setting that the hiltk of the interrupted run did not have yet has its default.
    """
    free = {*provenance.VOLATILE, *may_change}
    before, after = (provenance.flat(r.get("config") or {}) for r in (earlier, now))
    before = defaults | before
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


def _write_run(path: Path, record: dict[str, Any]) -> None:
    text = yaml.safe_dump(record, sort_keys=False, allow_unicode=True, width=120)
    with replacing(path / fingerprint.RUN_FILE) as partial:
        partial.write_text(text)


def _finish(draft: Draft, record: dict[str, Any], folder: Path) -> None:
    if draft.spec is not None:
        write_spec(draft.spec, draft.kind, draft.path)
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
    if draft.rest:
        _put_by(draft, record, folder / UNFINISHED)


def _put_by(draft: Draft, record: dict[str, Any], unfinished: Path) -> None:
    """What only a resume needs goes, or becomes an unfinished run of its own; only now: a kill must not cost it."""
    if draft.goes_on:
        unfinished.mkdir()
        _write_run(unfinished, record)
        (draft.path / draft.rest).rename(unfinished / draft.rest)
    else:
        shutil.rmtree(draft.path / draft.rest, ignore_errors=True)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if hasattr(value, "tolist"):  # numpy and torch scalars and arrays
        return value.tolist()
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)
