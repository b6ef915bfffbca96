"""What the one writer of goals lets through: numbers worked by hand, on a bus of numbers alone."""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import hiltk
from hiltk.errors import UserError
from hiltk.robots.safety import BOX_SLACK_M, FULL_TORQUE, START_TORQUE, ArmStopped, Safety
from tests.robots.fakes import READY, FakeBus, Ticks, small_arm

FPS = 10.0


def driven(**values: object) -> tuple[Safety, FakeBus, Ticks]:
    """Torque on in the middle of the workspace, at 10 commands a second."""
    clock = Ticks()
    bus = FakeBus(clock)
    safety = Safety(small_arm(**values), bus, clock, FPS)
    safety.begin()
    safety.power()
    return safety, bus, clock


def tick(safety: Safety, clock: Ticks, goal: object) -> np.ndarray:
    clock.time += 1 / FPS
    safety.observe()
    return safety.command(goal)  # type: ignore[arg-type]


def callers(*methods: str) -> set[str]:
    """The modules of hiltk that call a method of one of these names."""
    root, found = Path(hiltk.__file__).parent, set()
    for file in root.rglob("*.py"):
        text = file.read_text()
        if not any(f".{method}(" in text for method in methods):
            continue
        calls = (node.func for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call))
        if any(isinstance(call, ast.Attribute) and call.attr in methods for call in calls):
            found.add(file.relative_to(root).as_posix())
    return found


def test_nothing_but_safety_moves_the_arm() -> None:
    """One door: what drivers are asked to do goes through safety, and LeRobot's are called by the drivers alone."""
    assert callers("write_goals", "torque_on") == {"robots/safety.py"}
    assert callers("send_action", "sync_write", "enable_torque") == {"robots/bus.py", "robots/other_robots.py"}


@pytest.mark.parametrize("goal", [[0.0] * 5, [0.0] * 7, [0, 0, np.nan, 0, 0, 0], [0, 0, 0, 0, 0, np.inf]])
def test_a_command_is_six_finite_numbers(goal: list[float]) -> None:
    safety, bus, clock = driven()
    with pytest.raises(UserError, match="six finite numbers"):
        tick(safety, clock, goal)
    assert bus.sent == []


def test_a_joint_moves_as_far_as_its_speed_allows_in_one_period() -> None:
    """At 10 Hz: 90 degrees per second are 9 a tick, 180 of the wrist 18, the jaws' 200 are 20."""
    safety, _, clock = driven()
    goal = np.add(READY, [-50.0, 0, 0, -50.0, 50.0, 50.0])
    sent = tick(safety, clock, goal)
    np.testing.assert_allclose(sent - READY, [-9.0, 0, 0, -18.0, 18.0, 20.0])


def test_two_commands_at_once_are_not_twice_as_fast_and_late_ones_do_not_catch_up() -> None:
    safety, _, clock = driven()
    goal = np.add(READY, [-50.0, 0, 0, 0, 0, 0])
    assert tick(safety, clock, goal)[0] == pytest.approx(-9)
    assert safety.command(goal)[0] == pytest.approx(-9)
    clock.time += 0.7
    assert tick(safety, clock, goal)[0] == pytest.approx(-18)


def test_speed_is_counted_from_the_last_command_not_from_where_the_arm_sags_to() -> None:
    safety, bus, clock = driven()
    bus.held[1] = True
    bus.at[1] += 8.0
    assert tick(safety, clock, READY)[1] == READY[1]


def test_commands_stay_off_the_ends_of_the_calibrated_range() -> None:
    """2275 ticks are 200 degrees: 100 to either side, less the margin of 2; of the wrist's roll 180 less 2."""
    safety, _, clock = driven()
    for _ in range(40):
        sent = tick(safety, clock, np.add(READY, [0, 0, 0, 0, 300.0, 200.0]))
    np.testing.assert_allclose(sent[4:], [178.0, 100.0])
    assert safety.arm.joint_limits()[0, 1] == pytest.approx(98.0)


def test_the_end_effector_does_not_leave_the_workspace() -> None:
    safety, _, clock = driven()
    for _ in range(30):
        sent = tick(safety, clock, np.add(READY, [0, 60.0, 0, 0, 0, 0]))  # the shoulder bows to the table
        assert safety.outside_m(sent) <= BOX_SLACK_M
    assert safety.position_m(sent)[2] < 0.02


@given(st.lists(st.lists(st.floats(-200, 200), min_size=6, max_size=6), min_size=1, max_size=12))
def test_whatever_is_asked_what_is_sent_is_within_speed_range_and_box(goals: list[list[float]]) -> None:
    safety, bus, clock = driven()
    low, high = safety.arm.joint_limits().T
    last = np.array(READY)
    for goal in goals:
        sent = tick(safety, clock, goal)
        assert (np.abs(sent - last) <= safety.arm.speeds() / FPS + 1e-9).all()
        assert (sent >= low - 1e-9).all() and (sent <= high + 1e-9).all()
        assert safety.outside_m(sent) <= BOX_SLACK_M + 1e-9
        last = bus.sent[-1]
        np.testing.assert_array_equal(last, sent)


def test_from_outside_the_workspace_the_arm_only_comes_nearer() -> None:
    safety, _, clock = driven()
    aside = safety.move_to(np.add(READY, [70.0, 0, 0, 0, 0, 0])).joints_deg
    outside = safety.outside_m(aside)
    assert outside > 0.01
    for _ in range(40):
        sent = tick(safety, clock, READY)
        assert safety.outside_m(sent) <= outside + 1e-9
        outside = max(BOX_SLACK_M, safety.outside_m(sent))


def test_an_arm_without_a_workspace_is_not_driven() -> None:
    for wrong in ([], [0.1, 0.1], [0.5, -0.16, 0.008]):
        with pytest.raises(UserError, match="workspace"):
            driven(workspace_low_m=wrong)
    with pytest.raises(UserError, match="park"):
        driven(park_deg=[])


# ---------------------------------------------------------------- obstacles


def test_a_joint_that_stays_behind_has_met_an_obstacle() -> None:
    """20 degrees for half a second; the arm freezes where it is, and the joint is named."""
    safety, bus, clock = driven(workspace_low_m=[-1, -1, -1], workspace_high_m=[1, 1, 1])
    bus.held[0] = True
    with pytest.raises(ArmStopped, match="shoulder_pan") as caught:
        for _ in range(20):
            tick(safety, clock, np.add(READY, [40.0, 0, 0, 0, 0, 0]))
    assert caught.value.code == "obstacle" and caught.value.goes_on
    # Behind by 27 degrees after three ticks, which the fourth sees; half a second later, rounded up to a tick.
    assert clock.time == pytest.approx(101, abs=0.11)
    np.testing.assert_array_equal(bus.sent[-1], READY)
    with pytest.raises(ArmStopped):
        tick(safety, clock, READY)
    bus.held[0] = False
    safety.move_to(READY)  # another episode
    tick(safety, clock, READY)


def test_jaws_on_an_object_are_no_obstacle() -> None:
    safety, bus, clock = driven()
    bus.held[5] = True
    for _ in range(20):
        tick(safety, clock, [*READY[:5], 0.0])


def test_much_current_without_motion_is_an_obstacle_at_few_degrees() -> None:
    safety, bus, clock = driven()
    bus.held[2], bus.milliamperes[2] = True, 1500.0
    with pytest.raises(ArmStopped, match="elbow_flex is 8 degrees behind"):
        for _ in range(20):
            tick(safety, clock, np.add(READY, [0, 0, -8.0, 0, 0, 0]))
    assert {finding.code for finding in safety.findings()} == {"servo_current"}


# ---------------------------------------------------------------- freshness


def test_no_goal_without_joints_of_this_tick() -> None:
    safety, bus, clock = driven()
    clock.time += 0.1
    bus.failing = 2
    for _ in range(2):
        assert not safety.observe().fresh
        np.testing.assert_array_equal(safety.command(np.array(READY) - 5), READY)
        clock.time += 0.1
    assert safety.observe().fresh
    assert (safety.command(np.array(READY) - 1) != READY).any()
    clock.time += 1.0  # a policy that thought for a second acts on joints of a second ago
    last = bus.sent[-1]
    np.testing.assert_array_equal(safety.command(np.array(READY) - 5), last)


def test_the_third_failed_read_stops_the_arm() -> None:
    safety, bus, _ = driven()
    bus.failing = 3
    safety.observe(), safety.observe()
    with pytest.raises(ArmStopped, match="3 reads in a row failed") as caught:
        safety.observe()
    assert caught.value.code == "bus"


# ---------------------------------------------------------------- start, way out, servos


def test_torque_comes_on_weakly_where_the_joints_are_and_in_full_after_the_first_ramp() -> None:
    safety, bus, _ = driven()
    np.testing.assert_array_equal(bus.goal, READY)
    assert bus.on.all() and bus.sent == []
    np.testing.assert_array_equal(bus.limits[-1][0], [START_TORQUE] * 5 + [500])
    np.testing.assert_allclose(bus.limits[-1][1][0], 1.25 * 90)
    safety.move_to(np.add(READY, [10, 0, 0, 0, 0, 0]))
    np.testing.assert_array_equal(bus.limits[-1][0], [FULL_TORQUE] * 5 + [500])


def test_an_arm_that_is_being_held_keeps_its_goal_and_its_torque() -> None:
    clock = Ticks()
    bus = FakeBus(clock)
    bus.on[:] = True
    bus.goal = np.add(bus.at, [0, -4.0, 0, 0, 0, 0])  # it sags by four degrees
    safety = Safety(small_arm(), bus, clock, FPS)
    safety.begin()
    safety.power()
    np.testing.assert_array_equal(safety.goal, bus.goal)
    np.testing.assert_array_equal(bus.limits[-1][0], [FULL_TORQUE] * 5 + [500])
    assert bus.sent == []


def test_a_ramp_starts_at_the_last_command_and_ends_at_its_target() -> None:
    safety, bus, _ = driven()
    bus.held[1] = True
    bus.at[1] += 4.0  # sagging
    reading = safety.move_to(np.add(READY, [30.0, 0, 0, 0, 0, 0]))
    path = np.array(bus.sent)
    np.testing.assert_allclose(path[:, 1], READY[1])
    assert (np.diff(path[:, 0]) >= 0).all() and path[-1, 0] == pytest.approx(30)
    assert np.abs(np.diff(path[:, 0])).max() <= 90 / 20 + 1e-9
    assert reading.joints_deg[0] == pytest.approx(30)


def test_a_pose_that_is_not_reached_is_said_with_joint_and_numbers() -> None:
    safety, bus, _ = driven()
    bus.held[3] = True
    with pytest.raises(ArmStopped, match=r"wrist_flex was sent to 70.0 degrees and is at 80.0") as caught:
        safety.move_to(np.add(READY, [0, 0, 0, -10.0, 0, 0]))
    assert caught.value.code == "unreached"


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [("celsius", 52.0, "elbow_flex has 52 C"), ("volts", 3.9, "elbow_flex has 3.9 V")],
)
def test_no_session_begins_with_a_hot_servo_or_a_weak_supply(field: str, value: float, words: str) -> None:
    clock = Ticks()
    bus = FakeBus(clock)
    getattr(bus, field)[2] = value
    with pytest.raises(UserError, match=words):
        Safety(small_arm(), bus, clock, FPS).begin()


def test_heat_warns_once_and_then_stops() -> None:
    safety, bus, clock = driven()
    bus.celsius[5] = 57.0
    for _ in range(3):
        tick(safety, clock, READY)
    assert [(f.code, f.evidence["celsius"]) for f in safety.findings()] == [("servo_temperature", 57.0)]
    bus.celsius[5] = 66.0
    with pytest.raises(ArmStopped, match="gripper has 66 C") as caught:
        tick(safety, clock, READY)
    assert caught.value.code == "heat" and not caught.value.goes_on
    safety.leaving = True
    safety.park()  # the way out is open


def test_what_servos_say_is_found_once_each() -> None:
    safety, bus, clock = driven()
    bus.volts[1], bus.load[1], bus.status[3] = 10.0, -1.0, 1
    for _ in range(40):
        tick(safety, clock, READY)
    bus.failures["wrist_roll"], bus.reads = 5, 1000
    tick(safety, clock, READY)
    assert sorted(f.code for f in safety.findings()) == ["bus_errors", "servo_load", "servo_status", "servo_voltage"]
    assert safety.findings() == []


def test_an_overloaded_servo_ends_the_run() -> None:
    safety, bus, clock = driven()
    bus.status[1] = 32
    with pytest.raises(ArmStopped, match="shoulder_lift reports: overload"):
        tick(safety, clock, READY)


def test_stop_freezes_and_holds() -> None:
    safety, bus, clock = driven()
    bus.held[:] = True
    tick(safety, clock, np.add(READY, [9.0, 0, 0, 0, 0, 0]))
    safety.stop()
    np.testing.assert_array_equal(bus.sent[-1], READY)
    assert bus.on.all()
    with pytest.raises(ArmStopped, match="stopped"):
        tick(safety, clock, READY)
