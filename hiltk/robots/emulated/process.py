"""The emulated arm's own process: ``python -m hiltk.robots.emulated FOLDER STATE``, its settings on standard input.

It says on standard output when it can be talked to, serves any number of clients, and ends some seconds after the last
one left. How the arm lies then is kept in the file STATE, where the next process finds it.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from hiltk.errors import HiltkError, UserError, nearest
from hiltk.robots.emulated.bus import Bus
from hiltk.robots.emulated.machine import Machine
from hiltk.robots.emulated.wire import META, PORT, Settings, listen, lock_of, receive, send
from hiltk.robots.emulated.world import Eyes

LINGER_S = 5.0  # without a client
FIRST_S = 30.0  # until the first one
SAVE_S = 2.0


@dataclass
class Frame:
    """A picture (H, W, 3) uint8, its number, and of what moment of the arm's clock and of the scene it is."""

    number: int
    time_s: float
    changes: int
    image: np.ndarray


class Cameras:
    """Frames as the emulated cameras give them."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._eyes = Eyes(machine.world)
        self._artist = ThreadPoolExecutor(1, "eyes")
        self._last: dict[str, Frame] = {}
        self._count = 0

    def draw(self, camera: str) -> np.ndarray:
        """The scene as it is, (H, W, 3) uint8."""
        return self._draw(camera).image

    def newest(self, camera: str) -> Frame:
        """What the camera gives, faults and all."""
        last = self._last.get(camera)
        if last is None or not self._keeps(camera, last):
            last = self._last[camera] = self._draw(camera)
            if self._hit("camera_black", camera):
                last.image = np.zeros_like(last.image)
        return last

    def _keeps(self, camera: str, last: Frame) -> bool:
        """Whether there is no newer frame than the last one."""
        now = self._machine.now()
        slow = self._hit("camera_slow", camera)
        if self._hit("camera_frozen", camera) or (slow and now < last.time_s + 1 / slow["fps"]):
            return True
        return self._machine.fast and (now, self._machine.world.changes) == (last.time_s, last.changes)

    def _hit(self, fault: str, camera: str) -> dict[str, Any] | None:
        values = self._machine.active(fault)
        return values if values is not None and values["camera"] in ("", camera) else None

    def _draw(self, camera: str) -> Frame:
        sizes = self._machine.settings.sizes
        if camera not in sizes:
            raise UserError(f"the emulated arm has no camera '{camera}'", fix=nearest(camera, sizes))
        height, width = sizes[camera]
        qpos, moment, changes = self._machine.scene()
        self._count += 1
        image = self._artist.submit(self._eyes.draw, qpos, camera, height, width).result()
        return Frame(self._count, moment, changes, image)

    def close(self) -> None:
        self._artist.submit(self._eyes.close).result()
        self._artist.shutdown()


class Server:
    """Talks to clients, each in a thread of its own.

    Args:
        state: where the arm is kept between processes.
    """

    def __init__(self, machine: Machine, folder: Path, state: Path) -> None:
        self._machine, self._folder, self._state = machine, folder, state
        self._cameras = Cameras(machine)
        self._bus = Bus(machine, folder / PORT)
        self._socket, self.address = listen(folder)
        self._clients: dict[int, str] = {}
        self._left = time.monotonic() + FIRST_S - LINGER_S
        self._over = threading.Event()
        self._locked = False
        self._kept, self._next = "", 0.0

    def run(self) -> None:
        """Until nobody has been there for a while, or a signal asks for the end."""
        self._bus.start()
        threading.Thread(target=self._accept, daemon=True).start()
        while True:
            if self._over.wait(0.2) or self._forsaken():
                # Nobody may join what is about to go; a client that asks for the end may hold the lock itself.
                with nullcontext() if self._locked else lock_of(self._state):
                    if self._over.is_set() or self._forsaken():
                        self._end()
                        return
            self._keep()

    def stop(self, *_: object) -> None:
        self._over.set()

    def _forsaken(self) -> bool:
        return not self._clients and time.monotonic() > self._left + LINGER_S

    def _end(self) -> None:
        self._socket.close()
        self._bus.stop()
        self._cameras.close()
        self._keep(at_once=True)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _keep(self, at_once: bool = False) -> None:
        """Write down how the arm lies, if that has changed; a kill -9 loses at most the last seconds of it."""
        if not at_once and time.monotonic() < self._next:
            return
        self._next = time.monotonic() + SAVE_S
        text = json.dumps({"version": 1, **self._machine.to_plain()})
        if text == self._kept or not self._state.parent.is_dir():  # the folder may be gone: a test's, a deleted one
            return
        partial = self._state.with_suffix(".tmp")
        try:
            partial.write_text(text)
            os.replace(partial, self._state)
            self._kept = text
        except OSError as error:  # a full disk does not bring down an arm
            print(f"how the arm lies cannot be kept: {error}", file=sys.stderr)

    # ------------------------------------------------------------------ clients

    def _accept(self) -> None:
        while True:
            try:
                client = self._socket.accept()[0]
            except OSError:
                return
            # Counted here: between two clients nobody is to find that there is none.
            self._clients[client.fileno()] = ""
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        number = client.fileno()
        with client, client.makefile("rwb") as stream:
            try:
                while True:
                    asked, _ = receive(stream)
                    try:
                        answer, data = self._answer(**asked)
                    except HiltkError as error:
                        answer, data = {"error": [error.what, error.where, error.fix]}, b""
                    send(stream, answer, data)
            except (EOFError, OSError):
                pass
            finally:
                self._left = time.monotonic()
                self._clients.pop(number, None)

    def _answer(self, call: str, **values: Any) -> tuple[dict[str, Any], bytes]:
        machine = self._machine
        if call == "now":
            return {"now": machine.now()}, b""
        if machine.fast:
            self._bus.settle()
        if call == "sleep_until":
            return {"now": machine.sleep_until(values["due"])}, b""
        if call == "state":
            return {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in asdict(machine.state()).items()}, b""
        if call == "render":
            frame = self._cameras.draw(values["camera"])
            return {"shape": frame.shape}, frame.tobytes()
        if call == "frame":
            newest = self._cameras.newest(values["camera"])
            told = {"number": newest.number, "age": machine.now() - newest.time_s, "shape": newest.image.shape}
            return told, b"" if newest.number == values["known"] else newest.image.tobytes()
        if call == "settings":
            told = {"settings": asdict(machine.settings), "clients": len(self._clients) - 1, "pid": os.getpid()}
            return told, b""
        if call == "stop":
            self._locked = values.get("locked", False)
            self.stop()
        elif call in ("place_cube", "turn_by_hand", "fault", "clear_faults", "cut_power"):
            getattr(machine, call)(**values)
        else:
            raise ValueError(call)
        return {}, b""


def main(folder: Path, state: Path, settings: Settings) -> None:
    """Run until forsaken. A line with the address goes to standard output when all is ready."""
    sys.setswitchinterval(0.0005)  # what draws must not keep the servos waiting
    cv2.setNumThreads(1)
    machine = Machine(settings)
    if state.is_file():
        try:
            machine.restore(json.loads(state.read_text()))
        except (ValueError, KeyError, TypeError) as error:  # of another version: the arm is as new
            print(f"{state} cannot be used: {error!r}", file=sys.stderr)
            machine = Machine(settings)
    server = Server(machine, folder, state)
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, server.stop)
    (folder / META).write_text(json.dumps({"address": server.address}))
    print(json.dumps({"address": server.address}), flush=True)
    server.run()
