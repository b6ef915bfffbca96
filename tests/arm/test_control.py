"""What an action does, to the simulated arm and the real one alike: end-effector deltas and joint deltas."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hiltk.arm.control import Control
from hiltk.arm.kinematics import Kinematics
from hiltk.arm.poses import READY_DEG, WRIST_ROLL_DEG
from hiltk.config.groups import Actions, ArmConf
from hiltk.errors import UserError
from hiltk.spec import GripperFormat

KIN = Kinematics()
BOX = np.array([[0.12, -0.16, 0.01], [0.36, 0.16, 0.22]])
START = np.array([0.22, 0.0, 0.09])


def control(actions: Actions = Actions.ee, gripper: GripperFormat = GripperFormat.continuous) -> Control:
    made = Control(ArmConf(name="test", actions=actions, gripper=gripper), KIN, BOX, 50.0)
    made.start(made.solve(READY_DEG, START, tries=10), START)
    return made


def test_an_end_effector_action_moves_the_hand_by_its_scale_and_leaves_the_roll() -> None:
    arm = control()
    before = KIN.forward(arm.joints_deg)[0]
    joints = arm.command(np.array([0.5, -0.5, 0.0, 1.0]))
    assert KIN.forward(joints)[0] - before == pytest.approx([0.01, -0.01, 0.0], abs=1e-4)
    assert joints[4] == WRIST_ROLL_DEG
    assert joints[5] == pytest.approx(40.0 + 10.0)  # 15 more would be wider than gripper_max
    assert arm.locked == ["wrist_roll"]


def test_a_joint_action_moves_each_joint_by_its_step() -> None:
    arm = control(Actions.joints)
    before = arm.joints_deg.copy()
    joints = arm.command(np.array([1.0, -0.2, 0.4, 0.0, -1.0, -1.0]))
    assert joints - before == pytest.approx([5.0, -1.0, 2.0, 0.0, -5.0, -15.0])
    assert arm.target == pytest.approx(KIN.forward(joints)[0])
    assert arm.locked == []
    assert arm.spec.names == [
        "delta_shoulder_pan", "delta_shoulder_lift", "delta_elbow_flex", "delta_wrist_flex", "delta_wrist_roll",
        "gripper",
    ]  # fmt: skip
    assert (arm.spec.scale_deg, arm.spec.scale_m, arm.spec.ee_deltas) == (5.0, 0.0, False)


@given(st.lists(st.lists(st.floats(-1, 1), min_size=6, max_size=6), min_size=1, max_size=12))
def test_joint_actions_never_leave_the_workspace_or_the_limits(actions: list[list[float]]) -> None:
    arm = control(Actions.joints)
    for action in actions:
        joints = arm.command(np.array(action))
        hand = KIN.forward(joints)[0]
        assert (hand > BOX[0] - 1e-9).all() and (hand < BOX[1] + 1e-9).all()
        assert (joints >= KIN.limits_deg[:, 0]).all() and (joints <= KIN.limits_deg[:, 1]).all()


def test_who_thinks_in_end_effector_deltas_drives_joints_to_the_same_place() -> None:
    by_hand, by_joints = control(), control(Actions.joints)
    for action in ([0.3, 0.2, -0.4, 1.0], [0.0, -0.5, 0.1, -1.0]):
        wanted = by_hand.command(np.array(action))
        given_ = by_joints.from_ee(np.array(action, np.float32))
        assert np.abs(given_).max() <= 1
        assert by_joints.command(by_joints.checked(given_)) == pytest.approx(wanted, abs=0.05)


def test_what_the_arm_did_not_take_is_not_wound_up_and_not_recorded() -> None:
    arm = control()
    before, action = arm.target.copy(), np.array([1.0, 0.0, 0.0, 1.0], np.float32)
    asked = arm.command(action)
    halfway = (arm._before[1] + asked) / 2
    executed = arm.took(halfway, action)
    assert executed[0] == pytest.approx(0.5, abs=0.02)
    assert executed[3] == pytest.approx(5 / 15, abs=1e-6)  # 40 to 50, half of it
    assert arm.joints_deg == pytest.approx(halfway)
    assert arm.target - before == pytest.approx([0.01, 0, 0], abs=4e-4)
    again = arm.command(np.zeros(4, np.float32))
    assert arm.took(again, np.zeros(4, np.float32)).tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize(
    ("action", "said"),
    [
        ([0.0, 0.0, 0.0], "shape"),
        ([0.0, np.nan, 0.0, 0.0], "not finite"),
        ([0.0, 1.2, 0.0, 0.0], "leaves"),
        ([0.0, 0.0, 0.0, 0.5], "discrete"),
    ],
)
def test_an_action_that_is_none_is_refused_by_name(action: list[float], said: str) -> None:
    with pytest.raises(UserError, match=said):
        control(gripper=GripperFormat.discrete3).checked(np.array(action))
