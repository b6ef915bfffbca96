"""The clumsy human fails in the two ways that look like success: an empty hand held high, a cube lifted not quite."""

from __future__ import annotations

import numpy as np
import pytest

from hiltk.config.groups import HumanConf, So101SimConf, TaskConf
from hiltk.envs.so101_sim import So101SimEnv
from hiltk.envs.tasks import TASKS
from hiltk.errors import ConfigError
from hiltk.humans.clumsy import ClumsyHuman
from hiltk.humans.make import make_human

CONF = HumanConf(name="clumsy", skill=0.7)


@pytest.mark.parametrize("task", ["grasp", "lift"])
def test_it_misses_and_drops(task: str) -> None:
    env = So101SimEnv(So101SimConf(cameras=[]), TaskConf(name=task))
    human = make_human(CONF, env)
    assert isinstance(human, ClumsyHuman) and not human.satisfied()
    empty_and_high, nearly, successes = 0, 0, 0
    for seed in range(12):
        env.reset(seed=seed)
        human.reset(seed)
        run, held_for, carried, lifted = 0, 0, False, 0.0
        for _ in range(50):
            *_, info = env.step(human.act({}))
            run = run + 1 if info["success_now"] else 0
            held_for = max(held_for, run)
            now, closed = env.situation, env.joints_deg()[5] < 15
            carried = carried or (closed and not now.held and env.tcp_position()[2] > 0.1)
            lifted = max(lifted, now.lifted_m if now.held else 0)
        successes += held_for >= 2
        empty_and_high += carried
        nearly += lifted > 0.3 * (TASKS[task].lifted_m or 0)
    assert successes <= 4
    assert empty_and_high >= 6
    assert nearly >= 4


def test_the_same_seed_errs_in_the_same_way() -> None:
    env = So101SimEnv(So101SimConf(cameras=[]), TaskConf())
    human = ClumsyHuman(env, CONF)
    tracks = []
    for _ in range(2):
        env.reset(seed=4)
        human.reset(5)
        track = []
        for _ in range(40):
            track.append(human.act({}))
            env.step(track[-1])
        tracks.append(track)
    assert np.array_equal(*tracks)


def test_reaching_cannot_be_fumbled() -> None:
    with pytest.raises(ConfigError, match="to be lifted"):
        make_human(CONF, So101SimEnv(So101SimConf(cameras=[]), TaskConf(name="reach")))
