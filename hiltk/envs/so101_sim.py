"""The simulated SO-101: a robot with joints in degrees, a 0..100 gripper and cameras, that happens to be MuJoCo."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import mujoco
import numpy as np
from gymnasium import spaces

from hiltk.arm.control import Control
from hiltk.arm.kinematics import Kinematics
from hiltk.arm.model import EE_SITE, model_hash
from hiltk.arm.poses import READY_DEG
from hiltk.arm.state import StateReader, joint_dims, state_spec
from hiltk.arm.units import to_degrees, to_radians
from hiltk.config.groups import JitterConf, So101SimConf, TaskConf
from hiltk.envs.base import Info, RawObservation, SceneEnv
from hiltk.envs.rewards import observation_space
from hiltk.envs.tasks import TASKS, Situation, Spawn, check_task, sample_spawn, strata_within, stratum_of
from hiltk.errors import ConfigError, UserError
from hiltk.sim.appearance import Appearance
from hiltk.sim.renderers import FrameRenderer, make_renderer
from hiltk.sim.scene import CUBE_HALF_M, blown_up, build_scene, jaw_axis, jaws_touching, place_cube
from hiltk.spec import (
    IMAGE_PREFIX,
    STATE_KEY,
    GripperFormat,
    ImageSpec,
    RewardSpec,
    RobotSpec,
    Spec,
)

FILM_CAMERAS = ["wrist", "front"]
FILM_PX = 128  # smallest height of a film camera's images


class So101SimEnv(SceneEnv):
    """SO-101 above a table with a 25 mm cube, driven by end-effector deltas.

    Each step moves a commanded target by ``action[:3] * action_scale_m`` in the base frame, inside the workspace;
    inverse kinematics turns it into joint commands (gripper pointing down, fixed wrist roll), which position servos
    follow in simulated time. The gripper command moves by ``action[3] * gripper_step``.

    Args:
        conf: the environment. Without cameras nothing is rendered.
        task: success predicate, time limit and spawn area.
        seed: start of the sequence of episodes that `reset` without a seed plays.

    Raises:
        ConfigError: an unknown task, stratum or camera, or options that contradict each other.
        UserError: the arm model or the renderer cannot be used.
    """

    has_paces = True

    def __init__(self, conf: So101SimConf, task: TaskConf, seed: int = 0) -> None:
        check_task(task)
        _check_conf(conf, task)
        self.conf, self.task = conf, task
        self.scene = build_scene(conf)
        self.data = mujoco.MjData(self.scene.model)
        self.kinematics = Kinematics(conf.model_path)
        self.strata = strata_within(task)
        super().reset(seed=seed)
        self._substeps = max(1, round(1 / conf.fps / conf.physics_timestep_s))
        self.max_steps = max(1, round(task.time_limit_s * conf.fps))
        workspace = np.array([conf.workspace_low_m, conf.workspace_high_m])
        self.control = Control(conf, self.kinematics, workspace, conf.gripper_max)
        self._state = StateReader(self.kinematics, conf.fps, conf.ee_frame)
        self._ready = self.control.solve(READY_DEG, np.array(conf.reset_ee_m), tries=10)
        self._appearance = Appearance(self.scene, conf.jitter)
        self._renderer: FrameRenderer | None = None
        if conf.cameras:
            self._renderer = make_renderer(self.scene.model, conf.image_height, conf.image_width, conf)
            self.renderer_name = self._renderer.name
        self.io_spec = self._make_spec()
        self._action_size = len(self.io_spec.action.dims)
        self.action_space = spaces.Box(-1, 1, (self._action_size,), np.float32)
        self.observation_space = observation_space(self.io_spec, native=True)
        self._started = False

    # ------------------------------------------------------------------ Gymnasium

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[RawObservation, Info]:
        """Start an episode.

        Args:
            seed: restarts the sequence of episodes; None continues it.
            options: ``stratum`` (str) overrides the task's; ``cube_pose`` (x_m, y_m, yaw_deg) fixes the cube.

        Raises:
            ConfigError: the stratum does not exist or is empty.
        """
        super().reset(seed=seed)
        options = options or {}
        # One stream per purpose: the same seed gives the same cube whatever jitter or reset noise is configured.
        spawning, starting, looking = self.np_random.spawn(3)
        spawn = sample_spawn(self.task, options.get("stratum") or self.task.stratum, spawning)
        if "cube_pose" in options:
            spawn = Spawn(*map(float, options["cube_pose"]))
        self._place(spawn, starting)
        self._look(looking)
        mujoco.mj_forward(self.scene.model, self.data)
        self._steps, self._started = 0, True
        self._stratum = stratum_of(self.task, spawn)
        self._state.begin()
        self.situation = self._situate()
        self.closing_in = False
        return self._observe(), self._info(np.zeros(self._action_size, np.float32))

    def step(self, action: np.ndarray) -> tuple[RawObservation, float, bool, bool, Info]:
        """Move for one control period; reward is always 0, truncated at the time limit.

        Raises:
            UserError: the action has the wrong shape, is not finite, leaves [-1, 1] or is not one of the three
                values of a discrete gripper; `reset` was never called; the physics became unstable.
        """
        if not self._started:
            raise UserError("step() was called before reset()", where="So101SimEnv")
        action = self.control.checked(action)
        self.data.ctrl[self.scene.actuators] = to_radians(self.control.command(action))
        self._simulate()
        self._steps += 1
        before = self.situation.tcp_distance_m
        self.situation = self._situate()
        self.closing_in = self.situation.tcp_distance_m < before
        return (self._observe(), 0.0, False, self._steps >= self.max_steps, self._info(action))

    def close(self) -> None:
        """Free the renderer; the environment cannot be used afterwards."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None

    # ------------------------------------------------------------------ the same environment otherwise

    @classmethod
    def film_conf(cls, conf: So101SimConf) -> So101SimConf:
        """Both cameras, with whole multiples of the pixels."""
        scale = -(-FILM_PX // conf.image_height)
        height, width = conf.image_height * scale, conf.image_width * scale
        return replace(conf, cameras=list(FILM_CAMERAS), image_height=height, image_width=width)

    @classmethod
    def jittered(cls, conf: So101SimConf, jitter: JitterConf) -> So101SimConf:
        return replace(conf, jitter=jitter)

    @classmethod
    def blind(cls, conf: So101SimConf) -> So101SimConf:
        return replace(conf, cameras=[])

    # ------------------------------------------------------------------ what a scripted expert may know

    def joints_deg(self) -> np.ndarray:
        """Measured joints (6,): degrees, gripper 0..100."""
        return to_degrees(self.data.qpos[self.scene.joint_qpos])

    def cube_position(self) -> np.ndarray:
        """The cube's centre (3,), metres, base frame."""
        return self.data.xpos[self.scene.cube_body].copy()

    def tcp_position(self) -> np.ndarray:
        """The point between the finger tips (3,), metres, base frame."""
        return self.data.site_xpos[self.scene.tcp].copy()

    def jaw_axis(self) -> np.ndarray:
        """Unit vector (3,) from the fixed towards the moving jaw, base frame."""
        return jaw_axis(self.scene, self.data)

    def pending_motion(self) -> np.ndarray:
        """How far the end effector still has to go to where it was last commanded to be (3,), metres, base frame."""
        return self.control.target - self.data.site_xpos[self.scene.ee]

    # ------------------------------------------------------------------ reset

    def _place(self, spawn: Spawn, rng: np.random.Generator) -> None:
        """Set arm and cube at rest, the end effector within the reset noise of its reset position."""
        noise = rng.uniform(-1, 1, 3) * self.conf.reset_noise_m
        radians = to_radians(self.control.start(self._ready, np.array(self.conf.reset_ee_m) + noise))
        mujoco.mj_resetData(self.scene.model, self.data)
        self.data.qpos[self.scene.joint_qpos] = radians
        self.data.ctrl[self.scene.actuators] = radians
        place_cube(self.scene, self.data, spawn.x_m, spawn.y_m, spawn.yaw_deg)

    def _look(self, rng: np.random.Generator) -> None:
        jitter = self.conf.jitter
        if self._renderer is not None and (jitter.lighting or jitter.color or jitter.camera):
            self._appearance.apply(rng)
            self._renderer.refresh()

    # ------------------------------------------------------------------ step

    def _simulate(self) -> None:
        """Advance by one control period.

        Raises:
            UserError: the simulation blew up; MuJoCo then starts over on its own, which would corrupt the episode.
        """
        mujoco.mj_step(self.scene.model, self.data, self._substeps)
        if blown_up(self.data):
            raise UserError(
                "the physics became unstable",
                where=f"env.physics_timestep_s={self.conf.physics_timestep_s}, step {self._steps}",
                fix="use a smaller env.physics_timestep_s",
            )
        # mj_step leaves positions and contacts one substep behind the joints.
        mujoco.mj_fwdPosition(self.scene.model, self.data)

    def _situate(self) -> Situation:
        cube = self.data.xpos[self.scene.cube_body]
        fixed_jaw, moving_jaw = jaws_touching(self.scene, self.data)
        return Situation(
            tcp_distance_m=float(np.linalg.norm(self.data.site_xpos[self.scene.tcp] - cube)),
            lifted_m=float(cube[2]) - CUBE_HALF_M,
            fixed_jaw=fixed_jaw,
            moving_jaw=moving_jaw,
        )

    def _observe(self) -> RawObservation:
        observation: RawObservation = {STATE_KEY: self._state(self.joints_deg())}
        if self._renderer is not None:
            for name in self.conf.cameras:
                observation[IMAGE_PREFIX + name] = self._renderer.render(self.data, self.scene.cameras[name])
        return observation

    def _info(self, executed: np.ndarray) -> Info:
        task = TASKS[self.task.name]
        info: Info = {
            "success_now": task.predicate(self.situation),
            "stratum": self._stratum,
            "executed_action": executed,
        }
        return info | ({"missing_m": task.missing_m(self.situation)} if task.missing_m else {})

    # ------------------------------------------------------------------ spec and spaces

    def _make_spec(self) -> Spec:
        conf = self.conf
        height, width = conf.image_height, conf.image_width
        images = [ImageSpec(name, height, width, native_height=height, native_width=width) for name in conf.cameras]
        return Spec(
            task=self.task.name,
            fps=conf.fps,
            state=state_spec(ee_frame=conf.ee_frame),
            action=self.control.spec,
            images=images,
            reward=RewardSpec(hold_steps=self.task.hold_steps),
            robot=self._robot_spec(),
        )

    def _robot_spec(self) -> RobotSpec:
        return RobotSpec(
            name=f"so101_sim ({self.renderer_name} renderer)" if self.conf.cameras else "so101_sim",
            model_hash=model_hash(self.conf.model_path),
            ee_site=EE_SITE,
            joints=joint_dims(self.kinematics.limits_deg),
            locked=self.control.locked,
            calibration_id="simulated",
            workspace_low_m=list(self.conf.workspace_low_m),
            workspace_high_m=list(self.conf.workspace_high_m),
            reset_ee_m=list(self.conf.reset_ee_m),
            reset_noise_m=list(self.conf.reset_noise_m),
            reset_joints=[round(float(angle), 4) for angle in self.control.at_rest(self._ready)],
        )


def _check_conf(conf: So101SimConf, task: TaskConf) -> None:
    if conf.fps <= 0 or conf.physics_timestep_s <= 0 or 1 / conf.fps < conf.physics_timestep_s:
        raise ConfigError(
            "a control step must be at least one physics step long",
            where=f"env.fps={conf.fps}, env.physics_timestep_s={conf.physics_timestep_s}",
        )
    for key in ("workspace_low_m", "workspace_high_m", "reset_ee_m", "reset_noise_m"):
        if len(getattr(conf, key)) != 3:
            raise ConfigError(
                f"env.{key} needs three numbers, x, y and z in metres", where=f"{list(getattr(conf, key))}"
            )
    low, high, start = (np.array(v) for v in (conf.workspace_low_m, conf.workspace_high_m, conf.reset_ee_m))
    if not (low < high).all() or not ((low <= start) & (start <= high)).all():
        raise ConfigError(
            "the workspace must have low < high and hold the reset position",
            where=f"env.workspace_low_m={low.tolist()}, workspace_high_m={high.tolist()}, reset_ee_m={start.tolist()}",
        )
    if conf.cameras and min(conf.image_height, conf.image_width, conf.supersample) < 1:
        raise ConfigError(
            "image sizes and env.supersample must be at least 1",
            where=f"{conf.image_height}x{conf.image_width}, supersample={conf.supersample}",
        )
    if not 0 < conf.gripper_max <= 100:
        raise ConfigError("the widest opening is a percentage above 0", where=f"env.gripper_max={conf.gripper_max}")
    if conf.gripper is GripperFormat.none and TASKS[task.name].lifted_m is not None:
        raise ConfigError(
            f"the task '{task.name}' needs a gripper",
            where="env.gripper=none",
            fix="use task=reach, or env.gripper=continuous",
        )
