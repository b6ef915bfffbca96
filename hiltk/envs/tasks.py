"""The tasks of the simulated arm: what counts as success, and where the cube appears.

Strata cut the spawn area into named parts, so that "only the easy positions work" shows as a number. They are a
partition: every pose belongs to exactly one, the first in `STRATA` order whose condition holds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from hiltk.config.groups import TaskConf
from hiltk.errors import ConfigError, nearest

ALL = "all"
_TRIES = 20_000


class Spawn(NamedTuple):
    """Where the cube starts on the table, base frame: metres and degrees about the vertical."""

    x_m: float
    y_m: float
    yaw_deg: float


@dataclass(frozen=True)
class Situation:
    """What success depends on at one instant.

    Attributes:
        tcp_distance_m: from the point between the finger tips to the cube's centre.
        lifted_m: height of the cube's centre above where it rests on the table.
        fixed_jaw, moving_jaw: whether each jaw touches the cube.
    """

    tcp_distance_m: float
    lifted_m: float
    fixed_jaw: bool
    moving_jaw: bool

    @property
    def held(self) -> bool:
        return self.fixed_jaw and self.moving_jaw


@dataclass(frozen=True)
class Task:
    """One row of `TASKS`.

    Attributes:
        predicate: whether a situation is what the task asks for.
        lifted_m: how far above the table the held cube must be; None where it need not be held.
        missing_m: the height or distance that is missing for it; None where that is no length.
    """

    predicate: Callable[[Situation], bool]
    lifted_m: float | None = None
    missing_m: Callable[[Situation], float] | None = None


def _held_above(height_m: float) -> Task:
    return Task(
        lambda now: now.held and now.lifted_m > height_m, height_m, lambda now: max(0.0, height_m - now.lifted_m)
    )


def _within(distance_m: float) -> Task:
    return Task(
        lambda now: now.tcp_distance_m < distance_m, None, lambda now: max(0.0, now.tcp_distance_m - distance_m)
    )


# By `task.name`. Another package adds a row of its own before it calls hiltk.
TASKS: dict[str, Task] = {
    "reach": _within(0.02),
    "grasp": _held_above(0.01),
    "lift": _held_above(0.05),
}

# In order of priority: a turned cube is "yaw" wherever it lies, an edge wins over near and far.
STRATA: dict[str, Callable[[TaskConf, Spawn], bool]] = {
    "yaw": lambda task, spawn: abs(spawn.yaw_deg) > task.yaw_deg,
    "left_edge": lambda task, spawn: spawn.y_m > task.edge_y_m,
    "right_edge": lambda task, spawn: spawn.y_m < -task.edge_y_m,
    "near": lambda task, spawn: spawn.x_m < task.near_far_x_m,
    "far": lambda task, spawn: True,
}


def stratum_of(task: TaskConf, spawn: Spawn) -> str:
    """The one stratum that ``spawn`` belongs to."""
    return next(name for name, holds in STRATA.items() if holds(task, spawn))


def check_task(task: TaskConf) -> None:
    """Refuse a task that does not exist or cannot be played.

    Raises:
        ConfigError: unknown task or stratum, an interval that is not one, or a time limit or hold that is not positive.
    """
    if task.name not in TASKS:
        raise _unknown("task", task.name, list(TASKS))
    check_stratum(task.stratum)
    for key in ("spawn_x_m", "spawn_y_m", "spawn_yaw_deg"):
        bounds = getattr(task, key)
        if len(bounds) != 2 or not bounds[0] <= bounds[1]:
            raise ConfigError(f"task.{key} must be [low, high]", where=f"task.{key}={list(bounds)}")
    if task.time_limit_s <= 0 or task.hold_steps < 1:
        values = f"task.time_limit_s={task.time_limit_s}, task.hold_steps={task.hold_steps}"
        raise ConfigError("the time limit and the hold must be positive", where=values)


def check_stratum(name: str) -> None:
    """Refuse the name of a stratum that does not exist.

    Raises:
        ConfigError: naming the nearest one.
    """
    if name not in STRATA and name != ALL:
        raise _unknown("stratum", name, [ALL, *STRATA])


def sample_spawn(task: TaskConf, stratum: str, rng: np.random.Generator) -> Spawn:
    """Draw a cube pose uniformly from one stratum of the spawn area (``all``: from the whole).

    Raises:
        ConfigError: the stratum does not exist, or is empty in this spawn area.
    """
    check_stratum(stratum)
    low, high = np.transpose(_bounds(task))
    for _ in range(_TRIES):
        spawn = Spawn(*rng.uniform(low, high).tolist())
        if stratum in (ALL, stratum_of(task, spawn)):
            return spawn
    raise ConfigError(
        f"the stratum '{stratum}' is empty in this spawn area",
        where=f"task.spawn_x_m={list(task.spawn_x_m)}, spawn_y_m={list(task.spawn_y_m)}, "
        f"spawn_yaw_deg={list(task.spawn_yaw_deg)}",
        fix="widen the spawn area, or move task.near_far_x_m, task.edge_y_m or task.yaw_deg",
    )


def strata_within(task: TaskConf) -> tuple[str, ...]:
    """Strata that the spawn area reaches, easiest first."""
    order = ("near", "far", "left_edge", "right_edge", "yaw")
    xs, ys, yaws = ((low, min(max(0.0, low), high), high) for low, high in _bounds(task))
    # The extremes and the middle of each axis meet every condition that can be met.
    found = {stratum_of(task, Spawn(x, y, yaw)) for x in xs for y in ys for yaw in yaws}
    return tuple(name for name in order if name in found)


def _bounds(task: TaskConf) -> list[tuple[float, float]]:
    """Lowest and highest x, y and yaw of the spawn area."""
    return [(pair[0], pair[1]) for pair in (task.spawn_x_m, task.spawn_y_m, task.spawn_yaw_deg)]


def _unknown(kind: str, name: str, options: list[str]) -> ConfigError:
    return ConfigError(
        f"there is no {kind} '{name}'; there are: {', '.join(options)}",
        where=f"task.{'name' if kind == 'task' else kind}={name}",
        fix=nearest(name, options),
    )
