"""The one way in for a dataset made elsewhere: what its numbers mean, and the same in hiltk's conventions.

`hiltk adopt` infers what nobody states, and may keep the stored actions; `hiltk fix-actions` takes everything as
stated, and rebuilds. From there on both are one: which rows become frames, which steps are known, actions and spec.
What the data say is in `adopt_state` and `adopt_actions`, how a question is settled in `adopt_questions`.

Failures these catch (devlogs): degrees read as radians or as ±100 of a range (043, 046), SIM-frame actions (034, 058),
three-way grippers in 0..2 (074, 077), zero actions (044), statistics without a range (SAC configs), end-effector
columns that never moved (086).
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np

from hiltk.arm.kinematics import Kinematics
from hiltk.arm.model import JOINTS
from hiltk.arm.state import action_spec
from hiltk.arm.units import ARM_JOINTS
from hiltk.config.commands import KEEP, REBUILD, AdoptedConf, ForeignConf
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
from hiltk.data.adopt_questions import OPEN, SURE, Decider, Guess
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
from hiltk.data.foreign import foreign_spec, joint_columns, read_joints, start_joints
from hiltk.data.lerobot_files import LeRobotFiles
from hiltk.data.lerobot_io import ACTION, require_finite
from hiltk.data.repair import Rebuilt, end_effector, frozen_steps, rebuild, rebuild_commanded
from hiltk.data.servo import EXPLAINS, Servo, estimated_goals, fit_servo, replayed
from hiltk.data.timeline import Timeline, timeline
from hiltk.errors import ConfigError, UserError, nearest
from hiltk.spec import STATE_KEY, ActionSpec, GripperFormat, RobotSpec, Semantics, Spec

LOCK_TOLERANCE_DEG = 2.0  # of a locked joint's mean, and of its spread half of that
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
class Recording:
    """What the arm did, in hiltk's units and frames.

    Attributes:
        frames: which of the dataset's rows became frames.
        joints_deg: (M, 6) every frame; (M, 5) without a gripper.
        frozen: (M,) bool, steps from or to a state that was stored again while the arm moved on.
        locked: joints that are said to have been held, and where, degrees.
    """

    frames: Timeline
    joints_deg: np.ndarray
    frozen: np.ndarray
    locked: dict[str, float]

    @property
    def known(self) -> np.ndarray:
        """(M,) bool, steps whose length is known: no frame is missing, and the state did not freeze."""
        return self.frames.known & ~self.frozen

    @property
    def notes(self) -> list[str]:
        """What is wrong with frames and joints, in sentences."""
        return [*self.frames.notes, *frozen_notes(self.frozen), *lock_notes(self.joints_deg, self.frames, self.locked)]


@dataclass(frozen=True)
class Led:
    """What a leader arm's goals say beside the actions.

    Attributes:
        servo: how the arm's servos follow their goals.
        strayed_mm: (M,) how far the fitted servos, given the goals, end up from the recorded path.
        estimated: share of the goals that were not stored but worked out from the motion.
        asked_m: (M, 3) what the actions ask for before they are clipped.
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
        led: of commanded actions, what the goals say.
    """

    rebuilt: Rebuilt
    spec: ActionSpec
    replaced: np.ndarray
    led: Led | None = None


@dataclass(frozen=True)
class Adoption:
    """Everything needed to convert a dataset made elsewhere.

    Attributes:
        conf: its conventions, complete.
        robot: what is stated or seen of reset pose and locks.
        facts: things seen that decide nothing: images, statistics, locks.
    """

    conf: ForeignConf
    recording: Recording
    actions: Actions
    robot: RobotSpec
    facts: list[tuple[str, str]] = field(default_factory=list)

    def spec(self, files: LeRobotFiles, model_path: str) -> Spec:
        """The spec of the dataset that comes out, without statistics."""
        spec = foreign_spec(files, self.conf, self.actions.spec, model_path)
        spec.fps = self.recording.frames.fps
        for key in ("locked", "reset_ee_m", "reset_noise_m", "reset_joints"):
            setattr(spec.robot, key, getattr(self.robot, key))
        return spec


# ---------------------------------------------------------------- the two ways to settle what is meant


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
    recording = read_recording(files, conf)
    facts += [("frames", text) for text in recording.notes]
    facts += [("statistics", text) for text in statistics_facts(files)]
    facts += arm_facts(files, read_joints(files, conf), kin)
    if recording.joints_deg.shape[1] == ARM_JOINTS:
        output = replace(output, gripper=GripperFormat.none)
    motion = Motion.of(recording.joints_deg, recording.frames, kin, recording.known)
    robot = measured_robot(recording, kin)
    stored = stored_actions(files, recording.frames)
    meaning = action_conventions(files, conf, output, stored, recording, motion, decider)
    if meaning is None or stored is None:
        actions = rebuilt_actions(files, conf, recording, output, kin)
        return Adoption(conf, recording, actions, robot, facts)
    if None in meaning.values():
        return None
    actions = kept_actions(stored, meaning, output, recording, motion, kin)
    return Adoption(conf, recording, actions, robot, facts)


def adopt_as_stated(files: LeRobotFiles, decider: Decider, output: Output, kin: Kinematics) -> Adoption:
    """The same where nothing is inferred but where the joints lie, and all actions are rebuilt.

    Raises:
        ConfigError: a statement that is no choice.
        UserError: the dataset cannot be used as it is stated.
    """
    if decider.conf.gripper_unit == "none" and output.gripper is not GripperFormat.none:
        raise ConfigError(
            "a recording without a gripper cannot have gripper actions",
            where=f"foreign.gripper_unit=none, gripper={output.gripper.name}",
            fix="gripper=none",
        )
    conf = state_conventions(files, decider, kin)
    decider.decide(Guess("foreign.actions", REBUILD, f"method={output.method.name}", SURE, (KEEP, REBUILD)))
    recording = read_recording(files, conf)
    actions = rebuilt_actions(files, conf, recording, output, kin)
    return Adoption(conf, recording, actions, stated_robot(recording), [("frames", text) for text in recording.notes])


def check_conventions(conf: ForeignConf, method: Semantics) -> None:
    """Refuse statements that contradict each other or the arm, before anything is read.

    Raises:
        ConfigError: naming the first.
    """
    for name in conf.locked:
        if name not in JOINTS[:ARM_JOINTS]:
            known = ", ".join(JOINTS[:ARM_JOINTS])
            raise ConfigError(
                f"the arm has no joint '{name}'",
                where="foreign.locked",
                fix=nearest(name, JOINTS) or f"one of: {known}",
            )
    if conf.fps < 0:
        raise ConfigError("must not be below 0", where=f"foreign.fps={conf.fps}")
    if (method is Semantics.commanded) != bool(conf.commands):
        raise ConfigError(
            "commanded actions are made from a column of joint goals",
            where=f"method={method.name}, foreign.commands={conf.commands or 'empty'}",
            fix="method=commanded foreign.commands=action",
        )


# ---------------------------------------------------------------- joints and frames


def state_conventions(files: LeRobotFiles, decider: Decider, kin: Kinematics) -> ForeignConf:
    """Settle what the joints are, as far as the data and the user say it."""
    size = files.column(STATE_KEY).reshape(files.bounds[-1][1], -1).shape[1]
    joints = decider.decide(guess_joints(files.names(STATE_KEY), size))
    if joints is None:  # nothing below can be asked before this is known
        return _plain(decider.conf, joints=[])
    count = ARM_JOINTS if size == ARM_JOINTS or decider.conf.gripper_unit == "none" else len(JOINTS)
    if not decider.conf.joints:
        joints = joints[:count]
    conf = _plain(decider.conf, joints=joints)
    state = files.column(STATE_KEY).astype(np.float64)
    require_finite(state, files.names(STATE_KEY), column=STATE_KEY, where=str(files.path))
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


def read_recording(files: LeRobotFiles, conf: ForeignConf) -> Recording:
    """Frames and joints of a dataset whose conventions are settled.

    Raises:
        ConfigError, UserError: as `timeline` and `read_joints`.
    """
    frames = timeline(files, conf.fps)
    joints = frames.numbers(read_joints(files, conf))
    return Recording(frames, joints, frozen_steps(joints, frames.episode), dict(conf.locked))


def frozen_notes(frozen: np.ndarray) -> list[str]:
    """Steps (N,) whose joint state froze, in a sentence."""
    if not frozen.any():
        return []
    return [f"{int(frozen.sum())} steps have a joint state that froze while the arm moved; they are masked"]


def lock_notes(joints_deg: np.ndarray, frames: Timeline, locked: dict[str, float]) -> list[str]:
    """Joints that are said to be locked, and were not (failures.md, C5)."""
    notes = []
    for name, angle in locked.items():
        parts = [joints_deg[start:stop, JOINTS.index(name)] for start, stop in frames.bounds]
        off = [abs(p.mean() - angle) > LOCK_TOLERANCE_DEG or p.std() > LOCK_TOLERANCE_DEG / 2 for p in parts]
        if any(off):
            worst = max(parts, key=lambda p: abs(p.mean() - angle))
            episodes = ", ".join(str(e) for e in np.flatnonzero(off)[:8]) + (", ..." if sum(off) > 8 else "")
            notes.append(
                f"{name} is said to be locked at {angle:g} deg, but was not in {sum(off)} of {len(off)} episodes "
                f"({episodes}; worst mean {worst.mean():.1f}, spread {worst.std():.1f} deg): a locked arm cannot "
                "repeat them; drop them with `hiltk drop-episodes`"
            )
    return notes


def stated_robot(recording: Recording) -> RobotSpec:
    """The locks that were stated, at the angles to which KIN006 holds the episodes."""
    if not recording.locked:
        return RobotSpec()
    seen = start_joints(recording.joints_deg, _starts(recording))
    at = [recording.locked.get(name, angle) for name, angle in zip(JOINTS, seen, strict=False)]
    return RobotSpec(locked=list(recording.locked), reset_joints=at)


def measured_robot(recording: Recording, kin: Kinematics) -> RobotSpec:
    """Reset pose and locks as the recording shows them; locks that were stated are as stated."""
    joints, starts = recording.joints_deg, _starts(recording)
    ee = kin.forward(joints[starts])[0]
    middle = ee.mean(0)
    stated = stated_robot(recording)
    return RobotSpec(
        locked=stated.locked or locked_joints(joints),
        reset_ee_m=_rounded(middle),
        reset_noise_m=_rounded(np.abs(ee - middle).max(0)),
        reset_joints=stated.reset_joints or start_joints(joints, starts),
    )


def _starts(recording: Recording) -> np.ndarray:
    return np.array([start for start, _ in recording.frames.bounds])


def _rounded(values: np.ndarray) -> list[float]:
    return [round(float(v), 4) for v in values]


# ---------------------------------------------------------------- actions: kept


def stored_actions(files: LeRobotFiles, frames: Timeline) -> np.ndarray | None:
    """The action column of every frame (M, A) float64, NaN where one has none; None without a column."""
    if ACTION not in files.features:
        return None
    actions = files.column(ACTION).astype(np.float64)
    return actions.reshape(len(actions), -1)[frames.rows]


def action_conventions(
    files: LeRobotFiles,
    conf: ForeignConf,
    output: Output,
    actions: np.ndarray | None,
    recording: Recording,
    motion: Motion,
    decider: Decider,
) -> dict[str, Any] | None:
    """Settle what the stored actions (M, A) mean; None where they are to be rebuilt.

    Returns:
        ``yaw_deg``, ``scale_m``, ``gripper`` (of `STORED_GRIPPERS`) and ``gripper_step``.
    """
    if decider.decide(_guess_use(files, conf, output, actions, recording, motion)) == REBUILD:
        return None
    if output.method is Semantics.commanded or recording.frames.fps != files.fps:
        raise ConfigError(
            "stored actions cannot be kept where others are asked for, or frames at another rate",
            where=f"foreign.actions=keep, method={output.method.name}, foreign.fps={conf.fps:g}",
            fix="foreign.actions=rebuild",
        )
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


def _guess_use(
    files: LeRobotFiles,
    conf: ForeignConf,
    output: Output,
    actions: np.ndarray | None,
    recording: Recording,
    motion: Motion,
) -> Guess:
    """Whether the stored actions can be kept."""
    key, options = "foreign.actions", (KEEP, REBUILD)
    if output.method is Semantics.commanded:
        return Guess(key, REBUILD, f"method=commanded: from the joint goals in '{conf.commands}'", SURE, options)
    if recording.frames.fps != files.fps:
        return Guess(key, REBUILD, "at another frame rate a stored action is not that of a frame", SURE, options)
    state = files.column(STATE_KEY).reshape(files.bounds[-1][1], -1)[recording.frames.rows]
    columns = joint_columns(files, state.shape[1], conf.joints, count=recording.joints_deg.shape[1])
    return guess_actions(actions, state[:, columns], motion)


def kept_actions(
    actions: np.ndarray,
    meaning: dict[str, Any],
    output: Output,
    recording: Recording,
    motion: Motion,
    kin: Kinematics,
) -> Actions:
    """The stored actions (M, A) in hiltk's format: turned to the base frame, the gripper as -1..1.

    An absolute gripper becomes the change that was achieved. Episodes whose actions are zero or missing are rebuilt.
    """
    formats = {"discrete012": GripperFormat.discrete3, "absolute": GripperFormat.continuous}
    gripper = formats.get(meaning["gripper"]) or GripperFormat[meaning["gripper"]]
    xyz = rotate(np.nan_to_num(actions[motion.rows, :3]), meaning["yaw_deg"])
    semantics = Semantics.achieved if is_achieved(xyz, motion, meaning["scale_m"]) else Semantics.commanded
    step = meaning["gripper_step"] or (0.0 if gripper is GripperFormat.none else output.gripper_step)
    spec = action_spec(meaning["scale_m"], gripper, step, semantics)
    episode = recording.frames.episode
    broken = broken_episodes(actions, motion)
    # A command stays known where the state froze; what was read off the motion does not.
    off_motion = broken[episode] | (semantics is Semantics.achieved)
    known = recording.frames.known & ~(recording.frozen & off_motion)
    fresh = rebuild(recording.joints_deg, episode, spec, kin, threshold=output.threshold, known=known)
    kept = fresh.actions.copy()
    kept[:, :3] = np.clip(rotate(actions[:, :3], meaning["yaw_deg"]), -1, 1)
    if meaning["gripper"] in ("continuous", "discrete3", "discrete012"):
        kept[:, 3] = np.clip(actions[:, 3] - (meaning["gripper"] == "discrete012"), -1, 1)
    if broken.any():
        spec.semantics = Semantics.achieved
    kept[~fresh.valid] = 0.0
    chosen = np.where(broken[episode][:, None], fresh.actions, kept).astype(np.float32)
    clipped = fresh.clipped & broken[episode][:, None]
    return Actions(replace(fresh, actions=chosen, clipped=clipped), spec, broken)


# ---------------------------------------------------------------- actions: rebuilt


def rebuilt_actions(
    files: LeRobotFiles, conf: ForeignConf, recording: Recording, output: Output, kin: Kinematics
) -> Actions:
    """The actions of every frame, read off the motion or, for ``method=commanded``, made from joint goals.

    Raises:
        UserError: no goal was stored, or the arm does not follow them.
    """
    joints, episode, spec = recording.joints_deg, recording.frames.episode, output.spec
    everywhere = np.ones(len(recording.frames.bounds), bool)
    options: dict[str, Any] = {"threshold": output.threshold, "known": recording.known}
    if output.method is not Semantics.commanded:
        return Actions(rebuild(joints, episode, spec, kin, **options), spec, everywhere)
    goals = _goals(files, conf, recording.frames)
    servo = fit_servo(goals, joints, episode)
    _require_leading(servo, conf.commands)
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
        how = f"lag by {-lag:.1f} frames behind the arm" if explained >= EXPLAINS else "do not explain its motion"
        raise UserError(
            f"the joint goals {how} (they explain {explained:.0%} of it)",
            where=f"foreign.commands={column}",
            fix="check that they have the state's units and joints; method=achieved needs none",
        )
