"""Datasets made elsewhere, brought over to hiltk's conventions: what their numbers mean is stated by config.

Only what can be checked is checked (units against the range of values); nothing is guessed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from hiltk.arm.kinematics import Kinematics
from hiltk.arm.model import EE_SITE, JOINTS, model_hash
from hiltk.arm.state import STATE_DIMS, proprioception
from hiltk.arm.units import ARM_JOINTS, to_degrees
from hiltk.config import ForeignConf
from hiltk.data.episode import Episode, Source
from hiltk.data.lerobot_files import LeRobotFiles, take
from hiltk.data.lerobot_io import require_finite
from hiltk.data.repair import Rebuilt
from hiltk.errors import ConfigError, UserError, nearest
from hiltk.observation import fit_image
from hiltk.spec import IMAGE_PREFIX, STATE_KEY, ActionSpec, Dimension, ImageSpec, RewardSpec, RobotSpec, Spec, StateSpec

JOINT_UNITS = ("degrees", "radians")
GRIPPER_UNITS = ("percent", "unit", "radians")
# No arm stays within 3.5 degrees of zero in every joint, and none reaches 7 radians (400 degrees).
MOST_RADIANS = 7.0
LEAST_DEGREES = 3.5


def read_joints(files: LeRobotFiles, conf: ForeignConf) -> np.ndarray:
    """Joint positions of every row, (N, 6) in LeRobot degrees and gripper percent.

    Raises:
        ConfigError: an unknown unit.
        UserError: too few dimensions, an unknown joint name, NaN, or values that contradict the stated unit.
    """
    for key, unit, known in (
        ("joint_unit", conf.joint_unit, JOINT_UNITS),
        ("gripper_unit", conf.gripper_unit, GRIPPER_UNITS),
    ):
        if unit not in known:
            raise ConfigError(f"unknown unit '{unit}'", where=f"foreign.{key}", fix=f"one of: {', '.join(known)}")
    state = files.column(STATE_KEY).astype(np.float64)
    require_finite(state, files.names(STATE_KEY), column=STATE_KEY, where=str(files.path))
    stored = state[:, _joint_columns(files, state.shape[1], conf.joints)]
    _check_unit(stored[:, :ARM_JOINTS], conf.joint_unit, files)
    joints = stored.copy()
    if conf.joint_unit == "radians":
        joints[:, :ARM_JOINTS] = np.rad2deg(stored[:, :ARM_JOINTS])
    joints[:, ARM_JOINTS] = _gripper_percent(stored[:, ARM_JOINTS], conf.gripper_unit)
    return joints


def _joint_columns(files: LeRobotFiles, size: int, joints: list[str]) -> list[int]:
    """Where the six joints lie in the state: by the given names, else the first six."""
    if not joints:
        if size < len(JOINTS):
            raise UserError(
                f"the state has {size} dimensions, the arm has {len(JOINTS)} joints",
                where=f"{STATE_KEY} in {files.path}",
                fix="hiltk fix-actions needs the measured position of every joint",
            )
        return list(range(len(JOINTS)))
    if len(joints) != len(JOINTS):
        raise ConfigError(f"{len(joints)} joints are named, the arm has {len(JOINTS)}", where="foreign.joints")
    names = files.names(STATE_KEY)
    for name in joints:
        if name not in names:
            there = ", ".join(names) or "no names"
            raise UserError(f"the state has no '{name}'", where=f"{files.path} has: {there}", fix=nearest(name, names))
    return [names.index(name) for name in joints]


def _check_unit(arm: np.ndarray, unit: str, files: LeRobotFiles) -> None:
    largest = float(np.abs(arm).max())
    other = {"degrees": "radians", "radians": "degrees"}[unit]
    if (unit == "degrees" and largest < LEAST_DEGREES) or (unit == "radians" and largest > MOST_RADIANS):
        raise UserError(
            f"the joints are said to be in {unit}, but no value exceeds {largest:.3g}"
            if unit == "degrees"
            else f"the joints are said to be in radians, but values reach {largest:.4g}",
            where=f"{STATE_KEY} in {files.path}",
            fix=f"foreign.joint_unit={other}",
        )


def _gripper_percent(values: np.ndarray, unit: str) -> np.ndarray:
    if unit == "radians":
        joints = np.zeros((len(values), len(JOINTS)))
        joints[:, ARM_JOINTS] = values
        return to_degrees(joints)[:, ARM_JOINTS]
    return values * 100 if unit == "unit" else values


@dataclass(frozen=True)
class Camera:
    """One of their cameras under our name."""

    key: str
    image: ImageSpec


def find_cameras(files: LeRobotFiles, conf: ForeignConf) -> list[Camera]:
    """The cameras to take over, in the order of the config; all of them, by their own names, where it names none.

    Raises:
        UserError: a camera does not exist.
    """
    last = {key: key.removeprefix(IMAGE_PREFIX).replace(".", "_") for key in files.cameras}
    wanted = conf.cameras or {name: key for key, name in last.items()}
    for key in wanted.values():
        if key not in files.cameras:
            there = ", ".join(files.cameras) or "none"
            raise UserError(
                f"the dataset lacks the camera '{key}'",
                where=f"{files.path}; its cameras: {there}",
                fix=nearest(key, files.cameras) or "set foreign.cameras={ours: theirs}",
            )
    return [Camera(key, _image_spec(files, name, key, conf)) for name, key in wanted.items()]


def _image_spec(files: LeRobotFiles, name: str, key: str, conf: ForeignConf) -> ImageSpec:
    height, width = files.first_frame(key).shape[:2]
    return ImageSpec(
        name, conf.image_height or height, conf.image_width or width, native_height=height, native_width=width
    )


def foreign_spec(files: LeRobotFiles, conf: ForeignConf, action: ActionSpec, model_path: str) -> Spec:
    """The spec of the dataset that comes out."""
    limits = Kinematics(model_path).limits_deg
    units = ["deg"] * ARM_JOINTS + ["percent"]
    joints = [Dimension(n, u, float(low), float(high)) for n, u, (low, high) in zip(JOINTS, units, limits, strict=True)]
    return Spec(
        task=conf.task or next(iter(files.tasks()), ""),
        fps=files.fps,
        state=StateSpec(list(STATE_DIMS)),
        action=action,
        images=[camera.image for camera in find_cameras(files, conf)],
        reward=RewardSpec(),
        robot=RobotSpec(name="so101", model_hash=model_hash(model_path), ee_site=EE_SITE, joints=joints),
    )


def foreign_episodes(
    files: LeRobotFiles, conf: ForeignConf, spec: Spec, joints_deg: np.ndarray, rebuilt: Rebuilt, kin: Kinematics
) -> Iterator[tuple[Episode, Episode | None]]:
    """Every episode with proprioception, rebuilt actions, success and reward; and what follows its end, if anything.

    Raises:
        ConfigError: a successful episode that does not exist, or more success frames than frames.
        UserError: a camera's file is damaged.
    """
    _check_success(files, conf)
    cameras = find_cameras(files, conf)
    streams = {camera.key: files.frames(camera.key) for camera in cameras}
    for number, (start, stop) in enumerate(files.bounds):
        frames = {c.image.key: [fit_image(f, c.image) for f in take(streams[c.key], stop - start)] for c in cameras}
        observations = {k: np.stack(v) for k, v in frames.items()}
        observations[STATE_KEY] = proprioception(kin, joints_deg[start:stop], None, files.fps)
        success = np.zeros(stop - start, bool)
        if conf.success_last_frames and (not conf.successful_episodes or number in conf.successful_episodes):
            success[-conf.success_last_frames :] = True
        yield split_at_success(observations, rebuilt.actions[start : stop - 1], success, spec.reward)


def _check_success(files: LeRobotFiles, conf: ForeignConf) -> None:
    unknown = [e for e in conf.successful_episodes if not 0 <= e < len(files.bounds)]
    if unknown:
        raise ConfigError(
            f"there is no episode {unknown[0]}", where=f"foreign.successful_episodes; {len(files.bounds)} episodes"
        )
    if conf.successful_episodes and not conf.success_last_frames:
        raise ConfigError(
            "it is not said which frames of the successful episodes show success",
            where="foreign.successful_episodes",
            fix="foreign.success_last_frames=10",
        )
    shortest = min(stop - start for start, stop in files.bounds)
    if not 0 <= conf.success_last_frames < shortest:
        raise ConfigError(
            f"the shortest episode has {shortest} frames, the first must not show success",
            where=f"foreign.success_last_frames={conf.success_last_frames}",
        )


def split_at_success(
    observations: dict[str, np.ndarray], actions: np.ndarray, success: np.ndarray, rule: RewardSpec
) -> tuple[Episode, Episode | None]:
    """An episode up to the moment the success rule would have ended it, and what was recorded after that.

    Args:
        observations: per key (T+1, ...).
        actions: (T, A).
        success: (T+1,) bool, per observation.
        rule: hold time and rewards.
    """
    end = _end_step(success, rule, len(actions))
    ends = bool(success.any())
    rewards = np.full(len(actions), rule.step_value, np.float32)
    if ends:
        rewards[end - 1] = rule.success_value
        rewards[end:] = 0.0
    episode = _piece(observations, actions, success, rewards, 0, end, terminated=ends)
    after = _piece(observations, actions, success, rewards, end, len(actions), terminated=False)
    return episode, after if end < len(actions) else None


def _end_step(success: np.ndarray, rule: RewardSpec, length: int) -> int:
    """How many transitions the episode has under the rule."""
    if not success.any():
        return length
    return min(length, max(int(success.argmax()) + rule.hold_steps - 1, rule.min_steps))


def _piece(
    observations: dict[str, np.ndarray],
    actions: np.ndarray,
    success: np.ndarray,
    rewards: np.ndarray,
    start: int,
    stop: int,
    *,
    terminated: bool,
) -> Episode:
    count = stop - start
    return Episode(
        observations={k: v[start : stop + 1] for k, v in observations.items()},
        actions=actions[start:stop],
        rewards=rewards[start:stop],
        success=success[start : stop + 1],
        source=np.full(count, Source.demo, np.int64),
        is_intervention=np.zeros(count, bool),
        action_valid=np.ones(count, bool),
        terminated=terminated,
        truncated=not terminated,
    )
