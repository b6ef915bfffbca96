"""Predicates at their thresholds; strata as a partition of the spawn area."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hiltk.config.groups import TaskConf
from hiltk.envs.tasks import (
    STRATA,
    TASKS,
    Situation,
    Spawn,
    check_task,
    sample_spawn,
    strata_within,
    stratum_of,
)
from hiltk.errors import ConfigError

TASK = TaskConf(spawn_x_m=[0.18, 0.28], spawn_y_m=[-0.08, 0.08], near_far_x_m=0.23, edge_y_m=0.05, yaw_deg=30.0)
spawns = st.builds(Spawn, st.floats(0.18, 0.28), st.floats(-0.08, 0.08), st.floats(-45, 45))


def membership(task: TaskConf, spawn: Spawn) -> list[str]:
    """The strata as the documentation words them, each one with its exclusions spelt out."""
    x, y, yaw = spawn
    turned, left, right = abs(yaw) > task.yaw_deg, y > task.edge_y_m, y < -task.edge_y_m
    centre = not turned and not left and not right
    rules = {
        "yaw": turned,
        "left_edge": left and not turned,
        "right_edge": right and not turned,
        "near": centre and x < task.near_far_x_m,
        "far": centre and x >= task.near_far_x_m,
    }
    return [name for name, holds in rules.items() if holds]


@given(spawns)
def test_every_pose_belongs_to_exactly_one_stratum(spawn: Spawn) -> None:
    assert membership(TASK, spawn) == [stratum_of(TASK, spawn)]


@given(st.sampled_from(sorted(STRATA)), st.integers(0, 2**32 - 1))
def test_a_sample_lies_in_its_stratum_and_in_the_area(stratum: str, seed: int) -> None:
    spawn = sample_spawn(TASK, stratum, np.random.default_rng(seed))
    assert membership(TASK, spawn) == [stratum]
    bounds = (TASK.spawn_x_m, TASK.spawn_y_m, TASK.spawn_yaw_deg)
    assert all(low <= value <= high for value, (low, high) in zip(spawn, bounds, strict=True))


@given(st.lists(st.floats(-60, 60), min_size=2, max_size=2, unique=True), st.floats(0.15, 0.3), st.floats(0, 0.1))
def test_the_strata_an_area_has_are_those_that_samples_show(yaws: list[float], split: float, edge: float) -> None:
    task = replace(TASK, spawn_yaw_deg=sorted(yaws), near_far_x_m=split, edge_y_m=edge)
    rng = np.random.default_rng(0)
    seen = {stratum_of(task, sample_spawn(task, "all", rng)) for _ in range(300)}
    assert seen <= set(strata_within(task))


def test_all_covers_the_whole_area_evenly() -> None:
    rng = np.random.default_rng(1)
    poses = np.array([sample_spawn(TASK, "all", rng) for _ in range(2000)])
    assert poses.mean(axis=0) == pytest.approx([0.23, 0.0, 0.0], abs=2.0)
    shares = {name: sum(stratum_of(TASK, Spawn(*pose)) == name for pose in poses) / 2000 for name in STRATA}
    # yaw: a third of the angles; of the rest 3/16 at either edge and 5/16 in each centre half.
    third = 2 / 3
    expected = {"yaw": 1 / 3, "left_edge": third * 3 / 16, "right_edge": third * 3 / 16}
    expected |= {"near": third * 5 / 16, "far": third * 5 / 16}
    assert shares == pytest.approx(expected, abs=0.04)


def test_an_area_without_turned_cubes_has_no_yaw_stratum() -> None:
    task = replace(TASK, spawn_yaw_deg=[-20.0, 20.0], spawn_y_m=[-0.08, 0.04])
    assert strata_within(task) == ("near", "far", "right_edge")
    with pytest.raises(ConfigError, match="'yaw' is empty"):
        sample_spawn(task, "yaw", np.random.default_rng(0))


@pytest.mark.parametrize(
    ("task", "distance", "lifted", "fixed", "moving", "expected"),
    [
        ("reach", 0.0199, 0.0, False, False, True),
        ("reach", 0.0201, 0.0, True, True, False),
        ("grasp", 0.0, 0.011, True, True, True),
        ("grasp", 0.0, 0.011, True, False, False),
        ("grasp", 0.0, 0.009, True, True, False),
        ("lift", 0.0, 0.051, True, True, True),
        ("lift", 0.0, 0.051, False, True, False),
        ("lift", 0.0, 0.049, True, True, False),
    ],
)
def test_predicates(task: str, distance: float, lifted: float, fixed: bool, moving: bool, expected: bool) -> None:
    assert TASKS[task].predicate(Situation(distance, lifted, fixed, moving)) is expected


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "lfit"}, "did you mean 'lift'"),
        ({"stratum": "neer"}, "did you mean 'near'"),
        ({"spawn_x_m": [0.3, 0.2]}, "task.spawn_x_m"),
        ({"spawn_yaw_deg": [0.0]}, "task.spawn_yaw_deg"),
        ({"time_limit_s": 0.0}, "time limit"),
        ({"hold_steps": 0}, "hold"),
    ],
)
def test_a_bad_task_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_task(replace(TASK, **changes))
