"""A scripted human for the simulated arm: knows where the cube is, acts through the same actions as everybody else."""

from __future__ import annotations

from enum import Enum

import numpy as np

from hiltk.arm.gripper import snapped
from hiltk.config.groups import HumanConf
from hiltk.envs.base import SceneEnv
from hiltk.envs.tasks import TASKS
from hiltk.errors import ConfigError
from hiltk.observation import Observation
from hiltk.spec import GripperFormat

TRAVEL_M = 0.056  # height of the tcp on the way to the cube: clear of its 25 mm top with the fingers pointing down
GRASP_M = 0.013  # height of the tcp while closing: the middle of the cube
CARRY_M = 0.14
LOW_M = 0.04  # below this the fingers could push the cube while travelling
CLEARANCE_M = 0.0095  # keeps the fixed finger off a cube turned by 45 degrees until the jaws close
OPEN_ENOUGH = 30.0  # of 0..100; narrower jaws would land on the cube
CLOSE_S = 0.3  # squeeze this long before lifting
GIVE_UP_S = 0.8  # of squeezing without both jaws touching, then try again
LOST_S = 0.3
NEAR_M = 0.04  # a person would not interfere within this distance where nothing is to be held
AIM_ERROR_M = 0.006  # standard deviation, per axis and attempt, at skill 0


class Phase(Enum):
    """What the hand is doing."""

    approach = "approach"  # above the cube, jaws open
    descend = "descend"
    close = "close"
    lift = "lift"


class ScriptedExpert:
    """Approach, descend, close, lift; starts over when a grasp fails, and can take over in any situation.

    Human-like by configuration: ``noise`` is the standard deviation of Gaussian noise on free motion (a third of it
    near the cube); lower ``skill`` moves slower and aims worse.

    Args:
        env: the bare environment, whose cube pose and contacts the expert may see.
        conf: noise and skill.

    Raises:
        ConfigError: noise below 0 or skill outside (0, 1].
    """

    def __init__(self, env: SceneEnv, conf: HumanConf) -> None:
        if conf.noise < 0 or not 0 < conf.skill <= 1:
            values = f"human.noise={conf.noise}, human.skill={conf.skill}"
            raise ConfigError("human.noise must be at least 0 and human.skill in (0, 1]", where=values)
        self._env, self._conf = env, conf
        self._grasps = TASKS[env.task.name].lifted_m is not None
        self.reset(0)

    def reset(self, seed: int) -> None:
        """Begin a demonstration or takeover wherever the arm and the cube are now."""
        self._rng = np.random.default_rng(seed)
        self._fresh = True
        self._start_over()

    def satisfied(self) -> bool:
        """Whether the cube is held by both jaws; where it need not be, whether the tcp is near it and closing in."""
        now = self._env.situation
        return now.held if self._grasps else now.tcp_distance_m < NEAR_M and self._env.closing_in

    def act(self, observation: Observation) -> np.ndarray:
        """The next action (A,) float32; the observation is not needed, the expert sees the simulator's state."""
        self.phase = self._next_phase()
        motion = self._motion()
        scale = self._env.control.conf.action_scale_m
        action = np.append(np.clip(motion / scale, -1, 1) * self._conf.skill, self._gripper())
        careful = 0.3 if self.phase in (Phase.descend, Phase.close) else 1.0
        action += self._rng.normal(size=4) * self._conf.noise * careful * [1, 1, 1, 0.3]
        return self._env.control.from_ee(self._fitted(np.clip(action, -1, 1)).astype(np.float32))

    # ------------------------------------------------------------------ where to go

    def _aim(self) -> np.ndarray:
        """Where the tcp should be (2,): at the cube, a little off it until the jaws close."""
        offset = 0.0 if self.phase in (Phase.close, Phase.lift) else CLEARANCE_M
        cube, axis = self._env.cube_position(), self._env.jaw_axis()
        return cube[:2] - axis[:2] * offset + self._aim_error

    def _motion(self) -> np.ndarray:
        """The wanted displacement of the tcp (3,), metres, from where it will be once the servos have caught up."""
        tcp = self._env.tcp_position() + self._env.pending_motion()
        aside = self._aim() - tcp[:2]
        if self.phase is Phase.lift:
            return np.array([0.0, 0.0, CARRY_M - tcp[2]])
        if self.phase is Phase.close:
            return np.append(0.3 * aside, GRASP_M - tcp[2])
        if self.phase is Phase.descend:
            down = max(GRASP_M - tcp[2], -0.02) if np.linalg.norm(aside) < 0.012 else 0.0
            return np.append(aside, down)
        # Straight up before travelling: low fingers would sweep the cube away.
        return np.append(aside if tcp[2] > LOW_M else 0 * aside, TRAVEL_M - tcp[2])

    def _gripper(self) -> float:
        closing = self.phase in (Phase.close, Phase.lift) and self._grasps
        return -1.0 if closing else 1.0

    def _fitted(self, action: np.ndarray) -> np.ndarray:
        """The action in the environment's gripper format."""
        kind = self._env.io_spec.action.gripper
        if kind is GripperFormat.none:
            return action[:3]
        if kind is GripperFormat.discrete3:
            action[3] = snapped(action[3])
        return action

    # ------------------------------------------------------------------ what to do next

    def _start_over(self) -> None:
        self.phase, self._count = Phase.approach, 0
        self._aim_error = self._rng.normal(size=2) * AIM_ERROR_M * (1 - self._conf.skill)

    def _next_phase(self) -> Phase:
        """The phase that the situation calls for, given the one so far."""
        fresh, self._fresh = self._fresh, False
        if fresh and self._env.situation.held:
            return Phase.close  # taken over with the cube in hand
        tcp = self._env.tcp_position()
        away = float(np.linalg.norm(self._aim() - tcp[:2]))
        if self.phase is Phase.approach:
            return self._from_approach(away, tcp[2], fresh)
        if self.phase is Phase.descend:
            return self._from_descend(away, tcp[2])
        return self._from_close(away) if self.phase is Phase.close else self._from_lift()

    def _from_approach(self, away: float, height: float, fresh: bool) -> Phase:
        opened = self._env.joints_deg()[5] > OPEN_ENOUGH or self._env.io_spec.action.gripper is GripperFormat.none
        if opened and away < 0.008 and (abs(height - TRAVEL_M) < 0.02 or fresh):
            return Phase.descend
        return Phase.approach

    def _from_descend(self, away: float, height: float) -> Phase:
        if away > 0.03:
            self._start_over()
        elif height < GRASP_M + 0.007 and away < 0.012:
            self._count = 0
            return Phase.close
        return self.phase

    def _from_close(self, away: float) -> Phase:
        held = self._env.situation.held
        self._count += 1
        if held and self._elapsed(CLOSE_S):
            self._count = 0
            return Phase.lift
        if not self._grasps:
            self._count = 0  # nothing to hold: stay
        if not held and (self._elapsed(GIVE_UP_S) or away > 0.03):
            self._start_over()
        return self.phase

    def _from_lift(self) -> Phase:
        self._count = 0 if self._env.situation.held else self._count + 1
        if self._elapsed(LOST_S):
            self._start_over()
        return self.phase

    def _elapsed(self, seconds: float) -> bool:
        """Whether the counted steps amount to this time."""
        return self._count >= seconds * self._env.io_spec.fps
