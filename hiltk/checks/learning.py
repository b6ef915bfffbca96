"""LRN: statistics, classifiers, learners and evaluations that cannot be trusted."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from hiltk import limits
from hiltk.agents.schedules import parse_schedule
from hiltk.checks.rule import WRITERS, Reads, rule
from hiltk.checks.subject import Made, Subjects
from hiltk.findings import Finding, Severity
from hiltk.learning.guards import noted
from hiltk.spec import STATE_KEY, Stats

LEAST_STD = 1e-4
MOST_FAR = 0.8  # share of a dataset's rows
LEAST_PRECISION, LEAST_RECALL, LEAST_ACCURACY = 0.9, 0.5, 0.9
LEAST_EPISODES = 20
LEAST_KEPT = 5000  # transitions of experience


def _z(values: np.ndarray, stats: Stats) -> np.ndarray:
    return (values - np.array(stats.mean)) / np.array(stats.std)


@rule("LRN001", covers=("S1",), steps=(*WRITERS, "bc-pretrain", "train", "eval"), reads=Reads.together)
def narrow_statistics(all_: Subjects) -> Iterator[Finding]:
    """A dimension of the state is normalised by a standard deviation near zero.

    Symptom:  none; the policy does the same motion everywhere, as if it had no proprioception. It has none.
    Cause:    statistics pasted by hand, or taken where a joint stands still: minimum and maximum equal, divided by
              1e-8, gives 600 million, and after a layer norm every other dimension changes a feature by 6e-8.
    Detected: hiltk's own statistics never go below a hundredth of the range.
              - a standard deviation in the spec's statistics below a thousandth of the dimension's range
                [statistics_of_a_joint_at_rest]
              - one below {LEAST_STD} [statistics_without_spread]
    Fix:      take the statistics from data: record, fix-actions and adopt do.
    Source:   found in every SAC config of the series, and emulated.
    """
    for name, spec in all_.specs():
        stats = spec.stats.get(STATE_KEY)
        if stats is None or len(stats.std) != len(spec.state.dims):
            continue
        span = np.array([d.high - d.low for d in spec.state.dims])
        floor = np.where(np.isfinite(span) & (span > 0), limits.NARROW * span, LEAST_STD)
        narrow = np.flatnonzero(np.array(stats.std) < np.maximum(LEAST_STD, floor))
        if len(narrow):
            listed = ", ".join(f"{spec.state.names[i]} {stats.std[i]:.1e}" for i in narrow[:6])
            yield Finding(
                f"{len(narrow)} of {len(stats.std)} dimensions of the state have a deviation near zero: {listed}",
                where=f"stats.{STATE_KEY}.std, from {stats.source or 'an unknown source'}",
                fix="take the statistics from data, with a floor: hiltk record and fix-actions write such",
                evidence={spec.state.names[i]: stats.std[i] for i in narrow},
                subject=name,
            )


@rule("LRN002", covers=("S1", "C4"), steps=(*WRITERS, "bc-pretrain", "train"), reads=Reads.together)
def foreign_statistics(all_: Subjects) -> Iterator[Finding]:
    """States lie far outside the statistics that normalise them.

    Symptom:  constant shaking; a pretrained policy that acts as if it had never seen the task.
    Cause:    the statistics are those of other data, or of another unit (degrees against radians: 57 times).
    Detected: over {MOST_FAR:%} of the rows of a dataset are more than {limits.FAR_STD:g} standard deviations off in
              some dimension. Not 1 %, as first thought of: a dimension that rests and then jerks may have 4 % out there
              by its own statistics (Chebyshev), and a sound policy that was cloned on the near half of the table finds
              up to 46 % of sound play over all of it there.
              - by the dataset's own statistics [statistics_of_radians]
              - by those of a policy [a_policy_of_another_unit]
    Fix:      warm-start only from policies of the same units; recompute the statistics.
    Source:   devlog 046, and the statistics of every SAC config of the series.
    """
    policies = [(p.name, p.spec) for p in all_.policies]
    for d in all_.datasets:
        for name, spec in [(d.name, d.spec), *policies]:
            stats = spec.stats.get(STATE_KEY) if spec else None
            if spec is None or d.spec is None or stats is None or spec.state.names != d.spec.state.names:
                continue
            if len(stats.std) != d.state.shape[1] or min(stats.std) <= 0:
                continue
            far = (np.abs(_z(d.state, stats)) > limits.FAR_STD).mean(0)
            if far.max() > MOST_FAR:
                worst = int(far.argmax())
                yield Finding(
                    f"{far[worst]:.0%} of {spec.state.names[worst]} lie over {limits.FAR_STD:g} standard deviations "
                    "from the mean",
                    where=f"states of {d.name} under the statistics of {name}",
                    fix="another unit or other data: take the statistics from the data that is learned from",
                    evidence={"far_share": float(far[worst])},
                    subject=d.name,
                )


@rule("LRN003", covers=("E4", "E3"), steps=("train",), reads=Reads.classifier, severity=Severity.warning)
def weak_classifier(c: Made) -> Iterator[Finding]:
    """The reward classifier errs too often at the threshold it is used with.

    Symptom:  episodes end in success with an empty hand, and the policy learns exactly that.
    Cause:    a threshold tried at 0.5 in training, 0.7 in the environment and 0.85 before; figures taken from frames
              that were trained on (98.15 % for 92.3 %).
    Detected: on held-out episodes at the stored threshold. The catalogue asks for a precision of 98 %; of the hundred
              or so positive frames that are usually held out three mistakes would then be an alarm, and the hold rule
              forgives those.
              - precision below {LEAST_PRECISION:%} [poor_precision]
              - recall below {LEAST_RECALL:%} [poor_recall]
              - accuracy below {LEAST_ACCURACY:%} [poor_accuracy]
              - no episode held out [nothing_held_out]
    Fix:      more failures (human=wandering keep=all) and more episodes; look at mistakes.png.
    Source:   devlogs 061 and 065, and the comparison of classifiers v4.
    """
    metrics = c.json("metrics.json")
    if not metrics:
        return
    if not (metrics.get("episodes") or {}).get("held_out"):
        yield Finding("no episode was held out: its figures are those of its training set", where="metrics.json")
        return
    low = [
        f"{key} {metrics[key]:.0%}"
        for key, least in (("precision", LEAST_PRECISION), ("recall", LEAST_RECALL), ("accuracy", LEAST_ACCURACY))
        if key in metrics and metrics[key] < least
    ]
    if low:
        yield Finding(
            f"on held-out episodes: {', '.join(low)}",
            where=f"metrics.json, threshold {metrics.get('threshold', float('nan')):.3g}",
            fix="record more failures and more episodes, and look at mistakes.png for wrong labels",
            evidence={k: float(metrics[k]) for k in ("precision", "recall", "accuracy", "threshold") if k in metrics},
        )


@rule("LRN004", covers=("F1",), steps=("train",), reads=Reads.together, severity=Severity.warning)
def exploration_noise(all_: Subjects) -> Iterator[Finding]:
    """Exploration noise overrides the policy that training starts from.

    Symptom:  the robot shakes; nothing of a pretrained policy is to be seen.
    Cause:    a noise schedule made for learning from nothing: linear(1.0,0.1,50000) is still 0.98 after 1000 steps.
    Detected: although the run starts from a policy (init=)
              - agent.noise starts above {limits.NOISE.alarm:g} [noise_of_a_beginner]
              - explore_steps are random [random_steps_with_a_policy]
    Fix:      agent=drqv2_pretrained, or agent.noise=linear(0.2,0.05,5000) agent.explore_steps=0.
    Source:   devlog 044; 050 had the opposite.
    """
    for name, config in _configs(all_):
        agent = config.get("agent") or {}
        if not config.get("init") or not agent.get("noise"):
            continue
        first = parse_schedule(str(agent["noise"]), where="agent.noise")(0)
        if first > limits.NOISE.alarm:
            yield Finding(
                f"training starts from a policy with noise of standard deviation {first:g}",
                where=f"agent.noise={agent['noise']}, init={config['init']}",
                fix="agent.noise=linear(0.2,0.05,5000) keeps the policy",
                evidence={"noise": first},
                subject=name,
            )
        if int(agent.get("explore_steps") or 0) > 0:
            yield Finding(
                f"the first {agent['explore_steps']} steps are random although there is a policy to start from",
                where=f"agent.explore_steps={agent['explore_steps']}, init={config['init']}",
                fix="agent.explore_steps=0",
                evidence={"explore_steps": int(agent["explore_steps"])},
                subject=name,
            )


@rule("LRN005", covers=("F4", "F5"), steps=("train",), reads=Reads.together, severity=Severity.warning)
def stalling_settings(all_: Subjects) -> Iterator[Finding]:
    """The settings are known to stall human-in-the-loop training.

    Symptom:  the arm stays at home for 120 episodes at 2 mm a step; or corrections have no effect.
    Cause:    a target entropy of -dim: alpha falls to 0.03 and actions shrink; a starting temperature of 0.2 and
              entropy in the targets, with which interventions lose their weight; an online buffer of a few episodes.
    Detected: - SAC: target_entropy at or below -dim(action); unset is half of that [a_target_entropy_of_minus_dim]
              - SAC: temperature above {limits.TEMPERATURE:g} with demonstrations [a_high_temperature]
              - SAC: backup_entropy=true with demonstrations [entropy_in_the_targets]
              - any learner: capacity below {LEAST_KEPT} transitions and below the run's length
                [a_buffer_of_a_few_episodes]
    Fix:      leave them out for the defaults; each is a legal choice, so this only warns.
    Source:   devlogs 048, 063 and 072.
    """
    for name, config in _configs(all_):
        agent, dims = config.get("agent") or {}, _action_dims(all_)
        kept, run = int(config.get("capacity") or 0), int(config.get("episodes") or 0) * _episode_steps(all_, config)
        if 0 < kept < min(LEAST_KEPT, run):
            yield Finding(
                f"only {kept} transitions of experience are kept, of a run that has up to {run}: the replay buffer "
                "soon holds nothing but the last episodes",
                where=f"capacity={kept}",
                fix=f"capacity={LEAST_KEPT} or more, or all of the run",
                evidence={"capacity": kept, "steps_of_the_run": run},
                subject=name,
            )
        if "temperature" not in agent:
            continue
        target = agent.get("target_entropy")
        if dims and target is not None and float(target) <= limits.TIMID_ENTROPY * dims:
            yield Finding(
                f"a target entropy of {target:g} for {dims} action dimensions makes a timid policy",
                where="agent.target_entropy",
                fix=f"agent.target_entropy=null takes {-dims / 2:g}",
                evidence={"target_entropy": float(target), "action_dims": dims},
                subject=name,
            )
        if config.get("demos") and float(agent["temperature"]) > limits.TEMPERATURE:
            yield Finding(
                f"an initial temperature of {agent['temperature']:g} makes corrections count little",
                where="agent.temperature",
                fix="agent.temperature=0.01",
                evidence={"temperature": float(agent["temperature"])},
                subject=name,
            )
        if config.get("demos") and agent.get("backup_entropy"):
            yield Finding(
                "entropy is part of the TD targets: sparse rewards drown in it",
                where="agent.backup_entropy=true",
                fix="agent.backup_entropy=false",
                subject=name,
            )


def _configs(all_: Subjects) -> Iterator[tuple[str, dict[str, Any]]]:
    """Settings of the training that is about to run; without one those of the policies that were trained."""
    if all_.config:
        yield all_.name, all_.config
        return
    yield from ((p.name, p.config) for p in all_.policies if p.record.get("step") == "train")


def _episode_steps(all_: Subjects, config: dict[str, Any]) -> int:
    """Steps of the longest episode: the environment's own limit, else by the task's; 0 where neither is known."""
    fps = next((spec.fps for _, spec in reversed(all_.specs())), 0.0)
    own = all_.env.max_steps if all_.env else 0
    return own or round(float((config.get("task") or {}).get("time_limit_s") or 0) * fps)


def _action_dims(all_: Subjects) -> int:
    return next((len(spec.action.dims) for _, spec in all_.specs()), 0)


@rule("LRN006", covers=("F6", "F8", "F9", "S10", "S13"), steps=("eval",), reads=Reads.policy, severity=Severity.warning)
def guards_tripped(p: Made) -> Iterator[Finding]:
    """A guard tripped while this policy was trained.

    Symptom:  what the guard says.
    Cause:    see the guard: values beyond the reward, fewer updates than configured, demonstrations missing from the
              batches, takeovers that carry the episodes, success that fell.
    Detected: - rows in the policy's guards.csv, as the guards of training left them [a_guard_that_spoke]
    Fix:      what the guard says.
    Source:   devlogs 058, 072 and 082, and the silent defects S10, S13 and S14.
    """
    for guard in noted(p.path):
        yield Finding(f"{guard.code}: {guard.what}", where=guard.where, fix=guard.fix)


@rule("LRN007", covers=("E6", "S3"), reads=Reads.evaluation, severity=Severity.warning)
def too_few_episodes(e: Made) -> Iterator[Finding]:
    """An evaluation has too few episodes, or sampled its actions.

    Symptom:  8 of 10 one day, 6 of 10 the next; rates that cannot be compared.
    Cause:    ten episodes leave a success rate of 70 % anywhere between 40 and 89 %; actions sampled at evaluation add
              exploration noise.
    Detected: - fewer than {LEAST_EPISODES} episodes of a policy [ten_episodes]
              - stochastic=true [sampled_actions]
    Fix:      hiltk eval episodes=40, stochastic=false.
    Source:   devlog 072 and the code's select_action, which samples.
    """
    counts: dict[str, int] = {}
    for row in e.table("episodes.csv"):
        counts[row["policy"]] = counts.get(row["policy"], 0) + 1
    few = {name: count for name, count in counts.items() if count < LEAST_EPISODES}
    if few:
        yield Finding(
            "few episodes: " + ", ".join(f"{name} {count}" for name, count in few.items()),
            where="episodes.csv",
            evidence=dict(few),
            fix="hiltk eval episodes=40",
        )
    if e.config.get("stochastic"):
        yield Finding("actions were sampled, not the policy's best", where="stochastic=true", fix="stochastic=false")
