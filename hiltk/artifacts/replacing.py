"""Files that appear whole or not at all, also where the disk fills up while they are written."""

from __future__ import annotations

import csv
import errno
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

FULL = 1 << 20  # bytes: with less than this left, a failed write failed for want of space
PART = ".tmp~"  # before the suffix, from which libraries tell the format; no camera or column is called so


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """Where to write what takes the place of the file or folder ``target`` when the body ends.

    When the body fails, for want of space or by a signal, ``target`` is as it was and nothing lies beside it.
    """
    partial = target.with_name(f"{target.stem}{PART}{target.suffix}")
    remove(partial)
    try:
        yield partial
        if target.is_dir():
            shutil.rmtree(target)
        os.replace(partial, target)
    except BaseException as error:
        full = disk_is_full(error, target.parent)
        remove(partial)  # after which the disk may no longer look full
        if full and not isinstance(error, OSError):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target)) from error
        raise


def write_rows(target: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """A CSV file with a header, in place of the one that may be there; a column that a row lacks stays empty."""
    with replacing(target) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)


def disk_is_full(error: BaseException, folder: Path) -> bool:
    """Whether what was being written below ``folder`` failed for want of space."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    # Libraries report a failed write in their own ways; what they have in common is that no space is left.
    return isinstance(error, Exception) and folder.is_dir() and shutil.disk_usage(folder).free < FULL


def sweep(folder: Path) -> None:
    """Remove what a process that was killed (kill -9, power) had begun to write below ``folder``."""
    for partial in [p for p in folder.rglob("*") if is_partial(p)]:
        remove(partial)


def is_partial(path: Path) -> bool:
    """Whether a file or folder was not finished; older versions called theirs ``checkpoint.pt.tmp``."""
    return PART in path.suffixes[-2:] or path.suffix == ".tmp"


def remove(path: Path) -> None:
    """A file or folder, which need not be there."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
