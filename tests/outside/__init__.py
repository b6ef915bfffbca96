"""A package of somebody else's that adds one of each kind to hiltk, and its own command line (`__main__.py`).

Rows are added before `hiltk.cli` is imported, and so is the folder ``conf/``, which is laid out like hiltk's own.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium import spaces

from hiltk.agents.encoders import ENCODERS, Encoder, EncoderRow, Images
from hiltk.agents.make import AGENTS, Learner
from hiltk.agents.policy import Policy
from hiltk.agents.sac import SacAgent, check_sac
from hiltk.config.commands import COMMANDS, StepConf
from hiltk.config.groups import SCHEMAS, EncoderConf, EnvConf, HumanConf, SacConf, TaskConf
from hiltk.config.setting import REQUIRED, setting
from hiltk.configuring.files import FOLDERS
from hiltk.envs.base import HilEnv, Info, RawObservation
from hiltk.envs.make import ENVS, EnvRow
from hiltk.envs.tasks import TASKS, Task
from hiltk.humans.make import HUMANS, HumanRow
from hiltk.observation import Observation
from hiltk.spec import (
    STATE_KEY,
    ActionSpec,
    Dimension,
    GripperFormat,
    ImageSpec,
    RobotSpec,
    Spec,
    StateSpec,
)
from hiltk.verbs import STEPS, VERBS, Verb

# ---------------------------------------------------------------- an environment


@dataclass
class DeskConf(EnvConf):
    """A thing to be pushed along a line, as a real arm sees it: nobody but a person or a classifier knows success."""

    name: str = "desk"
    reach_m: float = setting(0.1, "metres per step at full action")


class DeskEnv(HilEnv):
    """Declares nothing but a limit of its own: no predicate, no reward, no strata, no way to repeat an episode."""

    max_steps = 6

    def __init__(self, conf: DeskConf, task: TaskConf, seed: int = 0) -> None:
        self.conf = conf
        self.io_spec = Spec(
            task="push",
            fps=conf.fps,
            state=StateSpec([Dimension("x", "m", -1, 1)]),
            action=ActionSpec(
                [Dimension("push", "1", -1, 1)], scale_m=0.0, frame="", gripper=GripperFormat.none, gripper_step=0.0
            ),
            images=[ImageSpec("top", 16, 16, 16, 16)],
            robot=RobotSpec(name="desk"),
        )
        self.action_space = spaces.Box(-1, 1, (1,), np.float32)
        super().reset(seed=seed)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[RawObservation, Info]:
        super().reset(seed=seed)
        self.x, self.steps = float(self.np_random.uniform(-0.5, 0.5)), 0
        return self._observe(), {}

    def step(self, action: np.ndarray) -> tuple[RawObservation, float, bool, bool, Info]:
        self.x = float(np.clip(self.x + self.conf.reach_m * float(action[0]), -1, 1))
        self.steps += 1
        return self._observe(), 0.0, False, self.steps >= self.max_steps, {}

    def _observe(self) -> RawObservation:
        frame = np.full((16, 16, 3), 60, np.uint8)
        frame[4:12, round(7.5 * (1 + self.x))] = 220
        return {STATE_KEY: np.array([self.x], np.float32), "observation.images.top": frame}


ENVS["desk"] = EnvRow(DeskConf, DeskEnv)
SCHEMAS["env"]["desk_schema"] = DeskConf

# ---------------------------------------------------------------- a human


class Pusher:
    """Pushes the thing to the right."""

    def __init__(self, env: HilEnv, conf: HumanConf) -> None:
        self.size = len(env.io_spec.action.dims)

    def reset(self, seed: int) -> None: ...

    def act(self, observation: Observation) -> np.ndarray:
        return np.ones(self.size, np.float32)

    def satisfied(self) -> bool:
        return False


HUMANS["pusher"] = HumanRow(Pusher)

# ---------------------------------------------------------------- a task

TASKS["hover"] = Task(lambda now: now.tcp_distance_m < 0.08)

# ---------------------------------------------------------------- an encoder


class Brightness(Encoder):
    """The mean colour of each camera, (B, 3 * cameras)."""

    def __init__(self, conf: EncoderConf, images: list[ImageSpec]) -> None:
        super().__init__()
        self.keys = [image.key for image in images]
        self.out_features = 3 * len(images)

    def forward(self, images: Images) -> torch.Tensor:
        return torch.cat([images[key].float().mean(dim=(2, 3)) / 255 for key in self.keys], dim=-1)


ENCODERS["brightness"] = EncoderRow(Brightness, lambda conf: None)

# ---------------------------------------------------------------- an agent


@dataclass
class CautiousConf(SacConf):
    """SAC that values the future less."""

    name: str = "cautious"
    caution: float = setting(0.5, "share of the discount that is left")


class CautiousAgent(SacAgent):
    def __init__(self, policy: Policy, conf: CautiousConf, *rule: Any) -> None:
        super().__init__(policy, conf, *rule)
        self.q_low, self.q_high = conf.caution * self.q_low, conf.caution * self.q_high


AGENTS["cautious"] = Learner(CautiousConf, Policy, CautiousAgent, check_sac)
SCHEMAS["agent"]["cautious_schema"] = CautiousConf

# ---------------------------------------------------------------- a verb


@dataclass
class CountConf(StepConf):
    """`hiltk count`."""

    dataset: str = setting(REQUIRED, "whose frames are counted", reference="datasets")


VERBS["count"] = STEPS["count"] = Verb(
    "count", "reports", "Count frames.", "dataset", many=False, group="Data", home="tests.outside.count"
)
COMMANDS["count"] = CountConf

# ---------------------------------------------------------------- their options

FOLDERS.append(Path(__file__).with_name("conf"))
