"""Cameras of a MuJoCo scene: ray casting on the CPU, which runs anywhere, and OpenGL, where there is one.

Both read colours, lights and cameras from the model on every `refresh`, so the per-episode appearance jitter
(`appearance.py`) reaches both alike.
"""

from __future__ import annotations

import ctypes
import functools
import os
import subprocess
import sys
import weakref
from typing import Any, NamedTuple, Protocol

import cv2
import mujoco
import numpy as np

from hiltk.config.groups import Renderer as RendererChoice
from hiltk.config.groups import So101SimConf
from hiltk.errors import UserError

# Up to this many rays per frame the CPU renderer is about as fast as software OpenGL, and `auto` prefers it:
# its pictures are the same on every machine, so a dataset recorded on one looks like the environment of another.
CPU_RAYS = 128 * 128
VISIBLE_GROUPS = np.array([1, 1, 1, 0, 0, 0], np.uint8)  # MuJoCo's default: groups 0-2; 3 and up are collision shapes


class FrameRenderer(Protocol):
    """Draws one named size of frame from any camera of one model."""

    name: str

    def render(self, data: mujoco.MjData, camera: int) -> np.ndarray:
        """One frame (H, W, 3) uint8 RGB of camera number ``camera``; ``data`` must hold up-to-date positions."""

    def refresh(self) -> None:
        """Take over colours, lights and fields of view that were changed in the model."""

    def close(self) -> None:
        """Free what the renderer holds."""


class _PlaneTexture(NamedTuple):
    """A plane geom, its texels (H, W, 3) in 0..1, and how often they repeat per metre along its axes (2,)."""

    geom: int
    texels: np.ndarray
    per_metre: np.ndarray


class CpuRenderer:
    """Casts one ray per pixel with `mj_multiRay`: Lambert shading, textured planes, no shadows, no OpenGL.

    Lighting is that of MuJoCo's OpenGL, ``texture * min(1, colour * (ambient + headlight * n.v + sum light * n.l))``,
    with every light directional and the headlight along the camera's axis.

    Args:
        supersample: rays per pixel and axis; 2 smooths edges at four times the cost.
    """

    name = "cpu"

    def __init__(self, model: mujoco.MjModel, height: int, width: int, supersample: int = 1) -> None:
        self._model = model
        self._size = (height, width)
        self._grid = (height * supersample, width * supersample)
        self._count = count = self._grid[0] * self._grid[1]
        self._geom = np.zeros(count, np.int32)
        self._distance = np.zeros(count)
        self._normal = np.zeros((count, 3))
        self._rays = np.zeros((count, 3))
        self._light = np.ones((count, 2 + model.nlight), np.float32)  # columns: ambient, headlight, lights
        self._local: dict[tuple[int, float], np.ndarray] = {}
        self.refresh()

    def refresh(self) -> None:
        model = self._model
        self._local.clear()
        self._range_m = float(model.vis.map.zfar * model.stat.extent)
        rgb = model.geom_rgba[:, :3].copy()
        painted = model.geom_matid >= 0
        rgb[painted] = model.mat_rgba[model.geom_matid[painted], :3]
        # The extra last row is the background: rays that miss carry geom id -1.
        self._colors = np.vstack([rgb, np.zeros(3)]).astype(np.float32) * 255
        self._sky = self._sky_color()
        head = model.vis.headlight
        lit = np.array(model.light_active, bool)[:, None]
        ambient = np.asarray(head.ambient) * head.active + (model.light_ambient * lit).sum(0)
        lamps = [ambient, np.asarray(head.diffuse) * head.active, *(model.light_diffuse * lit)]
        self._lamps = np.array(lamps, np.float32)
        self._textures = [self._texture(int(geom)) for geom in self._textured_planes()]

    def _sky_color(self) -> np.ndarray:
        """The skybox's first texel (3,) in 0..255: only flat skies look right; black without one."""
        skies = np.flatnonzero(self._model.tex_type == mujoco.mjtTexture.mjTEXTURE_SKYBOX)
        if not len(skies):
            return np.zeros(3, np.float32)
        start = self._model.tex_adr[skies[0]]
        return self._model.tex_data[start : start + 3].astype(np.float32)

    def _textured_planes(self) -> list[int]:
        """Geoms that are planes with a flat colour texture; everything else shows its plain colour."""
        model, found = self._model, []
        for geom in np.flatnonzero((model.geom_type == mujoco.mjtGeom.mjGEOM_PLANE) & (model.geom_matid >= 0)):
            texture = model.mat_texid[model.geom_matid[geom], mujoco.mjtTextureRole.mjTEXROLE_RGB]
            flat = texture >= 0 and model.tex_type[texture] == mujoco.mjtTexture.mjTEXTURE_2D
            if flat and model.tex_nchannel[texture] >= 3:
                found.append(int(geom))
        return found

    def _texture(self, geom: int) -> _PlaneTexture:
        model = self._model
        material = model.geom_matid[geom]
        texture = model.mat_texid[material, mujoco.mjtTextureRole.mjTEXROLE_RGB]
        height, width = model.tex_height[texture], model.tex_width[texture]
        start, channels = model.tex_adr[texture], model.tex_nchannel[texture]
        texels = model.tex_data[start : start + height * width * channels].reshape(height, width, channels)
        size = model.geom_size[geom, :2]
        length = np.where(size > 0, 2 * size, 1.0)  # 0 means without end
        # Row 0 is the texture's top, so v runs against the plane's y axis.
        per_metre = model.mat_texrepeat[material] / length * [1, -1]
        return _PlaneTexture(geom, texels[..., :3].astype(np.float32) / 255, per_metre)

    def render(self, data: mujoco.MjData, camera: int) -> np.ndarray:
        origin = data.cam_xpos[camera]
        # cv2.transform is a per-pixel matrix product, several times faster than matmul on such thin matrices.
        cv2.transform(self._directions(camera)[None], data.cam_xmat[camera].reshape(3, 3), dst=self._rays[None])
        mujoco.mj_multiRay(
            self._model, data, origin, self._rays.ravel(), VISIBLE_GROUPS, 1, -1,
            self._geom, self._distance, self._normal.ravel(), self._count, self._range_m,
        )  # fmt: skip
        image = np.take(self._colors, self._geom, axis=0, mode="wrap")
        image *= self._shade(data, data.cam_xmat[camera].reshape(3, 3)[:, 2])
        np.minimum(image, 255, out=image)
        for texture in self._textures:  # after clamping, as OpenGL does
            self._paint(image, data, origin, texture)
        image[self._geom < 0] = self._sky
        frame = (image + 0.5).astype(np.uint8).reshape(*self._grid, 3)
        return _resized(frame, self._size)

    def close(self) -> None:
        self._local.clear()

    def _directions(self, camera: int) -> np.ndarray:
        """Unit ray directions (H*W, 3) in the camera's frame: x right, y up, looking along -z."""
        fov = float(self._model.cam_fovy[camera])
        if (camera, fov) not in self._local:
            height, width = self._grid
            tangent = np.tan(np.deg2rad(fov) / 2)
            up, right = np.meshgrid(
                -((np.arange(height) + 0.5) / height * 2 - 1) * tangent,
                ((np.arange(width) + 0.5) / width * 2 - 1) * tangent * width / height,
                indexing="ij",
            )
            rays = np.stack([right, up, -np.ones_like(up)], -1).reshape(-1, 3)
            self._local[camera, fov] = rays / np.linalg.norm(rays, axis=1, keepdims=True)
        return self._local[camera, fov]

    def _shade(self, data: mujoco.MjData, backward: np.ndarray) -> np.ndarray:
        """Light (H*W, 3) that falls on each hit point, per colour."""
        normal, light = self._normal, self._light
        directions = np.vstack([backward, -data.light_xdir])
        np.maximum(normal @ directions.T, 0, out=light[:, 1:])
        return light @ self._lamps

    def _paint(self, image: np.ndarray, data: mujoco.MjData, origin: np.ndarray, texture: _PlaneTexture) -> None:
        """Multiply the pixels (H*W, 3) that show the plane by its texture, nearest texel."""
        axes = data.geom_xmat[texture.geom].reshape(3, 3)[:, :2] * texture.per_metre
        # In the plane's own coordinates, in texture repeats: distance * direction + origin.
        uv = cv2.transform(self._rays[None], axes.T)[0]
        uv *= self._distance[:, None]
        uv += (origin - data.geom_xpos[texture.geom]) @ axes
        uv -= np.floor(uv)
        height, width = texture.texels.shape[:2]
        uv *= (width, height)
        column, row = uv.astype(np.intp).T
        # Rounding can give a coordinate of exactly 1: clip.
        paint = np.take(texture.texels.reshape(-1, 3), row * width + column, axis=0, mode="clip")
        np.multiply(image, paint, out=image, where=(self._geom == texture.geom)[:, None])


class GlRenderer:
    """MuJoCo's own OpenGL renderer, on whichever backend `gl_backend` names.

    `mujoco.Renderer` picks its backend from ``MUJOCO_GL`` when mujoco is first imported; the context is made here
    so that the choice can be made later and without touching the user's environment.
    """

    name = "gl"

    def __init__(self, model: mujoco.MjModel, height: int, width: int, supersample: int = 1) -> None:
        self._model = model
        self._size = (height, width)
        rows, columns = height * supersample, width * supersample
        model.vis.global_.offheight = max(rows, model.vis.global_.offheight)
        model.vis.global_.offwidth = max(columns, model.vis.global_.offwidth)
        self._gl = _context(gl_backend(), columns, rows)
        self._gl.make_current()
        self._context = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_100.value)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN.value, self._context)
        # Left to the interpreter's exit, freeing comes after OpenGL itself is gone, and prints a stack trace.
        self._free = weakref.finalize(self, _free, self._context, self._gl)
        self._scene = mujoco.MjvScene(model, maxgeom=model.ngeom + 64)
        self._option, self._camera = mujoco.MjvOption(), mujoco.MjvCamera()
        self._camera.type = mujoco.mjtCamera.mjCAMERA_FIXED
        self._rect = mujoco.MjrRect(0, 0, columns, rows)
        self._frame = np.zeros((rows, columns, 3), np.uint8)

    def refresh(self) -> None:
        """Nothing to do: `mjv_updateScene` reads colours, lights and cameras from the model on every frame."""

    def render(self, data: mujoco.MjData, camera: int) -> np.ndarray:
        self._gl.make_current()
        self._camera.fixedcamid = camera
        everything = mujoco.mjtCatBit.mjCAT_ALL.value
        mujoco.mjv_updateScene(self._model, data, self._option, None, self._camera, everything, self._scene)
        mujoco.mjr_render(self._rect, self._scene, self._context)
        mujoco.mjr_readPixels(self._frame, None, self._rect, self._context)
        frame = self._frame[::-1]  # OpenGL's first row is the bottom one
        return _resized(frame, self._size).copy()

    def close(self) -> None:
        self._free()


def _resized(frame: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A supersampled frame (H*s, W*s, 3) averaged down to ``size`` (H, W)."""
    return frame if frame.shape[:2] == size else cv2.resize(frame, size[::-1], interpolation=cv2.INTER_AREA)


def make_renderer(model: mujoco.MjModel, height: int, width: int, conf: So101SimConf) -> FrameRenderer:
    """The renderer that ``conf.renderer`` asks for; ``.name`` says which one it became.

    ``auto`` is the CPU renderer up to `CPU_RAYS` rays per frame; above that OpenGL where it is found to work.

    Raises:
        UserError: OpenGL was asked for and does not work here.
    """
    if conf.renderer is RendererChoice.gl and not gl_works():
        raise UserError(
            "OpenGL rendering does not work on this machine",
            where=f"env.renderer=gl (backend tried: {gl_backend() or 'none found'})",
            fix="use env.renderer=cpu, which needs no OpenGL, or install EGL or OSMesa (apt: libegl1, libosmesa6)",
        )
    large = height * width * conf.supersample**2 > CPU_RAYS
    use_gl = conf.renderer is RendererChoice.gl or (conf.renderer is RendererChoice.auto and large and gl_works())
    return (GlRenderer if use_gl else CpuRenderer)(model, height, width, conf.supersample)


def gl_backend() -> str:
    """The OpenGL backend that could work here: ``egl``, ``osmesa``, ``native`` (a display) or empty for none."""
    chosen = os.environ.get("MUJOCO_GL", "").lower().strip()
    if chosen in ("egl", "osmesa"):
        return chosen
    if chosen in ("disable", "disabled", "off", "false", "0"):
        return ""
    if sys.platform != "linux":
        return "native"
    if _loads("libEGL.so.1"):
        return "egl"
    if _loads("libOSMesa.so.8") or _loads("libOSMesa.so.6"):
        return "osmesa"
    return "native" if os.environ.get("DISPLAY") else ""


@functools.cache
def gl_works() -> bool:
    """Whether a frame can really be drawn with OpenGL; tried once per process, in a child process.

    A broken driver may abort the whole interpreter, which no ``except`` catches. Where no library and no display
    is found, no child is started.
    """
    if not gl_backend():
        return False
    try:
        child = subprocess.run([sys.executable, "-m", __name__], capture_output=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return child.returncode == 0


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def _context(backend: str, width: int, height: int) -> Any:
    if backend == "egl":
        from mujoco.egl import GLContext
    elif backend == "osmesa":
        from mujoco.osmesa import GLContext
    else:
        from mujoco.gl_context import GLContext
    return GLContext(width, height)


def _free(*contexts: Any) -> None:
    for context in contexts:
        context.free()


def _probe() -> None:
    """Draw a lit red ball; fails by exception, by abort or by drawing nothing."""
    xml = '<mujoco><worldbody><camera name="c" pos="0 0 1"/><geom size=".2" rgba="1 0 0 1"/></worldbody></mujoco>'
    model = mujoco.MjModel.from_xml_string(xml)
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    frame = GlRenderer(model, 32, 32).render(data, 0)
    sys.exit(0 if frame[16, 16, 0] > 50 else 1)


if __name__ == "__main__":
    _probe()
