from __future__ import annotations

import numpy as np

from hiltk.arm.gripper import COMMANDS, HOLD, snapped


def test_commands_are_counted_from_close_to_open() -> None:
    snaps = snapped(np.array([-1.0, -0.5, -0.49, 0.0, 0.49, 0.5, 1.0]))
    assert snaps.tolist() == [-1, -1, 0, 0, 0, 1, 1]
    assert [COMMANDS[HOLD + int(value)] for value in (-1, 0, 1)] == ["close", "hold", "open"]
