"""The SO-101 on the desk, or the emulated one to rehearse with: the same contract as the simulated arm's."""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import Any

import numpy as np
from gymnasium import spaces

from hiltk.arm.control import Control
from hiltk.arm.kinematics import Kinematics
from hiltk.arm.model import EE_SITE, model_hash
from hiltk.arm.poses import READY_DEG
from hiltk.arm.state import StateReader, joint_dims, state_spec
from hiltk.config.groups import SceneReset, So101Conf, TaskConf
from hiltk.console import say
from hiltk.envs.base import HilEnv, Info, RawObservation, SceneEnv
from hiltk.envs.rewards import observation_space
from hiltk.envs.tasks import TASKS, Situation, Spawn, check_task, sample_spawn, strata_within, stratum_of
from hiltk.errors import UserError
from hiltk.findings import Finding
from hiltk.keys import GO, MEANINGS, PAUSE, STOP, Keys
from hiltk.robots.arm_file import ArmFile
from hiltk.robots.arm_store import arm_path, load_arm_file
from hiltk.robots.bus import Reading
from hiltk.robots.cameras import Cameras, image_spec
from hiltk.robots.emulated.client import EmulatedArm, start_emulator
from hiltk.robots.keeper import ArmClient
from hiltk.robots.safety import ArmStopped
from hiltk.sim.scene import CUBE_HALF_M
from hiltk.spec import IMAGE_PREFIX, STATE_KEY, ImageSpec, RewardSpec, RobotSpec, Spec

SERVO_LOG = ".servos.csv"  # beside the arm's file, of the last run: position, load, current, voltage, heat by tick
START_TRIES = 4  # corrections on the way to the reset pose: a sagging arm is sent higher by what it sags
START_ERROR_M, START_REFUSED_M = 0.005, 0.025  # good enough; the arm is not where it says it is
LATE = 0.5  # of a period: a command later than that would be observed before it has had its time


class So101Env(HilEnv):
    """SO-101 through LeRobot's driver: observations of now, commands inside the limits of its keeper.

    The arm is first touched by `reset`. A step sends a command, waits for the end of its period and observes. Periods
    have absolute deadlines; one that is missed, e.g. while a network learns, is not caught up: the arm holds still
    meanwhile, and ``info["late"]`` says so.

    There is no predicate: nobody knows the truth but the person watching. Before an episode that person is told where
    the cube should go, so that strata fill evenly. Keys of the terminal: `hiltk.keys.MEANINGS`.

    Keys of ``info`` besides those of `HilEnv`: ``tick_s`` since the last observation, ``late`` (bool), ``frame_age_s``
    of the oldest picture, ``repeated`` pictures.

    Args:
        conf: which arm, which of its cameras, what actions do.
        task: time limit and spawn area, and in rehearsals the success predicate.
        seed: start of the sequence of episodes that `reset` without a seed plays.

    Raises:
        ConfigError: an unknown task, stratum or camera.
        UserError: the arm's file is missing or does not say enough.
    """

    has_paces = True
    person_sets_scene = True

    @classmethod
    def of(cls, conf: So101Conf) -> type[HilEnv]:
        # Whether the rest of the file can be meant is looked at once, when the environment is built.
        return RehearsalEnv if load_arm_file(conf.arm, checked=False).is_emulated else So101Env

    def __init__(self, conf: So101Conf, task: TaskConf, seed: int = 0) -> None:
        check_task(task)
        self.conf, self.task = conf, task
        self.arm: ArmFile = load_arm_file(conf.arm)
        self.kinematics = Kinematics(self.arm.model_path, self.arm.joint_limits())
        workspace = np.array([self.arm.workspace_low_m, self.arm.workspace_high_m])
        self.control = Control(conf, self.kinematics, workspace, self.arm.gripper_max)
        self.cameras = Cameras(self.arm, conf.cameras)  # refuses what the arm does not have
        self.strata = strata_within(task)
        self.max_steps = max(1, round(task.time_limit_s * conf.fps))
        self._state = StateReader(self.kinematics, conf.fps, conf.ee_frame)
        self._ready = self.control.solve(READY_DEG, np.array(self.arm.reset_ee_m), tries=10)
        self.io_spec = self._make_spec()
        self._action_size = len(self.io_spec.action.dims)
        self.action_space = spaces.Box(-1, 1, (self._action_size,), np.float32)
        self.observation_space = observation_space(self.io_spec, native=True)
        self._opened = ExitStack()
        self._client: ArmClient | None = None
        self._told = 0  # of its findings
        self._started = False
        super().reset(seed=seed)

    # ------------------------------------------------------------------ Gymnasium

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[RawObservation, Info]:
        """Bring the arm to its start, have the scene set up, and begin an episode.

        Args:
            seed: as for `HilEnv`; the same draws as the simulated arm's.
            options: ``stratum`` (str) overrides the task's; ``cube_pose`` (x_m, y_m, yaw_deg) fixes the cube.

        Raises:
            UserError: the arm cannot be reached, does not get to its start, or a camera has failed.
        """
        super().reset(seed=seed)
        options = options or {}
        spawning, starting, _ = self.np_random.spawn(3)
        spawn = sample_spawn(self.task, options.get("stratum") or self.task.stratum, spawning)
        if "cube_pose" in options:
            spawn = Spawn(*map(float, options["cube_pose"]))
        self._stratum = stratum_of(self.task, spawn)
        client = self._connected()
        noise = starting.uniform(-1, 1, 3) * self.arm.reset_noise_m
        reading = self._go_to_start(client, np.array(self.arm.reset_ee_m) + noise)
        client.hold()
        self._set_scene(spawn)
        reading = client.observe()
        self._state.begin()
        self._steps, self._started = 0, True
        self._begin_clock(client, reading)
        return self._observe(reading), self._info(np.zeros(self._action_size, np.float32))

    def step(self, action: np.ndarray) -> tuple[RawObservation, float, bool, bool, Info]:
        """Command, wait for the end of the period, observe; reward is always 0, truncated at the time limit.

        Where the arm has met an obstacle the episode is truncated, and ``info["stopped"]`` says which joint.

        Raises:
            UserError: the action is none, `reset` was never called, or the arm or a camera has failed.
            KeyboardInterrupt: the person asked to stop.
        """
        if not self._started or self._client is None:
            raise UserError("step() was called before reset()", where="So101Env")
        action, client = self.control.checked(action), self._client
        self._obey_keys(client)
        stopped = ""
        try:
            action = self.control.took(client.command(self.control.command(action)), action)
            self._wait(client)
            reading = client.observe()
        except ArmStopped as error:
            if not error.goes_on:
                raise
            stopped, reading = str(error), client.observe()
        self._steps += 1
        observation, info = self._observe(reading), self._info(action)
        if stopped:
            info["stopped"] = stopped
            say(f"the episode ends: {stopped}")
        return observation, 0.0, False, bool(stopped) or self._steps >= self.max_steps, info

    def close(self) -> None:
        """Park the arm, release it, and close the cameras; a second Ctrl-C meanwhile leaves it holding where it is."""
        client, self._client, self._started = self._client, None, False
        try:
            if client is not None:
                say(f"parking the arm '{self.arm.name}'")
                for left in client.close():
                    say(f"{left.what}\n  fix: {left.fix}")
        except KeyboardInterrupt:
            assert client is not None
            client.stop()
            say("the arm holds where it is, with torque on: hiltk arm relax, once it is supported")
            raise
        finally:
            self._opened.close()

    def rest(self) -> None:
        """The arm holds, and its keeper knows that silence is meant."""
        if self._client is not None:
            self._client.hold()

    def take_findings(self) -> list[Finding]:
        found = self._client.findings[self._told :] if self._client is not None else []
        self._told += len(found)
        return found

    # ------------------------------------------------------------------ the arm

    def _connected(self) -> ArmClient:
        """Arm, cameras and keys, opened at the first episode."""
        if self._client is None:
            self._opened = ExitStack()
            self._client, self._told = self._connect(self._opened), 0
            say(f"the arm '{self.arm.name}': {self._client.scheduling}; its servos: {self._client.log()}")
        return self._client

    def _connect(self, opened: ExitStack) -> ArmClient:
        self.keys = opened.enter_context(Keys())
        if self.keys.live:
            say("   ".join(f"[{key}] {MEANINGS[key]}" for key in (PAUSE, STOP)))
        client = self._client_of(None)
        self.cameras = opened.enter_context(Cameras(self.arm, self.conf.cameras))
        return client

    def _client_of(self, emulator: EmulatedArm | None) -> ArmClient:
        path = arm_path(self.conf.arm)
        return ArmClient(self.arm, path, emulator, fps=self.conf.fps, log=path.with_suffix(SERVO_LOG))

    def _go_to_start(self, client: ArmClient, position_m: np.ndarray) -> Reading:
        """Move until the *measured* end effector is at a position (3,): an arm that sags is sent as much higher.

        Raises:
            UserError: it does not get near.
        """
        wanted = aimed = np.clip(position_m, self.arm.workspace_low_m, self.arm.workspace_high_m)
        for _ in range(START_TRIES):
            reading = client.move_to(self.control.start(self._ready, aimed))
            error = wanted - self.kinematics.forward(reading.joints_deg)[0]
            if np.linalg.norm(error) < START_ERROR_M:
                break
            aimed = aimed + error
        if (missed := float(np.linalg.norm(error))) > START_REFUSED_M:
            raise UserError(
                f"the arm stays {1000 * missed:.0f} mm off where its episodes start",
                where=f"wanted {wanted.round(3).tolist()}, joints {reading.joints_deg.round(1).tolist()}",
                fix="hiltk arm check compares its calibration and moves each axis; is something in its way?",
            )
        return reading

    def _set_scene(self, spawn: Spawn) -> None:
        """Have a person set up the scene, or wait while they do."""
        where = f"cube at x {100 * spawn.x_m:.0f} cm, y {100 * spawn.y_m:+.0f} cm, turned {spawn.yaw_deg:+.0f} degrees"
        if self.conf.scene_reset is SceneReset.timed:
            say(f"set up the scene in {self.conf.scene_reset_s:g} s: {where} ({self._stratum})")
            assert self._client is not None
            clock = self._client.clock
            clock.sleep_until(clock.now() + self.conf.scene_reset_s)
        if self.conf.scene_reset is SceneReset.key:
            answers = {key: MEANINGS[key] for key in (GO, STOP)}
            if self.keys.ask(f"set up the scene: {where} ({self._stratum})", answers) == STOP:
                raise KeyboardInterrupt

    def _obey_keys(self, client: ArmClient) -> None:
        """Pause or end as the keys say."""
        pressed = self.keys.pressed()
        if PAUSE in pressed and STOP not in pressed:
            client.hold()
            say(f"paused: [{PAUSE}] goes on, [{STOP}] ends")
            while not {PAUSE, STOP} & {*(pressed := self.keys.pressed())}:
                time.sleep(0.02)
            self._begin_clock(client, client.observe())
        if STOP in pressed:
            client.hold()
            raise KeyboardInterrupt

    # ------------------------------------------------------------------ time

    def _begin_clock(self, client: ArmClient, reading: Reading) -> None:
        self._due, self._seen_s, self._late = client.clock.now(), reading.stamp_s, False

    def _wait(self, client: ArmClient) -> None:
        """Until this period ends; a command that came too late for it gets one of its own."""
        period, now = 1 / self.conf.fps, client.clock.now()
        self._due += period
        self._late = now > self._due - (1 - LATE) * period + 1e-6
        if self._late:
            self._due = now + period
        client.clock.sleep_until(self._due)

    # ------------------------------------------------------------------ what is observed

    def _observe(self, reading: Reading) -> RawObservation:
        elapsed = reading.stamp_s - self._seen_s
        self._tick_s, self._seen_s = elapsed or 1 / self.conf.fps, reading.stamp_s
        pictures = self.cameras.read()
        self._age_s = max((picture.age_s for picture in pictures.values()), default=0.0)
        self._repeated = sum(picture.repeated for picture in pictures.values())
        images = {IMAGE_PREFIX + name: picture.image for name, picture in pictures.items()}
        return {STATE_KEY: self._state(reading.joints_deg, elapsed or None), **images}

    def _info(self, executed: np.ndarray) -> Info:
        return {
            "stratum": self._stratum,
            "executed_action": executed,
            "tick_s": self._tick_s,
            "late": self._late,
            "frame_age_s": self._age_s,
            "repeated": self._repeated,
        }

    def _make_spec(self) -> Spec:
        return Spec(
            task=self.task.name,
            fps=self.conf.fps,
            state=state_spec(ee_frame=self.conf.ee_frame),
            action=self.control.spec,
            images=[self._image_spec(name) for name in self.conf.cameras],
            reward=RewardSpec(hold_steps=self.task.hold_steps),
            robot=self._robot_spec(),
        )

    def _image_spec(self, name: str) -> ImageSpec:
        file = self.arm.cameras[name]
        return image_spec(name, file, self.conf.image_height, self.conf.image_width)

    def _robot_spec(self) -> RobotSpec:
        arm = self.arm
        return RobotSpec(
            name=f"{arm.robot} (emulated)" if arm.is_emulated else arm.robot,
            model_hash=model_hash(arm.model_path),
            ee_site=EE_SITE,
            joints=joint_dims(self.kinematics.limits_deg),
            locked=self.control.locked,
            calibration_id=arm.name,
            arm=arm.name,
            arm_hash=arm.hash,
            calibration_hash=arm.calibration_hash,
            workspace_low_m=list(arm.workspace_low_m),
            workspace_high_m=list(arm.workspace_high_m),
            reset_ee_m=list(arm.reset_ee_m),
            reset_noise_m=list(arm.reset_noise_m),
            reset_joints=[round(float(angle), 4) for angle in self.control.at_rest(self._ready)],
        )


class RehearsalEnv(So101Env, SceneEnv):
    """An emulated arm behind the unmodified driver; the scripted human may look into its world, and so may the judge.

    The policy sees what it would see of an arm: measured joints and the pictures of cameras.
    """

    has_predicate = True
    repeatable = False  # the servos' encoders round, and in real time nothing comes twice

    def _connect(self, opened: ExitStack) -> ArmClient:
        self.keys = opened.enter_context(Keys())
        self.emulator: EmulatedArm = opened.enter_context(start_emulator(self.arm, arm_path(self.conf.arm)))
        client = self._client_of(self.emulator)
        self.cameras = opened.enter_context(Cameras(self.arm, self.conf.cameras, self.emulator))
        return client

    def _set_scene(self, spawn: Spawn) -> None:
        self.emulator.scene.place_cube(*spawn)
        self._distance_m = np.inf

    def _observe(self, reading: Reading) -> RawObservation:
        self._world = self.emulator.scene.state()
        lifted = float(self._world.cube_m[2]) - CUBE_HALF_M
        distance = float(np.linalg.norm(self._world.tcp_m - self._world.cube_m))
        self.situation = Situation(distance, lifted, self._world.fixed_jaw, self._world.moving_jaw)
        self.closing_in, self._distance_m = distance < self._distance_m, distance
        return super()._observe(reading)

    def _info(self, executed: np.ndarray) -> Info:
        task = TASKS[self.task.name]
        info = super()._info(executed) | {"success_now": task.predicate(self.situation)}
        return info | ({"missing_m": task.missing_m(self.situation)} if task.missing_m else {})

    # ------------------------------------------------------------------ what a scripted human may know

    def joints_deg(self) -> np.ndarray:
        return self._world.joints_deg

    def cube_position(self) -> np.ndarray:
        return self._world.cube_m

    def tcp_position(self) -> np.ndarray:
        return self._world.tcp_m

    def jaw_axis(self) -> np.ndarray:
        return self._world.jaw_axis

    def pending_motion(self) -> np.ndarray:
        return self.control.target - self._world.ee_m
