"""KIN: joints, poses and the arm's model that contradict each other."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from hiltk.arm.model import JOINTS
from hiltk.arm.units import ARM_JOINTS
from hiltk.checks.actions import LEARNS_ACTIONS
from hiltk.checks.rule import WRITERS, Reads, rule
from hiltk.checks.subject import LIKELY_RADIANS, DatasetSubject, Subjects
from hiltk.data.repair import asks_for_nothing
from hiltk.findings import Finding, Severity
from hiltk.spec import EE_POSITION

EE_ANGLES = ("ee.roll", "ee.pitch", "ee.yaw")
MOST_EE_ERROR_M, MOST_ANGLE_ERROR_RAD = 0.005, 0.1
CERTAIN_DEGREES = 7.0  # rad: 400 degrees, which no joint reaches
BEYOND_LIMIT_DEG, BEYOND_LIMIT_PERCENT = 5.0, 10.0
BEYOND_WORKSPACE_M = 0.01
RESET_WARNING_M, RESET_ERROR_M = 0.015, 0.025
LOCK_MEAN_DEG, LOCK_STD_DEG = 2.0, 1.0
LEAST_SPAN_M = 0.1
FOLLOW_DEG = 10.0
STUCK_STEPS = 5


@rule("KIN001", covers=("S2", "C14", "C7", "C8"), steps=LEARNS_ACTIONS)
def stale_end_effector(d: DatasetSubject) -> Iterator[Finding]:
    """The stored end effector disagrees with forward kinematics.

    Symptom:  none at all; the policy lacks half of its proprioception and does the same motion for every cube.
    Cause:    the pose was read from a simulation that joint mirroring does not move (frozen in every demonstration), or
              computed with another arm model, an old calibration offset or another convention for angles.
    Detected: against forward kinematics of the same row's joints, in the spec's units and frame.
              - the median distance of an episode is above 5 mm [frozen_end_effector, elbow_offset]
              - the median difference of an angle is above {MOST_ANGLE_ERROR_RAD:g} rad [other_angles]
    Fix:      recompute the state from the joints: adopt the dataset again (hiltk adopt, hiltk fix-actions).
    Source:   found in the code behind devlogs 045 and 086; 032, 035, 036 (offsets), 023 (angles).
    """
    stored = d.of_state(EE_POSITION)
    if stored is None or d.ee_as_stored is None:
        return
    ee_m, ee_rad = np.split(d.ee_as_stored, 2, axis=1)
    error = np.linalg.norm(stored - ee_m, axis=1)
    medians = np.array([np.median(error[a:b]) for a, b in d.bounds])
    bad = np.flatnonzero(medians > MOST_EE_ERROR_M)
    if len(bad):
        rows = np.isin(d.episode, bad)
        frozen = np.ptp(stored[rows], axis=0).max() < 1e-3 < np.ptp(ee_m[rows], axis=0).max()
        yield Finding(
            f"the stored end effector {'never moves' if frozen else 'is wrong'}: {1000 * np.median(medians[bad]):.0f} "
            f"mm from forward kinematics in {len(bad)} of {len(d.bounds)} episodes",
            where=f"{d.episodes(bad)}, {', '.join(EE_POSITION)} in observation.state",
            evidence={"error_m": float(np.median(medians[bad])), "episodes": len(bad)},
            fix="recompute the state from the joints; make sure that units and arm model are those of the recording",
        )
    elif (angles := d.of_state(EE_ANGLES)) is not None:
        turn = np.mod(angles - ee_rad + np.pi, 2 * np.pi) - np.pi
        worst = np.median(np.abs(turn), axis=0)
        if worst.max() > MOST_ANGLE_ERROR_RAD:
            yield Finding(
                f"the stored angles of the end effector are {np.round(worst, 2).tolist()} rad from forward kinematics",
                where=f"{', '.join(EE_ANGLES)} in observation.state",
                fix="another convention or model: recompute the state from the joints",
            )


@rule("KIN002", covers=("C4", "C1", "C3"), steps=LEARNS_ACTIONS)
def wrong_unit(d: DatasetSubject) -> Iterator[Finding]:
    """Joints are in another unit than the spec says, in all or some episodes.

    Symptom:  constant shaking with any learner: degrees in a network made for radians are 57 times too large.
    Cause:    use_degrees or use_radians differs between recording sessions, or from what the dataset says of itself.
    Detected: per episode, over the five arm joints.
              - in degrees, no value above {LIKELY_RADIANS:g}: no pose of the arm has every joint that near zero for a
                whole episode [radians, one_session_in_radians]
              - in radians, 1 % of values above {LIKELY_RADIANS:g} [degrees_said_to_be_radians]
              - in a dataset without a spec, some episodes that can only be radians beside some that can only be degrees
                [one_session_in_radians_without_a_spec]
    Fix:      leave these sessions out, or adopt them separately with foreign.joint_unit=radians.
    Source:   devlogs 028, 029, 043 and 046.
    """
    joints = d.joints_as_stored
    if joints is None:
        return
    arm = np.abs(joints[:, :ARM_JOINTS])
    largest = np.array([arm[a:b].max() for a, b in d.bounds])
    if d.spec is not None and d.joint_unit == "rad":
        high = np.array([np.quantile(arm[a:b].max(1), 0.99) for a, b in d.bounds])
        bad, other = np.flatnonzero(high > LIKELY_RADIANS), "degrees"
    else:
        small = largest < LIKELY_RADIANS
        mixed = d.spec is not None or (largest > CERTAIN_DEGREES).any()
        bad, other = np.flatnonzero(small & mixed), "radians"
    if len(bad):
        yield Finding(
            f"joints look like {other} in {len(bad)} of {len(d.bounds)} episodes: they reach {largest[bad].max():.3g}",
            where=f"{d.episodes(bad)}; {'the spec says ' + d.joint_unit if d.spec else 'the others are in degrees'}",
            fix="leave these episodes out, or adopt them separately",
            evidence={"largest": float(largest[bad].max()), "episodes": len(bad)},
        )


@rule("KIN003", covers=("C12", "C2"), steps=LEARNS_ACTIONS)
def beyond_limits(d: DatasetSubject) -> Iterator[Finding]:
    """Joints are beyond the limits of the arm that the spec describes.

    Symptom:  only one joint moves, or the arm jumps at reset; "negative values are not allowed".
    Cause:    another calibration or another arm: a reset pose of -104.84 degrees where the model ends at -100.
    Detected: 1st to 99th percentile of each joint. Calibrated ranges of two arms differ by a few degrees, which is no
              fault.
              - a joint more than {BEYOND_LIMIT_DEG:g} degrees outside its limits [beyond_the_model]
              - the gripper more than {BEYOND_LIMIT_PERCENT:g} of 100 outside its limits [jaws_beyond_their_range]
    Fix:      calibrate again, or use the model of the arm that was recorded (model_path).
    Source:   devlogs 030 and 062.
    """
    if d.spec is None or d.joints_deg is None or len(d.spec.robot.joints) != len(JOINTS):
        return
    if d.joint_unit != "deg" or any(j.unit == "rad" for j in d.spec.robot.joints):
        return
    low, high = np.quantile(d.joints_deg, (0.01, 0.99), axis=0)
    for i, joint in enumerate(d.spec.robot.joints):
        slack = BEYOND_LIMIT_DEG if i < ARM_JOINTS else BEYOND_LIMIT_PERCENT
        if joint.low < joint.high and (low[i] < joint.low - slack or high[i] > joint.high + slack):
            yield Finding(
                f"{joint.name} runs from {low[i]:.1f} to {high[i]:.1f}, its limits are {joint.low:.1f} to "
                f"{joint.high:.1f}",
                where="observation.state, 1st to 99th percentile",
                evidence={"low": float(low[i]), "high": float(high[i])},
                fix="calibrate again, or set model_path to the arm that was recorded",
            )


@rule("KIN004", covers=("C12",), steps=("train",), reads=Reads.together, severity=Severity.warning)
def outside_workspace(all_: Subjects) -> Iterator[Finding]:
    """Demonstrations leave the workspace bounds.

    Symptom:  the arm stops at an invisible wall that the demonstrator never met.
    Cause:    bounds of the environment that are smaller than what was demonstrated, or bounds in another frame.
    Detected: 1st to 99th percentile of the end effector (forward kinematics).
              - more than 1 cm outside the workspace of the dataset's own spec [narrow_bounds]
              - more than 1 cm outside the workspace of the environment that trains [narrow_bounds_of_the_environment]
    Fix:      set env.workspace_low_m and env.workspace_high_m to contain the demonstrations.
    Source:   devlog 062.
    """
    for d in all_.datasets:
        if d.ee_m is None or d.spec is None:
            continue
        low, high = np.quantile(d.ee_m, (0.01, 0.99), axis=0)
        for whose, spec in (("its own spec", d.spec), ("the environment", all_.target)):
            if spec is None or len(spec.robot.workspace_low_m) != 3:
                continue
            gap = np.maximum(spec.robot.workspace_low_m - low, high - spec.robot.workspace_high_m)
            if gap.max() > BEYOND_WORKSPACE_M:
                yield Finding(
                    f"the end effector leaves the workspace of {whose} by {1000 * gap.max():.0f} mm along "
                    f"{'xyz'[int(gap.argmax())]}",
                    where=f"from {np.round(low, 3).tolist()} to {np.round(high, 3).tolist()} m",
                    fix="widen env.workspace_low_m and env.workspace_high_m",
                    evidence={"outside_m": float(gap.max())},
                    subject=d.name,
                )


@rule("KIN005", covers=("C1",), steps=(*WRITERS, "train"), reads=Reads.together)
def reset_pose(all_: Subjects) -> Iterator[Finding]:
    """Episodes do not start at the reset pose.

    Symptom:  training starts 4 cm above where demonstrations start; hours lost until somebody measures it.
    Cause:    inverse kinematics that reports success in the wrong unit, or another reset target than in the recording.
    Detected: distance of the median first pose (forward kinematics) from robot.reset_ee_m, beyond the reset noise. The
              median of at least three episodes, so that one episode started by hand does not count.
              - 1.5 cm from the dataset's own is a warning [reset_a_little_elsewhere]
              - 2.5 cm from the dataset's own is an error [reset_elsewhere]
              - the same distances from that of the environment that trains [environment_that_resets_elsewhere]
    Fix:      set env.reset_ee_m to where the demonstrations start, or look at the reset on the robot.
    Source:   devlogs 028, 029 and 072.
    """
    for d in all_.datasets:
        if d.ee_m is None or d.spec is None or len(d.bounds) < 3:
            continue
        start = np.median(d.ee_m[[a for a, _ in d.bounds]], axis=0)
        for whose, spec in (("its own spec", d.spec), ("the environment", all_.target)):
            if spec is None or len(spec.robot.reset_ee_m) != 3:
                continue
            noise = np.array(spec.robot.reset_noise_m or [0.0, 0.0, 0.0])
            off = float(np.linalg.norm(np.maximum(np.abs(start - spec.robot.reset_ee_m) - noise, 0)))
            if off > RESET_WARNING_M:
                yield Finding(
                    f"episodes start {1000 * off:.0f} mm outside the reset area of {whose}",
                    where=f"median start {np.round(start, 3).tolist()}, reset_ee_m {spec.robot.reset_ee_m}",
                    fix="set env.reset_ee_m and env.reset_noise_m to where demonstrations start",
                    evidence={"off_m": off},
                    severity=Severity.error if off > RESET_ERROR_M else Severity.warning,
                    subject=d.name,
                )


@rule("KIN006", covers=("C5",), steps=LEARNS_ACTIONS)
def loose_lock(d: DatasetSubject) -> Iterator[Finding]:
    """A joint that the spec calls locked moves.

    Symptom:  policies trained with a locked wrist miss; 18 episodes had to be thrown away.
    Cause:    the lock was applied to commands but not to mirrored joints.
    Detected: - a standard deviation above {LOCK_STD_DEG:g} degree in an episode [loose_wrist]
              - a mean more than {LOCK_MEAN_DEG:g} degrees from robot.reset_joints in an episode
                [wrist_locked_elsewhere]
              - where that is not known, more than {LOCK_MEAN_DEG:g} degrees from the median over the dataset
                [wrist_locked_elsewhere_once]
    Fix:      record these episodes again; the lock belongs in the environment.
    Source:   devlog 047b.
    """
    if d.spec is None or d.joints_deg is None or not d.spec.robot.locked:
        return
    names = [joint.name for joint in d.spec.robot.joints]
    for name in d.spec.robot.locked:
        if name not in JOINTS[:ARM_JOINTS]:
            continue
        values = d.joints_deg[:, JOINTS.index(name)]
        known = len(d.spec.robot.reset_joints) == len(names) and name in names
        target = d.spec.robot.reset_joints[names.index(name)] if known else float(np.median(values))
        mean = np.array([values[a:b].mean() for a, b in d.bounds])
        std = np.array([values[a:b].std() for a, b in d.bounds])
        bad = np.flatnonzero((np.abs(mean - target) > LOCK_MEAN_DEG) | (std > LOCK_STD_DEG))
        if len(bad):
            source = "robot.reset_joints" if known else "the dataset's median: the spec says no angle"
            yield Finding(
                f"the locked {name} should stay at {target:.1f} degrees ({source}); it is at {mean[bad].min():.1f} to "
                f"{mean[bad].max():.1f}, spread {std[bad].max():.1f}",
                where=d.episodes(bad),
                fix="drop these episodes, or take it out of robot.locked if it may move",
                evidence={"target_deg": target, "spread_deg": float(std[bad].max()), "episodes": len(bad)},
            )


@rule("KIN007", covers=("A6", "C3"), steps=("fix-actions",))
def leader_and_follower(d: DatasetSubject) -> Iterator[Finding]:
    """The follower does not follow its leader.

    Symptom:  the follower ignores the leader, or pulls it along; episodes of a few frames.
    Cause:    leader in degrees and follower in -100..100; leader locked and follower driving it; ranges that differ.
    Detected: where actions are joint positions by name.
              - the median difference to the state over the first 10 frames of an episode is above {FOLLOW_DEG:g}
                degrees in some arm joint [a_leader_that_is_off]
              - the action lags the state instead of leading it: shifting it one frame back explains the motion over 20
                % better than shifting it forward, in 50 frames of motion [a_leader_that_trails]
    Fix:      the same norm mode and calibration for both arms; torque off on the leader.
    Source:   devlogs 003, 004, 005 and 043.
    """
    names = [n.removeprefix("main_").removesuffix(".pos") for n in d.files.names("action")] if d.has("action") else []
    if d.joints_as_stored is None or names[: len(JOINTS)] != list(JOINTS):
        return
    action, state = d.action[:, :ARM_JOINTS], d.joints_as_stored[:, :ARM_JOINTS]
    if d.joint_unit == "rad":
        action, state = np.rad2deg(action), np.rad2deg(state)
    if asks_for_nothing(action, columns=None).all():
        return  # zeros throughout are ACT001's
    gap = np.array(
        [np.median(np.abs(action[a : min(b, a + 10)] - state[a : min(b, a + 10)]), axis=0) for a, b in d.bounds]
    )
    bad = np.flatnonzero(gap.max(1) > FOLLOW_DEG)
    if len(bad):
        joint = JOINTS[int(gap[bad].max(0).argmax())]
        yield Finding(
            f"leader and follower differ by {gap[bad].max():.0f} degrees in {joint} as {len(bad)} episodes begin",
            where=d.episodes(bad),
            fix="use the same unit (use_degrees) and calibrate both arms; wait until they agree before recording",
            evidence={"difference_deg": float(gap[bad].max()), "episodes": len(bad)},
        )
        return
    moving = d.moves & (np.abs(d.to_next(state)).max(1) > 1.0)
    moving[0] = False
    rows = np.flatnonzero(moving)
    if len(rows) >= 50:
        leads = np.abs(action[rows] - state[rows + 1]).mean()
        lags = np.abs(action[rows] - state[rows - 1]).mean()
        if lags < 0.8 * leads:
            yield Finding(
                f"the leader trails the follower: {lags:.2f} degrees from its previous pose, {leads:.2f} from its next",
                where="columns action and observation.state",
                fix="torque off on the leader; record the leader's positions as actions",
                evidence={"lags_deg": float(lags), "leads_deg": float(leads)},
            )


@rule("KIN008", covers=("G7",), steps=LEARNS_ACTIONS)
def wrong_velocity(d: DatasetSubject) -> Iterator[Finding]:
    """Joint velocities do not match the change of the joint positions.

    Symptom:  velocities twice too large in training; a policy that is sluggish or nervous on the robot.
    Cause:    fps in the spec is not the rate of the loop (a camera that blocks), frames dropped, or episodes resampled.
    Detected: the loop must keep 90 % of its rate.
              - over all joints that move, the slope of stored velocities by the change since the previous row times fps
                is outside 0.9 to 1.1 [wrong_rate]
    Fix:      record again with a loop that keeps its rate, or set the true fps.
    Source:   vla-010.
    """
    joints, velocities = d.joints_as_stored, d.of_state([f"{j}.vel" for j in JOINTS])
    if joints is None or velocities is None:
        return
    change = np.zeros_like(joints)
    change[1:] = np.diff(joints, axis=0) * d.files.fps
    change[[a for a, _ in d.bounds]] = 0.0
    inside = np.ones(len(d), bool)
    if d.has("action_valid"):  # where frames are missing, nobody knows what was done
        inside[1:] = d.column("action_valid").astype(bool).ravel()[:-1]
    inside[[a for a, _ in d.bounds]] = False
    stored, expected = velocities[inside][:, :ARM_JOINTS], change[inside][:, :ARM_JOINTS]
    energy = float((expected**2).sum())
    if not inside.any() or energy < len(expected):
        return
    slope = float((stored * expected).sum()) / energy
    if not 0.9 <= slope <= 1.1:
        yield Finding(
            f"stored joint velocities are {slope:.2f} times the change of the positions at {d.files.fps:g} fps",
            where="observation.state",
            fix="the rate of the loop was not the one in the dataset: record again, or correct fps",
            evidence={"slope": slope},
        )


@rule("KIN009", covers=("C13",), steps=("train",), severity=Severity.warning)
def small_workspace(d: DatasetSubject) -> Iterator[Finding]:
    """The workspace is only a few centimetres wide.

    Symptom:  the arm hardly moves whatever the action.
    Cause:    bounds calibrated by moving the arm about for two seconds.
    Detected: - an axis of robot.workspace narrower than 10 cm [two_seconds_of_calibration]
    Fix:      measure the bounds over the whole table.
    Source:   devlog 017.
    """
    if d.spec is None or len(d.spec.robot.workspace_low_m) != 3 or len(d.spec.robot.workspace_high_m) != 3:
        return
    span = np.subtract(d.spec.robot.workspace_high_m, d.spec.robot.workspace_low_m)
    if span.min() < LEAST_SPAN_M:
        yield Finding(
            f"the workspace is {100 * span.min():.0f} cm wide along {'xyz'[int(span.argmin())]}",
            where=f"{d.spec.robot.workspace_low_m} to {d.spec.robot.workspace_high_m} m",
            fix="env.workspace_low_m and env.workspace_high_m; leave it if the task really is that small",
            evidence={"span_m": float(span.min())},
        )


@rule("KIN010", covers=("C9", "A7", "G7"), steps=LEARNS_ACTIONS)
def stuck_state(d: DatasetSubject) -> Iterator[Finding]:
    """Recorded joints do not change at all while actions command motion.

    Symptom:  violent moves when control comes back; policies that ignore proprioception.
    Cause:    a cached joint reading: the last command stored as the present position, or a bus that stopped answering.
              Or a robot that ignores its actions.
    Detected: real joints tremble in the last digit.
              - at least {STUCK_STEPS} rows in a row with identical joints while every action exceeds 0.3 of its range,
                in more than 10 % of all rows that have such actions [cached_joints]
    Fix:      read the encoders every step.
    Source:   devlogs 024, 031 and 087.
    """
    if d.joints_deg is None or not d.ee_deltas or not d.action.shape[1]:
        return
    pushed = d.moves & (np.abs(np.nan_to_num(d.action[:, :3])).max(1) > 0.3)
    still = pushed & (np.abs(d.to_next(d.joints_deg)).max(1) == 0)
    held = _runs(still, STUCK_STEPS)
    if held.sum() > 0.1 * max(1, pushed.sum()):
        yield Finding(
            f"joints do not change at all in {held.sum()} rows whose actions command motion",
            where=d.episodes(np.unique(d.episode[held])),
            fix="read the joints from the robot at every step, never from the last command",
            evidence={"rows": int(held.sum()), "pushed_rows": int(pushed.sum())},
        )


def _runs(flags: np.ndarray, least: int) -> np.ndarray:
    """The rows of ``flags`` that are part of at least ``least`` in a row."""
    edges = np.flatnonzero(np.diff(np.r_[False, flags, False].astype(int)))
    kept = np.zeros_like(flags)
    for start, stop in zip(edges[::2], edges[1::2], strict=True):
        kept[start:stop] = stop - start >= least
    return kept
