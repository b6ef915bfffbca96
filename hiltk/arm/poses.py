"""Poses that the simulated arm and the one on the desk share: (6,) degrees, gripper 0..100 last."""

from __future__ import annotations

import numpy as np

WRIST_ROLL_DEG = 90.0  # actions do not turn the wrist; at 90 the jaws close sideways as seen from the base
START_OPENING = 40.0  # of 0..100
# Where IK starts from on the way to the reset pose; any reachable, downward pose would do.
READY_DEG = np.array([0.0, -30.0, 30.0, 80.0, WRIST_ROLL_DEG, START_OPENING])
