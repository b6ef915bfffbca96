"""Ports and cameras by names that stay the same: found in made-up machines, refused with what to type."""

from __future__ import annotations

import json
import os
import pty
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from serial.tools import list_ports

from hiltk.errors import UserError
from hiltk.robots import ports
from hiltk.robots.arm_file import CameraFile


@pytest.fixture
def terminal() -> Iterator[str]:
    """A pseudo-terminal: all that a port has to be."""
    host, servos = pty.openpty()
    yield os.ttyname(servos)
    os.close(host)
    os.close(servos)


def plug_in(monkeypatch: pytest.MonkeyPatch, *devices: tuple[str, int, int, str]) -> None:
    found = [
        SimpleNamespace(device=d, vid=v, pid=p, manufacturer="maker", product=name, description="n/a")
        for d, v, p, name in devices
    ]
    found.append(SimpleNamespace(device="/dev/ttyS0", vid=None, pid=None, manufacturer="", product="", description=""))
    monkeypatch.setattr(list_ports, "comports", lambda: found)


def link(path: Path, target: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(target)
    return path


def why(path: str) -> tuple[str, str]:
    with pytest.raises(UserError) as caught:
        ports.check_port(path)
    return caught.value.what, caught.value.fix


# ---------------------------------------------------------------- serial ports


def test_ports_go_by_the_names_that_stay(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    device = tmp_path / "dev/ttyACM0"
    stable = link(tmp_path / "dev/serial/by-id/usb-1a86_USB_Single_Serial_58FA-if00", device)
    plug_in(monkeypatch, ("/dev/ttyUSB3", 0x067B, 0x2303, "GPS"), (str(device), 0x1A86, 0x55D3, "USB Single Serial"))
    board, other = ports.serial_ports(tmp_path)
    assert (board.path, board.device, board.adapter) == (str(stable), str(device), True)
    assert board.about == "maker USB Single Serial (CH343)"
    assert (other.path, other.adapter) == ("/dev/ttyUSB3", False)


def test_a_terminal_can_be_a_port(terminal: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plug_in(monkeypatch)
    ports.check_port(terminal)


def test_what_is_no_port_is_said_with_what_there_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    plug_in(monkeypatch)
    what, fix = why("/dev/serial/by-id/usb-gone")
    assert what == "there is no such port" and fix.startswith("no USB serial port is plugged in")
    plug_in(monkeypatch, ("/dev/ttyACM1", 0x1A86, 0x55D3, "USB Single Serial"))
    assert why("/dev/serial/by-id/usb-gone")[1] == "there are: /dev/ttyACM1"
    (tmp_path / "file").touch()
    assert why(str(tmp_path / "file"))[0] == "this is a file, no serial port"
    assert why(str(tmp_path))[0] == "this is a folder, no serial port"
    assert why("/dev/null")[0] == "this is no serial port but another kind of device"


def test_a_mouse_is_called_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No machine of the tests has one: a device that is no terminal, where those of mice are."""
    mouse = link(tmp_path / "dev/input/mouse0", Path("/dev/null"))
    name = tmp_path / "sys/class/input/mouse0/device/name"
    name.parent.mkdir(parents=True)
    name.write_text("Logitech USB Mouse\n")
    monkeypatch.setattr(ports, "ROOT", tmp_path)
    monkeypatch.setattr(os.path, "realpath", lambda path: str(path))
    plug_in(monkeypatch)
    assert "a mouse, keyboard or the like (Logitech USB Mouse)" in why(str(mouse))[0]


def test_denied_access_names_the_group(terminal: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import getpass
    import grp

    monkeypatch.setattr(os, "access", lambda *_: False)
    monkeypatch.setattr(getpass, "getuser", lambda: "ann")
    dialout = SimpleNamespace(gr_name="dialout", gr_gid=20, gr_mem=[])
    monkeypatch.setattr(grp, "getgrgid", lambda _: dialout)
    what, fix = why(terminal)
    assert (what, fix) == ("access to the port is denied", "sudo usermod -aG dialout ann, then log out and in again")
    dialout.gr_mem.append("ann")
    monkeypatch.setattr(os, "getgroups", list)
    assert why(terminal)[1].startswith("you are in the group dialout since you logged in")


def test_a_number_is_refused_where_there_are_two_arms(
    terminal: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    one, two = ("/dev/ttyACM0", 0x1A86, 0x55D3, "a"), ("/dev/ttyACM1", 0x1A86, 0x55D3, "b")
    stat = os.stat
    monkeypatch.setattr(os, "stat", lambda path, **k: stat(terminal if "ttyACM" in str(path) else path, **k))
    monkeypatch.setattr(os, "access", lambda *_: True)
    monkeypatch.setattr(ports, "_is_terminal", lambda _: True)
    plug_in(monkeypatch, one)
    ports.check_port("/dev/ttyACM0")
    plug_in(monkeypatch, one, two)
    what, fix = why("/dev/ttyACM0")
    assert "this number may be another one's tomorrow" in what and fix == "one of /dev/ttyACM0, /dev/ttyACM1"


def test_macs_have_two_names_for_a_port(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "darwin")
    assert why("/dev/tty.usbmodem58FA1")[1] == "port: /dev/cu.usbmodem58FA1"


# ---------------------------------------------------------------- cameras


def camera(root: Path, number: int, name: str, by_id: str = "", by_path: str = "", index: int = 0) -> None:
    node = root / f"sys/class/video4linux/video{number}"
    node.mkdir(parents=True)
    (node / "name").write_text(f"{name}\n")
    (node / "index").write_text(f"{index}\n")
    (root / "dev").mkdir(exist_ok=True)
    (root / f"dev/video{number}").touch()
    for kind, given in (("by-id", by_id), ("by-path", by_path)):
        if given:
            link(root / f"dev/v4l/{kind}/{given}", root / f"dev/video{number}")


def test_a_camera_is_listed_once_by_its_serial_number(tmp_path: Path) -> None:
    camera(tmp_path, 0, "C920", "usb-C920_AAA-video-index0", "pci-1-video-index0")
    camera(tmp_path, 1, "C920", "usb-C920_AAA-video-index1", "pci-1-video-index1", index=1)
    camera(tmp_path, 2, "C920", "usb-C920_BBB-video-index0", "pci-2-video-index0")
    camera(tmp_path, 10, "laptop")
    found = [(Path(d.id).name, d.about) for d in ports.camera_devices(tmp_path)]
    assert found == [
        ("usb-C920_AAA-video-index0", "C920"),
        ("usb-C920_BBB-video-index0", "C920"),
        ("video10", "laptop"),
    ]


def test_of_two_cameras_that_call_themselves_the_same_the_socket_decides(tmp_path: Path) -> None:
    camera(tmp_path, 0, "cam", by_path="pci-1-video-index0")
    camera(tmp_path, 2, "cam", "usb-cam-video-index0", "pci-2-video-index0")
    assert [Path(d.id).name for d in ports.camera_devices(tmp_path)] == ["pci-1-video-index0", "pci-2-video-index0"]


def test_macs_cameras_go_by_unique_ids_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    cameras = [{"_name": "B", "spcamera_unique-id": "0x2"}, {"_name": "A", "spcamera_unique-id": "0x1"}]
    said = json.dumps({"SPCameraDataType": cameras})
    monkeypatch.setattr("sys.platform", "darwin")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: SimpleNamespace(stdout=said))
    assert [(d.id, d.source, d.about) for d in ports.camera_devices()] == [("0x1", 0, "A"), ("0x2", 1, "B")]
    assert ports.camera_source("wrist", CameraFile(id="0x2")) == 1


@pytest.fixture
def two(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two cameras, whose device files can be used."""
    devices = [ports.CameraDevice(f"/dev/v4l/by-id/{n}", f"/dev/video{2 * n}", f"cam {n}") for n in (0, 1)]
    monkeypatch.setattr(ports, "camera_devices", lambda *_: devices)
    real, stat = {d.id: d.source for d in devices}, os.stat
    monkeypatch.setattr(os.path, "realpath", lambda path: real.get(str(path), str(path)))
    known = {*real, *real.values()}
    monkeypatch.setattr(os, "access", lambda *_: True)
    monkeypatch.setattr(os, "stat", lambda path, **k: stat("/dev/null" if str(path) in known else path, **k))


@pytest.mark.parametrize(
    ("id", "what"),
    [
        ("0", "goes by a number, which may be another one's tomorrow: there are 2"),
        ("/dev/video2", "goes by a number, which may be another one's tomorrow: there are 2"),
        ("/dev/v4l/by-id/7", "camera 'wrist' is not there"),
        ("0x14", "there is no camera 'wrist'"),
        ("/dev/null", "this is no camera but /dev/null"),
    ],
)
def test_a_camera_that_cannot_be_meant_is_refused(two: None, id: str, what: str) -> None:
    with pytest.raises(UserError) as caught:
        ports.camera_source("wrist", CameraFile(id=id))
    assert what in caught.value.what and caught.value.where == f"cameras.wrist.id: {id}"
    assert caught.value.fix == "there are: /dev/v4l/by-id/0 (cam 0), /dev/v4l/by-id/1 (cam 1)"


def test_one_device_under_two_names_is_refused(two: None, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = CameraFile(id="/dev/v4l/by-id/0"), CameraFile(id="/dev/v4l/by-id/1")
    ports.check_cameras({"wrist": first, "front": second, "depth": CameraFile("intelrealsense", id="0")})
    linked: Any = {"/dev/v4l/by-id/0": "/dev/video0", "/dev/v4l/by-id/1": "/dev/video0"}
    monkeypatch.setattr(os.path, "realpath", lambda path: linked.get(str(path), str(path)))
    with pytest.raises(UserError, match="cameras 'wrist' and 'front' are one device, /dev/video0"):
        ports.check_cameras({"wrist": first, "front": second})


@pytest.mark.parametrize(
    "platform, target, baud",
    [
        ("darwin", "/dev/ttys003", 115_200),
        ("darwin", "/dev/cu.usbmodem58FA", 1_000_000),
        ("linux", "/dev/pts/3", 1_000_000),
    ],
)
def test_macos_gives_a_pseudo_terminal_a_speed_that_it_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, platform: str, target: str, baud: int
) -> None:
    (tmp_path / "port").symlink_to(target)
    handler = SimpleNamespace(port_name=str(tmp_path / "port"), baudrate=1_000_000)
    monkeypatch.setattr("sys.platform", platform)
    ports.slow_down(handler)
    assert handler.baudrate == baud
