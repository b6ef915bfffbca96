"""A calibration from a middle pose and a sweep: worked by hand, and whatever offsets the servos held before."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hiltk.arm.model import JOINTS
from hiltk.robots.arm_file import JointCalibration
from hiltk.robots.sweep import Sweep, actual, calibration_of, doubts, span_deg, sweep

IDS = {joint: number for number, joint in enumerate(JOINTS, start=1)}
MODEL_DEG = np.array([[-110.0, 110.0], [-100.0, 100.0], [-97.0, 97.0], [-95.0, 95.0], [-157.0, 163.0], [0.0, 100.0]])


def swept(middle: np.ndarray, ways: list[np.ndarray]) -> Sweep:
    """A sweep along ``ways``, ticks away from the middle."""
    left = [*ways]

    def done() -> bool:
        return not left

    read: Callable[[], np.ndarray] = lambda: (middle + left.pop(0)) % 4096  # noqa: E731
    return [*sweep(read, done, middle)][-1]


def test_a_sweep_worked_by_hand() -> None:
    middle = np.array([2000, 2100, 2047, 2047, 3000, 1000])
    found = calibration_of(Sweep(middle, middle - 1000, middle + 1200), IDS)
    assert found["shoulder_pan"] == JointCalibration(1, 0, 2000 - 2047, 1047, 3247)
    assert found["elbow_flex"] == JointCalibration(3, 0, 0, 1047, 3247)
    assert found["wrist_roll"] == JointCalibration(5, 0, 953, 0, 4095)
    assert round(span_deg(found["gripper"])) == round(2200 * 360 / 4095)


@given(
    st.lists(st.integers(0, 4095), min_size=6, max_size=6), st.lists(st.integers(-2047, 2047), min_size=6, max_size=6)
)
def test_the_old_offsets_and_the_encoders_zero_do_not_matter(middles: list[int], offsets: list[int]) -> None:
    middle = np.array(middles)
    present = (middle - np.array(offsets)) % 4096  # what the servos say of it
    assert (actual(present, np.array(offsets)) == middle).all()
    steps = [np.full(6, way) for way in (-400, -800, -1100, -500, 300, 900, 1000, 0)]
    found = swept(middle, steps)
    calibration = calibration_of(found, IDS)
    for joint, one in calibration.items():
        assert -2048 <= one.homing_offset <= 2047
        assert (middle[JOINTS.index(joint)] - one.homing_offset - 2047) % 4096 == 0
        if joint != "wrist_roll":
            assert (one.range_min, one.range_max) == (947, 3047)


def test_what_speaks_against_a_calibration() -> None:
    good = {j: JointCalibration(IDS[j], 0, 0, 2047 - int(n * 11.37), 2047 + int(n * 11.37)) for j, (_, n) in
            zip(JOINTS, MODEL_DEG, strict=True)}  # fmt: skip
    assert [*doubts(good, MODEL_DEG)] == []
    bad = good | {
        "shoulder_pan": replace(good["shoulder_pan"], range_min=1500),
        "elbow_flex": replace(good["elbow_flex"], range_max=4300),
        "gripper": replace(good["gripper"], range_min=2000, range_max=2100),
    }
    said = "\n".join(doubts(bad, MODEL_DEG))
    assert "shoulder_pan: swept 158 degrees, a SO-101's has about 220" in said
    assert "elbow_flex: swept from 945 to 4300, beyond 0 to 4095: it was not near its middle" in said
    assert "gripper: swept 9 degrees" in said
