"""`hiltk doctor`: what this machine has, and what is missing for which command.

Opens no device and imports nothing heavy.
"""

from __future__ import annotations

import os
import platform
import re
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from ctypes.util import find_library
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from rich.console import Console
from rich.table import Table

from hiltk.robots.ports import access_fix, camera_devices, serial_ports
from hiltk.verbs import ARMS

DISK_GIB = 5.0  # a training with its checkpoints takes less
MEMORY_GIB = 4.0
MARKS = {True: "[green]yes[/]", False: "[yellow]no[/]"}


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        has: whether it can be used; None: it says something only.
        found: what is there.
        needed: the commands that it is needed for; shown where it is missing.
        fix: what to type or do.
    """

    name: str
    has: bool | None
    found: str
    needed: str = ""
    fix: str = ""


def run(root: str) -> None:
    """Print what is there, then what is missing for what; never fails."""
    rows: list[Row] = []
    for look in (python, packages, accelerator, renderer, ffmpeg, room, ports, cameras, scheduling, arms):
        try:
            rows += look(root)
        except Exception as error:  # a strange machine is what this is for
            rows.append(Row(look.__name__, None, f"cannot be said: {error!r}"))
    table = Table(title=f"this machine, {platform.platform(terse=True)}", title_justify="left")
    for name in ("", "", "found"):
        table.add_column(name)
    for row in rows:
        table.add_row(row.name, "" if row.has is None else MARKS[row.has], row.found.replace("[", "\\["))
    console = Console()
    console.print(table)
    for row in rows:
        if row.has is False:
            fix = f"\n    fix: {row.fix}" if row.fix else ""
            text = f"{row.name}: missing for {row.needed}{fix}"
            console.print(text, highlight=False, markup=False, soft_wrap=True)
    if all(row.has is not False for row in rows):
        console.print("nothing is missing", highlight=False)


# ---------------------------------------------------------------- software


def python(root: str) -> Iterator[Row]:
    asked = metadata.metadata("hiltk")["Requires-Python"] or ""
    least = tuple(map(int, re.findall(r">=(\d+)\.(\d+)", asked)[0])) if ">=" in asked else (0, 0)
    fits = sys.version_info[:2] >= least
    yield Row("Python", fits, platform.python_version(), "hiltk", f"hiltk needs {asked}")
    yield Row("hiltk", None, metadata.version("hiltk"))


def packages(root: str) -> Iterator[Row]:
    """The two that most depends on, and the servos' protocol."""
    wanted = [r for r in metadata.requires("hiltk") or [] if r.startswith(("lerobot", "torch>", "torch<", "mujoco"))]
    for requirement in wanted:
        name, bounds = re.match(r"([\w-]+)(?:\[.*?\])?(.*)", requirement).groups()  # type: ignore[union-attr]
        yield _package(name, f"wanted: {bounds}", "all commands")
    yield _package("feetech-servo-sdk", "", "`hiltk arm`, env=so101")


def _package(name: str, about: str, needed: str) -> Row:
    try:
        return Row(name, True, metadata.version(name))
    except metadata.PackageNotFoundError:
        return Row(name, False, "not installed", needed, f"uv pip install '{name}' {about}".strip())


def accelerator(root: str) -> Iterator[Row]:
    build = metadata.version("torch").partition("+")[2]
    if sys.platform == "darwin":
        yield Row(
            "GPU", None, "Apple's: device=mps" if platform.machine() == "arm64" else "none: networks run on the CPU"
        )
        return
    tool = shutil.which("nvidia-smi")
    said = subprocess.run([tool, "-L"], capture_output=True, text=True, timeout=10) if tool else None
    cards = re.findall(r"GPU \d+: (.*?) \(", said.stdout) if said and said.returncode == 0 else []
    if not cards:
        yield Row("GPU", None, "none: networks run on the CPU, which is enough for pictures of 64 x 64")
    elif build == "cpu":
        yield Row(
            "GPU",
            False,
            f"{', '.join(cards)}, but this torch is built for the CPU",
            "device=cuda",
            "install torch for CUDA",
        )
    else:
        yield Row("GPU", True, f"{', '.join(cards)}; torch {build or 'with CUDA'}")


def renderer(root: str) -> Iterator[Row]:
    """Which OpenGL MuJoCo could draw with."""
    found = [name for name in ("EGL", "OSMesa") if sys.platform != "darwin" and find_library(name)]
    if sys.platform == "darwin" or os.environ.get("DISPLAY"):
        found.append("a display")
    chosen = f" (MUJOCO_GL={os.environ['MUJOCO_GL']})" if os.environ.get("MUJOCO_GL") else ""
    yield Row(
        "renderer",
        True,
        f"cpu; gl by {', '.join(found)}{chosen}" if found else "cpu only, enough up to 128 x 128 pixels",
    )


def ffmpeg(root: str) -> Iterator[Row]:
    """Videos are read and written through PyAV, which brings its own; LeRobot's tools call the program."""
    program = shutil.which("ffmpeg")
    yield Row("ffmpeg", True, f"in PyAV {metadata.version('av')}" + (f", and {program}" if program else ""))


# ---------------------------------------------------------------- machine


def room(root: str) -> Iterator[Row]:
    folder = Path(root).absolute()
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free / 2**30
    fix = "free some, or root=FOLDER on another disk"
    yield Row("disk", free >= DISK_GIB, f"{free:.0f} GiB free in {folder}", "record, train", fix)
    if not os.access(folder, os.W_OK):
        yield Row(
            "artifacts", False, f"{folder} is not writable", "every command that writes", "root=FOLDER, or HILTK_ROOT"
        )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    fix = "close other programs; capacity_gib bounds the replay"
    yield Row("memory", memory >= MEMORY_GIB, f"{memory:.0f} GiB, {cpus} CPUs", "train", fix)


def ports(root: str) -> Iterator[Row]:
    found = serial_ports()
    if not any(port.adapter for port in found):
        fix = "plug in the arm's USB cable and its supply; `hiltk arm init NAME --emulated` needs neither"
        also = f"; {', '.join(p.path for p in found)} is no servo board's" if found else ""
        yield Row("serial port", False, f"none of a servo board{also}", "`hiltk arm`, env=so101 on a real arm", fix)
    for port in found:
        allowed = os.access(port.device, os.R_OK | os.W_OK)
        about = port.about if allowed else f"{port.about}, access denied"
        fix = "" if allowed else access_fix(port.device)
        yield Row("serial port", allowed, f"{port.path}: {about}", "`hiltk arm`, env=so101", fix)


def cameras(root: str) -> Iterator[Row]:
    found = camera_devices()
    if not found:
        yield Row("camera", False, "none", "env=so101 on a real arm", "plug one in; an emulated arm brings its own")
    for camera in found:
        allowed = isinstance(camera.source, int) or os.access(camera.source, os.R_OK | os.W_OK)
        fix = "" if allowed else access_fix(str(camera.source))
        about = camera.about if allowed else f"{camera.about}, access denied"
        yield Row("camera", allowed, f"{camera.id}: {about}", "env=so101", fix)


def scheduling(root: str) -> Iterator[Row]:
    """Whether the arm's process may go before all others (SCHED_FIFO)."""
    if not hasattr(os, "sched_setscheduler"):
        yield Row("real time", None, "not on this system: ticks at 10 Hz are on time, at 30 Hz some are late")
        return
    limit = resource.getrlimit(resource.RLIMIT_RTPRIO)[0] if hasattr(resource, "RLIMIT_RTPRIO") else 0
    if os.geteuid() == 0 or limit != 0:
        yield Row("real time", True, "SCHED_FIFO is allowed")
    else:
        yield Row(
            "real time",
            None,
            "SCHED_FIFO is not allowed: at 30 Hz some ticks are late; rtprio in /etc/security/limits.conf",
        )


def arms(root: str) -> Iterator[Row]:
    files = [path for path in sorted(Path(ARMS).glob("*.yaml")) if not path.name.startswith(".")]
    if not files:
        yield Row("arm's file", None, f"none in {Path(ARMS).absolute()}; `hiltk arm init NAME` writes it")
        return
    from hiltk.errors import HiltkError
    from hiltk.robots.arm_store import load_arm_file

    for path in files:
        try:
            arm = load_arm_file(str(path))
        except HiltkError as error:
            yield Row("arm's file", False, f"{path}: {error.what}", f"env.arm={path.stem}", f"edit {path}")
        else:
            about = "emulated" if arm.is_emulated else arm.port
            yield Row(
                "arm's file", True, f"{path}: {about}, cameras {', '.join(arm.cameras) or 'none'}, hash {arm.hash}"
            )
