"""An arm without hardware: emulated servos on a pseudo-terminal, moved by the simulated arm, in a process of its own.

LeRobot's unmodified driver talks to it as to the arm on the desk. Nothing here that the process itself needs may import
LeRobot or torch: it is to start at once.
"""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    """`EmulatedCamera`: LeRobot looks for a camera's class beside the module of its config."""
    if name == "EmulatedCamera":
        from hiltk.robots.emulated.camera import EmulatedCamera

        return EmulatedCamera
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
