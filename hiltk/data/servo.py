"""How the arm's servos follow their goals: delay, gain and offset of each joint, fitted to goals and positions.

Model, per joint: ``q[t+1] - q[t] = gain * (goal(t - lag) + offset - q[t])``. A servo that reaches its goal within one
frame has gain 1; ``lag`` is the pure delay before that, in frames and parts of one. Goals are a leader arm's positions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hiltk.data.repair import NOISE_DEG, forward_difference, last_rows
from hiltk.errors import UserError

LAGS = np.arange(-2.0, 6.01, 0.25)  # frames; below 0 the goals follow the arm
LEAST_ROWS = 50
MOST_ROWS = 200_000  # more rows do not make the fit better
EXPLAINS = 0.3  # share of a joint's motion below which its goals do not explain it


@dataclass(frozen=True)
class Servo:
    """The fit of J joints, each (J,); NaN for joints that did not move.

    Attributes:
        lag: frames.
        gain: part of the way to the goal made in a frame.
        offset_deg: where the joint comes to rest, from its goal (gravity, calibration).
        residual_deg: root mean square of what a step differs from the model.
        explained: share of the variance of the steps (R squared).
    """

    lag: np.ndarray
    gain: np.ndarray
    offset_deg: np.ndarray
    residual_deg: np.ndarray
    explained: np.ndarray


def fit_servo(goals: np.ndarray, joints: np.ndarray, episode: np.ndarray) -> Servo:
    """Fit every joint by least squares at each of `LAGS`, and refine the best one by a parabola.

    Args:
        goals: (N, J), NaN where unknown; the units are those of ``joints``.
        joints: (N, J) measured when the goals were set.
        episode: (N,) episode number.

    Raises:
        UserError: too few rows have goals.
    """
    goals, joints, episode = goals[:MOST_ROWS], joints[:MOST_ROWS], episode[:MOST_ROWS]
    step = forward_difference(joints, episode)
    near = np.isfinite(sum(_shifted(goals, episode, int(n)).sum(1) for n in range(int(LAGS[0]), int(LAGS[-1]) + 1)))
    usable = near & ~last_rows(episode)
    if usable.sum() < LEAST_ROWS:
        raise UserError(
            f"only {int(usable.sum())} rows have joint goals around them, the fit of the servos needs {LEAST_ROWS}",
            fix="method=achieved",
        )
    fits = [_fit_joint(goals[:, [j]], joints[:, [j]], step[:, j], episode, usable) for j in range(joints.shape[1])]
    return Servo(*np.array(fits).T)


def _fit_joint(
    goals: np.ndarray, joints: np.ndarray, step: np.ndarray, episode: np.ndarray, usable: np.ndarray
) -> tuple[float, float, float, float, float]:
    """Lag, gain, offset, residual and explained share of one joint; goals and joints are (N, 1)."""

    def at(lag: float) -> tuple[float, float, float]:
        gap = (_delayed(goals, episode, lag) - joints)[usable, 0]
        return _line(gap, step[usable])

    if np.abs(step[usable]).max() <= NOISE_DEG:
        return (np.nan,) * 5
    errors = np.array([at(float(lag))[2] for lag in LAGS])
    lag = _lowest(LAGS, errors)
    gain, rest, error = at(lag)
    spread = float(step[usable].std())
    return lag, gain, rest / gain if gain else np.nan, error, 1 - (error / spread) ** 2


def _line(x: np.ndarray, y: np.ndarray) -> tuple[float, float, float]:
    """Slope and intercept of y over x by least squares, and the root mean square of what is left."""
    spread = float(x.var())
    slope = float(((x - x.mean()) * (y - y.mean())).mean()) / spread if spread else 0.0
    rest = float(y.mean() - slope * x.mean())
    return slope, rest, float(np.sqrt(np.mean((y - slope * x - rest) ** 2)))


def _lowest(at: np.ndarray, values: np.ndarray) -> float:
    """Where evenly spaced values are lowest, between the points by a parabola through the lowest three."""
    k = int(values.argmin())
    if k in (0, len(values) - 1):
        return float(at[k])
    left, middle, right = values[k - 1 : k + 2] ** 2
    curvature = left - 2 * middle + right
    return float(at[k] + (0.5 * (left - right) / curvature if curvature > 0 else 0.0) * (at[1] - at[0]))


def _delayed(goals: np.ndarray, episode: np.ndarray, lag: float) -> np.ndarray:
    """``goals(t - lag)`` by linear interpolation, NaN where that lies outside the episode."""
    whole = int(np.floor(lag))
    part = lag - whole
    late = _shifted(goals, episode, whole)
    return late if part == 0 else (1 - part) * late + part * _shifted(goals, episode, whole + 1)


def _shifted(values: np.ndarray, episode: np.ndarray, rows: int) -> np.ndarray:
    """``values[t - rows]`` within each episode, NaN elsewhere."""
    source = np.arange(len(values)) - rows
    inside = (source >= 0) & (source < len(values))
    source = np.clip(source, 0, len(values) - 1)
    inside &= episode[source] == episode
    return np.where(inside[:, None], values[source], np.nan)


def estimated_goals(servo: Servo, joints: np.ndarray, episode: np.ndarray) -> np.ndarray:
    """The goals (N, J) that would have made the joints move as they did: the model, solved for the goal.

    A joint that did not move in the fit is taken to stand at its goal; the last goals of an episode are held.
    """
    goals = joints.astype(np.float64).copy()
    step = forward_difference(joints, episode)
    for j in np.flatnonzero(np.isfinite(servo.gain) & (servo.gain > 0.05)):
        then = joints[:, j] + step[:, j] / servo.gain[j] - servo.offset_deg[j]
        then[last_rows(episode)] = np.nan  # the step out of there is not known
        early = _delayed(then[:, None], episode, -max(servo.lag[j], 0.0))[:, 0]
        goals[:, j] = _held(np.where(np.isfinite(early), early, np.nan), episode, joints[:, j])
    return goals


def _held(values: np.ndarray, episode: np.ndarray, otherwise: np.ndarray) -> np.ndarray:
    """NaN replaced by the last number before it in the episode, or where there is none by ``otherwise``."""
    row = np.where(np.isfinite(values), np.arange(len(values)), -1)
    last = np.maximum.accumulate(row)
    known = (last >= 0) & (episode[np.maximum(last, 0)] == episode)
    return np.where(known, values[np.maximum(last, 0)], otherwise)


def replayed(servo: Servo, goals: np.ndarray, joints: np.ndarray, episode: np.ndarray) -> np.ndarray:
    """Joints (N, J) that the model reaches when it is given the goals, from each episode's first position on."""
    from scipy.signal import lfilter

    out = joints.astype(np.float64).copy()
    starts = np.r_[0, np.flatnonzero(last_rows(episode))[:-1] + 1]
    stops = np.flatnonzero(last_rows(episode)) + 1
    for j in np.flatnonzero(np.isfinite(servo.gain)):
        late = _delayed(goals[:, [j]], episode, servo.lag[j])[:, 0]
        target = _held(late, episode, joints[:, j] - servo.offset_deg[j]) + servo.offset_deg[j]
        stay = 1 - servo.gain[j]
        for start, stop in zip(starts, stops, strict=True):
            first = [stay * joints[start, j]]
            out[start + 1 : stop, j] = lfilter([servo.gain[j]], [1, -stay], target[start : stop - 1], zi=first)[0]
    return out
