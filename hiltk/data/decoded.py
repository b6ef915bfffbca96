"""Decoded frames of datasets, kept on disk: the second training on a dataset maps them into memory.

``<cache>/<content of the dataset>/<camera>-<how it is wanted>/`` holds ``frames.npy``, every frame of one camera in row
order, and ``about.json`` with its checksum. It is a copy that may be deleted at any time: what is missing or damaged is
decoded again, and where nothing can be written, frames are decoded into memory.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import av
import cv2
import numpy as np
from filelock import FileLock, Timeout
from tqdm import tqdm

from hiltk.artifacts.fingerprint import fingerprint
from hiltk.console import say
from hiltk.data.episode import Episode
from hiltk.data.lerobot_files import too_few
from hiltk.data.lerobot_io import DatasetReader
from hiltk.data.resources import free_disk, human_size, require_memory
from hiltk.spec import Spec

VERSION = 1  # of what lies in the cache
WORTH_IT = 64 * 2**20  # bytes of decoded frames; less is decoded in about a second, and needs no files
FRAMES, ABOUT = "frames.npy", "about.json"
PIECE = 2**20  # bytes read at once


def cached_episodes(
    path: Path, spec: Spec | None = None, *, cache: Path, after_end: bool | int = False, name: str = ""
) -> list[Episode]:
    """What `load_episodes` returns, bit for bit; the frames of all but small datasets are read-only views of ``cache``.

    The first call decodes every camera once from front to back, a few frames in memory at a time; later ones map those.

    Args:
        cache: folder for decoded frames.
        name: what the dataset is called in messages.

    Raises:
        UserError: as `load_episodes`, or the frames can be kept neither on disk nor in memory.
    """
    name = name or str(path)
    reader = DatasetReader(path, spec, name)
    size = sum(_bytes(shape) for shape in _shapes(reader).values())
    frames = _mapped(reader, cache, name) if size >= WORTH_IT else None
    if frames is None:
        fix = "free disk space for the cache of frames, or train with smaller images or fewer cameras"
        require_memory(size, f"the frames of {name} need", where=str(path), fix=fix)
        return list(reader.episodes(after_end=after_end))
    return [
        reader.episode(number, {k: v[start:stop] for k, v in frames.items()}, after_end=after_end)
        for number, (start, stop) in enumerate(reader.bounds)
    ]


def _shapes(reader: DatasetReader) -> dict[str, tuple[int, ...]]:
    return {key: (len(reader), image.height, image.width, 3) for key, image in reader.cameras.items()}


def _bytes(shape: tuple[int, ...]) -> int:
    return int(np.prod(shape))


def _mapped(reader: DatasetReader, cache: Path, name: str) -> dict[str, np.ndarray] | None:
    """Every camera's frames (N, H, W, 3) as read-only maps; None where the disk cannot hold them."""
    folder = cache / fingerprint(reader.path)
    folders = {key: folder / _key(reader, key) for key in reader.cameras}
    try:
        found = {key: _open(where, _shapes(reader)[key]) for key, where in folders.items()}
        if all(frames is not None for frames in found.values()):
            size = human_size(sum(_bytes(shape) for shape in _shapes(reader).values()))
            say(f"{name}: {size} of frames were decoded earlier ({folder})")
        return {key: _camera(reader, key, folders[key], name) if v is None else v for key, v in found.items()}
    except OSError as error:
        say(f"the frames of {name} are decoded into memory: {cache} cannot be used ({error.strerror or error})")
        return None


def _key(reader: DatasetReader, key: str) -> str:
    """Name of one camera's folder: differs as soon as the pixels could."""
    image, fit = reader.cameras[key], reader.fits[key]
    wanted = [VERSION, key, image.height, image.width, asdict(fit) if fit else None, cv2.__version__, av.__version__]
    digest = hashlib.sha256(json.dumps(wanted, sort_keys=True, default=str).encode()).hexdigest()[:16]
    return f"{re.sub(r'[^A-Za-z0-9_.-]', '_', image.name)}-{digest}"


def _camera(reader: DatasetReader, key: str, folder: Path, name: str) -> np.ndarray:
    """Decode one camera into its folder, unless another process just has; maps the frames."""
    shape, what = _shapes(reader)[key], f"{reader.cameras[key].name} of {name}"
    with _only_writer(folder, what):
        if (frames := _open(folder, shape)) is not None:
            return frames
        if folder.exists():
            say(f"{what}: the decoded frames in {folder} are damaged, and decoded again")
        bar = tqdm(reader.frames(key), f"decoding {what}", shape[0], unit=" frames", mininterval=0.5)
        _decode(bar, shape, folder)
    return _map(folder)


def _open(folder: Path, shape: tuple[int, ...]) -> np.ndarray | None:
    """The frames in a finished folder, mapped; None where it is absent, incomplete or damaged."""
    try:
        about = json.loads((folder / ABOUT).read_text())
        frames = _map(folder)
        if (frames.shape, frames.dtype, about["crc32"]) != (shape, np.uint8, _checksum(folder / FRAMES)):
            return None
    except (OSError, ValueError, KeyError, TypeError, EOFError):
        return None
    return frames


def _map(folder: Path) -> np.ndarray:
    return np.asarray(np.load(folder / FRAMES, mmap_mode="r"))  # views of a memory map are slow to make


def _checksum(file: Path) -> int:
    """CRC-32 of a file, read rather than mapped: mapped pages would count as this process's memory."""
    total = 0
    with file.open("rb") as stream:
        while piece := stream.read(PIECE):
            total = zlib.crc32(piece, total)
    return total


def _decode(frames: Iterable[np.ndarray], shape: tuple[int, ...], folder: Path) -> None:
    """Write all frames beside ``folder``, then rename: a killed process leaves nothing that counts."""
    if (needed := _bytes(shape)) > (free := free_disk(folder.parent)):
        raise OSError(errno.ENOSPC, f"{human_size(needed)} are needed, {human_size(free)} are free")
    partial = folder.with_name(folder.name + ".partial")
    for old in (partial, folder):
        shutil.rmtree(old, ignore_errors=True)
    partial.mkdir()
    try:
        _write(frames, shape, partial / FRAMES)
        (partial / ABOUT).write_text(json.dumps({"crc32": _checksum(partial / FRAMES), "shape": shape}))
        partial.rename(folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def _write(frames: Iterable[np.ndarray], shape: tuple[int, ...], file: Path) -> None:
    """The frames as an array on disk; written, not mapped, since a full disk kills whoever writes through a map."""
    header = {"descr": np.lib.format.dtype_to_descr(np.dtype(np.uint8)), "fortran_order": False, "shape": shape}
    count = 0
    with file.open("wb") as stream:
        np.lib.format.write_array_header_1_0(stream, header)
        for frame in frames:
            stream.write(np.ascontiguousarray(frame).data)
            count += 1
        stream.flush()
        os.fsync(stream.fileno())
    if count < shape[0]:
        raise too_few(shape[0] - count)


@contextmanager
def _only_writer(folder: Path, what: str) -> Iterator[None]:
    """Hold the lock on one camera's folder; the operating system frees it however the process ends."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(f"{folder}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        say(f"{what}: another process is decoding; waiting for it")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
