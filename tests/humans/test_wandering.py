from __future__ import annotations

import numpy as np
import pytest

from hiltk.config.groups import GymnasiumConf, HumanConf, So101SimConf, TaskConf
from hiltk.envs.gymnasium_env import GymnasiumEnv
from hiltk.envs.so101_sim import So101SimEnv
from hiltk.errors import ConfigError
from hiltk.humans.make import make_human
from hiltk.humans.wandering import Wanderer
from hiltk.spec import GripperFormat

CONF = HumanConf(name="wandering")


@pytest.mark.parametrize("gripper", [GripperFormat.continuous, GripperFormat.discrete3])
def test_it_roams_and_works_the_gripper_but_does_not_solve_the_task(gripper: GripperFormat) -> None:
    env = So101SimEnv(So101SimConf(cameras=[], gripper=gripper), TaskConf())
    human = make_human(CONF, env)
    assert isinstance(human, Wanderer) and not human.satisfied()
    places, grips, successes = [], [], 0
    for seed in range(8):
        observation, _ = env.reset(seed=seed)
        human.reset(seed)
        for _ in range(50):
            action = human.act(observation)
            observation, _, _, _, info = env.step(action)
            places.append(env.tcp_position())
            grips.append(float(action[3]))
            successes += info["success_now"]
    assert np.ptp(places, axis=0).min() > 0.1  # metres, in every direction
    assert set(grips) == {-1.0, 1.0}
    assert successes < 10


def test_the_same_seed_wanders_the_same_way() -> None:
    env = So101SimEnv(So101SimConf(cameras=[]), TaskConf())
    observation, _ = env.reset(seed=0)
    human = make_human(CONF, env)
    walks = []
    for _ in range(2):
        human.reset(5)
        walks.append([human.act(observation) for _ in range(20)])
    assert np.array_equal(*walks)


def test_it_needs_an_arm() -> None:
    with pytest.raises(ConfigError, match="workspace"):
        make_human(CONF, GymnasiumEnv(GymnasiumConf(id="Pendulum-v1"), TaskConf()))
