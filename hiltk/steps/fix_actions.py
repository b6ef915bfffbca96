"""`hiltk fix-actions`: rebuild zero or missing actions from joint states, and bring datasets from elsewhere over."""

from __future__ import annotations

import json

import numpy as np
from rich.console import Console
from tqdm import tqdm

from hiltk.arm.kinematics import Kinematics
from hiltk.arm.state import action_spec
from hiltk.artifacts.store import Artifact, Draft, create, resolve
from hiltk.config import FixActionsConf, ForeignConf
from hiltk.data.foreign import foreign_episodes, foreign_spec, read_joints
from hiltk.data.lerobot_files import LeRobotFiles
from hiltk.data.lerobot_io import ACTION, SPEC_FILE, Columns, DatasetWriter, dataset_spec, read_columns
from hiltk.data.repair import is_broken, rebuild
from hiltk.data.rewrite import replace_columns
from hiltk.errors import ConfigError, UserError
from hiltk.reports.repair_report import RepairReport, make_report, plot_report, print_report
from hiltk.spec import GripperFormat, Semantics, Spec

JOINT_NAMES = (
    "shoulder_pan.pos",
    "shoulder_lift.pos",
    "elbow_flex.pos",
    "wrist_flex.pos",
    "wrist_roll.pos",
    "gripper.pos",
)
EE_NAMES = ("ee.x", "ee.y", "ee.z")
FK_TOLERANCE_M = 0.005  # a stored end effector further than this from the joints' was not this arm's


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
    files = LeRobotFiles(source.path)
    kin = Kinematics(cfg.model_path)
    with create("datasets", cfg.name, root=cfg.root, step="fix-actions", cfg=cfg, inputs=[source], seed=0) as draft:
        convert = _repair if (source.path / SPEC_FILE).is_file() else _convert
        report = convert(files, kin, cfg, draft)
        (draft.path / "repair.json").write_text(json.dumps(report.to_dict(), indent=2) + "\n")
        plot_report(report, draft.path / "repair.png")
        draft.notes = {"parent": source.ref, **report.summary()}
    print_report(report, draft.done.ref, Console())
    return draft.done


def _check(cfg: FixActionsConf) -> None:
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
    columns = read_columns(files, spec, finite=False)
    joints = _joints(columns, spec, files)
    _require_same_arm(columns, spec, joints, kin, files)
    episode = _episode_numbers(files)
    broken = _broken(files, columns, joints, cfg.zero_below)
    if not broken.any() and not cfg.force:
        raise UserError(
            f"nothing to fix: the actions of all {len(broken)} episodes explain their motion",
            where=str(files.path),
            fix="use the dataset as it is, or force=true to rebuild every action",
        )
    chosen = np.ones_like(broken) if cfg.force else broken
    rebuilt = rebuild(joints, episode, spec.action, kin, threshold=cfg.gripper_threshold)
    rows = chosen[episode]
    replaced = {
        ACTION: np.where(rows[:, None], rebuilt.actions, columns.action),
        "action_valid": np.where(rows, rebuilt.valid, columns.flags["action_valid"]),
    }
    replace_columns(files, draft.path, replaced)
    spec.action.semantics = Semantics.achieved
    draft.spec = spec
    return make_report(rebuilt, episode, chosen, spec, foreign=False)


def _require_own_format(cfg: FixActionsConf, spec: Spec, files: LeRobotFiles) -> None:
    """Refuse settings that contradict what the dataset says of itself; defaults do not count as said.

    Raises:
        ConfigError: naming the first.
    """
    own = {
        "action_scale_m": spec.action.scale_m,
        "gripper": spec.action.gripper,
        "gripper_step": spec.action.gripper_step,
        "foreign": ForeignConf(),
    }
    for key, value in own.items():
        default = ForeignConf() if key == "foreign" else getattr(FixActionsConf, key)
        if getattr(cfg, key) not in (value, default):
            said = "foreign.*" if key == "foreign" else f"{key}={_word(getattr(cfg, key))}"
            has = "it is one of hiltk's" if key == "foreign" else f"it has {key}={_word(value)}"
            raise ConfigError(
                "the dataset's own spec decides what its actions mean",
                where=f"{said}, but {has}: {files.path}",
                fix=f"leave {said.split('=')[0]} out; these settings are for datasets made elsewhere",
            )


def _word(value: object) -> str:
    return value.name if isinstance(value, GripperFormat) else str(value)


def _joints(columns: Columns, spec: Spec, files: LeRobotFiles) -> np.ndarray:
    """The joint positions (N, 6) in the state."""
    names = spec.state.names
    missing = [n for n in JOINT_NAMES if n not in names]
    if missing:
        raise UserError(
            f"the state lacks {', '.join(missing)}", where=str(files.path), fix="actions are rebuilt from the joints"
        )
    if len(spec.action.dims) != 3 + (spec.action.gripper is not GripperFormat.none):
        raise UserError("the actions are no end-effector deltas", where=f"{files.path}: {', '.join(spec.action.names)}")
    return columns.state[:, [names.index(n) for n in JOINT_NAMES]].astype(np.float64)


def _require_same_arm(columns: Columns, spec: Spec, joints: np.ndarray, kin: Kinematics, files: LeRobotFiles) -> None:
    """Refuse a kinematic model that does not put the stored end effector where the joints do."""
    names = spec.state.names
    if not all(n in names for n in EE_NAMES):
        return
    stored = columns.state[:, [names.index(n) for n in EE_NAMES]]
    gap = float(np.median(np.linalg.norm(stored - kin.forward(joints)[0], axis=1)))
    if gap > FK_TOLERANCE_M:
        raise UserError(
            f"the stored end effector is {1000 * gap:.0f} mm from where this arm model puts it",
            where=str(files.path),
            fix="set model_path= to the arm it was recorded with",
        )


def _episode_numbers(files: LeRobotFiles) -> np.ndarray:
    lengths = [stop - start for start, stop in files.bounds]
    return np.repeat(np.arange(len(lengths)), lengths)


def _broken(files: LeRobotFiles, columns: Columns, joints: np.ndarray, zero_below: float) -> np.ndarray:
    """Which episodes need repair, (E,) bool."""
    return np.array(
        [
            is_broken(columns.action[start : stop - 1], joints[start:stop], zero_below=zero_below)
            for start, stop in files.bounds
        ]
    )


# ---------------------------------------------------------------- datasets made elsewhere


def _convert(files: LeRobotFiles, kin: Kinematics, cfg: FixActionsConf, draft: Draft) -> RepairReport:
    """Write a full hiltk dataset: state, actions, success and reward; cameras renamed and resized."""
    conf = cfg.foreign
    joints = read_joints(files, conf)
    action = action_spec(cfg.action_scale_m, cfg.gripper, cfg.gripper_step, Semantics.achieved)
    episode = _episode_numbers(files)
    rebuilt = rebuild(joints, episode, action, kin, threshold=cfg.gripper_threshold)
    spec = foreign_spec(files, conf, action, cfg.model_path)
    episodes = foreign_episodes(files, conf, spec, joints, rebuilt, kin)
    with DatasetWriter(draft.path, spec, video=_keeps_video(files, spec)) as writer:
        for found, after in tqdm(episodes, total=len(files.bounds), desc="converting", unit="episode", mininterval=0.5):
            writer.add(found, after=after)
    draft.spec = writer.spec
    return make_report(rebuilt, episode, np.ones(len(files.bounds), bool), spec, foreign=True)


def _keeps_video(files: LeRobotFiles, spec: Spec) -> bool:
    """Full-size frames that came as video stay video; resized ones are small enough to be kept exactly."""
    resized = any((i.height, i.width) != (i.native_height, i.native_width) for i in spec.images)
    return not resized and any(files.features[camera]["dtype"] == "video" for camera in files.cameras)
