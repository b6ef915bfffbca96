"""Inferring what the numbers of a dataset made elsewhere mean, and bringing them to hiltk's conventions.

What the data say is in `adopt_state` and `adopt_actions`, how a question is settled in `adopt_questions`.

Failures these catch (devlogs): degrees read as radians or as ±100 of a range (043, 046), SIM-frame actions (034, 058),
three-way grippers in 0..2 (074, 077), zero actions (044), statistics without a range (SAC configs), end-effector
columns that never moved (086).
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from hiltk.arm.kinematics import Kinematics
from hiltk.arm.model import JOINTS
from hiltk.arm.state import action_spec
from hiltk.arm.units import ARM_JOINTS
from hiltk.config.commands import REBUILD, AdoptedConf, ForeignConf
from hiltk.data.adopt_actions import (
    Motion,
    broken_episodes,
    guess_actions,
    guess_gripper_format,
    guess_gripper_step,
    guess_scale,
    guess_yaw,
    is_achieved,
    rotate,
)
from hiltk.data.adopt_questions import OPEN, Decider, Guess
from hiltk.data.adopt_state import (
    arm_facts,
    guess_gripper_unit,
    guess_interventions,
    guess_joint_unit,
    guess_joints,
    guess_success,
    image_facts,
    locked_joints,
    statistics_facts,
    stored_ee,
)
from hiltk.data.foreign import joint_columns, read_joints, start_joints
from hiltk.data.lerobot_files import LeRobotFiles
from hiltk.data.lerobot_io import require_finite
from hiltk.data.repair import Rebuilt, rebuild
from hiltk.data.timeline import Timeline, timeline
from hiltk.errors import ConfigError, UserError
from hiltk.spec import STATE_KEY, ActionSpec, GripperFormat, RobotSpec, Semantics


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
    facts += [("frames", text) for text in frames.notes]
    joints = read_joints(files, conf)
    facts += [("statistics", text) for text in statistics_facts(files)] + arm_facts(files, joints, kin)
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


def _robot(motion: Motion, kin: Kinematics) -> RobotSpec:
    """Reset pose and locks as the recording shows them."""
    starts = np.array([start for start, _ in motion.bounds])
    ee = kin.forward(motion.joints_deg[starts])[0]
    middle = ee.mean(0)
    return RobotSpec(
        locked=locked_joints(motion.joints_deg),
        reset_ee_m=_rounded(middle),
        reset_noise_m=_rounded(np.abs(ee - middle).max(0)),
        reset_joints=start_joints(motion.joints_deg, starts),
    )


def _rounded(values: np.ndarray) -> list[float]:
    return [round(float(v), 4) for v in values]
