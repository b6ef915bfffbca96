"""Evidence of which arm a dataset made elsewhere was recorded with, and from where its joints are counted.

Every function looks at data and returns a `Guess`, or None where nothing speaks against the arm's model.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from hiltk.arm.calibration import from_old_zero
from hiltk.arm.kinematics import Kinematics
from hiltk.arm.units import ARM_JOINTS
from hiltk.config.commands import LEROBOTS_ZERO, MODEL, NONE, OLD_ZERO
from hiltk.data.adopt_questions import DOUBT, Guess

BEYOND_DEG = 5.0  # calibrated ranges of two arms differ by a few degrees
FEW = 0.01  # of all rows, beyond the limits: a knock, or a joint at its stop
MOST = 0.5  # of all rows beyond the limits: not this arm, or not counted from its zero
LEAST_PATH_M = 0.01  # a stored end effector that moves less stood still, a known fault of recorders (devlog 086)
EXPLAINS_PATH = 0.5  # correlation with forward kinematics after the best rotation, below which it is another arm's
OLD_PREFIX = "main_"  # of joint names in LeRobot before its calibration changed

# The arm under LeRobot's names (so100, so101_follower, bi_so_follower, lekiwi: one on wheels) and what people make of
# them: so-arm101, SO_ARM_100, so101_sim.
_SO_ARM = re.compile(r"so[-_ ]?(arm)?[-_ ]?10[01]|so[-_ ]?(arm|follower|leader)|lekiwi")
# Arms that LeRobot or users of its format record with; a name that is in neither list says nothing.
_OTHER_ARMS = (
    "koch", "moss", "aloha", "viperx", "vx300", "widowx", "wx250", "trossen", "franka", "panda", "fr3", "droid", "ur3",
    "ur5", "ur10", "xarm", "ufactory", "stretch", "hope", "reachy", "unitree", "g1", "h1", "openarm", "omx", "rebot",
    "piper", "agilex", "arx", "yam", "kuka", "iiwa", "sawyer", "kinova", "jaco", "gen3", "dobot", "mycobot", "rby1",
    "gr1", "agibot", "a2d", "fanuc", "flexiv", "google", "earthrover",
)  # fmt: skip


def other_arm(robot_type: str) -> bool:
    """Whether LeRobot's ``robot_type`` names an arm that is no SO-100 or SO-101; what is not known names none."""
    said = robot_type.lower()
    words = re.split(r"[^a-z0-9]+", said)
    return not _SO_ARM.search(said) and any(word.startswith(arm) for word in words for arm in _OTHER_ARMS)


def guess_arm_by_name(robot_type: str) -> Guess | None:
    """What the metadata say of the arm."""
    if not other_arm(robot_type):
        return None
    evidence = (
        f"meta/info.json says robot_type={robot_type}, which is no SO-100 or SO-101; with its model state "
        "foreign.model_path=FILE, without one none keeps joints and actions as they are stored"
    )
    return Guess("foreign.kinematics", NONE, evidence, DOUBT, (MODEL, NONE))


def guess_arm_by_motion(
    arm_deg: np.ndarray, ee_m: np.ndarray | None, bounds: Sequence[tuple[int, int]], kin: Kinematics, robot_type: str
) -> Guess | None:
    """What joint limits and the stored end effector say of the arm.

    Args:
        arm_deg: (N, 5).
        ee_m: (N, 3) the end effector as stored, if it is.
        bounds: first and last row (exclusive) of each episode.
    """
    seen, outside = [], beyond_limits(arm_deg, kin)
    if outside > MOST:
        seen.append(f"{outside:.0%} of rows lie more than {BEYOND_DEG:g} deg outside the limits of this arm's model")
    if ee_m is not None and np.ptp(ee_m, axis=0).max() > LEAST_PATH_M:
        r = path_correlation(ee_m, kin.forward(arm_deg)[0], bounds)
        if r < EXPLAINS_PATH:
            seen.append(f"the stored end effector moves otherwise than forward kinematics says (r {r:.2f})")
    if not seen:
        return None
    evidence = (
        f"{'; '.join(seen)} (robot_type={robot_type or 'unknown'}): another arm (foreign.model_path=FILE, or none), or "
        "another unit, zero or order of joints"
    )
    return Guess("foreign.kinematics", NONE, evidence, DOUBT, (MODEL, NONE))


def guess_zero(arm_deg: np.ndarray, names: list[str], kin: Kinematics) -> Guess | None:
    """From where degrees are counted: as LeRobot does now, or as it did before its pull request 777.

    Args:
        arm_deg: (N, 5) as stored.
        names: of the state's dimensions.
    """
    as_stored, turned = beyond_limits(arm_deg, kin), beyond_limits(from_old_zero(arm_deg), kin)
    fits = "LeRobot's documented conversion of the SO-100's old zero (pull request 777)"
    if as_stored > FEW and turned < as_stored / 5:
        seen = f"{as_stored:.0%} of rows lie more than {BEYOND_DEG:g} deg outside the arm's limits"
        evidence = f"{seen}, {turned:.0%} after {fits}"
    elif turned <= FEW and any(name.startswith(OLD_PREFIX) for name in names):
        evidence = f"names with '{OLD_PREFIX}' are of that time, and the joints fit the arm's limits after {fits}, too"
    else:
        return None
    return Guess("foreign.zero", OLD_ZERO, evidence, DOUBT, (LEROBOTS_ZERO, OLD_ZERO))


def beyond_limits(arm_deg: np.ndarray, kin: Kinematics) -> float:
    """The share of rows (N, 5) with a joint more than `BEYOND_DEG` outside its limits."""
    low, high = kin.limits_deg[:ARM_JOINTS].T
    return float(((arm_deg < low - BEYOND_DEG) | (arm_deg > high + BEYOND_DEG)).any(1).mean())


def path_correlation(one: np.ndarray, other: np.ndarray, bounds: Sequence[tuple[int, int]]) -> float:
    """How alike two paths (N, 3) are whatever their places, scale and orientation: 1 for the same, near 0 for others.

    The rotation that fits best is that of Kabsch (1976, doi 10.1107/S0567739476001873).
    """
    a, b = (np.concatenate([path[i:j] - path[i:j].mean(0) for i, j in bounds]) for path in (one, other))
    size = float((a**2).sum() * (b**2).sum()) ** 0.5
    if size == 0:
        return 0.0
    u, s, vt = np.linalg.svd(a.T @ b)
    s[2] *= np.sign(np.linalg.det(u @ vt))  # a rotation, no mirror image
    return float(s.sum() / size)
