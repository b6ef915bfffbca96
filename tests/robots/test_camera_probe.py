"""What a camera really gives is what is written into the arm's file."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from hiltk.errors import UserError
from hiltk.robots import camera_probe
from hiltk.robots.arm_file import CameraFile

FILE = CameraFile(id="/dev/v4l/by-id/usb-C920-video-index0", width=640, height=480, fps=60)


class Capture:
    """OpenCV's, of a camera that gives 320 x 240 at 25 Hz whatever it is asked for; a read takes its time."""

    opens, reads, clock = True, True, 0.0

    def __init__(self, source: object) -> None:
        self.source, self.asked = source, dict[int, float]()
        made.append(self)

    def isOpened(self) -> bool:
        return self.opens

    def set(self, key: int, value: float) -> bool:
        self.asked[key] = value
        return key == cv2.CAP_PROP_FOURCC

    def get(self, key: int) -> float:
        return {cv2.CAP_PROP_FPS: 25.0, cv2.CAP_PROP_FOURCC: float(cv2.VideoWriter.fourcc(*"MJPG"))}[key]

    def read(self) -> tuple[bool, np.ndarray | None]:
        Capture.clock += 0.04
        return (True, np.zeros((240, 320, 3), np.uint8)) if self.reads else (False, None)

    def release(self) -> None:
        self.asked.clear()


made: list[Capture] = []


@pytest.fixture
def camera(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Capture]:
    def plug_in(**does: bool) -> None:
        for name, value in does.items():
            monkeypatch.setattr(Capture, name, value)

    monkeypatch.setattr(cv2, "VideoCapture", Capture)
    monkeypatch.setattr(time, "monotonic", lambda: Capture.clock)
    monkeypatch.setattr(camera_probe, "camera_source", lambda name, file: Path(file.id))
    return plug_in  # type: ignore[return-value]


def test_what_comes_counts_not_what_was_asked(camera: Callable[..., None]) -> None:
    found = camera_probe.probe("wrist", FILE)
    assert (found.width, found.height, found.fps, found.fourcc) == (320, 240, 25, "MJPG")
    assert found.measured_fps == pytest.approx(25.0, rel=0.05)
    assert made[-1].source == FILE.id and not made[-1].asked  # and it was closed


@pytest.mark.parametrize(
    ("does", "said"),
    [({"opens": False}, "camera 'wrist' cannot be opened"), ({"reads": False}, "camera 'wrist' gives no frames")],
)
def test_a_camera_that_gives_nothing_is_refused(camera: Callable[..., None], does: dict[str, bool], said: str) -> None:
    camera(**does)
    with pytest.raises(UserError, match=said) as caught:
        camera_probe.probe("wrist", FILE)
    assert caught.value.where == f"cameras.wrist.id: {FILE.id}" and caught.value.fix
    assert not made[-1].asked
