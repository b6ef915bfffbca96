"""Causes in what a run learns from: data, reward and the humans who help. See `hiltk.diagnostics.causes`."""

from __future__ import annotations

import numpy as np

from hiltk import limits
from hiltk.config.groups import SacConf
from hiltk.diagnostics import composition
from hiltk.diagnostics.composition import (
    at_limit_share,
    rewarded_share,
    silent_share,
    still_dimensions,
    still_share,
    timed_out_share,
)
from hiltk.diagnostics.evidence import RECENT, Evidence
from hiltk.diagnostics.shifts import apart_share
from hiltk.diagnostics.suspects import Cause, Suspect, at_least
from hiltk.errors import listed
from hiltk.findings import Finding
from hiltk.limits import ramp

# ---------------------------------------------------------------- data


def zero_actions(e: Evidence) -> Suspect | None:
    """[A1, A2, devlogs 044, 045]"""
    demos, human = (silent_share(part, e.policy.spec) for part in (e.demos, e.corrections))
    share = float(np.nanmax([demos, human, 0.0]))
    return Suspect(
        "zero actions",
        share,
        1.0,
        Finding(
            f"{share:.0%} of the human's motion is stored with an action of zero: critics and imitation learn that "
            "doing nothing solves the task",
            fix="hiltk fix-actions rebuilds them from the joints; then train anew",
            code="ACT001" if not demos < share else "ACT002",
            evidence={"demos_silent": demos, "corrections_silent": human},
        ),
    )


def dead_proprioception(e: Evidence) -> Suspect | None:
    """[S1, S2]"""
    alive, dead, narrow = still_dimensions(e.demos, e.online, e.policy.spec)
    share = still_share(e.demos, e.online, e.policy.spec)
    named = [e.spec.state.names[i] for i in np.flatnonzero(dead | narrow)]
    return Suspect(
        "dead proprioception",
        min(1.0, 2 * share),
        1.0,
        Finding(
            f"{len(named)} of {alive.sum()} dimensions of the state that move in training stand still in the "
            f"demonstrations or are normalised by a deviation near zero ({listed(named, 4) or 'none'}): they tell the "
            "policy nothing",
            fix="record again with a state that follows the arm (hiltk check names the column), or leave the column "
            "out",
            code="LRN001" if narrow.any() else "KIN001",
            evidence={"dead": float(dead.sum()), "narrow": float(narrow.sum()), "alive": float(alive.sum())},
        ),
    )


def domain_shift(e: Evidence) -> Suspect | None:
    """[C4, C12, D10, devlog 046]"""
    apart, light = apart_share(e.shifts), e.light_gap
    return Suspect(
        "domain shift between demonstrations and training",
        max(ramp(apart, 0.1, 0.5), limits.LIGHT.degree(light)),
        0.8,
        Finding(
            f"demonstrations and training differ as if in units, calibration or light: {apart:.0%} of the state's "
            f"dimensions hardly overlap, the brightness of a camera differs by {light:.0%}",
            fix="compare light, exposure, crop, units and reset with those of the recording; record again where they "
            "changed",
            code="IMG004" if light > limits.LIGHT.sound else "LRN002",
            evidence={"dimensions_apart": apart, "brightness_gap": light},
        ),
    )


def human_data_missing(e: Evidence) -> Suspect | None:
    """[S13, S14]"""
    share, named = e.metric("batch_demos"), bool(e.setting("demos"))
    helped = e.takeovers.takeovers > 0
    if named:
        severity, certainty = 0.9 * limits.DEMONSTRATED.degree(share), 1.0
    else:
        severity, certainty = (0.25 if helped or e.setting("init") else 0.5), 1.0
    seen = f"{share:.1%} of each batch are demonstrations" if named else "no demonstrations are named"
    return Suspect(
        "demonstrations do not reach the batches",
        severity * e.headroom,
        certainty,
        Finding(
            f"{seen}: what the human showed is not learned from",
            fix="demos=[NAME] and demo_fraction=0.5; demonstrations have their own replay buffer, without eviction",
            code="guard human_share (S13)",
            evidence={
                "batch_demos": share,
                "demo_fraction": float(e.setting("demo_fraction", 0.0)),
                "demo_transitions": len(e.demos),
            },
        ),
    )


def two_reward_rules(e: Evidence) -> Suspect | None:
    """[S9]"""
    if not len(e.demos) or e.spec.reward.source == "env":
        return None
    share, hold = composition.short_of_the_rule(e.demos, e.spec), e.spec.reward.hold_steps
    return Suspect(
        "demonstrations that follow another reward rule",
        share * e.headroom,
        0.9,
        Finding(
            f"{share:.0%} of the demonstrations end before success has shown for the {hold} steps that training asks "
            "for: the same state is worth 1 in one half of a batch and 0 in the other, and nothing shows how to hold",
            fix="record again (hiltk record goes on after success for long enough) and train anew",
            code="REW008",
            evidence={"short": share, "hold_steps": hold},
        ),
    )


def small_actions(e: Evidence) -> Suspect | None:
    """[A5]"""
    human = [p for p in (e.demos, e.corrections) if len(p)]
    if not human:
        return None
    saturated, succeeds = at_limit_share(human), rewarded_share(human, e.spec)
    tiny = e.refused("ACT006") is not None
    return Suspect(
        "actions too small",
        limits.STRETCHED.degree(saturated) * (1 - succeeds),
        1.0 if tiny else 0.8,
        Finding(
            f"the human's actions are at their limit in {saturated:.0%} of the steps, and {succeeds:.0%} of these "
            "episodes reach success: a full action moves the arm too little for the time there is",
            fix="a larger env.action_scale_m (and record anew), or a longer task.time_limit_s",
            code="ACT006",
            evidence={"saturated": saturated, "human_success": succeeds, "action_scale_m": e.spec.action.scale_m},
        ),
    )


# ---------------------------------------------------------------- reward


def false_successes(e: Evidence) -> Suspect | None:
    """[E5, E6, E12, devlogs 072, 075]"""
    if e.setting("reward.source") != "classifier":
        return None
    known = "true_success" in e.metrics and e.metrics.true_success.notna().any()
    blind = e.refused("REW010", "REW007", "LRN003")
    (false, rewarded), (worst, of) = (e.early, e.early_at_worst) if known else ((0, 0), (0, 0))
    severity, certainty = limits.EARLY.degree(at_least(worst, of)), 1.0
    seen = f"{false} of {rewarded} rewarded episodes were ended before success, at worst {worst} of {of}"
    missing_mm = e.metric("missing_mm")
    seen += f", {missing_mm:.0f} mm short on average" if np.isfinite(missing_mm) else ""
    if not known:  # as on a real arm
        severity, certainty, seen = (0.7 if blind else 0.0), 0.6, "the truth is not known"
    return Suspect(
        "false successes of the reward classifier",
        severity,  # whatever an evaluation says: with such a reward its success is luck
        certainty,
        Finding(
            f"{seen}{f'; {blind.what}' if blind else ''}: the policy learns to exploit the classifier (reward hacking)",
            fix="train the classifier on such failures too (human=wandering keep=all), at the pace of the run and with "
            "longer tails (steps_after_success); look at mistakes.png",
            code="REW010" if known else "REW007",
            evidence={
                "early": float(false), "rewarded_episodes": float(rewarded), "early_at_worst": float(worst), "of": of,
                "missing_mm": missing_mm,
            },
        ),
    )  # fmt: skip


def missed_successes(e: Evidence) -> Suspect | None:
    """[D4, D5, E4]"""
    if e.setting("reward.source") != "classifier" or "true_success" not in e.metrics:
        return None
    (missed, true), (worst, of) = e.missed, e.missed_at_worst
    return Suspect(
        "successes that the reward classifier misses",
        at_least(worst, of),
        1.0,
        Finding(
            f"{missed} of {true} true successes were not rewarded, at worst {worst} of {of} within {RECENT} episodes: "
            "critics take a success for a failure",
            fix="train the classifier on frames of this camera and light; a lower threshold only if false successes "
            "stay rare",
            code="REW007",
            evidence={"missed": missed, "true_successes": true, "missed_at_worst": worst, "of": of},
        ),
    )


def reward_never_reached(e: Evidence) -> Suspect | None:
    """[E1, devlog 058]"""
    share = e.metric("positive_share")
    reached = rewarded_share([e.online], e.spec)
    share = reached if not np.isfinite(share) else share
    alone = not len(e.demos) and not e.takeovers.takeovers
    sparse = e.setting("reward.source") != "env"
    return Suspect(
        "reward is never reached",
        limits.POSITIVE.degree(share) * (1 - ramp(reached, 0.05, 0.3)) if sparse else 0.0,
        0.95 if alone else 0.5,
        Finding(
            f"{share:.2%} of what was learned from is rewarded and {reached:.0%} of the episodes reach a reward"
            + (", with nobody who shows or helps" if alone else "")
            + ": critics see almost no reward",
            fix="demonstrations that end in success, brief corrections (intervention=brief), or bc-pretrain first",
            code="REW001",
            evidence={"positive_share": share, "episodes_rewarded": reached, "takeovers": float(e.takeovers.takeovers)},
        ),
    )


def terminal_timeouts(e: Evidence) -> Suspect | None:
    """[algorithms 1a: HIL-SERL's mask; Pardo et al. 2018]"""
    share = timed_out_share(e.online, e.spec)
    by_rule = e.setting("reward.timeout") == "terminal"
    return Suspect(
        "time-outs stored as terminal",
        0.8 * ramp(share, 0.0, 0.5) * e.headroom if by_rule else 0.0,
        1.0,
        Finding(
            f"{share:.0%} of the episodes ended by time and are stored as terminal: critics do not bootstrap there "
            "and learn that states just before the time limit are worthless",
            fix="reward.timeout=truncated",
            code="Pardo et al. 2018, arXiv 1712.00378 (reward.timeout)",
            evidence={"timeouts_terminal": share, "ends": float(e.online.episodes)},
        ),
    )


def low_discount(e: Evidence) -> Suspect | None:
    """A discount under which success is worth nothing at the start [E5, F6]."""
    discount, steps, worth = e.discount, e.steps_to_success, e.worth_at_start
    return Suspect(
        "discount too low for the task",
        ramp(-np.log10(max(worth, 1e-300)), 2.0, 4.0) * e.headroom if np.isfinite(worth) else 0.0,
        0.9,
        Finding(
            f"success takes {steps:.0f} steps; with a discount of {discount:g} the return at the start is {worth:.1e} "
            "of the reward, less than the critics' error",
            fix=f"agent.discount={SacConf.discount:g} at 10 Hz, up to 0.99 for longer tasks",
            code="REW003",
            evidence={"discount": discount, "steps_to_success": steps, "worth_at_start": worth},
        ),
    )


def impossible_values(e: Evidence) -> Suspect | None:
    """[F6, devlog 058]"""
    low, high = e.q_bounds
    q, top = e.metric("q_mean", 3), e.metric("q_max", 3)
    if not np.isfinite(high - low) or not np.isfinite(q):
        return None
    beyond = float(limits.beyond(q, low, high))
    said = e.tripped("q_bound")
    return Suspect(
        "Q values beyond any return",
        max(limits.Q_BEYOND.degree(beyond), 0.6 if said else 0.0),
        0.8,
        Finding(
            f"Q is {q:.3g} on average and {top:.3g} at most, returns lie between {low:.3g} and {high:.3g}"
            + (": the critics overestimate" if beyond > limits.Q_BEYOND.alarm or said else ""),
            fix="agent.clip_target=true, more critics (agent=rlpd) or a lower utd",
            code="guard q_bound (F6)",
            evidence={"q_mean": q, "q_max": top, "q_low": low, "q_high": high},
        ),
    )


# ---------------------------------------------------------------- humans


def long_takeovers(e: Evidence) -> Suspect | None:
    """[F8, E2, devlogs 048, 072, 073]"""
    t = e.takeovers
    carried = t.carried * limits.LONG_TAKEOVERS.degree(t.long)
    return Suspect(
        "takeovers that carry the episodes",
        max(limits.TAKEN_OVER.degree(t.rate), 0.8 * carried) if t.takeovers else 0.0,
        0.9,
        Finding(
            f"the human makes {t.rate:.0%} of the steps, {t.mean_length:.0f} at a time, and brings {t.carried:.0%} of "
            "the rewarded episodes to success by a long takeover: critics credit the policy with it, and it never "
            "experiences its own mistakes",
            fix="intervention=brief: let it explore, correct one thing, let go; if it is helpless, bc-pretrain first",
            code="guard long_interventions (F8)",
            evidence={"rate": t.rate, "mean_length": t.mean_length, "long": t.long, "carried": t.carried},
        ),
    )


DATA_CAUSES: list[Cause] = [
    zero_actions, dead_proprioception, domain_shift, human_data_missing, two_reward_rules, small_actions,
    false_successes, missed_successes, reward_never_reached, terminal_timeouts, low_discount, impossible_values,
    long_takeovers,
]  # fmt: skip
