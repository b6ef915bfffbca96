"""Datasets made elsewhere, converted to hiltk's conventions: what their numbers mean is stated by config.

Only what can be checked is checked (units against the range of values); nothing is guessed here, see `adopt.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from tqdm import tqdm

from hiltk.arm.calibration import Calibration, from_old_zero
from hiltk.arm.kinematics import Kinematics
from hiltk.arm.model import EE_SITE, JOINTS, model_hash
from hiltk.arm.state import STATE_DIMS, proprioception, state_spec
from hiltk.arm.units import ARM_JOINTS, to_degrees
from hiltk.config.commands import GRIPPER_UNITS, JOINT_UNITS, NONE, OLD_ZERO, ForeignConf
from hiltk.config.setting import one_of
from hiltk.data.episode import Episode, Source
from hiltk.data.lerobot_files import NO_COLOURS, RECORD_AGAIN, LeRobotFiles
from hiltk.data.lerobot_io import DatasetWriter, episode_rows, require_finite
from hiltk.data.repair import Rebuilt
from hiltk.data.resources import require_memory
from hiltk.data.rewrite import write_beside_pictures
from hiltk.data.timeline import Timeline, every_row
from hiltk.errors import ConfigError, UserError, nearest
from hiltk.observation import fit_image
from hiltk.reward_rule import settle
from hiltk.spec import (
    IMAGE_PREFIX,
    STATE_KEY,
    ActionSpec,
    Dimension,
    ImageSpec,
    RewardSpec,
    RobotSpec,
    Spec,
    StateSpec,
    is_inside,
)

# No arm stays within 3.5 degrees of zero in every joint, and none reaches 7 radians (400 degrees).
MOST_RADIANS = 7.0
LEAST_DEGREES = 3.5
MOST_NORMALIZED = 100.01
RANGES = "degrees at 100 of the five joints, in the arm's order, half of each range that was calibrated"


def read_joints(files: LeRobotFiles, conf: ForeignConf, column: str = STATE_KEY, *, finite: bool = True) -> np.ndarray:
    """Joint positions of every row, (N, 6) in LeRobot degrees and gripper percent; (N, 5) where there is no gripper.

    Args:
        column: the state, or a column of joint commands in the same units.
        finite: refuse NaN; rows with NaN are otherwise returned as such.

    Raises:
        ConfigError: an unknown unit.
        UserError: too few dimensions, an unknown joint name, NaN, or values that contradict the stated unit.
    """
    one_of("foreign.joint_unit", conf.joint_unit, JOINT_UNITS)
    one_of("foreign.gripper_unit", conf.gripper_unit, GRIPPER_UNITS)
    count = ARM_JOINTS if conf.gripper_unit == "none" else len(JOINTS)
    values = files.column(column)
    if finite:
        require_finite(values, files.names(column), column=column, where=str(files.path))
    values = values.reshape(len(values), -1)
    stored = values[:, joint_columns(files, values.shape[1], conf.joints, column, count)].astype(np.float64)
    known_rows = stored if finite else stored[np.isfinite(stored).all(1)]
    if len(known_rows):
        _check_unit(known_rows[:, :ARM_JOINTS], conf.joint_unit, files, column)
    joints = stored.copy()
    joints[:, :ARM_JOINTS] = _arm_degrees(stored[:, :ARM_JOINTS], conf)
    if count > ARM_JOINTS:
        joints[:, ARM_JOINTS] = _gripper_percent(stored[:, ARM_JOINTS], conf.gripper_unit)
    return joints


def _arm_degrees(stored: np.ndarray, conf: ForeignConf) -> np.ndarray:
    """Arm joints (N, 5) as stored in degrees, counted from LeRobot's zero.

    Raises:
        UserError: ±100 of a range that nobody states.
    """
    if conf.joint_unit == "normalized":
        degrees = _calibrated(stored, conf)
    else:
        degrees = np.rad2deg(stored) if conf.joint_unit == "radians" else stored
    return from_old_zero(degrees) if conf.zero == OLD_ZERO else degrees


def _calibrated(stored: np.ndarray, conf: ForeignConf) -> np.ndarray:
    if conf.ranges_deg:
        return stored / 100 * np.array(conf.ranges_deg)
    if not conf.calibration_path:
        raise UserError(
            "joints in ±100 of a calibrated range are no angles without that calibration",
            where="foreign.joint_unit=normalized",
            fix="foreign.calibration_path=<the arm's file under ~/.cache/huggingface/lerobot/calibration/robots>, or "
            f"foreign.ranges_deg=[...]: {RANGES}",
        )
    return Calibration.load(conf.calibration_path).to_degrees(stored)


def joint_columns(
    files: LeRobotFiles, size: int, joints: list[str], column: str = STATE_KEY, count: int = len(JOINTS)
) -> list[int]:
    """Where the joints lie in a column: by the given names, else the first ``count``."""
    names = files.names(column)
    if size < count:
        fix = " (without a gripper: foreign.gripper_unit=none gripper=none)" if size == ARM_JOINTS else ""
        raise UserError(
            f"{column} has {size} dimensions, the arm has {count} joints",
            where=str(files.path),
            fix=f"the measured position of every joint is needed{fix}",
        )
    numbered = all(name.isdigit() for name in joints)
    if not joints or (column != STATE_KEY and not set(joints) & set(names) and not (numbered and size > count)):
        return list(range(count))
    if len(joints) != count:
        raise ConfigError(f"{len(joints)} joints are named, the arm has {count}", where="foreign.joints")
    for name in joints:
        if name not in names and not (name.isdigit() and int(name) < size):
            there = ", ".join(names) or "no names"
            by_number = f"or by number, from 0 to {size - 1}"
            raise UserError(
                f"{column} has no '{name}'", where=f"{files.path} has: {there}", fix=nearest(name, names) or by_number
            )
    return [names.index(name) if name in names else int(name) for name in joints]


def _check_unit(arm: np.ndarray, unit: str, files: LeRobotFiles, column: str) -> None:
    largest = float(np.abs(arm).max())
    if unit == "normalized" and largest > MOST_NORMALIZED:
        raise UserError(
            f"the joints are said to be in ±100 of their range, but values reach {largest:.4g}",
            where=f"{column} in {files.path}",
            fix="foreign.joint_unit=degrees",
        )
    other = "degrees" if unit == "radians" else "radians"
    if (unit == "degrees" and largest < LEAST_DEGREES) or (unit == "radians" and largest > MOST_RADIANS):
        raise UserError(
            f"the joints are said to be in {unit}, but no value exceeds {largest:.3g}"
            if unit == "degrees"
            else f"the joints are said to be in radians, but values reach {largest:.4g}",
            where=f"{column} in {files.path}",
            fix=f"foreign.joint_unit={other}",
        )


def _gripper_percent(values: np.ndarray, unit: str) -> np.ndarray:
    if unit == "radians":
        joints = np.zeros((len(values), len(JOINTS)))
        joints[:, ARM_JOINTS] = values
        return to_degrees(joints)[:, ARM_JOINTS]
    if unit == "percent_as_radians":  # a loader that took the gripper for an angle, too (devlog 046)
        return np.rad2deg(values)
    return values * 100 if unit == "unit" else values


@dataclass(frozen=True)
class ForeignCamera:
    """One of their cameras under our name."""

    key: str
    image: ImageSpec


def find_cameras(files: LeRobotFiles, conf: ForeignConf) -> list[ForeignCamera]:
    """The cameras to take over, in the order of the config; all of them, by their own names, where it names none.

    Raises:
        ConfigError: a crop of no camera, or outside of its pictures.
        UserError: a camera does not exist.
    """
    last = {key: key.removeprefix(IMAGE_PREFIX).replace(".", "_") for key in files.cameras}
    wanted = conf.cameras or {name: key for key, name in last.items()}
    for key in wanted.values():
        if key not in files.cameras:
            there = ", ".join(files.cameras) or "none"
            if key in files.depth_cameras:
                raise UserError(
                    f"'{key}' is {NO_COLOURS}; pictures need three",
                    where=f"foreign.cameras; cameras with colours: {there}",
                    fix="leave it out",
                )
            raise UserError(
                f"the dataset lacks the camera '{key}'",
                where=f"{files.path}; its cameras: {there}",
                fix=nearest(key, files.cameras) or "set foreign.cameras={ours: theirs}",
            )
    for name in conf.crop:
        if name not in wanted:
            known = f"the cameras are: {', '.join(wanted)}"
            raise ConfigError(
                "there is no such camera", where=f"foreign.crop.{name}", fix=nearest(name, wanted) or known
            )
    return [ForeignCamera(key, _image_spec(files, name, key, conf)) for name, key in wanted.items()]


def _image_spec(files: LeRobotFiles, name: str, key: str, conf: ForeignConf) -> ImageSpec:
    native = files.size(key)
    crop = list(conf.crop.get(name, []))
    height, width = crop[2:] if len(crop) == 4 else native
    image = ImageSpec(name, conf.image_height or height, conf.image_width or width, *native, crop)
    if crop and not is_inside(image):
        raise ConfigError(
            f"[top,left,height,width] is not inside the camera's {native[0]} x {native[1]} pixels (height x width)",
            where=f"foreign.crop.{name}={crop}",
        )
    return image


def foreign_spec(files: LeRobotFiles, conf: ForeignConf, action: ActionSpec, model_path: str) -> Spec:
    """The spec of the dataset that comes out."""
    with_gripper = conf.gripper_unit != "none"
    limits = Kinematics(model_path).limits_deg
    units = ["deg"] * ARM_JOINTS + ["percent"]
    calibration = Calibration.load(conf.calibration_path) if conf.calibration_path else None
    joints = [Dimension(n, u, float(low), float(high)) for n, u, (low, high) in zip(JOINTS, units, limits, strict=True)]
    return Spec(
        task=conf.task or _one_task(files),
        fps=files.fps,
        state=state_spec(with_gripper=with_gripper),
        action=action,
        images=[camera.image for camera in find_cameras(files, conf)],
        reward=RewardSpec(),
        robot=RobotSpec(
            name="so101",
            model_hash=model_hash(model_path),
            ee_site=EE_SITE,
            joints=joints if with_gripper else joints[:ARM_JOINTS],
            calibration_id=calibration.id if calibration else "",
            calibration_hash=calibration.hash if calibration else "",
        ),
    )


def _one_task(files: LeRobotFiles) -> str:
    """What all episodes say they show; empty where they differ."""
    sentences = sorted(set(files.episode_tasks()))
    return sentences[0] if len(sentences) == 1 else ""


def as_stored_spec(files: LeRobotFiles, conf: ForeignConf, action: ActionSpec) -> Spec:
    """The spec of a dataset whose arm has no model: what the numbers of state and actions mean, nobody says."""
    return Spec(
        task=conf.task or _one_task(files),
        fps=files.fps,
        state=StateSpec(nameless(files, STATE_KEY)),
        action=action,
        images=[camera.image for camera in find_cameras(files, conf)],
        robot=RobotSpec(name=files.robot_type),
    )


def nameless(files: LeRobotFiles, column: str) -> list[Dimension]:
    """The dimensions of a column as it is stored: names where there are some, neither units nor ranges."""
    names, size = files.names(column), int(np.prod(files.features[column]["shape"]))
    if len(set(names)) != size:
        names = [f"{column.split('.')[-1]}.{number}" for number in range(size)]
    return [Dimension(name) for name in names]


def start_joints(joints: np.ndarray, starts: np.ndarray) -> list[float]:
    """Where episodes start, as a recording shows it: the median over the first rows ``starts`` of (N, J) joints."""
    return [round(float(angle), 4) for angle in np.median(joints[starts], axis=0)]


# ---------------------------------------------------------------- writing


def write_converted(
    files: LeRobotFiles,
    conf: ForeignConf,
    spec: Spec,
    joints_deg: np.ndarray,
    rebuilt: Rebuilt,
    kin: Kinematics,
    folder: Path,
    frames: Timeline | None = None,
) -> Spec:
    """Write a full hiltk dataset into ``folder``; returns its spec, with statistics.

    Pictures that stay as they are, frame by frame and at their size, are copied without decoding them; so memory and
    time are those of the numbers. Otherwise every frame is decoded and written again.

    Args:
        joints_deg: (M, 6) per frame, and so are ``rebuilt`` and the episodes of ``frames``; or the state as stored
            (M, D), with ``foreign.kinematics=none``.
        frames: which rows become frames; None: all.

    Raises:
        ConfigError: a successful episode that does not exist, or more success frames than frames.
        UserError: a camera's file is damaged, or an episode's frames do not fit into memory.
    """
    frames = frames or every_row(files)
    cameras, tasks = find_cameras(files, conf), [conf.task or said for said in files.episode_tasks()]
    progress = partial(tqdm, total=len(frames.bounds), desc="converting", unit="episode", mininterval=0.5)
    if frames.takes_all_of(files) and not any(_is_resized(camera.image) for camera in cameras):
        episodes = foreign_episodes(files, conf, spec, joints_deg, rebuilt, kin, frames, pictures=False)
        rows = (episode_rows(episode, after) for episode, after in progress(episodes))
        names = {camera.key: camera.image.key for camera in cameras}
        return write_beside_pictures(files, folder, spec, names, rows, [task or "task" for task in tasks])
    _require_memory(files, cameras)
    episodes = foreign_episodes(files, conf, spec, joints_deg, rebuilt, kin, frames)
    with DatasetWriter(folder, spec, video=_keeps_video(files, cameras)) as writer:
        for (found, after), task in zip(progress(episodes), tasks, strict=True):
            writer.add(found, after=after, task=task)
    return writer.spec


def _is_resized(image: ImageSpec) -> bool:
    return bool(image.crop) or (image.height, image.width) != (image.native_height, image.native_width)


def _keeps_video(files: LeRobotFiles, cameras: list[ForeignCamera]) -> bool:
    """Full-size frames that came as video stay video; resized ones are small enough to be kept exactly."""
    resized = any(_is_resized(camera.image) for camera in cameras)
    return not resized and any(files.features[camera.key]["dtype"] == "video" for camera in cameras)


def _require_memory(files: LeRobotFiles, cameras: list[ForeignCamera]) -> None:
    """An episode's frames are in memory at once, as they come out."""
    longest = max(stop - start for start, stop in files.bounds)
    needed = 2 * longest * sum(3 * camera.image.height * camera.image.width for camera in cameras)
    require_memory(
        needed,
        f"the longest episode has {longest} frames, which need",
        where=str(files.path),
        fix="set foreign.image_height and foreign.image_width to a smaller size, or split the episode",
    )


def foreign_episodes(
    files: LeRobotFiles,
    conf: ForeignConf,
    spec: Spec,
    joints_deg: np.ndarray,
    rebuilt: Rebuilt,
    kin: Kinematics,
    frames: Timeline | None = None,
    *,
    pictures: bool = True,
) -> Iterator[tuple[Episode, Episode | None]]:
    """Every episode with proprioception, rebuilt actions, success and reward; and what follows its end, if anything.

    Args and errors as for `write_converted`; without ``pictures`` the observations are numbers only.
    """
    frames = frames or every_row(files)
    shown, human = _success(files, conf)[frames.rows], interventions(files, conf)
    cameras = find_cameras(files, conf) if pictures else []
    streams = {camera.image.key: _fitted(files, camera) for camera in cameras}
    for number, (start, stop) in enumerate(frames.bounds):
        first, last = files.bounds[number]
        wanted = frames.rows[start:stop] - first
        observations = {key: _taken(stream, last - first, wanted) for key, stream in streams.items()}
        state = joints_deg[start:stop]
        if conf.kinematics != NONE:
            state = _states(kin, state, frames.steps[start:stop], spec)
        observations[STATE_KEY] = state.astype(np.float32)
        yield split_at_success(
            observations,
            rebuilt.actions[start : stop - 1],
            shown[start:stop],
            spec.reward,
            valid=rebuilt.valid[start : stop - 1],
            human=None if human is None else human[frames.rows[start : stop - 1]],
        )


def _fitted(files: LeRobotFiles, camera: ForeignCamera) -> Iterator[np.ndarray]:
    """A camera's frames, cropped and resized one by one."""
    for frame in files.frames(camera.key):
        yield fit_image(frame, camera.image)


def _taken(stream: Iterator[np.ndarray], length: int, wanted: np.ndarray) -> np.ndarray:
    """Of the next ``length`` frames those with the given numbers."""
    chosen = set(wanted.tolist())
    taken = [frame for number, frame in zip(range(length), stream, strict=False) if number in chosen]
    if len(taken) < len(wanted):
        raise UserError(f"a camera has {len(wanted) - len(taken)} frames too few in one episode", fix=RECORD_AGAIN)
    return np.stack(taken)


def _states(kin: Kinematics, joints_deg: np.ndarray, steps: np.ndarray, spec: Spec) -> np.ndarray:
    """Proprioception (T+1, D) of one episode in the spec's layout; velocities across missing frames are means."""
    padded = np.zeros((len(joints_deg), len(JOINTS)))
    padded[:, : joints_deg.shape[1]] = joints_deg
    states = proprioception(kin, padded, None, spec.fps)
    states[1:, len(JOINTS) : 2 * len(JOINTS)] /= steps[:-1, None]
    return states[:, [d.name in spec.state.names for d in STATE_DIMS]]


def interventions(files: LeRobotFiles, conf: ForeignConf) -> np.ndarray | None:
    """Where a human had taken over from the policy, per row (N,) bool; None where the dataset does not say."""
    if not conf.intervention_column:
        return None
    values = files.column(conf.intervention_column).astype(np.float64)
    require_finite(values, [], column=conf.intervention_column, where=str(files.path))
    return values.reshape(len(values), -1)[:, 0] > 0


def _success(files: LeRobotFiles, conf: ForeignConf) -> np.ndarray:
    """Whether success shows, per row (N,) bool: by a column, or in the last frames of episodes."""
    _check_success(files, conf)
    if conf.success_column:
        values = files.column(conf.success_column).astype(np.float64)
        require_finite(values, [], column=conf.success_column, where=str(files.path))
        return values.reshape(len(values), -1)[:, 0] > 0
    shown = np.zeros(files.bounds[-1][1], bool)
    for number, (_, stop) in enumerate(files.bounds):
        if conf.success_last_frames and (not conf.successful_episodes or number in conf.successful_episodes):
            shown[stop - conf.success_last_frames : stop] = True
    return shown


def _check_success(files: LeRobotFiles, conf: ForeignConf) -> None:
    if conf.success_column and (conf.success_last_frames or conf.successful_episodes):
        raise ConfigError(
            "success is said twice", where="foreign.success_column and foreign.success_last_frames", fix="keep one"
        )
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
    observations: dict[str, np.ndarray],
    actions: np.ndarray,
    success: np.ndarray,
    rule: RewardSpec,
    *,
    valid: np.ndarray | None = None,
    human: np.ndarray | None = None,
) -> tuple[Episode, Episode | None]:
    """An episode up to the moment the success rule would have ended it, and what was recorded after that.

    Args:
        observations: per key (T+1, ...).
        actions: (T, A).
        success: (T+1,) bool, per observation.
        rule: hold time and rewards.
        valid: (T,) bool, which actions are known; None: all.
        human: (T,) bool, where a human had taken over from a policy; None: it is a demonstration throughout.
    """
    # A recording shorter than the rule's min_steps succeeds all the same. Most recorders stop at the very frame that
    # shows success. (A run judges the frames anew by its own rule, `hiltk.rewards.demonstrations`.)
    settled = settle(success, replace(rule, min_steps=min(rule.min_steps, len(actions))), closed=True)
    taken_over = np.zeros(len(actions), bool) if human is None else human
    source = np.full(len(actions), Source.demo) if human is None else np.where(human, Source.human, Source.policy)
    whole = Episode(
        observations=observations,
        actions=actions,
        rewards=settled.rewards,
        success=success,
        source=source.astype(np.int64),
        is_intervention=taken_over,
        action_valid=np.ones(len(actions), bool) if valid is None else valid,
        terminated=False,
        truncated=False,
        rule=rule,
    )
    episode = _piece(whole, 0, settled.steps, terminated=settled.terminated)
    after = _piece(whole, settled.steps, len(actions), terminated=False)
    return episode, after if settled.steps < len(actions) else None


def _piece(whole: Episode, start: int, stop: int, *, terminated: bool) -> Episode:
    """Transitions ``start`` to ``stop`` of an episode."""
    return Episode(
        observations={k: v[start : stop + 1] for k, v in whole.observations.items()},
        actions=whole.actions[start:stop],
        rewards=whole.rewards[start:stop],
        success=whole.success[start : stop + 1],
        source=whole.source[start:stop],
        is_intervention=whole.is_intervention[start:stop],
        action_valid=whole.action_valid[start:stop],
        terminated=terminated,
        truncated=not terminated,
        rule=whole.rule,
    )
