"""Rebuilding actions by forward kinematics: what the arm did, read off consecutive joint states.

Leader-arm recordings that mirror joints store no end-effector action at all (LeRobot writes zeros without a word).
The joints are right, so the displacement of the gripper between two frames says what action was achieved. Works on
whole datasets at once; rows are grouped by episode, so nothing ever reaches across an episode's end.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from hiltk.arm.kinematics import Kinematics
from hiltk.arm.units import ARM_JOINTS
from hiltk.spec import ActionSpec, GripperFormat

ZERO_BELOW = 1e-6  # an action with smaller translations asks for nothing
NOISE_DEG = 0.2  # two encoder ticks (360/4096 degrees each): smaller steps are no motion
BROKEN_SHARE = 0.2  # of an episode's motion that happens under a zero action
COASTS_S = 0.3  # an arm that is asked for nothing any more has come to rest by then
LEAST_PATH_DEG = 1.0  # an arm that moved less than this in all shows nothing either way
MOVING_DEG = 0.5  # a joint that made such a step does not stand still in the next frame and jump in the one after
GRIPPER_NOISE = 0.25  # three encoder ticks, of 0..100: smaller steps of the gripper are no motion
CHUNK_ROWS = 1 << 16  # rows whose transforms are in memory at once


@dataclass(frozen=True)
class Rebuilt:
    """Actions of N rows read off their joint states.

    Attributes:
        actions: (N, A) float32 in [-1, 1]; zeros in the last row of every episode.
        valid: (N,) bool, False in the last row of every episode and where the step to the next row is not known.
        clipped: (N, A) bool, where the arm moved further than a full action.
        positions_m: (N, 3) end effector, base frame.
    """

    actions: np.ndarray
    valid: np.ndarray
    clipped: np.ndarray
    positions_m: np.ndarray


# ---------------------------------------------------------------- what needs repair


def asks_for_nothing(actions: np.ndarray, *, columns: int | None = 3, zero_below: float = ZERO_BELOW) -> np.ndarray:
    """(N,) bool: actions (N, A) that are zero or missing.

    Args:
        columns: how many, from the first on, move the arm; None: all.
        zero_below: what is smaller in all of them is zero.
    """
    missing = ~np.isfinite(actions).all(1)
    return missing | (np.abs(np.nan_to_num(actions[:, :columns])).max(1, initial=0) < zero_below)


def unexplained_motion(
    actions: np.ndarray, joints_deg: np.ndarray, *, zero_below: float, among: np.ndarray | None = None
) -> float:
    """Share of the arm's motion that happens under a zero or missing action: near 0 in an intact episode, 1 at worst.

    Weighing by motion keeps pauses, where zero is the true action, from counting, at any frame rate.

    Args:
        actions: (T, A) of one episode, translation first; NaN counts as missing.
        joints_deg: (T+1, J) around them.
        zero_below: actions with all translations smaller than this are zero.
        among: (T,) bool, the steps to look at; None: all.
    """
    steps = np.abs(np.diff(joints_deg[:, :ARM_JOINTS], axis=0)).max(1)
    steps = (
        np.where(steps > NOISE_DEG, steps, 0.0) if among is None else np.where(among & (steps > NOISE_DEG), steps, 0)
    )
    if steps.sum() < LEAST_PATH_DEG:
        return 0.0
    silent = asks_for_nothing(actions, zero_below=zero_below)
    return float(steps[silent].sum() / steps.sum())


def is_broken(
    actions: np.ndarray, joints_deg: np.ndarray, *, zero_below: float, among: np.ndarray | None = None
) -> bool:
    """Whether one episode's actions fail to explain its motion; see `unexplained_motion`. NaN always fails."""
    missing = ~np.isfinite(actions).all(1)
    missing = missing if among is None else missing & among
    share = unexplained_motion(actions, joints_deg, zero_below=zero_below, among=among)
    return bool(missing.any()) or share > BROKEN_SHARE


def broken_steps(
    actions: np.ndarray, joints_deg: np.ndarray, human: np.ndarray, *, zero_below: float, lost: np.ndarray | None = None
) -> np.ndarray:
    """Which of one episode's steps (T,) need their action rebuilt.

    The human's steps and the policy's are judged apart: a recorder that loses the actions of a takeover only (devlog
    045) leaves an episode that is sound as a whole. Whoever lost actions gets all of his rebuilt, so that they stay
    of one kind.

    Args:
        actions: (T, A).
        joints_deg: (T+1, J).
        human: (T,) bool, where a human had taken over from the policy.
        lost: (T,) bool, steps known to have lost their action: see `silenced`.
    """
    broken = np.zeros(len(actions), bool)
    for among in (human, ~human):
        known = lost is not None and (lost & among).any()
        if known or (among.any() and is_broken(actions, joints_deg, zero_below=zero_below, among=among)):
            broken |= among
    return broken


def silenced(silent: np.ndarray, step_deg: np.ndarray, bounds: list[tuple[int, int]], fps: float) -> np.ndarray:
    """Rows (N,) of runs of zero actions in which the arm moves on as if it were told to: actions lost for a while.

    Such a run lasts longer than an arm coasts, and the arm moves in the rest of it by half of what is usual in this
    episode. A hand that leans on the table does so once in a while, too: where less than `BROKEN_SHARE` of a
    dataset's long runs look like this, none counts.

    Args:
        silent: (N,) bool, actions that ask for nothing; see `asks_for_nothing`.
        step_deg: (N,) how far the joint that moved most moved until the next row; 0 in the last row of an episode.
    """
    least, found, runs = math.ceil(COASTS_S * fps), np.zeros(len(silent), bool), 0
    moving = np.where(step_deg > NOISE_DEG, step_deg, 0.0)
    lost = []
    for start, stop in bounds:
        edges = np.flatnonzero(np.diff(np.r_[False, silent[start : stop - 1], False])) + start
        steps = moving[start : stop - 1]
        usual = float(np.median(steps[steps > 0])) if steps.any() else 0.0
        for first, after in edges.reshape(-1, 2):
            rest = moving[first + least : after]
            runs += len(rest) > 0
            if rest.sum() >= max(LEAST_PATH_DEG, 0.5 * usual * len(rest)):
                lost.append(slice(first, after))
    if len(lost) > BROKEN_SHARE * runs:
        for run in lost:
            found[run] = True
    return found


def frozen_steps(joints_deg: np.ndarray, episode: np.ndarray) -> np.ndarray:
    """Steps (N,) from or to a state that was stored again while the arm moved on: their true length is not known.

    A frozen state shows as: moving, exactly the same numbers in every joint, then a jump the same way that is longer
    than the steps around it. An arm that truly pauses slows down and starts again.
    """
    step = forward_difference(joints_deg, episode)
    last = last_rows(episode)
    size = np.abs(step[:, :ARM_JOINTS]).max(1)
    same = (step == 0).all(1) & ~last
    starts = np.flatnonzero(same & ~np.r_[False, same[:-1]])
    jumps = np.flatnonzero(same & ~np.r_[same[1:], False]) + 1  # the step out of the frozen state
    inside = (starts > 0) & ~last[np.minimum(jumps, len(last) - 1)]
    starts, jumps = starts[inside], jumps[inside]
    before, beyond = starts - 1, np.minimum(jumps + 1, len(last) - 1)
    usual = np.where(last[beyond] | (jumps + 1 > beyond), size[before], (size[before] + size[beyond]) / 2)
    onward = (step[before] * step[jumps]).sum(1) > 0
    stuck = (size[before] > MOVING_DEG) & (size[jumps] > 1.5 * usual) & onward & (episode[before] == episode[jumps])
    frozen = np.zeros(len(episode), bool)
    for start, jump in zip(starts[stuck], jumps[stuck], strict=True):
        frozen[start : jump + 1] = True
    return frozen


# ---------------------------------------------------------------- rebuilding


def rebuild(
    joints_deg: np.ndarray,
    episode: np.ndarray,
    action: ActionSpec,
    kin: Kinematics,
    *,
    threshold: float = 0.3,
    known: np.ndarray | None = None,
) -> Rebuilt:
    """The achieved actions of whole episodes.

    ``a_xyz[t] = clip((FK(q[t+1]) - FK(q[t])) / scale, -1, 1)``, base frame; ``a_gripper[t] = clip((g[t+1] - g[t]) /
    gripper_step, -1, 1)``, or for a three-way gripper the direction of a motion that amounts to ``threshold`` in all,
    see `three_way`.

    Args:
        joints_deg: (N, 6) LeRobot degrees and gripper percent; (N, 5) will do for an action without gripper.
        episode: (N,) episode number of each row; rows of an episode are consecutive.
        action: scale, gripper format and step.
        kin: forward kinematics of the arm that was recorded.
        threshold: part of ``gripper_step`` a discrete gripper must move to count as closing or opening.
        known: (N,) bool, False where the next row is not the next frame; None: all are.
    """
    positions = end_effector(joints_deg, kin)
    raw = forward_difference(positions, episode) / action.scale_m
    if action.gripper is not GripperFormat.none:
        moved = forward_difference(joints_deg[:, ARM_JOINTS : ARM_JOINTS + 1], episode) / action.gripper_step
        if action.gripper is GripperFormat.discrete3:
            moved = three_way(moved, threshold, GRIPPER_NOISE / action.gripper_step)
        raw = np.concatenate([raw, moved], axis=1)
    return bounded(raw, positions, episode, known)


def rebuild_commanded(
    joints_deg: np.ndarray,
    commands_deg: np.ndarray,
    episode: np.ndarray,
    action: ActionSpec,
    kin: Kinematics,
    *,
    threshold: float = 0.3,
    known: np.ndarray | None = None,
) -> Rebuilt:
    """The commanded actions of whole episodes: what the environment would have stored for a human with this leader arm.

    ``a_xyz[t] = clip((FK(command[t]) - FK(q[t])) / scale, -1, 1)``; the gripper alike. A policy that gives this action
    in state q[t] sets the servos the goal they had, so it moves the arm as the leader did, lag included. Summed up,
    such actions lead further than the arm went: every step counts the part that the servos still lagged behind.

    Args:
        commands_deg: (N, 6) joint goals, units as ``joints_deg``; the rest is as for `rebuild`.
    """
    positions = end_effector(joints_deg, kin)
    raw = (end_effector(commands_deg, kin) - positions) / action.scale_m
    if action.gripper is not GripperFormat.none:
        gripper = slice(ARM_JOINTS, ARM_JOINTS + 1)
        gap = (commands_deg[:, gripper] - joints_deg[:, gripper]) / action.gripper_step
        if action.gripper is GripperFormat.discrete3:
            moved = forward_difference(commands_deg[:, gripper], episode) / action.gripper_step
            slow = three_way(moved, threshold, GRIPPER_NOISE / action.gripper_step)
            gap = np.where(np.abs(gap) >= threshold, np.sign(gap), slow)
        raw = np.concatenate([raw, gap], axis=1)
    return bounded(raw, positions, episode, known)


def bounded(raw: np.ndarray, positions: np.ndarray, episode: np.ndarray, known: np.ndarray | None) -> Rebuilt:
    """Actions brought to [-1, 1], with zeros where they are not known."""
    valid = ~last_rows(episode) if known is None else ~last_rows(episode) & known
    # A rounding error beyond 1 is no clipping.
    clipped = (np.abs(raw) > 1 + 1e-6) & valid[:, None]
    return Rebuilt(np.clip(np.where(valid[:, None], raw, 0), -1, 1).astype(np.float32), valid, clipped, positions)


def three_way(moved: np.ndarray, threshold: float, noise: float) -> np.ndarray:
    """-1, 0 or +1 per step: the direction of every stretch of motion one way that adds up to ``threshold``.

    Judging each step by itself turns a slow close into "hold" (failure B3): at 30 Hz hardly any single step is large.

    Args:
        moved: (N, 1) change of the gripper per step, in full actions; zero at episode ends.
        noise: smaller steps are none, and end a stretch.
    """
    way = np.sign(moved[:, 0]) * (np.abs(moved[:, 0]) >= noise)
    stretch = np.cumsum(np.r_[False, way[1:] != way[:-1]])
    total = np.abs(np.bincount(stretch, weights=moved[:, 0]))
    return (way * (total >= threshold - 1e-9)[stretch])[:, None]


def end_effector(joints_deg: np.ndarray, kin: Kinematics) -> np.ndarray:
    """Positions (N, 3) of the end effector, m, base frame; in pieces, so that memory stays small."""
    pieces = range(0, len(joints_deg), CHUNK_ROWS)
    return np.concatenate([kin.forward(joints_deg[i : i + CHUNK_ROWS])[0] for i in pieces])


def forward_difference(values: np.ndarray, episode: np.ndarray) -> np.ndarray:
    """``values[t+1] - values[t]`` within each episode (N, D); zero in every episode's last row."""
    difference = np.zeros_like(values, dtype=np.float64)
    difference[:-1] = np.diff(values, axis=0)
    difference[last_rows(episode)] = 0.0
    return difference


def last_rows(episode: np.ndarray) -> np.ndarray:
    """Where an episode ends, (N,) bool."""
    return np.r_[episode[1:] != episode[:-1], True]


# ---------------------------------------------------------------- how good it is


@dataclass(frozen=True)
class Residual:
    """How far the path that repaired actions would replay lies from the recorded one, per row (N,), mm.

    Attributes:
        clipped: integrated from each episode's start, every action as stored: clipping loses distance for good.
        unclipped: integrated anew after every clipped step: what is left where nothing was clipped.
    """

    clipped: np.ndarray
    unclipped: np.ndarray


def replay_residual(rebuilt: Rebuilt, episode: np.ndarray, scale_m: float) -> Residual:
    """Integrate repaired translations and compare with the recorded path; both start anew where a step is not known."""
    recorded = forward_difference(rebuilt.positions_m, episode)
    error = rebuilt.actions[:, :3].astype(np.float64) * scale_m - recorded
    unknown = ~rebuilt.valid
    parts = (_segments(unknown), _segments(unknown | rebuilt.clipped[:, :3].any(1)))
    return Residual(*(_drift_mm(error, segment) for segment in parts))


def _segments(breaks: np.ndarray) -> np.ndarray:
    """Numbers of the stretches (N,) that a break, a step that leads nowhere known, ends."""
    return np.r_[0, np.cumsum(breaks)[:-1]]


def _drift_mm(error_m: np.ndarray, segment: np.ndarray) -> np.ndarray:
    """Distance accumulated since each segment's start: error of step t shows in row t+1."""
    before = np.zeros_like(error_m)
    before[1:] = np.cumsum(error_m, axis=0)[:-1]
    starts = np.r_[0, np.flatnonzero(last_rows(segment))[:-1] + 1]
    lengths = np.diff(np.r_[starts, len(segment)])
    return 1000 * np.linalg.norm(before - np.repeat(before[starts], lengths, axis=0), axis=1)


def fitting_scale(steps_m: np.ndarray, rows: np.ndarray) -> float:
    """The scale, in metres and whole millimetres, at which 1 % of the steps (N, 3) in ``rows`` would be clipped."""
    largest = np.abs(steps_m[rows]).max(1)
    return max(1, math.ceil(1000 * float(np.quantile(largest, 0.99)) - 1e-6)) / 1000 if len(largest) else 0.0
