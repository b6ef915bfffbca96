"""What can hold a training run back: one function per cause, which weighs what others have found.

Rules, guards and the other diagnoses detect and measure (`Evidence`); here their findings are made comparable.

A score is ``severity * certainty``, both from 0 to 1, so that causes can be ranked against each other:

- *Severity*: how much of what the run learns from or with (actions, observations, reward, human data, updates) is
  spoilt. 1: nothing of it is left. Mostly a measured share; where a number has no natural share, a ramp between a value
  that sound runs stay below and one where nothing worked (`hiltk.limits`).
- *Certainty*: 1 where the fault itself was read or measured; 0.8 where the measurement needs an assumption; 0.5 to 0.6
  where a symptom was seen that other causes share. A share of few cases counts by the lower end of its 95 % Wilson
  interval.

Faults that only slow learning down are scaled by what there is left to learn (`Evidence.headroom`): they do not hold
back a policy that succeeds. Spoilt data are not, and false rewards only by an evaluation: the success rate of training
says nothing about them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from hiltk import limits
from hiltk.checks.rule import RULES
from hiltk.diagnostics.composition import silent_share, still_dimensions, timed_out
from hiltk.diagnostics.encoder import filter_spread
from hiltk.diagnostics.evidence import RECENT, Evidence
from hiltk.diagnostics.experience import longest_episode
from hiltk.diagnostics.shifts import NO_OVERLAP
from hiltk.findings import Finding, Severity
from hiltk.limits import ramp
from hiltk.reward_rule import q_bounds, wilson
from hiltk.spec import STATE_KEY

STANDS_OUT = 0.3
SEEN = 0.01  # scores below are no sign of anything
FEW_EPISODES = 20  # of training: too few to judge by


@dataclass(frozen=True)
class Suspect:
    """A finding with its weight among the others.

    Attributes:
        cause: its name.
        severity, certainty: 0 to 1; see the module.
        finding: what was seen and what that means, what to do, the numbers; its code is where it is explained, a rule,
            a guard, or an id of the catalogue of failures.
    """

    cause: str
    severity: float
    certainty: float
    finding: Finding

    @property
    def score(self) -> float:
        return self.severity * self.certainty

    @property
    def link(self) -> str:
        """How to read more."""
        code = self.finding.code
        return f"hiltk check --explain {code}" if code in RULES else code


Cause = Callable[[Evidence], Suspect | None]


def grown(e: Evidence) -> float:
    """Certainty of what a policy may show merely because it is young: 0.25 up to 2000 updates, 0.6 from 10000."""
    return 0.25 + 0.35 * ramp(e.metric("update", 1), 2_000, 10_000)


def at_least(count: int, of: int) -> float:
    """What a share is at least, by its 95 % Wilson interval; 0 of none."""
    return wilson(count, of).low


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
    stuck = not alive.any() and bool(np.abs(e.online.action).max(initial=0) > 0.1)
    share = 1.0 if stuck else float((dead | narrow).sum() / max(1, alive.sum()))
    named = [e.spec.state.names[i] for i in np.flatnonzero(dead | narrow)]
    listed = ", ".join(named[:4]) + (f" and {len(named) - 4} more" if len(named) > 4 else "")
    return Suspect(
        "dead proprioception",
        min(1.0, 2 * share),
        1.0,
        Finding(
            f"{len(named)} of {alive.sum()} dimensions of the state that move in training stand still in the "
            f"demonstrations or are normalised by a deviation near zero ({listed or 'none'}): they tell the "
            "policy nothing",
            fix="record again with a state that follows the arm (hiltk check names the column), or leave the column "
            "out",
            code="LRN001" if narrow.any() else "KIN001",
            evidence={"dead": float(dead.sum()), "narrow": float(narrow.sum()), "alive": float(alive.sum())},
        ),
    )


def domain_shift(e: Evidence) -> Suspect | None:
    """[C4, C12, D10, devlog 046]"""
    table = e.shifts[e.shifts.column == "state"] if len(e.shifts) else e.shifts
    apart = float(((table.ks > NO_OVERLAP) & (table.moved_std.abs() > limits.FAR_STD)).mean()) if len(table) else 0.0
    gaps = {name: abs(online - demos) / max(demos, 0.02) for name, (demos, online) in e.brightness.items()}
    light = max(gaps.values(), default=0.0)
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


def small_actions(e: Evidence) -> Suspect | None:
    """[A5]"""
    human = [p for p in (e.demos, e.corrections) if len(p)]
    if not human:
        return None
    saturated = float(np.concatenate([np.abs(p.action[:, :3]).max(1) > limits.AT_LIMIT for p in human]).mean())
    succeeds = float(np.concatenate([p.positive(e.spec)[p.last] for p in human]).mean())
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
    """[E5, E6, devlogs 072, 075]"""
    if e.setting("reward.source") != "classifier":
        return None
    known = "true_success" in e.metrics and e.metrics.true_success.notna().any()
    # The simulator judges the observation in which the episode was ended; a hold still running is no false success.
    rewarded = e.online.positive(e.spec) & e.online.last
    false = int((rewarded & ~e.online.shown).sum()) if known else 0
    blind = e.refused("REW007", "LRN003")
    severity, certainty = at_least(false, int(rewarded.sum())), 1.0
    if not known:  # as on a real arm
        severity, certainty = (0.7 if blind else 0.0), 0.6
    seen = (
        f"{false} of {rewarded.sum()} rewarded episodes did not end in success" if known else "the truth is not known"
    )
    return Suspect(
        "false successes of the reward classifier",
        severity * (e.headroom if np.isfinite(e.evaluated) else 1.0),  # an evaluation is not the classifier's word
        certainty,
        Finding(
            f"{seen}{f'; {blind.what}' if blind else ''}: the policy learns to exploit the classifier (reward hacking)",
            fix="train the classifier on such failures too (human=wandering keep=all), look at mistakes.png and its "
            "threshold",
            code="REW007",
            evidence={"false": float(false), "rewarded_episodes": float(rewarded.sum())},
        ),
    )


def missed_successes(e: Evidence) -> Suspect | None:
    """[D4, D5, E4]"""
    if e.setting("reward.source") != "classifier" or "true_success" not in e.metrics:
        return None
    true = e.metrics[e.metrics.true_success > 0]
    missed = int((true.success == 0).sum())
    return Suspect(
        "successes that the reward classifier misses",
        at_least(missed, len(true)),
        1.0,
        Finding(
            f"{missed} of {len(true)} true successes were not rewarded: critics take a success for a failure",
            fix="train the classifier on frames of this camera and light; a lower threshold only if false successes "
            "stay rare",
            code="REW007",
            evidence={"missed": float(missed), "true_successes": float(len(true))},
        ),
    )


def reward_never_reached(e: Evidence) -> Suspect | None:
    """[E1, devlog 058]"""
    share = e.metric("positive_share")
    reached = float(e.online.positive(e.spec)[e.online.last].mean()) if len(e.online) else 0.0
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
    ends = e.online.last
    share = float(timed_out(e.online, e.spec)[ends].mean()) if ends.any() else 0.0
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
            evidence={"timeouts_terminal": share, "ends": float(ends.sum())},
        ),
    )


def low_discount(e: Evidence) -> Suspect | None:
    """A discount under which success is worth nothing at the start [E5, F6]."""
    discount, steps = float(e.setting("agent.discount", 0.97)), e.steps_to_success
    worth = discount**steps if np.isfinite(steps) else float("nan")
    return Suspect(
        "discount too low for the task",
        ramp(-np.log10(max(worth, 1e-300)), 2.0, 4.0) * e.headroom if np.isfinite(worth) else 0.0,
        0.9,
        Finding(
            f"success takes {steps:.0f} steps; with a discount of {discount:g} the return at the start is {worth:.1e} "
            "of the reward, less than the critics' error",
            fix="agent.discount=0.97 at 10 Hz, up to 0.99 for longer tasks",
            code="REW003",
            evidence={"discount": discount, "steps_to_success": steps, "worth_at_start": worth},
        ),
    )


def impossible_values(e: Evidence) -> Suspect | None:
    """[F6, devlog 058]"""
    horizon = longest_episode(e.config, e.metrics, e.spec.fps)
    low, high = q_bounds(e.spec.reward, float(e.setting("agent.discount", 0.97)), horizon)
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


# ---------------------------------------------------------------- learner


def too_much_noise(e: Evidence) -> Suspect | None:
    """[F1, F5, devlogs 044, 072]"""
    noise, signal = e.noise
    scheduled, alpha = e.metric("noise", RECENT), e.metric("alpha", RECENT)
    noise = max(noise, min(scheduled, 1.0)) if np.isfinite(scheduled) else noise
    # Uniform noise over the whole range has 0.58; what a sound policy ends with is 0.1 to 0.2. One that is merely young
    # explores as much: where the settings do not ask for it, noise becomes suspicious only after many updates.
    asked = scheduled > limits.NOISE.sound if np.isfinite(scheduled) else _asks_for_entropy(e)
    return Suspect(
        "too much exploration noise",
        limits.NOISE.degree(noise) * e.headroom,
        0.9 if asked else grown(e),
        Finding(
            f"exploration deviates from the policy's action by {noise:.2f} of a full action, the actions themselves "
            f"are {signal:.2f}: noise drowns the policy, and its replay buffer fills with random motion",
            fix="drqv2: agent.noise=linear(0.2,0.05,5000) agent.explore_steps=0; sac: agent.temperature=0.01 and "
            "agent.target_entropy=null; or bc-pretrain first",
            code="LRN005" if np.isfinite(alpha) else "LRN004",
            evidence={"noise_rms": noise, "action_rms": signal, "alpha": alpha},
        ),
    )


def _asks_for_entropy(e: Evidence) -> bool:
    """SAC's settings that keep a policy random: a temperature, or a target entropy, far above the defaults."""
    target = e.setting("agent.target_entropy")
    wide = target is not None and float(target) > limits.WILD_ENTROPY * len(e.spec.action.dims)
    return wide or max(float(e.setting("agent.temperature", 0.0)), e.metric("alpha", RECENT)) > limits.TEMPERATURE


def timid(e: Evidence) -> Suspect | None:
    """[F4, devlog 063]"""
    alpha, size = e.metric("alpha", RECENT), e.metric("action_size", RECENT)
    low = np.isfinite(alpha) and alpha <= limits.ALPHA_GONE
    return Suspect(
        "a timid policy",
        limits.ACTION_SIZE.degree(size) * e.headroom if low else 0.0,
        0.8,
        Finding(
            f"alpha is {alpha:.4f} and actions are {size:.2f} of full size: the arm hardly moves and no longer "
            "explores",
            fix="agent.target_entropy=null, or a higher agent.temperature",
            code="LRN005",
            evidence={"alpha": alpha, "action_size": size},
        ),
    )


def saturated(e: Evidence) -> Suspect | None:
    """[F1, F3, devlogs 023, 050]"""
    share = e.metric("saturation", 5)
    return Suspect(
        "saturated actions",
        limits.SATURATED.degree(share) * e.headroom,
        0.7,
        Finding(
            f"{share:.0%} of the policy's actions are at their limit, where tanh passes no gradient",
            fix="raise agent.temperature; bc-pretrain with loss=mean; look at the action scale of the demonstrations",
            code="guard saturation (F3)",
            evidence={"saturation": share},
        ),
    )


def too_few_updates(e: Evidence) -> Suspect | None:
    """[S10]"""
    steps, updates = e.metric("env_step", 1), e.metric("update", 1)
    replays = updates * float(e.setting("batch_size", 0)) / steps if steps else float("nan")
    wanted, got = float(e.setting("utd", 0)), e.metric("utd")
    behind = 1 - got / wanted if wanted and np.isfinite(got) else 0.0
    return Suspect(
        "too few updates",
        max(ramp(-np.log10(max(replays, 1e-3)), -1.5, 0.0), limits.UPDATES_BEHIND.degree(behind)) * e.headroom,
        0.9,
        Finding(
            f"{updates:.0f} updates in {steps:.0f} steps, so each transition is replayed {replays:.1f} times (the "
            "original learner: some 500 times)",
            fix="utd=2 with batch_size=128, offline_updates=500 before the first episode, or a faster device",
            code="guard update_ratio (S10)",
            evidence={"updates": updates, "env_steps": steps, "replays": replays, "utd": got, "utd_configured": wanted},
        ),
    )


def unstable(e: Evidence) -> Suspect | None:
    """[A1, devlog 044]"""
    said = e.tripped("critic_loss") or e.tripped("gradient")
    return Suspect(
        "losses that explode",
        0.7 if said else 0.0,
        0.6,
        Finding(
            said.what if said else "losses and gradients stay near their median",
            fix="look at the data first (hiltk check); then a lower agent.lr or agent.tau",
            code="guard critic_loss (A1)",
            evidence={"critic_loss": e.metric("critic_loss", 3), "critic_gradient": e.metric("critic_gradient", 3)},
        ),
    )


def regression(e: Evidence) -> Suspect | None:
    """[F9, devlog 082]"""
    said = e.tripped("regression")
    return Suspect(
        "success that was lost again",
        0.8 if said else 0.0,
        0.7,
        Finding(
            said.what if said else f"success without help never fell by {100 * limits.FALLEN:.0f} points",
            fix="look at light, cameras and reset; best/ holds the weights of the best time",
            code="guard regression (F9)",
            evidence={"autonomous": e.metric("autonomous", RECENT)},
        ),
    )


# ---------------------------------------------------------------- what the policy sees


def untrained_encoder(e: Evidence) -> Suspect | None:
    """[S5; an encoder frozen at random]"""
    if e.frozen is None:
        return None
    spread = filter_spread(e.frozen)
    return Suspect(
        "an encoder frozen at random",
        0.9 * (1 - ramp(spread, 1.3, 2.0)) * max(e.headroom, 0.5),
        0.9,
        Finding(
            f"the frozen encoder's filters differ in strength {spread:.1f} times as much as independent random draws do"
            + (": nobody trained it, and training cannot change it" if spread < 1.5 else ""),
            fix="encoder.weights=helper2424/resnet10 or the folder they were downloaded to; or encoder=cnn, which "
            "learns",
            code="S5 (hiltk diagnose encoder)",
            evidence={"filter_spread": spread},
        ),
    )


def ignored_images(e: Evidence) -> Suspect | None:
    """[F8, S1, devlog 072: the same motion for all cubes]"""
    images = e.policy.spec.image_keys
    if not images:
        return None
    sees, feels = e.sensitivity(*images), e.sensitivity(STATE_KEY)
    if not np.isfinite(sees):
        return None
    return Suspect(
        "a policy that ignores its images",
        limits.USED.degree(sees) * e.headroom,
        grown(e),
        Finding(
            f"exchanging the images changes the action by {sees:.0%} of what exchanging everything does, exchanging "
            f"the state by {feels:.0%}",
            fix="hiltk diagnose encoder says whether the images tell positions apart; more demonstrations from other "
            "positions",
            code="S12, F8 (hiltk diagnose encoder)",
            evidence={"image_sensitivity": sees, "state_sensitivity": feels},
        ),
    )


def ignored_state(e: Evidence) -> Suspect | None:
    """[S1]"""
    if not e.policy.spec.image_keys:
        return None
    feels = e.sensitivity(STATE_KEY)
    if not np.isfinite(feels):
        return None
    return Suspect(
        "a policy that ignores its own state",
        limits.USED.degree(feels) * e.headroom,
        grown(e),
        Finding(
            f"exchanging the state changes the action by {feels:.0%} of what exchanging everything does",
            fix="look at the statistics of the state and for columns that stand still",
            code="LRN001",
            evidence={"state_sensitivity": feels},
        ),
    )


# ---------------------------------------------------------------- the rest


def uneven(e: Evidence) -> Suspect | None:
    """[F8, devlog 072: easy positions only]"""
    if len(e.strata) < 2:
        return None
    best, worst = e.strata.loc[e.strata.rate.idxmax()], e.strata.loc[e.strata.rate.idxmin()]
    gap = float(best.rate - worst.rate)
    return Suspect(
        "easy positions only",
        at_least(round(gap * best.n), int(best.n)),
        0.8,
        Finding(
            f"evaluated at {best.stratum} it succeeds in {best.rate:.0%}, at {worst.stratum} in {worst.rate:.0%}: a "
            "local optimum that serves the easy positions",
            fix="demonstrate and correct at the hard positions (task.stratum=, practice=strata)",
            code="F8 (devlog 072)",
            evidence={
                "best": float(best.rate),
                "worst": float(worst.rate),
                "episodes_each": float(min(best.n, worst.n)),
            },
        ),
    )


def refused_inputs(e: Evidence) -> Suspect | None:
    """Whatever else the gate of training finds in the inputs: an error that was ignored, or that newer rules see."""
    errors = [f for f in e.refusals if f.severity is Severity.error]
    codes = list(dict.fromkeys(f.code for f in errors))
    return Suspect(
        "inputs that the checks refuse",
        0.9 if errors else 0.0,
        0.5,  # often another view of a cause above, which then knows more
        Finding(
            f"{codes[0]} {errors[0].what}" + (f"; also {', '.join(codes[1:])}" if codes[1:] else "")
            if errors
            else "the gate of training finds no error in the inputs",
            fix=errors[0].fix if errors else "",
            code=codes[0] if codes else "hiltk check --step train",
            evidence={"errors": float(len(errors))},
        ),
    )


CAUSES: list[Cause] = [
    zero_actions, dead_proprioception, domain_shift, human_data_missing, small_actions, false_successes,
    missed_successes, reward_never_reached, terminal_timeouts, low_discount, impossible_values, long_takeovers,
    too_much_noise, timid, saturated, too_few_updates, unstable, regression, untrained_encoder, ignored_images,
    ignored_state, uneven, refused_inputs,
]  # fmt: skip


def rank(e: Evidence) -> list[Suspect]:
    """Every cause that could be asked, the likeliest first."""
    found = [suspect for cause in CAUSES if (suspect := cause(e)) is not None]
    return sorted(found, key=lambda s: -s.score)


# ---------------------------------------------------------------- in words


def table(ranked: list[Suspect]) -> pd.DataFrame:
    """A row per cause that was asked."""
    return pd.DataFrame(
        [
            {
                "cause": s.cause,
                "score": round(s.score, 3),
                "severity": round(s.severity, 3),
                "certainty": round(s.certainty, 3),
                # The words accuse: beside a score of nothing they would read as if it were so.
                "what was seen": s.finding.what if s.score >= SEEN else "no sign of it",
                "numbers": ", ".join(f"{k} {v:.4g}" for k, v in s.finding.evidence.items()),
                "fix": s.finding.fix if s.score >= STANDS_OUT else "",
                "explained by": s.link,
            }
            for s in ranked
        ]
    )


def verdict(ranked: list[Suspect], e: Evidence) -> str:
    """What most likely holds the run back, in one paragraph."""
    alone, played = e.metric("autonomous", RECENT), len(e.metrics)
    state = f"Of the last {min(RECENT, played)} of {played} episodes {alone:.0%} succeeded without help."
    state += f" Evaluated, it succeeds in {e.evaluated:.0%}." if np.isfinite(e.evaluated) else ""
    few = f" {played} episodes are few to judge by." if played < FEW_EPISODES else ""
    top = [s for s in ranked if s.score >= STANDS_OUT]
    if not top:
        return f"{state}{few} Nothing stands out: {len(ranked)} causes were asked and none has enough evidence."
    first, *others = top
    said = (
        f"Most likely: {first.cause} ({first.score:.2f}): {first.finding.what}. Do: {first.finding.fix} [{first.link}]."
    )
    also = "; ".join(f"{s.cause} ({s.score:.2f})" for s in others)
    return f"{state}{few} {said}" + (f" Also: {also}." if also else "")


def figure(ranked: list[Suspect], path: Path) -> None:
    """Scores of all causes; pale: the severity that certainty takes down."""
    own = ranked[::-1]
    sheet = Figure(figsize=(8.0, 0.6 + 0.3 * len(own)), layout="constrained")
    axis = sheet.subplots()
    names = [s.cause for s in own]
    axis.barh(names, [s.severity for s in own], color="#e3e6e8", label="severity")
    colors = ["#D55E00" if s.score >= STANDS_OUT else "#0072B2" for s in own]
    axis.barh(names, [s.score for s in own], color=colors, height=0.5, label="score: severity x certainty")
    axis.axvline(STANDS_OUT, color="#33383d", lw=0.8, ls="--")
    axis.set(xlim=(0, 1), xlabel=f"evidence; what stands out is beyond {STANDS_OUT:g}")
    axis.tick_params(axis="y", labelsize=9)
    axis.margins(y=0.01)
    axis.legend(loc="lower right")
    sheet.savefig(path, dpi=130)
