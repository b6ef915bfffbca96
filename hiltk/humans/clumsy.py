"""A human who tries and fails: near misses, the failures a reward classifier is most easily deceived by."""

from __future__ import annotations

import numpy as np

from hiltk.config.groups import HumanConf
from hiltk.envs.base import SceneEnv
from hiltk.envs.tasks import TASKS
from hiltk.errors import ConfigError
from hiltk.humans.scripted import CARRY_M, CLOSE_S, GRASP_M, LOST_S, Phase, ScriptedExpert

MISS_SHARE = 0.5  # of the attempts close the jaws beside the cube; the others drop it
BESIDE_M = (0.022, 0.035)  # how far beside, across the jaws: the cube is 25 mm wide
DROP_AT = (0.0, 0.8)  # of the height that would be success


class ClumsyHuman(ScriptedExpert):
    """Goes about it like the expert and makes a mistake in every attempt: a miss or a drop, drawn anew each time.

    A miss closes the jaws beside the cube and lifts the empty hand as high as if it held something. A drop takes the
    cube, lifts it to a height drawn below the one that counts (or not at all) and opens the jaws. Noise makes it
    succeed by accident now and then: record with ``keep=failures``.

    Raises:
        ConfigError: noise below 0, skill outside (0, 1], or a task without anything to lift.
    """

    def __init__(self, env: SceneEnv, conf: HumanConf) -> None:
        lifted_m = TASKS[env.task.name].lifted_m
        if lifted_m is None:
            tasks = " or ".join(f"task={name}" for name, task in TASKS.items() if task.lifted_m is not None)
            raise ConfigError(
                f"a clumsy human misses and drops the cube, which '{env.task.name}' does not ask to be lifted",
                where=f"human=clumsy, task={env.task.name}",
                fix=f"{tasks}; or human=wandering keep=failures",
            )
        self._lifted_m = lifted_m
        super().__init__(env, conf)

    def satisfied(self) -> bool:
        """Never: there is nothing to correct it by."""
        return False

    def _start_over(self) -> None:
        super()._start_over()
        self._letting_go = False
        missing = self._rng.random() < MISS_SHARE
        side, beside, height = self._rng.choice([-1, 1]), self._rng.uniform(*BESIDE_M), self._rng.uniform(*DROP_AT)
        self._beside_m = float(side * beside) if missing else 0.0
        self._top_m = CARRY_M if missing else GRASP_M + float(height) * self._lifted_m

    def _aim(self) -> np.ndarray:
        axis = self._env.jaw_axis()
        return super()._aim() + self._beside_m * np.array([-axis[1], axis[0]])

    def _motion(self) -> np.ndarray:
        if self.phase is not Phase.lift:
            return super()._motion()
        tcp = self._env.tcp_position() + self._env.pending_motion()
        return np.array([0.0, 0.0, self._top_m - tcp[2]])

    def _from_close(self, away: float) -> Phase:
        if self._beside_m and self._elapsed(CLOSE_S):
            self._count = 0
            return Phase.lift  # without looking
        return super()._from_close(away)

    def _gripper(self) -> float:
        return 1.0 if self._letting_go else super()._gripper()

    def _from_lift(self) -> Phase:
        there = abs(self._env.tcp_position()[2] - self._top_m) < 0.01
        self._count = self._count + 1 if there else 0
        self._letting_go = self._letting_go or self._elapsed(LOST_S)
        if self._letting_go and not self._env.situation.held:
            self._start_over()
        return self.phase
