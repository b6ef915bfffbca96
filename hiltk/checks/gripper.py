"""GRP: gripper actions in another format than the spec's, or that contradict the jaws' motion."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from hiltk.arm.units import ARM_JOINTS
from hiltk.checks.actions import FIX_ACTIONS, LEARNS_ACTIONS, SLACK
from hiltk.checks.rule import rule
from hiltk.checks.subject import DatasetSubject
from hiltk.data.repair import ZERO_BELOW
from hiltk.findings import Finding
from hiltk.spec import GripperFormat

MOVING = 2.0  # units of 0..100 per frame; less is noise or creep
LEAST_PATH = 20.0  # units per episode; less shows nothing
MOST_SILENT, LEAST_AGREEMENT = 0.3, 0.5


def gripper_actions(d: DatasetSubject) -> np.ndarray | None:
    """The action's gripper dimension (N,); None where it has none, or nothing says which it is."""
    if d.spec is not None:
        return None if d.spec.action.gripper is GripperFormat.none or not d.ee_deltas else d.action[:, -1]
    names = d.files.names("action") if d.has("action") else []
    joints = any(n.endswith(".pos") for n in names)
    return d.action[:, 3] if d.action.shape[1] == 4 and not joints else None


@rule("GRP001", covers=("B1", "B2"), steps=LEARNS_ACTIONS)
def wrong_format(d: DatasetSubject) -> Iterator[Finding]:
    """Gripper actions are in another format than the spec says.

    Symptom:  the gripper closes in the first episode and never opens again.
    Cause:    the environment's 0, 1, 2 (close, hold, open) in a policy's range of -1 to 1; some code shifts values
              above 1 and leaves 0 and 1 alone, so close becomes hold and hold becomes open. Half the episodes in one
              format, half in the other.
    Detected: no value is ever reinterpreted.
              - an episode with values above 1 that are all 0, 1 or 2: the discrete format of LeRobot [close_hold_open]
              - an episode with other values above 1: raw positions [raw_positions]
              - any value but -1, 0 and 1 for a three-way gripper [not_three_way]
    Fix:      convert these episodes, or rebuild with hiltk fix-actions force=true.
    Source:   devlogs 074 and 077; the legacy shift is in the code of 087.
    """
    values = gripper_actions(d)
    if values is None:
        return
    finite = d.moves & np.isfinite(values)
    above = finite & (np.abs(values) > 1 + SLACK)
    bad = np.flatnonzero(d.total(above))
    if len(bad):
        rows = finite & np.isin(d.episode, bad)
        shift = np.isin(values[rows], (0, 1, 2)).all()
        what = "0, 1 and 2 (close, hold, open)" if shift else f"{values[rows].min():.4g} to {values[rows].max():.4g}"
        yield Finding(
            f"gripper actions are {what} in {len(bad)} of {len(d.bounds)} episodes, hiltk's are -1 to 1",
            where=d.episodes(bad),
            fix="hiltk fix-actions force=true rebuilds them from the joints; never shift single values",
            evidence={"least": float(values[rows].min()), "most": float(values[rows].max()), "episodes": len(bad)},
        )
    elif d.spec is not None and d.spec.action.gripper is GripperFormat.discrete3:
        between = np.flatnonzero(d.total(finite & ~np.isin(values, (-1, 0, 1))))
        if len(between):
            yield Finding(
                f"a three-way gripper has other values than -1, 0 and 1 in {len(between)} episodes",
                where=f"{d.episodes(between)}; the spec says action.gripper=discrete3",
                fix="hiltk fix-actions force=true, or record with env.gripper=continuous",
                evidence={"episodes": len(between)},
            )


@rule("GRP002", covers=("B3",), steps=LEARNS_ACTIONS)
def jaws_disagree(d: DatasetSubject) -> Iterator[Finding]:
    """The jaws move under a zero action, or against their action.

    Symptom:  a policy that reaches the cube and never grasps; or one that flaps.
    Cause:    a teleoperation quantiser with a threshold that slow closing never reaches, so it records "hold"; or one
              whose idle frames mean "close"; or a format converted the wrong way round.
    Detected: over frames in which the jaws move by more than {MOVING:g} of 100, weighted by how far, per episode with
              at least {LEAST_PATH:g} units of motion. Frames at rest are left out: jaws commanded beyond their
              range stand still, which is sound. Recordings of the simulator correlate above 0.9.
              - over {MOST_SILENT:%} of the motion under a zero action [always_hold]
              - a correlation with the action below {LEAST_AGREEMENT:g} [inverted]
    Fix:      hiltk fix-actions force=true; on a leader arm, quantise at +-0.3 of a step, not at 0.1.
    Source:   devlogs 074 and 077, read in the code.
    """
    values = gripper_actions(d)
    if values is None or d.joints_deg is None:
        return
    moved = d.to_next(d.joints_deg[:, ARM_JOINTS])
    rows = d.moves & (np.abs(moved) > MOVING) & np.isfinite(values)
    weight, asked = np.where(rows, np.abs(moved), 0.0), np.where(rows, values, 0.0)
    path = d.total(weight)
    quiet = d.total(np.where(np.abs(asked) < ZERO_BELOW, weight, 0.0))
    product, norms = d.total(asked * moved), np.sqrt(d.total(asked**2) * d.total(np.where(rows, moved, 0.0) ** 2))
    silent = (path > LEAST_PATH) & (quiet > MOST_SILENT * path)
    opposed = (path > LEAST_PATH) & ~silent & (product < LEAST_AGREEMENT * norms)
    for bad, what in (
        (silent, "the jaws move under a zero action"),
        (opposed, "the jaws' motion does not correlate with their action"),
    ):
        if bad.any():
            yield Finding(
                f"{what} in {bad.sum()} of {len(d.bounds)} episodes",
                where=f"{d.episodes(np.flatnonzero(bad))}, last column of action",
                evidence={"episodes": int(bad.sum())},
                fix=FIX_ACTIONS,
            )
