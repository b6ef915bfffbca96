"""What every human offers, scripted or flesh: how to act. When to act is a schedule's business (`schedules.py`)."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from hiltk.observation import Observation


class Human(Protocol):
    """Someone who can demonstrate and correct."""

    def reset(self, seed: int) -> None:
        """Forget the last episode or takeover; ``seed`` fixes the noise of the next one."""

    def act(self, observation: Observation) -> np.ndarray:
        """The action (A,) this human would send now, in the spec's action space."""

    def satisfied(self) -> bool:
        """Whether things go well enough that a person would keep their hands off for now."""
