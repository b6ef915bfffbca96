"""The eight guarantees on an emulated chain of servos behind LeRobot's driver, in fast time, through the keeper."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from hiltk.errors import UserError
from hiltk.robots.emulated.rehearsal import PARK_DEG
from hiltk.robots.keeper import ArmClient
from hiltk.robots.safety import BOX_SLACK_M, ArmStopped
from tests.robots.conftest import Rehearsal
from tests.robots.fakes import READY

TICK_S = 0.1


def at_work(rehearsal: Rehearsal) -> ArmClient:
    client = rehearsal.client()
    client.move_to(READY)
    return client


def drive(rehearsal: Rehearsal, client: ArmClient, goal: object, ticks: int = 1) -> np.ndarray:
    for _ in range(ticks):
        rehearsal.wait(TICK_S)
        client.observe()
        sent = client.command(goal)  # type: ignore[arg-type]
    return sent


def is_parked(rehearsal: Rehearsal) -> bool:
    state = rehearsal.emulated.scene.state()
    return not state.torque.any() and bool(np.abs(state.joints_deg - PARK_DEG)[:5].max() < 8)


def test_1_commands_are_finite_and_stay_in_the_workspace_and_off_the_joints_ends(rehearsal: Rehearsal) -> None:
    client = at_work(rehearsal)
    with pytest.raises(UserError, match="six finite numbers"):
        client.command([np.nan] * 6)
    drive(rehearsal, client, np.add(READY, [0, 80.0, 0, 0, 0, 0]), 30)  # into the table
    drive(rehearsal, client, np.add(READY, [0, 80.0, 0, 0, 0, 300.0]), 10)
    client.hold()
    rehearsal.wait(1.0)
    height = rehearsal.emulated.scene.state().ee_m[2]
    assert rehearsal.arm.workspace_low_m[2] - BOX_SLACK_M - 0.003 < height < rehearsal.arm.workspace_low_m[2] + 0.02
    assert client.observe().joints_deg[5] <= 100
    client.close()


def test_2_no_joint_is_faster_than_its_limit(rehearsal: Rehearsal) -> None:
    client = at_work(rehearsal)
    goal = np.add(READY, [-60.0, 0, 0, 0, 0, 0])
    sent = drive(rehearsal, client, goal)
    assert sent[0] == pytest.approx(READY[0] - 90 * TICK_S, abs=0.1)
    before = client.observe().joints_deg[0]
    sent = drive(rehearsal, client, goal, 3)
    assert before - client.observe().joints_deg[0] <= 1.25 * 90 * 3 * TICK_S + 0.5
    client.close()


def test_3_an_obstacle_stops_the_arm_and_names_the_joint(rehearsal: Rehearsal) -> None:
    client = at_work(rehearsal)
    rehearsal.emulated.fault("stuck", joint="shoulder_pan")
    with pytest.raises(ArmStopped, match="shoulder_pan") as caught:
        drive(rehearsal, client, np.add(READY, [40.0, 0, 0, 0, 0, 0]), 20)
    assert caught.value.code == "obstacle"
    rehearsal.wait(1.0)
    reading = client.observe()
    assert np.abs(reading.load[0]) < 0.3  # it no longer pushes
    rehearsal.emulated.clear_faults()
    client.move_to(READY)
    client.close()
    assert is_parked(rehearsal)


def test_4_two_failed_reads_repeat_the_last_goal_and_the_third_stops(rehearsal: Rehearsal) -> None:
    client = at_work(rehearsal)
    last = drive(rehearsal, client, READY)
    rehearsal.emulated.fault("silent", joint=["wrist_flex", "wrist_roll", "gripper"])  # a cable
    for _ in range(2):
        assert not client.observe().fresh
        np.testing.assert_array_equal(client.command(np.add(READY, 5.0)), last)
    with pytest.raises(ArmStopped, match="wrist_flex, wrist_roll, gripper silent") as caught:
        client.observe()
    assert caught.value.code == "bus"
    rehearsal.emulated.clear_faults()
    client.close()
    assert is_parked(rehearsal)


def test_5_silence_holds_and_then_parks(rehearsal: Rehearsal, until: Callable[..., None]) -> None:
    client = at_work(rehearsal)
    client.hold()
    rehearsal.wait(60.0)
    client.observe()
    drive(rehearsal, client, READY)
    rehearsal.wait(1.0)
    client.observe()  # looking is not commanding
    assert rehearsal.emulated.scene.state().torque.all()
    rehearsal.wait(1.5)
    until(lambda: is_parked(rehearsal))
    with pytest.raises(ArmStopped, match="no command for 2 s") as caught:
        client.command(READY)
    assert caught.value.code == "silence"
    client.move_to(READY)
    client.close()


def test_6_stop_freezes_and_keeps_holding(rehearsal: Rehearsal) -> None:
    client = at_work(rehearsal)
    drive(rehearsal, client, np.add(READY, [60.0, 0, 0, 0, 0, 0]), 3)
    client.stop()
    with pytest.raises(ArmStopped, match="stopped"):
        client.command(READY)
    here = client.observe().joints_deg
    rehearsal.wait(1.0)
    np.testing.assert_allclose(client.observe().joints_deg[:5], here[:5], atol=6)
    (finding,) = client.close()
    rehearsal.ended()
    assert finding.code == "still_holding" and rehearsal.emulated.scene.state().torque.all()


def test_7_a_lost_connection_parks_and_releases(rehearsal: Rehearsal) -> None:
    client = at_work(rehearsal)
    drive(rehearsal, client, np.add(READY, [20.0, 0, 0, 0, 0, 0]), 3)
    client._connection.close()
    rehearsal.ended()
    assert is_parked(rehearsal)
    bus = rehearsal.bus()
    bus.open()  # the port is free
    bus.close()


def test_7_where_a_servo_is_lost_the_others_hold_and_a_person_is_told(
    rehearsal: Rehearsal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hiltk.robots.keeper._PORT_BACK_S", 0.2)
    client = at_work(rehearsal)
    rehearsal.emulated.fault("silent", joint="gripper")
    (finding,) = client.close()
    rehearsal.ended()
    assert "shoulder_pan, shoulder_lift, elbow_flex, wrist_flex, wrist_roll hold" in finding.what
    assert "gripper silent" in finding.what and "hiltk arm relax rehearsal" in finding.fix
    assert rehearsal.emulated.scene.state().torque.all()


def test_7_a_port_that_comes_back_in_time_lets_the_arm_park(rehearsal: Rehearsal, until: Callable[..., None]) -> None:
    client = at_work(rehearsal)
    rehearsal.emulated.fault("unplugged")
    until(lambda: not Path(rehearsal.emulated.port).exists())
    with pytest.raises(ArmStopped) as caught:
        for _ in range(4):
            client.observe()
    assert caught.value.code == "port"
    client._connection.close()
    rehearsal.emulated.clear_faults()
    rehearsal.ended()
    assert is_parked(rehearsal)


@pytest.mark.parametrize(
    ("fault", "values", "words"),
    [
        ("temperature", {"joint": "gripper", "celsius": 55.0}, "gripper has 55 C"),
        ("calibration", {"joint": "wrist_flex", "ticks": 30}, "calibrated otherwise"),
        ("firmware", {"joint": "elbow_flex"}, "firmware"),
    ],
)
def test_8_no_start_with_an_arm_that_is_not_as_its_file_says(
    rehearsal: Rehearsal, fault: str, values: dict[str, object], words: str
) -> None:
    rehearsal.emulated.fault(fault, **values)
    with pytest.raises(UserError, match=words):
        rehearsal.client()
    rehearsal.ended()
    assert not rehearsal.emulated.scene.state().torque.any()
    if fault == "calibration":
        bus = rehearsal.bus()
        bus.open(checks=False)
        bus.write_calibration(rehearsal.arm.calibration)
        bus.close()


def test_8_torque_comes_on_without_a_jerk(rehearsal: Rehearsal) -> None:
    client = at_work(rehearsal)
    client.relax()
    rehearsal.emulated.scene.turn_by_hand(np.add(PARK_DEG, [30.0, 0, 0, 0, 0, 0]))
    start = client.observe().joints_deg
    before = rehearsal.emulated.clock.now()
    client.move_to(start)
    assert rehearsal.emulated.clock.now() - before < 1.5
    np.testing.assert_allclose(client.observe().joints_deg[:5], start[:5], atol=2.0)
    client.close()


def test_heat_on_the_way_parks_the_arm(rehearsal: Rehearsal) -> None:
    client = at_work(rehearsal)
    rehearsal.emulated.fault("temperature", joint="gripper", celsius=66.0)
    with pytest.raises(ArmStopped, match="gripper has 66 C"):
        drive(rehearsal, client, READY)
    assert is_parked(rehearsal)
    client.close()


def test_a_supply_that_breaks_down_is_said_and_the_next_move_holds_again(rehearsal: Rehearsal) -> None:
    client = at_work(rehearsal)
    rehearsal.emulated.cut_power()
    with pytest.raises(ArmStopped, match="shoulder_lift.*lost torque") as caught:
        drive(rehearsal, client, READY, 30)
    assert caught.value.code == "power"
    client.move_to(READY)
    client.close()
    assert is_parked(rehearsal)


def test_an_overloaded_servo_is_named_and_the_arm_is_left_to_a_person(rehearsal: Rehearsal) -> None:
    client = at_work(rehearsal)
    rehearsal.emulated.fault("overload", joint="shoulder_lift")
    with pytest.raises(ArmStopped, match="shoulder_lift reports: overload"):
        drive(rehearsal, client, READY, 3)
    client.close()
