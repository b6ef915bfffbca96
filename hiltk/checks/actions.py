"""ACT: actions that contradict the arm's motion."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from hiltk.arm.units import ARM_JOINTS
from hiltk.checks.rule import Reads, rule
from hiltk.checks.subject import DatasetSubject, Subjects
from hiltk.data.repair import (
    BROKEN_SHARE,
    COASTS_S,  # noqa: F401 (named in an explanation)
    LEAST_PATH_DEG,
    NOISE_DEG,
    asks_for_nothing,
    last_rows,
    silenced,
)
from hiltk.findings import Finding, Severity
from hiltk.spec import Semantics

SLACK = 1e-3  # rounding beyond an action's range
LEAST_PATH_M, LEAST_ROWS = 0.03, 12  # less motion than this shows no direction
LEAST_FIT, MOST_YAW_DEG = 0.7, 45.0
SLOPE = (0.5, 2.0)  # of achieved by asked-for displacement
LEAST_SLOPE_OF_AXIS = 0.2
LEAST_JOINT_STEP_DEG = 0.3  # three ticks of a servo's encoder
MOST_CLIPPED = 1 / 3

LEARNS_ACTIONS = ("bc-pretrain", "train")  # what writes a dataset is added by `rule`
FIX_ACTIONS = "hiltk fix-actions rebuilds them from the joints"


def silent_motion(d: DatasetSubject, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Per episode (E,): degrees moved in ``rows``, and how many of these under a zero or missing action."""
    if d.step_deg is None or not d.action.shape[1]:
        return None
    steps = np.where((d.step_deg > NOISE_DEG) & rows, d.step_deg, 0.0)
    return d.total(steps), d.total(np.where(silent_actions(d), steps, 0.0))


def silent_actions(d: DatasetSubject) -> np.ndarray:
    """(N,) bool: the action is zero or missing; of end-effector deltas only the translation counts."""
    deltas = d.ee_deltas or d.action.shape[1] in (3, 4)
    return asks_for_nothing(d.action, columns=3 if deltas else None)


@rule("ACT001", covers=("A1",), steps=LEARNS_ACTIONS)
def zero_actions(d: DatasetSubject) -> Iterator[Finding]:
    """Actions are zero while the arm moves.

    Symptom:  the policy shakes and goes nowhere; critic losses in the tens of thousands; "action stats: min 0, max 0".
    Cause:    the leader's joints were mirrored without a kinematic model, and the recorder stored zeros as actions.
    Detected: per episode, over {BROKEN_SHARE:%} of the arm's motion happens under such an action. Motion is what
              counts, not frames: a pause with a zero action is sound, at any frame rate. Steps below {NOISE_DEG:g}
              degrees are no motion.
              - an action below 1e-6 [all_actions_zero, actions_of_two_episodes_zero]
              - an action that is missing [actions_missing]
              Or over {BROKEN_SHARE:%} of the runs of zero actions that last longer than {COASTS_S:g} s, in which an arm
              comes to rest, go on for longer than that while it moves:
              - a part of each episode lost [actions_lost_for_a_while]
    Fix:      hiltk fix-actions.
    Source:   devlog 044, which looked at the first 100 frames only.
    """
    if (found := silent_motion(d, d.moves)) is None:
        return
    moved, silent = found
    bad = (moved >= LEAST_PATH_DEG) & (silent > BROKEN_SHARE * moved)
    assert d.step_deg is not None  # or there was no motion to speak of
    bad[d.episode[silenced(silent_actions(d) & d.moves, d.step_deg, d.bounds, d.files.fps)]] = True
    if bad.any():
        share = silent[bad].sum() / moved[bad].sum()
        yield Finding(
            f"{share:.0%} of the motion in {bad.sum()} of {len(d.bounds)} episodes happens under zero actions",
            where=f"{d.episodes(np.flatnonzero(bad))}, column action",
            evidence={"silent_share": float(share), "episodes": int(bad.sum())},
            fix=FIX_ACTIONS,
        )


@rule("ACT002", covers=("A2",), steps=LEARNS_ACTIONS)
def zero_interventions(d: DatasetSubject) -> Iterator[Finding]:
    """Corrections by a human are zero while the arm moves.

    Symptom:  the policy learns that a human does nothing; it stops whenever somebody would have helped.
    Cause:    the intervention's joints were mirrored, its end-effector action was not computed.
    Detected: - over all rows marked is_intervention, more than {BROKEN_SHARE:%} of the motion happens under an action
                below 1e-6 [interventions_are_zero]
    Fix:      hiltk fix-actions; then look at how interventions are recorded.
    Source:   devlog 045.
    """
    if not d.has("is_intervention"):
        return
    found = silent_motion(d, d.moves & d.column("is_intervention").astype(bool))
    if found is not None and found[0].sum() >= LEAST_PATH_DEG and found[1].sum() > BROKEN_SHARE * found[0].sum():
        yield Finding(
            f"{found[1].sum() / found[0].sum():.0%} of the motion during interventions happens under zero actions",
            where=f"{d.episodes(np.flatnonzero(found[1]))}, column action",
            evidence={"silent_share": float(found[1].sum() / found[0].sum())},
            fix=FIX_ACTIONS,
        )


@rule("ACT003", covers=("A3",), steps=LEARNS_ACTIONS)
def impossible_actions(d: DatasetSubject) -> Iterator[Finding]:
    """Invalid actions: outside their range, not a number, or in an episode's last row.

    Symptom:  one frame per episode with actions of 90 among actions below 1; losses with regular spikes.
    Cause:    the last frame keeps the recorder's raw joint command, or has no action and is used all the same.
    Detected: - a value outside the range the spec gives [raw_joints_in_the_last_frame]
              - NaN where the action counts as valid [an_action_that_is_no_number]
              - the last row of an episode marked valid [last_frames_count_as_actions]
              - the last row of an episode not marked as an end [ends_are_not_marked]
    Fix:      hiltk fix-actions masks last rows; drop episodes with values out of range.
    Source:   devlogs 027 and 044.
    """
    if d.spec is None or d.action.shape[1] != len(d.spec.action.dims):
        return
    ends = last_rows(d.episode)
    for column, wanted in (("action_valid", False), ("next.done", True)):
        wrong = ends & (d.column(column).astype(bool) != wanted) if d.has(column) else np.zeros(len(d), bool)
        if wrong.any():
            yield Finding(
                f"the last row of {wrong.sum()} episodes has {column}={not wanted}: no action follows it",
                where=d.episodes(d.episode[wrong]),
                evidence={"episodes": int(wrong.sum())},
                fix=f"set {column} there, or record again",
            )
    low, high = (np.array([getattr(dim, side) for dim in d.spec.action.dims]) for side in ("low", "high"))
    known = low < high
    outside = known & ((d.action < low - SLACK) | (d.action > high + SLACK))
    bad = d.moves & (outside | ~np.isfinite(d.action)).any(1)
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        values = ", ".join(f"{n}={v:.4g}" for n, v in zip(d.spec.action.names, d.action[row], strict=True))
        yield Finding(
            f"{bad.sum()} actions leave their range or are no numbers, e.g. {values}",
            where=f"{d.episodes(np.unique(d.episode[bad]))}, first in row {row}",
            evidence={"actions": int(bad.sum())},
            fix="drop these episodes, or rebuild their actions with hiltk fix-actions force=true",
        )


def direction(norms: np.ndarray, products: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Angle in degrees from commanded displacements a to achieved ones b, and their correlation once rotated by it.

    Args:
        norms: (..., 2) a.a and b.b, summed over the rows.
        products: (..., 2) a.b and a x b, summed over the rows.
    """
    dot, cross = products[..., 0], products[..., 1]
    fit = np.hypot(dot, cross) / np.maximum(np.sqrt(norms[..., 0] * norms[..., 1]), 1e-12)
    return np.degrees(np.arctan2(cross, dot)), fit


@rule("ACT004", covers=("A4",), steps=LEARNS_ACTIONS)
def rotated_actions(d: DatasetSubject) -> Iterator[Finding]:
    """Actions point in another direction than the arm moves.

    Symptom:  the arm drifts to the right when the cube is ahead; policies from the simulator fail on the arm.
    Cause:    actions in another frame: one simulator faces -y, the arm and hiltk face +x; half of a dataset
              transformed, half not; actions shuffled against their states.
    Detected: horizontal displacements by forward kinematics against the commanded ones. Sound recordings correlate with
              0.85 or more.
              - the angle between them in an episode is more than {MOST_YAW_DEG:g} degrees and, rotated by it, they
                correlate above {LEAST_FIT:g}: another frame [simulator_frame, half_in_another_frame]
              - over the whole dataset they correlate below {LEAST_FIT:g} at the best delay of 0 to 2 frames: the
                actions are not this motion's [shuffled]
    Fix:      rebuild with hiltk fix-actions force=true; find out which sessions were transformed.
    Source:   devlogs 034, 035, 051, 054 and 058.
    """
    if d.pushed is None:
        return
    asked, got = d.pushed
    sums = d.total(_products(asked, got))
    angle, fit = direction(sums[:, :2], sums[:, 2:])
    enough = (np.sqrt(sums[:, 0] * sums[:, 1]) > 0) & (d.total(np.hypot(*got[:, :2].T)) > LEAST_PATH_M)
    turned = np.flatnonzero(enough & (fit > LEAST_FIT) & (np.abs(angle) > MOST_YAW_DEG))
    turned = turned[d.total(np.ones(len(d)))[turned] >= LEAST_ROWS]
    if len(turned):
        yield Finding(
            f"the arm moves at {np.median(angle[turned]):+.0f} degrees to its actions",
            where=d.episodes(turned),
            evidence={"turned_deg": float(np.median(angle[turned])), "episodes": len(turned)},
            fix="these actions are in another frame: hiltk fix-actions force=true rebuilds them in the base's",
        )
    elif enough.any() and len(d) >= 2 * LEAST_ROWS and (best := _best_fit(d, asked, got)) < LEAST_FIT:
        yield Finding(
            f"actions hardly correlate with the arm's motion: {best:.2f}",
            where="column action against forward kinematics",
            evidence={"correlation": best},
            fix="see whether actions belong to these episodes; hiltk fix-actions force=true rebuilds them",
        )


def _products(asked: np.ndarray, got: np.ndarray) -> np.ndarray:
    """a.a, b.b, a.b and a x b of the horizontal parts, (N, 4)."""
    a, b = asked[:, :2], got[:, :2]
    dot, cross = (a * b).sum(1), a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]
    return np.stack([(a**2).sum(1), (b**2).sum(1), dot, cross], axis=1)


def _best_fit(d: DatasetSubject, asked: np.ndarray, got: np.ndarray) -> float:
    """Correlation of all three axes, at the delay that suits it best."""
    fits = []
    for delay in range(3):
        same = d.episode[delay:] == d.episode[: len(d) - delay]
        a, b = asked[: len(d) - delay][same], got[delay:][same]
        fits.append((a * b).sum() / max(np.sqrt((a**2).sum() * (b**2).sum()), 1e-12))
    return float(max(fits))


@rule("ACT005", covers=("A5", "A7"), steps=LEARNS_ACTIONS)
def wrong_scale(d: DatasetSubject) -> Iterator[Finding]:
    """The arm moves much more or much less than its actions command.

    Symptom:  motion twenty times too slow; or one axis that does not respond at all.
    Cause:    a scale applied twice (0.05 x 0.02), the wrong scale in the spec, or a robot that ignores actions.
    Detected: slope of achieved against commanded displacement, where they correlate. Rebuilt actions at their limit are
              left out: clipping loses motion.
              - outside {SLOPE[0]:g} to {SLOPE[1]:g} over all axes (sound recordings: 0.86 to 1.24) [scaled_twice,
                half_the_scale_in_the_spec]
              - {LEAST_SLOPE_OF_AXIS:g} to {SLOPE[0]:g} of commands, which may lead the arm by some steps, is a warning
                only (servos that lag by a frame, with gain 0.6: 0.37) [commands_that_lead]
              - below {LEAST_SLOPE_OF_AXIS:g} in one axis that is used [dead_axis]
    Fix:      set action_scale_m to what the robot was driven with; hiltk fix-actions force=true.
    Source:   devlogs 024, 036 and 031.
    """
    if d.pushed is None or d.spec is None:
        return
    asked, got = d.pushed
    if d.spec.action.semantics is Semantics.achieved:
        inside = (np.abs(asked) < (1 - SLACK) * d.spec.action.scale_m).all(1)
        asked, got = asked[inside], got[inside]
    used, product = (asked**2).sum(0), (asked * got).sum(0)
    if np.abs(got).sum() < LEAST_PATH_M or product.sum() <= 0.5 * np.sqrt(used.sum() * (got**2).sum()):
        return  # no motion, or none that correlates with the actions: that is ACT004's
    enough = used > LEAST_ROWS * (0.2 * d.spec.action.scale_m) ** 2
    slope, slopes = product.sum() / max(used.sum(), 1e-12), product / np.maximum(used, 1e-12)
    if not SLOPE[0] <= slope <= SLOPE[1]:
        leads = d.spec.action.semantics is Semantics.commanded and LEAST_SLOPE_OF_AXIS <= slope < SLOPE[0]
        wrong = "the scale is wrong or applied twice; rebuild with hiltk fix-actions force=true"
        yield Finding(
            f"the arm moves {slope:.2g} times as far as its actions command",
            where=f"action.scale_m={d.spec.action.scale_m:g}",
            fix=f"nothing, if these commands lead an arm whose servos lag; else {wrong}" if leads else wrong,
            severity=Severity.warning if leads else Severity.error,
            evidence={"slope": float(slope)},
        )
    elif (dead := enough & (np.abs(slopes) < LEAST_SLOPE_OF_AXIS)).any():
        names = ", ".join(n for n, is_dead in zip(d.spec.action.names, dead, strict=False) if is_dead)
        yield Finding(
            f"the arm does not respond to {names}",
            where=f"slopes of achieved against commanded motion: {np.round(slopes, 2).tolist()}",
            evidence={n: float(s) for n, s in zip(d.spec.action.names, slopes, strict=False)},
            fix="make sure that the robot was sent these actions: drive each axis by itself once",
        )


@rule("ACT006", covers=("A5",), steps=("train",), severity=Severity.warning)
def below_servo_resolution(d: DatasetSubject) -> Iterator[Finding]:
    """Half of a full action is below the servos' resolution.

    Symptom:  small actions do nothing, the arm moves in jerks.
    Cause:    a very small action scale: at 0.01 x 0.02 m the joints should move by 0.01 degrees.
    Detected: - at the dataset's median pose, half an action along some axis moves no joint by {LEAST_JOINT_STEP_DEG:g}
                degrees; a warning only, since a simulated arm has no such limit [tiny_scale]
    Fix:      raise env.action_scale_m, or lower fps.
    Source:   devlogs 024 and 036.
    """
    if d.spec is None or not d.ee_deltas or d.joints_deg is None or d.chain is None:
        return
    pose = np.deg2rad(np.nanmedian(d.joints_deg[:, :ARM_JOINTS], axis=0))
    nudged = d.chain.poses(np.concatenate([pose[None], pose + 1e-4 * np.eye(ARM_JOINTS)]))[:, :3, 3]
    jacobian = (nudged[1:] - nudged[0]).T / 1e-4
    steps = np.rad2deg(np.linalg.pinv(jacobian) * 0.5 * d.spec.action.scale_m)
    least = float(np.abs(steps).max(0).min())
    if least < LEAST_JOINT_STEP_DEG:
        yield Finding(
            f"half an action moves the joints by {least:.2f} degrees, servos resolve about {LEAST_JOINT_STEP_DEG}",
            where=f"action.scale_m={d.spec.action.scale_m:g}",
            fix="raise env.action_scale_m (fix-actions: action_scale_m), or record at a lower fps",
            evidence={"least_joint_step_deg": least},
        )


@rule("ACT009", covers=("A8",), steps=LEARNS_ACTIONS, reads=Reads.together)
def unknown_actions(all_: Subjects) -> Iterator[Finding]:
    """Nobody says what range the actions of a dataset have.

    Symptom:  a cloned policy gives the same command everywhere: a network of -1 to 1 learns from joint angles of 90.
    Cause:    joints and actions of an arm without a model were taken over as they are stored.
    Detected: - the spec gives an action dimension no range [actions_as_somebody_stored_them]
    Fix:      adopt again with the arm's model (foreign.model_path); train-classifier, inspect and curation need none.
    Source:   datasets of other arms, adopted with foreign.kinematics=none.
    """
    for d in all_.datasets:
        unknown = [dim.name for dim in d.spec.action.dims if not dim.low < dim.high] if d.spec else []
        if unknown:
            yield Finding(
                f"nobody says what range {len(unknown)} of its action dimensions have: {', '.join(unknown[:6])}",
                where=f"robot {d.spec.robot.name or 'unknown'}, kinematics unknown" if d.spec else "",
                fix="adopt it again with the arm's model (foreign.model_path); classifiers can use it as it is",
                evidence={"dimensions": len(unknown)},
                subject=d.name,
            )


@rule("ACT007", covers=("C12",), steps=LEARNS_ACTIONS, severity=Severity.warning)
def clipped_actions(d: DatasetSubject) -> Iterator[Finding]:
    """Many rebuilt actions are clipped: the arm was faster than the action scale allows.

    Symptom:  a cloned policy is slower than the demonstrations and stops short of the cube.
    Cause:    the action scale is smaller than what the arm moved per frame.
    Detected: a sound demonstration at full speed reaches 21 %: the servos lag behind and then catch up, and little is
              lost. Recorded commands may be at their limit as often as they like: that is what was sent.
              - the part of rebuilt translations at +-1 exceeds a third in some axis [clipped]
    Fix:      hiltk fix-actions with a larger action_scale_m.
    Source:   devlog 062.
    """
    if d.spec is None or not d.ee_deltas or d.spec.action.semantics is not Semantics.achieved or not d.moves.any():
        return
    shares = (np.abs(d.action[d.moves][:, :3]) > 1 - SLACK).mean(0)
    if shares.max() > MOST_CLIPPED:
        listed = ", ".join(f"{n} {s:.0%}" for n, s in zip(d.spec.action.names, shares, strict=False))
        yield Finding(
            f"rebuilt actions are clipped: {listed}",
            where=f"action.scale_m={d.spec.action.scale_m:g}",
            fix="datasets made elsewhere: hiltk fix-actions with a larger action_scale_m",
            evidence={n: float(s) for n, s in zip(d.spec.action.names, shares, strict=False)},
        )
