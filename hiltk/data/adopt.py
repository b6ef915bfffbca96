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
from hiltk.config.commands import KEEP, REBUILD, AdoptedConf, ForeignConf
from hiltk.data.adopt_questions import OPEN, SURE, Decider, Guess
from hiltk.data.adopt_state import (
    arm_facts,
    guess_gripper_unit,
    guess_interventions,
    guess_joint_unit,
    guess_joints,
    guess_success,
    image_facts,
    statistics_facts,
    stored_ee,
)
from hiltk.data.converted import Actions, Foreign, Output, guess_use, kept_actions, rebuilt_actions, settle_kept
from hiltk.data.foreign import foreign_spec, joint_columns, read_joints
from hiltk.data.lerobot_files import LeRobotFiles
from hiltk.data.lerobot_io import require_finite
from hiltk.data.recording import Recording, measured_robot, read_recording, stated_robot
from hiltk.errors import ConfigError, nearest
from hiltk.spec import STATE_KEY, GripperFormat, RobotSpec, Semantics, Spec


@dataclass(frozen=True)
class Adoption:
    """Everything needed to convert a dataset made elsewhere.

    Attributes:
        conf: its conventions, complete.
        robot: reset pose and locks, as stated or measured.
        facts: what was seen beside the questions: images, statistics, locks.
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
    wanted = decider.conf.cameras.values() or files.cameras
    facts = [(camera, image_facts(files, camera)) for camera in files.cameras if camera in wanted]
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
    robot = measured_robot(recording, kin)
    foreign = Foreign(files, conf, recording, output, kin)
    if decider.decide(guess_use(foreign)) == REBUILD:
        return Adoption(conf, recording, rebuilt_actions(foreign), robot, facts)
    kept = settle_kept(foreign, decider)
    return None if kept is None else Adoption(conf, recording, kept_actions(foreign, kept), robot, facts)


def adopt_as_stated(files: LeRobotFiles, decider: Decider, output: Output, kin: Kinematics) -> Adoption:
    """As `adopt`, but all actions are rebuilt and nothing is inferred except which dimensions are the joints.

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
    actions = rebuilt_actions(Foreign(files, conf, recording, output, kin))
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
    """The settings that adopt and fix-actions share."""
    shared = {f.name: getattr(conf, f.name) for f in fields(ForeignConf)}
    return ForeignConf(**(shared | changes))
