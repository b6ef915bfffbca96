"""The simulated arm, table and cube that the emulated servos move: the world of ``env=so101_sim``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import mujoco
import numpy as np

from hiltk.arm.units import to_degrees, to_radians
from hiltk.config.groups import So101SimConf
from hiltk.errors import UserError
from hiltk.robots.emulated.wire import WorldState
from hiltk.sim.renderers import FrameRenderer, make_renderer
from hiltk.sim.scene import blown_up, build_scene, jaw_axis, jaws_touching, place_cube

# With this much load a joint hangs at the end of its play, after this long: at once, the servo would hunt for ever.
HANGING_NM, HANGING_S = 0.05, 0.1
STALL_NM = 2.94  # of an STS3215 at full torque; the model's own limits hold beside it
STUCK_NM_S = 1000.0  # damping against which no servo gets anywhere


class World:
    """The arm on its table.

    Attributes:
        goal, speed: (6,) where the servos turn to, radians, and how fast at most, radians per second.
        torque: (6,) share of its full torque each may use, 0..1.
        play: radians that a joint hangs off its encoder towards its load.
        changes: counts what happened to the scene apart from time, so that a picture of it can be known to be old.
    """

    def __init__(self, model_path: str = "", joints_deg: Sequence[float] = ()) -> None:
        self.conf = So101SimConf(model_path=model_path)
        self.scene = build_scene(self.conf)
        self.timestep = float(self.scene.model.opt.timestep)
        self.data = mujoco.MjData(self.scene.model)
        model, actuators = self.scene.model, self.scene.actuators
        self._dofs = model.jnt_dofadr[model.actuator_trnid[actuators, 0]].copy()
        self._limit = model.actuator_forcerange[actuators, 1].copy()
        self._gain = model.actuator_gainprm[actuators, 0].copy()
        self._bias = model.actuator_biasprm[actuators, 1].copy()
        self._damping = model.dof_damping[self._dofs].copy()
        self.torque = np.zeros(6)
        self.speed = np.full(6, np.inf)
        self.play, self.changes = 0.0, 0
        if len(joints_deg):
            self.data.qpos[self.scene.joint_qpos] = to_radians(joints_deg)
        self.goal = self.joints()
        self._setpoint, self._lag = self.joints(), np.zeros(6)
        mujoco.mj_forward(model, self.data)

    # ------------------------------------------------------------------ servos

    def drive(self, goal: np.ndarray, speed: np.ndarray, torque: np.ndarray) -> None:
        """What the servos want from now on; see the attributes."""
        self.goal, self.speed, self.torque = goal, speed, torque
        force = np.minimum(self._limit, STALL_NM * torque)
        self.scene.model.actuator_forcerange[self.scene.actuators] = np.stack([-force, force], axis=1)

    def joints(self) -> np.ndarray:
        """True joints (6,), radians."""
        return self.data.qpos[self.scene.joint_qpos].copy()

    def encoders(self) -> np.ndarray:
        """Joints as the servos see them (6,), radians."""
        return self.joints() + self._lag

    def speeds(self) -> np.ndarray:
        """(6,) radians per second."""
        return self.data.qvel[self._dofs].copy()

    def efforts(self) -> np.ndarray:
        """(6,) of the full torque, -1..1."""
        return self.data.actuator_force[self.scene.actuators] / STALL_NM

    # ------------------------------------------------------------------ time

    def step(self, count: int) -> None:
        """Advance by ``count`` physics steps.

        Raises:
            UserError: the physics became unstable.
        """
        if count <= 0:
            return
        while count > 0:
            # Step by step only where something changes within a step: a ramp, or an encoder that lags.
            ramping = np.isfinite(self.speed).any() and (self._setpoint != self.goal).any()
            run = 1 if ramping or self.play else count
            self._aim(run * self.timestep)
            mujoco.mj_step(self.scene.model, self.data, run)
            count -= run
            if self.play:
                hangs = self.play * np.clip(self.data.actuator_force[self.scene.actuators] / HANGING_NM, -1, 1)
                self._lag += (hangs - self._lag) * self.timestep / HANGING_S
        if blown_up(self.data):
            raise UserError("the physics of the emulated arm became unstable", fix="start it again")
        # mj_step leaves positions and contacts one step behind the joints.
        mujoco.mj_fwdPosition(self.scene.model, self.data)

    def _aim(self, seconds: float) -> None:
        """Move the setpoints towards the goals, and hand them to the actuators."""
        reach = self.speed * seconds
        towards = np.clip(self.goal, self._setpoint - reach, self._setpoint + reach)
        self._setpoint = np.where(self.torque > 0, towards, self.encoders())
        # The servo closes its loop over the encoder, MuJoCo's over the joint.
        self.data.ctrl[self.scene.actuators] = self._setpoint - self._lag

    # ------------------------------------------------------------------ what is wrong with the arm

    def soften(self, factor: float) -> None:
        """Servo gains: at 0.1 an arm sags as at a P coefficient of 16."""
        model, actuators = self.scene.model, self.scene.actuators
        model.actuator_gainprm[actuators, 0] = self._gain * factor
        model.actuator_biasprm[actuators, 1] = self._bias * factor

    def loosen(self, play: float) -> None:
        """Play between joints and encoders, radians either way."""
        self.play, self._lag = play, np.zeros(6)

    def block(self, joints: Sequence[int]) -> None:
        """Joints (by number) that something in the way keeps from turning."""
        self.scene.model.dof_damping[self._dofs] = self._damping
        self.scene.model.dof_damping[self._dofs[list(joints)]] = STUCK_NM_S

    # ------------------------------------------------------------------ the person at the desk

    def place_cube(self, x_m: float, y_m: float, yaw_deg: float) -> None:
        place_cube(self.scene, self.data, x_m, y_m, yaw_deg)
        self._touched()

    def turn_by_hand(self, joints_deg: Sequence[float]) -> None:
        """Turn the joints that hold no torque; the others stay where they are."""
        free = self.torque == 0
        self.data.qpos[self.scene.joint_qpos[free]] = to_radians(joints_deg)[free]
        self.data.qvel[self._dofs[free]] = 0
        self._touched()

    def _touched(self) -> None:
        self.changes += 1
        mujoco.mj_forward(self.scene.model, self.data)

    # ------------------------------------------------------------------ looking

    def state(self, time_s: float) -> WorldState:
        scene, data = self.scene, self.data
        fixed_jaw, moving_jaw = jaws_touching(scene, data)
        return WorldState(
            joints_deg=to_degrees(self.joints()),
            ee_m=data.site_xpos[scene.ee].copy(),
            tcp_m=data.site_xpos[scene.tcp].copy(),
            cube_m=data.xpos[scene.cube_body].copy(),
            jaw_axis=jaw_axis(scene, data),
            fixed_jaw=fixed_jaw,
            moving_jaw=moving_jaw,
            time_s=time_s,
            torque=self.torque > 0,
        )

    def to_plain(self) -> dict[str, Any]:
        """Where everything lies."""
        return {"qpos": self.data.qpos.tolist()}

    def restore(self, plain: dict[str, Any]) -> None:
        """At rest where everything lay; of another arm's world nothing is taken."""
        if len(plain["qpos"]) == len(self.data.qpos):
            self.data.qpos[:] = plain["qpos"]
            self.data.qvel[:] = 0
            self._setpoint = self.joints()
            self._touched()


class Eyes:
    """Pictures of a world, which goes on while they are drawn. All calls must come from one thread: OpenGL wants it."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._data = mujoco.MjData(world.scene.model)
        self._renderers: dict[tuple[int, int], FrameRenderer] = {}

    def draw(self, qpos: np.ndarray, camera: str, height: int, width: int) -> np.ndarray:
        """A frame (H, W, 3) uint8 of the world as at ``qpos``."""
        model, data = self._world.scene.model, self._data
        if (height, width) not in self._renderers:
            self._renderers[height, width] = make_renderer(model, height, width, self._world.conf)
        data.qpos[:] = qpos
        mujoco.mj_kinematics(model, data)
        mujoco.mj_comPos(model, data)
        mujoco.mj_camlight(model, data)
        return self._renderers[height, width].render(data, self._world.scene.cameras[camera])

    def close(self) -> None:
        for renderer in self._renderers.values():
            renderer.close()
