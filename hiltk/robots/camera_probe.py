"""What a camera of OpenCV really gives: size, rate, format. Opened, measured for a second, closed."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import cv2

from hiltk.errors import UserError
from hiltk.robots.arm_file import CameraFile
from hiltk.robots.ports import camera_source

_WARM_UP, _SECONDS = 10, 1.0


@dataclass(frozen=True)
class Probed:
    """What the driver says, and the rate at which frames come.

    Attributes:
        fps: as the driver says it.
        measured_fps: frames that came, a second.
    """

    width: int
    height: int
    fps: int
    fourcc: str
    measured_fps: float


def probe(name: str, camera: CameraFile) -> Probed:
    """Ask a camera for what its file says, and see what comes.

    Raises:
        UserError: it is not there, or gives no frames.
    """
    source = camera_source(name, camera)
    capture: Any = cv2.VideoCapture(source if isinstance(source, int) else str(source))
    where = f"cameras.{name}.id: {camera.id}"
    try:
        if not capture.isOpened():
            fix = "close what shows its picture; try another socket"
            raise UserError(f"camera '{name}' cannot be opened", where=where, fix=fix)
        if camera.fourcc:
            capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*camera.fourcc))
        for key, value in (
            (cv2.CAP_PROP_FRAME_WIDTH, camera.width),
            (cv2.CAP_PROP_FRAME_HEIGHT, camera.height),
            (cv2.CAP_PROP_FPS, camera.fps),
        ):
            capture.set(key, value)
        for _ in range(_WARM_UP):
            came, frame = capture.read()
        if not came:
            fix = "too many cameras on one USB bus, or a cable: another socket, fourcc: MJPG"
            raise UserError(f"camera '{name}' gives no frames", where=where, fix=fix)
        started, frames = time.monotonic(), 0
        while time.monotonic() - started < _SECONDS:
            frames += capture.read()[0]
        rate = frames / (time.monotonic() - started)
        height, width = frame.shape[:2]
        said = round(capture.get(cv2.CAP_PROP_FPS)) or round(rate)
        return Probed(int(width), int(height), max(1, said), _letters(capture), rate)
    finally:
        capture.release()


def _letters(capture: Any) -> str:
    code = int(capture.get(cv2.CAP_PROP_FOURCC))
    letters = "".join(chr(code >> shift & 255) for shift in (0, 8, 16, 24))
    return letters if letters.isalnum() else ""
