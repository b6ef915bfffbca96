"""ACT008: an environment that does not do what its actions say is refused before anything is learnt in it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hiltk.checks.driving import robot_answers
from hiltk.checks.subject import Subjects
from hiltk.config.commands import TrainConf
from hiltk.config.groups import GymnasiumConf, RewardConf, SacConf, TaskConf
from hiltk.envs.base import HilEnv
from hiltk.envs.make import make_env
from hiltk.errors import UserError
from hiltk.spec import GripperFormat
from hiltk.steps import train
from tests.faults.robots import BLIND, REACH, Wrong


def said_of(env: HilEnv) -> list[str]:
    return [finding.what for finding in robot_answers(Subjects(env=env))]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"fps": 5.0, "action_scale_m": 0.03},
        {"fps": 30.0, "action_scale_m": 0.005},
        {"fps": 30.0},  # faster than the servos
        {"action_scale_m": 0.05},
        {"gripper": GripperFormat.none},
        {"gripper": GripperFormat.discrete3},
        {"workspace_low_m": [0.1, -0.2, 0.008], "workspace_high_m": [0.38, 0.2, 0.25], "reset_ee_m": [0.3, 0.1, 0.2]},
    ],
    ids=str,
)
def test_the_simulated_arm_answers(changes: dict[str, Any]) -> None:
    assert said_of(make_env(replace(BLIND, **changes), REACH, RewardConf(), seed=0)) == []


@pytest.mark.parametrize(
    ("change", "action", "named"),
    [
        (lambda a: 0 * a, {}, ["delta_x", "delta_y", "delta_z", "gripper"]),
        (lambda a: a * [1, 0, 1, 1], {}, ["delta_y"]),
        (lambda a: a[[1, 0, 2, 3]], {}, ["delta_x", "delta_y"]),
        (lambda a: a * [1, 1, -1, 1], {}, ["delta_z"]),
        (lambda a: a * [1, 1, 1, -1], {}, ["gripper"]),
        (lambda a: a * [0.05, 0.05, 0.05, 1], {}, ["delta_x", "delta_y", "delta_z"]),
        (lambda a: a, {"scale_m": 0.005}, ["delta_x", "delta_y", "delta_z"]),
        (lambda a: a @ np.array([[0, 1, 0, 0], [-1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]), {}, ["delta_x", "delta_y"]),
    ],
    ids=["ignored", "y ignored", "x and y swapped", "z down", "gripper reversed", "scaled twice", "other scale", "yaw"],
)
def test_a_robot_that_does_otherwise_is_named(
    change: Callable[[np.ndarray], np.ndarray], action: dict[str, Any], named: list[str]
) -> None:
    (message,) = said_of(Wrong(change, **action))
    assert [name for name in ("delta_x", "delta_y", "delta_z", "gripper") if name in message] == named


def test_an_episode_that_ends_at_once_says_nothing() -> None:
    task = TaskConf(name="reach", time_limit_s=0.3)
    assert said_of(make_env(BLIND, task, RewardConf(), seed=0)) == []


def test_environments_without_end_effector_are_not_driven() -> None:
    conf = GymnasiumConf(id="Pendulum-v1")
    assert said_of(make_env(conf, TaskConf(), RewardConf(source="env"), seed=0)) == []


def test_train_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is written."""
    monkeypatch.setattr("hiltk.arm.control.Control.command", lambda self, action: self.joints_deg)
    cfg = TrainConf(root=str(tmp_path), name="lift", env=BLIND, episodes=1, agent=SacConf(hidden=[8]))
    cfg.encoder.name = "none"
    with pytest.raises(UserError, match=r"train refuses: ACT008 .*delta_x \+0 instead of \+40 mm"):
        train.run(cfg)
    assert not (tmp_path / "policies").exists()
