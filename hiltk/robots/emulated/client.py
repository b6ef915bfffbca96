"""The emulated arm from outside: start or join its process, its port, its clock, and what a person beside it sees."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from hiltk.errors import UserError
from hiltk.robots.arm_file import ArmFile
from hiltk.robots.clock import Clock, WallClock
from hiltk.robots.emulated.faults import fault_values
from hiltk.robots.emulated.wire import (
    LOG,
    META,
    PORT,
    Settings,
    WorldState,
    connect,
    lock_of,
    receive,
    send,
)

CAMERA_TYPE = "emulated"
_children: list[subprocess.Popen[bytes]] = []  # remembered until they have ended, or Python warns of them


def settings_of(arm: ArmFile) -> Settings:
    """What the arm's process is told.

    Raises:
        UserError: the file names a fault that does not exist, or a time that is neither real nor fast.
    """
    emulated = arm.emulated
    if emulated.time not in ("real", "fast"):
        raise UserError(f"emulated.time is real or fast, not {emulated.time!r}", where=f"arm '{arm.name}'")
    cameras = [camera for camera in arm.cameras.values() if camera.type == CAMERA_TYPE]
    return Settings(
        model_path=arm.model_path,
        time=emulated.time,
        seed=emulated.seed,
        usb_ms=emulated.usb_ms,
        faults={name: fault_values(name, values) for name, values in emulated.faults.items()},
        sizes={camera.id: [camera.height, camera.width] for camera in cameras},
        joints_deg=[float(angle) for angle in arm.park_deg],
    )


def _checked(answer: dict[str, Any]) -> dict[str, Any]:
    """Raises UserError where the answer is that the process could not."""
    if "error" in answer:
        what, where, fix = answer["error"]
        raise UserError(what, where=where, fix=fix)
    return answer


class Connection:
    """One conversation with the emulated arm's process. Thread safe.

    Raises:
        OSError: nobody listens at ``address``.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self._lock = threading.Lock()
        self._socket = connect(address)
        self._stream = self._socket.makefile("rwb")

    def ask(self, call: str, **values: Any) -> tuple[dict[str, Any], bytes]:
        """The answer, and the bytes that came with it.

        Raises:
            UserError: what was asked cannot be done, or the process is gone.
        """
        try:
            with self._lock:
                send(self._stream, {"call": call, **values})
                answer, data = receive(self._stream)
        except (EOFError, OSError, ValueError) as error:
            raise UserError("the emulated arm is gone", where=self.address, fix="run the command again") from error
        return _checked(answer), data

    def wait(self) -> None:
        """Until the other side is gone."""
        self._stream.read()
        self.close()

    def close(self) -> None:
        # The socket first: closing the stream while another thread waits for an answer would wait for that thread.
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


class SimulatedClock:
    """Seconds of an emulated arm in fast time: they pass only while somebody sleeps, the furthest asked counts."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def now(self) -> float:
        return float(self._connection.ask("now")[0]["now"])

    def sleep_until(self, due: float) -> None:
        self._connection.ask("sleep_until", due=due)


class EmulatedScene:
    """What a person at the desk sees and does, and what a scripted one may know."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def state(self) -> WorldState:
        plain, _ = self._connection.ask("state")
        values: dict[str, Any] = {k: np.array(v) if isinstance(v, list) else v for k, v in plain.items()}
        return WorldState(**values)

    def place_cube(self, x_m: float, y_m: float, yaw_deg: float) -> None:
        """Lay the cube on the table."""
        self._connection.ask("place_cube", x_m=float(x_m), y_m=float(y_m), yaw_deg=float(yaw_deg))

    def turn_by_hand(self, joints_deg: Any) -> None:
        """Turn the joints (6,) that hold no torque, as a person does when the arm is calibrated."""
        self._connection.ask("turn_by_hand", joints_deg=[float(angle) for angle in joints_deg])

    def render(self, camera: str) -> np.ndarray:
        """The scene now as the camera ``wrist`` or ``front`` would see it were it in order, (H, W, 3) uint8."""
        answer, data = self._connection.ask("render", camera=camera)
        return np.frombuffer(data, np.uint8).reshape(answer["shape"])


class EmulatedArm:
    """One client's view of an emulated arm; close it, or leave its ``with`` block.

    Attributes:
        port: path to open as a serial port.
        address: of its process, for the emulated camera.
        clock: the wall's, or in fast time the arm's own.
    """

    def __init__(self, connection: Connection, port: str, fast: bool, state: Path) -> None:
        self._connection, self._state = connection, state
        self.port, self.address = port, connection.address
        self.clock: Clock = SimulatedClock(connection) if fast else WallClock()
        self.scene = EmulatedScene(connection)

    @property
    def pid(self) -> int:
        """Of its process."""
        return int(self._connection.ask("settings")[0]["pid"])

    def fault(self, name: str, **values: Any) -> None:
        """Something goes wrong from now on: `hiltk.robots.emulated.faults.FAULTS` has the names.

        Raises:
            UserError: there is no such fault or value.
        """
        self._connection.ask("fault", name=name, values=values)

    def clear_faults(self) -> None:
        self._connection.ask("clear_faults")

    def cut_power(self) -> None:
        """Switch the supply off and on: no torque, EEPROM as saved."""
        self._connection.ask("cut_power")

    def stop(self) -> None:
        """End the process for all its clients; else it ends by itself after the last one."""
        with lock_of(self._state):
            _end(self._connection)

    def close(self) -> None:
        self._connection.close()

    def __enter__(self) -> EmulatedArm:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def state_file(path: Path) -> Path:
    """Where the emulated arm of the arm file ``path`` is kept between commands."""
    return path.with_name(f".{path.stem}.state.json")


def start_emulator(arm: ArmFile, path: Path) -> EmulatedArm:
    """Start the process of the emulated arm, or join the one that runs.

    Args:
        arm: what the file ``path`` says.
        path: of the arm file; its name is what makes an emulated arm the same one, and its state lies beside it.

    Raises:
        UserError: it cannot start, or runs with other settings while somebody uses it.
    """
    settings = settings_of(arm)
    path = path.absolute()
    state, folder = state_file(path), _folder(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with lock_of(state):
            connection = _join(folder, settings) or _start(folder, state, settings)
    except OSError as error:
        raise UserError(f"the emulated arm cannot start: {error}", where=str(path)) from error
    return EmulatedArm(connection, str(folder / PORT), settings.time == "fast", state)


def _folder(path: Path) -> Path:
    """Of the process's socket and port: short, as the names of sockets must be, and the same for the same arm."""
    digest = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:12]
    return Path(tempfile.gettempdir()) / f"hiltk-{os.getuid() if hasattr(os, 'getuid') else 0}-{digest}"


def _join(folder: Path, settings: Settings) -> Connection | None:
    try:
        address = json.loads((folder / META).read_text())["address"]
        connection = Connection(address)
        running, _ = connection.ask("settings")
    except (OSError, ValueError, KeyError, UserError):
        return None
    if running["settings"] == json.loads(json.dumps(asdict(settings))):
        return connection
    if running["clients"]:
        connection.close()
        raise UserError(
            "the emulated arm runs with other settings",
            where=", ".join(key for key, value in asdict(settings).items() if running["settings"].get(key) != value),
            fix="end what uses it, or put the arm file back as it was",
        )
    _end(connection)
    return None


def _end(connection: Connection) -> None:
    """Ask the process to end, and wait for it; the caller holds the lock."""
    connection.ask("stop", locked=True)
    connection.wait()


def _start(folder: Path, state: Path, settings: Settings) -> Connection:
    shutil.rmtree(folder, ignore_errors=True)  # left by one that was killed
    folder.mkdir(mode=0o700)
    log = folder / LOG
    with log.open("wb") as errors:
        child = subprocess.Popen(
            [sys.executable, "-m", "hiltk.robots.emulated", str(folder), str(state)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            start_new_session=True,  # Ctrl-C is for the command, not for the arm
            env=os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        )
    _children[:] = [one for one in _children if one.poll() is None] + [child]
    assert child.stdin is not None and child.stdout is not None
    with contextlib.suppress(BrokenPipeError), child.stdin:  # it may have died already: its log says of what
        child.stdin.write(json.dumps(asdict(settings)).encode())
    with child.stdout:
        ready = child.stdout.readline()
    try:
        return Connection(_checked(json.loads(ready))["address"])
    except (ValueError, OSError, UserError) as error:
        child.wait()
        lines = log.read_text().strip().splitlines()
        shutil.rmtree(folder, ignore_errors=True)
        if isinstance(error, UserError):
            raise
        raise UserError(f"the emulated arm did not start: {lines[-1] if lines else error}", where=str(state)) from error
