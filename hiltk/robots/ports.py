"""Serial ports and cameras by names that stay the same, on Linux and macOS; why one cannot be used, and what to type.

Numbers as in ``/dev/ttyACM0`` and ``/dev/video1`` are dealt out anew at every start, and swap when there are two.
"""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hiltk.errors import UserError, listed
from hiltk.robots.arm_file import CameraFile

ROOT = Path("/")
# USB vendor and product of the chips on servo boards; of the first, Waveshare's and the SO-101 kits' own.
ADAPTERS = {
    (0x1A86, 0x55D3): "CH343",
    (0x1A86, 0x55D4): "CH9102",
    (0x1A86, 0x7523): "CH340",
    (0x10C4, 0xEA60): "CP2102",
    (0x0403, 0x6001): "FT232R",
    (0x0403, 0x6015): "FT231X",
}
_NUMBERED = re.compile(r"/dev/(ttyACM|ttyUSB)\d+")


# ---------------------------------------------------------------- serial ports


@dataclass(frozen=True)
class SerialPort:
    """One serial port.

    Attributes:
        path: the name that stays the same, where it has one.
        device: the one that may change, as ``/dev/ttyACM0``.
        about: what it says it is.
        adapter: whether its chip is one that servo boards have.
    """

    path: str
    device: str
    about: str
    adapter: bool


def slow_down(handler: Any) -> None:
    """Open a pseudo-terminal at a speed that macOS has for one; 1 Mbaud is none, and bytes pass at once at any.

    Args:
        handler: the port handler of LeRobot's bus, not open.
    """
    if sys.platform == "darwin" and os.path.realpath(handler.port_name).startswith("/dev/ttys"):
        handler.baudrate = 115_200


def serial_ports(root: Path = ROOT) -> list[SerialPort]:
    """Those on USB; boards for servos first."""
    from serial.tools import list_ports

    names = {os.path.realpath(link): str(link) for link in _links(root / "dev/serial/by-id")}
    found = []
    for port in list_ports.comports():
        if port.vid is None:
            continue  # a mainboard's own, mostly without a plug
        chip = ADAPTERS.get((port.vid, port.pid), "")
        about = " ".join(word for word in (port.manufacturer, port.product) if word) or port.description
        about += f" ({chip})" if chip and chip not in about else ""
        found.append(SerialPort(names.get(os.path.realpath(port.device), port.device), port.device, about, bool(chip)))
    return sorted(found, key=lambda port: (not port.adapter, port.path))


def check_port(path: str) -> None:
    """Refuse what cannot be opened as a serial port, or may be another one tomorrow.

    Raises:
        UserError: as `check_device`, or it goes by a number and there are two.
    """
    check_device(path)
    others = [port.path for port in serial_ports() if port.adapter]
    if _NUMBERED.fullmatch(path) and len(others) > 1:
        what = "there are several arms, and this number may be another one's tomorrow"
        raise UserError(what, where=f"port: {path}", fix=f"one of {', '.join(others)}")


def check_device(path: str) -> None:
    """Refuse what cannot be opened as a serial port.

    Raises:
        UserError: there is no such port, it is something else, or access is denied.
    """
    where = f"port: {path}"
    if sys.platform == "darwin" and path.startswith("/dev/tty."):
        fix = f"port: /dev/cu.{path.removeprefix('/dev/tty.')}"
        raise UserError("on macOS /dev/tty.* waits for a modem's carrier", where=where, fix=fix)
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        what = (
            "there is no such port" if isinstance(error, FileNotFoundError) else f"it cannot be used: {error.strerror}"
        )
        raise UserError(what, where=where, fix=_ports_text()) from None
    if not stat.S_ISCHR(mode):
        what = "a folder" if stat.S_ISDIR(mode) else "a file" if stat.S_ISREG(mode) else "something else"
        raise UserError(f"this is {what}, no serial port", where=where, fix=_ports_text())
    if not os.access(path, os.R_OK | os.W_OK):
        raise UserError("access to the port is denied", where=where, fix=access_fix(path))
    if not _is_terminal(path):
        what = _input_name(path) or "another kind of device"
        raise UserError(f"this is no serial port but {what}", where=where, fix=_ports_text())


def _ports_text() -> str:
    known = [port.path for port in serial_ports()]
    return (
        f"there are: {listed(known, 6)}" if known else "no USB serial port is plugged in: power, cable, another socket"
    )


def access_fix(path: str) -> str:
    """What to type to be let at a device; its group says."""
    import getpass
    import grp

    try:
        group = grp.getgrgid(os.stat(path).st_gid)
    except KeyError:
        return f"ls -l {path} shows who may"
    user = getpass.getuser()
    if user in group.gr_mem and group.gr_gid not in os.getgroups():
        return f"you are in the group {group.gr_name} since you logged in: log out and in again"
    if group.gr_name == "root":
        return f"ls -l {path} shows who may; a udev rule gives it to the group dialout (ports) or video (cameras)"
    return f"sudo usermod -aG {group.gr_name} {user}, then log out and in again"


def _is_terminal(path: str) -> bool:
    try:
        handle = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
    except OSError as error:
        raise UserError(
            f"the port cannot be opened: {error.strerror}", where=f"port: {path}", fix=_ports_text()
        ) from None
    try:
        return os.isatty(handle)
    finally:
        os.close(handle)


def _input_name(path: str) -> str:
    """What an input device calls itself."""
    real = Path(os.path.realpath(path))
    if "input" not in real.parts and not real.name.startswith("hidraw"):
        return ""
    try:
        name = (ROOT / "sys/class/input" / real.name / "device/name").read_text().strip()
    except OSError:
        name = ""
    return f"a mouse, keyboard or the like{f' ({name})' if name else ''}"


# ---------------------------------------------------------------- cameras


@dataclass(frozen=True)
class CameraDevice:
    """One camera that OpenCV opens.

    Attributes:
        id: the name that stays the same.
        source: what OpenCV opens: a device file, or on macOS a number.
        about: what it says it is.
    """

    id: str
    source: str | int
    about: str


def camera_devices(root: Path = ROOT) -> list[CameraDevice]:
    """Cameras that are plugged in, each once, though a driver may show several device files of it."""
    return _macs_cameras() if sys.platform == "darwin" else _linux_cameras(root)


def _linux_cameras(root: Path) -> list[CameraDevice]:
    by_id, by_path = (_links(root / "dev/v4l" / kind) for kind in ("by-id", "by-path"))
    nodes = sorted((root / "sys/class/video4linux").glob("video*"), key=lambda n: int(n.name.removeprefix("video")))
    nodes = [node for node in nodes if _read(node / "index") in ("", "0")]  # the others are a camera's metadata, say
    found = []
    for node in nodes:
        # Of cameras of one model without serial numbers, by-id names only one, and not always the same.
        like = [one for one in nodes if _read(one / "name") == _read(node / "name")]
        trusted = all(_named(by_id, root / "dev" / one.name) for one in like)
        device = root / "dev" / node.name
        names = [*(_named(by_id, device) if trusted else []), *_named(by_path, device), device]
        found.append(CameraDevice(str(names[0]), str(device), _read(node / "name")))
    return found


def _named(links: list[Path], device: Path) -> list[Path]:
    """The links that mean a device."""
    return [link for link in links if os.path.realpath(link) == os.path.realpath(device)]


def _macs_cameras() -> list[CameraDevice]:
    """OpenCV numbers them by their unique ids in order."""
    command = ["system_profiler", "SPCameraDataType", "-json"]
    try:
        said: dict[str, Any] = json.loads(subprocess.run(command, capture_output=True, timeout=20, check=True).stdout)
    except (OSError, subprocess.SubprocessError, ValueError):
        return []
    cameras = sorted(said.get("SPCameraDataType", []), key=lambda one: str(one.get("spcamera_unique-id", "")))
    return [
        CameraDevice(str(one.get("spcamera_unique-id", number)), number, str(one.get("_name", "")))
        for number, one in enumerate(cameras)
    ]


def camera_source(name: str, camera: CameraFile) -> Path | int:
    """What LeRobot's OpenCV camera is to open, from the id in the arm's file.

    Raises:
        UserError: there is no such camera, it is something else, access is denied, or it goes by a number and there are
            several.
    """
    where = f"cameras.{name}.id: {camera.id}"
    devices = camera_devices()
    if len(devices) > 1 and re.fullmatch(r"(/dev/video)?\d+", camera.id):
        what = (
            f"camera '{name}' goes by a number, which may be another one's tomorrow: there are {len(devices)} cameras"
        )
        raise UserError(what, where=where, fix=_cameras_text(devices))
    if camera.id.isdigit():
        return int(camera.id)
    for device in devices:
        if camera.id == device.id and isinstance(device.source, int):
            return device.source
    if not camera.id.startswith("/"):
        raise UserError(f"there is no camera '{name}'", where=where, fix=_cameras_text(devices))
    try:
        mode = os.stat(camera.id).st_mode
    except OSError:
        raise UserError(f"camera '{name}' is not there", where=where, fix=_cameras_text(devices)) from None
    real = os.path.realpath(camera.id)
    if not stat.S_ISCHR(mode) or not Path(real).name.startswith("video"):
        raise UserError(f"this is no camera but {real}", where=where, fix=_cameras_text(devices))
    if not os.access(real, os.R_OK | os.W_OK):
        raise UserError(f"access to camera '{name}' is denied", where=where, fix=access_fix(real))
    return Path(camera.id)


def check_cameras(cameras: Mapping[str, CameraFile]) -> None:
    """Refuse cameras of OpenCV that are not there, and two names that mean one device.

    Raises:
        UserError: as `camera_source`, or two are the same.
    """
    seen: dict[str, str] = {}
    for name, camera in cameras.items():
        if camera.type != "opencv":
            continue
        source = camera_source(name, camera)
        real = f"/dev/video{source}" if isinstance(source, int) else os.path.realpath(source)
        if real in seen:
            what = f"cameras '{seen[real]}' and '{name}' are one device, {real}"
            raise UserError(what, where=f"cameras.{name}.id: {camera.id}", fix=_cameras_text(camera_devices()))
        seen[real] = name


def _cameras_text(devices: list[CameraDevice]) -> str:
    known = [f"{device.id} ({device.about})" for device in devices]
    return f"there are: {listed(known, 6)}" if known else "no camera is plugged in: cable, hub, another socket"


def _links(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _read(file: Path) -> str:
    try:
        return file.read_text().strip()
    except OSError:
        return ""
