"""Every rule about datasets: a fault in a recording of the simulator that it names, and the recording that passes."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from typing import Any

import numpy as np
import pytest

from hiltk.artifacts.store import Artifact
from hiltk.checks.engine import Report, examine, gather
from hiltk.spec import GripperFormat, Semantics
from tests.faults.inject import Good

JOINTS = ("shoulder_pan.pos", "shoulder_lift.pos", "elbow_flex.pos", "wrist_flex.pos", "wrist_roll.pos")
WRIST, FRONT = "observation.images.wrist", "observation.images.front"


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


# ---------------------------------------------------------------- what is broken, and by which rule it must be named

FAULTS: list[tuple[str, Callable[[Good], None]]] = []


def fault(code: str) -> Callable[[Callable[[Good], None]], Callable[[Good], None]]:
    def add(break_: Callable[[Good], None]) -> Callable[[Good], None]:
        FAULTS.append((code, break_))
        return break_

    return add


@fault("ACT001")
def all_actions_zero(g: Good) -> None:
    g.action[:] = 0


@fault("ACT001")
def actions_of_two_episodes_zero(g: Good) -> None:
    g.action[(g.episode == 2) | (g.episode == 5)] = 0


@fault("ACT001")
def actions_missing(g: Good) -> None:
    g.action[g.episode == 3] = np.nan
    g["action_valid"][g.episode == 3] = True


@fault("ACT002")
def interventions_are_zero(g: Good) -> None:
    for start, stop in g.data.bounds:
        rows = slice(start + 3, min(start + 5, stop - 1))
        g["is_intervention"][rows] = True
        g.action[rows] = 0


@fault("ACT003")
def raw_joints_in_the_last_frame(g: Good) -> None:
    for _, stop in g.data.bounds:
        g.action[stop - 2] = [-12.0, 95.0, 40.0, 30.0]


@fault("ACT003")
def last_frames_count_as_actions(g: Good) -> None:
    g["action_valid"][:] = True


@fault("ACT003")
def ends_are_not_marked(g: Good) -> None:
    g["next.done"][[stop - 1 for _, stop in g.data.bounds]] = False


@fault("ACT004")
def simulator_frame(g: Good) -> None:
    x, y = g.action[:, 0].copy(), g.action[:, 1].copy()
    g.action[:, 0], g.action[:, 1] = -y, x


@fault("ACT004")
def half_in_another_frame(g: Good) -> None:
    g.action[g.half(), :2] *= -1


@fault("ACT004")
def shuffled(g: Good) -> None:
    g.action[:] = g.action[np.random.default_rng(0).permutation(len(g.action))]


@fault("ACT005")
def scaled_twice(g: Good) -> None:
    g.action[:, :3] *= 0.05


@fault("ACT005")
def dead_axis(g: Good) -> None:
    """Actions ask for heights that never come; noise stands for them, since the states cannot be changed alone."""
    g.action[:, 2] = np.random.default_rng(0).choice([-0.4, 0.4], len(g.action))


@fault("ACT006")
def tiny_scale(g: Good) -> None:
    g.spec.action.scale_m = 0.001


@fault("ACT007")
def clipped(g: Good) -> None:
    g.spec.action.semantics = Semantics.achieved
    g.action[:, :3] = np.sign(g.action[:, :3])


@fault("GRP001")
def close_hold_open(g: Good) -> None:
    g.action[:, 3] = np.sign(g.action[:, 3]) + 1


@fault("GRP001")
def raw_positions(g: Good) -> None:
    g.action[:, 3] = g.state[:, 5]


@fault("GRP001")
def not_three_way(g: Good) -> None:
    g.spec.action.gripper = GripperFormat.discrete3


@fault("GRP002")
def always_hold(g: Good) -> None:
    g.action[:, 3] = 0


@fault("GRP002")
def inverted(g: Good) -> None:
    g.action[:, 3] *= -1


@fault("KIN001")
def frozen_end_effector(g: Good) -> None:
    g.state[:, g.dims("ee.x", "ee.y", "ee.z")] = [0.39, 0.0, 0.23]


@fault("KIN001")
def elbow_offset(g: Good) -> None:
    g.state[:, g.dims("elbow_flex.pos")] -= 12.5


@fault("KIN001")
def other_angles(g: Good) -> None:
    g.state[:, g.dims("ee.yaw")] += 1.2


@fault("KIN002")
def radians(g: Good) -> None:
    joints = g.dims(*JOINTS)
    g.state[:, joints] = np.deg2rad(g.state[:, joints])


@fault("KIN002")
def one_session_in_radians(g: Good) -> None:
    rows = np.ix_(g.episode >= g.count - 2, g.dims(*JOINTS))
    g.state[rows] = np.deg2rad(g.state[rows])


@fault("KIN002")
def degrees_said_to_be_radians(g: Good) -> None:
    for i in g.dims(*JOINTS):
        g.spec.state.dims[i].unit = "rad"


@fault("KIN003")
def beyond_the_model(g: Good) -> None:
    g.state[:, g.dims("shoulder_lift.pos")] -= 110.0


@fault("KIN004")
def narrow_bounds(g: Good) -> None:
    g.spec.robot.workspace_high_m[2] = 0.06


@fault("KIN005")
def reset_elsewhere(g: Good) -> None:
    g.spec.robot.reset_ee_m[2] -= 0.06


@fault("KIN006")
def loose_wrist(g: Good) -> None:
    g.spec.robot.locked = ["wrist_roll"]
    g.state[:, g.dims("wrist_roll.pos")] += np.where(g.episode == 1, 8.0, 0.0)[:, None]


@fault("KIN008")
def wrong_rate(g: Good) -> None:
    g.state[:, g.dims(*(j.replace(".pos", ".vel") for j in JOINTS))] *= 2


@fault("KIN009")
def two_seconds_of_calibration(g: Good) -> None:
    g.spec.robot.workspace_low_m[1], g.spec.robot.workspace_high_m[1] = -0.01, 0.01


@fault("KIN010")
def cached_joints(g: Good) -> None:
    for start, stop in g.data.bounds:
        g.state[start + 2 : stop, :6] = g.state[start + 2, :6]
    g.action[:, :3] = np.where(np.abs(g.action[:, :3]) < 0.3, 0.5, g.action[:, :3])


@fault("IMG001")
def black_frames(g: Good) -> None:
    g.frames(WRIST, lambda row, frame: frame * 0 if g.episode[row] in (1, 4) else frame)


@fault("IMG001")
def scaled_to_white(g: Good) -> None:
    g.frames(FRONT, lambda row, frame: np.minimum(frame, 1) * 255)


@fault("IMG002")
def camera_died(g: Good) -> None:
    last: dict[int, np.ndarray] = {}

    def repeat(row: int, frame: np.ndarray) -> np.ndarray:
        return last.setdefault(int(g.episode[row]), frame) if g.half()[row] else frame

    g.frames(WRIST, repeat)


@fault("IMG003")
def upside_down_from_the_middle_on(g: Good) -> None:
    g.frames(FRONT, lambda row, frame: frame[::-1, ::-1] if g.half()[row] else frame)


@fault("REW001")
def terminal_labels_only(g: Good) -> None:
    g["success"][:] = False
    g["success"][g.data.bounds[0][1] - 1] = True


@fault("REW002")
def rewards_lost(g: Good) -> None:
    g["next.reward"][:] = 0


@fault("REW003")
def steps_pay(g: Good) -> None:
    g.spec.reward.step_value = 0.1


@fault("REW004")
def two_rules(g: Good) -> None:
    g["next.reward"][g.half()] = np.where(g["next.reward"][g.half()] > 0, 10, -0.05)


@fault("REW004")
def every_positive_frame_pays(g: Good) -> None:
    g["next.reward"][:-1] = g["success"][1:]


@fault("REW005")
def idle_tail(g: Good) -> None:
    for start, stop in g.data.bounds:
        rows = slice(start + 2 * (stop - start) // 3, stop)
        g.state[rows, :6] = g.state[rows.start, :6]
        g.action[rows] = 0


@fault("REW006")
def labels_one_late(g: Good) -> None:
    g["success"][1:] = g["success"][:-1].copy()


@fault("REW006")
def labels_one_early(g: Good) -> None:
    g["success"][:-1] = g["success"][1:].copy()


@fault("LRN001")
def statistics_without_spread(g: Good) -> None:
    g.spec.stats["observation.state"].std[g.dims("wrist_roll.pos")[0]] = 1e-9


@fault("LRN002")
def statistics_of_radians(g: Good) -> None:
    stats = g.spec.stats["observation.state"]
    for i in g.dims(*JOINTS):
        stats.mean[i], stats.std[i] = float(np.deg2rad(stats.mean[i])), max(float(np.deg2rad(stats.std[i])), 0.5)


@fault("RUN003")
def pasted_statistics(g: Good) -> None:
    def paste(stats: dict[str, Any]) -> None:
        stats["observation.state"]["min"] = stats["observation.state"]["max"] = [0.0] * 18

    g.stats_json(paste)


@fault("RUN007")
def late_frames(g: Good) -> None:
    g["timestamp"][:] *= 1.5


@fault("RUN008")
def a_spec_of_another_rate(g: Good) -> None:
    g.spec.fps = 20.0


@fault("RUN008")
def a_reward_that_is_no_number(g: Good) -> None:
    g["next.reward"][3] = np.nan


@pytest.mark.parametrize(("code", "break_"), FAULTS, ids=[f"{c}-{f.__name__}" for c, f in FAULTS])
def test_a_fault_is_named(code: str, break_: Callable[[Good], None], good: Good) -> None:
    break_(good)
    report = found(good.artifact())
    assert code in codes(report), [str(f) for f in report.findings]
    named = next(f for f in report.findings if f.code == code)
    assert named.what and (named.where or named.fix)


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
    assert "8 of its episodes are also in demos@d-0001" in finding.what


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
