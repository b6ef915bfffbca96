"""The actions that a dataset made elsewhere gets: its own in hiltk's format, or new ones from its joints."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from hiltk.arm.kinematics import Kinematics
from hiltk.arm.state import action_spec
from hiltk.arm.units import ARM_JOINTS
from hiltk.config.commands import KEEP, REBUILD, ForeignConf
from hiltk.data.adopt_actions import (
    HOLDS_AT,
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
from hiltk.data.adopt_questions import SURE, Decider, Guess
from hiltk.data.foreign import joint_columns, nameless, read_joints
from hiltk.data.lerobot_files import LeRobotFiles
from hiltk.data.lerobot_io import ACTION
from hiltk.data.recording import Recording
from hiltk.data.repair import Rebuilt, end_effector, last_rows, rebuild, rebuild_commanded
from hiltk.data.servo import EXPLAINS, Servo, estimated_goals, fit_servo, replayed
from hiltk.data.timeline import Timeline
from hiltk.errors import ConfigError, UserError
from hiltk.spec import STATE_KEY, ActionSpec, GripperFormat, Semantics

LEADS_BY = -0.5  # frames: goals later than this after the motion follow the arm instead of leading it


@dataclass(frozen=True)
class Output:
    """The actions a dataset gets where its own are not kept; see `hiltk.arm.state.action_spec`.

    Attributes:
        threshold: part of ``gripper_step`` that counts as closing or opening (three-way grippers).
        method: achieved, read off the motion; or commanded, from joint goals.
    """

    scale_m: float
    gripper: GripperFormat
    gripper_step: float
    threshold: float
    method: Semantics = Semantics.achieved

    @property
    def spec(self) -> ActionSpec:
        return action_spec(self.scale_m, self.gripper, self.gripper_step, self.method)


@dataclass(frozen=True)
class Led:
    """How the arm followed a leader arm's goals.

    Attributes:
        servo: how the arm's servos follow their goals.
        strayed_mm: (M,) distance of the fitted servos, given the goals, from the recorded path.
        estimated: share of the goals that were not stored but estimated from the motion.
        asked_m: (M, 3) commanded displacements before clipping.
    """

    servo: Servo
    strayed_mm: np.ndarray
    estimated: float
    asked_m: np.ndarray


@dataclass(frozen=True)
class Actions:
    """The actions of every frame, in hiltk's format.

    Attributes:
        replaced: (E,) bool, episodes whose actions were rebuilt.
        led: of commanded actions, how the arm followed the goals.
    """

    rebuilt: Rebuilt
    spec: ActionSpec
    replaced: np.ndarray
    led: Led | None = None


@dataclass(frozen=True)
class Foreign:
    """A dataset made elsewhere whose joints are settled, and what is asked of its actions.

    Attributes:
        conf: its conventions, as far as they are settled.
        output: the actions it gets where its own are not kept.
    """

    files: LeRobotFiles
    conf: ForeignConf
    recording: Recording
    output: Output
    kin: Kinematics

    @cached_property
    def motion(self) -> Motion:
        return Motion.of(self.recording.joints_deg, self.recording.frames, self.kin, self.recording.known)

    @cached_property
    def actions(self) -> np.ndarray | None:
        """The action column of every frame (M, A) float64, NaN where one has none; None without a column."""
        if ACTION not in self.files.features:
            return None
        actions = self.files.column(ACTION).astype(np.float64)
        return actions.reshape(len(actions), -1)[self.recording.frames.rows]


@dataclass(frozen=True)
class Kept:
    """Stored actions that are kept, and what they mean.

    Attributes:
        actions: (M, 3) or (M, 4) as stored, of every frame.
        yaw_deg: turns them into the base frame.
        scale_m: metres per step at full action.
        gripper: of `STORED_GRIPPERS`.
        gripper_step: of 0..100 per step at full action; 0 where the gripper's values are no changes.
    """

    actions: np.ndarray
    yaw_deg: int
    scale_m: float
    gripper: str
    gripper_step: float


# ---------------------------------------------------------------- kept


def guess_use(foreign: Foreign) -> Guess:
    """Whether the stored actions can be kept."""
    files, conf, recording = foreign.files, foreign.conf, foreign.recording
    key, options = "foreign.actions", (KEEP, REBUILD)
    if foreign.output.method is Semantics.commanded:
        return Guess(key, REBUILD, f"method=commanded: from the joint goals in '{conf.commands}'", SURE, options)
    if recording.frames.fps != files.fps:
        return Guess(key, REBUILD, "at another frame rate a stored action is not that of a frame", SURE, options)
    state = files.column(STATE_KEY).reshape(files.bounds[-1][1], -1)[recording.frames.rows]
    columns = joint_columns(files, state.shape[1], conf.joints, count=recording.joints_deg.shape[1])
    return guess_actions(foreign.actions, state[:, columns], foreign.motion)


def settle_kept(foreign: Foreign, decider: Decider) -> Kept | None:
    """Settle what the stored actions mean; None where a question stays open.

    Raises:
        ConfigError: they cannot be kept.
        UserError: they are zero or missing everywhere.
    """
    actions, method, fps = foreign.actions, foreign.output.method, foreign.recording.frames.fps
    if method is Semantics.commanded or fps != foreign.files.fps:
        raise ConfigError(
            "stored actions cannot be kept with method=commanded, or at another frame rate",
            where=f"foreign.actions=keep, method={method.name}, foreign.fps={foreign.conf.fps:g}",
            fix="foreign.actions=rebuild",
        )
    if actions is None or actions.shape[1] not in (3, 4):
        raise ConfigError(
            "only end-effector deltas of 3 or 4 dimensions can be kept",
            where=f"foreign.actions=keep; the dataset has {0 if actions is None else actions.shape[1]}",
            fix="foreign.actions=rebuild",
        )
    motion = foreign.motion.only(~broken_episodes(actions, foreign.motion))
    if not len(motion.rows):
        raise UserError("the stored actions are zero or missing in every episode", fix="foreign.actions=rebuild")
    held = np.nan_to_num(actions[motion.rows])
    yaw = decider.decide(guess_yaw(held[:, :3], motion))
    scale = decider.decide(guess_scale(rotate(held[:, :3], yaw), motion))
    both = held.shape[1] == 4 and motion.joints_deg.shape[1] > ARM_JOINTS
    gripper = decider.decide(guess_gripper_format(held[:, 3] if both else None, motion))
    step = 0.0
    if gripper in HOLDS_AT:
        step = decider.decide(guess_gripper_step(held[:, 3] - HOLDS_AT[gripper], motion))
    return None if None in (yaw, scale, gripper, step) else Kept(actions, yaw, scale, gripper, step)


def kept_actions(foreign: Foreign, own: Kept) -> Actions:
    """The stored actions in hiltk's format: rotated to the base frame, the gripper as -1..1.

    An absolute gripper becomes the change that was achieved. Episodes whose actions are zero or missing are rebuilt.
    """
    recording, motion, output = foreign.recording, foreign.motion, foreign.output
    formats = {"discrete012": GripperFormat.discrete3, "absolute": GripperFormat.continuous}
    gripper = formats.get(own.gripper) or GripperFormat[own.gripper]
    xyz = rotate(np.nan_to_num(own.actions[motion.rows, :3]), own.yaw_deg)
    semantics = Semantics.achieved if is_achieved(xyz, motion, own.scale_m) else Semantics.commanded
    step = own.gripper_step or (0.0 if gripper is GripperFormat.none else output.gripper_step)
    spec = action_spec(own.scale_m, gripper, step, semantics)
    episode = recording.frames.episode
    broken = broken_episodes(own.actions, motion)
    # A command stays known where the state froze; what was read off the motion does not.
    off_motion = broken[episode] | (semantics is Semantics.achieved)
    known = recording.frames.known & ~(recording.frozen & off_motion)
    fresh = rebuild(recording.joints_deg, episode, spec, foreign.kin, threshold=output.threshold, known=known)
    kept = fresh.actions.copy()
    kept[:, :3] = np.clip(rotate(own.actions[:, :3], own.yaw_deg), -1, 1)
    if own.gripper in HOLDS_AT:
        kept[:, 3] = np.clip(own.actions[:, 3] - HOLDS_AT[own.gripper], -1, 1)
    if broken.any():
        spec.semantics = Semantics.achieved
    kept[~fresh.valid] = 0.0
    chosen = np.where(broken[episode][:, None], fresh.actions, kept).astype(np.float32)
    clipped = fresh.clipped & broken[episode][:, None]
    return Actions(replace(fresh, actions=chosen, clipped=clipped), spec, broken)


def stored_actions(files: LeRobotFiles, recording: Recording, output: Output) -> Actions:
    """The actions as they are, of an arm without a model: neither their units nor their range is known.

    Raises:
        UserError: there are none, or the frames are no longer those they were stored for.
    """
    if ACTION not in files.features:
        raise UserError("the dataset has no actions to keep", where=f"foreign.kinematics=none; {files.path}")
    if output.method is Semantics.commanded or recording.frames.fps != files.fps:
        raise ConfigError(
            "stored actions cannot be kept with method=commanded, or at another frame rate",
            where=f"foreign.kinematics=none, method={output.method.name}",
            fix="leave out method and foreign.fps",
        )
    frames = recording.frames
    stored = files.column(ACTION).astype(np.float64)
    stored = stored.reshape(len(stored), -1)[frames.rows]
    valid = frames.known & ~last_rows(frames.episode) & np.isfinite(stored).all(1)
    kept = np.where(valid[:, None], stored, 0.0).astype(np.float32)
    spec = ActionSpec(nameless(files, ACTION), 0.0, "", gripper=GripperFormat.none, gripper_step=0.0)
    nowhere = np.zeros((len(kept), 3))
    rebuilt = Rebuilt(kept, valid, np.zeros(kept.shape, bool), nowhere)
    return Actions(rebuilt, spec, np.zeros(len(frames.bounds), bool))


# ---------------------------------------------------------------- rebuilt


def rebuilt_actions(foreign: Foreign) -> Actions:
    """The actions of every frame, read off the motion or, for ``method=commanded``, made from joint goals.

    Raises:
        UserError: no goal was stored, or the arm does not follow them.
    """
    recording, output, kin = foreign.recording, foreign.output, foreign.kin
    joints, episode, spec = recording.joints_deg, recording.frames.episode, output.spec
    everywhere = np.ones(len(recording.frames.bounds), bool)
    options: dict[str, Any] = {"threshold": output.threshold, "known": recording.known}
    if output.method is not Semantics.commanded:
        return Actions(rebuild(joints, episode, spec, kin, **options), spec, everywhere)
    goals = _goals(foreign.files, foreign.conf, recording.frames)
    servo = fit_servo(goals, joints, episode)
    _require_leading(servo, foreign.conf.commands)
    lost = ~np.isfinite(goals).all(1)
    goals = np.where(lost[:, None], estimated_goals(servo, joints, episode), goals)
    rebuilt = rebuild_commanded(joints, goals, episode, spec, kin, **options)
    asked = end_effector(goals, kin) - rebuilt.positions_m
    gap = end_effector(replayed(servo, goals, joints, episode), kin) - rebuilt.positions_m
    led = Led(servo, 1000 * np.linalg.norm(gap, axis=1), float(lost.mean()), asked)
    return Actions(rebuilt, spec, everywhere, led)


def _goals(files: LeRobotFiles, conf: ForeignConf, frames: Timeline) -> np.ndarray:
    """Joint goals (M, J) of every frame, NaN where none was stored: rows of zeros are a recorder's way to say so."""
    stored = files.column(conf.commands)
    stored = stored.reshape(len(stored), -1)
    lost = (stored == 0).all(1) | ~np.isfinite(stored).all(1)
    if lost.all():
        raise UserError(
            f"all of '{conf.commands}' is zero or missing: no goal was stored",
            where=str(files.path),
            fix="method=achieved foreign.commands=''",
        )
    goals = read_joints(files, conf, conf.commands, finite=False)
    goals[lost] = np.nan
    return frames.numbers(goals)


def _require_leading(servo: Servo, column: str) -> None:
    """Refuse goals that the arm does not follow."""
    if not np.isfinite(servo.explained).any():
        return
    explained, lag = float(np.nanmedian(servo.explained)), float(np.nanmedian(servo.lag))
    if explained < EXPLAINS or lag < LEADS_BY:
        how = f"lag the arm by {-lag:.1f} frames" if explained >= EXPLAINS else "do not explain the arm's motion"
        raise UserError(
            f"the joint goals {how} (they explain {explained:.0%} of it)",
            where=f"foreign.commands={column}",
            fix="check that they have the state's units and joints; method=achieved needs none",
        )
