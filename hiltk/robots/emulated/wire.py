"""How clients and the process of the emulated arm meet and talk: a line of JSON each way, raw bytes after an answer.

Nothing of the simulation is imported here: clients need none of it.
"""

from __future__ import annotations

import json
import socket
from dataclasses import dataclass, field
from io import BufferedRWPair
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

PORT, META, LOG = "port", "meta.json", "log"  # in the process's folder
BYTES = "bytes"  # how many follow the line


@dataclass
class Settings:
    """What an emulated arm is told when it starts.

    Attributes:
        time: real or fast, as `EmulatedFile` says.
        usb_ms: milliseconds an answer takes through the adapter, in real time.
        faults: by name, see `hiltk.robots.emulated.faults`.
        sizes: camera name of the simulation to [height, width].
        joints_deg: (6,) where it lies when it is new.
    """

    model_path: str = ""
    time: str = "real"
    seed: int = 0
    usb_ms: float = 1.0
    faults: dict[str, Any] = field(default_factory=dict)
    sizes: dict[str, list[int]] = field(default_factory=dict)
    joints_deg: list[float] = field(default_factory=list)


@dataclass
class WorldState:
    """What nobody at a real arm can know: the scene as it is.

    Attributes:
        joints_deg: (6,) true joints, degrees, the gripper 0..100.
        ee_m, tcp_m, cube_m: (3,) end effector, point between the finger tips, cube's centre; metres, base frame.
        jaw_axis: (3,) unit vector from the fixed towards the moving jaw.
        fixed_jaw, moving_jaw: whether they touch the cube.
        time_s: of the arm's clock.
        torque: (6,) bool, which servos hold.
    """

    joints_deg: np.ndarray
    ee_m: np.ndarray
    tcp_m: np.ndarray
    cube_m: np.ndarray
    jaw_axis: np.ndarray
    fixed_jaw: bool
    moving_jaw: bool
    time_s: float
    torque: np.ndarray


def lock_of(state: Path) -> FileLock:
    """Held while an emulated arm is started, joined or ends."""
    return FileLock(state.with_suffix(".lock"), timeout=60)


def listen(folder: Path) -> tuple[socket.socket, str]:
    """A listening socket and its address: in ``folder``, or a port where a socket cannot have so long a name."""
    try:
        server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        address = str(folder / "socket")
        server.bind(address)
    except (AttributeError, OSError):
        server = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        server.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{server.getsockname()[1]}"
    server.listen()
    return server, address


def connect(address: str) -> socket.socket:
    """Raises OSError where nobody listens."""
    host, colon, port = address.rpartition(":")
    if colon and port.isdigit():
        return socket.create_connection((host, int(port)))
    client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        client.connect(address)
    except OSError:
        client.close()
        raise
    return client


def send(stream: BufferedRWPair, message: dict[str, Any], data: bytes = b"") -> None:
    if data:
        message = {**message, BYTES: len(data)}
    stream.write(json.dumps(message).encode() + b"\n" + data)
    stream.flush()


def receive(stream: BufferedRWPair) -> tuple[dict[str, Any], bytes]:
    """Raises EOFError when the other side is gone."""
    line = stream.readline()
    if not line.endswith(b"\n"):
        raise EOFError
    message: dict[str, Any] = json.loads(line)
    size = message.get(BYTES, 0)
    data = stream.read(size) if size else b""
    if len(data) < size:
        raise EOFError
    return message, data
