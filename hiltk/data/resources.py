"""How much memory and disk is left, asked before anything large is begun."""

from __future__ import annotations

import errno
import os
import re
import shutil
from pathlib import Path

from hiltk.errors import UserError


def available_memory() -> int | None:
    """Bytes that can be had without swapping, as Linux estimates them; None where it is not said."""
    try:
        found = re.search(r"MemAvailable: +(\d+) kB", Path("/proc/meminfo").read_text())
    except OSError:
        return None
    return int(found[1]) * 1024 if found else None


def require_memory(needed: int, what: str, *, where: str, fix: str) -> None:
    """Refuse what cannot fit into memory.

    Raises:
        UserError: ``what`` needs more bytes than are available.
    """
    available = available_memory()
    if available is not None and needed > available:
        raise UserError(
            f"{what} {human_size(needed)} of memory, {human_size(available)} are available", where=where, fix=fix
        )


def free_disk(path: Path) -> int:
    """Bytes free where ``path`` lies or will lie."""
    while not path.exists():
        path = path.parent
    return shutil.disk_usage(path).free


def reserve(file: Path, size: int) -> bool:
    """Take the first bytes of a file from the disk now, where the system can; says whether they are sure.

    A memory map of a sparse file promises space that others may take, and a write that finds none kills the process.

    Raises:
        OSError: the disk has no room for them (ENOSPC).
    """
    if not hasattr(os, "posix_fallocate"):  # macOS and Windows
        return False
    with file.open("r+b") as stream:
        try:
            os.posix_fallocate(stream.fileno(), 0, size)
        except OSError as error:
            if error.errno in (errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL):  # a file system that cannot
                return False
            raise OSError(error.errno, error.strerror, str(file)) from error
    return True


def human_size(count: float) -> str:
    """Bytes in the unit a person would choose, e.g. ``1.50 GiB``."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1000:
            return f"{count:,.0f} {unit}"
        count /= 1024
    return f"{count:,.2f} GiB"
