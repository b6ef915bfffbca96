"""An hour at the emulated arm."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from hiltk.robots.emulated.client import start_emulator
from hiltk.robots.emulated.rehearsal import rehearsal_file
from tests.robots.emulated.driving import FLAT_DEG, connected, goals
from tests.robots.footprint import Footprint

TICK_S, HOUR_S = 0.1, 3600.0


@pytest.mark.slow
def test_an_emulated_hour_leaves_nothing_behind(tmp_path: Path) -> None:
    from hiltk.robots.emulated.camera import EmulatedCamera, camera_config

    arm = rehearsal_file("soak")
    arm.emulated.time, arm.emulated.faults = "fast", {"backlash": 0.5, "dropped": {"rate": 1e-4}}
    with start_emulator(arm, tmp_path / "soak.yaml") as emulated:
        robot, camera = (
            connected(emulated.port, arm, tmp_path),
            EmulatedCamera(camera_config(emulated, arm.cameras["wrist"])),
        )
        camera.connect()
        pids = [os.getpid(), emulated.pid]
        before = None
        for tick in range(round(HOUR_S / TICK_S)):
            robot.send_action(goals(FLAT_DEG + 10 * np.sin(tick / 7 + np.arange(6))))
            emulated.clock.sleep_until(emulated.clock.now() + TICK_S)
            robot.get_observation()
            if tick % 20 == 0:
                camera.read_latest()
            if tick % 500 == 0:  # somebody looks in
                with start_emulator(arm, tmp_path / "soak.yaml") as other:
                    other.scene.place_cube(0.2, 0.05, 0.0)
            if tick == 3000:
                before = Footprint.of(pids)
        assert before is not None
        assert before.grown_to(Footprint.of(pids), slack_mb=8) == []
        assert emulated.clock.now() > HOUR_S - 1
        camera.disconnect()
        robot.bus.port_handler.closePort()
        emulated.stop()
