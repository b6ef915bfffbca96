"""A small environment and policy with known outcomes, so that evaluation is tested without physics or networks."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from hiltk.envs.base import HilEnv, Info, RawObservation
from hiltk.spec import STATE_KEY, ActionSpec, Dimension, GripperFormat, ImageSpec, Spec, StateSpec

GOALS = {"near": (0.1, 0.4), "far": (0.6, 0.9)}


def line_spec(cameras: tuple[str, ...] = ("wrist",)) -> Spec:
    images = [ImageSpec(name, 16, 24, 16, 24) for name in cameras]
    action = ActionSpec([Dimension("delta_x", "1", -1, 1)], gripper=GripperFormat.none)
    state = StateSpec([Dimension("x", "m", 0, 1), Dimension("goal", "m", 0, 1)])
    return Spec(task="reach", state=state, action=action, images=images)


class LineEnv(HilEnv):
    """A point on a line must come within 2 cm of a goal; success shows at once. Brightness shows the point."""

    strata = ("all", "near", "far")

    def __init__(self, cameras: tuple[str, ...] = ("wrist",), limit: int = 20, judges: bool = True) -> None:
        self.io_spec = line_spec(cameras)
        self.action_space = spaces.Box(-1, 1, (1,), np.float32)
        self.limit, self.judges = limit, judges
        self.seeds: list[int] = []

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[RawObservation, Info]:
        assert seed is not None
        self.seeds.append(seed)
        self.stratum = (options or {}).get("stratum", "all")
        low, high = GOALS.get(self.stratum, (0.1, 0.9))
        self.x, self.goal, self.steps = 0.0, float(np.random.default_rng(seed).uniform(low, high)), 0
        return self._observe(), self._info()

    def step(self, action: np.ndarray) -> tuple[RawObservation, float, bool, bool, Info]:
        self.x = float(np.clip(self.x + 0.1 * float(action[0]), 0, 1))
        self.steps += 1
        info = self._info()
        done = bool(info.get("true_success"))
        return self._observe(), float(done), done, not done and self.steps >= self.limit, info

    def _info(self) -> Info:
        verdict = {"true_success": abs(self.x - self.goal) < 0.02} if self.judges else {"true_success": None}
        return {"success": True, "stratum": self.stratum, **verdict}

    def _observe(self) -> RawObservation:
        state = {STATE_KEY: np.array([self.x, self.goal], np.float32)}
        shade = int(255 * self.x)
        return state | {image.key: np.full((16, 24, 3), shade, np.uint8) for image in self.io_spec.images}


class GoTo:
    """Walks towards the goal as far as it can reach; with ``noise`` its stochastic actions come from torch's stream."""

    def __init__(self, reach: float = 1.0, noise: float = 0.0, cameras: tuple[str, ...] = ("wrist",)) -> None:
        self.spec = copy.deepcopy(line_spec(cameras))
        self.reach, self.noise = reach, noise

    def act(self, observation: dict[str, np.ndarray], deterministic: bool = True) -> np.ndarray:
        assert set(observation) == {STATE_KEY, *self.spec.image_keys}
        x, goal = observation[STATE_KEY]
        action = np.clip((min(float(goal), self.reach) - float(x)) / 0.1, -1, 1)
        if not deterministic:
            import torch

            action = np.clip(action + self.noise * torch.randn(()).item(), -1, 1)
        return np.array([action], np.float32)


@pytest.fixture
def line_env() -> LineEnv:
    return LineEnv()


@pytest.fixture
def make_line_env() -> type[LineEnv]:
    return LineEnv


@pytest.fixture
def go_to() -> type[GoTo]:
    return GoTo
