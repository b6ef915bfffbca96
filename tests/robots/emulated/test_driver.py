"""LeRobot's unmodified driver and cameras on the emulated arm's process, and what they make of each fault.

What the driver does is known from real servos and from its code; where a test says that it does something dangerous,
that is what `hiltk.robots` has to prevent. Times are those of `time: fast`, so a busy machine changes nothing.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from hiltk.errors import UserError
from hiltk.robots.emulated.client import EmulatedArm, start_emulator, state_file
from hiltk.robots.emulated.rehearsal import PARK_DEG, rehearsal_file
from hiltk.robots.emulated.wire import connect, listen, receive, send
from tests.robots.emulated.driving import FLAT_DEG, connected, cured, degrees, driver, goals

ARM = rehearsal_file("desk")
ARM.emulated.time = "fast"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("arms")


@pytest.fixture(scope="module")
def running(folder: Path) -> Iterator[EmulatedArm]:
    with start_emulator(ARM, folder / "desk.yaml") as emulated:
        yield emulated
        emulated.stop()


@pytest.fixture
def emulated(running: EmulatedArm) -> Iterator[EmulatedArm]:
    """Whole, parked, with its power just switched on."""
    running.clear_faults()
    running.cut_power()
    running.scene.turn_by_hand(PARK_DEG)
    yield running
    running.clear_faults()


@pytest.fixture
def robot(emulated: EmulatedArm, folder: Path) -> Iterator[Any]:
    one = connected(emulated.port, ARM, folder)
    yield one
    one.bus.port_handler.closePort()


def wait(emulated: EmulatedArm, seconds: float) -> None:
    emulated.clock.sleep_until(emulated.clock.now() + seconds)


# ---------------------------------------------------------------------- a whole arm


def test_the_driver_moves_the_arm(emulated: EmulatedArm, robot: Any) -> None:
    assert robot.is_calibrated
    robot.send_action(goals(FLAT_DEG))
    wait(emulated, 2.0)
    assert degrees(robot.get_observation()) == pytest.approx(FLAT_DEG, abs=0.2)
    assert emulated.scene.state().joints_deg == pytest.approx(FLAT_DEG, abs=0.2)
    assert emulated.scene.state().torque.all()
    robot.disconnect()
    assert not emulated.scene.state().torque.any()


def test_all_that_servos_measure_comes_in_one_answer_each(emulated: EmulatedArm, robot: Any) -> None:
    bus = robot.bus
    bus._setup_sync_reader(bus.ids, 56, 15)
    assert bus.sync_reader.txRxPacket() == 0
    assert [bus.sync_reader.getData(k, 62, 1) for k in bus.ids] == [120] * 6
    assert bus.sync_reader.getData(1, 56, 2) == bus.read("Present_Position", "shoulder_pan", normalize=False)


def test_time_goes_to_the_furthest_asked_by_any_client(emulated: EmulatedArm, folder: Path) -> None:
    with start_emulator(ARM, folder / "desk.yaml") as other:
        assert other.port == emulated.port
        start = other.clock.now()
        other.clock.sleep_until(start + 2.0)
        emulated.clock.sleep_until(start + 1.0)
        assert emulated.clock.now() == other.clock.now() == pytest.approx(start + 2.0)


# ---------------------------------------------------------------------- faults of the bus


def test_one_corrupt_answer_is_asked_for_again(emulated: EmulatedArm, robot: Any) -> None:
    emulated.fault("corrupt", joint="elbow_flex", count=1)
    robot.get_observation()


def test_three_in_a_row_end_one_read_and_not_the_next(emulated: EmulatedArm, robot: Any) -> None:
    emulated.fault("corrupt", joint="elbow_flex", count=3)
    with pytest.raises(ConnectionError, match="Incorrect status packet!"):
        robot.get_observation()
    robot.get_observation()


def test_lost_answers_are_missed_and_lost_goals_are_not(emulated: EmulatedArm, robot: Any) -> None:
    emulated.fault("dropped", joint="gripper")
    with pytest.raises(ConnectionError, match="no status packet"):
        robot.bus.read("Present_Position", "gripper")
    emulated.clear_faults()
    emulated.fault("silent", joint="wrist_flex")
    robot.send_action(goals(FLAT_DEG))
    with pytest.raises(ConnectionError):
        robot.get_observation()
    emulated.clear_faults()
    wait(emulated, 2.0)
    off = np.abs(degrees(robot.get_observation()) - FLAT_DEG)
    assert off[3] > 5 and np.delete(off, 3).max() < 0.3


def test_what_comes_late_is_taken_for_the_next_answer_unless_the_input_is_cleared(
    emulated: EmulatedArm, folder: Path
) -> None:
    for cure, is_right in ((lambda robot: robot, False), (cured, True)):
        robot = driver(emulated.port, ARM, folder)
        robot.bus.connect()
        robot = cure(robot)
        robot.bus.write("Goal_Position", "shoulder_pan", 1234, normalize=False)
        emulated.fault("late", seconds=0.4, joint="shoulder_pan")
        with pytest.raises(ConnectionError):
            robot.bus.read("Goal_Position", "shoulder_pan", normalize=False)
        emulated.clear_faults()
        time.sleep(0.8)
        read = None
        with contextlib.suppress(IndexError):  # the old answer may be too short for what was asked
            read = robot.bus.read("Model_Number", "shoulder_pan")
        assert (read == 777) is is_right, read
        robot.bus.port_handler.closePort()


def test_an_overload_is_overlooked_by_reads_and_writes_of_all(emulated: EmulatedArm, robot: Any) -> None:
    emulated.fault("overload", joint="gripper")
    robot.get_observation()
    robot.send_action({"gripper.pos": 20.0})
    with pytest.raises(RuntimeError, match="Overload"):
        robot.bus.read("Present_Load", "gripper")


def test_a_disconnect_with_one_bad_servo_leaves_torque_on_behind_it(emulated: EmulatedArm, robot: Any) -> None:
    emulated.fault("overload", joint="elbow_flex")
    with pytest.raises(RuntimeError):
        robot.disconnect()
    emulated.clear_faults()
    # Of the bad servo the write was done, though its answer was refused.
    assert emulated.scene.state().torque.tolist() == [False, False, False, True, True, True]
    assert robot.is_connected


@pytest.mark.parametrize(
    "fault, message",
    [
        ({"name": "silent", "joint": "wrist_flex"}, r"Missing motor IDs:\s+- 4"),
        ({"name": "overload", "joint": "gripper"}, r"Missing motor IDs:\s+- 6"),
        ({"name": "id", "joint": "shoulder_pan", "id": 9}, r"Missing motor IDs:\s+- 1"),
        ({"name": "model", "joint": "wrist_flex"}, r"4 \(wrist_flex\): expected 777, found 2825"),
        ({"name": "firmware", "joint": "elbow_flex"}, r"different firmware versions:[^$]*3: '3.9'"),
    ],
)
def test_a_wrong_chain_is_refused_at_the_start(
    emulated: EmulatedArm, folder: Path, fault: dict[str, Any], message: str
) -> None:
    emulated.fault(**fault)
    robot = cured(driver(emulated.port, ARM, folder))
    with pytest.raises(RuntimeError, match=message):
        robot.connect(calibrate=False)
    assert robot.bus.is_connected  # the port stays open: to be closed by whoever opened it
    robot.bus.port_handler.closePort()


def test_another_calibration_shows_and_is_used_all_the_same(emulated: EmulatedArm, folder: Path) -> None:
    emulated.fault("calibration", ticks=100, joint="shoulder_pan")
    robot = connected(emulated.port, ARM, folder)
    assert not robot.is_calibrated
    told = robot.get_observation()["shoulder_pan.pos"]
    assert told - emulated.scene.state().joints_deg[0] == pytest.approx(-100 * 360 / 4095, abs=0.2)
    robot.bus.disable_torque()
    robot.bus.write_calibration(robot.calibration)
    assert robot.is_calibrated
    robot.bus.port_handler.closePort()


def test_a_port_that_vanishes_comes_back_under_its_name(emulated: EmulatedArm, folder: Path, robot: Any) -> None:
    emulated.fault("unplugged")
    _until(lambda: not os.path.lexists(emulated.port))
    with pytest.raises((termios.error, OSError)):
        robot.get_observation()
    with pytest.raises(Exception, match="in use|Input/output"):
        robot.get_observation()
    assert robot.is_connected
    emulated.clear_faults()
    _until(lambda: os.path.exists(emulated.port))
    again = connected(emulated.port, ARM, folder)
    again.get_observation()
    again.bus.port_handler.closePort()


def test_heat_and_a_dip_of_the_supply_are_read(emulated: EmulatedArm, robot: Any) -> None:
    emulated.fault("voltage", volts=9.5)
    emulated.fault("temperature", celsius=66, joint="gripper")
    assert set(robot.bus.sync_read("Present_Voltage").values()) == {95}
    assert robot.bus.sync_read("Present_Temperature")["gripper"] == 66


def test_a_fault_nobody_knows_is_refused(emulated: EmulatedArm) -> None:
    with pytest.raises(UserError, match="no fault 'overlode'") as caught:
        emulated.fault("overlode", joint="gripper")
    assert "overload" in caught.value.fix
    with pytest.raises(UserError, match="no camera 'frnt'"):
        emulated.fault("camera_black", camera="frnt")


# ---------------------------------------------------------------------- cameras


@pytest.fixture
def camera(emulated: EmulatedArm) -> Iterator[Any]:
    from lerobot.cameras.utils import make_cameras_from_configs

    from hiltk.robots.emulated.camera import camera_config

    one = make_cameras_from_configs({"front": camera_config(emulated, ARM.cameras["front"])})["front"]
    one.connect()
    yield one
    one.disconnect()


def test_a_frame_is_of_the_arms_now(emulated: EmulatedArm, camera: Any) -> None:
    emulated.scene.place_cube(0.25, 0.0, 0.0)
    frame = camera.read_latest()
    assert frame.shape == (96, 128, 3) and camera.read_latest() is frame
    assert (frame == emulated.scene.render("front")).all()
    emulated.scene.place_cube(0.25, 0.1, 0.0)
    assert (camera.async_read() != frame).any()  # the person moved the cube
    wait(emulated, 0.1)
    later = camera.read_latest()
    assert later is not frame and time.perf_counter() - camera.latest_timestamp < 60


def test_the_square_in_the_middle_is_the_simulated_environments_picture(emulated: EmulatedArm, camera: Any) -> None:
    import mujoco

    from hiltk.arm.units import to_radians
    from hiltk.config.groups import So101SimConf
    from hiltk.sim.renderers import make_renderer
    from hiltk.sim.scene import build_scene, place_cube

    emulated.scene.place_cube(0.2, 0.05, 20.0)
    scene, state = build_scene(So101SimConf()), emulated.scene.state()
    data = mujoco.MjData(scene.model)
    data.qpos[scene.joint_qpos] = to_radians(state.joints_deg)
    place_cube(scene, data, 0.2, 0.05, 20.0)
    mujoco.mj_forward(scene.model, data)
    top, left, height, width = ARM.cameras["front"].crop
    expected = make_renderer(scene.model, 96, 96, So101SimConf()).render(data, scene.cameras["front"])
    assert (camera.read_latest()[top : top + height, left : left + width] == expected).all()


def test_a_frozen_a_black_and_a_slow_camera(emulated: EmulatedArm, camera: Any) -> None:
    wait(emulated, 0.1)
    frame = camera.read_latest()
    emulated.fault("camera_frozen", camera="front")
    wait(emulated, 0.4)
    assert camera.read_latest() is frame
    wait(emulated, 0.2)
    with pytest.raises(TimeoutError, match="front"):
        camera.read_latest()
    emulated.clear_faults()
    emulated.fault("camera_black", camera="front")
    assert camera.read_latest().max() == 0
    emulated.clear_faults()
    emulated.fault("camera_slow", camera="front", fps=4.0)
    seen = []
    for _ in range(10):
        wait(emulated, 0.1)
        seen.append(camera.read_latest())  # kept, so that no other takes its place in memory
    assert 3 <= len({id(frame) for frame in seen}) <= 5


def test_a_camera_that_the_arm_has_not_is_refused(emulated: EmulatedArm) -> None:
    from hiltk.robots.emulated.camera import EmulatedCamera, EmulatedCameraConfig

    one = EmulatedCamera(EmulatedCameraConfig(address=emulated.address, camera="front", width=640, height=480, fps=30))
    with pytest.raises(ConnectionError, match=r"gives \[96, 128\], not \[480, 640\]"):
        one.connect()
    assert not one.is_connected


def test_in_real_time_the_arm_moves_and_frames_come_by_themselves(tmp_path: Path) -> None:
    from hiltk.robots.emulated.camera import EmulatedCamera, camera_config

    arm = rehearsal_file("real")
    with start_emulator(arm, tmp_path / "real.yaml") as emulated:
        robot = connected(emulated.port, arm, tmp_path)
        camera = EmulatedCamera(camera_config(emulated, arm.cameras["wrist"]))
        camera.connect()
        robot.send_action(goals(FLAT_DEG))
        _until(lambda: np.abs(degrees(robot.get_observation()) - FLAT_DEG).max() < 0.3)
        first = camera.read()
        assert camera.async_read(10_000) is not first
        emulated.fault("camera_frozen", camera="wrist")
        _until(lambda: _too_old(camera))
        camera.disconnect()
        robot.bus.port_handler.closePort()
        emulated.stop()
    assert not any(thread.name == "camera wrist" for thread in threading.enumerate())


def _too_old(camera: Any) -> bool:
    try:
        camera.read_latest(max_age_ms=200)
    except TimeoutError:
        return True
    return False


# ---------------------------------------------------------------------- the process


def test_the_arm_lies_there_for_the_next_command(tmp_path: Path, emulated: EmulatedArm) -> None:
    arm, path = rehearsal_file("other"), tmp_path / "other.yaml"
    arm.emulated.time = "fast"
    with start_emulator(arm, path) as first:
        assert first.port != emulated.port
        robot = connected(first.port, arm, tmp_path)
        robot.send_action(goals(FLAT_DEG))
        first.clock.sleep_until(2.0)
        first.scene.place_cube(0.2, 0.05, 30.0)
        robot.bus.port_handler.closePort()
        arm.emulated.seed = 1
        with pytest.raises(UserError, match="runs with other settings"):
            start_emulator(arm, path)
        first.stop()
        with pytest.raises(UserError, match="is gone"):
            first.clock.now()
    with start_emulator(arm, path) as later:
        state = later.scene.state()
        assert state.joints_deg == pytest.approx(FLAT_DEG, abs=0.2)
        assert state.cube_m[:2] == pytest.approx([0.2, 0.05], abs=1e-3)
        assert state.torque.all() and state.time_s == 0.0
        later.stop()
    assert state_file(path).is_file() and not Path(later.address).exists()


def test_one_that_was_killed_is_found_as_it_was_last_saved(tmp_path: Path) -> None:
    arm, path = rehearsal_file("killed"), tmp_path / "killed.yaml"
    arm.emulated.time = "fast"
    with start_emulator(arm, path) as first:
        first.scene.place_cube(0.2, 0.05, 0.0)
        _until(lambda: state_file(path).is_file() and json.loads(state_file(path).read_text())["qpos"][6] == 0.2)
        psutil.Process(first.pid).kill()
        with pytest.raises(UserError, match="is gone"):
            first.scene.state()
    with start_emulator(arm, path) as later:
        assert later.scene.state().cube_m[:2] == pytest.approx([0.2, 0.05], abs=1e-3)
        later.stop()


def test_where_a_sockets_name_is_too_long_it_listens_on_this_machine(tmp_path: Path) -> None:
    folder = tmp_path / ("x" * 120)
    folder.mkdir()
    server, address = listen(folder)
    assert address.startswith("127.0.0.1:")
    client = connect(address)
    with client, server, client.makefile("rwb") as ours, server.accept()[0].makefile("rwb") as theirs:
        send(ours, {"call": "now"}, b"raw")
        assert receive(theirs) == ({"call": "now", "bytes": 3}, b"raw")


def test_the_process_needs_neither_lerobot_nor_torch() -> None:
    code = "import hiltk.robots.emulated.process, sys; print([m for m in ('torch', 'lerobot') if m in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


def test_what_keeps_it_from_starting_is_said(tmp_path: Path) -> None:
    arm = rehearsal_file("broken")
    arm.model_path = str(tmp_path / "none.xml")
    with pytest.raises(UserError, match="no such arm model"):
        start_emulator(arm, tmp_path / "broken.yaml")


@pytest.mark.slow
def test_it_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    code = (
        "import os, pathlib, sys\n"
        "from hiltk.robots.emulated.client import start_emulator\n"
        "from hiltk.robots.emulated.rehearsal import PARK_DEG, rehearsal_file\n"
        "arm = start_emulator(rehearsal_file('orphan'), pathlib.Path(sys.argv[1]))\n"
        "print(arm.pid, flush=True); os.kill(os.getpid(), 9)\n"
    )
    child = subprocess.run([sys.executable, "-c", code, str(tmp_path / "orphan.yaml")], capture_output=True, text=True)
    orphan = psutil.Process(int(child.stdout))
    orphan.wait(60)


def _until(holds: Any) -> None:
    for _ in range(500):
        if holds():
            return
        time.sleep(0.02)
    raise AssertionError("it never came to hold")
