"""ACT, continued: the robot itself, driven a little before anything is learnt or measured with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from hiltk.arm.kinematics import Kinematics
from hiltk.arm.model import JOINTS
from hiltk.arm.state import ee_position
from hiltk.checks.rule import Reads, rule
from hiltk.checks.subject import Subjects
from hiltk.envs.base import HilEnv
from hiltk.findings import Finding
from hiltk.spec import EE_POSITION, STATE_KEY, GripperFormat, Spec

PATH_M, GRIPPER_STEPS = 0.04, 2  # how far each axis is driven
SETTLE_S = 0.4  # servos lag; a simulated arm is then within 1 % of where it was sent
SEED = 0  # of the episodes that are driven and thrown away
RATIO = (0.5, 2.0)  # of the way gone by the way asked for
MOST_ASIDE = 0.5  # of the way asked for


@dataclass(frozen=True)
class Answer:
    """What one action dimension did: metres, or percent of the gripper's opening.

    Attributes:
        name: of the dimension.
        asked, went: along it, with sign.
        aside: how far across it.
    """

    name: str
    asked: float
    went: float
    aside: float = 0.0

    @property
    def wrong(self) -> bool:
        low, high = RATIO
        return not low <= self.went / self.asked <= high or self.aside > MOST_ASIDE * abs(self.asked)

    def __str__(self) -> str:
        unit, times = ("percent", 1) if self.name == "gripper" else ("mm", 1000)
        went, asked, aside = (round(value * times) for value in (self.went, self.asked, self.aside))
        across = f" and {aside} aside" if self.aside > MOST_ASIDE * abs(self.asked) else ""
        return f"{self.name} {went:+d}{across} instead of {asked:+d} {unit}"


@rule("ACT008", covers=("A7", "A4", "A5"), steps=("train", "eval"), reads=Reads.together)
def robot_answers(all_: Subjects) -> Iterator[Finding]:
    """The robot does not go where an action says.

    Symptom:  episodes in which nothing moves, or always to the right; nothing is learnt, and no curve says why.
    Cause:    a wrapper that looks for urdf_path where the robot has mujoco_model_path and drops every action; a frame
              turned by 90 degrees; a scale applied twice; a gripper that opens at -1.
    Detected: before training and evaluation, from the reset pose: full actions along x, y and z and closing, each by
              itself over 4 cm (two steps of the gripper) towards the workspace's middle. Takes 4 short episodes, which
              are thrown away; nothing is driven where actions are no end-effector deltas or the state does not show it.
              - by the state the end effector or the jaws go less than half or more than twice as far
                [a_robot_that_ignores_actions, a_scale_applied_twice, a_gripper_the_other_way_round]
              - the end effector goes over half as far aside [a_robot_turned_by_a_right_angle]
    Fix:      see that env's action scale and frame are the robot's own, and that its driver is given the actions.
    Source:   devlogs 031, 034 and 036.
    """
    if all_.env is None or not _shows_what_it_does(all_.env.io_spec):
        return
    wrong = [answer for answer in _answers(all_.env) if answer.wrong]
    if wrong:
        yield Finding(
            f"full actions move the robot otherwise than they say: {'; '.join(map(str, wrong))}",
            where=f"env, {all_.env.io_spec.robot.name or 'unnamed robot'}, from its reset pose",
            fix="see that the robot is given the actions, in its own frame and scale (env.action_scale_m)",
            subject="the environment",
        )


def _shows_what_it_does(spec: Spec) -> bool:
    return spec.action.ee_deltas and spec.action.scale_m > 0 and all(axis in spec.state.names for axis in EE_POSITION)


def _answers(env: HilEnv) -> Iterator[Answer]:
    """Drive each axis of the action by itself; axes whose episode ends too soon are left out."""
    spec, kin = env.io_spec, Kinematics()
    steps = max(2, round(PATH_M / spec.action.scale_m))
    for axis, name in enumerate(spec.action.names[:3]):
        start, end, way = _drive(env, lambda state: ee_position(kin, state, spec.state), axis, steps)
        if end is not None:
            moved = end - start
            aside = float(np.linalg.norm(np.delete(moved, axis)))
            yield Answer(name, steps * spec.action.scale_m * way, float(moved[axis]), aside)
    gripper = f"{JOINTS[-1]}.pos"
    if spec.action.gripper is not GripperFormat.none and gripper in spec.state.names:
        place = spec.state.names.index(gripper)
        start, end, way = _drive(env, lambda state: np.asarray(state[[place]], np.float64), 3, GRIPPER_STEPS)
        if end is not None:
            yield Answer("gripper", GRIPPER_STEPS * spec.action.gripper_step * way, float((end - start)[0]))


def _drive(
    env: HilEnv, seen: Callable[[np.ndarray], np.ndarray], axis: int, steps: int
) -> tuple[np.ndarray, np.ndarray | None, float]:
    """What is ``seen`` before and after full actions along one axis (None: the episode ended), and their sign."""
    observation, _ = env.reset(seed=SEED)
    start = seen(observation[STATE_KEY])
    action = np.zeros(len(env.io_spec.action.dims), np.float32)
    action[axis] = way = _inwards(env.io_spec, start, axis)
    for step in range(steps + int(np.ceil(SETTLE_S * env.io_spec.fps))):
        observation, _, terminated, truncated, _ = env.step(action if step < steps else 0 * action)
        if terminated or truncated:
            return start, None, way
    return start, seen(observation[STATE_KEY]), way


def _inwards(spec: Spec, start: np.ndarray, axis: int) -> float:
    """The sign that leads towards the workspace's middle; a gripper starts open and is closed."""
    low, high = spec.robot.workspace_low_m, spec.robot.workspace_high_m
    if axis > 2 or not low or not high:
        return -1.0 if axis > 2 else 1.0
    return 1.0 if start[axis] < (low[axis] + high[axis]) / 2 else -1.0
