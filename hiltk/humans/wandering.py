"""A human who plays: drives the hand about, opening and closing it, without touching the cube on purpose.

A reward classifier that has only seen attempts learns shortcuts, such as "the camera looks from high up", which a
policy finds within minutes: in our simulator it lifted its empty hand and was rewarded. Ten such episodes end that.
"""

from __future__ import annotations

import numpy as np

from hiltk.arm.kinematics import Kinematics
from hiltk.arm.state import ee_position
from hiltk.config.groups import HumanConf
from hiltk.envs.base import HilEnv
from hiltk.errors import ConfigError
from hiltk.observation import Observation
from hiltk.spec import EE_POSITION, STATE_KEY, GripperFormat

GOAL_STEPS = (5, 13)  # how many steps one goal is pursued: at least, and less than


class Wanderer:
    """Goes to random places in the workspace with the gripper closing or opening; needs only the end effector's place.

    Raises:
        ConfigError: the environment has no workspace or no end-effector position in its state.
    """

    def __init__(self, env: HilEnv, conf: HumanConf) -> None:
        self._spec, self._conf = env.io_spec, conf
        names = self._spec.state.names
        if not self._spec.robot.workspace_low_m or not {*EE_POSITION} <= {*names} or not self._spec.action.ee_deltas:
            raise ConfigError(
                "a wandering human needs an arm with a workspace that moves by end-effector deltas",
                where="human=wandering",
            )
        self._kin = Kinematics()
        self._low = np.array(self._spec.robot.workspace_low_m)
        self._high = np.array(self._spec.robot.workspace_high_m)
        self.reset(0)

    def reset(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        self._left = 0

    def satisfied(self) -> bool:
        """Never: somebody who plays does not wait for the policy."""
        return False

    def act(self, observation: Observation) -> np.ndarray:
        """The next action (A,) float32, towards the present goal."""
        if self._left == 0:
            self._goal = self._rng.uniform(self._low, self._high)
            self._grip = self._rng.choice([-1.0, 1.0])
            self._left = int(self._rng.integers(*GOAL_STEPS))
        self._left -= 1
        position = ee_position(self._kin, observation[STATE_KEY], self._spec.state)
        towards = np.clip((self._goal - position) / self._spec.action.scale_m, -1, 1)
        move = np.clip(towards * self._conf.skill + self._rng.normal(size=3) * self._conf.noise, -1, 1)
        if self._spec.action.gripper is GripperFormat.none:
            return move.astype(np.float32)
        return np.append(move, self._grip).astype(np.float32)
