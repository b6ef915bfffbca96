"""What an action does: deltas of the end effector or of the joints become what the joints are told next.

The same object stands in the simulated arm and before the real one, so that an action means the same to both.
"""

from __future__ import annotations

import numpy as np

from hiltk.arm.kinematics import Kinematics
from hiltk.arm.model import JOINTS
from hiltk.arm.poses import READY_DEG, START_OPENING, WRIST_ROLL_DEG
from hiltk.arm.state import action_spec, joint_action_spec
from hiltk.arm.units import ARM_JOINTS
from hiltk.config.groups import Actions, ArmConf
from hiltk.errors import UserError
from hiltk.spec import GripperFormat

MAX_LEAD_M = 0.01  # how far the commanded target may run ahead of what the joints can reach
ACTION_SLACK = 1e-3  # rounding beyond [-1, 1] that is clipped without complaint


class Control:
    """The commanded end effector and joints, which actions move inside the workspace.

    An end-effector action moves a target by ``action[:3] * action_scale_m`` in the base frame, inside the workspace;
    inverse kinematics turns it into joints, gripper pointing down, wrist roll fixed. A joint action moves each joint by
    ``action[i] * joint_step_deg`` inside its limits, as long as the end effector stays in the workspace. The last
    action moves the gripper by ``gripper_step``.

    Args:
        conf: what actions mean.
        kinematics: of the arm.
        workspace_m: (2, 3) lower and upper bounds of the end effector, base frame.
        gripper_max: widest opening, of 0..100.

    Attributes:
        target: (3,) where the end effector is commanded to be, metres.
        joints_deg: (6,) what the joints are commanded to be.
    """

    def __init__(
        self,
        conf: ArmConf,
        kinematics: Kinematics,
        workspace_m: np.ndarray,
        gripper_max: float,
    ) -> None:
        self.conf, self.kinematics, self.gripper_max = conf, kinematics, gripper_max
        self._low, self._high = workspace_m
        if conf.actions is Actions.joints:
            self.spec = joint_action_spec(conf.joint_step_deg, conf.gripper, conf.gripper_step)
        else:
            self.spec = action_spec(conf.action_scale_m, conf.gripper, conf.gripper_step)
        self.target, self.joints_deg = np.zeros(3), READY_DEG.copy()
        self._before = self.target, self.joints_deg  # of the last command

    @property
    def locked(self) -> list[str]:
        """Joints that no action moves."""
        return [] if self.conf.actions is Actions.joints else [JOINTS[ARM_JOINTS - 1]]

    # ------------------------------------------------------------------ where episodes start

    def solve(self, start_deg: np.ndarray, position_m: np.ndarray, tries: int) -> np.ndarray:
        """Joints (6,) with the end effector at a position (3,), by several runs of inverse kinematics."""
        return self.kinematics.settled(start_deg, position_m, WRIST_ROLL_DEG, tries)

    def at_rest(self, joints_deg: np.ndarray) -> np.ndarray:
        """The joints (6,) with the gripper as open as an episode starts."""
        return np.r_[joints_deg[:ARM_JOINTS], min(START_OPENING, self.gripper_max)]

    def start(self, ready_deg: np.ndarray, position_m: np.ndarray) -> np.ndarray:
        """The joints (6,) of an episode's start: end effector at a position (3,), clipped to the workspace."""
        self.target = np.clip(position_m, self._low, self._high)
        self.joints_deg = self.at_rest(self.solve(ready_deg, self.target, tries=3))
        return self.joints_deg

    # ------------------------------------------------------------------ one step

    def checked(self, action: np.ndarray) -> np.ndarray:
        """The action as float32 inside [-1, 1]; what is wrong with it is refused, never guessed.

        Raises:
            UserError: it has the wrong shape, is not finite, leaves [-1, 1], or is not one of the three values of a
                discrete gripper.
        """
        given, names = np.asarray(action), self.spec.names
        if given.shape != (len(names),):
            raise UserError(f"the action has shape {given.shape}, expected ({len(names)},)", where=", ".join(names))
        given = given.astype(np.float32)
        if not np.isfinite(given).all():
            raise UserError("the action is not finite", where=_named(names, given))
        if np.abs(given).max() > 1 + ACTION_SLACK:
            raise UserError("the action leaves [-1, 1]", where=_named(names, given))
        if self.conf.gripper is GripperFormat.discrete3 and given[-1] not in (-1, 0, 1):
            raise UserError(
                "a discrete gripper takes exactly -1, 0 or 1",
                where=_named(names, given),
                fix="use env.gripper=continuous, or a policy and data made for discrete3",
            )
        return np.clip(given, -1, 1)

    def command(self, action: np.ndarray) -> np.ndarray:
        """What the joints (6,) are told after a checked action."""
        self._before = self.target, self.joints_deg
        moved = self._moved_joints if self.conf.actions is Actions.joints else self._moved_target
        joints = moved(action)
        if self.conf.gripper is not GripperFormat.none:
            opening = self.joints_deg[5] + float(action[-1]) * self.conf.gripper_step
            joints[5] = min(max(opening, 0.0), self.gripper_max)
        self.joints_deg = joints
        return joints

    def _aimed(self, action: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Where an end-effector action wants the target (3,), and the joints (6,) that bring it there or near."""
        target = np.clip(self.target + action[:3] * self.conf.action_scale_m, self._low, self._high)
        return target, self.kinematics.inverse(self.joints_deg, target, WRIST_ROLL_DEG)

    def _moved_target(self, action: np.ndarray) -> np.ndarray:
        target, joints = self._aimed(action)
        reached = self.kinematics.forward(joints)[0]
        # Without this the target would wind up in places the arm cannot reach and the way back would lag.
        lead = np.clip(target - reached, -MAX_LEAD_M, MAX_LEAD_M)
        self.target = np.clip(reached + lead, self._low, self._high)
        return joints

    def _moved_joints(self, action: np.ndarray) -> np.ndarray:
        joints = self.joints_deg.copy()
        joints[:ARM_JOINTS] += action[:ARM_JOINTS] * self.conf.joint_step_deg
        joints = np.clip(joints, *self.kinematics.limits_deg.T)
        reached = self.kinematics.forward(joints)[0]
        outside = np.maximum(self._low - reached, reached - self._high).max()
        before = np.maximum(self._low - self.target, self.target - self._high).max()
        if outside > max(0.0, before):  # further out than it was: the arm stays, the gripper still moves
            return self.joints_deg.copy()
        self.target = reached
        return joints

    def took(self, written_deg: np.ndarray, action: np.ndarray) -> np.ndarray:
        """Go on from what the arm was really told (6,), which may be less than asked: its speed has a limit.

        Returns:
            The action (A,) that was executed: ``action``, or what remained of it.
        """
        asked, (target, joints) = self.joints_deg, self._before
        less = ~np.isclose(written_deg, asked, atol=1e-6)
        if not less.any():
            return action
        self.joints_deg = np.array(written_deg, np.float64)
        self.target = np.clip(self.kinematics.forward(self.joints_deg)[0], self._low, self._high)
        executed = action.copy()
        if less[:ARM_JOINTS].any() and self.conf.actions is Actions.joints:
            executed[:ARM_JOINTS] = (self.joints_deg - joints)[:ARM_JOINTS] / self.conf.joint_step_deg
        elif less[:ARM_JOINTS].any():
            executed[:3] = (self.target - target) / self.conf.action_scale_m
        if less[-1] and self.conf.gripper is GripperFormat.continuous:
            executed[-1] = (self.joints_deg - joints)[-1] / self.conf.gripper_step
        return np.clip(executed, -1, 1)

    # ------------------------------------------------------------------ who thinks in end-effector deltas

    def from_ee(self, action: np.ndarray) -> np.ndarray:
        """An end-effector action (3,) or (4,) as one (A,) of this arm: as it is, or the joints that do the same."""
        if self.conf.actions is Actions.ee:
            return action
        _, joints = self._aimed(action)
        deltas = (joints - self.joints_deg)[:ARM_JOINTS] / self.conf.joint_step_deg
        deltas /= max(1.0, float(np.abs(deltas).max()))  # the direction counts more than the speed
        return np.append(deltas, action[3:]).astype(np.float32)


def _named(names: list[str], values: np.ndarray) -> str:
    return ", ".join(f"{name}={value:.4g}" for name, value in zip(names, values, strict=True))
