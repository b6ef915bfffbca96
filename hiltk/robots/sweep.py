"""A calibration measured as LeRobot measures it, a middle pose and a sweep, with nothing written on the way.

LeRobot writes its homing offsets before the sweep; here they are reckoned, so that one that came out wrong is
not in the servos already.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from hiltk.arm.calibration import DEG_PER_TICK
from hiltk.arm.model import JOINTS
from hiltk.robots.arm_file import JointCalibration

TURN = 4096
MIDDLE = 2047  # what a joint's middle pose is to read
FULL_TURN = ("wrist_roll",)  # of these LeRobot takes the whole turn for the range
SAFE_RAW = (500, 3600)  # beyond, a joint's travel is likely to pass the encoder's zero
SPAN_SLACK_DEG = 25.0  # a swept range against the model's


@dataclass(frozen=True)
class Sweep:
    """Ticks of six joints, encoder as it is (without the offset that the servos hold).

    Attributes:
        middle: (6,) in the middle pose.
        low, high: (6,) furthest either way from there.
    """

    middle: np.ndarray
    low: np.ndarray
    high: np.ndarray


def actual(present: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """The encoders' own ticks (6,), 0..4095: servos say them less the offset they hold."""
    return (present + offsets) % TURN


def sweep(read: Callable[[], np.ndarray], is_done: Callable[[], bool], middle: np.ndarray) -> Iterator[Sweep]:
    """What was swept so far, with each reading, until somebody is done.

    Args:
        read: the encoders' own ticks (6,).
        middle: (6,) in the middle pose.
    """
    low, high, last, way = np.zeros(6), np.zeros(6), middle, np.zeros(6)
    while not is_done():
        now = read()
        way = way + (now - last + TURN // 2) % TURN - TURN // 2  # over the encoder's zero, too
        last = now
        low, high = np.minimum(low, way), np.maximum(high, way)
        yield Sweep(middle, middle + low, middle + high)


def calibration_of(swept: Sweep, ids: Mapping[str, int]) -> dict[str, JointCalibration]:
    """As LeRobot would have made it."""
    offsets = (swept.middle - MIDDLE + TURN // 2) % TURN - TURN // 2
    found = {}
    for n, joint in enumerate(JOINTS):
        shift = MIDDLE - swept.middle[n]
        low, high = int(swept.low[n] + shift), int(swept.high[n] + shift)
        if joint in FULL_TURN:
            low, high = 0, TURN - 1
        found[joint] = JointCalibration(ids[joint], 0, int(offsets[n]), low, high)
    return found


def span_deg(joint: JointCalibration) -> float:
    return (joint.range_max - joint.range_min) * DEG_PER_TICK


def doubts(calibration: Mapping[str, JointCalibration], model_deg: np.ndarray) -> Iterator[str]:
    """What speaks against a measured calibration.

    Args:
        model_deg: lowest and highest angle of each joint (6, 2); the gripper's do not matter.
    """
    for joint, (least, most) in zip(JOINTS, model_deg, strict=True):
        one = calibration[joint]
        if joint in FULL_TURN:
            continue
        if one.range_min < 0 or one.range_max >= TURN:
            what = f"{joint}: swept from {one.range_min} to {one.range_max}, beyond 0 to {TURN - 1}"
            yield f"{what}: it was not near its middle at the start"
        elif joint == "gripper" and span_deg(one) < 30:
            yield f"gripper: swept {span_deg(one):.0f} degrees: open and close it fully"
        elif joint != "gripper" and abs(span_deg(one) - (most - least)) > SPAN_SLACK_DEG:
            wanted = f"a SO-101's has about {most - least:.0f}"
            yield f"{joint}: swept {span_deg(one):.0f} degrees, {wanted}: from stop to stop, and no further"
