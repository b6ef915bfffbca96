"""The emulated arm's cameras behind LeRobot's camera interface, registered as type ``emulated``."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from lerobot.cameras.camera import Camera
from lerobot.cameras.configs import CameraConfig

from hiltk.errors import UserError
from hiltk.robots.arm_file import CameraFile
from hiltk.robots.emulated.client import CAMERA_TYPE, Connection, EmulatedArm
from hiltk.sim.scene import CAMERAS


@CameraConfig.register_subclass(CAMERA_TYPE)
@dataclass(kw_only=True)
class EmulatedCameraConfig(CameraConfig):
    """Which camera of which emulated arm.

    Attributes:
        address: of the arm's process, `EmulatedArm.address`.
        camera: wrist or front.
    """

    address: str = ""
    camera: str = "wrist"


def camera_config(arm: EmulatedArm, file: CameraFile) -> EmulatedCameraConfig:
    """The config of an emulated camera that stands in an arm file."""
    return EmulatedCameraConfig(address=arm.address, camera=file.id, fps=file.fps, width=file.width, height=file.height)


class EmulatedCamera(Camera):
    """In real time a thread takes a frame per period, as LeRobot's OpenCV camera does; in fast time there is none: the
    frame is that of the arm's own now, whenever it is asked for.

    Attributes:
        latest_frame, latest_timestamp: as of LeRobot's OpenCV camera: (H, W, 3) uint8 and `time.perf_counter` when it
            was taken. In fast time its age in the arm's seconds is what is told.
    """

    def __init__(self, config: EmulatedCameraConfig) -> None:
        super().__init__(config)
        self.config = config
        self.latest_frame: np.ndarray | None = None
        self.latest_timestamp: float | None = None
        self._connection: Connection | None = None
        self._thread: threading.Thread | None = None
        self._fast = False
        self._number = 0  # of the newest frame
        self._lock, self._fresh, self._stopping = threading.Lock(), threading.Event(), threading.Event()

    @property
    def is_connected(self) -> bool:
        return self._connection is not None

    @staticmethod
    def find_cameras() -> list[dict[str, Any]]:
        return [{"name": f"emulated {camera}", "type": CAMERA_TYPE, "id": camera} for camera in CAMERAS]

    def connect(self, warmup: bool = True) -> None:
        """Open it and wait for its first frame.

        Raises:
            ConnectionError: there is no such emulated arm, or it has no such camera.
        """
        from lerobot.utils.errors import DeviceAlreadyConnectedError

        if self.is_connected:
            raise DeviceAlreadyConnectedError(f"{self.config.camera} is already connected.")
        try:
            connection = Connection(self.config.address)
            settings = connection.ask("settings")[0]["settings"]
        except (OSError, UserError) as error:
            raise ConnectionError(f"no emulated arm at '{self.config.address}': {error}") from error
        size = settings["sizes"].get(self.config.camera)
        if size != [self.height, self.width]:
            connection.close()
            raise ConnectionError(f"camera '{self.config.camera}' gives {size}, not {[self.height, self.width]}")
        self._fast, self._connection = settings["time"] == "fast", connection
        self._stopping.clear()
        self._take()
        if not self._fast:
            self._thread = threading.Thread(target=self._run, name=f"camera {self.config.camera}", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        due = time.perf_counter()
        while not self._stopping.wait(max(0.0, due - time.perf_counter())):
            due = max(due + 1 / (self.fps or 30), time.perf_counter())
            try:
                self._take()
            except UserError:  # its process is gone: reading says so
                return

    def _take(self) -> None:
        """Fetch the newest frame; where the camera has none the last one stays, and ages."""
        assert self._connection is not None
        answer, data = self._connection.ask("frame", camera=self.config.camera, known=self._number)
        with self._lock:
            if data:
                self._number = answer["number"]
                self.latest_frame = np.frombuffer(data, np.uint8).reshape(answer["shape"])
                self._fresh.set()
            self.latest_timestamp = time.perf_counter() - answer["age"]

    def read_latest(self, max_age_ms: int = 500) -> np.ndarray:
        """The newest frame (H, W, 3) uint8, the same array until there is a newer one.

        Raises:
            TimeoutError: it is older than ``max_age_ms``.
            RuntimeError: the camera has stopped.
        """
        self._require()
        if self._fast:
            self._take()
        with self._lock:
            frame, stamp = self.latest_frame, self.latest_timestamp
        assert frame is not None and stamp is not None
        age_ms = (time.perf_counter() - stamp) * 1e3
        if age_ms > max_age_ms:
            raise TimeoutError(f"{self.config.camera}: the latest frame is {age_ms:.0f} ms old, allowed {max_age_ms}")
        return frame

    def async_read(self, timeout_ms: float = 200) -> np.ndarray:
        """The newest frame that was not read in this way before.

        Raises:
            TimeoutError: none came within ``timeout_ms``.
            RuntimeError: the camera has stopped.
        """
        self._require()
        if self._fast:
            self._take()
        if not self._fresh.wait(0.0 if self._fast else timeout_ms / 1e3):
            self._require()
            raise TimeoutError(f"{self.config.camera}: no frame within {timeout_ms} ms")
        with self._lock:
            self._fresh.clear()
            assert self.latest_frame is not None
            return self.latest_frame

    def read(self) -> np.ndarray:
        """The next frame."""
        self._fresh.clear()
        return self.async_read(10_000)

    def _require(self) -> None:
        from lerobot.utils.errors import DeviceNotConnectedError

        if self._connection is None:
            raise DeviceNotConnectedError(f"{self.config.camera} is not connected.")
        if self._thread is not None and not self._thread.is_alive():
            raise RuntimeError(f"{self.config.camera}: the read thread is not running")

    def disconnect(self) -> None:
        self._stopping.set()
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
