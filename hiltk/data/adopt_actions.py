"""Evidence of what a dataset's actions mean, from what the arm did after them: one function per question.

Every function looks at data and returns a `Guess`; none of them changes anything.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from hiltk.arm.kinematics import Kinematics
from hiltk.arm.model import JOINTS
from hiltk.arm.units import ARM_JOINTS
from hiltk.config.commands import KEEP, REBUILD, STORED_GRIPPERS, YAWS_DEG
from hiltk.data.adopt_questions import LIKELY, OPEN, SURE, Guess
from hiltk.data.repair import (
    ZERO_BELOW,
    asks_for_nothing,
    end_effector,
    forward_difference,
    is_broken,
    last_rows,
    silenced,
)
from hiltk.data.timeline import Timeline

EXPLAINS = 0.7  # correlation of actions with motion below which they do not explain it
WINDOW_S = 2.0  # servo lag averages out over this time
# Stored gripper values at which the jaws hold, where they are changes at all: 1 below closes, 1 above opens.
HOLDS_AT = {"continuous": 0.0, "discrete3": 0.0, "discrete012": 1.0}


@dataclass(frozen=True)
class Motion:
    """What the arm did between frames, episode ends left out.

    Attributes:
        rows: (M,) numbers of the frames whose next frame is known.
        steps_m: (M, 3) displacement of the end effector until the next frame, base frame.
        grips: (M,) change of the gripper until the next frame, percent.
        lengths: how many of them each episode has; they add up to M.
        joints_deg: (N, 6) every frame; (N, 5) without a gripper.
        bounds: first frame and frame after the last, per episode.
        fps: frames per second.
    """

    rows: np.ndarray
    steps_m: np.ndarray
    grips: np.ndarray
    lengths: list[int]
    joints_deg: np.ndarray
    bounds: list[tuple[int, int]]
    fps: float

    @property
    def window(self) -> int:
        """Frames in `WINDOW_S`."""
        return max(2, round(WINDOW_S * self.fps))

    @staticmethod
    def of(joints_deg: np.ndarray, frames: Timeline, kin: Kinematics, known: np.ndarray | None = None) -> Motion:
        """The motion between frames; ``known`` (N,) bool leaves out more steps than those across missing frames."""
        episode, bounds = frames.episode, frames.bounds
        rows = np.flatnonzero(~last_rows(episode) & (frames.known if known is None else known))
        steps = forward_difference(end_effector(joints_deg, kin), episode)[rows]
        grips = forward_difference(joints_deg[:, ARM_JOINTS:], episode)[rows].sum(1)  # of one column, or of none
        lengths = np.bincount(episode[rows], minlength=len(bounds)).tolist()
        return Motion(rows, steps, grips, lengths, joints_deg, bounds, frames.fps)

    def summed(self, values: np.ndarray, window: int = 0) -> np.ndarray:
        """Sums over `window` frames within episodes of (M, ...); an episode shorter than that is one sum."""
        pieces = np.split(values, np.cumsum(self.lengths)[:-1])
        return np.concatenate([_sums(piece, window or self.window) for piece in pieces if len(piece)])

    def only(self, episodes: np.ndarray) -> Motion:
        """The motion in some episodes, (E,) bool."""
        chosen = np.repeat(episodes, self.lengths)
        lengths = [n if keep else 0 for n, keep in zip(self.lengths, episodes, strict=True)]
        cut = {"rows": self.rows[chosen], "steps_m": self.steps_m[chosen], "grips": self.grips[chosen]}
        return replace(self, **cut, lengths=lengths)


def _sums(values: np.ndarray, window: int) -> np.ndarray:
    total = np.concatenate([np.zeros((1, *values.shape[1:])), np.cumsum(values, axis=0, dtype=np.float64)])
    return total[window:] - total[:-window] if len(values) >= window else total[-1:]


@dataclass(frozen=True)
class LineFit:
    """``moved = slope * asked`` by least squares through zero, and how well it explains the motion."""

    slope: float
    r: float


def fit(asked: np.ndarray, moved: np.ndarray) -> LineFit:
    """Fit arrays of one shape; r is 0 where one of them is zero throughout."""
    both, own, their = float((asked * moved).sum()), float((asked**2).sum()), float((moved**2).sum())
    return LineFit(both / own, both / (own * their) ** 0.5) if own > 0 and their > 0 else LineFit(0.0, 0.0)


def rotate(actions: np.ndarray, yaw_deg: int) -> np.ndarray:
    """Actions (..., A), x and y first, rotated about z into the base frame; 90 is the SIM frame of devlog 058."""
    out = np.array(actions, dtype=np.float64)
    cos, sin = [(1, 0), (0, 1), (-1, 0), (0, -1)][YAWS_DEG.index(yaw_deg)]
    out[..., 0], out[..., 1] = (
        cos * actions[..., 0] - sin * actions[..., 1],
        sin * actions[..., 0] + cos * actions[..., 1],
    )
    return out


def broken_episodes(actions: np.ndarray, motion: Motion) -> np.ndarray:
    """Which episodes' actions (N, A) are zero or missing while the arm moves, in all or for a while; (E,) bool."""
    joints, bounds = motion.joints_deg, motion.bounds
    episode = np.repeat(np.arange(len(bounds)), [stop - start for start, stop in bounds])
    step = np.abs(forward_difference(joints[:, :ARM_JOINTS], episode)).max(1)
    lost = silenced(asks_for_nothing(actions), step, bounds, motion.fps)
    pairs = [(actions[start : stop - 1], joints[start:stop]) for start, stop in bounds]
    broken = np.array([is_broken(a, j, zero_below=ZERO_BELOW) for a, j in pairs])
    broken[episode[lost]] = True
    return broken


def guess_actions(actions: np.ndarray | None, state_joints: np.ndarray, motion: Motion) -> Guess:
    """Whether the stored actions are end-effector deltas that can be kept, or have to be rebuilt from the joints.

    Args:
        actions: (N, A) as stored; None where there is no such column.
        state_joints: (N, 6) as stored, in whatever unit: absolute joint actions come in the same.
    """
    key, options = "foreign.actions", (KEEP, REBUILD)
    if actions is None:
        return Guess(key, REBUILD, "there are no actions", SURE, options)
    size = actions.shape[1]
    broken = broken_episodes(actions, motion) if size >= 3 else np.ones(len(motion.bounds), bool)
    if broken.mean() > 0.5:
        evidence = f"zero or missing while the arm moves, in {broken.sum()} of {len(broken)} episodes"
        return Guess(key, REBUILD, evidence, SURE, options)
    if size == len(JOINTS):
        return _guess_joint_actions(actions, state_joints, motion)
    if size not in (3, 4):
        return Guess(key, REBUILD, f"{size} dimensions: no end-effector delta with a gripper", LIKELY, options)
    guess = _guess_deltas(actions, motion.only(~broken))
    if not broken.any():
        return guess
    lost = f"; zero or missing while the arm moves in {broken.sum()} of {len(broken)} episodes, which are rebuilt"
    return replace(guess, evidence=guess.evidence + lost)


def _guess_joint_actions(actions: np.ndarray, state_joints: np.ndarray, motion: Motion) -> Guess:
    """Six numbers: joint targets, if they follow the joints."""
    moving = np.flatnonzero(state_joints.std(0) > 1e-3 * max(1.0, float(np.abs(state_joints).max())))
    after = state_joints[motion.rows + 1]
    known = np.isfinite(actions[motion.rows]).all(1)
    pairs = [(actions[motion.rows, d][known], after[known, d]) for d in moving]
    r = float(np.median([_correlation(a, b) for a, b in pairs])) if pairs else 0.0
    gap = float(np.median(np.abs(actions[motion.rows] - after)[known])) if known.any() else np.nan
    text = f"6 numbers that follow the next joint positions (r {r:.2f}, median gap {gap:.3g}): absolute joint targets"
    if r > 0.9:
        return Guess("foreign.actions", REBUILD, text, SURE, (KEEP, REBUILD))
    return Guess(
        "foreign.actions", REBUILD, f"6 numbers, no end-effector delta (r {r:.2f} with joints)", LIKELY, (KEEP, REBUILD)
    )


def _guess_deltas(actions: np.ndarray, motion: Motion) -> Guess:
    """Three or four numbers: end-effector deltas in [-1, 1], if they explain the motion."""
    key, options = "foreign.actions", (KEEP, REBUILD)
    xyz = np.nan_to_num(actions[motion.rows, :3].astype(np.float64))
    peak = float(np.abs(xyz).max())
    best = max(
        (fit(motion.summed(rotate(xyz, yaw)), motion.summed(motion.steps_m)) for yaw in YAWS_DEG), key=lambda f: f.r
    )
    seen = f"{actions.shape[1]} numbers up to {peak:.3g} that explain the end effector's motion (r {best.r:.2f})"
    if best.r < EXPLAINS:
        return Guess(key, REBUILD, seen.replace("that explain", "that do not explain"), OPEN, options)
    if peak > 1.05:
        return Guess(key, REBUILD, f"{seen}, but exceed [-1, 1]", LIKELY, options)
    if 0.5 < best.slope < 2 and peak < 0.1:
        return Guess(key, REBUILD, f"{seen}, in metres instead of [-1, 1]", LIKELY, options)
    return Guess(key, KEEP, seen, SURE if best.r > 0.9 else LIKELY, options)


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(a, b)[0, 1]) if len(a) > 2 and a.std() > 1e-9 and b.std() > 1e-9 else 0.0


def guess_yaw(xyz: np.ndarray, motion: Motion) -> Guess:
    """By which rotation about z the actions' frame becomes the base's (x forward, y left).

    Args:
        xyz: (M, 3) stored translations of ``motion.rows``.
    """
    moved = motion.summed(motion.steps_m[:, :2])
    found = {yaw: fit(motion.summed(rotate(xyz, yaw)[:, :2]), moved).r for yaw in YAWS_DEG}
    best = max(found, key=lambda yaw: found[yaw])
    listing = ", ".join(f"{yaw}: {r:.2f}" for yaw, r in found.items())
    sure = SURE if found[best] > 0.9 else LIKELY if found[best] > EXPLAINS else OPEN
    evidence = f"correlation with the end effector's motion by yaw, {listing}" + (" (SIM frame)" if best == 90 else "")
    return Guess("foreign.action_yaw_deg", best, evidence, sure, YAWS_DEG)


def guess_scale(xyz: np.ndarray, motion: Motion) -> Guess:
    """Metres per step at full action.

    Exact where actions are achieved displacements. Otherwise the arm lags behind its commands, so only a round number
    that fits over `WINDOW_S` is taken; any other is shown as a lower bound.

    Args:
        xyz: (M, 3) translations in the base frame.
    """
    key, inside = "foreign.action_scale_m", np.abs(xyz) < 0.98
    exact = fit(xyz[inside], motion.steps_m[inside])
    if exact.r > 0.9995:
        return Guess(key, float(f"{exact.slope:.3g}"), f"achieved displacements: r {exact.r:.5f} step by step", SURE)
    over = fit(motion.summed(xyz), motion.summed(motion.steps_m))
    seen = f"the arm moved {1000 * over.slope:.1f} mm per unit of action over {WINDOW_S:g} s (r {over.r:.2f})"
    number = nearest_round(over.slope)
    if over.r > 0.95 and abs(over.slope / number - 1) < 0.04:
        return Guess(key, number, seen, LIKELY)
    return Guess(key, None, f"{seen}; the arm lags, so this is a lower bound", OPEN)


def nearest_round(value: float) -> float:
    """The nearest of 1, 1.5, 2, 2.5, 3, 4, 5 times a power of ten."""
    if value <= 0:
        return 0.0
    power = 10.0 ** np.floor(np.log10(value))
    options = [m * power for m in (1, 1.5, 2, 2.5, 3, 4, 5, 10)]
    return float(f"{min(options, key=lambda o: abs(np.log(o / value))):.3g}")


def is_achieved(xyz: np.ndarray, motion: Motion, scale_m: float) -> bool:
    """Whether actions are achieved displacements, not commands: every unclipped step fits to 0.2 mm."""
    inside = np.abs(xyz) < 0.98
    return bool(inside.any()) and float(np.abs(xyz * scale_m - motion.steps_m)[inside].max()) < 2e-4


def guess_gripper_format(action: np.ndarray | None, motion: Motion) -> Guess:
    """What the last action dimension means. Never decided value by value (failures.md, B2).

    Args:
        action: (M,) of ``motion.rows``; None where actions have only three dimensions, or the arm no gripper.
    """
    key = "foreign.gripper_format"
    if action is None:
        return Guess(key, "none", "there is no gripper in the actions, or none in the state", SURE, STORED_GRIPPERS)
    values = np.unique(np.round(action, 4))
    seen = "its values are " + ", ".join(f"{v:g}" for v in values[:5]) + (", ..." if len(values) > 5 else "")
    if np.isin(values, [0, 1, 2]).all() and 2 in values:
        return Guess(key, "discrete012", f"{seen}: 0 close, 1 hold, 2 open", SURE, STORED_GRIPPERS)
    if np.isin(values, [-1, 0, 1]).all() and -1 in values:
        return Guess(key, "discrete3", f"{seen}: -1 close, 0 hold, 1 open", SURE, STORED_GRIPPERS)
    if np.isin(values, [0, 1]).all():
        return _guess_zero_one(action, motion, seen)
    return _guess_by_correlation(action, motion, seen)


def _guess_zero_one(action: np.ndarray, motion: Motion, seen: str) -> Guess:
    """Only 0 and 1: close and hold of 0..2, or hold and open of -1..1; what the gripper does at 0 tells."""
    at_zero, at_one = (
        float(motion.grips[np.round(action) == v].mean()) if (np.round(action) == v).any() else 0.0 for v in (0, 1)
    )
    evidence = f"{seen}; the gripper moves {at_zero:+.2f} percent a step at 0 and {at_one:+.2f} at 1"
    if at_zero < -0.3 and at_one < 0.3:
        return Guess("foreign.gripper_format", "discrete012", evidence, LIKELY, STORED_GRIPPERS)
    if at_one > 0.3 and at_zero > -0.3:
        return Guess("foreign.gripper_format", "discrete3", evidence, LIKELY, STORED_GRIPPERS)
    return Guess("foreign.gripper_format", "discrete3", evidence, OPEN, STORED_GRIPPERS)


def _guess_by_correlation(action: np.ndarray, motion: Motion, seen: str) -> Guess:
    """Many values: changes of the opening, or the opening itself, which then follows them closely."""
    key, window = "foreign.gripper_format", max(2, motion.window // 4)
    change = fit(motion.summed(action, window), motion.summed(motion.grips, window)).r
    level = _correlation(action, motion.joints_deg[motion.rows + 1, ARM_JOINTS])
    outside = max(-float(action.min()), float(action.max())) > 1.05
    evidence = f"{seen}; r {change:.2f} with the gripper's motion, {level:.2f} with its opening"
    if level > (0.8 if outside else 0.97) and level > change:
        return Guess(key, "absolute", evidence, LIKELY, STORED_GRIPPERS)
    if outside or change < 0.5:
        return Guess(key, "absolute" if outside else "continuous", evidence, OPEN, STORED_GRIPPERS)
    return Guess(key, "continuous", evidence, LIKELY, STORED_GRIPPERS)


def guess_gripper_step(action: np.ndarray, motion: Motion) -> Guess:
    """Percent per step at full action; as `guess_scale`.

    Args:
        action: (M,) in -1..1, continuous or three-way.
    """
    key, inside = "foreign.gripper_step", np.abs(action) < 0.98
    exact = fit(action[inside], motion.grips[inside])
    if exact.r > 0.9995:
        return Guess(key, float(f"{exact.slope:.3g}"), f"achieved changes: r {exact.r:.5f} step by step", SURE)
    over = fit(motion.summed(action), motion.summed(motion.grips))
    seen = f"the gripper moved {over.slope:.3g} percent per unit of action over {WINDOW_S:g} s (r {over.r:.2f})"
    number = nearest_round(over.slope)
    near = over.r > 0.95 and number > 0 and abs(over.slope / number - 1) < 0.04
    if near:
        return Guess(key, number, seen, LIKELY)
    return Guess(key, None, f"{seen}; it lags and objects block it, so this is a lower bound", OPEN)
