"""REW: labels and rewards that contradict the rule, each other or the classifier."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from hiltk.arm.units import ARM_JOINTS
from hiltk.checks.rule import WRITERS, Reads, rule
from hiltk.checks.subject import DatasetSubject, Subjects
from hiltk.config.groups import SacConf, TaskConf
from hiltk.data.episode import Episode
from hiltk.data.lerobot_io import DatasetReader
from hiltk.data.repair import NOISE_DEG, last_rows
from hiltk.envs.base import HilEnv
from hiltk.errors import UserError
from hiltk.evaluation.rollouts import AT_RESET
from hiltk.findings import Finding, Severity
from hiltk.intervals import wilson
from hiltk.limits import AFTER_SUCCESS, EARLY, FALSE, IDLE_END, OTHER_PACE, RECALL, SHOWS_SUCCESS
from hiltk.observation import fit_image
from hiltk.reward_rule import is_positive, is_success_reward, run_lengths, settle, step_reward
from hiltk.rewards.hacking import payoff
from hiltk.spec import RewardSpec, Spec

if TYPE_CHECKING:
    from hiltk.rewards.classifier import SuccessClassifier

IDLE_ACTION = 0.05
TOLERANCE = 1e-4
SAMPLE = 60  # frames of each class that a classifier is tried on
LEAST_SAMPLE = 10
EPISODES_JUDGED = 200
MOST_AFTER_END = 0.9  # of a dataset's steps, after the ends of their episodes
RESETS = 3  # of an environment, in each stratum
REWARD_COLUMNS = ("next.reward", "next.done", "success")


def played(d: DatasetSubject) -> np.ndarray:
    """Rows that are transitions of the episode: before its end, and not the last row (N,) bool."""
    done = d.column("next.done").astype(np.int64).ravel()
    before = np.cumsum(done) - done
    starts = np.repeat([before[a] for a, _ in d.bounds], [b - a for a, b in d.bounds])
    return (before == starts) & ~last_rows(d.episode)


def judged(d: DatasetSubject) -> RewardSpec | None:
    """The reward rule of a dataset that has one and all its columns; None where reward is the environment's own."""
    if d.spec is None or not d.has(*REWARD_COLUMNS) or d.spec.reward.source == "env":
        return None
    return d.spec.reward


@rule(
    "REW001",
    covers=("E1",),
    steps=("train-classifier", "bc-pretrain", "train"),
    reads=Reads.together,
    severity=Severity.warning,
)
def few_successes(all_: Subjects) -> Iterator[Finding]:
    """Hardly any frame shows success.

    Symptom:  no learning after 50 episodes; Q stays near 1 and the critics see a reward in 0.9 % of the transitions.
    Cause:    demonstrations that stop at the very moment of success, or none that succeed.
    Detected: a dataset of failures beside one of successes is as it should be.
              - under {SHOWS_SUCCESS:%} of the frames of all datasets together are labelled as success
                [terminal_labels_only]
              - none are, where a step is about to learn from them [no_success_to_learn_from]
    Fix:      hiltk record steps_after_success={AFTER_SUCCESS}, and keep demonstrations that succeed.
    Source:   devlog 058.
    """
    labels = [d.column("success").astype(bool) for d in all_.datasets if d.has("success")]
    if not labels:
        return
    share = float(np.concatenate(labels).mean())
    if share < SHOWS_SUCCESS and (share > 0 or all_.step):
        yield Finding(
            f"{share:.1%} of {sum(map(len, labels))} frames show success",
            where="column success",
            evidence={"success_share": share, "frames": sum(map(len, labels))},
            fix=f"record more successes, with steps_after_success={AFTER_SUCCESS}",
        )


@rule("REW002", covers=("E8",), steps=("train",))
def missing_rewards(d: DatasetSubject) -> Iterator[Finding]:
    """Episodes end in success without a reward.

    Symptom:  critics never see a reward.
    Cause:    a reader that takes a missing next.reward for 0, labels added without rewards.
    Detected: - an episode terminates in an observation labelled success and the reward of that step is below the rule's
                success_value [rewards_lost]
              - labels show success for as long as the rule asks and no reward is ever above an ordinary step's (not
                where a classifier decides: that it misses is REW007) [labels_added_without_rewards]
    Fix:      adopt the dataset again; the reward rule follows the labels.
    Source:   devlog 025.
    """
    reward_rule = judged(d)
    if reward_rule is None:
        return
    reward, success = d.column("next.reward").ravel(), d.column("success").astype(bool).ravel()
    ends = played(d) & d.column("next.done").astype(bool).ravel()
    ends[:-1] &= success[1:]
    lost = ends & (reward < reward_rule.success_value - TOLERANCE)
    if lost.any():
        yield Finding(
            f"{lost.sum()} of {ends.sum()} successful episodes lack their reward of {reward_rule.success_value:g}",
            where=f"{d.episodes(d.episode[lost])}, column next.reward",
            fix="the rewards are lost or of another rule: convert or record again",
            evidence={"lost": int(lost.sum()), "successful_episodes": int(ends.sum())},
        )
    elif reward_rule.source != "classifier" and not np.any(is_success_reward(reward, reward_rule)):
        ends_in = [
            i
            for i, (a, b) in enumerate(d.bounds)
            if b - a > 1 and settle(success[a:b], reward_rule, closed=True).success
        ]
        if ends_in and step_reward(reward_rule, success=True) > step_reward(reward_rule, success=False):
            yield Finding(
                f"success holds in {len(ends_in)} episodes by their labels, and no step of it is rewarded",
                where=f"{d.episodes(ends_in)}, columns success and next.reward",
                fix="labels were added without their rewards: hiltk label rewards=rule, or record again",
                evidence={"lost": len(ends_in)},
            )


@rule("REW003", covers=("E5",), steps=("train",), reads=Reads.together)
def reward_hacking(all_: Subjects) -> Iterator[Finding]:
    """Reward hacking: playing with the success signal has a higher return than finishing.

    Symptom:  the policy hovers at the brink of success: a return of 348 in 70 steps, where a clean grasp had 119 in 30.
    Cause:    every positive frame was rewarded, so flicker beat finishing; or a step is rewarded.
    Detected: the best return of a policy that decides in every frame whether success shows, by dynamic programming over
              the reward rule (hold, earliest step, values, time-outs), against the return of finishing at once.
              Discount: the learner's, or {SacConf.discount:g}. hiltk's rule rewards success once, so this comes down to
              step_value above (1 - discount) * success_value.
              - more than finishing at once [every_step_rewarded]
              - as much without ever finishing [waiting_as_good_as_finishing]
    Fix:      reward.step_value=0 or below it.
    Source:   devlog 072.
    """
    discount = float((all_.config.get("agent") or {}).get("discount") or SacConf.discount)
    specs = [("the environment", all_.target)] if all_.target else [(d.name, d.spec) for d in all_.datasets]
    for name, spec in specs:
        if spec is None or spec.reward.source == "env":
            continue
        seconds = float((all_.config.get("task") or {}).get("time_limit_s") or TaskConf.time_limit_s)
        best = payoff(spec.reward, discount, max(1, round(seconds * spec.fps)))
        if best.hackable:
            yield Finding(
                f"finishing at once returns {best.finishing:.3g}, never finishing {best.flickering:.3g}, "
                f"the best of all {best.best:.3g}",
                where=f"reward.step_value={spec.reward.step_value:g}, success_value={spec.reward.success_value:g}, "
                f"timeout={spec.reward.timeout} of {name}, discount {discount:g}",
                fix="reward.step_value=0, or a small penalty such as -0.05",
                evidence={"finishing": best.finishing, "never_finishing": best.flickering, "best": best.best},
            )


@rule("REW004", covers=("E5", "S9"), steps=("train",))
def foreign_rewards(d: DatasetSubject) -> Iterator[Finding]:
    """Rewards are not those of the dataset's own rule.

    Symptom:  one batch mixes 0 and 1 with +10 and -0.05; the critics fit neither.
    Cause:    sessions recorded under two rules; every positive frame rewarded.
    Detected: not where the environment gives the reward itself.
              - a reward during the episode is neither success_value nor step_value of the spec [two_rules]
              - an episode is rewarded for success more than once [every_positive_frame_rewarded]
    Fix:      record or convert again; hiltk train relabels demonstrations' rewards by its own rule.
    Source:   devlog 072; the mixture was found in the code.
    """
    reward_rule = judged(d)
    if reward_rule is None:
        return
    rows, reward = played(d), d.column("next.reward").ravel()
    rewarded = np.abs(reward - reward_rule.success_value) < TOLERANCE
    other = rows & ~rewarded & (np.abs(reward - reward_rule.step_value) >= TOLERANCE)
    often = np.flatnonzero(d.total(rewarded & rows) > 1)
    if other.any():
        yield Finding(
            f"{other.sum()} rewards are neither {reward_rule.success_value:g} nor {reward_rule.step_value:g}, "
            f"e.g. {float(reward[other][0]):g}",
            where=f"{d.episodes(np.unique(d.episode[other]))}, column next.reward",
            fix="these episodes follow another rule: convert or record them again",
            evidence={"rewards": int(other.sum())},
        )
    elif len(often) and reward_rule.success_value != reward_rule.step_value:
        yield Finding(
            f"success is rewarded more than once in {len(often)} episodes",
            where=f"{d.episodes(often)}, column next.reward",
            fix="reward it once, when it has held",
            evidence={"episodes": len(often)},
        )


@rule("REW005", covers=("E9",), steps=("bc-pretrain", "train"), severity=Severity.warning)
def idle_end(d: DatasetSubject) -> Iterator[Finding]:
    """Episodes end in idling.

    Symptom:  a policy that stops half-way and waits; a classifier trained on the resting pose.
    Cause:    recording went on after the task was done: 5 of 20 seconds.
    Detected: - the rows after the last one in which the arm or the jaws move ({NOISE_DEG:g} degrees, 1 of 100) or are
                told to ({IDLE_ACTION:g}) make over {IDLE_END:%} of all rows, over the whole dataset [idle_tail]
    Fix:      end episodes on success (hiltk record does), or drop the tail.
    Source:   devlogs 008 and 061.
    """
    if d.joints_deg is None or d.step_deg is None:
        return
    busy = (d.step_deg > NOISE_DEG) | (np.abs(d.to_next(d.joints_deg[:, ARM_JOINTS])) > 1.0)
    if d.ee_deltas:
        busy |= (np.abs(np.nan_to_num(d.action)).max(1) > IDLE_ACTION) & d.moves
    idle = sum(_after_last(busy[a : b - 1]) for a, b in d.bounds)
    if idle > IDLE_END * len(d):
        yield Finding(
            f"{idle / len(d):.0%} of all frames come after the arm's last motion",
            where=f"{len(d.bounds)} episodes of {len(d) / len(d.bounds):.0f} frames on average",
            fix="stop recording at success, or cut the tails",
            evidence={"idle_share": idle / len(d)},
        )


def _after_last(busy: np.ndarray) -> int:
    """How many rows follow the last busy one."""
    return len(busy) - (int(np.flatnonzero(busy)[-1]) + 1 if busy.any() else 0)


@rule("REW006", covers=("E10",), steps=("train-classifier",))
def shifted_labels(d: DatasetSubject) -> Iterator[Finding]:
    """Success labels are shifted against the frames that show success.

    Symptom:  a classifier with a fixed share of mistakes around the grasp; labels that are right by eye are not.
    Cause:    annotations counted from 1 and read from 0; every third frame labelled and spread over its neighbours.
    Detected: where the task's own predicate judged: at the rewarded step, the label must have just held for hold_steps
              observations. Over 5 % of the rewarded episodes
              - in which it has not [labels_one_late]
              - in which it already had one step before [labels_one_early]
    Fix:      shift the labels, or label again.
    Source:   devlog 061, read in the code.
    """
    reward_rule = judged(d)
    if reward_rule is None or reward_rule.source != "predicate":
        return
    success = d.column("success").astype(bool).ravel()
    rewarded = played(d) & (np.abs(d.column("next.reward").ravel() - reward_rule.success_value) < TOLERANCE)
    if not rewarded.any() or reward_rule.success_value == reward_rule.step_value:
        return
    first = np.repeat([a for a, _ in d.bounds], [b - a for a, b in d.bounds])
    run = np.concatenate([run_lengths(success[a:b]) for a, b in d.bounds])
    shown = run[np.flatnonzero(rewarded) + 1]
    late = np.flatnonzero(rewarded) + 1 - first[rewarded] > reward_rule.min_steps
    final = last_rows(d.episode)[np.flatnonzero(rewarded) + 1]
    wrong = (shown == 0) | ((shown < reward_rule.hold_steps) & ~final) | ((shown > reward_rule.hold_steps) & late)
    if wrong.mean() > 0.05:
        yield Finding(
            f"in {wrong.sum()} of {len(wrong)} rewarded episodes the labels do not hold when the reward is given",
            where=f"{d.episodes(d.episode[rewarded][wrong])}, columns success and next.reward",
            fix="labels and rewards are shifted against each other: label again",
            evidence={"wrong": int(wrong.sum()), "rewarded_episodes": len(wrong)},
        )


@rule("REW007", covers=("D4", "D5", "D10", "S8"), steps=("train",), reads=Reads.together)
def classifier_domain_shift(all_: Subjects) -> Iterator[Finding]:
    """The reward classifier does not recognise what these datasets show.

    Symptom:  success is never, or always, detected while training; offline its figures were fine.
    Cause:    images made differently from its training set (crop, normalisation), another lamp or camera, a classifier
              of another task.
    Detected: up to {SAMPLE} labelled frames of success and of failure from each dataset that has {LEAST_SAMPLE} of
              both, through the classifier's own live function, at its own threshold.
              - under {RECALL.alarm:%} of successes recognised is a warning [a_classifier_that_misses_most]
              - under {RECALL.spoilt:%} is an error [a_classifier_that_never_fires, a_classifier_on_negatives]
              - over {FALSE.alarm:%} of failures called success is a warning [a_classifier_that_fires_often]
              - over {FALSE.spoilt:%} is an error [a_classifier_that_always_fires]
    Fix:      train the classifier on frames like these as well; see that both are of the same task.
    Source:   devlogs 074, 075, 082 and 084.
    """
    from hiltk.rewards.classifier import SuccessClassifier

    for classifier in all_.classifiers if all_.datasets else []:
        model = SuccessClassifier.load(classifier.path)
        for d in all_.datasets:
            scored = _scores(model, d)
            if scored is None:
                continue
            recall, false = scored
            if recall < RECALL.alarm or false > FALSE.alarm:
                yield Finding(
                    f"{classifier.name} recognises {recall:.0%} of the successes and takes {false:.0%} of the failures "
                    "for success",
                    where=f"labelled frames of {d.name}",
                    evidence={"recall": recall, "false_share": false},
                    fix="train it on frames like these too (datasets=[...]), or use the one made for them",
                    severity=Severity.error if recall < RECALL.spoilt or false > FALSE.spoilt else Severity.warning,
                    subject=classifier.name,
                )


@rule("REW008", covers=("S9",), steps=("train",), reads=Reads.together, severity=Severity.warning)
def unsatisfied_demonstrations(all_: Subjects) -> Iterator[Finding]:
    """Demonstrations that never satisfy the run's reward rule.

    Symptom:  successes of the policy go unrewarded; no demonstration shows how long to hold; the critics fit two rules.
    Cause:    recordings that stop at success, before the rule's hold is over; a classifier that does not see success.
    Detected: the episodes of each dataset (the first {EPISODES_JUDGED} where somebody asks by hand), with the frames
              recorded after success, are judged by the rule of the environment a run is about to act in, else of the
              classifier.
              - some demonstrations never satisfy it [a_demonstration_too_short]
              - over half of them is an error [demonstrations_too_short]
    Fix:      hiltk record goes on after success for long enough by default; see hiltk preview for the classifier.
    Source:   reference/failures.md S9; seen with a hold of 8 frames.
    """
    from hiltk.rewards.classifier import SuccessClassifier
    from hiltk.rewards.demonstrations import judge_demonstrations

    model = SuccessClassifier.load(all_.classifiers[0].path) if all_.classifiers else None
    run_rule = all_.target.reward if all_.target else model.spec.reward if model else None
    if run_rule is None or run_rule.source == "env":
        return
    for d in all_.datasets:
        if d.spec is None or not d.has(*REWARD_COLUMNS) or (model and d.spec.task != model.spec.task):
            continue
        if all_.demonstrations:  # a run has judged them already
            judged = all_.demonstrations.of(d.name)
        else:
            # Whoever asks by hand may name failures, too, as a classifier needs them.
            episodes = [e for e in _episodes(d, model) if all_.step or e.success.any()]
            judged = judge_demonstrations(episodes, run_rule, model)
        if finding := judged.finding():
            yield replace(finding, subject=d.name)


def _episodes(d: DatasetSubject, model: SuccessClassifier | None) -> list[Episode]:
    """The first `EPISODES_JUDGED`, with the frames that a classifier looks at; none where reading them fails."""
    assert d.spec is not None
    wanted = [i for i in model.spec.images if i.key in d.files.cameras] if model else []
    try:
        episodes = DatasetReader(d.path, replace(d.spec, images=wanted), d.name).episodes(after_end=True)
        return list(islice(episodes, EPISODES_JUDGED))
    except UserError:
        return []  # what is damaged, or not finite, other rules name


def _scores(model: SuccessClassifier, d: DatasetSubject) -> tuple[float, float] | None:
    """Share of success frames and of failure frames called success; None where the two do not belong together."""
    if d.spec is None or d.spec.task != model.spec.task or not d.has("success"):
        return None
    if not {i.key for i in model.spec.images} <= set(d.files.cameras):
        return None
    success = d.column("success").astype(bool).ravel()
    rows = [_spread(np.flatnonzero(success == wanted)) for wanted in (True, False)]
    if min(map(len, rows)) < LEAST_SAMPLE:
        return None
    wanted = np.concatenate(rows)
    images = {
        i.key: np.stack([fit_image(f, replace(i, crop=[])) for f in d.files.frames_at(i.key, wanted)])
        for i in model.spec.images
    }
    called = is_positive(model.probabilities(images), model.threshold)
    return float(called[: len(rows[0])].mean()), float(called[len(rows[0]) :].mean())


def _spread(rows: np.ndarray) -> np.ndarray:
    """At most `SAMPLE` of them, evenly spread."""
    return rows[np.linspace(0, len(rows) - 1, min(len(rows), SAMPLE)).astype(int)] if len(rows) else rows


@rule(
    "REW009",
    covers=("E11",),
    steps=(*WRITERS, "train-classifier", "bc-pretrain", "train", "eval"),
    reads=Reads.together,
)
def done_at_reset(all_: Subjects) -> Iterator[Finding]:
    """Episodes begin in success.

    Symptom:  100 % from the first evaluation on, in two or three steps, whatever the policy; rewards nothing earned.
    Cause:    a predicate that the reset pose satisfies, a spawn area that contains the goal, a cube that is still in
              the jaws, a threshold in another unit.
    Detected: - the environment's own predicate is true right after one of {RESETS} resets in each stratum, before
                training and evaluation [an_environment_done_at_reset]
              - an episode of an evaluation began so: its success says nothing of the policy [a_success_at_reset]
              - the first frame of an episode in a dataset is labelled success, a warning [a_label_at_the_first_frame]
    Fix:      move the spawn area or tighten the predicate; label again; leave such episodes out (hiltk drop-episodes).
    Source:   read in the code: an evaluation never asked what the first observation shows.
    """
    if all_.env is not None and (done := _done_at_reset(all_.env)):
        resets = RESETS * max(1, len(all_.env.strata))
        yield Finding(
            f"the task is done at {len(done)} of {resets} resets, before anything was done for it",
            where=f"task.name={all_.env.io_spec.task}" + f", strata: {', '.join(dict.fromkeys(done))}" * any(done),
            fix="move the spawn area (task.spawn_x_m, ...) or choose another task",
            evidence={"done": len(done), "resets": resets},
            subject="the environment",
        )
    for evaluation in all_.evaluations:
        rows = evaluation.table("episodes.csv")
        if count := sum(row.get(AT_RESET) == "True" for row in rows):
            yield Finding(
                f"{count} of {len(rows)} episodes were successful before the policy acted; any policy succeeds in them",
                where=f"episodes.csv, column {AT_RESET}",
                fix="move the spawn area or tighten the predicate, and evaluate again",
                evidence={"done": count, "episodes": len(rows)},
                subject=evaluation.name,
            )
    for d in all_.datasets:
        if not d.has("success"):
            continue
        success = d.column("success").astype(bool).ravel()
        if begun := [number for number, (start, _) in enumerate(d.bounds) if success[start]]:
            yield Finding(
                f"{len(begun)} of {len(d.bounds)} episodes show success in their first frame",
                where=f"{d.episodes(begun)}, column success",
                fix="label them again, or hiltk drop-episodes",
                evidence={"done": len(begun), "episodes": len(d.bounds)},
                severity=Severity.warning,
                subject=d.name,
            )


@rule("REW010", covers=("E12",), steps=("train",), reads=Reads.together)
def early_classifier(all_: Subjects) -> Iterator[Finding]:
    """The reward classifier ends episodes before success.

    Symptom:  the policy stops just short of the task; training succeeds in 55 of 60 episodes, by the simulator in 15.
    Cause:    success begins within a stretch of a motion in which the classifier is unsure; its hold was tuned for an
              arm that crosses this stretch faster, or on too few episodes.
    Detected: in metrics.json, on held-out episodes, against success as the labels have held.
              - surely over {EARLY.alarm:%} of them are ended too soon: more than one, and the lower end of the 95 %
                Wilson interval [a_classifier_surely_early]
              - over {EARLY.alarm:%} of them, or of their versions in other lights, are: a warning
                [a_classifier_perhaps_early]
              - it was recorded at over {OTHER_PACE:g} times the speed of the environment (a full action, metres a
                second) [a_classifier_of_a_faster_arm]
              - at under that part of it: it takes too long to declare success, a warning [a_classifier_of_a_slower_arm]
    Fix:      record what it learns from at the pace of the run, with longer tails (steps_after_success), and train it
              again; or train it with a longer hold_steps.
    Source:   devlog 072; seen with lifts of 50 steps.
    """
    others = [("the environment", all_.target)] if all_.target else [(d.name, d.spec) for d in all_.datasets]
    for classifier in all_.classifiers:
        if finding := _too_soon(classifier.json("metrics.json")):
            yield replace(finding, subject=classifier.name)
        for name, spec in others:
            if spec and spec.task == classifier.spec.task and (finding := _other_pace(classifier.spec, spec, name)):
                yield replace(finding, subject=classifier.name)


def _too_soon(metrics: Mapping[str, Any]) -> Finding | None:
    """What a classifier's report says of episodes ended too soon; those of before counted only frames of failure."""
    found = metrics.get("too_soon") or metrics.get("wrongly_ended")
    if not found or not found["n"]:
        return None
    rate = wilson(found["count"], found["n"])
    lit = (metrics.get("tuning") or {}).get("wrongly_ended_as_chosen") or found
    share = max(rate.rate, lit["count"] / lit["n"])
    if share <= EARLY.alarm:
        return None
    by = f", by {found['steps']:g} frames" if found.get("steps") else ""
    by += f" and {found['mm']:.0f} mm" if found.get("mm") else ""
    return Finding(
        f"it ends {rate.counted} held-out episodes too soon{by}; {lit['count']} of {lit['n']} with their versions",
        where=f"metrics.json, hold of {metrics.get('hold_steps')} steps",
        fix="record more at the pace of the run, with longer tails (steps_after_success), or a longer hold_steps",
        evidence={"too_soon": found["count"], "episodes": found["n"], "share": share},
        severity=Severity.error if rate.count > 1 and rate.low > EARLY.alarm else Severity.warning,
    )


def _other_pace(trained: Spec, used: Spec, name: str) -> Finding | None:
    own, other = (spec.action.scale_m * spec.fps for spec in (trained, used))
    if not own or not other or 1 / OTHER_PACE <= own / other <= OTHER_PACE:
        return None
    return Finding(
        f"it was recorded at {own:g} m/s at full action, {name} moves at {other:g}: its hold of "
        f"{trained.reward.hold_steps} steps means another stretch of the motion",
        where=f"action.scale_m {trained.action.scale_m:g} against {used.action.scale_m:g}",
        fix="record its datasets at this pace (task.pace, env.action_scale_m) and train it again",
        evidence={"trained_m_s": own, "used_m_s": other},
        severity=Severity.error if own > other else Severity.warning,
    )


def _done_at_reset(env: HilEnv) -> list[str]:
    """The strata of the resets at which the predicate is true already; nothing where there is no predicate."""
    tries = [(stratum, seed) for stratum in env.strata or ("",) for seed in range(RESETS)] if env.has_predicate else []
    infos = [env.reset(seed=seed, options={"stratum": stratum} if stratum else {})[1] for stratum, seed in tries]
    return [stratum for (stratum, _), info in zip(tries, infos, strict=True) if info.get("success_now")]


@rule("REW011", covers=("E13",), steps=("bc-pretrain", "train"))
def ends_at_once(d: DatasetSubject) -> Iterator[Finding]:
    """Most of what was recorded lies after the end of its episode.

    Symptom:  120 rows of demonstrations became 4 transitions, and nobody said so.
    Cause:    a graded reward or a progress was taken for success, which then showed from the first frame on; labels of
              whole episodes; a recorder that went on long after success.
    Detected: - over {MOST_AFTER_END:%} of the steps, over the whole dataset, come after the first end of their episode;
                short episodes with long tails reach two thirds [ends_in_the_first_frames]
    Fix:      another foreign.success_column, or none; hiltk label; record shorter tails.
    Source:   lerobot's datasets with dense rewards.
    """
    if d.spec is None or not d.has("next.done"):
        return
    steps = ~last_rows(d.episode)
    lost = float((steps & ~played(d)).sum() / max(1, steps.sum()))
    if lost > MOST_AFTER_END:
        yield Finding(
            f"{lost:.0%} of {steps.sum()} steps lie after the end of their episode; nothing learns actions from them",
            where="columns success and next.done",
            fix="see what counts as success (hiltk inspect, hiltk label); made elsewhere: adopt it again with another "
            "foreign.success_column, or none",
            evidence={"after_end": lost},
        )
