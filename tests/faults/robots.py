"""A simulated arm that does otherwise than its actions say."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from hiltk.config.groups import RewardConf, So101SimConf, TaskConf
from hiltk.envs.base import HilEnv
from hiltk.envs.make import make_env

BLIND = So101SimConf(cameras=[])
REACH = TaskConf(name="reach")


class Done(HilEnv):
    """The simulated arm, whose task is done before anything is."""

    has_predicate = True

    def __init__(self) -> None:
        self.env = make_env(BLIND, REACH, RewardConf(), seed=0)
        self.io_spec, self.strata = self.env.io_spec, ("near", "far")

    def reset(self, **options: Any) -> Any:
        observation, info = self.env.reset(**options)
        return observation, info | {"success_now": True}

    def step(self, action: np.ndarray) -> Any:
        return self.env.step(action)


class Wrong(HilEnv):
    """The simulated arm behind something that changes its actions, or says something else of them."""

    def __init__(self, change: Callable[[np.ndarray], np.ndarray], **action: Any) -> None:
        self.env = make_env(BLIND, REACH, RewardConf(), seed=0)
        self.io_spec = copy.deepcopy(self.env.io_spec)
        self.io_spec.action = replace(self.io_spec.action, **action)
        self.change = change

    def reset(self, **options: Any) -> Any:
        return self.env.reset(**options)

    def step(self, action: np.ndarray) -> Any:
        return self.env.step(self.change(action).astype(np.float32))
