"""Evidence of what a dataset's joints, interventions, images and statistics mean: one function per question.

Every function looks at data and returns a `Guess` or a fact; none of them changes anything.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from hiltk.arm.calibration import DEG_PER_TICK
from hiltk.arm.kinematics import Kinematics
from hiltk.arm.model import JOINTS
from hiltk.arm.units import ARM_JOINTS
from hiltk.config.commands import GRIPPER_UNITS, JOINT_UNITS
from hiltk.data.adopt_arm import BEYOND_DEG, FEW, beyond_limits
from hiltk.data.adopt_questions import LIKELY, OPEN, OPTIONAL, SURE, Guess
from hiltk.data.columns import numeric
from hiltk.data.foreign import LEAST_DEGREES, MOST_NORMALIZED
from hiltk.data.lerobot_files import LeRobotFiles, read_stats
from hiltk.errors import UserError
from hiltk.spec import EE_POSITION, STATE_KEY

LOCKED_SPAN_DEG = 2.0
EE_NEAR_M = 0.005  # a stored end effector this near to forward kinematics is one
# Names under which others store joints and actions.
STATE_NAMES = ("state", "states", "qpos", "joints", "joint_position", "joint_positions")
ACTION_NAMES = ("action", "actions")
NARROW = 1e-3  # normalised by a range below this, values explode


def guess_joints(names: list[str], size: int, *, as_chosen: bool = False) -> Guess:
    """Which of the state's dimensions are the six joint positions.

    Args:
        names: of the state's dimensions; may be empty.
        size: how many there are.
        as_chosen: a person chose these dimensions, in this order.
    """
    key = "foreign.joints"
    if as_chosen and size in (ARM_JOINTS, len(JOINTS)):
        return Guess(key, [], "the dimensions that foreign.state names, in their order", SURE)
    found = [_named(joint, names) for joint in JOINTS]
    if not found[ARM_JOINTS] and size == ARM_JOINTS:
        found = found[:ARM_JOINTS]  # an arm without a gripper
    if all(len(f) == 1 for f in found):
        chosen = [f[0] for f in found]
        return Guess(key, chosen, "the state's names", SURE)
    if any(found):
        return Guess(key, None, f"the names do not identify six joints: {', '.join(names)}", OPEN)
    if size == len(JOINTS):
        return Guess(key, [], "six dimensions without names of joints, taken in the arm's order", LIKELY)
    if size == 18:
        return Guess(key, [], "18 dimensions as HIL-SERL's recorder lays them out: joints first", LIKELY)
    if not names and size == ARM_JOINTS:
        return Guess(key, [], "five dimensions without names, taken as an arm without a gripper", LIKELY)
    if not names:
        evidence = f"{size} state dimensions without names: which are the joints, in the arm's order, numbered from 0"
        return Guess(key, None, evidence, OPEN)
    known = ", ".join(names)
    return Guess(key, None, f"{size} state dimensions ({known}): six of them by name, in the arm's order", OPEN)


def guess_state(files: LeRobotFiles) -> Guess | None:
    """Which column, and which of its dimensions, holds the joints; None where it is LeRobot's, as it should be."""
    key, columns = "foreign.state", numeric(files, ARM_JOINTS)
    if STATE_KEY in columns:
        size = int(np.prod(files.features[STATE_KEY]["shape"]))
        guess = guess_joints(files.names(STATE_KEY), size)
        if guess.value is not None or files.names(STATE_KEY):
            return None
        return Guess(key, f"{STATE_KEY}[0:{len(JOINTS)}]", guess.evidence, OPEN)
    named = [c for c in columns if c.replace("/", ".").split(".")[-1] in STATE_NAMES]
    seen = f"there is no {STATE_KEY}; columns of at least five numbers: {', '.join(columns) or 'none'}"
    return Guess(key, named[0] if len(named) == 1 else None, seen, LIKELY if len(named) == 1 else OPEN)


def guess_action(files: LeRobotFiles) -> Guess | None:
    """Which column holds the actions; None where it is LeRobot's, or none looks like it."""
    named = [c for c in numeric(files, 3) if c.replace("/", ".").split(".")[-1] in ACTION_NAMES]
    if "action" in files.features or len(named) != 1:
        return None
    return Guess("foreign.action", named[0], "there is no column 'action'", LIKELY)


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
    if all(n in names for n in EE_POSITION):
        return state[:, [names.index(n) for n in EE_POSITION]]
    told = any(_named(joint, names) for joint in JOINTS)
    return state[:, 12:15] if state.shape[1] == 18 and not told else None


def locked_joints(joints_deg: np.ndarray) -> list[str]:
    """Arm joints that never move: a lock, or a mistake in the recording.

    Args:
        joints_deg: (N, 6).
    """
    low, high = np.quantile(joints_deg[:, :ARM_JOINTS], [0.01, 0.99], axis=0)
    return [name for name, span in zip(JOINTS, high - low, strict=False) if span < LOCKED_SPAN_DEG]


# ---------------------------------------------------------------- success, images, statistics


def guess_interventions(files: LeRobotFiles) -> Guess:
    """The column that marks interventions."""
    key = "foreign.intervention_column"
    for name in ("is_intervention", "complementary_info.is_intervention"):
        if name in files.features:
            taken = int((np.asarray(files.column(name), dtype=np.float64) > 0).sum())
            if taken:
                return Guess(key, name, f"{name} is above 0 in {taken} rows", SURE)
    return Guess(key, "", "no row is marked as an intervention: demonstrations throughout", OPTIONAL)


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
    stored = read_stats(files.path).get(column, {})
    low, high = (np.asarray(stored.get(k, []), dtype=np.float64).reshape(-1) for k in ("min", "max"))
    if not len(low):
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


def statistics_facts(files: LeRobotFiles, but: Collection[str] = ()) -> list[str]:
    """What cannot be true of the statistics of state and action, ``but`` for columns that have another name there."""
    columns = [c for c in (STATE_KEY, "action") if c in files.features and c not in but]
    found = [f"{c}: {t}" for c in columns for t in nonsense_statistics(files, c, _matrix(files, c))]
    return [*found[:4], *([f"and {len(found) - 4} more"] if len(found) > 4 else [])]


def _matrix(files: LeRobotFiles, column: str) -> np.ndarray:
    values = files.column(column).astype(np.float64)
    return values.reshape(len(values), -1)


def arm_facts(files: LeRobotFiles, joints: np.ndarray, kin: Kinematics) -> list[tuple[str, str]]:
    found = []
    if locked := locked_joints(joints):
        found.append(("locked joints", f"{', '.join(locked)} stay within {LOCKED_SPAN_DEG:g} deg in the whole dataset"))
    if (share := beyond_limits(joints[:, :ARM_JOINTS], kin)) > FEW:
        text = f"{share:.0%} of rows lie more than {BEYOND_DEG:g} deg outside this arm model's limits"
        found.append(("joint limits", text))
    stored = stored_ee(files, files.column(STATE_KEY))
    if stored is not None:
        gap = float(np.median(np.linalg.norm(stored - kin.forward(joints)[0], axis=1)))
        if gap > EE_NEAR_M:
            found.append(("end effector", f"stored {1000 * gap:.0f} mm from forward kinematics; recomputed"))
    return found
