"""Builds the human that a config asks for."""

from __future__ import annotations

import gymnasium as gym

from hiltk.config.groups import HumanConf
from hiltk.envs.base import HilEnv
from hiltk.envs.so101_sim import So101SimEnv
from hiltk.errors import ConfigError, nearest
from hiltk.humans.base import Human
from hiltk.humans.clumsy import ClumsyHuman
from hiltk.humans.scripted import ScriptedExpert
from hiltk.humans.wandering import Wanderer

HUMANS = ("scripted", "clumsy", "wandering")


def make_human(conf: HumanConf, env: gym.Env) -> Human:
    """The human of ``conf.name``; wrappers around the environment are looked through.

    Raises:
        ConfigError: an unknown human, or an environment for which there is no scripted expert.
    """
    if conf.name not in HUMANS:
        raise ConfigError(
            f"there is no human '{conf.name}'; there are: {', '.join(HUMANS)}",
            where=f"human.name={conf.name}",
            fix=nearest(conf.name, list(HUMANS)),
        )
    bare = env.unwrapped
    if conf.name == "wandering" and isinstance(bare, HilEnv):
        return Wanderer(bare, conf)
    if not isinstance(bare, So101SimEnv):
        raise ConfigError(
            f"the {conf.name} human only knows the simulated SO-101, not {type(bare).__name__}",
            where=f"human={conf.name}",
            fix="use env=so101_sim, or train without a human: intervention=never",
        )
    return ClumsyHuman(bare, conf) if conf.name == "clumsy" else ScriptedExpert(bare, conf)
