"""The adaptor, on environments nobody here wrote (gym-hil's Panda, Pendulum) and on one that is nasty on purpose."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import mujoco
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from hypothesis import given
from hypothesis import strategies as st
from numpy.random.mtrand import get_bit_generator

from hiltk.config.groups import GymnasiumConf, TaskConf
from hiltk.envs.gymnasium_env import GymnasiumEnv, PrivateRandomness
from hiltk.envs.headless import HeadlessRenderer, headless_mujoco
from hiltk.envs.rewards import SuccessRule
from hiltk.errors import ConfigError, HiltkError, UserError
from hiltk.spec import STATE_KEY, GripperFormat, RewardSpec, Spec

PANDA = "gym_hil/PandaPickCube-v0"


class NastyEnv(gym.Env[Any, Any]):
    """Nested, with two cameras of one name, global randomness, reused buffers, and an action box of its own."""

    def __init__(self, action_space: gym.Space[Any] | None = None, grayscale: bool = False) -> None:
        self.metadata = {"render_fps": 25}
        box = gym.spaces.Box
        cameras = gym.spaces.Dict(
            {side: gym.spaces.Dict({"rgb": box(0, 255, (6, 8, 3), np.uint8)}) for side in ("left", "right")}
        )
        entries: dict[str, gym.Space[Any]] = {
            "arm": gym.spaces.Dict({"joints": box(-3.0, 3.0, (2,)), "open": box(-np.inf, np.inf, ())}),
            "button": gym.spaces.Discrete(3),
            "cameras": cameras,
        }
        if grayscale:
            entries["gray"] = box(0, 255, (6, 8, 1), np.uint8)
        self.observation_space = gym.spaces.Dict(entries)
        low, high = np.array([[0.0], [-2.0]], np.float32), np.array([[2.0], [-1.0]], np.float32)
        self.action_space = action_space or box(low, high)
        self.frame, self.joints = np.zeros((6, 8, 3), np.uint8), np.zeros(2, np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.options, self.steps = options, 0
        return self._observe(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        assert self.action_space.contains(action), action
        self.steps += 1
        self.received = action
        ended = self.steps == 4
        return self._observe(), 2.0 * ended, ended, False, {"lucky": self.steps == 2} if self.steps == 2 else {}

    def _observe(self) -> Any:
        self.frame[:] = np.random.randint(0, 256)
        self.joints[:] = self.np_random.uniform(size=2)
        cameras = {"left": {"rgb": self.frame}, "right": {"rgb": 255 - self.frame}}
        return {"arm": {"joints": self.joints, "open": random.random()}, "button": 2, "cameras": cameras}


@pytest.fixture(autouse=True)
def nasty_id() -> Iterator[None]:
    gym.register("hiltk_test/Nasty-v0", entry_point=lambda **kwargs: NastyEnv(**kwargs))
    yield
    del gym.registry["hiltk_test/Nasty-v0"]


def nasty(**changes: Any) -> GymnasiumConf:
    return GymnasiumConf(id="hiltk_test/Nasty-v0", **changes)


def played_to_its_end(env: GymnasiumEnv) -> None:
    env.reset(seed=0)
    over = False
    while not over:
        _, _, terminated, truncated, _ = env.step(np.zeros(env.action_space.shape, np.float32))
        over = terminated or truncated


def test_a_key_for_success_that_never_appears_is_an_error_after_one_episode() -> None:
    with pytest.raises(ConfigError, match=r"never had 'luck' .*\n.*Nasty") as caught:
        played_to_its_end(GymnasiumEnv(nasty(success_key="luck")))
    assert caught.value.exit_code == 2
    pendulum = GymnasiumConf(id="Pendulum-v1", success_key="succeed")
    with pytest.raises(ConfigError, match="leave it out"):
        played_to_its_end(GymnasiumEnv(pendulum, TaskConf(time_limit_s=0.2)))


def test_a_key_that_appears_once_is_enough_and_the_default_may_be_absent() -> None:
    for conf in (nasty(success_key="lucky"), nasty()):
        env = GymnasiumEnv(conf)
        for _ in range(2):
            played_to_its_end(env)


@pytest.mark.parametrize("value", [[True, False], "False", float("nan"), None])
def test_what_is_no_truth_value_is_no_success(value: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    step = NastyEnv.step
    monkeypatch.setattr(NastyEnv, "step", lambda self, action: (*step(self, action)[:4], {"lucky": value}))
    with pytest.raises(ConfigError, match="no truth value"):
        played_to_its_end(GymnasiumEnv(nasty(success_key="lucky")))


@pytest.mark.parametrize("value", [1, np.bool_(True), np.array([True]), np.float32(1.0)])
def test_what_counts_as_one(value: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    step = NastyEnv.step
    monkeypatch.setattr(NastyEnv, "step", lambda self, action: (*step(self, action)[:4], {"lucky": value}))
    env = GymnasiumEnv(nasty(success_key="lucky"))
    env.reset(seed=0)
    assert env.step(np.zeros(env.action_space.shape, np.float32))[4]["success_now"] is True


def rollout(env: gym.Env[Any, Any], seed: int | None, steps: int) -> list[dict[str, np.ndarray]]:
    """Observations of an episode under actions that depend on the step only."""
    actions = np.random.default_rng(0).uniform(-1, 1, (steps, *(env.action_space.shape or ()))).astype(np.float32)
    return [env.reset(seed=seed)[0], *(env.step(action)[0] for action in actions)]


def same(left: list[dict[str, np.ndarray]], right: list[dict[str, np.ndarray]]) -> bool:
    return all(np.array_equal(a[k], b[k]) for a, b in zip(left, right, strict=True) for k in a)


# ---------------------------------------------------------------- observations and actions


def test_observations_are_flattened_by_name() -> None:
    env = GymnasiumEnv(nasty())
    assert env.io_spec.state.names == ["arm.joints.0", "arm.joints.1", "arm.open", "button.0", "button.1", "button.2"]
    assert [(d.low, d.high) for d in env.io_spec.state.dims[:3]] == [(-3, 3), (-3, 3), (0, 0)]  # unbounded: 0, 0
    assert env.io_spec.image_keys == ["observation.images.cameras_left_rgb", "observation.images.cameras_right_rgb"]
    raw, info = env.reset(seed=1)
    assert env.observation_space.contains(raw)
    assert raw[STATE_KEY][3:].tolist() == [0, 0, 1]  # button 2, one-hot
    left, right = (raw[k] for k in env.io_spec.image_keys)
    assert (left + right == 255).all()
    assert info == {"success_now": False, "stratum": "all"}


def test_chosen_keys_in_the_chosen_order_and_size() -> None:
    conf = nasty(state_keys=["arm.open", "arm.joints"], image_keys=["cameras.right.rgb"], image_height=3, image_width=4)
    env = GymnasiumEnv(conf)
    assert env.io_spec.state.names == ["arm.open", "arm.joints.0", "arm.joints.1"]
    (image,) = env.io_spec.images
    assert (image.name, image.native_height, image.native_width, image.height, image.width) == ("rgb", 6, 8, 3, 4)
    observation, _ = SuccessRule(env, RewardSpec()).reset(seed=0)
    assert observation["observation.images.rgb"].shape == (3, 4, 3)


def test_actions_are_rescaled_to_the_native_box() -> None:
    """Boxes [0, 2] and [-2, -1] of shape (2, 1): -1 is the low end, +1 the high end, beyond is clipped."""
    env = GymnasiumEnv(nasty())
    assert [d.unit for d in env.io_spec.action.dims] == ["[-1, 1] for [0, 2]", "[-1, 1] for [-2, -1]"]
    assert [(d.low, d.high) for d in env.io_spec.action.dims] == [(-1, 1), (-1, 1)]
    assert env.io_spec.action.gripper is GripperFormat.none
    env.reset(seed=0)
    for action, native in (([-1, 1], [0, -1]), ([0.5, 0], [1.5, -1.5]), ([9, -9], [2, -2])):
        info = env.step(np.array(action, np.float32))[-1]
        received = env.native.unwrapped.received  # type: ignore[attr-defined]
        assert (received.shape, received.dtype) == ((2, 1), np.float32)
        assert received.ravel().tolist() == native
        assert info["executed_action"].tolist() == np.clip(action, -1, 1).tolist()


@given(st.lists(st.floats(-1, 1, width=32), min_size=2, max_size=2))
def test_any_action_lands_inside_the_native_box(action: list[float]) -> None:
    env = GymnasiumEnv(nasty())
    env.reset(seed=0)
    env.step(np.array(action, np.float32))  # `NastyEnv.step` asserts that its box contains it
    back = env.native.unwrapped.received.ravel()  # type: ignore[attr-defined]
    assert np.allclose(back, [action[0] + 1, (action[1] - 3) / 2], atol=1e-6)


def test_observations_are_copies() -> None:
    env = GymnasiumEnv(nasty())
    first, _ = env.reset(seed=0)
    kept = {k: v.copy() for k, v in first.items()}
    for _ in range(3):
        env.step(np.zeros(2, np.float32))
    assert same([first], [kept])


def test_success_from_info_and_from_reward() -> None:
    env = GymnasiumEnv(nasty(success_key="lucky"))
    env.reset(seed=0)
    steps = [env.step(np.zeros(2, np.float32)) for _ in range(4)]
    assert [s[-1]["success_now"] for s in steps] == [False, True, False, True]  # the last: terminated with reward 2
    assert [s[2] for s in steps] == [False, False, False, True]
    assert [s[1] for s in steps] == [0, 0, 0, 2]


def test_an_environment_without_vectors_gets_a_constant_state() -> None:
    class Pixels(NastyEnv):
        def __init__(self) -> None:
            super().__init__()
            self.observation_space = gym.spaces.Box(0, 255, (6, 8, 3), np.uint8)

        def _observe(self) -> Any:
            return self.frame

    gym.register("hiltk_test/Pixels-v0", entry_point=lambda **kwargs: Pixels())
    try:
        env = GymnasiumEnv(GymnasiumConf(id="hiltk_test/Pixels-v0"))
    finally:
        del gym.registry["hiltk_test/Pixels-v0"]
    observation, _ = SuccessRule(env, RewardSpec()).reset(seed=0)
    assert env.io_spec.state.names == ["constant"]
    assert {k: v.shape for k, v in observation.items()} == {
        STATE_KEY: (1,),
        "observation.images.observation": (6, 8, 3),
    }


# ---------------------------------------------------------------- seeds, time, rate


def test_the_same_seed_gives_the_same_episode_whatever_happens_outside() -> None:
    env, other = GymnasiumEnv(nasty()), GymnasiumEnv(nasty(), seed=9)
    first = rollout(env, 5, 3)
    np.random.seed(123)
    random.seed(123)
    rollout(other, 6, 2)
    assert same(first, rollout(env, 5, 3))
    assert same(first, rollout(other, 5, 3))
    assert not same(first, rollout(env, 6, 3))
    assert not same(first, rollout(env, None, 3))


def test_the_constructors_seed_is_that_of_the_first_episode() -> None:
    first, second = (GymnasiumEnv(nasty(), seed=5) for _ in range(2))
    assert same(rollout(first, None, 3), rollout(second, 5, 3))
    assert same(rollout(first, None, 3), rollout(second, None, 3))  # and the episodes after it follow


def test_global_random_streams_are_left_alone() -> None:
    np.random.seed(1)
    random.seed(1)
    expected = [*np.random.random(3).tolist(), random.random()]
    np.random.seed(1)
    random.seed(1)
    env = GymnasiumEnv(nasty())
    got = [np.random.random()]
    env.reset(seed=3)
    got.append(np.random.random())
    env.step(np.zeros(2, np.float32))
    assert [*got, np.random.random(), random.random()] == expected


def test_private_streams_survive_an_exception() -> None:
    before = get_bit_generator()
    with pytest.raises(ZeroDivisionError), PrivateRandomness(3).active():
        np.random.random()
        1 / 0  # noqa: B018
    assert get_bit_generator() is before


def test_rate_and_time_limit() -> None:
    assert GymnasiumEnv(nasty()).io_spec.fps == 25
    assert GymnasiumEnv(nasty(fps=5.0)).io_spec.fps == 5
    pendulum = GymnasiumEnv(GymnasiumConf(id="Pendulum-v1"), TaskConf(time_limit_s=1.0))
    assert (pendulum.io_spec.fps, pendulum.max_steps) == (30, 200)  # both its own
    env = GymnasiumEnv(nasty(), TaskConf(time_limit_s=0.12))  # registers no limit: 0.12 s at 25 Hz
    env.reset(seed=0)
    assert [env.step(np.zeros(2, np.float32))[3] for _ in range(3)] == [False, False, True]
    registered = GymnasiumEnv(nasty(kwargs={"max_episode_steps": 2}), TaskConf(time_limit_s=0.12))
    registered.reset(seed=0)
    assert [registered.step(np.zeros(2, np.float32))[3] for _ in range(2)] == [False, True]


def test_options_reach_the_environment_without_ours() -> None:
    env = GymnasiumEnv(nasty())
    env.reset(options={"stratum": "all", "height": 3})
    assert env.native.unwrapped.options == {"height": 3}  # type: ignore[attr-defined]
    with pytest.raises(ConfigError, match="unknown stratum 'far'"):
        env.reset(options={"stratum": "far"})


@pytest.mark.filterwarnings("ignore::UserWarning:gymnasium")  # that it is wrapped, and that states have no bounds
def test_pendulum_passes_gymnasiums_own_checker() -> None:
    rule = SuccessRule(GymnasiumEnv(GymnasiumConf(id="Pendulum-v1")), RewardSpec(source="env", hold_steps=1))
    check_env(rule, skip_render_check=True)
    rule.reset(seed=1)
    rewards, flags = zip(
        *[(s[1], s[2:4]) for s in (rule.step(np.ones(1, np.float32)) for _ in range(200))], strict=True
    )
    assert all(r < 0 for r in rewards)
    assert flags[-2:] == ((False, False), (False, True))


def test_pendulum_moves_as_it_does_without_the_adaptor() -> None:
    env, native = GymnasiumEnv(GymnasiumConf(id="Pendulum-v1")), gym.make("Pendulum-v1")
    ours, _ = env.reset(seed=4)
    theirs, _ = native.reset(seed=4)
    for action in (-1.0, -0.3, 0.0, 0.7, 1.0):
        assert np.array_equal(ours[STATE_KEY], theirs)
        ours, reward, *_ = env.step(np.array([action], np.float32))
        theirs, their_reward, *_ = native.step(np.array([2 * action], np.float32))
        assert reward == pytest.approx(float(their_reward), abs=1e-6)


def test_the_spec_survives_a_file(tmp_path: Path) -> None:
    spec = SuccessRule(GymnasiumEnv(nasty()), RewardSpec()).io_spec
    spec.save(tmp_path / "spec.yaml")
    assert Spec.load(tmp_path / "spec.yaml") == spec


# ---------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("conf", "message"),
    [
        (GymnasiumConf(id="Pendulm-v1"), "did you mean 'Pendulum-v1'"),
        (GymnasiumConf(id="Pendulm-v1"), "env.module="),
        (GymnasiumConf(id="nowhere/Thing-v0"), "no Gymnasium environment is called 'nowhere/Thing-v0'"),
        (GymnasiumConf(id="Pendulum-v1", module="gym_hill"), "cannot be imported"),
        (GymnasiumConf(id="CartPole-v1"), "actions are Discrete"),
        (GymnasiumConf(id="Pendulum-v1", kwargs={"gravity": 1}), "refuses these arguments"),
        (GymnasiumConf(id="Pendulum-v0"), "Pendulum-v1"),
        (nasty(state_keys=["arm.joint"]), "did you mean 'arm.joints'"),
        (nasty(state_keys=["cameras.left.rgb"]), "an image, not a vector"),
        (nasty(image_keys=["arm.joints"]), r"not an \(H, W, 3\) uint8 image"),
        (nasty(kwargs={"grayscale": True}), "'gray' is neither a vector nor"),
        (nasty(kwargs={"action_space": gym.spaces.Box(-np.inf, np.inf, (2,))}), "no bounds"),
    ],
)
def test_configs_that_cannot_work(conf: GymnasiumConf, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        GymnasiumEnv(conf)


def test_a_module_whose_own_imports_fail(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "half_installed.py").write_text("import no_such_package_of_anyone")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match="no_such_package_of_anyone"):
        GymnasiumEnv(GymnasiumConf(id="X-v0", module="half_installed"))


def test_a_module_registers_its_environments_when_imported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    text = "import gymnasium; gymnasium.register('late/Pendulum-v0', 'gymnasium.envs.classic_control:PendulumEnv')"
    (tmp_path / "late_module.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    try:
        assert GymnasiumEnv(GymnasiumConf(id="late/Pendulum-v0", module="late_module")).io_spec.task
    finally:
        gym.registry.pop("late/Pendulum-v0", None)
        sys.modules.pop("late_module", None)


@pytest.mark.parametrize("action", [np.zeros(3), np.array([0, np.nan]), np.zeros((2, 1))])
def test_actions_that_cannot_be_executed(action: np.ndarray) -> None:
    env = GymnasiumEnv(nasty())
    env.reset(seed=0)
    with pytest.raises(UserError, match="the action"):
        env.step(action)


# ---------------------------------------------------------------- gym-hil's Panda, without a viewer and without OpenGL


def panda(**kwargs: Any) -> GymnasiumConf:
    options = {"reset_delay_seconds": 0.0, "random_block_position": True} | kwargs
    return GymnasiumConf(id=PANDA, module="gym_hil", success_key="succeed", kwargs=options)


def pick(state: np.ndarray) -> np.ndarray:
    """A controller for the Panda: over the cube, down, close, up.

    Args:
        state: (21,): 7 joints, 7 velocities, gripper 0..255, tool position (3,) and cube position (3,), metres.
    """
    gripper, tool, cube = state[14], state[15:18], state[18:21]
    aside = np.linalg.norm((cube - tool)[:2])
    over = cube + np.array([0, 0, 0.0 if aside < 0.01 else 0.1])
    closed = gripper > 200
    target = tool + np.array([0, 0, 0.05]) if closed else over
    near = aside < 0.01 and abs(cube[2] - tool[2]) < 0.01
    xyz = np.clip((target - tool) / 0.025, -1, 1)
    return np.append(np.zeros(3) if near and not closed else xyz, 1.0 if near or closed else -1.0).astype(np.float32)


def test_the_panda_picks_its_cube_under_our_rule() -> None:
    rule = SuccessRule(GymnasiumEnv(panda()), RewardSpec(hold_steps=2))
    assert (rule.fps, rule.io_spec.action.dims[3].unit) == (10, "[-1, 1] for [0, 2]")
    cubes, steps = [], []
    for seed in range(5):
        observation, info = rule.reset(seed=seed)
        cubes.append(observation[STATE_KEY][18:20].tolist())
        assert info["true_success"] is False
        rewards, done = [], False
        while not done:
            observation, reward, terminated, truncated, info = rule.step(pick(observation[STATE_KEY]))
            rewards.append(reward)
            done = terminated or truncated
        assert (terminated, info["success"], info["true_success"]) == (True, True, True)
        assert rewards == [0.0] * (len(rewards) - 1) + [1.0]
        steps.append(len(rewards))
    assert len(np.unique(np.array(cubes), axis=0)) == 5  # gym-hil draws the cube from the global stream
    assert max(steps) < 100


def test_the_panda_repeats_an_episode_bit_for_bit() -> None:
    env = GymnasiumEnv(panda())
    first = rollout(env, 3, 10)
    rollout(env, 4, 7)
    assert same(first, rollout(env, 3, 10))
    assert same(first, rollout(GymnasiumEnv(panda(), seed=3), None, 10))


def test_the_panda_gives_pictures_without_opengl() -> None:
    env = GymnasiumEnv(panda(image_obs=True))
    assert env.io_spec.image_keys == ["observation.images.front", "observation.images.wrist"]
    raw, _ = env.reset(seed=0)
    front = raw["observation.images.front"]
    assert (front.shape, front.dtype) == ((128, 128, 3), np.uint8)
    assert len(np.unique(front.reshape(-1, 3), axis=0)) > 50
    up = np.array([0, 0, 1, 0], np.float32)
    moved = [env.step(up)[0] for _ in range(3)][-1]["observation.images.front"]
    assert (moved != front).any(-1).mean() > 0.01
    env.close()


# ---------------------------------------------------------------- the stand-in for MuJoCo's renderer

SCENE = """
<mujoco><worldbody>
  <camera name="above" pos="0 0 1"/><light dir="0 0 -1"/>
  <geom type="sphere" size=".2" rgba="1 0 0 1"/>
</worldbody></mujoco>
"""


def scene() -> tuple[mujoco.MjModel, mujoco.MjData]:
    model = mujoco.MjModel.from_xml_string(SCENE)
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    return model, data


@pytest.mark.parametrize("camera", ["above", 0])
def test_the_stand_in_draws(camera: str | int) -> None:
    model, data = scene()
    renderer = HeadlessRenderer(model, height=20, width=30)
    assert not renderer.render().any()  # no scene yet
    renderer.update_scene(data, camera=camera)
    frame = renderer.render()
    assert frame.shape == (20, 30, 3)
    assert frame[10, 15, 0] > 100 and frame[10, 15, 1:].max() < 20  # the red ball, in the middle
    assert not frame[0, 0].any()
    out = np.zeros_like(frame)
    assert renderer.render(out=out) is out and (out == frame).all()
    renderer.close()


@pytest.mark.parametrize("camera", ["abov", -1, 1, mujoco.MjvCamera()])
def test_the_stand_in_refuses_free_and_unknown_cameras(camera: Any) -> None:
    model, data = scene()
    with pytest.raises(UserError, match="cameras of the model: above"):
        HeadlessRenderer(model).update_scene(data, camera)


def test_mujocos_renderer_is_put_back() -> None:
    original = mujoco.Renderer
    with pytest.raises(HiltkError), headless_mujoco():
        assert mujoco.Renderer is HeadlessRenderer
        raise UserError("while the environment was made")
    assert mujoco.Renderer is original
