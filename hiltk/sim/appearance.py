"""Per-episode changes of lighting, colour and camera, drawn from the episode's own random numbers."""

from __future__ import annotations

import mujoco
import numpy as np

from hiltk.config.groups import JitterConf
from hiltk.sim.renderers import VISIBLE_GROUPS
from hiltk.sim.scene import Scene

# Changes at strength 1.
LIGHT_FACTOR = 0.5  # brightness of each lamp: times 0.5 to 1.5, each with its own tint
LIGHT_TINT = 0.15
LIGHT_TILT = 0.6  # added to each component of the lamp's direction
COLOR_FACTOR = 0.25  # each channel of table, arm and cube: times 0.75 to 1.25, at most full
CAMERA_SHIFT_M = 0.008
CAMERA_TURN_RAD = 0.10
CAMERA_FOV_DEG = 5.0

NEAR_M = 0.02  # a camera that sees nothing farther off sits inside the arm
CAMERA_POSITION = 6  # among the fields below


class Appearance:
    """Writes jittered lamps, colours and cameras into a model, always starting from how the model was made.

    The renderer must be told with `refresh` and positions recomputed afterwards.
    """

    def __init__(self, scene: Scene, conf: JitterConf) -> None:
        self._model, self._conf, self._cube = scene.model, conf, scene.cube_geom
        model, head = scene.model, scene.model.vis.headlight
        self._fields = [
            head.ambient, head.diffuse, model.light_diffuse, model.light_dir,
            model.geom_rgba, model.mat_rgba, model.cam_pos, model.cam_quat, model.cam_fovy,
        ]  # fmt: skip
        self._nominal = [np.array(field) for field in self._fields]
        self._scratch = mujoco.MjData(model)

    def apply(self, rng: np.random.Generator) -> None:
        """Draw the look of one episode; the number of draws does not depend on the strengths."""
        for field, nominal in zip(self._fields, self._nominal, strict=True):
            field[...] = nominal
        self._light(rng, self._conf.lighting)
        self._color(rng, self._conf.color)
        self._camera(rng, self._conf.camera)

    def _light(self, rng: np.random.Generator, strength: float) -> None:
        for lamp in self._fields[:3]:
            factor = 1 + strength * LIGHT_FACTOR * rng.uniform(-1, 1)
            lamp *= factor * (1 + strength * LIGHT_TINT * rng.uniform(-1, 1, 3))
        direction = self._model.light_dir
        direction += strength * LIGHT_TILT * rng.uniform(-1, 1, direction.shape)
        direction /= np.linalg.norm(direction, axis=1, keepdims=True)

    def _color(self, rng: np.random.Generator, strength: float) -> None:
        for colors in (self._model.mat_rgba[:, :3], self._model.geom_rgba[self._cube, :3]):
            colors *= 1 + strength * COLOR_FACTOR * rng.uniform(-1, 1, colors.shape)
            np.minimum(colors, 1, out=colors)

    def _camera(self, rng: np.random.Generator, strength: float) -> None:
        model = self._model
        model.cam_pos += strength * CAMERA_SHIFT_M * rng.uniform(-1, 1, model.cam_pos.shape)
        model.cam_fovy += strength * CAMERA_FOV_DEG * rng.uniform(-1, 1, model.cam_fovy.shape)
        for quaternion in model.cam_quat:
            turn = strength * CAMERA_TURN_RAD * rng.uniform(-1, 1, 3)
            mujoco.mju_quatIntegrate(quaternion, turn, 1.0)
        if strength:
            self._keep_outside()

    def _keep_outside(self) -> None:
        """Move cameras back by half until they see something: a shift may end inside the part that carries them."""
        model, data = self._model, self._scratch
        mujoco.mj_kinematics(model, data)
        nominal = self._nominal[CAMERA_POSITION]
        for camera in range(model.ncam):
            for _ in range(3):
                mujoco.mj_camlight(model, data)
                if not self._blind(camera):
                    break
                model.cam_pos[camera] = (model.cam_pos[camera] + nominal[camera]) / 2

    def _blind(self, camera: int) -> bool:
        """Whether less than half of the camera's view reaches farther than `NEAR_M`."""
        model, data = self._model, self._scratch
        steps = np.linspace(-1, 1, 5) * np.tan(np.deg2rad(model.cam_fovy[camera]) / 2)
        rays = np.array([[x, y, -1.0] for x in steps for y in steps]) @ data.cam_xmat[camera].reshape(3, 3).T
        hit, origin = np.zeros(1, np.int32), data.cam_xpos[camera]
        found = [mujoco.mj_ray(model, data, origin, ray, VISIBLE_GROUPS, 1, -1, hit) for ray in rays]
        return float(np.mean([0 <= distance < NEAR_M for distance in found])) > 0.5
