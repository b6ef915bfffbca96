"""LRN: statistics, classifiers, learners and evaluations that cannot be trusted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hiltk import limits
from hiltk.agents.policy import WEIGHTS
from hiltk.agents.schedules import parse_schedule
from hiltk.checks.rule import WRITERS, Reads, rule
from hiltk.checks.subject import DatasetSubject, Made, Subjects
from hiltk.data.statistics import floors
from hiltk.errors import listed
from hiltk.findings import Finding, Severity
from hiltk.learning.guards import noted
from hiltk.limits import RECALL
from hiltk.spec import STATE_KEY, Dimension, Stats

LEAST_STD = 1e-4
MOST_FAR = 0.8  # share of a dataset's rows
MOST_ASIDE, ASIDE_STD, MIDDLE_STD = (
    0.95,
    2.0,
    3.0,
)  # share of its rows further off to one side; and where their middle is
LEAST_SPREAD = 0.02  # where ranges stand for deviations (a quarter of the range), what counts as least is 0.04
MOST_OFF, MOST_TIMES = 1.0, 3.0  # of statistics from the same data, floors included
MOST_OUTSIDE, RESETS = 0.95, 3
SLACK = 1e-3  # of single precision
LEAST_PRECISION, LEAST_RECALL, LEAST_ACCURACY = 0.9, 0.5, 0.9
NO_PRECISION = 0.5
LEAST_EPISODES = 20
LEAST_KEPT = 5000  # transitions of experience


@dataclass(frozen=True)
class Normaliser:
    """How a state (D,) is brought to zero mean and unit variance.

    Attributes:
        name: of the artifact that does so.
        source: where its numbers stand.
    """

    name: str
    dims: list[Dimension]
    mean: np.ndarray
    std: np.ndarray
    source: str

    @property
    def names(self) -> list[str]:
        return [dim.name for dim in self.dims]

    def listed(self, which: np.ndarray) -> str:
        """Some of its dimensions with their deviations."""
        return listed([f"{self.names[i]} {self.std[i]:.1e}" for i in which], 6)


def _normalisers(all_: Subjects) -> Iterator[Normaliser]:
    """What the networks use: a policy's own buffers, what this run's settings say, else what is in a spec."""
    for name, spec in all_.specs():
        size, stats = len(spec.state.dims), spec.stats.get(STATE_KEY)
        policy = next((p for p in all_.policies if p.name == name), None)
        if policy and policy.normaliser is not None and len(policy.normaliser[0]) >= size:
            mean, std = (np.asarray(part[:size], np.float64) for part in policy.normaliser)
            yield Normaliser(name, spec.state.dims, mean, std, f"the network's own, {WEIGHTS}")
        elif stats is not None and len(stats.std) == len(stats.mean) == size:
            source = f"stats.{STATE_KEY}, from {stats.source or 'an unknown source'}"
            yield Normaliser(name, spec.state.dims, np.array(stats.mean), np.array(stats.std), source)
    agent = all_.config.get("agent") or {}
    pasted = [agent.get("state_mean") or [], agent.get("state_std") or []]
    first = next((spec for _, spec in all_.specs()), None)
    if first is not None and any(len(part) == len(first.state.dims) for part in pasted):
        stats = first.stats.get(STATE_KEY) or Stats([0.0] * len(first.state.dims), [1.0] * len(first.state.dims))
        mean, std = (
            np.array(part or own, np.float64) for part, own in zip(pasted, (stats.mean, stats.std), strict=True)
        )
        if len(mean) == len(std) == len(first.state.dims):
            yield Normaliser(all_.step or "this run", first.state.dims, mean, std, "agent.state_mean, agent.state_std")


@rule("LRN001", covers=("S1",), steps=(*WRITERS, "bc-pretrain", "train", "eval"), reads=Reads.together)
def narrow_statistics(all_: Subjects) -> Iterator[Finding]:
    """A dimension of the state is normalised by a standard deviation near zero.

    Symptom:  none; the policy does the same motion everywhere, as if it had no proprioception. It has none.
    Cause:    statistics pasted by hand, or taken where a joint stands still: minimum and maximum equal, divided by
              1e-8, gives 600 million, and after a layer norm every other dimension changes a feature by 6e-8.
    Detected: in what networks use: the buffers of a policy, agent.state_std, the spec of data that is learned from.
              hiltk's own statistics never go below a hundredth of the range.
              - a standard deviation below a thousandth of the dimension's range [statistics_of_a_joint_at_rest]
              - one below {LEAST_STD}, or that is no number [statistics_without_spread,
                a_network_of_no_numbers]
              - so in the network of a policy, whatever its spec says [a_network_without_spread]
              - so in the settings of the run [pasted_deviations]
    Fix:      take the statistics from data: record, fix-actions and adopt do.
    Source:   found in every SAC config of the series, and emulated.
    """
    for used in _normalisers(all_):
        span = np.array([d.high - d.low for d in used.dims])
        floor = np.where(np.isfinite(span) & (span > 0), limits.NARROW * span, LEAST_STD)
        narrow = np.flatnonzero(~(used.std >= np.maximum(LEAST_STD, floor)))  # NaN is not wide either
        if len(narrow):
            yield Finding(
                f"{len(narrow)} of {len(used.std)} dimensions of the state have a deviation near zero: "
                f"{used.listed(narrow)}",
                where=f"standard deviations: {used.source}",
                fix="take the statistics from data, with a floor: hiltk record and fix-actions write such",
                evidence={used.names[i]: float(used.std[i]) for i in narrow},
                subject=used.name,
            )


@rule("LRN002", covers=("S1", "C4"), steps=(*WRITERS, "bc-pretrain", "train"), reads=Reads.together)
def foreign_statistics(all_: Subjects) -> Iterator[Finding]:
    """States lie far outside the statistics that normalise them, or hardly differ under them.

    Symptom:  constant shaking; a pretrained policy that acts as if it had never seen the task, or always does the same.
    Cause:    the statistics are those of other data, or of another unit (degrees against radians: 57 times); half a
              range taken for the range.
    Detected: under what networks use: a dataset's own statistics, the buffers of a policy, agent.state_mean and
              agent.state_std.
              - over {MOST_FAR:%} of the rows of a dataset are more than {limits.FAR_STD:g} standard deviations off in
                some dimension. Not 1 %, as first thought of: a dimension that rests and then jerks may have 4 % out
                there by its own statistics (Chebyshev), and a sound policy that was cloned on the near half of the
                table finds up to 46 % of sound play over all of it there [statistics_of_radians,
                a_policy_of_another_unit]
              - {MOST_ASIDE:%} are more than {ASIDE_STD:g} off to one side, half of them more than {MIDDLE_STD:g}
                [pasted_means]
              - so under a policy's it is a warning: it may have learned on the other side of the table [half_a_range]
              - they spread by under {LEAST_SPREAD:%} of the deviation that they are divided by: the network sees the
                same number everywhere [a_network_that_sees_no_difference, pasted_wide_deviations]
    Fix:      warm-start only from policies of the same units; recompute the statistics.
    Source:   devlog 046, and the statistics of every SAC config of the series.
    """
    used = list(_normalisers(all_))
    policies = {p.name for p in all_.policies} | {all_.step or "this run"}
    for d in all_.datasets:
        for by in used:
            if (by.name != d.name and by.name not in policies) or d.spec is None or by.names != d.spec.state.names:
                continue
            if len(by.std) == d.state.shape[1] and (by.std > 0).all() and (found := _dead(d.state, by)):
                foreign = by.name in {p.name for p in all_.policies} or bool(all_.config.get("init"))
                severity = Severity.warning if found.severity is Severity.warning and foreign else Severity.error
                where = f"states of {d.name} under {by.source} of {by.name}"
                yield replace(found, where=where, subject=d.name, severity=severity)


def _dead(states: np.ndarray, by: Normaliser) -> Finding | None:
    """What is wrong with states (N, D) as the network sees them; a warning where that may be meant."""
    z = (states - by.mean) / by.std
    far, aside = (np.abs(z) > limits.FAR_STD).mean(0), np.maximum((z > ASIDE_STD).mean(0), (z < -ASIDE_STD).mean(0))
    spread = np.maximum(states.std(0), floors(states, by.dims)) / by.std
    middle, severity = np.median(z, axis=0), Severity.error
    aside = np.where(np.abs(middle) > MIDDLE_STD, aside, 0.0)
    wrong = "another unit or other data: take the statistics from the data that is learned from"
    if far.max() > MOST_FAR:
        worst, off = int(far.argmax()), limits.FAR_STD
        what = f"{far[worst]:.0%} of {by.names[worst]} lie over {off:g} standard deviations from the mean"
    elif aside.max() >= MOST_ASIDE:
        worst, severity = int(aside.argmax()), Severity.warning
        side = "above" if middle[worst] > 0 else "below"
        what = (
            f"{aside[worst]:.0%} of {by.names[worst]} lie over {ASIDE_STD:g} standard deviations {side} the mean, "
            f"{middle[worst]:+.1f} in the middle"
        )
    elif spread.min() < LEAST_SPREAD:
        worst = int(spread.argmin())
        what = f"{by.names[worst]} spreads by {states[:, worst].std():.3g} and is divided by {by.std[worst]:.3g}"
        wrong = "the network sees the same number everywhere: take the statistics from the data that is learned from"
    else:
        return None
    evidence = {"far_share": float(far[worst]), "spread": float(spread[worst])}
    return Finding(what, fix=wrong, evidence=evidence, severity=severity)


@rule("LRN008", covers=("S1", "G6"), steps=("bc-pretrain", "train", "eval"), reads=Reads.policy)
def other_buffers(p: Made) -> Iterator[Finding]:
    """A policy's network normalises by other numbers than its spec says.

    Symptom:  hiltk show and hiltk diff tell of sound statistics; the policy is blind to its joints all the same.
    Cause:    weights of one policy beside the spec of another; a file edited by hand; a converter that wrote its own.
    Detected: - mean and deviation in the weights are neither the spec's nor those of agent.state_mean and
                agent.state_std [buffers_of_another_policy]
    Fix:      take weights and spec from one policy, or train again.
    Source:   found in a policy that 38 of 38 rules had passed.
    """
    stats, size = p.spec.stats.get(STATE_KEY), len(p.spec.state.dims)
    if p.normaliser is None or stats is None or len(stats.mean) != size or len(p.normaliser[0]) % max(size, 1):
        return
    agent, times = p.config.get("agent") or {}, len(p.normaliser[0]) // max(size, 1)
    for what, kept, own in zip(("mean", "deviation"), p.normaliser, (stats.mean, stats.std), strict=True):
        said = [own, *([pasted] if len(pasted := agent.get(_SETTING[what]) or []) == size else [])]
        off = [np.abs(kept - np.tile(one, times)) for one in said]
        scale = np.abs(np.tile(stats.std, times)) + np.abs(kept)
        if all(not (gap <= SLACK * scale).all() for gap in off):
            worst = int(np.nanargmax(off[0] / np.maximum(scale, 1e-12))) if np.isfinite(off[0]).any() else 0
            name = p.spec.state.names[worst % size]
            yield Finding(
                f"its network normalises {name} by a {what} of {kept[worst]:.4g}, its spec says "
                f"{own[worst % size]:.4g}",
                where=f"{WEIGHTS} against stats.{STATE_KEY} of its spec",
                fix="take weights and spec from one policy, or train it again",
                evidence={"used": float(kept[worst]), "said": float(own[worst % size])},
            )
            return


_SETTING = {"mean": "state_mean", "deviation": "state_std"}


@rule("LRN009", covers=("S1",), steps=("bc-pretrain", "train"))
def false_state_statistics(d: DatasetSubject) -> Iterator[Finding]:
    """The state's statistics in a dataset's spec are not those of its data.

    Symptom:  as with any wrong normalisation: slow learning, a policy that shakes or does not look at its joints.
    Cause:    a spec edited or pasted by hand; statistics of a session before a joint was calibrated anew.
    Detected: hiltk computes them of all rows, with a floor for what hardly moves.
              - a mean off by more than {MOST_OFF:g} of its deviation [a_mean_of_other_data]
              - a deviation over {MOST_TIMES:g} times too large or too small [deviations_of_other_data]
    Fix:      hiltk stats computes them anew.
    Source:   a half range that was meant as a range: data at -4 deviations, all of it.
    """
    stats = d.spec.stats.get(STATE_KEY) if d.spec else None
    if d.spec is None or stats is None or not len(stats.mean) == len(stats.std) == d.state.shape[1] or not len(d):
        return
    true = np.maximum(d.state.std(0), floors(d.state, d.spec.state.dims))
    off, times = np.abs(d.state.mean(0) - stats.mean) / true, np.array(stats.std) / true
    wrong = np.flatnonzero(~((off <= MOST_OFF) & (times <= MOST_TIMES) & (times >= 1 / MOST_TIMES)))
    if len(wrong):
        i = int(wrong[0])
        yield Finding(
            f"{len(wrong)} of {len(true)} dimensions of the state have statistics of other data, e.g. "
            f"{d.state_names[i]}: mean {stats.mean[i]:.4g} and deviation {stats.std[i]:.4g}, in truth "
            f"{d.state[:, i].mean():.4g} and {true[i]:.4g}",
            where=f"stats.{STATE_KEY}, from {stats.source or 'an unknown source'}",
            fix="hiltk stats computes them anew",
            evidence={"dimensions": len(wrong), "mean": float(stats.mean[i]), "std": float(stats.std[i])},
        )


@rule("LRN010", covers=("S1", "C4", "C12"), steps=(*WRITERS, "bc-pretrain", "train", "eval"), reads=Reads.together)
def outside_stated_range(all_: Subjects) -> Iterator[Finding]:
    """States lie outside the range that a spec states for them.

    Symptom:  where there are no demonstrations a network normalises by these ranges: it sees -4 and the like.
    Cause:    half a range taken for the range, another unit, a zero elsewhere.
    Detected: where a spec states a range.
              - {MOST_OUTSIDE:%} of the values of a dimension of a dataset lie outside its spec's
                [a_range_beside_the_data]
              - so they do outside the environment's that trains [an_environment_with_another_range]
              - so do the states after {RESETS} resets of the environment, before training and evaluation
                [an_environment_outside_its_own_range]
    Fix:      state the range that the values have (foreign.*, or the environment's observation space).
    Source:   a half range that was meant as a range: all data outside the stated low and high.
    """
    shown = [(d.name, d.state, d.spec, "its own spec") for d in all_.datasets]
    if all_.target is not None:
        alike = [d for d in all_.datasets if d.state_names == all_.target.state.names]
        shown += [(d.name, d.state, all_.target, "the environment") for d in alike]
    if all_.env is not None:
        states = np.stack([all_.env.reset(seed=seed)[0][STATE_KEY] for seed in range(RESETS)])
        shown.append(("the environment", states, all_.env.io_spec, "its own spec"))
    for name, states, spec, whose in shown:
        if spec is None or states.shape[1] != len(spec.state.dims) or not len(states):
            continue
        low, high = (np.array([getattr(d, side) for d in spec.state.dims]) for side in ("low", "high"))
        slack = 1e-3 * (high - low)
        outside = ((states < low - slack) | (states > high + slack)).mean(0) * (low < high)
        if outside.max() >= MOST_OUTSIDE:
            i = int(outside.argmax())
            yield Finding(
                f"{outside[i]:.0%} of {spec.state.names[i]} lie outside the range that {whose} states: "
                f"{states[:, i].min():.4g} to {states[:, i].max():.4g} instead of {low[i]:.4g} to {high[i]:.4g}",
                where=f"state.dims[{i}], low and high",
                fix="state the range that the values have, in their own unit",
                evidence={"outside_share": float(outside[i])},
                subject=name,
            )


@rule("LRN003", covers=("E4", "E3"), steps=("train",), reads=Reads.classifier)
def weak_classifier(c: Made) -> Iterator[Finding]:
    """The reward classifier errs too often at the threshold it is used with.

    Symptom:  episodes end in success with an empty hand, and the policy learns exactly that.
    Cause:    a threshold tried at 0.5 in training, 0.7 in the environment and 0.85 before; figures taken from frames
              that were trained on (98.15 % for 92.3 %).
    Detected: on held-out episodes at the stored threshold. The catalogue asks for a precision of 98 %; of the hundred
              or so positive frames that are usually held out three mistakes would then be an alarm, and the hold rule
              forgives those.
              - precision below {LEAST_PRECISION:%} is a warning [poor_precision]
              - recall below {LEAST_RECALL:%} is a warning [poor_recall]
              - accuracy below {LEAST_ACCURACY:%} is a warning [poor_accuracy]
              - no episode held out is a warning [nothing_held_out]
              - recall below {RECALL.spoilt:%}: it may not pay the only reward [no_recall]
              - precision below {NO_PRECISION:%}, or not known: most of what it pays is false [no_precision,
                a_figure_that_is_no_number]
              - every successful episode missed, of two or more: nothing is ever paid [every_success_missed]
              - every failed episode rewarded, of two or more [every_failure_rewarded]
    Fix:      more failures (human=wandering keep=all) and more episodes; look at mistakes.png.
    Source:   devlogs 061 and 065, and the comparison of classifiers v4.
    """
    metrics = c.json("metrics.json")
    if not metrics:
        return
    if not (metrics.get("episodes") or {}).get("held_out"):
        what = "no episode was held out: its figures are those of its training set"
        yield Finding(what, where="metrics.json", severity=Severity.warning)
        return
    figures = {"precision": LEAST_PRECISION, "recall": LEAST_RECALL, "accuracy": LEAST_ACCURACY}
    known = {key: float("nan") if metrics[key] is None else metrics[key] for key in figures if key in metrics}
    low = [f"{key} {value:.0%}" for key, value in known.items() if not value >= figures[key]]  # NaN is not enough
    whole = [text for key, text in _EPISODES.items() if _all_of(metrics.get(key))]
    spoilt = not (known.get("recall", 1.0) >= RECALL.spoilt and known.get("precision", 1.0) >= NO_PRECISION)
    if low or whole:
        yield Finding(
            f"on held-out episodes: {', '.join([*low, *whole])}",
            where=f"metrics.json, threshold {metrics.get('threshold', float('nan')):.3g}",
            fix="record more failures and more episodes, and look at mistakes.png for wrong labels",
            evidence=known | {k: float(metrics[k]) for k in ("threshold",) if k in metrics},
            severity=Severity.error if spoilt or whole else Severity.warning,
        )


_EPISODES = {"missed": "every success is missed", "wrongly_rewarded": "every failure is rewarded"}


def _all_of(counted: dict[str, Any] | None) -> bool:
    return counted is not None and counted["n"] > 1 and counted["count"] == counted["n"]


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
