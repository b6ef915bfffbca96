"""Datasets with several faults at once, or one in some episodes only; and the recordings that pass."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from typing import Any

import numpy as np
import pytest

from hiltk.artifacts.store import Artifact
from hiltk.checks.engine import Report, examine, gather
from hiltk.spec import GripperFormat
from tests.faults.inject import JOINTS, Good
from tests.faults.planted import FRONT, WRIST


def found(*artifacts: Artifact, **options: Any) -> Report:
    all_ = gather(artifacts)
    all_.config = options.pop("config", {})
    return examine(all_, **options)


def codes(report: Report) -> set[str]:
    return {f.code for f in report.findings}


def test_the_good_recordings_pass_every_rule(demos: Artifact, play: Artifact) -> None:
    report = found(demos, play)
    assert report.findings == []
    assert len(report.rules) > 30


# ---------------------------------------------------------------- several faults at once


def test_half_the_episodes_zero_in_other_units_and_formats(good: Good) -> None:
    """Half of the actions zero, one session in radians, the gripper in two formats, a camera swapped half-way."""
    good.action[good.episode < 2] = 0
    good.action[good.half(), 3] = np.sign(good.action[good.half(), 3]) + 1
    rows = np.ix_(good.episode == 3, good.dims(*JOINTS))
    good.state[rows] = np.deg2rad(good.state[rows])
    wrist, front = (list(good.files.frames(c)) for c in (WRIST, FRONT))
    good.frames(WRIST, lambda row, frame: front[row] if good.half()[row] else frame)
    good.frames(FRONT, lambda row, frame: wrist[row] if good.half()[row] else frame)
    report = found(good.artifact())
    assert {"ACT001", "GRP001", "KIN002", "IMG003"} <= codes(report)
    where = {f.code: f.where for f in report.findings}
    assert "episodes 0, 1 of 8" in where["ACT001"] and "episode 3 of 8" in where["KIN002"]
    assert "episodes 4, 5, 6, 7 of 8" in where["GRP001"]
    swapped = [f.what for f in report.findings if f.code == "IMG003"]
    assert len(swapped) == 2 and all("showed before from episode 4 on" in m for m in swapped)


def half_zero(g: Good) -> None:
    g.action[g.episode % 2 == 0] = 0


def a_session_in_radians(g: Good) -> None:
    rows = np.ix_(g.episode == 3, g.dims(*JOINTS))
    g.state[rows] = np.deg2rad(g.state[rows])


def cameras_swapped_half_way(g: Good) -> None:
    wrist, front = (list(g.files.frames(c)) for c in (WRIST, FRONT))
    g.frames(WRIST, lambda row, frame: front[row] if g.half()[row] else frame)
    g.frames(FRONT, lambda row, frame: wrist[row] if g.half()[row] else frame)


def two_gripper_formats(g: Good) -> None:
    g.action[g.half(), 3] = np.sign(g.action[g.half(), 3]) + 1


COMPOUND = {
    half_zero: ("ACT001", "episodes 0, 2, 4, 6 of 8"),
    a_session_in_radians: ("KIN002", "episode 3 of 8"),
    cameras_swapped_half_way: ("IMG003", ""),
    two_gripper_formats: ("GRP001", ""),
}


@pytest.mark.parametrize(
    "faults",
    [c for n in (1, 2, 4) for c in combinations(COMPOUND, n)],
    ids=lambda faults: " and ".join(f.__name__ for f in faults),
)
def test_compound_faults_are_each_named(good: Good, faults: tuple[Callable[[Good], None], ...]) -> None:
    """None hides another, and none is named that is not there."""
    for break_ in faults:
        break_(good)
    report = found(good.artifact())
    for break_, (code, where) in COMPOUND.items():
        assert (code in codes(report)) == (break_ in faults), (code, [str(f) for f in report.findings])
        if break_ in faults:
            assert where in next(f.where for f in report.findings if f.code == code)


def test_episodes_of_one_dataset_in_another(demos: Artifact, another: Callable[[str], Good]) -> None:
    """A merged dataset beside one of its parts: what is held out of one is trained on in the other."""
    (finding,) = found(demos, another("copy").artifact(), select=["RUN006"]).errors
    assert "8 of its 8 episodes are also in demos@d-0001" in finding.what


def test_sessions_in_another_light(demos: Artifact, another: Callable[[str], Good]) -> None:
    evening = another("evening")
    evening.frames(WRIST, lambda row, frame: (frame * 0.6).astype(np.uint8))
    (finding,) = found(demos, evening.artifact(), select=["IMG004"]).findings
    assert "brightness" in finding.what and finding.what.startswith(WRIST)
    lamp = another("lamp")
    lamp.frames(FRONT, lambda row, frame: (frame * [1.0, 0.85, 0.6]).astype(np.uint8))
    (finding,) = found(demos, lamp.artifact(), select=["IMG004"]).findings
    assert "share of" in finding.what and finding.what.startswith(FRONT)


def test_other_specs_and_robots(demos: Artifact, another: Callable[[str], Good]) -> None:
    other = another("other")
    other.spec.action.gripper = GripperFormat.none
    other.spec.robot.calibration_id, other.spec.robot.calibration_hash = "black", "0123"
    third = another("third")
    third.spec.robot.calibration_id, third.spec.robot.calibration_hash = "white", "4567"
    report = found(demos, other.artifact(), third.artifact(), select=["RUN004", "RUN005"])
    assert [f.what for f in report.errors] == [f"{other.target} is calibrated as 'black', {third.target} as 'white'"]
    unlike = [f for f in report.warnings if f.code == "RUN005"]
    assert [f.subject for f in unlike] == [str(other.target)] and "action.gripper" in unlike[0].what


def test_faults_only_of_the_episodes_that_have_them(good: Good) -> None:
    good.action[good.episode == 6] = 0
    (finding,) = [f for f in found(good.artifact()).findings if f.code == "ACT001"]
    assert finding.where.startswith("episode 6 of 8") and "100%" in finding.what


def test_one_fault_does_not_set_off_every_alarm(good: Good) -> None:
    """A wrong reward says nothing about joints, jaws and cameras."""
    good["next.reward"][:] = 0
    assert codes(found(good.artifact())) <= {"REW002", "REW006"}
