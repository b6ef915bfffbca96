"""The simulated arm: reproducible to the bit, honest about its spec, strict about its actions."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from hiltk.arm.kinematics import Kinematics
from hiltk.arm.model import model_hash
from hiltk.config.groups import JitterConf, Renderer, So101SimConf, TaskConf
from hiltk.envs.so101_sim import So101SimEnv
from hiltk.envs.tasks import Spawn, stratum_of
from hiltk.errors import ConfigError, UserError
from hiltk.observation import ObservationPipeline
from hiltk.spec import STATE_KEY, EeFrame, GripperFormat, Spec

CPU = So101SimConf(renderer=Renderer.cpu)
BLIND = So101SimConf(cameras=[])
WRIST = "observation.images.wrist"


def make(conf: So101SimConf = BLIND, task: TaskConf | None = None, seed: int = 0, **changes: Any) -> So101SimEnv:
    return So101SimEnv(replace(conf, **changes), task or TaskConf(), seed)


@pytest.fixture(scope="module")
def blind() -> So101SimEnv:
    return make()


def play(env: So101SimEnv, steps: int = 8, seed: int | None = 3, **options: Any) -> list[dict[str, np.ndarray]]:
    """Observations of one episode of fixed pseudo-random actions."""
    actions = np.random.default_rng(0).uniform(-1, 1, (steps, 4)).astype(np.float32)
    observation, _ = env.reset(seed=seed, options=options)
    return [observation, *(env.step(action)[0] for action in actions)]


def same(left: list[dict[str, np.ndarray]], right: list[dict[str, np.ndarray]]) -> bool:
    return all((a[key] == b[key]).all() for a, b in zip(left, right, strict=True) for key in a)


def hold(env: So101SimEnv, action: list[float], steps: int) -> np.ndarray:
    """Repeat one action; the last state."""
    for _ in range(steps):
        observation = env.step(np.array(action, np.float32))[0]
    return observation[STATE_KEY]


# ---------------------------------------------------------------- reproducibility


def test_a_seed_repeats_an_episode_bit_for_bit_in_this_and_in_another_instance() -> None:
    env = make(CPU, jitter=JitterConf(1.0, 1.0, 1.0))
    first = play(env)
    play(env, seed=9)  # whatever came before must not matter
    assert same(first, play(env))
    assert same(first, play(make(CPU, seed=7, jitter=JitterConf(1.0, 1.0, 1.0))))
    assert not same(first, play(env, seed=4))


def test_reset_without_a_seed_continues_a_seeded_sequence() -> None:
    one, two = make(seed=5), make(seed=5)
    sequence = [play(one, 2, seed=None) for _ in range(3)]
    assert all(same(episode, play(two, 2, seed=None)) for episode in sequence)
    assert not same(sequence[0], sequence[1])
    again = make(seed=1)
    again.reset(seed=5)
    assert same(play(again, 2, seed=None), sequence[1])


def test_jitter_changes_pixels_but_not_the_episode() -> None:
    plain = play(make(CPU))
    for part in ("lighting", "color", "camera"):
        jittered = play(make(CPU, jitter=JitterConf(**{part: 1.0})))
        assert all((a[STATE_KEY] == b[STATE_KEY]).all() for a, b in zip(plain, jittered, strict=True))
        assert all((a[WRIST] != b[WRIST]).any() for a, b in zip(plain, jittered, strict=True))


# ---------------------------------------------------------------- the contract


def test_gymnasium_finds_nothing_to_complain_about() -> None:
    check_env(make(CPU, cameras=["wrist", "front"], image_height=32, image_width=48), skip_render_check=True)


def test_observations_pass_the_pipeline_of_the_spec() -> None:
    env = make(CPU, cameras=["wrist", "front"], image_height=24, image_width=32)
    observation, _ = env.reset(seed=0)
    seen = ObservationPipeline(env.io_spec)(observation)
    assert seen[WRIST].shape == (24, 32, 3)
    assert set(seen) == {STATE_KEY, WRIST, "observation.images.front"}
    assert env.observation_space.contains(observation)


def test_the_spec_is_complete_and_survives_disk(tmp_path: Path) -> None:
    env = make(CPU)
    spec = env.io_spec
    assert (spec.task, spec.fps, spec.action.scale_m, spec.action.frame) == ("lift", 10.0, 0.02, "base")
    assert spec.action.names == ["delta_x", "delta_y", "delta_z", "gripper"]
    assert len(spec.state.dims) == 18
    assert all(d.unit and d.low < d.high for d in spec.state.dims)
    robot = spec.robot
    assert robot.name == "so101_sim (cpu renderer)"
    assert env.renderer_name == "cpu"
    assert robot.model_hash == model_hash()
    assert robot.ee_site == "gripperframe"
    assert [joint.unit for joint in robot.joints] == ["deg"] * 5 + ["percent"]
    assert robot.workspace_low_m == CPU.workspace_low_m
    assert robot.reset_ee_m == CPU.reset_ee_m
    spec.save(tmp_path / "spec.yaml")
    assert Spec.load(tmp_path / "spec.yaml") == spec


def test_state_is_joints_speed_and_forward_kinematics(blind: So101SimEnv) -> None:
    before, _ = blind.reset(seed=0)
    assert (before[STATE_KEY][6:12] == 0).all()
    after = blind.step(np.array([1, 0, -1, -1], np.float32))[0][STATE_KEY]
    assert after[6:12] == pytest.approx((after[:6] - before[STATE_KEY][:6]) * 10, abs=1e-2)
    position, _ = Kinematics().forward(after[:6])
    assert after[12:15] == pytest.approx(position, abs=1e-5)
    site = blind.data.site_xpos[blind.scene.ee]  # MuJoCo's own kinematics, of the very same instant
    assert after[12:15] == pytest.approx(site, abs=1e-6)


def test_the_end_effector_relative_to_the_reset_pose() -> None:
    """Only its six dimensions differ; they begin at zero in every episode, whatever the reset noise."""
    relative, base = make(ee_frame=EeFrame.reset), make()
    assert relative.io_spec.state.ee_frame is EeFrame.reset
    for seed in (3, 4):
        seen, plain = ([o[STATE_KEY] for o in play(env, seed=seed)] for env in (relative, base))
        np.testing.assert_array_equal(np.array(seen)[:, :12], np.array(plain)[:, :12])
        np.testing.assert_allclose(seen[0][12:], 0, atol=1e-6)
        assert np.linalg.norm(seen[-1][12:15]) == pytest.approx(np.linalg.norm((plain[-1] - plain[0])[12:15]), abs=1e-5)


def test_what_is_missing_for_success_is_told(blind: So101SimEnv) -> None:
    for task, missing in (("lift", 0.05), ("grasp", 0.01)):
        _, info = make(task=TaskConf(name=task)).reset(seed=0)
        assert info["missing_m"] == pytest.approx(missing, abs=1e-3) and not info["success_now"]


def test_info_says_where_it_spawned_and_what_was_done(blind: So101SimEnv) -> None:
    for stratum in blind.strata:
        _, info = blind.reset(seed=1, options={"stratum": stratum})
        assert info["stratum"] == stratum
        assert info["success_now"] is False
        x, y, _ = blind.cube_position()
        assert stratum == "yaw" or stratum_of(blind.task, Spawn(x, y, 0.0)) == stratum
    _, info = blind.reset(options={"cube_pose": (0.2, 0.1, 0.0)})
    assert info["stratum"] == "left_edge"
    assert blind.cube_position() == pytest.approx([0.2, 0.1, 0.0125], abs=1e-6)


def test_reset_pose_is_within_its_noise(blind: So101SimEnv) -> None:
    starts = np.array([blind.reset(seed=seed)[0][STATE_KEY] for seed in range(40)])
    away = np.abs(starts[:, 12:15] - BLIND.reset_ee_m)
    assert (away <= np.array(BLIND.reset_noise_m) + 0.002).all()
    assert away.max(axis=0) == pytest.approx(BLIND.reset_noise_m, rel=0.25)
    assert starts[:, 5] == pytest.approx(40.0)
    assert starts[:, 4] == pytest.approx(90.0)


# ---------------------------------------------------------------- motion


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("fps", [10.0, 25.0])
def test_an_action_moves_the_end_effector_by_its_scale(axis: int, fps: float) -> None:
    env = make(fps=fps, action_scale_m=0.01)
    start = env.reset(seed=0, options={"cube_pose": (0.34, 0.15, 0)})[0][STATE_KEY][12:15]
    action = [0.0] * 4
    action[axis] = -0.5
    hold(env, action, 4)
    settled = hold(env, [0.0] * 4, 15)[12:15]
    expected = np.zeros(3)
    expected[axis] = -0.02
    assert settled - start == pytest.approx(expected, abs=0.002)


def test_the_workspace_is_kept_and_left_without_lag(blind: So101SimEnv) -> None:
    blind.reset(seed=0, options={"cube_pose": (0.2, 0.15, 0)})
    low = hold(blind, [0, 0, -1, 0], 20)
    assert low[14] == pytest.approx(BLIND.workspace_low_m[2], abs=0.003)
    assert hold(blind, [0, 0, 1, 0], 2)[14] > low[14] + 0.02
    far = hold(blind, [1, 1, 1, 0], 40)
    assert (far[12:15] <= np.array(BLIND.workspace_high_m) + 0.005).all()
    assert hold(blind, [-1, 0, 0, 0], 3)[12] < far[12] - 0.02  # no wind-up in a corner the arm cannot reach


def test_the_gripper_moves_by_its_step_up_to_its_limit(blind: So101SimEnv) -> None:
    blind.reset(seed=0)
    hold(blind, [0, 0, 0, -1], 1)
    assert hold(blind, [0, 0, 0, 0], 10)[5] == pytest.approx(25, abs=0.5)
    assert hold(blind, [0, 0, 0, 1], 10)[5] == pytest.approx(BLIND.gripper_max, abs=0.5)
    assert hold(blind, [0, 0, 0, -1], 10)[5] == pytest.approx(0, abs=0.5)


def test_time_limit_truncates_and_never_terminates() -> None:
    env = make(task=TaskConf(time_limit_s=0.7))
    env.reset(seed=0)
    ends = [env.step(np.zeros(4, np.float32))[1:4] for _ in range(7)]
    assert ends == [(0.0, False, False)] * 6 + [(0.0, False, True)]


# ---------------------------------------------------------------- contacts and success


def test_a_cube_in_the_air_is_no_success_without_both_jaws(blind: So101SimEnv) -> None:
    blind.reset(seed=0)
    blind.data.qpos[blind.scene.cube_qpos + 2] = 0.15
    mujoco.mj_fwdPosition(blind.scene.model, blind.data)
    situation = blind._situate()
    assert situation.lifted_m == pytest.approx(0.1375)
    assert not situation.held


def test_contacts_tell_the_jaws_apart(blind: So101SimEnv) -> None:
    for side in (1, 2):
        blind.reset(seed=0)
        pad = blind.scene.model.geom("fixed_pad" if side == 1 else "moving_pad").id
        cube = blind.scene.cube_qpos
        blind.data.qpos[cube : cube + 3] = blind.data.geom_xpos[pad]
        mujoco.mj_fwdPosition(blind.scene.model, blind.data)
        situation = blind._situate()
        assert (situation.fixed_jaw, situation.moving_jaw) == (side == 1, side == 2)


# ---------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (np.zeros(3), r"shape \(3,\)"),
        (np.array([0, np.nan, 0, 0]), "not finite"),
        (np.array([0, 0, 1.5, 0]), "leaves"),
    ],
)
def test_bad_actions_are_refused(blind: So101SimEnv, action: np.ndarray, message: str) -> None:
    blind.reset(seed=0)
    with pytest.raises(UserError, match=message):
        blind.step(action)


def test_rounding_beyond_one_is_clipped_and_reported(blind: So101SimEnv) -> None:
    blind.reset(seed=0)
    info = blind.step(np.array([1.0001, 0, -1.0001, 0.5]))[4]
    assert info["executed_action"].tolist() == [1.0, 0.0, -1.0, 0.5]
    assert info["executed_action"].dtype == np.float32


def test_a_discrete_gripper_takes_three_values_only() -> None:
    env = make(gripper=GripperFormat.discrete3)
    env.reset(seed=0)
    for value, opening in ((-1, 25), (0, 25), (1, 40)):
        hold(env, [0, 0, 0, value], 1)
        assert hold(env, [0, 0, 0, 0], 5)[5] == pytest.approx(opening, abs=0.5)
    with pytest.raises(UserError, match="exactly -1, 0 or 1"):
        env.step(np.array([0, 0, 0, 0.3]))


def test_without_a_gripper_dimension_the_gripper_stays() -> None:
    env = make(gripper=GripperFormat.none, task=TaskConf(name="reach"))
    env.reset(seed=0)
    assert env.action_space.shape == (3,)
    assert hold(env, [1, 0, 0], 3)[5] == pytest.approx(40, abs=0.5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fps": 0.0}, "physics step"),
        ({"fps": 400.0}, "physics step"),
        ({"workspace_low_m": [0.4, 0, 0]}, "workspace"),
        ({"reset_ee_m": [0.2, 0.0, 0.5]}, "workspace"),
        ({"reset_noise_m": [0.0]}, "three numbers"),
        ({"gripper": GripperFormat.none}, "needs a gripper"),
        ({"cameras": ["wrist"], "image_height": 0}, "at least 1"),
        ({"cameras": ["side"]}, "no camera 'side'"),
    ],
)
def test_contradicting_options_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make(**changes)


def test_unknown_strata_and_early_steps_are_refused(blind: So101SimEnv) -> None:
    with pytest.raises(ConfigError, match="did you mean 'far'"):
        blind.reset(options={"stratum": "farr"})
    with pytest.raises(UserError, match="before reset"):
        make().step(np.zeros(4))


def test_an_exploding_simulation_is_reported(
    blind: So101SimEnv, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # MuJoCo writes its warning to a log file in the working folder
    blind.reset(seed=0)
    blind.data.qvel[:] = 1e12
    with pytest.raises(UserError, match="unstable"):
        blind.step(np.zeros(4))


@pytest.mark.parametrize("opening", [0.0, -5.0, 100.5])
def test_grippers_open_within_their_range(opening: float) -> None:
    with pytest.raises(ConfigError, match="widest opening") as caught:
        So101SimEnv(So101SimConf(cameras=[], gripper_max=opening), TaskConf())
    assert f"env.gripper_max={opening}" in caught.value.where
