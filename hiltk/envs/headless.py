"""Lets MuJoCo environments of other packages start and draw on a machine without OpenGL.

Several (gym-hil among them) build a `mujoco.Renderer` in their constructor even when no image is asked for. Without a
GL library that does not raise: it aborts the interpreter. While such an environment is made, `mujoco.Renderer` is
replaced by a stand-in that does nothing until a scene is drawn, and then draws it with hiltk's own renderers.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import mujoco
import numpy as np

from hiltk.config.groups import So101SimConf
from hiltk.errors import UserError
from hiltk.sim.renderers import FrameRenderer, make_renderer


class HeadlessRenderer:
    """The part of `mujoco.Renderer` that environments use: `update_scene`, `render`, `close`.

    Frames are (height, width, 3) uint8 RGB; drawn by what `env.renderer=auto` would choose.
    """

    def __init__(self, model: mujoco.MjModel, height: int = 240, width: int = 320, *_: Any, **__: Any) -> None:
        self.model, self.height, self.width = model, height, width
        self._drawer: FrameRenderer | None = None
        self._scene: tuple[mujoco.MjData, int] | None = None

    def update_scene(self, data: mujoco.MjData, camera: int | str | mujoco.MjvCamera = -1, *_: Any, **__: Any) -> None:
        """Choose what the next `render` draws.

        Raises:
            UserError: the camera is not one that the model names or numbers.
        """
        self._scene = (data, self._camera_number(camera))

    def render(self, *, out: np.ndarray | None = None) -> np.ndarray:
        """The frame of the last scene; black while there is none, as from a real renderer."""
        frame = np.zeros((self.height, self.width, 3), np.uint8) if self._scene is None else self._draw(*self._scene)
        if out is None:
            return frame
        out[:] = frame
        return out

    def close(self) -> None:
        if self._drawer is not None:
            self._drawer.close()
        self._drawer = self._scene = None

    def _draw(self, data: mujoco.MjData, camera: int) -> np.ndarray:
        if self._drawer is None:
            self._drawer = make_renderer(self.model, self.height, self.width, So101SimConf())
        return self._drawer.render(data, camera)

    def _camera_number(self, camera: int | str | mujoco.MjvCamera) -> int:
        if isinstance(camera, mujoco.MjvCamera):
            camera = camera.fixedcamid
        number = (
            mujoco.mj_name2id(self.model, mujoco.mjtObj.mjOBJ_CAMERA, camera) if isinstance(camera, str) else camera
        )
        if not 0 <= number < self.model.ncam:
            names = [self.model.camera(i).name for i in range(self.model.ncam)]
            raise UserError(
                "the environment draws from a free camera, which cannot be drawn without a viewer",
                where=f"camera {camera!r}; cameras of the model: {', '.join(names) or 'none'}",
                fix="choose one of the model's cameras in env.kwargs, or leave images out",
            )
        return number


@contextmanager
def headless_mujoco() -> Iterator[None]:
    """While active, environments that make a `mujoco.Renderer` get a `HeadlessRenderer`."""
    original = mujoco.Renderer
    mujoco.Renderer = HeadlessRenderer
    try:
        yield
    finally:
        mujoco.Renderer = original
