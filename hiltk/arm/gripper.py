"""The three-way gripper's commands: -1 closes, 0 holds and +1 opens."""

from __future__ import annotations

import numpy as np

from hiltk.spec import ActionSpec, GripperFormat

COMMANDS = ("close", "hold", "open")  # an index into them is the command plus `HOLD`
HOLD = COMMANDS.index("hold")
MOVES = 0.5  # from this size on a value in between is a command to move


def quantise(action: np.ndarray, spec: ActionSpec) -> np.ndarray:
    """Snap the gripper of an action (..., A) to -1, 0 or +1 where the spec says it is three-way."""
    if spec.gripper is not GripperFormat.discrete3:
        return action
    action = action.copy()
    action[..., -1] = snapped(action[..., -1])
    return action


def snapped(gripper: np.ndarray) -> np.ndarray:
    """The command -1, 0 or +1 nearest to each value."""
    return np.where(np.abs(gripper) < MOVES, 0.0, np.sign(gripper))
