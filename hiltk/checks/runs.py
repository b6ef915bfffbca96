"""RUN: artifacts that have changed, contradict themselves, or do not fit together."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from scipy.ndimage import median_filter

from hiltk.artifacts.store import resolve
from hiltk.checks.rule import WRITERS, Reads, rule
from hiltk.checks.subject import ACTION, DatasetSubject, Made, Subjects
from hiltk.data.consistency import require_consistent
from hiltk.data.copies import recordings
from hiltk.data.lerobot_files import read_stats
from hiltk.data.lerobot_io import read_columns, require_finite, require_whole
from hiltk.data.statistics import floors
from hiltk.data.timeline import BESIDE
from hiltk.errors import UserError
from hiltk.findings import Finding, Severity
from hiltk.limits import COPIED, COPY_DEG, COPY_GREY, COPY_STD  # noqa: F401 (the explanation names them)
from hiltk.spec import STATE_KEY, refusals

LEAST_RATE, GAP = 0.9, 1.5
SIMULATED = "simulated"


@rule("RUN001", covers=("G6", "S11"), steps=("bc-pretrain", "train", "eval"), reads=Reads.together)
def changed_files(all_: Subjects) -> Iterator[Finding]:
    """An artifact's files have changed since they were written.

    Symptom:  results that cannot be reproduced; episodes that are gone.
    Cause:    a synchronisation overwrote 14 local episodes with 26 old ones; a file was edited by hand.
    Detected: the fingerprint over all files against the one in run.yaml, for artifacts with a version. Reads every
              file, so steps ask it of policies and classifiers only: these are small, and nothing else tells of their
              weights.
              - they differ [a_file_edited_afterwards, weights_edited_afterwards]
    Fix:      restore the files, or make the artifact again under a new version.
    Source:   devlog 019.
    """
    for one in [*all_.classifiers, *all_.policies] if all_.step else all_.all():
        artifact = one.artifact
        if artifact is not None and artifact.version and artifact.run().get("fingerprint") and not artifact.is_intact():
            yield Finding(
                "its files have changed since they were written",
                where=f"{one.path}: another fingerprint than in run.yaml",
                fix="restore them, or make a new version; versions are never edited",
                subject=one.name,
            )


@rule("RUN008", covers=("G6", "C10", "C11"), steps=WRITERS)
def contradictory_files(d: DatasetSubject) -> Iterator[Finding]:
    """Spec, metadata, tables and videos of a dataset contradict each other, or numbers are not finite.

    Symptom:  every step refuses it; or, elsewhere, a crash in the middle of an epoch.
    Cause:    a copy that was interrupted, a synchronisation of half the files, metadata or a spec edited by hand.
    Detected: a step asks before it reads anything, so only the gates of those that write ask by this rule.
              - number, order, length and place of episodes contradict each other [a_number_of_episodes_that_is_wrong]
              - so do columns and their widths, or the videos' sizes and numbers of frames [a_column_of_another_width]
              - so does what the spec says of them and of the frame rate [a_spec_of_another_rate]
              - a number of the state, the action or the reward is not finite [a_reward_that_is_no_number]
    Fix:      as the finding says; restore the files, or record or download again.
    Source:   devlog 019, and the workflow this project replaces: hand-fixed episodes, info and indices.
    """
    try:
        if d.spec:
            read_columns(d.files, require_whole(d.files), finite=False)
        else:
            require_consistent(d.files)
            require_finite(d.state, d.state_names, column=STATE_KEY, where=str(d.path))
    except UserError as error:
        yield Finding(error.what, where=error.where, fix=error.fix)


@rule("RUN002", covers=("S11",), steps=("train", "eval"), reads=Reads.together)
def changed_inputs(all_: Subjects) -> Iterator[Finding]:
    """An input of a policy or classifier has changed since it was used.

    Symptom:  the best run turns out to have used last month's demonstrations.
    Cause:    a config that names data by folder, and a folder whose contents were replaced.
    Detected: for each input in run.yaml that is still there: its version's recorded fingerprint against the one noted
              when it was used.
              - they differ [demonstrations_replaced]
    Fix:      make the policy or classifier again from data that is still there.
    Source:   devlog 072's successor: the 70 % run used offline_v1, not v3_lamp.
    """
    for one in [*all_.classifiers, *all_.policies, *all_.evaluations]:
        for noted in one.record.get("inputs") or []:
            now = _fingerprint(one, noted)
            if now and now != noted["fingerprint"]:
                yield Finding(
                    f"{noted['artifact']}@{noted['version']} has changed since this was made from it",
                    where=f"fingerprint {noted['fingerprint']} then, {now} now",
                    fix="make it again, from the data as it is",
                    subject=one.name,
                )


def _fingerprint(one: Made, noted: dict[str, str]) -> str:
    """The recorded fingerprint of an input in the same store; empty where it is gone or lies elsewhere."""
    if not noted.get("version") or "/" in noted["artifact"] or ":" in noted["artifact"] or not one.artifact.version:
        return ""
    try:
        found = resolve(f"{noted['artifact']}@{noted['version']}", noted["kind"], one.path.parents[2])
    except UserError:
        return ""
    return str(found.run().get("fingerprint") or "")


@rule("RUN003", covers=("S1",), steps=("bc-pretrain", "train"))
def false_statistics(d: DatasetSubject) -> Iterator[Finding]:
    """meta/stats.json does not describe the data.

    Symptom:  LeRobot normalises by numbers that nobody measured: states of 600 million, or actions of 0.
    Cause:    statistics pasted into a config or edited by hand after episodes were removed, merged or repaired.
    Detected: minimum and maximum of state and action against the columns. A dimension that hardly moved may be given
              the width of its floor, as `hiltk stats` and merging do.
              - off by more than 1 % of the data's range [pasted_statistics]
    Fix:      recompute them (hiltk stats); every step of hiltk writes them from the data.
    Source:   the workflow this project replaces: hand-pasted dataset_stats, hand-fixed stats.
    """
    stats = read_stats(d.path)
    for column, values in ((STATE_KEY, d.state), (ACTION, d.action)):
        said = stats.get(column) or {}
        if not values.size or "min" not in said or np.size(said["min"]) != values.shape[1]:
            continue
        low, high = np.nanmin(values, axis=0), np.nanmax(values, axis=0)
        slack = 0.01 * (high - low) + 1e-4 + 1e-3 * np.maximum(np.abs(low), np.abs(high))
        dims = [] if d.spec is None else d.spec.state.dims if column == STATE_KEY else d.spec.action.dims
        if len(dims) == values.shape[1]:
            slack += np.maximum(floors(values, dims) - (high - low), 0.0) / 2
        off = np.maximum(np.abs(np.ravel(said["min"]) - low), np.abs(np.ravel(said["max"]) - high)) > slack
        if off.any():
            i = int(np.flatnonzero(off)[0])
            yield Finding(
                f"statistics of {column} are not those of the data in {off.sum()} dimensions, e.g. {low[i]:.4g} to "
                f"{high[i]:.4g} is given as {np.ravel(said['min'])[i]:.4g} to {np.ravel(said['max'])[i]:.4g}",
                where=f"meta/stats.json, dimension {i}",
                fix="recompute the statistics: hiltk stats",
                evidence={"dimensions": int(off.sum()), "low": float(low[i]), "high": float(high[i])},
            )


@rule("RUN004", covers=("C6", "C7", "C8"), steps=("bc-pretrain", "train", "eval"), reads=Reads.together)
def other_robot(all_: Subjects) -> Iterator[Finding]:
    """Artifacts were made with differently calibrated robots.

    Symptom:  the wrist is wrong in training only; everything is off by a constant angle.
    Cause:    id or calibration_dir left empty in one config, so another calibration was used; a recalibration between
              recording and training; an offset that a new calibration had made obsolete.
    Detected: - robot.calibration_id differs between artifacts, of which one has no hash [two_arms]
              - robot.calibration_hash differs, whatever the ids [an_arm_calibrated_again]
              - between a simulated and a real robot this is a warning: that may be meant [a_simulated_and_a_real_arm]
              - the robot that is about to act is calibrated and the data does not say how it was
                [a_calibrated_arm_with_data_of_none]
    Fix:      calibrate once and record with it; or leave the old data out.
    Source:   devlogs 049, 032, 052 and 023.
    """
    known = [
        (name, spec.robot) for name, spec in all_.specs() if spec.robot.calibration_id or spec.robot.calibration_hash
    ]
    for (one, a), (other, b) in pairwise(known):
        same = a.calibration_hash == b.calibration_hash if a.calibration_hash and b.calibration_hash else None
        if not (a.calibration_id == b.calibration_id if same is None else same):  # a hash says more than a name
            yield Finding(
                f"{one} is calibrated as '{a.calibration_id}', {other} as '{b.calibration_id}'",
                where=f"robot.calibration_hash {a.calibration_hash or '-'} and {b.calibration_hash or '-'}",
                fix="use data recorded with this calibration",
                severity=Severity.warning if SIMULATED in (a.calibration_id, b.calibration_id) else Severity.error,
                subject=one,
            )
    if all_.target and all_.target.robot.calibration_id not in ("", SIMULATED):
        for name, spec in all_.specs():
            if spec.robot.model_hash and not spec.robot.calibration_id:
                yield Finding(
                    "the calibration of the recorded arm is unknown",
                    where="robot.calibration_id is empty",
                    fix="adopt the dataset with foreign.calibration_path=FILE, or record with this arm",
                    subject=name,
                )


@rule("RUN005", covers=("A4", "B1", "C10", "C11", "D5"), reads=Reads.together, severity=Severity.warning)
def unlike_specs(all_: Subjects) -> Iterator[Finding]:
    """These artifacts could not be used together.

    Symptom:  the arm drifts to the right; a crash after 20 minutes: 21 against 18 dimensions.
    Cause:    another frame, gripper format, state layout, image size or model of the arm.
    Detected: compared with the first artifact named. A warning here, since not everything that is checked in one go
              must go together; the steps refuse.
              - the fields on which every step that joins artifacts insists differ [another_gripper_format]
    Fix:      record or repair with the same settings.
    Source:   devlogs 026, 034, 051, 058, 075 and 077.
    """
    specs = all_.specs()
    for name, spec in specs[1:]:
        found = refusals(specs[0][1], spec)
        if found:
            yield Finding(
                f"does not fit {specs[0][0]}: {'; '.join(map(str, found[:3]))}"
                + (f" and {len(found) - 3} more" if len(found) > 3 else ""),
                fix="record or repair with the same settings to use them together",
                subject=name,
            )


@rule("RUN006", covers=("E3", "G6"), steps=(*WRITERS, "train-classifier", "bc-pretrain", "train"), reads=Reads.together)
def episodes_twice(all_: Subjects) -> Iterator[Finding]:
    """The same episode appears twice: data leaks where one copy is held out and the other trained on.

    Symptom:  an accuracy of 98 % on held-out data, and 92 % in truth; coin-flip labels judged 86 % right.
    Cause:    a merged dataset beside one of its parts, a repaired or relabelled one beside what it was made of, a
              dataset uploaded and downloaded again, the same seed recorded twice.
    Detected: the joints go through the same poses: {COPIED:%} of the shorter episode's motion within {COPY_DEG:g}
              degrees of the other's. So it does not matter whether frames were cut off, left out or resampled, numbers
              rounded, actions and labels changed, or pictures encoded anew. Without an arm the whole state decides,
              within {COPY_STD:g} of its standard deviation; where that stands still, small pictures within
              {COPY_GREY:g} grey levels.
              - between two datasets it is an error [a_dataset_beside_its_copy, a_dataset_beside_its_near_copy,
                a_dataset_without_its_first_frames, a_dataset_encoded_anew, a_dataset_at_half_its_rate]
              - between what is learned from and what is to judge it (unseen) it is an error
                [an_unseen_set_that_was_seen]
              - within one a warning: train-classifier, bc-pretrain and split keep the copies on one side, and a
                deterministic robot may well do the same twice [an_episode_recorded_twice, an_episode_nearly_twice]
    Fix:      name each recording once: the merged dataset or its parts, the repaired one or the original.
    Source:   classifier v4, whose split by frames leaked 85 % of the validation set.
    """
    sets = [*all_.datasets, *all_.unseen]
    episodes = [(d, number) for d in sets for number in range(len(d.bounds))]
    first = recordings([trace for d in sets for trace in d.traces()])
    twice: dict[tuple[int, int], list[int]] = {}
    for (d, number), original in zip(episodes, first, strict=True):
        other = episodes[original]
        if other != (d, number):
            twice.setdefault((sets.index(d), sets.index(other[0])), []).append(number)
    for (own, before), numbers in twice.items():
        d, of = sets[own], sets[before].name
        judges = own >= len(all_.datasets) > before
        yield Finding(
            f"{len(numbers)} of its {len(d.bounds)} episodes are "
            + ("stored twice" if own == before else f"also in {of}" + ", which is learned from" * judges),
            where=f"{d.episodes(numbers)}: the same motion",
            fix="hiltk drop-episodes takes the copies out"
            if own == before
            else "name each recording once: the merged dataset or its parts, the repaired one or the original",
            evidence={"episodes": len(numbers)},
            severity=Severity.warning if own == before else Severity.error,
            subject=d.name,
        )


@rule("RUN007", covers=("G7",), steps=("bc-pretrain", "train"))
def slow_loop(d: DatasetSubject) -> Iterator[Finding]:
    """The recording loop did not keep its rate.

    Symptom:  the policy is faster on the robot than the demonstrator was; jerks.
    Cause:    cameras that block for 30 to 66 ms each, a disk that is busy.
    Detected: by the timestamps inside episodes. (LeRobot's recorder writes ideal timestamps; then only velocities can
              tell.)
              - below {LEAST_RATE:%} of fps on average [late_frames]
              - over 5 % of the frames more than {GAP:g} periods after the last, and half a period or more later than
                the frames around them say: a stamp that jitters by less makes no frame late [some_late_frames]
    Fix:      lower fps or the cameras' resolution until the loop keeps up.
    Source:   vla-010.
    """
    if not d.has("timestamp"):
        return
    inside = np.flatnonzero(d.episode[1:] == d.episode[:-1])
    steps = np.diff(d.column("timestamp").astype(np.float64).ravel())[inside]
    if len(steps) < 10 or steps.mean() <= 0:
        return
    times = d.column("timestamp").astype(np.float64).ravel() * d.files.fps
    late = np.concatenate([_late(times[start:stop]) for start, stop in d.bounds])
    rate, gaps = 1 / steps.mean() / d.files.fps, float(late.sum() / len(steps))
    if rate < LEAST_RATE or gaps > 0.05:
        yield Finding(
            f"frames come at {rate * d.files.fps:.1f} Hz instead of {d.files.fps:g}; {gaps:.0%} are late",
            where="column timestamp",
            evidence={"hz": float(rate * d.files.fps), "late_share": gaps},
            fix="lower fps or the cameras' resolution until the loop keeps up",
        )


def _late(times: np.ndarray) -> np.ndarray:
    """Which frames of an episode come late, (T,) bool, by their times in periods (T,)."""
    behind = times - np.arange(len(times))
    usual = median_filter(behind, BESIDE, mode="nearest")
    later = (behind - usual >= 0.5) | (np.diff(usual, prepend=usual[:1]) >= 0.5)
    return later & (np.diff(times, prepend=times[:1]) > GAP)
