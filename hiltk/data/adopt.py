"""The one way in for a dataset made elsewhere: what its numbers mean, and the same in hiltk's conventions.

`hiltk adopt` infers what nobody states, and may keep the stored actions; `hiltk fix-actions` takes everything as
stated, and rebuilds. The rest is shared: which rows become frames, which steps are known, actions and spec. Evidence
from the data is in `adopt_state` and `adopt_actions`, how a question is settled in `adopt_questions`, what comes of it
in `recording` and `converted`.

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
from hiltk.arm.units import ARM_JOINTS
from hiltk.config.commands import KEEP, LEROBOTS_ZERO, MODEL, NONE, REBUILD, ForeignConf
from hiltk.data.adopt_arm import guess_arm_by_motion, guess_arm_by_name, guess_zero
from hiltk.data.adopt_questions import OPEN, SURE, Decider, Guess
from hiltk.data.adopt_state import (
    arm_facts,
    guess_action,
    guess_gripper_unit,
    guess_interventions,
    guess_joint_unit,
    guess_joints,
    guess_state,
    image_facts,
    statistics_facts,
    stored_ee,
)
from hiltk.data.adopt_success import guess_success
from hiltk.data.columns import EXAMPLE, ChosenColumns, numeric
from hiltk.data.converted import (
    Actions,
    Foreign,
    Output,
    guess_use,
    kept_actions,
    rebuilt_actions,
    settle_kept,
    stored_actions,
)
from hiltk.data.foreign import RANGES, as_stored_spec, foreign_spec, joint_columns, read_joints
from hiltk.data.lerobot_files import LeRobotFiles
from hiltk.data.lerobot_io import ACTION, require_finite
from hiltk.data.recording import Recording, measured_robot, read_recording, stated_robot
from hiltk.errors import ConfigError, UserError, nearest
from hiltk.spec import STATE_KEY, GripperFormat, RobotSpec, Semantics, Spec


@dataclass(frozen=True)
class Adoption:
    """Everything needed to convert a dataset made elsewhere.

    Attributes:
        files: the dataset, its columns under LeRobot's names.
        conf: its conventions, complete.
        robot: reset pose and locks, as stated or measured.
        facts: what was seen beside the questions: images, statistics, locks.
    """

    files: LeRobotFiles
    conf: ForeignConf
    recording: Recording
    actions: Actions
    robot: RobotSpec
    facts: list[tuple[str, str]] = field(default_factory=list)

    def spec(self, model_path: str) -> Spec:
        """The spec of the dataset that comes out, without statistics."""
        if self.conf.kinematics == NONE:
            return as_stored_spec(self.files, self.conf, self.actions.spec)
        spec = foreign_spec(self.files, self.conf, self.actions.spec, model_path)
        spec.fps = self.recording.frames.fps
        for key in ("locked", "reset_ee_m", "reset_noise_m", "reset_joints"):
            setattr(spec.robot, key, getattr(self.robot, key))
        return spec


# Questions without whose answers nothing more can be asked.
NEEDED = {"foreign.kinematics", "foreign.joints", "foreign.calibration_path"}

# ---------------------------------------------------------------- the two ways to settle what is meant


def adopt(files: LeRobotFiles, decider: Decider, output: Output, kin: Kinematics) -> Adoption | None:
    """Settle every question about a dataset, as far as data and user say; None while the joints are not known.

    Raises:
        ConfigError: a statement that is no choice.
        UserError: the dataset cannot be used at all: values that are not finite, or images without content.
    """
    files = named = under_lerobots_names(files, decider)
    wanted = decider.conf.cameras.values() or files.cameras
    facts = [(camera, image_facts(files, camera)) for camera in files.cameras if camera in wanted]
    if decider.questions:  # nothing below can be asked before the columns are known
        return None
    conf = state_conventions(files, decider, kin)
    unknown = {question.key for question in decider.questions}
    if unknown & NEEDED or None in (conf.joint_unit, conf.gripper_unit):
        return None
    if conf.kinematics == NONE:
        return _as_stored(files, conf, output, facts)
    recording = read_recording(files, conf)
    facts += [("frames", text) for text in recording.notes]
    facts += [("statistics", text) for text in statistics_facts(files, but=named.chosen)]
    facts += arm_facts(files, read_joints(files, conf), kin)
    if recording.joints_deg.shape[1] == ARM_JOINTS:
        output = replace(output, gripper=GripperFormat.none)
    robot = measured_robot(recording, kin)
    foreign = Foreign(files, conf, recording, output, kin)
    if decider.decide(guess_use(foreign)) == REBUILD:
        return Adoption(files, conf, recording, rebuilt_actions(foreign), robot, facts)
    kept = settle_kept(foreign, decider)
    return None if kept is None else Adoption(files, conf, recording, kept_actions(foreign, kept), robot, facts)


def adopt_as_stated(files: LeRobotFiles, decider: Decider, output: Output, kin: Kinematics) -> Adoption | None:
    """As `adopt`, but all actions are rebuilt and nothing is inferred except which dimensions are the joints.

    What speaks against the arm is asked here, too.

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
    if decider.conf.kinematics == NONE:
        raise ConfigError(
            "without the arm's kinematics no action can be rebuilt",
            where="foreign.kinematics=none",
            fix="hiltk adopt keeps joints and actions as they are stored",
        )
    files = under_lerobots_names(files, decider)
    conf = state_conventions(files, decider, kin)
    if decider.questions:
        return None
    decider.decide(Guess("foreign.actions", REBUILD, f"method={output.method.name}", SURE, (KEEP, REBUILD)))
    recording = read_recording(files, conf)
    actions = rebuilt_actions(Foreign(files, conf, recording, output, kin))
    facts = [("frames", text) for text in recording.notes]
    return Adoption(files, conf, recording, actions, stated_robot(recording), facts)


def _as_stored(files: LeRobotFiles, conf: ForeignConf, output: Output, facts: list[tuple[str, str]]) -> Adoption:
    """Joints and actions of an arm without a model, as they are: for whoever looks at pictures and labels."""
    recording = Recording.as_stored(files, conf)
    meant = "joints and actions stay as they are stored, without end effector: bc-pretrain and train refuse them"
    facts = [*facts, *(("frames", text) for text in recording.frames.notes), ("kinematics", meant)]
    actions = stored_actions(files, recording, output)
    return Adoption(files, conf, recording, actions, RobotSpec(), facts)


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
    if conf.ranges_deg and (conf.calibration_path or len(conf.ranges_deg) != ARM_JOINTS or 0 in conf.ranges_deg):
        both = "foreign.ranges_deg stands for foreign.calibration_path: state one of them"
        raise ConfigError(both if conf.calibration_path else f"these must be {RANGES}", where="foreign.ranges_deg")
    if (method is Semantics.commanded) != bool(conf.commands):
        raise ConfigError(
            "commanded actions are made from a column of joint goals",
            where=f"method={method.name}, foreign.commands={conf.commands or 'empty'}",
            fix="method=commanded foreign.commands=action",
        )


# ---------------------------------------------------------------- joints and frames


def under_lerobots_names(files: LeRobotFiles, decider: Decider) -> ChosenColumns:
    """The dataset with the columns that hold joints and actions under LeRobot's names.

    Raises:
        ConfigError, UserError: a column or dimension that is stated is not there; or, where nobody may be asked, there
            is none of joints.
    """
    conf, chosen = decider.conf, {}
    by_number = STATE_KEY in files.features and all(name.isdigit() for name in conf.joints) and conf.joints
    which = None if by_number and not conf.state else guess_state(files)
    guesses = ((STATE_KEY, conf.state, which), (ACTION, conf.action, guess_action(files)))
    for name, stated, guess in guesses:
        key = "foreign.state" if name == STATE_KEY else "foreign.action"
        asked = guess or (Guess(key, None, "", OPEN) if stated else None)
        if asked and (answer := decider.decide(asked)):
            chosen[name] = str(answer)
    others = (conf.commands, conf.success_column, conf.intervention_column)
    chosen |= {column: column for column in others if "[" in column}
    if decider.questions:
        return ChosenColumns(files, {})
    found = ChosenColumns(files, chosen)
    if STATE_KEY not in found.features:
        raise UserError(
            f"the dataset has no column '{STATE_KEY}'",
            where=f"{files.path} has: {', '.join(numeric(files))}",
            fix=f"foreign.state=COLUMN, or some of its dimensions: foreign.state={EXAMPLE}",
        )
    return found


def state_conventions(files: LeRobotFiles, decider: Decider, kin: Kinematics) -> ForeignConf:
    """Settle what arm and what joints they are, as far as the data and the user say it."""
    conf = _plain(decider.conf, kinematics=_kinematics(files, decider))
    if conf.kinematics == NONE:
        return _labels(files, conf, decider)
    size = files.column(STATE_KEY).reshape(files.bounds[-1][1], -1).shape[1]
    joints = decider.decide(guess_joints(files.names(STATE_KEY), size, as_chosen="[" in decider.conf.state))
    if joints is None:  # nothing below can be asked before this is known
        return _plain(conf, joints=[])
    count = ARM_JOINTS if size == ARM_JOINTS or decider.conf.gripper_unit == "none" else len(JOINTS)
    conf.joints = joints if decider.conf.joints else joints[:count]
    state = files.column(STATE_KEY).astype(np.float64)
    require_finite(state, files.names(STATE_KEY), column=STATE_KEY, where=str(files.path))
    stored, ee_m = state[:, joint_columns(files, size, conf.joints, count=count)], stored_ee(files, state)
    conf.joint_unit = decider.decide(guess_joint_unit(stored[:, :ARM_JOINTS], ee_m, kin))
    gripper = stored[:, ARM_JOINTS] if count > ARM_JOINTS else None
    conf.gripper_unit = decider.decide(guess_gripper_unit(gripper, conf.joint_unit))
    if conf.joint_unit == "normalized" and not conf.ranges_deg:
        evidence = f"±100 of a calibrated range, which the arm's calibration file says; or foreign.ranges_deg: {RANGES}"
        conf.calibration_path = decider.decide(Guess("foreign.calibration_path", None, evidence, OPEN)) or ""
    if conf.joint_unit is not None and not (conf.joint_unit == "normalized" and decider.questions):
        _doubt_the_arm(files, stored[:, :ARM_JOINTS], ee_m, conf, decider, kin)
    return _labels(files, conf, decider)


def _kinematics(files: LeRobotFiles, decider: Decider) -> str:
    """Whether the arm has a model: as stated, or as the metadata name it. A model that is stated is the arm's."""
    guess = None if decider.conf.model_path else guess_arm_by_name(files.robot_type)
    if guess is None and decider.conf.kinematics:
        guess = Guess("foreign.kinematics", None, f"robot_type={files.robot_type or 'unknown'}", OPEN, (MODEL, NONE))
    return MODEL if guess is None else str(decider.decide(guess))


def _doubt_the_arm(
    files: LeRobotFiles,
    stored: np.ndarray,
    ee_m: np.ndarray | None,
    conf: ForeignConf,
    decider: Decider,
    kin: Kinematics,
) -> None:
    """Settle zero and arm by what the joints (N, 5) as stored say against them; changes ``conf``."""
    if conf.joint_unit == "degrees" and (guess := guess_zero(stored, files.names(STATE_KEY), kin)):
        conf.zero = str(decider.decide(guess))
    elif conf.zero:
        decider.decide(Guess("foreign.zero", LEROBOTS_ZERO, "the joints fit the arm's limits", SURE))
    if decider.conf.kinematics:
        return
    arm_deg = read_joints(files, conf)[:, :ARM_JOINTS]
    if guess := guess_arm_by_motion(arm_deg, ee_m, files.bounds, kin, files.robot_type):
        conf.kinematics = str(decider.decide(guess))


def _labels(files: LeRobotFiles, conf: ForeignConf, decider: Decider) -> ForeignConf:
    """Settle which columns say success and interventions; changes ``conf``."""
    column = ""
    if not conf.success_last_frames:
        column = str(decider.decide(guess_success(files, decider.conf.success_column)))
    conf.success_column = "" if column == NONE else column
    conf.intervention_column = str(decider.decide(guess_interventions(files)))
    return conf


def _plain(conf: ForeignConf, **changes: Any) -> ForeignConf:
    """The settings that adopt and fix-actions share."""
    shared = {f.name: getattr(conf, f.name) for f in fields(ForeignConf)}
    return ForeignConf(**(shared | changes))
