"""`hiltk doctor`: a table and exit code 0, on whatever machine."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hiltk import cli
from hiltk.robots import ports
from hiltk.robots.arm_store import save_arm_file
from hiltk.steps import doctor
from tests.robots.arms import desk_arm


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """No line is broken."""
    monkeypatch.setenv("COLUMNS", "200")


def told(*words: str) -> str:
    result = CliRunner().invoke(cli.app, ["doctor", *words], terminal_width=200)
    assert result.exit_code == 0, result.output
    return result.output


def test_a_machine_without_an_arm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(doctor, "serial_ports", list)
    monkeypatch.setattr(doctor, "camera_devices", list)
    said = told(f"root={tmp_path / 'not' / 'yet'}")
    for name in ("Python", "lerobot", "torch", "feetech-servo-sdk", "GPU", "renderer", "ffmpeg", "disk", "memory"):
        assert name in said
    assert re.search(r"serial port +│ no", said) and "serial port: missing for `hiltk arm`" in said
    assert "hiltk arm init NAME --emulated" in said


def test_ports_cameras_and_files_that_cannot_be_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    save_arm_file(desk_arm(), Path("arms/desk.yaml"))
    save_arm_file(desk_arm(), Path("arms/other.yaml"))
    Path("arms/other.yaml").write_text(Path("arms/other.yaml").read_text().replace("lag_s", "lags"))
    board = ports.SerialPort("/dev/serial/by-id/usb-1a86", os.devnull, "USB Single Serial", True)
    monkeypatch.setattr(doctor, "serial_ports", lambda: [board])
    monkeypatch.setattr(doctor, "camera_devices", lambda: [ports.CameraDevice("/dev/v4l/by-id/usb-C920", 0, "C920")])
    monkeypatch.setattr(os, "access", lambda path, mode: path != os.devnull)
    said = told()
    assert "USB Single Serial, access denied" in said and "fix: " in said
    assert re.search(r"camera +│ yes", said) and f"hash {desk_arm().hash}" in said
    assert re.search(r"arm's file: missing for env\.arm=other", said)


def test_what_cannot_be_looked_at_is_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise RuntimeError("odd machine")

    monkeypatch.setattr(doctor, "serial_ports", broken)
    assert "cannot be said: RuntimeError('odd machine')" in told()


def test_it_looks_without_importing_what_is_slow() -> None:
    code = "import sys; from hiltk.steps.doctor import run; run('.'); print({'torch', 'lerobot'} & {*sys.modules})"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd="/", check=True).stdout
    assert told.splitlines()[-1] == "set()"
