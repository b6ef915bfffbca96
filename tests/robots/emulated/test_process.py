"""The emulated arm as a process: LeRobot's unmodified driver, the clock, the scene, and what is left when it ends."""

from __future__ import annotations

from pathlib import Path

import pytest

from hiltk.robots.emulated.client import start_emulator, state_file
from hiltk.robots.emulated.rehearsal import rehearsal_file
from tests.robots.emulated.driving import FLAT_DEG, connected, degrees, goals


def test_lerobots_driver_moves_the_arm_which_lies_there_for_the_next_command(tmp_path: Path) -> None:
    arm, path = rehearsal_file("desk"), tmp_path / "desk.yaml"
    arm.emulated.time = "fast"
    with start_emulator(arm, path) as emulated:
        robot = connected(emulated.port, arm, tmp_path)
        assert robot.is_calibrated
        robot.send_action(goals(FLAT_DEG))
        emulated.clock.sleep_until(emulated.clock.now() + 2.0)
        assert degrees(robot.get_observation()) == pytest.approx(FLAT_DEG, abs=0.2)
        robot.bus.port_handler.closePort()
        with start_emulator(arm, path) as other:  # the same process, the same time
            assert other.clock.now() == pytest.approx(2.0)
            other.clock.sleep_until(1.0)
            assert emulated.clock.now() == pytest.approx(2.0)
            other.scene.place_cube(0.2, 0.05, 30.0)
            other.stop()
    with start_emulator(arm, path) as later:
        state = later.scene.state()
        assert state.joints_deg == pytest.approx(FLAT_DEG, abs=0.2)
        assert state.cube_m[:2] == pytest.approx([0.2, 0.05], abs=1e-3)
        assert state.torque.all() and state.time_s == 0.0
        later.stop()
    assert state_file(path).is_file()
