"""`hiltk fix-actions`: rebuild zero or missing actions from joint states, and bring datasets from elsewhere over."""

from __future__ import annotations

import json

import numpy as np
from rich.console import Console

from hiltk.arm.kinematics import Kinematics
from hiltk.arm.model import JOINTS
from hiltk.arm.state import action_spec
from hiltk.arm.units import ARM_JOINTS
from hiltk.artifacts.store import Artifact, resolve
from hiltk.artifacts.writing import Draft, create
from hiltk.checks.engine import expand
from hiltk.checks.gate import examine_written, notes, refuse
from hiltk.config.commands import FixActionsConf, StatedConf
from hiltk.data.consistency import require_consistent
from hiltk.data.foreign import foreign_spec, read_joints, start_joints, write_converted
from hiltk.data.lerobot_files import LeRobotFiles
from hiltk.data.lerobot_io import ACTION, SPEC_FILE, dataset_spec, require_finite
from hiltk.data.repair import broken_steps, end_effector, frozen_steps, rebuild, rebuild_commanded
from hiltk.data.rewrite import replace_columns
from hiltk.data.servo import EXPLAINS, Servo, estimated_goals, fit_servo, replayed
from hiltk.data.timeline import Timeline, timeline
from hiltk.errors import ConfigError, UserError, nearest
from hiltk.reports.repair_report import (
    RepairReport,
    action_numbers,
    make_report,
    plot_report,
    print_report,
    servo_facts,
)
from hiltk.spec import STATE_KEY, GripperFormat, Semantics, Spec

JOINT_NAMES = tuple(f"{joint}.pos" for joint in JOINTS)
EE_NAMES = ("ee.x", "ee.y", "ee.z")
FK_TOLERANCE_M = 0.005  # a stored end effector further than this from the joints' was not this arm's
FK_ROWS = 10_000  # as many rows tell whose arm it was
LOCK_TOLERANCE_DEG = 2.0  # of a locked joint's mean, and of its spread half of that
LEADS_BY = -0.5  # frames: goals later than this after the motion follow the arm instead of leading it


def run(cfg: FixActionsConf) -> Artifact:
    """Write a new version of a dataset with its actions rebuilt; the input is left as it is.

    A dataset of hiltk's keeps its own action format, and episodes whose actions are sound; a dataset made
    elsewhere is converted whole, as ``cfg.foreign`` and the action keys say.

    Raises:
        ConfigError: a convention is unknown or out of range.
        UserError: the dataset cannot be used, or there is nothing to fix.
    """
    _check(cfg)
    source = resolve(cfg.dataset, "datasets", cfg.root)
    own = (source.path / SPEC_FILE).is_file()
    files = LeRobotFiles(source.path, gaps=not own)
    kin = Kinematics(cfg.model_path)
    with create("datasets", cfg.name, root=cfg.root, step="fix-actions", cfg=cfg, inputs=[source], seed=0) as draft:
        convert = _repair if own else _convert
        report = convert(files, kin, cfg, draft)
        assert draft.spec is not None, "both ways end with it"
        checked = examine_written("fix-actions", draft.path, cfg.name, draft.spec, cfg.checks.ignore)
        refuse(checked, "fix-actions")
        (draft.path / "repair.json").write_text(json.dumps(report.to_dict(), indent=2) + "\n")
        plot_report(report, draft.path / "repair.png")
        changed = {"before": action_numbers(files), "after": action_numbers(LeRobotFiles(draft.path))}
        draft.notes = {"parent": source.ref, **changed, **report.summary(), **notes(checked)}
    print_report(report, draft.done.ref, Console())
    return draft.done


def _check(cfg: FixActionsConf) -> None:
    expand(cfg.checks.ignore, "checks.ignore")
    for key in ("action_scale_m", "gripper_step"):
        if not getattr(cfg, key) > 0:
            raise ConfigError("must be above 0", where=f"{key}={getattr(cfg, key)}")
    if not 0 < cfg.gripper_threshold <= 1:
        raise ConfigError("must be in (0, 1]", where=f"gripper_threshold={cfg.gripper_threshold}")


# ---------------------------------------------------------------- datasets of hiltk's


def _repair(files: LeRobotFiles, kin: Kinematics, cfg: FixActionsConf, draft: Draft) -> RepairReport:
    """Replace the actions of broken episodes; everything else is copied, cameras included."""
    spec = dataset_spec(files.path)
    _require_own_format(cfg, spec, files)
    joints = _joints(spec, files, kin)
    actions, valid = files.column(ACTION), files.column("action_valid").astype(bool)
    frames = timeline(files)
    broken = _broken(files, actions, joints, cfg)
    if not broken.any() and not cfg.force:
        raise UserError(
            f"nothing to fix: the actions of all {len(files.bounds)} episodes explain their motion",
            where=str(files.path),
            fix="use the dataset as it is, or force=true to rebuild every action",
        )
    frozen = frozen_steps(joints, frames.episode)
    known = frames.known & ~frozen
    rebuilt = rebuild(joints, frames.episode, spec.action, kin, threshold=cfg.gripper_threshold, known=known)
    rows = broken | cfg.force
    replaced = {
        ACTION: np.where(rows[:, None], rebuilt.actions, actions).astype(np.float32),
        "action_valid": np.where(rows, rebuilt.valid, valid),
    }
    replace_columns(files, draft.path, replaced)
    spec.action.semantics = Semantics.achieved
    draft.spec = spec
    locked = {n: spec.robot.reset_joints[JOINTS.index(n)] for n in spec.robot.locked if spec.robot.reset_joints}
    notes = [*_frame_notes(frames, frozen & rows), *_lock_notes(joints, frames, locked)]
    return make_report(rebuilt, frames.episode, rows, spec, foreign=False, notes=notes)


def _require_own_format(cfg: FixActionsConf, spec: Spec, files: LeRobotFiles) -> None:
    """Refuse settings that contradict what the dataset says of itself; defaults do not count as said.

    Raises:
        ConfigError: naming the first.
    """
    own = {
        "action_scale_m": spec.action.scale_m,
        "gripper": spec.action.gripper,
        "gripper_step": spec.action.gripper_step,
        "foreign": StatedConf(),
        "method": Semantics.achieved,
    }
    for key, value in own.items():
        default = StatedConf() if key == "foreign" else getattr(FixActionsConf, key)
        if getattr(cfg, key) not in (value, default):
            said = "foreign.*" if key == "foreign" else f"{key}={_word(getattr(cfg, key))}"
            has = f"it has {key}={_word(value)}"
            if key in ("foreign", "method"):  # hiltk's recorders store actions, no goals of joints
                has = "it is one of hiltk's"
            raise ConfigError(
                "the dataset's own spec decides what its actions mean",
                where=f"{said}, but {has}: {files.path}",
                fix=f"leave {said.split('=')[0]} out; these settings are for datasets made elsewhere",
            )


def _word(value: object) -> str:
    return value.name if isinstance(value, GripperFormat | Semantics) else str(value)


def _joints(spec: Spec, files: LeRobotFiles, kin: Kinematics) -> np.ndarray:
    """The joint positions (N, 6) in the state; (N, 5) where the state has no gripper."""
    names, has_gripper = spec.state.names, spec.action.gripper is not GripperFormat.none
    wanted = JOINT_NAMES if has_gripper or JOINT_NAMES[-1] in names else JOINT_NAMES[:ARM_JOINTS]
    missing = [n for n in wanted if n not in names]
    if missing:
        raise UserError(
            f"the state lacks {', '.join(missing)}", where=str(files.path), fix="actions are rebuilt from the joints"
        )
    if len(spec.action.dims) != 3 + has_gripper:
        raise UserError("the actions are no end-effector deltas", where=f"{files.path}: {', '.join(spec.action.names)}")
    state = files.column(STATE_KEY)
    require_finite(state, names, column=STATE_KEY, where=str(files.path))
    joints = state[:, [names.index(n) for n in wanted]].astype(np.float64)
    if all(n in names for n in EE_NAMES):
        _require_same_arm(state[:, [names.index(n) for n in EE_NAMES]], joints, kin, files)
    return joints


def _require_same_arm(stored: np.ndarray, joints: np.ndarray, kin: Kinematics, files: LeRobotFiles) -> None:
    """Refuse a kinematic model that does not put the stored end effector (N, 3) where the joints do."""
    some = slice(None, None, 1 + len(stored) // FK_ROWS)
    gap = float(np.median(np.linalg.norm(stored[some] - kin.forward(joints[some])[0], axis=1)))
    if gap > FK_TOLERANCE_M:
        raise UserError(
            f"the stored end effector is {1000 * gap:.0f} mm from where this arm model puts it",
            where=str(files.path),
            fix="set model_path= to the arm it was recorded with",
        )


def _broken(files: LeRobotFiles, actions: np.ndarray, joints: np.ndarray, cfg: FixActionsConf) -> np.ndarray:
    """Which rows need their action rebuilt, (N,) bool; the last of an episode goes with the step before it."""
    human = files.column("is_intervention").astype(bool)
    broken = np.zeros(len(actions), bool)
    for start, stop in files.bounds:
        acts = slice(start, stop - 1)
        broken[acts] = broken_steps(actions[acts], joints[start:stop], human[acts], zero_below=cfg.zero_below)
        broken[stop - 1] = broken[stop - 2] if stop - start > 1 else False
    return broken


# ---------------------------------------------------------------- datasets made elsewhere


def _convert(files: LeRobotFiles, kin: Kinematics, cfg: FixActionsConf, draft: Draft) -> RepairReport:
    """Write a full hiltk dataset: state, actions, success and reward; cameras renamed and resized."""
    conf = cfg.foreign
    _check_conventions(conf, cfg.method)
    require_consistent(files)
    frames = timeline(files, conf.fps)
    joints = frames.numbers(read_joints(files, conf))
    action = action_spec(cfg.action_scale_m, cfg.gripper, cfg.gripper_step, cfg.method)
    spec = foreign_spec(files, conf, action, cfg.model_path)
    spec.fps, spec.robot.locked = frames.fps, list(conf.locked)
    if conf.locked:  # the angles that were stated, which is what KIN006 holds the episodes to
        seen = start_joints(joints, np.array([start for start, _ in frames.bounds]))
        spec.robot.reset_joints = [conf.locked.get(name, at) for name, at in zip(JOINTS, seen, strict=False)]
    frozen = frozen_steps(joints, frames.episode)
    notes = [*_frame_notes(frames, frozen), *_lock_notes(joints, frames, conf.locked)]
    known = frames.known & ~frozen
    if cfg.method is Semantics.commanded:
        goals = _goals(files, conf, frames)
        servo = fit_servo(goals, joints, frames.episode)
        _require_leading(servo, conf.commands)
        lost = ~np.isfinite(goals).all(1)
        goals = np.where(lost[:, None], estimated_goals(servo, joints, frames.episode), goals)
        rebuilt = rebuild_commanded(
            joints, goals, frames.episode, action, kin, threshold=cfg.gripper_threshold, known=known
        )
        asked = end_effector(goals, kin) - rebuilt.positions_m
        gap = end_effector(replayed(servo, goals, joints, frames.episode), kin) - rebuilt.positions_m
        facts = servo_facts(servo, 1000 * np.linalg.norm(gap, axis=1), float(lost.mean()))
    else:
        rebuilt = rebuild(joints, frames.episode, action, kin, threshold=cfg.gripper_threshold, known=known)
        asked, facts = None, None
    draft.spec = write_converted(files, conf, spec, joints, rebuilt, kin, draft.path, frames)
    rows = np.ones(len(joints), bool)
    return make_report(rebuilt, frames.episode, rows, spec, foreign=True, notes=notes, servo=facts, asked_m=asked)


def _check_conventions(conf: StatedConf, method: Semantics) -> None:
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


def _goals(files: LeRobotFiles, conf: StatedConf, frames: Timeline) -> np.ndarray:
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


def _frame_notes(frames: Timeline, frozen: np.ndarray) -> list[str]:
    """What is wrong with the rows, in sentences."""
    notes = frames.notes
    if frozen.any():
        notes.append(f"{int(frozen.sum())} steps have a joint state that froze while the arm moved; they are masked")
    return notes


def _lock_notes(joints: np.ndarray, frames: Timeline, locked: dict[str, float]) -> list[str]:
    """Joints that are said to be locked, and were not (failures.md, C5)."""
    notes = []
    for name, angle in locked.items():
        parts = [joints[start:stop, JOINTS.index(name)] for start, stop in frames.bounds]
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
