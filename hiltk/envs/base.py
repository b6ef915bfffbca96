"""What every environment offers, be it a simulated arm, a real one or somebody else's Gymnasium environment."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

from hiltk.spec import Spec

RawObservation = dict[str, Any]
Info = dict[str, Any]


class HilEnv(gym.Env[RawObservation, np.ndarray]):
    """A Gymnasium environment that carries a spec.

    Observations are mappings with ``observation.state`` (D,) in the spec's units and
    ``observation.images.<camera>`` (H, W, 3) uint8 RGB. Actions are float32 (A,) as the spec's `ActionSpec` says.
    ``reset(seed=..., options={"stratum": "far"})`` spawns inside one named stratum. The same seed and options
    give the same episode bit for bit.

    A bare environment pays no reward and never terminates by success; it only truncates at its time limit. The
    reward rule is applied outside, by `hiltk.envs.rewards.SuccessRule`. Keys of ``info``:

    - ``success_now`` (bool): the task's own predicate in this observation; absent where there is none.
    - ``stratum`` (str): where this episode spawned.
    - ``executed_action`` (A,): what was really done, after clipping.
    """

    io_spec: Spec
    strata: tuple[str, ...] = ()
