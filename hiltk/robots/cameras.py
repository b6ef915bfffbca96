"""The arm's cameras through LeRobot's drivers, with the age of every picture.

LeRobot's own robots hand on pictures up to 500 ms old as those of now (its ``read_latest``). Here a picture older than
one and a half of its camera's periods is waited for, and a camera without a new one for a second has failed.
"""

from __future__ import annotations

import importlib
import re
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hiltk.errors import ConfigError, UserError, nearest
from hiltk.robots.arm_file import ArmFile, CameraFile
from hiltk.robots.emulated.client import CAMERA_TYPE, EmulatedArm
from hiltk.robots.ports import camera_source, check_cameras
from hiltk.spec import ImageSpec

if TYPE_CHECKING:
    from lerobot.cameras.camera import Camera

MAX_AGE_PERIODS = 1.5
GONE_S = 1.0  # without a new picture
BLACK_FRAMES = 20  # in a row
BLACK_LEVEL = 8  # of 255: no pixel of a covered lens or a dead sensor is brighter
MANUAL_EXPOSURE = 1  # for V4L2, which most webcams speak
_NAMES_ID = {"opencv": "index_or_path", "intelrealsense": "serial_number_or_name"}  # what else calls it: camera_id


@dataclass(frozen=True)
class Picture:
    """One picture as the driver gives it.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        age_s: since the driver had it. What exposure, USB and the kernel took comes on top.
        repeated: the driver has had none since it was last asked.
    """

    image: np.ndarray
    age_s: float
    repeated: bool


class Cameras:
    """Some of an arm's cameras. A context: opened on entering, closed on leaving.

    Args:
        arm: whose cameras.
        names: which of them, as observations call them.
        emulator: of an emulated arm, which has the pictures.

    Raises:
        ConfigError: the arm has no such camera.
    """

    def __init__(self, arm: ArmFile, names: Sequence[str], emulator: EmulatedArm | None = None) -> None:
        for name in names:
            if name not in arm.cameras:
                raise ConfigError(
                    f"the arm '{arm.name}' has no camera '{name}'; it has: {', '.join(arm.cameras) or 'none'}",
                    where=f"env.cameras={list(names)}",
                    fix=nearest(name, list(arm.cameras)) or "hiltk doctor lists what is plugged in",
                )
        self.files = {name: arm.cameras[name] for name in names}
        self._emulator = emulator
        self._open: dict[str, Camera] = {}
        self._last: dict[str, np.ndarray] = {}
        self._black = dict.fromkeys(names, 0)

    def __enter__(self) -> Cameras:
        check_cameras(self.files)
        try:
            for name, file in self.files.items():
                self._open[name] = _opened(name, file, self._emulator)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close what is open, whatever one of them says to it."""
        cameras, self._open = self._open, {}
        for camera in cameras.values():
            try:
                camera.disconnect()
            except Exception:  # it may have failed, or never have begun
                continue

    def exposures(self) -> dict[str, str]:
        """What each driver says now: a number in its unit, automatic, or nothing."""
        return {name: _exposure(camera) for name, camera in self._open.items()}

    def read(self) -> dict[str, Picture]:
        """The newest picture of every camera.

        Raises:
            UserError: a camera has given none for a second, has died, or shows nothing but black.
        """
        return {name: self._read(name, camera) for name, camera in self._open.items()}

    def _read(self, name: str, camera: Camera) -> Picture:
        limit, given_up = MAX_AGE_PERIODS / self.files[name].fps, time.monotonic() + GONE_S
        while True:
            image, age = _latest(name, camera)
            if age <= limit:
                break
            if time.monotonic() > given_up:
                raise UserError(
                    f"camera {name} has given no new picture for {GONE_S:g} s",
                    where=f"cameras.{name}: {self.files[name].id}",
                    fix="see its cable and hub; two cameras on one hub often need fourcc: MJPG",
                )
            time.sleep(0.002)
        repeated = image is self._last.get(name)
        self._last[name] = image
        if not repeated:
            self._black[name] = self._black[name] + 1 if image.max() < BLACK_LEVEL else 0
        if self._black[name] >= BLACK_FRAMES:
            raise UserError(
                f"camera {name} shows nothing but black",
                where=f"cameras.{name}: {self.files[name].id}",
                fix="take off the lens cap, switch on the light, or set a longer exposure in the arm's file",
            )
        return Picture(image, age, repeated)


def image_spec(name: str, file: CameraFile, height: int, width: int) -> ImageSpec:
    """How a camera's frames are made, for networks that take them at ``height`` x ``width``."""
    exposure = "automatic" if file.exposure is None else f"{file.exposure:g}"
    return ImageSpec(
        name,
        height,
        width,
        file.height,
        file.width,
        crop=list(file.crop),
        driver=file.type,
        native_fps=float(file.fps),
        exposure="" if file.type == CAMERA_TYPE else exposure,
    )


def _exposure(camera: Any) -> str:
    import cv2

    capture = getattr(camera, "videocapture", None)
    if capture is None:
        return ""
    if capture.get(cv2.CAP_PROP_AUTO_EXPOSURE) != MANUAL_EXPOSURE:
        return "automatic"
    return f"{capture.get(cv2.CAP_PROP_EXPOSURE):g}"


def _latest(name: str, camera: Camera) -> tuple[np.ndarray, float]:
    """The newest picture and its age, seconds; infinitely old where there is none yet."""
    try:
        image = camera.read_latest(max_age_ms=10**9)
    except (TimeoutError, RuntimeError, ConnectionError, OSError) as error:
        if isinstance(error, TimeoutError):
            return np.zeros((1, 1, 3), np.uint8), float("inf")
        raise UserError(
            f"camera {name} has died: {str(error).strip()}", where=f"cameras.{name}", fix="see its cable and hub"
        ) from error
    # A plugin that does not say when it got a picture gives the one of now, as far as anybody knows.
    stamp = getattr(camera, "latest_timestamp", None)
    return np.asarray(image), 0.0 if stamp is None else time.perf_counter() - float(stamp)


def _opened(name: str, file: CameraFile, emulator: EmulatedArm | None) -> Camera:
    """Connect to one camera and fix its exposure.

    Raises:
        UserError: there is no such driver or camera, or it cannot do what the file asks of it.
    """
    from lerobot.cameras.configs import CameraConfig
    from lerobot.cameras.utils import make_cameras_from_configs

    _register_drivers()

    where = f"cameras.{name}: type {file.type}, id {file.id or '(none)'}"
    try:
        config = _config(name, file, emulator)
    except KeyError as error:
        raise UserError(
            f"LeRobot knows no camera of type '{file.type}'",
            where=where,
            fix=nearest(file.type, list(CameraConfig.get_known_choices())) or "install the plugin that brings it",
        ) from error
    except (TypeError, ValueError) as error:
        raise UserError(f"the camera cannot be set up so: {error}", where=where) from error
    try:
        camera = make_cameras_from_configs({name: config})[name]
        camera.connect()
    except Exception as error:  # each driver has its own
        raise UserError(
            f"camera {name} cannot be opened: {str(error).strip() or type(error).__name__}",
            where=f"{where}, {file.width} x {file.height} at {file.fps} fps",
            fix=_way_out(name, str(error)),
        ) from error
    if file.exposure is not None:
        _fix_exposure(name, camera, file.exposure)
    return camera


def _way_out(name: str, said: str) -> str:
    """What to type, where a driver tells what it does instead of what was asked for."""
    does = re.search(r"actual_(fps|width|height)=([\d.]+)", said)
    if does is None:
        return "hiltk doctor lists cameras; close what else shows its picture"
    why = "; a dim room halves the rate: more light, or a fixed exposure" if does[1] == "fps" else ""
    return f"cameras.{name}.{does[1]}: {float(does[2]):g} in the arm's file is what it gives{why}"


def _register_drivers() -> None:
    """Have LeRobot's drivers and those of installed plugins known by name: each says its own when it is imported."""
    from lerobot.utils.import_utils import register_third_party_plugins

    for kind in ("opencv", "realsense", "zmq"):
        with suppress(ImportError):  # of a driver's own library
            importlib.import_module(f"lerobot.cameras.{kind}")
    register_third_party_plugins()


def _config(name: str, file: CameraFile, emulator: EmulatedArm | None) -> Any:
    """LeRobot's config of this camera."""
    from lerobot.cameras.configs import CameraConfig

    if file.type == CAMERA_TYPE and emulator is not None:
        from hiltk.robots.emulated.camera import camera_config

        return camera_config(emulator, file)
    settings: dict[str, Any] = {"fps": file.fps, "width": file.width, "height": file.height, **file.options}
    settings[_NAMES_ID.get(file.type, "camera_id")] = file.id
    if file.type == "opencv":
        settings["index_or_path"] = camera_source(name, file)
        settings["fourcc"] = file.fourcc or None
    return CameraConfig.get_choice_class(file.type)(**settings)


def _fix_exposure(name: str, camera: Any, exposure: float) -> None:
    """Switch off automatic exposure, which in a dim room also halves the rate; LeRobot's config has no word for it."""
    import cv2

    capture = getattr(camera, "videocapture", None)
    if capture is None:
        return
    capture.set(cv2.CAP_PROP_AUTO_EXPOSURE, MANUAL_EXPOSURE)
    if not capture.set(cv2.CAP_PROP_EXPOSURE, exposure):
        raise UserError(
            f"camera {name} does not take an exposure of {exposure:g}",
            where=f"cameras.{name}.exposure",
            fix="v4l2-ctl --list-ctrls shows its range; null leaves it automatic",
        )
