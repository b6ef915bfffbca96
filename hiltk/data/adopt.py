"""Inferring what the numbers of a dataset made elsewhere mean: one function per question, each with its evidence.

Every function looks at data and returns a `Guess`; none of them changes anything. A `Decider` joins guesses with what
the user states: a statement always wins, a contradiction is told, and what stays open must be asked.

Failures these catch (devlogs): degrees read as radians or as ±100 of a range (043, 046), SIM-frame actions (034, 058),
three-way grippers in 0..2 (074, 077), zero actions (044), statistics without a range (SAC configs), end-effector
columns that never moved (086).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np

from hiltk.arm.calibration import DEG_PER_TICK
from hiltk.arm.kinematics import Kinematics
from hiltk.arm.model import JOINTS
from hiltk.arm.state import action_spec
from hiltk.arm.units import ARM_JOINTS
from hiltk.config import AdoptedConf, ForeignConf
from hiltk.data.foreign import GRIPPER_UNITS, JOINT_UNITS, LEAST_DEGREES, MOST_NORMALIZED, joint_columns, read_joints
from hiltk.data.lerobot_files import LeRobotFiles
from hiltk.data.lerobot_io import require_finite
from hiltk.data.repair import Rebuilt, end_effector, forward_difference, is_broken, last_rows, rebuild
from hiltk.data.timeline import Timeline, timeline
from hiltk.errors import ConfigError, UserError
from hiltk.spec import STATE_KEY, ActionSpec, GripperFormat, RobotSpec, Semantics

SURE, LIKELY, OPEN, OPTIONAL = "sure", "likely", "open", "optional"
KEEP, REBUILD = "keep", "rebuild"
EE_NAMES = ("ee.x", "ee.y", "ee.z")
STORED_GRIPPERS = ("continuous", "discrete3", "discrete012", "absolute", "none")
YAWS_DEG = (0, 90, 180, 270)
ZERO_BELOW = 1e-6
EXPLAINS = 0.7  # correlation of actions with motion below which they do not explain it
WINDOW_S = 2.0  # servo lag averages out over this time
LOCKED_SPAN_DEG = 2.0
EE_NEAR_M = 0.005  # a stored end effector this near to forward kinematics is one
NARROW = 1e-3  # a range of statistics below this blows a vector up when it normalises


@dataclass(frozen=True)
class Guess:
    """An answer to one question about a dataset.

    Attributes:
        key: the setting that states it, e.g. ``foreign.joint_unit``.
        value: the answer; None where there is not even a guess.
        evidence: what in the data says so.
        confidence: `SURE` | `LIKELY` | `OPEN` (must be stated) | `OPTIONAL` (unknown, but nothing needs it yet).
        options: what may be stated, where that can be listed.
    """

    key: str
    value: Any
    evidence: str
    confidence: str
    options: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Decision:
    """A question settled: by statement, by evidence, or not (``how == OPEN``)."""

    key: str
    value: Any
    how: str
    evidence: str


Ask = Callable[[Guess], Any]
# What is typed where there is nothing to choose from.
KINDS = {
    "foreign.joints": "[NAME,...]",
    "foreign.calibration_path": "FILE",
    "foreign.action_scale_m": "METRES",
    "foreign.gripper_step": "PERCENT",
}


@dataclass
class Decider:
    """Joins guesses with what the user states.

    Attributes:
        conf: what was stated; empty or None means nothing.
        ask: asks a person; None where nobody is there.
        made: every decision so far.
        warnings: statements that the data contradict.
        questions: guesses that nobody settled.
    """

    conf: AdoptedConf
    ask: Ask | None = None
    made: list[Decision] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    questions: list[Guess] = field(default_factory=list)

    def decide(self, guess: Guess) -> Any:
        """The value to go on with; an open question goes on with its guess, so that later ones are found, too."""
        stated = getattr(self.conf, guess.key.removeprefix("foreign."))
        if stated not in ("", None) and stated != []:
            return self._stated(guess, stated)
        if guess.confidence != OPEN:
            return self._note(guess, guess.value, guess.confidence)
        if self.ask is None:
            self.questions.append(guess)
            return self._note(guess, guess.value, OPEN)
        return self._note(guess, self.ask(guess), "asked")

    def _stated(self, guess: Guess, stated: Any) -> Any:
        if guess.options and stated not in guess.options:
            known = ", ".join(map(str, guess.options))
            raise ConfigError(f"unknown choice '{stated}'", where=guess.key, fix=f"one of: {known}")
        if guess.confidence in (SURE, LIKELY) and stated != guess.value:
            self.warnings.append(
                f"{guess.key}={setting(stated)} is stated, but the data say {setting(guess.value)}: {guess.evidence}"
            )
        return self._note(guess, stated, "stated")

    def _note(self, guess: Guess, value: Any, how: str) -> Any:
        self.made.append(Decision(guess.key, value, how, guess.evidence))
        return value

    def require_settled(self, where: str) -> None:
        """Refuse to go on with a question open.

        Raises:
            UserError: naming every setting to state.
        """
        if self.questions:
            listing = "\n".join(f"    {_to_type(q)}  ({q.evidence})" for q in self.questions)
            raise UserError(
                f"the data do not say everything; state what you know of how they were recorded:\n{listing}",
                where=where,
                fix="add them to the command, e.g. " + " ".join(_example(q) for q in self.questions),
            )


def setting(value: Any) -> str:
    """A value as it is typed on the command line."""
    if isinstance(value, list):
        return "[" + ",".join(map(str, value)) + "]"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _to_type(guess: Guess) -> str:
    return f"{guess.key}={'|'.join(map(str, guess.options)) or KINDS[guess.key]}"


def _example(guess: Guess) -> str:
    return _to_type(guess) if guess.value is None else f"{guess.key}={setting(guess.value)}"


# ---------------------------------------------------------------- state


def guess_joints(names: list[str], size: int) -> Guess:
    """Which of the state's dimensions are the six joint positions.

    Args:
        names: of the state's dimensions; may be empty.
        size: how many there are.
    """
    key = "foreign.joints"
    found = [_named(joint, names) for joint in JOINTS]
    if not found[ARM_JOINTS] and size == ARM_JOINTS:
        found = found[:ARM_JOINTS]  # an arm without a gripper
    if all(len(f) == 1 for f in found):
        chosen = [f[0] for f in found]
        return Guess(key, chosen, "the state's names", SURE)
    if any(found):
        return Guess(key, None, f"the names do not tell six joints: {', '.join(names)}", OPEN)
    if size == len(JOINTS):
        return Guess(key, [], "six dimensions without telling names, taken in the arm's order", LIKELY)
    if size == 18:
        return Guess(key, [], "18 dimensions as HIL-SERL's recorder lays them out: joints first", LIKELY)
    known = ", ".join(names) or "no names"
    return Guess(key, None, f"{size} state dimensions ({known}): six of them by name, in the arm's order", OPEN)


def _named(joint: str, names: list[str]) -> list[str]:
    """Names that mean this joint's position: ``elbow_flex``, ``elbow_flex.pos``, ``main_elbow_flex``."""
    return [n for n in names if n.removesuffix(".pos").removeprefix("main_").removeprefix("observation.") == joint]


def guess_joint_unit(arm: np.ndarray, ee_m: np.ndarray | None, kin: Kinematics) -> Guess:
    """Degrees, radians, or LeRobot's ±100 of the calibrated range.

    The size of the values tells radians from the others. Degrees and ±100 look alike within ±100, but an end effector
    stored beside them lies where the joints put it in one unit only, and encoders count in steps: 360/4095 degrees for
    every joint in degrees, another step for every joint in ±100.

    Args:
        arm: (N, 5) as stored.
        ee_m: (N, 3) the end effector as stored, if it is.
        kin: the arm's kinematics.
    """
    key, largest = "foreign.joint_unit", float(np.abs(arm).max())
    if largest < 0.05:
        return Guess(key, None, "no joint ever moves from zero", OPEN, JOINT_UNITS)
    if largest < LEAST_DEGREES:
        return Guess(key, "radians", f"no joint position exceeds {largest:.3g}", SURE, JOINT_UNITS)
    if largest > 400:
        return Guess(key, None, f"positions reach {largest:.4g}, more than a full turn in degrees", OPEN, JOINT_UNITS)
    if largest > MOST_NORMALIZED:
        return Guess(key, "degrees", f"positions reach {largest:.4g}, beyond ±100", SURE, JOINT_UNITS)
    if ee_m is not None and (gap := float(np.median(np.linalg.norm(kin.forward(arm)[0] - ee_m, axis=1)))) < EE_NEAR_M:
        evidence = f"taken as degrees, they put the end effector {1000 * gap:.2g} mm from where it is stored"
        return Guess(key, "degrees", evidence, SURE, JOINT_UNITS)
    return _unit_by_steps(arm, largest)


def _unit_by_steps(arm: np.ndarray, largest: float) -> Guess:
    key, steps = "foreign.joint_unit", [s for s in map(encoder_step, arm.T) if s]
    if len(steps) >= 2:
        listing = ", ".join(f"{s:.4f}" for s in steps)
        if np.allclose(steps, DEG_PER_TICK, rtol=0.02):
            return Guess(
                key, "degrees", f"positions come in steps of {listing}; an encoder's is 0.0879 deg", SURE, JOINT_UNITS
            )
        return Guess(key, "normalized", f"positions come in steps of {listing}, not of 0.0879 deg", SURE, JOINT_UNITS)
    if (ends := int((np.abs(arm) == 100).sum())) >= 3:
        return Guess(
            key, "normalized", f"{ends} positions are exactly 100, where LeRobot clips ±100", LIKELY, JOINT_UNITS
        )
    evidence = f"positions reach {largest:.3g}: degrees, or ±100 of the calibrated range (LeRobot's use_degrees)"
    return Guess(key, "degrees", evidence, OPEN, JOINT_UNITS)


def encoder_step(values: np.ndarray) -> float | None:
    """The step in which the values of one joint (N,) come; None where there is no common one."""
    gaps = np.diff(np.unique(np.round(values.astype(np.float64), 5)))
    gaps = gaps[gaps > 2e-3]  # below: rounding of float32
    if len(gaps) < 20:
        return None
    near = gaps[gaps < 5.5 * np.quantile(gaps, 0.05)]
    counts = np.rint(near / np.quantile(gaps, 0.05))
    step = float(near.sum() / counts.sum())
    return step if np.abs(near / step - np.rint(near / step)).max() < 0.15 else None


def guess_gripper_unit(gripper: np.ndarray | None, joint_unit: str) -> Guess:
    """Percent, 0..1, radians, or percent that a loader took for degrees and turned into radians (devlog 046).

    Args:
        gripper: (N,) as stored; None where the state has none.
    """
    key = "foreign.gripper_unit"
    if gripper is None:
        return Guess(key, "none", "the state has the five joints of an arm without a gripper", SURE, GRIPPER_UNITS)
    low, high = float(gripper.min()), float(gripper.max())
    seen = f"the gripper's values run from {low:.3g} to {high:.3g}"
    if high > 1.95:
        fits = high <= 115
        return Guess(key, "percent", seen, SURE if fits else OPEN, GRIPPER_UNITS)
    if joint_unit == "radians":
        if low < -0.02:
            return Guess(key, "radians", f"{seen}: closed is -0.17 rad", SURE, GRIPPER_UNITS)
        evidence = f"{seen}: an angle, or 0..100 percent that was turned into radians with the joints"
        return Guess(key, "percent_as_radians", evidence, OPEN, GRIPPER_UNITS)
    moves = high - low > 0.1 and high <= 1.01
    return Guess(key, "unit" if moves else "percent", seen, LIKELY if moves else OPEN, GRIPPER_UNITS)


def stored_ee(files: LeRobotFiles, state: np.ndarray) -> np.ndarray | None:
    """The end effector's position (N, 3) in the state (N, D), by its names or in HIL-SERL's layout; None: not there."""
    names = files.names(STATE_KEY)
    if all(n in names for n in EE_NAMES):
        return state[:, [names.index(n) for n in EE_NAMES]]
    told = any(_named(joint, names) for joint in JOINTS)
    return state[:, 12:15] if state.shape[1] == 18 and not told else None


def locked_joints(joints_deg: np.ndarray) -> list[str]:
    """Arm joints that never move: a lock, or a mistake in the recording.

    Args:
        joints_deg: (N, 6).
    """
    low, high = np.quantile(joints_deg[:, :ARM_JOINTS], [0.01, 0.99], axis=0)
    return [name for name, span in zip(JOINTS, high - low, strict=False) if span < LOCKED_SPAN_DEG]


# ---------------------------------------------------------------- actions


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
        window: frames in `WINDOW_S`.
    """

    rows: np.ndarray
    steps_m: np.ndarray
    grips: np.ndarray
    lengths: list[int]
    joints_deg: np.ndarray
    bounds: list[tuple[int, int]]
    window: int

    @staticmethod
    def of(joints_deg: np.ndarray, frames: Timeline, kin: Kinematics) -> Motion:
        episode, bounds = frames.episode, frames.bounds
        rows = np.flatnonzero(~last_rows(episode) & frames.known)
        steps = forward_difference(end_effector(joints_deg, kin), episode)[rows]
        grips = forward_difference(joints_deg[:, ARM_JOINTS:], episode)[rows].sum(1)  # of one column, or of none
        lengths = np.bincount(episode[rows], minlength=len(bounds)).tolist()
        return Motion(rows, steps, grips, lengths, joints_deg, bounds, max(2, round(WINDOW_S * frames.fps)))

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
class Fit:
    """``moved = slope * asked`` by least squares through zero, and how well it explains the motion."""

    slope: float
    r: float


def fit(asked: np.ndarray, moved: np.ndarray) -> Fit:
    """Fit arrays of one shape; r is 0 where one of them is zero throughout."""
    both, own, their = float((asked * moved).sum()), float((asked**2).sum()), float((moved**2).sum())
    return Fit(both / own, both / (own * their) ** 0.5) if own > 0 and their > 0 else Fit(0.0, 0.0)


def rotate(actions: np.ndarray, yaw_deg: int) -> np.ndarray:
    """Actions (..., A), x and y first, turned about z into the base frame; 90 is the SIM frame of devlog 058."""
    out = np.array(actions, dtype=np.float64)
    cos, sin = [(1, 0), (0, 1), (-1, 0), (0, -1)][YAWS_DEG.index(yaw_deg)]
    out[..., 0], out[..., 1] = (
        cos * actions[..., 0] - sin * actions[..., 1],
        sin * actions[..., 0] + cos * actions[..., 1],
    )
    return out


def broken_episodes(actions: np.ndarray, motion: Motion) -> np.ndarray:
    """Which episodes' actions (N, A) are zero or missing while the arm moves, (E,) bool."""
    pairs = [(actions[start : stop - 1], motion.joints_deg[start:stop]) for start, stop in motion.bounds]
    return np.array([is_broken(a, j, zero_below=ZERO_BELOW) for a, j in pairs])


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
    return _guess_deltas(actions, motion.only(~broken))


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
        return Guess(key, REBUILD, f"{seen}, but leave [-1, 1]", LIKELY, options)
    if 0.5 < best.slope < 2 and peak < 0.1:
        return Guess(key, REBUILD, f"{seen}, in metres instead of [-1, 1]", LIKELY, options)
    return Guess(key, KEEP, seen, SURE if best.r > 0.9 else LIKELY, options)


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(a, b)[0, 1]) if len(a) > 2 and a.std() > 1e-9 and b.std() > 1e-9 else 0.0


def guess_yaw(xyz: np.ndarray, motion: Motion) -> Guess:
    """By which turn about z the actions' frame becomes the base's (x forward, y left).

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

    Exact where actions were read off the motion. Otherwise the arm lags behind what it is asked, so only a round number
    that fits over `WINDOW_S` is taken; any other is shown, as the least the scale can be.

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
    return Guess(key, None, f"{seen}; lag makes that the least it can be", OPEN)


def nearest_round(value: float) -> float:
    """The nearest of 1, 1.5, 2, 2.5, 3, 4, 5 times a power of ten."""
    if value <= 0:
        return 0.0
    power = 10.0 ** np.floor(np.log10(value))
    options = [m * power for m in (1, 1.5, 2, 2.5, 3, 4, 5, 10)]
    return float(f"{min(options, key=lambda o: abs(np.log(o / value))):.3g}")


def is_achieved(xyz: np.ndarray, motion: Motion, scale_m: float) -> bool:
    """Whether actions say what happened rather than what was asked for: every unclipped step fits to 0.2 mm."""
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
    return Guess(key, None, f"{seen}; what it holds and lag make that the least it can be", OPEN)


# ---------------------------------------------------------------- success, images, statistics


def guess_success(files: LeRobotFiles) -> Guess:
    """A column that tells in which rows success shows."""
    key = "foreign.success_column"
    for name, confidence in (("next.success", SURE), ("success", SURE), ("next.reward", LIKELY)):
        if name not in files.features:
            continue
        values = np.asarray(files.column(name), dtype=np.float64)
        positive = int((values.reshape(len(values), -1)[:, 0] > 0).sum())
        if positive:
            return Guess(key, name, f"{name} is above 0 in {positive} of {len(values)} rows", confidence)
    evidence = "no row says that it shows success: fine for cloning; else foreign.success_last_frames=N"
    return Guess(key, "", evidence, OPTIONAL)


def guess_interventions(files: LeRobotFiles) -> Guess:
    """A column that tells where a human had taken over from a policy."""
    key = "foreign.intervention_column"
    for name in ("is_intervention", "complementary_info.is_intervention"):
        if name in files.features:
            taken = int((np.asarray(files.column(name), dtype=np.float64) > 0).sum())
            if taken:
                return Guess(key, name, f"{name} is above 0 in {taken} rows", SURE)
    return Guess(key, "", "no row says that a human took over: demonstrations throughout", OPTIONAL)


def image_facts(files: LeRobotFiles, camera: str, count: int = 8) -> str:
    """Size, kind and range of a camera's values, from a few decoded frames.

    Raises:
        UserError: the frames are white, black or 0..1 stored as whole numbers: what they showed is lost.
    """
    rows = np.unique(np.linspace(0, files.bounds[-1][1] - 1, count).astype(int))
    frames = files.frames_at(camera, rows)
    low, high = int(frames.min()), int(frames.max())
    saturated = float((frames == 255).mean())
    problem = ""
    if high <= 1:
        problem = f"no value exceeds {high}: they were 0..1 when they were stored as whole numbers, or black"
    elif saturated > 0.5:
        problem = f"{saturated:.0%} of all values are 255: they were clipped before they were stored"
    if problem:
        raise UserError(
            f"the frames of {camera} show nothing: {problem}", where=str(files.path), fix="record the dataset again"
        )
    kind = files.features[camera]["dtype"]
    return f"{kind}, {frames.shape[1]} x {frames.shape[2]}, uint8 {low} to {high}, mean {frames.mean():.0f}"


def nonsense_statistics(files: LeRobotFiles, column: str, values: np.ndarray) -> list[str]:
    """What in ``meta/stats.json`` cannot be true of a column (N, D) (failures.md, S1); empty where nothing is."""
    file = files.path / "meta" / "stats.json"
    try:
        stored = json.loads(file.read_text())[column]
        low, high = (np.asarray(stored[k], dtype=np.float64).reshape(-1) for k in ("min", "max"))
    except (OSError, ValueError, KeyError, TypeError):
        return [f"there are no statistics of {column}"]
    if len(low) != values.shape[1] or len(high) != values.shape[1]:
        return [f"statistics of {len(low)} dimensions for {values.shape[1]} in {column}"]
    names = files.names(column) or [str(d) for d in range(len(low))]
    least, most = np.nanmin(values, axis=0), np.nanmax(values, axis=0)
    spread = most - least
    found = []
    for d, name in enumerate(names):
        if high[d] - low[d] < NARROW <= spread[d]:
            found.append(
                f"{name}: min and max are {low[d]:.3g} and {high[d]:.3g}, the data run {least[d]:.3g} to {most[d]:.3g}"
            )
        elif not (
            abs(low[d] - least[d]) <= 0.01 * spread[d] + 1e-4 and abs(high[d] - most[d]) <= 0.01 * spread[d] + 1e-4
        ):
            found.append(
                f"{name}: {low[d]:.3g} to {high[d]:.3g} in the statistics, {least[d]:.3g} to {most[d]:.3g} in the data"
            )
    return found


# ---------------------------------------------------------------- all of it


@dataclass
class Adoption:
    """Everything needed to convert a dataset made elsewhere.

    Attributes:
        conf: its conventions, complete.
        frames: which of its rows become frames.
        joints_deg: (N, 6) every frame; (N, 5) without a gripper.
        rebuilt: the actions it gets, kept or rebuilt.
        replaced: (E,) bool, whose actions were rebuilt.
        action: what those actions mean.
        robot: what the recording says of reset pose and locks.
        facts: things seen that decide nothing: images, statistics, locks.
    """

    conf: ForeignConf
    frames: Timeline
    joints_deg: np.ndarray
    rebuilt: Rebuilt
    replaced: np.ndarray
    action: ActionSpec
    robot: RobotSpec
    facts: list[tuple[str, str]]


@dataclass(frozen=True)
class Output:
    """The actions a dataset gets where its own are not kept; see `hiltk.arm.state.action_spec`."""

    scale_m: float
    gripper: GripperFormat
    gripper_step: float
    threshold: float


def state_conventions(files: LeRobotFiles, decider: Decider, kin: Kinematics) -> ForeignConf:
    """Settle what the joints are, as far as the data and the user say it."""
    size = files.column(STATE_KEY).reshape(files.bounds[-1][1], -1).shape[1]
    joints = decider.decide(guess_joints(files.names(STATE_KEY), size))
    if joints is None:  # nothing below can be asked before this is known
        return _plain(decider.conf, joints=[])
    conf = _plain(decider.conf, joints=joints)
    state = files.column(STATE_KEY).astype(np.float64)
    require_finite(state, files.names(STATE_KEY), column=STATE_KEY, where=str(files.path))
    count = ARM_JOINTS if size == ARM_JOINTS or conf.gripper_unit == "none" else len(JOINTS)
    stored = state[:, joint_columns(files, size, joints, count=count)]
    conf.joint_unit = decider.decide(guess_joint_unit(stored[:, :ARM_JOINTS], stored_ee(files, state), kin))
    gripper = stored[:, ARM_JOINTS] if count > ARM_JOINTS else None
    conf.gripper_unit = decider.decide(guess_gripper_unit(gripper, conf.joint_unit))
    if conf.joint_unit == "normalized":
        evidence = "±100 of a calibrated range: which range, the arm's calibration file says"
        conf.calibration_path = decider.decide(Guess("foreign.calibration_path", None, evidence, OPEN)) or ""
    conf.success_column = _success_column(files, decider)
    conf.intervention_column = str(decider.decide(guess_interventions(files)))
    return conf


def _success_column(files: LeRobotFiles, decider: Decider) -> str:
    if decider.conf.success_last_frames:
        return ""
    return str(decider.decide(guess_success(files)))


def _plain(conf: AdoptedConf, **changes: Any) -> ForeignConf:
    """The keys that both commands have, as the one takes them that converts."""
    shared = {f.name: getattr(conf, f.name) for f in fields(ForeignConf)}
    return ForeignConf(**(shared | changes))


def stored_actions(files: LeRobotFiles) -> np.ndarray | None:
    """The action column (N, A) float64, NaN where a row has none; None without a column."""
    if "action" not in files.features:
        return None
    actions = files.column("action").astype(np.float64)
    return actions.reshape(len(actions), -1)


def action_conventions(
    actions: np.ndarray | None, state_joints: np.ndarray, motion: Motion, decider: Decider
) -> dict[str, Any] | None:
    """Settle what the stored actions mean; None where they are to be rebuilt.

    Returns:
        ``yaw_deg``, ``scale_m``, ``gripper`` (of `STORED_GRIPPERS`) and ``gripper_step``.
    """
    if decider.decide(guess_actions(actions, state_joints, motion)) == REBUILD:
        return None
    if actions is None or actions.shape[1] not in (3, 4):
        raise ConfigError(
            "only end-effector deltas of 3 or 4 dimensions can be kept",
            where=f"foreign.actions=keep; the dataset has {0 if actions is None else actions.shape[1]}",
            fix="foreign.actions=rebuild",
        )
    sound = motion.only(~broken_episodes(actions, motion))
    if not len(sound.rows):
        raise UserError("the stored actions are zero or missing in every episode", fix="foreign.actions=rebuild")
    held, motion = np.nan_to_num(actions[sound.rows]), sound
    yaw = decider.decide(guess_yaw(held[:, :3], motion))
    scale = decider.decide(guess_scale(rotate(held[:, :3], yaw), motion))
    both = held.shape[1] == 4 and motion.joints_deg.shape[1] > ARM_JOINTS
    gripper = decider.decide(guess_gripper_format(held[:, 3] if both else None, motion))
    step = 0.0
    if gripper in ("continuous", "discrete3", "discrete012"):
        step = decider.decide(guess_gripper_step(held[:, 3] - (gripper == "discrete012"), motion))
    return {"yaw_deg": yaw, "scale_m": scale, "gripper": gripper, "gripper_step": step}


def kept_actions(
    actions: np.ndarray, meaning: dict[str, Any], output: Output, motion: Motion, frames: Timeline, kin: Kinematics
) -> tuple[Rebuilt, np.ndarray, ActionSpec]:
    """The stored actions in hiltk's format: turned to the base frame, the gripper as -1..1.

    An absolute gripper becomes the change that was achieved. Episodes whose actions are zero or missing are rebuilt.

    Returns:
        The actions, whose episodes were rebuilt (E,) bool, and what they mean.
    """
    formats = {"discrete012": GripperFormat.discrete3, "absolute": GripperFormat.continuous}
    gripper = formats.get(meaning["gripper"]) or GripperFormat[meaning["gripper"]]
    xyz = rotate(np.nan_to_num(actions[motion.rows, :3]), meaning["yaw_deg"])
    semantics = Semantics.achieved if is_achieved(xyz, motion, meaning["scale_m"]) else Semantics.commanded
    step = meaning["gripper_step"] or (0.0 if gripper is GripperFormat.none else output.gripper_step)
    spec = action_spec(meaning["scale_m"], gripper, step, semantics)
    episode = frames.episode
    fresh = rebuild(motion.joints_deg, episode, spec, kin, threshold=output.threshold, known=frames.known)
    kept = fresh.actions.copy()
    kept[:, :3] = np.clip(rotate(actions[:, :3], meaning["yaw_deg"]), -1, 1)
    if meaning["gripper"] in ("continuous", "discrete3", "discrete012"):
        kept[:, 3] = np.clip(actions[:, 3] - (meaning["gripper"] == "discrete012"), -1, 1)
    broken = broken_episodes(actions, motion)
    if broken.any():
        spec.semantics = Semantics.achieved
    kept[~fresh.valid] = 0.0
    chosen = np.where(broken[episode][:, None], fresh.actions, kept).astype(np.float32)
    clipped = fresh.clipped & broken[episode][:, None]
    return replace(fresh, actions=chosen, clipped=clipped), broken, spec


def adopt(files: LeRobotFiles, decider: Decider, output: Output, kin: Kinematics) -> Adoption | None:
    """Settle every question about a dataset, as far as data and user say; None while the joints are not known.

    Raises:
        ConfigError: a statement that is no choice.
        UserError: the dataset cannot be used at all: values that are not finite, or images without content.
    """
    facts = [(camera, image_facts(files, camera)) for camera in files.cameras]
    conf = state_conventions(files, decider, kin)
    unknown = {question.key for question in decider.questions}
    if unknown & {"foreign.joints", "foreign.calibration_path"} or None in (conf.joint_unit, conf.gripper_unit):
        return None
    frames, state = timeline(files), files.column(STATE_KEY)
    joints = read_joints(files, conf)
    facts += [("statistics", text) for text in _statistics(files)] + _arm_facts(files, joints, kin)
    joints, actions = joints[frames.rows], stored_actions(files)
    if joints.shape[1] == ARM_JOINTS:
        output = replace(output, gripper=GripperFormat.none)
    motion = Motion.of(joints, frames, kin)
    columns = joint_columns(files, state.shape[1], conf.joints, count=joints.shape[1])
    actions = None if actions is None else actions[frames.rows]
    meaning = action_conventions(actions, state[frames.rows][:, columns], motion, decider)
    robot = _robot(motion, kin)
    if meaning is None or actions is None:
        spec = action_spec(output.scale_m, output.gripper, output.gripper_step, Semantics.achieved)
        rebuilt = rebuild(joints, frames.episode, spec, kin, threshold=output.threshold, known=frames.known)
        return Adoption(conf, frames, joints, rebuilt, np.ones(len(frames.bounds), bool), spec, robot, facts)
    if None in meaning.values():
        return None
    rebuilt, broken, spec = kept_actions(actions, meaning, output, motion, frames, kin)
    return Adoption(conf, frames, joints, rebuilt, broken, spec, robot, facts)


def _statistics(files: LeRobotFiles) -> list[str]:
    columns = [c for c in (STATE_KEY, "action") if c in files.features]
    found = [f"{c}: {t}" for c in columns for t in nonsense_statistics(files, c, _matrix(files, c))]
    return [*found[:4], *([f"and {len(found) - 4} more"] if len(found) > 4 else [])]


def _matrix(files: LeRobotFiles, column: str) -> np.ndarray:
    values = files.column(column).astype(np.float64)
    return values.reshape(len(values), -1)


def _arm_facts(files: LeRobotFiles, joints: np.ndarray, kin: Kinematics) -> list[tuple[str, str]]:
    found = []
    if locked := locked_joints(joints):
        found.append(("locked joints", f"{', '.join(locked)} stay within {LOCKED_SPAN_DEG:g} deg in the whole dataset"))
    low, high = kin.limits_deg[: joints.shape[1]].T
    outside = (joints < low - 5) | (joints > high + 5)
    if (share := outside.any(1).mean()) > 0.01:
        found.append(("joint limits", f"{share:.0%} of rows lie more than 5 deg outside this arm model's limits"))
    stored = stored_ee(files, files.column(STATE_KEY))
    if stored is not None:
        gap = float(np.median(np.linalg.norm(stored - kin.forward(joints)[0], axis=1)))
        if gap > EE_NEAR_M:
            found.append(("end effector", f"stored {1000 * gap:.0f} mm from where the joints put it; recomputed"))
    return found


def _robot(motion: Motion, kin: Kinematics) -> RobotSpec:
    """Reset pose and locks as the recording shows them."""
    starts = np.array([start for start, _ in motion.bounds])
    ee = kin.forward(motion.joints_deg[starts])[0]
    middle = ee.mean(0)
    return RobotSpec(
        locked=locked_joints(motion.joints_deg),
        reset_ee_m=_rounded(middle),
        reset_noise_m=_rounded(np.abs(ee - middle).max(0)),
        reset_joints=_rounded(np.median(motion.joints_deg[starts], axis=0)),
    )


def _rounded(values: np.ndarray) -> list[float]:
    return [round(float(v), 4) for v in values]
