"""The scripted expert succeeds through the same actions as everybody else, from the start and from any mess."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest

from hiltk.config.groups import HumanConf, So101SimConf, TaskConf
from hiltk.envs.so101_sim import So101SimEnv
from hiltk.errors import ConfigError
from hiltk.humans.make import make_human
from hiltk.humans.scripted import Phase, ScriptedExpert
from hiltk.spec import GripperFormat


def make(task: str = "lift", noise: float = 0.0, skill: float = 1.0, **conf: object) -> ScriptedExpert:
    env = So101SimEnv(So101SimConf(cameras=[], **conf), TaskConf(name=task), 0)
    return ScriptedExpert(env, HumanConf(noise=noise, skill=skill))


def finish(expert: ScriptedExpert, seed: int, limit: int = 50) -> tuple[bool, np.ndarray]:
    """Let the expert act until the predicate holds for two steps; the actions it took."""
    expert.reset(seed)
    actions, run = [], 0
    while run < 2 and len(actions) < limit:
        actions.append(expert.act({}))
        *_, truncated, info = expert._env.step(actions[-1])
        run = run + 1 if info["success_now"] else 0
        if truncated:
            break
    return run >= 2, np.array(actions)


@pytest.mark.parametrize("stratum", ["near", "far", "left_edge", "right_edge", "yaw"])
def test_a_perfect_expert_lifts_everywhere(stratum: str) -> None:
    expert = make()
    for seed in range(4):
        expert._env.reset(seed=seed, options={"stratum": stratum})
        success, actions = finish(expert, seed)
        assert success
        assert len(actions) <= 25


@pytest.mark.parametrize(
    ("task", "noise", "skill", "conf"),
    [
        ("reach", 0.2, 1.0, {}),
        ("grasp", 0.2, 1.0, {}),
        ("lift", 0.2, 0.5, {}),
        ("lift", 0.2, 1.0, {"gripper": GripperFormat.discrete3}),
        ("lift", 0.2, 1.0, {"fps": 25.0, "action_scale_m": 0.01, "gripper_step": 6.0}),
    ],
)
def test_noise_skill_tasks_formats_and_rates(task: str, noise: float, skill: float, conf: dict[str, object]) -> None:
    expert = make(task, noise, skill, **conf)
    successes = 0
    for seed in range(8):
        expert._env.reset(seed=seed)
        success, actions = finish(expert, seed, limit=120)
        successes += success
        assert actions.dtype == np.float32
        assert np.abs(actions).max() <= 1
        if conf.get("gripper") is GripperFormat.discrete3:
            assert set(actions[:, 3].tolist()) <= {-1.0, 0.0, 1.0}
    assert successes >= 7  # measured: at least 99 % of 500 for each


def test_lower_skill_is_slower() -> None:
    lengths = []
    for skill in (1.0, 0.5):
        expert = make(skill=skill)
        expert._env.reset(seed=0)
        lengths.append(len(finish(expert, 0)[1]))
    assert lengths[1] > lengths[0] + 3


def test_the_same_seed_acts_the_same_and_noise_differs_between_seeds() -> None:
    expert = make(noise=0.2)
    runs = []
    for seed in (1, 1, 2):
        expert._env.reset(seed=0)
        runs.append(finish(expert, seed)[1])
    assert (runs[0] == runs[1]).all()
    assert (runs[0][0] != runs[2][0]).any()


@pytest.mark.parametrize("steps", [3, 12, 20])
def test_it_recovers_from_wherever_a_random_policy_left_the_arm(steps: int) -> None:
    expert, rng = make(noise=0.2), np.random.default_rng(steps)
    for seed in range(4):
        expert._env.reset(seed=seed)
        for _ in range(steps):
            expert._env.step(rng.uniform(-1, 1, 4))
        expert._env._steps = 0  # a fresh time limit for the takeover alone
        assert finish(expert, seed)[0]


def test_it_opens_before_it_descends_on_the_cube_with_a_closed_gripper() -> None:
    expert = make()
    env = expert._env
    env.reset(seed=0)
    for _ in range(5):
        env.step(np.array([0, 0, 0, -1]))
    success, actions = finish(expert, 0)
    assert success
    assert actions[0, 3] == 1


def test_it_does_not_drop_a_cube_that_is_already_held() -> None:
    first = make()
    env = first._env
    env.reset(seed=0)
    first.reset(0)
    while first.phase is not Phase.lift:
        env.step(first.act({}))
    assert first.satisfied()
    second = ScriptedExpert(env, HumanConf(noise=0.0))
    second.reset(1)
    assert second.act({})[3] == -1
    assert finish(second, 1)[0]


def test_satisfaction_in_reach_needs_nearness_and_progress() -> None:
    expert = make("reach")
    env = expert._env
    env.reset(seed=0, options={"cube_pose": (0.2, 0.0, 0.0)})
    assert not expert.satisfied()
    while env.situation.tcp_distance_m > 0.035:
        env.step(np.array([0, 0, -0.5, 0]))
    assert expert.satisfied()
    while env.closing_in:
        env.step(np.array([0, 0, 1, 0]))
    assert not expert.satisfied()


class TestMakeHuman:
    def test_it_looks_through_wrappers(self) -> None:
        env = So101SimEnv(So101SimConf(cameras=[]), TaskConf(), 0)
        human = make_human(HumanConf(), gym.wrappers.TimeLimit(env, 10))
        assert isinstance(human, ScriptedExpert)

    def test_unknown_humans_and_other_environments_are_refused(self) -> None:
        with pytest.raises(ConfigError, match="did you mean 'scripted'"):
            make_human(HumanConf(name="scriptd"), gym.make("CartPole-v1"))
        with pytest.raises(ConfigError, match="only knows the simulated SO-101"):
            make_human(HumanConf(), gym.make("CartPole-v1"))

    @pytest.mark.parametrize("conf", [HumanConf(noise=-0.1), HumanConf(skill=0.0), HumanConf(skill=1.5)])
    def test_impossible_people_are_refused(self, conf: HumanConf) -> None:
        with pytest.raises(ConfigError, match=r"human\.noise"):
            make_human(conf, So101SimEnv(So101SimConf(cameras=[]), TaskConf(), 0))
