"""Faults planted one at a time, each by its name: the rules' explanations name those that show what they promise.

A fault breaks a copy of the good recording in one way, or sets up what is to be checked together; some set off other
rules besides their own, since what they break has several sides: those are named, too.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml
from safetensors.numpy import load_file, save_file

from hiltk.artifacts.store import Artifact
from hiltk.checks.engine import gather
from hiltk.checks.subject import Subjects
from hiltk.config.commands import MergeConf
from hiltk.data.episode import Episode
from hiltk.data.lerobot_io import load_episodes
from hiltk.findings import Finding, Severity
from hiltk.learning.guards import GuardLog
from hiltk.rewards.classifier import SuccessClassifier
from hiltk.spec import STATE_KEY, GripperFormat, Semantics, Stats
from hiltk.steps import merge
from tests.conftest import write_dataset
from tests.faults.inject import JOINTS, SPEC, Good, copy_artifact
from tests.faults.recordings import ahead, behind, leader_recording
from tests.faults.robots import Done, Wrong

WRIST, FRONT = "observation.images.wrist", "observation.images.front"
warning, error = Severity.warning, Severity.error


class Bench:
    """The good artifacts, made when asked for, and a folder for broken copies."""

    def __init__(self, request: pytest.FixtureRequest, folder: Path) -> None:
        self._request, self.folder = request, folder

    def good(self, name: str = "broken") -> Good:
        return Good(self.demos.path, self.folder / name)

    def copied(self, artifact: Artifact) -> Artifact:
        """A copy to be changed: it has no fingerprint, which changed files would contradict (RUN001)."""
        copied = copy_artifact(artifact, self.folder)
        edit_yaml(copied.path / "run.yaml", fingerprint="")
        return copied

    @cached_property
    def demos(self) -> Artifact:
        return self._request.getfixturevalue("demos")

    @cached_property
    def classifier(self) -> Artifact:
        return self._request.getfixturevalue("classifier")

    @cached_property
    def policy(self) -> Artifact:
        return self._request.getfixturevalue("policy")

    @cached_property
    def evaluation(self) -> Artifact:
        return self._request.getfixturevalue("evaluation")


@dataclass(frozen=True)
class Fault:
    """Something wrong, the rule that must name it, and how severely.

    Attributes:
        also: rules that see another side of the same fault.
    """

    code: str
    plant: Callable[[Bench], Subjects]
    severity: Severity | None
    also: frozenset[str]


FAULTS: dict[str, Fault] = {}
Breaks = Callable[[Good], None]
Plants = Callable[[Bench], Subjects]


def fault(code: str, severity: Severity | None = None, also: str = "") -> Callable[[Breaks], Breaks]:
    """A copy of the good recording that is broken in one way."""

    def add(break_: Breaks) -> Breaks:
        def plant(bench: Bench) -> Subjects:
            good = bench.good()
            break_(good)
            return gather([good.artifact()])

        FAULTS[break_.__name__] = Fault(code, plant, severity, frozenset(also.split()))
        return break_

    return add


def together(code: str, severity: Severity | None = None, also: str = "") -> Callable[[Plants], Plants]:
    """Something to be checked that is more than a dataset."""

    def add(plant: Plants) -> Plants:
        FAULTS[plant.__name__] = Fault(code, plant, severity, frozenset(also.split()))
        return plant

    return add


# ---------------------------------------------------------------- datasets


@fault("ACT001", also="GRP002")
def all_actions_zero(g: Good) -> None:
    g.action[:] = 0


@fault("ACT001", also="GRP002")
def actions_of_two_episodes_zero(g: Good) -> None:
    g.action[(g.episode == 2) | (g.episode == 5)] = 0


@fault("ACT001")
def actions_lost_for_a_while(g: Good) -> None:
    for _, stop in g.data.bounds:
        g.action[stop - 9 : stop - 1] = 0


@fault("ACT001", also="ACT003")
def actions_missing(g: Good) -> None:
    g.action[g.episode == 3] = np.nan
    g["action_valid"][g.episode == 3] = True


@fault("ACT002")
def interventions_are_zero(g: Good) -> None:
    for start, stop in g.data.bounds:
        rows = slice(start + 3, min(start + 5, stop - 1))
        g["is_intervention"][rows] = True
        g.action[rows] = 0


@fault("ACT003", also="ACT004 GRP001")
def raw_joints_in_the_last_frame(g: Good) -> None:
    for _, stop in g.data.bounds:
        g.action[stop - 2] = [-12.0, 95.0, 40.0, 30.0]


@fault("ACT003")
def last_frames_count_as_actions(g: Good) -> None:
    g["action_valid"][:] = True


@fault("ACT003")
def ends_are_not_marked(g: Good) -> None:
    g["next.done"][[stop - 1 for _, stop in g.data.bounds]] = False


@fault("ACT004", also="ACT005")
def simulator_frame(g: Good) -> None:
    x, y = g.action[:, 0].copy(), g.action[:, 1].copy()
    g.action[:, 0], g.action[:, 1] = -y, x


@fault("ACT004", also="ACT005")
def half_in_another_frame(g: Good) -> None:
    g.action[g.half(), :2] *= -1


@fault("ACT004", also="GRP002")
def shuffled(g: Good) -> None:
    g.action[:] = g.action[np.random.default_rng(0).permutation(len(g.action))]


@fault("ACT005")
def scaled_twice(g: Good) -> None:
    g.action[:, :3] *= 0.05


@fault("ACT005", also="ACT004")
def dead_axis(g: Good) -> None:
    """Actions ask for heights that never come; noise stands for them, since the states cannot be changed alone."""
    g.action[:, 2] = np.random.default_rng(0).choice([-0.4, 0.4], len(g.action))


@fault("ACT006", also="ACT005")
def tiny_scale(g: Good) -> None:
    g.spec.action.scale_m = 0.001


@fault("ACT007", also="ACT004")
def clipped(g: Good) -> None:
    g.spec.action.semantics = Semantics.achieved
    g.action[:, :3] = np.sign(g.action[:, :3])


@fault("GRP001", also="ACT003 GRP002")
def close_hold_open(g: Good) -> None:
    g.action[:, 3] = np.sign(g.action[:, 3]) + 1


@fault("GRP001", also="ACT003 GRP002")
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


@fault("KIN001", also="KIN005")
def elbow_offset(g: Good) -> None:
    g.state[:, g.dims("elbow_flex.pos")] -= 12.5


@fault("KIN001")
def other_angles(g: Good) -> None:
    g.state[:, g.dims("ee.yaw")] += 1.2


@fault("KIN002", also="ACT005 KIN001 KIN004 KIN005 KIN006 KIN008")
def radians(g: Good) -> None:
    joints = g.dims(*JOINTS)
    g.state[:, joints] = np.deg2rad(g.state[:, joints])


@fault("KIN002", also="KIN001 KIN004 KIN006")
def one_session_in_radians(g: Good) -> None:
    rows = np.ix_(g.episode >= g.count - 2, g.dims(*JOINTS))
    g.state[rows] = np.deg2rad(g.state[rows])


@fault("KIN002", also="ACT004 KIN001 KIN004 KIN005 KIN006")
def degrees_said_to_be_radians(g: Good) -> None:
    for i in g.dims(*JOINTS):
        g.spec.state.dims[i].unit = "rad"


@fault("KIN003", also="ACT004 KIN001 KIN004 KIN005")
def beyond_the_model(g: Good) -> None:
    g.state[:, g.dims("shoulder_lift.pos")] -= 110.0


@fault("KIN004", also="KIN009")
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


@fault("KIN009", also="KIN004")
def two_seconds_of_calibration(g: Good) -> None:
    g.spec.robot.workspace_low_m[1], g.spec.robot.workspace_high_m[1] = -0.01, 0.01


@fault("KIN010", also="ACT004 KIN001")
def cached_joints(g: Good) -> None:
    for start, stop in g.data.bounds:
        g.state[start + 2 : stop, :6] = g.state[start + 2, :6]
    g.action[:, :3] = np.where(np.abs(g.action[:, :3]) < 0.3, 0.5, g.action[:, :3])


@fault("IMG001", also="IMG002")
def black_frames(g: Good) -> None:
    g.frames(WRIST, lambda row, frame: frame * 0 if g.episode[row] in (1, 4) else frame)


@fault("IMG001", also="IMG002")
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


@fault("IMG003", error)
def upside_down_in_the_last_episode(g: Good) -> None:
    g.frames(FRONT, lambda row, frame: frame[::-1, ::-1] if g.episode[row] == g.count - 1 else frame)


@fault("IMG003", error)
def mirrored_in_an_episode_in_between(g: Good) -> None:
    g.frames(WRIST, lambda row, frame: frame[:, ::-1] if g.episode[row] == 3 else frame)


@fault("IMG003", error)
def cameras_swapped_in_the_last_episode(g: Good) -> None:
    wrist, front = (list(g.files.frames(c)) for c in (WRIST, FRONT))
    last = g.episode == g.count - 1
    g.frames(WRIST, lambda row, frame: front[row] if last[row] else frame)
    g.frames(FRONT, lambda row, frame: wrist[row] if last[row] else frame)


@fault("REW001", also="REW006")
def terminal_labels_only(g: Good) -> None:
    g["success"][:] = False
    g["success"][g.data.bounds[0][1] - 1] = True


@fault("REW002")
def rewards_lost(g: Good) -> None:
    g["next.reward"][:] = 0


@fault("REW003", also="REW004")
def every_step_rewarded(g: Good) -> None:
    g.spec.reward.step_value = 0.1


@fault("REW004")
def two_rules(g: Good) -> None:
    g["next.reward"][g.half()] = np.where(g["next.reward"][g.half()] > 0, 10, -0.05)


@fault("REW004", also="REW006")
def every_positive_frame_rewarded(g: Good) -> None:
    g["next.reward"][:-1] = g["success"][1:]


@fault("REW005")
def idle_tail(g: Good) -> None:
    for start, stop in g.data.bounds:
        rows = slice(start + 2 * (stop - start) // 3, stop)
        g.state[rows, :6] = g.state[rows.start, :6]
        g.action[rows] = 0


@fault("REW009", warning)
def a_label_at_the_first_frame(g: Good) -> None:
    g["success"][g.data.bounds[0][0]] = True


@fault("REW011", error)
def ends_in_the_first_frames(g: Good) -> None:
    for start, stop in g.data.bounds:
        g["next.done"][start:stop] = True


@fault("REW006", also="REW009")
def labels_one_late(g: Good) -> None:
    g["success"][1:] = g["success"][:-1].copy()


@fault("REW006")
def labels_one_early(g: Good) -> None:
    g["success"][:-1] = g["success"][1:].copy()


@fault("LRN001", also="LRN002 LRN009")
def statistics_without_spread(g: Good) -> None:
    g.spec.stats[STATE_KEY].std[g.dims("wrist_roll.pos")[0]] = 1e-9


@fault("LRN009")
def a_mean_of_other_data(g: Good) -> None:
    stats = g.spec.stats[STATE_KEY]
    stats.mean[0] += 2 * stats.std[0]


@fault("LRN009")
def deviations_of_other_data(g: Good) -> None:
    stats = g.spec.stats[STATE_KEY]
    stats.std = [5 * std for std in stats.std]


@fault("LRN010")
def a_range_beside_the_data(g: Good) -> None:
    """Half of the range of a joint is given as its range, upwards from the middle."""
    dim, values = g.spec.state.dims[12], g.data.state[:, 12]
    dim.low, dim.high = float(values.max()) + 0.1, float(values.max()) + 0.1 + float(np.ptp(values))


@together("LRN010")
def an_environment_with_another_range(b: Bench) -> Subjects:
    all_ = gather([b.demos])
    all_.target = copy.deepcopy(b.demos.spec())
    all_.target.state.dims[12].low, all_.target.state.dims[12].high = -1.0, -0.5
    return all_


@together("LRN010")
def an_environment_outside_its_own_range(b: Bench) -> Subjects:
    env = Wrong(lambda a: a)
    env.io_spec.state.dims[12].low, env.io_spec.state.dims[12].high = -1.0, -0.5
    return Subjects(env=env)


@fault("LRN002", also="LRN009")
def statistics_of_radians(g: Good) -> None:
    stats = g.spec.stats[STATE_KEY]
    for i in g.dims(*JOINTS):
        stats.mean[i], stats.std[i] = float(np.deg2rad(stats.mean[i])), max(float(np.deg2rad(stats.std[i])), 0.5)


@fault("RUN003")
def pasted_statistics(g: Good) -> None:
    def paste(stats: dict[str, Any]) -> None:
        stats["observation.state"]["min"] = stats["observation.state"]["max"] = [0.0] * 18

    g.stats_json(paste)


@fault("RUN007", also="RUN008")
def late_frames(g: Good) -> None:
    g["timestamp"][:] *= 1.5


@fault("RUN008")
def a_spec_of_another_rate(g: Good) -> None:
    g.spec.fps = 20.0


@fault("RUN008")
def a_reward_that_is_no_number(g: Good) -> None:
    g["next.reward"][3] = np.nan


# ---------------------------------------------------------------- datasets, continued: what the first ones left open


@fault("ACT003")
def an_action_that_is_no_number(g: Good) -> None:
    still = int(np.argmin(np.where(g["action_valid"].astype(bool), g.data.step_deg, np.inf)))
    g.action[still] = np.nan


@fault("ACT005", error)
def half_the_scale_in_the_spec(g: Good) -> None:
    g.spec.action.scale_m /= 3


@fault("ACT005", warning)
def commands_that_lead(g: Good) -> None:
    g.spec.action.scale_m *= 2.5


@together("KIN002")
def one_session_in_radians_without_a_spec(b: Bench) -> Subjects:
    good = b.good()
    one_session_in_radians(good)
    artifact = good.artifact()
    (artifact.path / SPEC).unlink()
    return gather([artifact])


@fault("KIN003")
def jaws_beyond_their_range(g: Good) -> None:
    g.state[:, g.dims("gripper.pos")] += 70.0


@together("ACT009")
def actions_as_somebody_stored_them(b: Bench) -> Subjects:
    good = b.good()
    good.spec.action.dims[0].low = good.spec.action.dims[0].high = 0.0
    return gather([Artifact("datasets", "broken", "", good.write(), origin="broken")])


@together("KIN004")
def narrow_bounds_of_the_environment(b: Bench) -> Subjects:
    all_ = gather([b.demos])
    all_.target = copy.deepcopy(b.demos.spec())
    all_.target.robot.workspace_high_m[2] = 0.06
    return all_


@fault("KIN005", warning)
def reset_a_little_elsewhere(g: Good) -> None:
    g.spec.robot.reset_ee_m[2] -= g.spec.robot.reset_noise_m[2] + 0.02


@together("KIN005", error)
def environment_that_resets_elsewhere(b: Bench) -> Subjects:
    all_ = gather([b.demos])
    all_.target = copy.deepcopy(b.demos.spec())
    all_.target.robot.reset_ee_m[2] -= 0.06
    return all_


def lock_the_wrist(g: Good, where: np.ndarray) -> None:
    """The wrist stands still at its reset angle, except 5 degrees off in the rows ``where``."""
    names = [joint.name for joint in g.spec.robot.joints]
    g.spec.robot.locked = ["wrist_roll"]
    angle = g.spec.robot.reset_joints[names.index("wrist_roll")]
    g.state[:, g.dims("wrist_roll.pos")] = angle + 5.0 * where[:, None]


@fault("KIN006")
def wrist_locked_elsewhere(g: Good) -> None:
    lock_the_wrist(g, g.episode >= 0)


@fault("KIN006")
def wrist_locked_elsewhere_once(g: Good) -> None:
    lock_the_wrist(g, g.episode == 1)
    g.spec.robot.reset_joints = []


@fault("IMG001")
def flat_frames(g: Good) -> None:
    g.frames(WRIST, lambda row, frame: np.full_like(frame, 90) if g.episode[row] == 2 else frame)


@fault("IMG001")
def half_overexposed(g: Good) -> None:
    def lit(row: int, frame: np.ndarray) -> np.ndarray:
        frame = frame.copy()
        frame[: 2 * len(frame) // 3] = 255
        return frame if g.episode[row] == 2 else g.files.frames_at(FRONT, np.array([row]))[0]

    g.frames(FRONT, lit)


@fault("IMG003", error)
def cameras_swapped_from_the_middle_on(g: Good) -> None:
    wrist, front = (list(g.files.frames(c)) for c in (WRIST, FRONT))
    g.frames(WRIST, lambda row, frame: front[row] if g.half()[row] else frame)
    g.frames(FRONT, lambda row, frame: wrist[row] if g.half()[row] else frame)


@fault("IMG003", warning)
def another_view_from_the_middle_on(g: Good) -> None:
    y, x = np.mgrid[:24, :24] / 24
    other = np.repeat((127 + 90 * np.sin(9 * x + 5 * y * y))[..., None], 3, axis=-1)
    g.frames(FRONT, lambda row, frame: (0.1 * frame + 0.9 * other).astype(np.uint8) if g.half()[row] else frame)


def two_sessions(b: Bench, camera: str, light: Any) -> Subjects:
    evening = b.good("evening")
    evening.frames(camera, lambda row, frame: (frame * light).astype(np.uint8))
    return gather([b.demos, evening.artifact()])


@together("IMG004", warning, also="RUN006")
def evening_light(b: Bench) -> Subjects:
    return two_sessions(b, WRIST, 0.6)


@together("IMG004", warning, also="RUN006")
def another_lamp(b: Bench) -> Subjects:
    return two_sessions(b, FRONT, [1.0, 0.85, 0.6])


@together("REW001", also="REW006")
def no_success_to_learn_from(b: Bench) -> Subjects:
    good = b.good()
    good["success"][:] = False
    all_ = gather([good.artifact()])
    all_.step = "train"
    return all_


@fault("REW002")
def labels_added_without_rewards(g: Good) -> None:
    g["next.reward"][:] = 0
    g["next.done"][:] = False
    g["next.done"][[stop - 1 for _, stop in g.data.bounds]] = True


@fault("REW003", also="REW004")
def waiting_as_good_as_finishing(g: Good) -> None:
    g.spec.reward.step_value = (1 - 0.97) * g.spec.reward.success_value


@fault("LRN001", also="LRN009")
def statistics_of_a_joint_at_rest(g: Good) -> None:
    g.spec.stats[STATE_KEY].std[g.dims("wrist_roll.pos")[0]] = 0.1


@together("LRN002", error)
def a_policy_of_another_unit(b: Bench) -> Subjects:
    more = far(b, 500.0)
    policy = with_network(b, "mean", lambda mean: mean + more).policies[0].artifact
    return gather([b.demos, with_spec(policy, more)])


@fault("RUN007")
def some_late_frames(g: Good) -> None:
    """Every eighth frame comes a period late; the others catch up."""
    for start, stop in g.data.bounds:
        rows = np.arange(start + 4, stop, 8)
        g["timestamp"][rows] = g["timestamp"][rows] + 0.08 / 1.0


@together("RUN008")
def a_column_of_another_width(b: Bench) -> Subjects:
    artifact = b.good().artifact()
    file = artifact.path / "meta" / "info.json"
    features = json.loads(file.read_text())["features"]
    edit_json(file, features=features | {"next.reward": features["next.reward"] | {"shape": [2]}})
    return gather([artifact])


@together("RUN008")
def a_number_of_episodes_that_is_wrong(b: Bench) -> Subjects:
    artifact = b.good().artifact()
    edit_json(artifact.path / "meta" / "info.json", total_episodes=7)
    return gather([artifact])


# ---------------------------------------------------------------- robots and leaders


def robot(change: Callable[[np.ndarray], np.ndarray]) -> Subjects:
    return Subjects(env=Wrong(change))


@together("ACT008")
def a_robot_that_ignores_actions(b: Bench) -> Subjects:
    return robot(lambda a: 0 * a)


@together("ACT008")
def a_scale_applied_twice(b: Bench) -> Subjects:
    return robot(lambda a: a * [0.05, 0.05, 0.05, 1])


@together("ACT008")
def a_gripper_the_other_way_round(b: Bench) -> Subjects:
    return robot(lambda a: a * [1, 1, 1, -1])


@together("ACT008")
def a_robot_turned_by_a_right_angle(b: Bench) -> Subjects:
    return robot(lambda a: a @ np.array([[0, 1, 0, 0], [-1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]))


@together("KIN007")
def a_leader_that_is_off(b: Bench) -> Subjects:
    return gather([leader_recording(b.folder / "off", b.good(), lambda joints: ahead(joints) + np.eye(6)[2] * 25)])


@together("KIN007")
def a_leader_that_trails(b: Bench) -> Subjects:
    return gather([leader_recording(b.folder / "led", b.good(), behind)])


# ---------------------------------------------------------------- classifiers, policies, evaluations


def edit_json(file: Path, **changes: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def judged(b: Bench, **figures: Any) -> Subjects:
    """A classifier with these figures among good ones."""
    classifier = b.copied(b.classifier)
    good = {"precision": 0.99, "recall": 0.9, "accuracy": 0.99, "episodes": {"train": 8, "held_out": 3}}
    good |= {"too_soon": {"count": 0, "n": 8, "steps": None, "mm": None}, "tuning": {}}
    edit_json(classifier.path / "metrics.json", **(good | figures))
    return gather([classifier])


@together("LRN003", warning)
def poor_precision(b: Bench) -> Subjects:
    return judged(b, precision=0.89)


@together("LRN003", warning)
def poor_recall(b: Bench) -> Subjects:
    return judged(b, recall=0.49)


@together("LRN003", warning)
def poor_accuracy(b: Bench) -> Subjects:
    return judged(b, accuracy=0.89)


@together("LRN003", warning)
def nothing_held_out(b: Bench) -> Subjects:
    return judged(b, episodes={"train": 8, "held_out": 0})


def with_threshold(b: Bench, threshold: Callable[[np.ndarray, np.ndarray], float]) -> Subjects:
    """The good recording with a classifier whose threshold follows from its scores of successes and of failures."""
    all_ = judged(b)
    path = all_.classifiers[0].path
    model = SuccessClassifier.load(path)
    data = Good(b.demos.path, b.folder / "unused").data
    scores = model.probabilities({i.key: data.files.frames_at(i.key, np.arange(len(data))) for i in model.spec.images})
    success = data.column("success").astype(bool).ravel()
    model.set_rule(threshold=threshold(scores[success], scores[~success]), hold_steps=2, min_steps=0)
    model.save(path)
    return gather([b.demos, all_.classifiers[0].artifact])


@together("REW007", warning, also="RUN005 REW008")
def a_classifier_that_misses_most(b: Bench) -> Subjects:
    return with_threshold(b, lambda successes, failures: float(np.quantile(successes, 0.65)))


@together("REW007", error, also="RUN005 REW008")
def a_classifier_that_never_fires(b: Bench) -> Subjects:
    return with_threshold(b, lambda successes, failures: 1.0)


@together("REW007", warning, also="RUN005")
def a_classifier_that_fires_often(b: Bench) -> Subjects:
    return with_threshold(b, lambda successes, failures: float(np.quantile(failures, 0.65)))


@together("REW007", error, also="RUN005")
def a_classifier_that_always_fires(b: Bench) -> Subjects:
    return with_threshold(b, lambda successes, failures: 1e-6)


@together("REW007", error, also="RUN005 REW008")
def a_classifier_on_negatives(b: Bench) -> Subjects:
    """Negatives of photographs stand for any pipeline that scales or crops otherwise."""
    good = b.good()
    good.frames(WRIST, lambda row, frame: 255 - frame)
    return gather([good.artifact(), judged(b).classifiers[0].artifact])


def held(b: Bench, hold_steps: int, *, gone: int = 0) -> Subjects:
    """About to train under this hold; the first demonstration shows success ``gone`` frames less long."""
    good = b.good()
    _, stop = good.data.bounds[0]
    good["success"][stop - gone : stop] = False
    all_ = gather([good.artifact()])
    all_.target = b.demos.spec()
    all_.target.reward.hold_steps = hold_steps
    return all_


@together("REW008", warning)
def a_demonstration_too_short(b: Bench) -> Subjects:
    return held(b, 5, gone=2)


@together("REW008", error)
def demonstrations_too_short(b: Bench) -> Subjects:
    return held(b, 8)


@together("REW010", error)
def a_classifier_surely_early(b: Bench) -> Subjects:
    return judged(b, too_soon={"count": 3, "n": 8, "steps": 4.0, "mm": 11.0})


@together("REW010", warning)
def a_classifier_perhaps_early(b: Bench) -> Subjects:
    versions = {"wrongly_ended_as_chosen": {"count": 5, "n": 72}}
    return judged(b, tuning=versions)


def at_speed(b: Bench, times: float) -> Subjects:
    """About to train where a full action moves the arm so many times as far as when the classifier's data were made."""
    all_ = judged(b)
    all_.target = b.demos.spec()
    all_.target.action.scale_m *= times
    return all_


@together("REW010", error, also="RUN005")
def a_classifier_of_a_faster_arm(b: Bench) -> Subjects:
    return at_speed(b, 0.3)


@together("REW010", warning, also="RUN005")
def a_classifier_of_a_slower_arm(b: Bench) -> Subjects:
    return at_speed(b, 2.0)


@together("LRN003", error)
def no_recall(b: Bench) -> Subjects:
    return judged(b, recall=0.0)


@together("LRN003", error)
def no_precision(b: Bench) -> Subjects:
    return judged(b, precision=0.3)


@together("LRN003", error)
def a_figure_that_is_no_number(b: Bench) -> Subjects:
    return judged(b, precision=float("nan"))


@together("LRN003", error)
def every_success_missed(b: Bench) -> Subjects:
    """Frames are recognised, but never for as long as the hold asks."""
    return judged(b, missed={"count": 3, "n": 3, "low": 0.4, "high": 1.0})


@together("LRN003", error)
def every_failure_rewarded(b: Bench) -> Subjects:
    return judged(b, wrongly_rewarded={"count": 4, "n": 4, "low": 0.5, "high": 1.0})


def with_network(b: Bench, part: str, change: Callable[[np.ndarray], np.ndarray]) -> Subjects:
    """A policy whose network normalises otherwise than its spec says, beside what it was cloned from."""
    policy = b.copied(b.policy)
    weights = load_file(policy.path / "policy.safetensors")
    key = f"torso.normalize.{part}"
    save_file(weights | {key: change(weights[key]).astype(np.float32)}, policy.path / "policy.safetensors")
    return gather([b.demos, policy])


@together("LRN001", error, also="LRN008")
def a_network_of_no_numbers(b: Bench) -> Subjects:
    return with_network(b, "std", lambda std: std * np.nan)


@together("LRN001", error, also="LRN002 LRN008")
def a_network_without_spread(b: Bench) -> Subjects:
    return with_network(b, "std", lambda std: std * 0 + 1e-8)


@together("LRN002", error, also="LRN008")
def a_network_that_sees_no_difference(b: Bench) -> Subjects:
    return with_network(b, "std", lambda std: std * 0 + 1e4)


@together("LRN002", warning)
def half_a_range(b: Bench) -> Subjects:
    """All of the data four deviations below the mean, as half a range would have it, in network and spec."""
    policy = with_network(b, "mean", lambda mean: mean + far(b, 4)).policies[0].artifact
    return gather([b.demos, with_spec(policy, far(b, 4))])


def far(b: Bench, times: float) -> np.ndarray:
    """So many deviations of one dimension."""
    std = np.array(b.policy.spec().stats[STATE_KEY].std)
    return times * std * (np.arange(len(std)) == 12)


def with_spec(policy: Artifact, more: np.ndarray) -> Artifact:
    spec = policy.spec()
    spec.stats[STATE_KEY].mean = (np.array(spec.stats[STATE_KEY].mean) + more).tolist()
    spec.save(policy.path / "hiltk_spec.yaml")
    return policy


@together("LRN008", error)
def buffers_of_another_policy(b: Bench) -> Subjects:
    return with_network(b, "mean", lambda mean: mean + 0.01)


@together("RUN001", error)
def weights_edited_afterwards(b: Bench) -> Subjects:
    policy = copy_artifact(b.policy, b.folder)
    weights = load_file(policy.path / "policy.safetensors")
    bias = next(key for key in weights if key.endswith("bias"))
    save_file(weights | {bias: weights[bias] + 1}, policy.path / "policy.safetensors")
    all_ = gather([policy])
    all_.step = "train"
    return all_


@together("LRN006", warning)
def a_guard_that_spoke(b: Bench) -> Subjects:
    policy = b.copied(b.policy)
    GuardLog(policy.path).write(12, [Finding("Q is 3", code="q_bound", fix="agent.clip_target=true")])
    return gather([policy])


@together("REW009", error)
def an_environment_done_at_reset(b: Bench) -> Subjects:
    return Subjects(env=Done())


@together("REW009", error)
def a_success_at_reset(b: Bench) -> Subjects:
    evaluation = b.copied(b.evaluation)
    table = evaluation.path / "episodes.csv"
    head, first, *others = table.read_text().splitlines()
    assert head.endswith(",success_at_reset") and first.endswith(",False")
    table.write_text("\n".join([head, first.removesuffix("False") + "True", *others]) + "\n")
    return gather([evaluation])


@together("LRN007", warning)
def ten_episodes(b: Bench) -> Subjects:
    evaluation = b.copied(b.evaluation)
    table = evaluation.path / "episodes.csv"
    table.write_text("\n".join(table.read_text().splitlines()[:11]) + "\n")
    return gather([evaluation])


@together("LRN007", warning)
def sampled_actions(b: Bench) -> Subjects:
    evaluation = b.copied(b.evaluation)
    edit_yaml(evaluation.path / "run.yaml", config=evaluation.run()["config"] | {"stochastic": True})
    return gather([evaluation])


def edit_yaml(file: Path, **changes: Any) -> None:
    file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | changes))


# ---------------------------------------------------------------- settings

DRQ = {"name": "drqv2", "noise": "linear(0.2,0.05,5000)", "explore_steps": 0}
SAC = {"name": "sac", "temperature": 0.01, "target_entropy": None, "backup_entropy": False}


def about_to_train(b: Bench, **config: Any) -> Subjects:
    all_ = gather([b.demos])
    all_.config = {"demos": ["demos"], "agent": SAC} | config
    return all_


@together("LRN004", warning)
def noise_of_a_beginner(b: Bench) -> Subjects:
    return about_to_train(b, init="bc", agent=DRQ | {"noise": "linear(1.0,0.1,50000)"})


@together("LRN004", warning)
def random_steps_with_a_policy(b: Bench) -> Subjects:
    return about_to_train(b, init="bc", agent=DRQ | {"explore_steps": 500})


@together("LRN005", warning)
def a_target_entropy_of_minus_dim(b: Bench) -> Subjects:
    return about_to_train(b, agent=SAC | {"target_entropy": -4})


@together("LRN005", warning)
def a_high_temperature(b: Bench) -> Subjects:
    return about_to_train(b, agent=SAC | {"temperature": 0.2})


@together("LRN005", warning)
def entropy_in_the_targets(b: Bench) -> Subjects:
    return about_to_train(b, agent=SAC | {"backup_entropy": True})


@together("LRN005", warning)
def a_buffer_of_a_few_episodes(b: Bench) -> Subjects:
    return about_to_train(b, agent=DRQ, capacity=2000, episodes=150, task={"time_limit_s": 5.0})


def pasted(b: Bench, **agent: Any) -> Subjects:
    """About to train with statistics in the settings, as RoboBase has them."""
    return about_to_train(b, agent=DRQ | {"state_mean": [], "state_std": []} | agent)


def own_statistics(b: Bench) -> Stats:
    return b.demos.spec().stats[STATE_KEY]


@together("LRN001", error, also="LRN002")
def pasted_deviations(b: Bench) -> Subjects:
    return pasted(b, state_std=[1e-8] * len(own_statistics(b).std))


@together("LRN002", error)
def pasted_wide_deviations(b: Bench) -> Subjects:
    return pasted(b, state_std=[1e4] * len(own_statistics(b).std))


@together("LRN002", error)
def pasted_means(b: Bench) -> Subjects:
    stats = own_statistics(b)
    return pasted(b, state_mean=[m + 4 * s for m, s in zip(stats.mean, stats.std, strict=True)])


@together("IMG005", warning)
def a_resnet_on_small_images(b: Bench) -> Subjects:
    return about_to_train(b, encoder={"name": "resnet"})


# ---------------------------------------------------------------- artifacts that do not belong together


@together("RUN001")
def a_file_edited_afterwards(b: Bench) -> Subjects:
    demos = copy_artifact(b.demos, b.folder)
    with (demos.path / "meta" / "info.json").open("a") as file:
        file.write("\n")
    return gather([demos])


@together("RUN002")
def demonstrations_replaced(b: Bench) -> Subjects:
    data, policy = b.copied(b.demos), b.copied(b.policy)
    edit_yaml(data.path / "run.yaml", fingerprint="f" * 16)
    return gather([policy])


def calibrated(b: Bench, *robots: tuple[str, str]) -> list[Artifact]:
    """Recordings by arms that were calibrated so: id and hash."""
    made = []
    for number, (id_, hash_) in enumerate(robots):
        good = b.good(f"arm{number}")
        good.spec.robot.calibration_id, good.spec.robot.calibration_hash = id_, hash_
        made.append(good.artifact())
    return made


@together("RUN004", error, also="RUN006")
def two_arms(b: Bench) -> Subjects:
    return gather(calibrated(b, ("black", ""), ("white", "0123")))


@together("RUN004", error, also="RUN005 RUN006")
def an_arm_calibrated_again(b: Bench) -> Subjects:
    return gather(calibrated(b, ("black", "0123"), ("black", "4567")))


@together("RUN004", warning, also="RUN006")
def a_simulated_and_a_real_arm(b: Bench) -> Subjects:
    return gather(calibrated(b, ("simulated", ""), ("black", "0123")))


@together("RUN004", error)
def a_calibrated_arm_with_data_of_none(b: Bench) -> Subjects:
    all_ = gather(calibrated(b, ("", "")))
    all_.target = copy.deepcopy(b.demos.spec())
    all_.target.robot.calibration_id = "black"
    return all_


@together("RUN005", warning, also="RUN006")
def another_gripper_format(b: Bench) -> Subjects:
    other = b.good()
    other.spec.action.gripper = GripperFormat.none
    return gather([b.demos, other.artifact()])


@together("RUN006", error)
def a_dataset_beside_its_copy(b: Bench) -> Subjects:
    return gather([b.demos, b.good().artifact()])


def nearly(good: Good) -> Good:
    """Other numbers in every row, and pictures encoded anew: no column is equal to the original's."""
    good.state[:] = good.state + 1e-5
    good.action[:] = good.action * (1 - 1e-6)
    good.frames(WRIST, lambda row, frame: encoded_anew(frame))
    return good


def encoded_anew(frame: np.ndarray) -> np.ndarray:
    jpeg = cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, 95])[1]  # 24 pixels do not bear more
    return cv2.imdecode(jpeg, cv2.IMREAD_COLOR)


def rewritten(b: Bench, rows: slice) -> Artifact:
    """The good recording with only some rows of every episode."""
    spec, path = b.demos.spec(), b.folder / "rewritten"
    kept = [sliced(episode, rows) for episode in load_episodes(b.demos.path, after_end=True)]
    return Artifact("datasets", path.name, "", write_dataset(path, spec, kept), origin=str(path))


def sliced(episode: Episode, rows: slice) -> Episode:
    ends = {name: getattr(episode, name)[rows] for name in ("actions", "rewards", "source", "is_intervention")}
    seen = {key: values[rows] for key, values in episode.observations.items()}
    count = len(seen[STATE_KEY]) - 1
    ends = {name: values[:count] for name, values in ends.items()}
    valid = episode.action_valid[rows][:count]
    return replace(episode, observations=seen, success=episode.success[rows], action_valid=valid, **ends)


@together("RUN006", error)
def a_dataset_beside_its_near_copy(b: Bench) -> Subjects:
    return gather([b.demos, nearly(b.good()).artifact()])


@together("RUN006", error, also="KIN005 REW002")
def a_dataset_without_its_first_frames(b: Bench) -> Subjects:
    return gather([b.demos, rewritten(b, slice(3, None))])


@together("RUN006", error, also="KIN010")
def a_dataset_encoded_anew(b: Bench) -> Subjects:
    """Without a state that tells anything: only the pictures can."""
    one, other = b.good("one"), b.good("other")
    for good in (one, other):
        good.state[:] = good.state[0]
    other.frames(WRIST, lambda row, frame: encoded_anew(frame))
    return gather([one.artifact(), other.artifact()])


@together("RUN006", error, also="KIN008 REW002")
def a_dataset_at_half_its_rate(b: Bench) -> Subjects:
    return gather([b.demos, rewritten(b, slice(None, None, 2))])


@together("RUN006", error)
def an_unseen_set_that_was_seen(b: Bench) -> Subjects:
    all_ = gather([b.demos])
    all_.unseen = gather([nearly(b.good()).artifact()]).datasets
    return all_


@together("RUN006", warning)
def an_episode_nearly_twice(b: Bench) -> Subjects:
    conf = MergeConf(root=str(b.folder), name="twice", datasets=[str(b.demos.path), str(nearly(b.good()).write())])
    return gather([merge.run(conf)])


@together("RUN006", warning)
def an_episode_recorded_twice(b: Bench) -> Subjects:
    conf = MergeConf(root=str(b.folder), name="twice", datasets=[str(b.demos.path), str(b.good().write())])
    return gather([merge.run(conf)])
