"""Rebuilding actions by forward kinematics: what the arm did, read off consecutive joint states.

Leader-arm recordings that mirror joints store no end-effector action at all (LeRobot writes zeros without a word).
The joints are right, so the displacement of the gripper between two frames says what action was achieved. Works on
whole datasets at once; rows are grouped by episode, so nothing ever reaches across an episode's end.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hiltk.arm.kinematics import Kinematics
from hiltk.arm.units import ARM_JOINTS
from hiltk.spec import ActionSpec, GripperFormat

NOISE_DEG = 0.2  # two encoder ticks (360/4096 degrees each): smaller steps are no motion
BROKEN_SHARE = 0.2  # of an episode's motion that happens under a zero action
LEAST_PATH_DEG = 1.0  # an arm that moved less than this in all shows nothing either way


@dataclass(frozen=True)
class Rebuilt:
    """Actions of N rows read off their joint states.

    Attributes:
        actions: (N, A) float32 in [-1, 1]; zeros in the last row of every episode.
        valid: (N,) bool, False in the last row of every episode.
        clipped: (N, A) bool, where the arm moved further than a full action.
        positions_m: (N, 3) end effector, base frame.
    """

    actions: np.ndarray
    valid: np.ndarray
    clipped: np.ndarray
    positions_m: np.ndarray


def unexplained_motion(actions: np.ndarray, joints_deg: np.ndarray, *, zero_below: float) -> float:
    """Share of the arm's motion that happens under a zero or missing action: near 0 in an intact episode, 1 at worst.

    Weighing by motion keeps pauses, where zero is the true action, from counting, at any frame rate.

    Args:
        actions: (T, A) of one episode, translation first; NaN counts as missing.
        joints_deg: (T+1, 6) around them.
        zero_below: actions with all translations smaller than this are zero.
    """
    steps = np.abs(np.diff(joints_deg[:, :ARM_JOINTS], axis=0)).max(1)
    steps = np.where(steps > NOISE_DEG, steps, 0.0)
    if steps.sum() < LEAST_PATH_DEG:
        return 0.0
    xyz = actions[:, :3]
    silent = ~np.isfinite(actions).all(1) | (np.abs(np.nan_to_num(xyz)).max(1) < zero_below)
    return float(steps[silent].sum() / steps.sum())


def is_broken(actions: np.ndarray, joints_deg: np.ndarray, *, zero_below: float) -> bool:
    """Whether one episode's actions fail to explain its motion; see `unexplained_motion`. NaN always fails."""
    missing = not np.isfinite(actions).all()
    return missing or unexplained_motion(actions, joints_deg, zero_below=zero_below) > BROKEN_SHARE


def rebuild(
    joints_deg: np.ndarray, episode: np.ndarray, action: ActionSpec, kin: Kinematics, *, threshold: float = 0.3
) -> Rebuilt:
    """The achieved actions of whole episodes.

    ``a_xyz[t] = clip((FK(q[t+1]) - FK(q[t])) / scale, -1, 1)``, base frame; ``a_gripper[t] = clip((g[t+1] - g[t]) /
    gripper_step, -1, 1)``, or its sign where it reaches ``threshold`` for a three-way gripper.

    Args:
        joints_deg: (N, 6) LeRobot degrees and gripper percent.
        episode: (N,) episode number of each row; rows of an episode are consecutive.
        action: scale, gripper format and step.
        kin: forward kinematics of the arm that was recorded.
        threshold: part of ``gripper_step`` a discrete gripper must move to count as closing or opening.
    """
    positions, _ = kin.forward(joints_deg)
    raw = forward_difference(positions, episode) / action.scale_m
    if action.gripper is not GripperFormat.none:
        moved = forward_difference(joints_deg[:, ARM_JOINTS : ARM_JOINTS + 1], episode) / action.gripper_step
        if action.gripper is GripperFormat.discrete3:
            moved = np.sign(moved) * (np.abs(moved) >= threshold)
        raw = np.concatenate([raw, moved], axis=1)
    valid = ~last_rows(episode)
    # A rounding error beyond 1 is no clipping.
    clipped = (np.abs(raw) > 1 + 1e-6) & valid[:, None]
    return Rebuilt(np.clip(raw, -1, 1).astype(np.float32), valid, clipped, positions)


def forward_difference(values: np.ndarray, episode: np.ndarray) -> np.ndarray:
    """``values[t+1] - values[t]`` within each episode (N, D); zero in every episode's last row."""
    difference = np.zeros_like(values, dtype=np.float64)
    difference[:-1] = np.diff(values, axis=0)
    difference[last_rows(episode)] = 0.0
    return difference


def last_rows(episode: np.ndarray) -> np.ndarray:
    """Where an episode ends, (N,) bool."""
    return np.r_[episode[1:] != episode[:-1], True]


@dataclass(frozen=True)
class Residual:
    """How far the path that repaired actions would replay lies from the recorded one, per row (N,), mm.

    Attributes:
        clipped: with every action as stored: clipping loses distance for good.
        unclipped: the same with clipped steps replaced by what was recorded: what is left is arithmetic.
    """

    clipped: np.ndarray
    unclipped: np.ndarray


def replay_residual(rebuilt: Rebuilt, episode: np.ndarray, scale_m: float) -> Residual:
    """Integrate repaired translations from each episode's first position and compare with the recorded path."""
    recorded = forward_difference(rebuilt.positions_m, episode)
    replayed = rebuilt.actions[:, :3].astype(np.float64) * scale_m
    mended = np.where(rebuilt.clipped[:, :3], recorded, replayed)
    return Residual(*(_drift_mm(steps - recorded, episode) for steps in (replayed, mended)))


def _drift_mm(error_m: np.ndarray, episode: np.ndarray) -> np.ndarray:
    """Distance accumulated since each episode's start: error of step t shows in row t+1."""
    before = np.zeros_like(error_m)
    before[1:] = np.cumsum(error_m, axis=0)[:-1]
    starts = np.r_[0, np.flatnonzero(last_rows(episode))[:-1] + 1]
    lengths = np.diff(np.r_[starts, len(episode)])
    return 1000 * np.linalg.norm(before - np.repeat(before[starts], lengths, axis=0), axis=1)
