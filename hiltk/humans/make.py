"""The humans there are, and which environments they can act in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gymnasium as gym

from hiltk.config.groups import HumanConf
from hiltk.envs.base import HilEnv, SceneEnv
from hiltk.errors import ConfigError, nearest
from hiltk.humans.base import Human
from hiltk.humans.clumsy import ClumsyHuman
from hiltk.humans.scripted import ScriptedExpert
from hiltk.humans.wandering import Wanderer


@dataclass(frozen=True)
class HumanRow:
    """One row of `HUMANS`.

    Attributes:
        human: builds one, from the bare environment and the config.
        needs: what the environment has to be: a `SceneEnv` where the human looks at more than observations show.
    """

    human: Callable[[Any, HumanConf], Human]
    needs: type[HilEnv] = HilEnv


# By `human.name`. Another package adds a row of its own before it calls hiltk.
HUMANS: dict[str, HumanRow] = {
    "scripted": HumanRow(ScriptedExpert, needs=SceneEnv),
    "clumsy": HumanRow(ClumsyHuman, needs=SceneEnv),
    "wandering": HumanRow(Wanderer),
}


def human_row(conf: HumanConf) -> HumanRow:
    """What is known of the human of ``conf.name``.

    Raises:
        ConfigError: there is no such human.
    """
    if conf.name not in HUMANS:
        raise ConfigError(
            f"there is no human '{conf.name}'; there are: {', '.join(HUMANS)}",
            where=f"human.name={conf.name}",
            fix=nearest(conf.name, list(HUMANS)),
        )
    return HUMANS[conf.name]


def make_human(conf: HumanConf, env: gym.Env) -> Human:
    """The human of ``conf.name``; wrappers around the environment are looked through.

    Raises:
        ConfigError: an unknown human, or an environment in which this one cannot act.
    """
    row, bare = human_row(conf), env.unwrapped
    if not isinstance(bare, row.needs):
        raise ConfigError(
            f"the {conf.name} human only knows the simulated SO-101, not {type(bare).__name__}",
            where=f"human={conf.name}",
            fix="use env=so101_sim, or train without a human: intervention=never",
        )
    return row.human(bare, conf)
