"""Servos and the world they move, without port and process: as env=so101_sim moves it; torque, speed, faults, time."""

from __future__ import annotations

from collections.abc import Iterable

import mujoco
import numpy as np
import pytest

from hiltk.arm.model import JOINTS
from hiltk.arm.units import to_degrees
from hiltk.config.groups import HumanConf, So101SimConf, TaskConf
from hiltk.envs.so101_sim import So101SimEnv
from hiltk.errors import UserError
from hiltk.humans.scripted import ScriptedExpert
from hiltk.robots.arm_checks import mistakes
from hiltk.robots.emulated.client import settings_of
from hiltk.robots.emulated.machine import Machine
from hiltk.robots.emulated.rehearsal import PARK_DEG, rehearsal_file
from hiltk.robots.emulated.servos import (
    BROADCAST,
    GOAL,
    GOAL_SPEED,
    PRESENT,
    SYNC_READ,
    SYNC_WRITE,
    TORQUE_ENABLE,
    TORQUE_LIMIT,
    Packet,
)
from hiltk.sim.scene import build_scene
from tests.robots.emulated.driving import FLAT_DEG

ARM = rehearsal_file("desk")
TICK_DEG = 360 / 4095
OUT_DEG = np.array([0.0, 10.0, -10.0, 0.0, 90.0, 20.0])  # stretched out


def machine(**faults: object) -> Machine:
    ARM.emulated.time, ARM.emulated.faults = "fast", faults
    return Machine(settings_of(ARM))


def write(made: Machine, address: int, values: Iterable[int], size: int = 2) -> None:
    data = b"".join(bytes([k]) + int(v).to_bytes(size, "little") for k, v in enumerate(values, start=1))
    made.exchange(Packet(BROADCAST, SYNC_WRITE, bytes([address, size]) + data))


def command(made: Machine, joints_deg: np.ndarray) -> None:
    """Goals in whole ticks, cut as LeRobot cuts them."""
    ranges = [ARM.calibration[joint] for joint in JOINTS]
    raw = [int(a * 4095 / 360 + (r.range_min + r.range_max) / 2) for a, r in zip(joints_deg[:5], ranges, strict=False)]
    grip = ranges[5]
    raw.append(int(joints_deg[5] / 100 * (grip.range_max - grip.range_min) + grip.range_min))
    write(made, GOAL, raw)


def read(made: Machine) -> np.ndarray:
    """Joints (6,) from the registers, as LeRobot reads them."""
    answers = made.exchange(Packet(BROADCAST, SYNC_READ, bytes([PRESENT, 2, 1, 2, 3, 4, 5, 6])))
    raw = np.array([int.from_bytes(answer[5:7], "little") for _, answer in answers], float)
    low, high = np.array([[ARM.calibration[j].range_min, ARM.calibration[j].range_max] for j in JOINTS]).T
    return np.append(((raw - (low + high) / 2) * TICK_DEG)[:5], (raw[5] - low[5]) / (high[5] - low[5]) * 100)


def hold(made: Machine, joints_deg: np.ndarray = FLAT_DEG, seconds: float = 2.0) -> Machine:
    command(made, joints_deg)
    write(made, TORQUE_ENABLE, [1] * 6, 1)
    made.sleep_until(made.now() + seconds)
    return made


# ---------------------------------------------------------------------- the same world as the simulated environment


def test_the_same_goals_give_the_same_joints() -> None:
    scene = build_scene(So101SimConf())
    data = mujoco.MjData(scene.model)
    made = hold(machine())
    data.qpos[:], data.qvel[:] = made.world.data.qpos, made.world.data.qvel
    for k in range(20):
        command(made, FLAT_DEG + 15 * np.sin(k / 3 + np.arange(6)))
        data.ctrl[scene.actuators] = made.world.goal
        mujoco.mj_step(scene.model, data, round(0.1 / scene.model.opt.timestep))
        made.sleep_until(made.now() + 0.1)
        assert read(made) == pytest.approx(to_degrees(data.qpos[scene.joint_qpos]), abs=0.5 * TICK_DEG + 0.03)


def test_what_lifts_the_cube_in_the_simulated_environment_lifts_it_here() -> None:
    env = So101SimEnv(So101SimConf(cameras=[]), TaskConf(name="lift"))
    env.reset(seed=3, options={"cube_pose": (0.24, 0.03, 10.0)})
    expert = ScriptedExpert(env, HumanConf())
    made = hold(machine(), env.control.joints_deg)
    made.place_cube(0.24, 0.03, 10.0)
    off = []
    for _ in range(30):
        env.step(expert.act({}))
        command(made, env.control.joints_deg)
        made.sleep_until(made.now() + 0.1)
        off.append(np.abs(read(made) - env.joints_deg()))
    # A goal is cut to a whole tick and a reading rounded to one; on the way that is a moment's difference, too.
    assert np.median(off, axis=0) == pytest.approx(0, abs=1.5 * TICK_DEG)
    assert np.max(off) < 0.6
    assert env.situation.lifted_m > 0.1
    assert made.state().cube_m == pytest.approx(env.cube_position(), abs=3e-3)
    assert made.state().fixed_jaw and made.state().moving_jaw


def test_the_calibration_of_the_file_is_that_of_the_servos() -> None:
    for servo, joint in zip(machine().chain.servos, ARM.calibration.values(), strict=True):
        assert (servo.id, servo.offset, servo.get(9), servo.get(11)) == (
            joint.id, joint.homing_offset, joint.range_min, joint.range_max,
        )  # fmt: skip


def test_the_file_of_a_rehearsal_has_no_mistakes() -> None:
    assert mistakes(rehearsal_file("desk")) == []


def test_a_new_arm_lies_at_rest_near_its_park_pose() -> None:
    made = machine()
    rest = read(made)
    assert rest == pytest.approx(PARK_DEG, abs=8)
    made.sleep_until(5.0)
    assert read(made) == pytest.approx(rest, abs=0.2)


# ---------------------------------------------------------------------- torque and speed


def test_without_torque_the_arm_falls_and_with_it_goes_to_the_old_goal() -> None:
    made = hold(machine())
    write(made, TORQUE_ENABLE, [0] * 6, 1)
    made.sleep_until(made.now() + 1.0)
    assert read(made)[2] - FLAT_DEG[2] > 10  # until it lies on the table
    write(made, TORQUE_ENABLE, [1] * 6, 1)  # no goal written before: the danger that the driver must prevent
    made.sleep_until(made.now() + 1.0)
    assert read(made) == pytest.approx(FLAT_DEG, abs=0.3)


def test_a_low_torque_limit_cannot_hold_the_arm() -> None:
    made = hold(machine(), OUT_DEG)
    write(made, TORQUE_LIMIT, [100] * 6)
    made.sleep_until(made.now() + 1.0)
    assert read(made)[1] - OUT_DEG[1] > 20


def test_half_torque_grips_as_the_simulated_arm_does() -> None:
    made = hold(machine())
    write(made, TORQUE_LIMIT, [500] * 6)
    assert made.world.scene.model.actuator_forcerange[made.world.scene.actuators][5, 1] == 1.2


def test_the_servos_own_speed_limit_holds() -> None:
    made = hold(machine())
    write(made, GOAL_SPEED, [512] * 6)  # ticks a second: 45 degrees
    goal = FLAT_DEG - np.array([30, 0, 0, 0, 0, 0])
    command(made, goal)
    made.sleep_until(made.now() + 0.4)
    assert read(made)[0] == pytest.approx(FLAT_DEG[0] - 18, abs=1.5)
    made.sleep_until(made.now() + 0.6)
    assert read(made)[0] == pytest.approx(goal[0], abs=0.2)


# ---------------------------------------------------------------------- faults


def test_soft_servos_sag() -> None:
    assert read(hold(machine(sag=0.1), OUT_DEG))[1] - OUT_DEG[1] > 0.25
    assert read(hold(machine(sag=0.03), OUT_DEG))[1] - OUT_DEG[1] > 0.8
    assert read(hold(machine(), OUT_DEG))[1] - OUT_DEG[1] < 0.15


def test_a_joint_with_play_hangs_off_its_encoder() -> None:
    made = hold(machine(backlash=0.5), OUT_DEG)
    assert read(made) == pytest.approx(OUT_DEG, abs=0.3)  # the servo believes its encoder
    assert (made.state().joints_deg - read(made))[1:3] == pytest.approx([0.5, 0.5], abs=TICK_DEG)  # down


def test_a_stuck_joint_stays_where_it_is_and_pushes() -> None:
    made = hold(machine())
    made.fault("stuck", {"joint": "elbow_flex"})
    command(made, FLAT_DEG - np.array([0, 0, 30, 0, 0, 0]))
    made.sleep_until(made.now() + 1.0)
    assert read(made)[2] == pytest.approx(FLAT_DEG[2], abs=0.5)
    load, current = made.chain.servos[2].get(60), made.chain.servos[2].get(69)
    assert (load, current) == (0x400 | 1000, 0x8000 | 415)  # all it has, backwards
    made.clear_faults()
    made.sleep_until(made.now() + 1.0)
    assert read(made)[2] == pytest.approx(FLAT_DEG[2] - 30, abs=0.3)


def test_an_overloaded_servo_lets_go_until_its_power_is_cycled() -> None:
    made = hold(machine())
    made.fault("overload", {"joint": "shoulder_lift"})
    made.sleep_until(made.now() + 1.0)
    assert read(made)[1] - FLAT_DEG[1] > 10 and made.chain.servos[1].registers[65] == 32
    made.clear_faults()
    assert made.chain.servos[1].error == 0


def test_voltage_and_heat_are_measured_and_beyond_the_servos_limits_told() -> None:
    made = machine()
    made.fault("voltage", {"volts": 10.5})
    read(made)
    assert [s.registers[62] for s in made.chain.servos] == [105] * 6 and not any(s.error for s in made.chain.servos)
    made.fault("voltage", {"volts": 3.5})
    made.fault("temperature", {"celsius": 72, "joint": "gripper"})
    read(made)
    assert [s.error for s in made.chain.servos] == [1] * 5 + [5] and made.chain.servos[5].registers[63] == 72


def test_faults_begin_and_end_on_the_arms_clock() -> None:
    made = machine(voltage={"volts": 9.0, "after_s": 1.0, "for_s": 0.5})
    seen = []
    for due in (0.9, 1.1, 1.4, 1.6):
        made.sleep_until(due)
        read(made)
        seen.append(made.chain.servos[0].registers[62])
    assert seen == [120, 90, 90, 120]


def test_a_share_or_a_number_of_answers_is_hit() -> None:
    made = machine(dropped={"rate": 0.2})
    lost = sum(made.spoilt(0, b"answer")[0] == b"" for _ in range(500))
    assert 60 < lost < 140
    made.clear_faults()
    made.fault("corrupt", {"count": 2, "joint": "elbow_flex"})
    hit = [made.spoilt(place, b"\0\0")[0] != b"\0\0" for place in (2, 1, 2, 2)]
    assert hit == [True, False, True, False]


@pytest.mark.parametrize(
    "name, values, message",
    [
        ("sagging", 0.1, "no fault 'sagging'"),
        ("sag", "much", "needs a number as gain"),
        ("silent", {"joint": "elbow"}, "no joint 'elbow'"),
        ("late", {"second": 1}, "takes no 'second'"),
    ],
)
def test_a_fault_that_cannot_be_is_named(name: str, values: object, message: str) -> None:
    with pytest.raises(UserError, match=message):
        machine(**{name: values})


# ---------------------------------------------------------------------- from one process to the next


def test_an_arm_is_found_as_it_was_left() -> None:
    made = hold(machine(firmware={"minor": 9, "joint": "elbow_flex"}))
    made.place_cube(0.2, -0.05, 45.0)
    kept, other = made.to_plain(), machine()
    other.restore(kept)
    assert read(other) == pytest.approx(FLAT_DEG, abs=0.2)
    other.sleep_until(1.0)
    assert read(other) == pytest.approx(FLAT_DEG, abs=0.2)
    assert other.state().cube_m[:2] == pytest.approx([0.2, -0.05], abs=1e-3)
    assert other.chain.servos[2].registers[1] == 10  # a fault is not what the arm is


def test_a_power_cut_drops_the_arm_and_keeps_its_eeprom() -> None:
    made = hold(machine())
    made.cut_power()
    made.sleep_until(made.now() + 1.0)
    assert read(made)[2] - FLAT_DEG[2] > 10 and not made.state().torque.any()
    assert made.chain.servos[0].offset == ARM.calibration["shoulder_pan"].homing_offset


def test_joints_without_torque_are_turned_by_hand() -> None:
    made = machine()
    made.turn_by_hand([10, -40, 30, 20, 0, 50])
    assert read(made) == pytest.approx([10, -40, 30, 20, 0, 50], abs=0.1)
