"""Another robot that LeRobot knows."""

from __future__ import annotations

import pytest

from hiltk.errors import UserError
from hiltk.robots.clock import WallClock
from hiltk.robots.other_robots import LeRobotBus, make_bus
from hiltk.robots.safety import Safety
from tests.robots.fakes import READY, Ticks, small_arm


def test_another_registered_robot_is_driven_by_its_joints_alone() -> None:
    """No registers, no torque of its own to switch: positions, and ``disconnect`` at the end."""
    from tests.robots.otherarm import made

    bus = make_bus(small_arm(robot="other_arm"), lambda: "", WallClock())
    assert isinstance(bus, LeRobotBus)
    safety = Safety(small_arm(robot="other_arm"), bus, Ticks(), 10.0)
    bus.open()
    safety.begin()
    assert safety.move_to(READY).joints_deg == pytest.approx(READY)
    assert made[0].is_open and made[0].port == "/dev/none"
    assert safety.release() == [] and not made[0].is_open
    with pytest.raises(UserError, match="LeRobot knows no robot 'other_arn'"):
        LeRobotBus(small_arm(robot="other_arn")).open()
