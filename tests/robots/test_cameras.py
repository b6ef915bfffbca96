"""Pictures are of now: old ones are waited for, repeated ones counted, dead and black cameras named."""

from __future__ import annotations

import sys
import time
import types
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest
from lerobot.cameras.configs import CameraConfig

from hiltk.errors import ConfigError, UserError
from hiltk.robots import cameras
from hiltk.robots.arm_file import ArmFile, CameraFile
from hiltk.robots.cameras import Cameras

TYPE = "hiltk_test_camera"


@CameraConfig.register_subclass(TYPE)
@dataclass
class StandInConfig(CameraConfig):
    camera_id: str = ""
    trouble: str = ""


class StandIn:
    """What LeRobot's OpenCV camera offers, with pictures that a test puts in."""

    made: ClassVar[list[StandIn]] = []

    def __init__(self, config: StandInConfig) -> None:
        self.config, self.is_connected = config, False
        self.frame = np.full((48, 64, 3), 100, np.uint8)
        self.latest_timestamp: float | None = None
        self.error: Exception | None = None
        self.live = True  # a new picture whenever it is asked
        StandIn.made.append(self)

    def connect(self, warmup: bool = True) -> None:
        if self.config.trouble:
            raise RuntimeError(self.config.trouble)
        self.is_connected = True

    def read_latest(self, max_age_ms: int = 500) -> np.ndarray:
        if self.error:
            raise self.error
        if self.live:
            self.frame, self.latest_timestamp = self.frame.copy(), time.perf_counter()
        return self.frame

    def disconnect(self) -> None:
        self.is_connected = False


@pytest.fixture(autouse=True)
def stand_in(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """LeRobot finds a camera's class beside its config, under the name without ``Config``."""
    module = types.ModuleType("hiltk_stand_in")
    module.StandIn = StandIn  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "hiltk_stand_in", module)
    monkeypatch.setattr(StandInConfig, "__module__", "hiltk_stand_in")
    monkeypatch.setattr(StandIn, "made", [])
    yield


def arm(**changes: Any) -> ArmFile:
    return ArmFile(
        name="desk",
        cameras={
            "wrist": CameraFile(TYPE, "one", 64, 48, 30),
            "front": CameraFile(TYPE, "two", 64, 48, 30, **changes),
        },
    )


def test_a_picture_comes_with_its_age_and_whether_it_is_a_new_one() -> None:
    with Cameras(arm(), ["front"]) as opened:
        (camera,) = StandIn.made
        assert camera.config.camera_id == "two" and camera.config.fps == 30
        first = opened.read()["front"]
        assert first.image.shape == (48, 64, 3) and first.age_s < 0.05 and not first.repeated
        camera.live = False
        camera.latest_timestamp = time.perf_counter()
        assert opened.read()["front"].repeated
    assert not camera.is_connected


def test_an_old_picture_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    with Cameras(arm(), ["wrist"]) as opened:
        (camera,) = StandIn.made
        camera.live, camera.latest_timestamp = False, time.perf_counter() - 0.4  # LeRobot would hand it on as of now
        monkeypatch.setattr(cameras.time, "sleep", lambda seconds: setattr(camera, "live", True))
        assert opened.read()["wrist"].age_s < 0.05


@pytest.mark.parametrize(
    ("error", "age_s", "said"),
    [
        (None, 5.0, "camera wrist has given no new picture for 0.05 s"),
        (TimeoutError("no frame yet"), 0.0, "camera wrist has given no new picture"),
        (RuntimeError("read thread is not running"), 0.0, "camera wrist has died: read thread is not running"),
    ],
)
def test_a_camera_that_fails_is_named(
    error: Exception | None, age_s: float, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cameras, "GONE_S", 0.05)
    with Cameras(arm(), ["wrist"]) as opened:
        (camera,) = StandIn.made
        camera.live, camera.error, camera.latest_timestamp = False, error, time.perf_counter() - age_s
        with pytest.raises(UserError, match=said):
            opened.read()


def test_a_lens_cap_is_named_and_one_dark_picture_is_none() -> None:
    with Cameras(arm(), ["wrist"]) as opened:
        (camera,) = StandIn.made
        for level in (3, 100, 3):
            camera.frame[:] = level
            opened.read()
        camera.frame[:] = 3
        with pytest.raises(UserError, match="camera wrist shows nothing but black"):
            for _ in range(cameras.BLACK_FRAMES):
                opened.read()


def test_a_driver_that_does_not_say_when_gives_pictures_of_now() -> None:
    with Cameras(arm(), ["wrist"]) as opened:
        (camera,) = StandIn.made
        camera.live, camera.latest_timestamp = False, None
        assert opened.read()["wrist"].age_s == 0.0


def test_one_that_cannot_be_opened_closes_the_others() -> None:
    trouble = {"options": {"trouble": "OpenCVCamera(two) failed to set fps=30 (actual_fps=15.0)"}}
    with pytest.raises(UserError, match=r"camera front cannot be opened: .*actual_fps=15.0(.|\n)*fps: 15 in the arm"):
        Cameras(arm(**trouble), ["wrist", "front"]).__enter__()
    assert [camera.is_connected for camera in StandIn.made] == [False, False]


def test_what_cannot_be_a_camera_is_said_with_what_there_is() -> None:
    with pytest.raises(ConfigError, match="has no camera 'frnt'; it has: wrist, front"):
        Cameras(arm(), ["frnt"])
    unknown = ArmFile(name="desk", cameras={"wrist": CameraFile("opencvv", "0")})
    with pytest.raises(UserError, match="LeRobot knows no camera of type 'opencvv'") as error:
        Cameras(unknown, ["wrist"]).__enter__()
    assert "opencv" in error.value.fix
    with pytest.raises(UserError, match="cannot be set up so"):
        Cameras(arm(options={"shutter": 3}), ["front"]).__enter__()


def test_an_exposure_that_the_camera_does_not_take_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: dict[int, float] = {}
    capture = types.SimpleNamespace(set=lambda key, value: taken.setdefault(key, value) == value and value < 500)
    monkeypatch.setattr(StandIn, "videocapture", capture, raising=False)
    with Cameras(arm(exposure=120.0), ["front"]):
        assert 120.0 in taken.values()
    with pytest.raises(UserError, match="does not take an exposure of 900"):
        Cameras(arm(exposure=900.0), ["front"]).__enter__()
