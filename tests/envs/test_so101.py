"""The arm on the desk, rehearsed: LeRobot's own driver and camera interface, an emulated bus, simulated time."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hiltk.config.groups import Actions, HumanConf, RewardConf, SceneReset, So101Conf, So101SimConf, TaskConf
from hiltk.envs.make import env_class, make_env, scene_class
from hiltk.envs.rewards import SuccessRule
from hiltk.envs.so101 import RehearsalEnv, So101Env
from hiltk.envs.so101_sim import So101SimEnv
from hiltk.envs.tasks import Spawn
from hiltk.errors import ConfigError, UserError
from hiltk.humans.make import make_human
from hiltk.robots.arm_store import save_arm_file
from hiltk.robots.emulated.rehearsal import rehearsal_file
from hiltk.spec import STATE_KEY, compare, refusals

TASK = TaskConf(time_limit_s=4.0)
NOOP = np.zeros(4, np.float32)


@pytest.fixture(scope="module")
def arm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = rehearsal_file("desk")
    file.emulated.time = "fast"
    path = tmp_path_factory.mktemp("arms") / "desk.yaml"
    save_arm_file(file, path)
    return path


@pytest.fixture(scope="module")
def desk(arm: Path) -> Iterator[SuccessRule]:
    env = make_env(So101Conf(arm=str(arm)), TASK, RewardConf(), seed=0)
    yield env
    env.close()


@pytest.fixture
def bare(desk: SuccessRule) -> Iterator[RehearsalEnv]:
    yield desk.unwrapped
    desk.unwrapped.emulator.clear_faults()


def test_the_scripted_human_lifts_the_cube_through_lerobots_driver(desk: SuccessRule) -> None:
    human = make_human(HumanConf(), desk)
    lifted = 0
    for seed in range(3):
        observation, info = desk.reset(seed=seed)
        human.reset(seed)
        done = False
        while not done:
            observation, _, terminated, truncated, info = desk.step(human.act(observation))
            done = terminated or truncated
            assert info["tick_s"] == pytest.approx(0.1, abs=0.02)
            assert not info["late"]
        lifted += info["true_success"]
    assert lifted == 3


def test_what_must_agree_with_the_simulated_arm_does_and_the_rest_is_named(bare: RehearsalEnv) -> None:
    sim = So101SimEnv(So101SimConf(), TASK)
    assert refusals(sim.io_spec, bare.io_spec) == []
    named = {d.path.split(".")[0] + "." + d.path.split(".")[1] for d in compare(sim.io_spec, bare.io_spec)}
    assert "robot.name" in named and "robot.calibration_hash" in named
    assert not named & {"state.dims", "action.dims", "action.scale_m"}


def test_the_policy_sees_what_it_would_see_in_simulation(desk: SuccessRule) -> None:
    sim = make_env(So101SimConf(), TASK, RewardConf(), seed=0)
    pose = {"cube_pose": (0.24, 0.02, 10.0)}
    here, there = desk.reset(seed=5, options=pose)[0], sim.reset(seed=5, options=pose)[0]
    for _ in range(4):
        here, there = desk.step(NOOP)[0], sim.step(NOOP)[0]
    assert here[STATE_KEY][12:15] == pytest.approx(there[STATE_KEY][12:15], abs=0.005)  # metres
    assert here[STATE_KEY][[0, 4]] == pytest.approx(there[STATE_KEY][[0, 4]], abs=0.5)  # the others: see the margin
    image = "observation.images.wrist"
    assert here[image].shape == there[image].shape == (64, 64, 3)
    assert np.abs(here[image].astype(float) - there[image]).mean() < 8  # of 255; by another cube it is 20 and more


def test_an_action_moves_the_measured_hand_as_far_as_it_says(bare: RehearsalEnv) -> None:
    bare.reset(seed=1)
    before = bare.kinematics.forward(bare.joints_deg())[0]
    for _ in range(3):
        bare.step(np.array([0.5, 0.0, 0.0, 0.0], np.float32))
    bare.step(NOOP)
    moved = bare.kinematics.forward(bare.joints_deg())[0] - before
    assert moved == pytest.approx([0.03, 0.0, 0.0], abs=0.006)


def test_an_episode_ends_at_its_time_limit_and_the_next_starts_where_it_should(bare: RehearsalEnv) -> None:
    bare.reset(seed=2)
    ends = [bare.step(NOOP)[3] for _ in range(bare.max_steps)]
    assert ends == [False] * (bare.max_steps - 1) + [True]
    bare.reset(seed=3)
    off = bare.kinematics.forward(bare.joints_deg())[0] - bare.arm.reset_ee_m
    assert (np.abs(off) <= np.array(bare.arm.reset_noise_m) + 0.005).all()


@pytest.mark.parametrize(("fault", "said"), [("camera_frozen", "no new picture"), ("camera_black", "black")])
def test_a_camera_that_fails_ends_the_run_by_name(bare: RehearsalEnv, fault: str, said: str) -> None:
    bare.reset(seed=4)
    bare.emulator.fault(fault, camera="wrist")
    with pytest.raises(UserError, match=f"camera wrist .*{said}"):
        for _ in range(30):
            bare.step(NOOP)


def test_joint_actions_drive_the_same_arm(arm: Path) -> None:
    env = make_env(So101Conf(arm=str(arm), actions=Actions.joints), TASK, RewardConf(), seed=0)
    sim = So101SimEnv(So101SimConf(actions=Actions.joints), TASK)
    assert refusals(sim.io_spec, env.io_spec) == []
    assert env.io_spec.action.names[0] == "delta_shoulder_pan" and env.io_spec.robot.locked == []
    human = make_human(HumanConf(noise=0.0), sim)
    observation, info = sim.reset(seed=1)
    human.reset(1)
    for _ in range(40):
        observation, *_, info = sim.step(human.act(observation))
    assert info["success_now"]  # a human who thinks in end-effector deltas drives joints, too


def test_a_person_is_told_where_the_cube_goes(
    bare: RehearsalEnv, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bare.reset(seed=6)
    monkeypatch.setattr(sys, "stdin", io.StringIO("\nescape\n"))
    monkeypatch.setattr(bare, "conf", replace(bare.conf, scene_reset=SceneReset.key))
    So101Env._set_scene(bare, Spawn(0.213, -0.05, 12.0))
    assert "cube at x 21 cm, y -5 cm, turned +12 degrees" in capsys.readouterr().out
    with pytest.raises(KeyboardInterrupt):
        So101Env._set_scene(bare, Spawn(0.213, -0.05, 12.0))


def test_what_cannot_be_is_said_before_the_arm_is_touched(arm: Path) -> None:
    with pytest.raises(ConfigError, match="has no camera 'top'; it has: wrist, front"):
        make_env(So101Conf(arm=str(arm), cameras=["top"]), TASK, RewardConf(), seed=0)
    with pytest.raises(UserError, match="there is no arm"):
        env_class(So101Conf(arm="nowhere"))
    with pytest.raises(ConfigError, match="knows where its cube is"):
        scene_class(So101Conf(arm=str(arm)))  # to repeat an episode, or to put the cube there, takes a simulation


def test_a_servo_that_gets_hot_is_told_once(desk: SuccessRule, bare: RehearsalEnv) -> None:
    desk.reset(seed=7)
    desk.take_findings()
    bare.emulator.fault("temperature", joint="elbow_flex", celsius=58)
    for _ in range(4):
        desk.step(NOOP)
    found = [finding for finding in desk.take_findings() if finding.code == "servo_temperature"]
    assert len(found) == 1 and "elbow_flex" in found[0].what
    assert desk.take_findings() == []
