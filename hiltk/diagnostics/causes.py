"""What can hold a training run back: one function per cause, each judging the same evidence on its own.

A score is ``severity * certainty``, both from 0 to 1, so that causes can be ranked against each other:

- *Severity*: how much of what the run learns from or with (actions, observations, reward, human data, updates) is
  spoilt. 1: nothing of it is left. Mostly a measured share; where a number has no natural share, a ramp between a value
  that sound runs stay below and one where nothing worked.
- *Certainty*: 1 where the fault itself was read or measured; 0.8 where the measurement needs an assumption; 0.5 to 0.6
  where a symptom was seen that other causes share. A share of few cases counts by the lower end of its 95 % Wilson
  interval.

Faults that only slow learning down are scaled by what there is left to learn (`Evidence.headroom`): they do not hold
back a policy that succeeds. Spoilt data are not, and false rewards only by an evaluation: the success rate of training
says nothing about them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import nn

from hiltk.checks.rule import RULES, Severity
from hiltk.data.episode import Source
from hiltk.diagnostics.evidence import RECENT, Evidence
from hiltk.diagnostics.experience import Experience
from hiltk.reward_rule import q_bounds, wilson
from hiltk.spec import STATE_KEY

STANDS_OUT = 0.3
SEEN = 0.01  # scores below are no sign of anything
FEW_EPISODES = 20  # of training: too few to judge by
ZERO = 1e-6
NOISE = 0.3  # of a full action: what exploration stays below
MOVES = 0.05  # standard deviations of a dimension of the state within one step
STILL = 1e-3  # of the spread that the same dimension has online


@dataclass(frozen=True)
class Suspect:
    """What one cause has going for it.

    Attributes:
        cause: its name.
        severity, certainty: 0 to 1; see the module.
        words: what was seen and what that means.
        numbers: the evidence.
        cure: what to do.
        rule: where it is explained: the code of a rule, a guard, or an id of the catalogue of failures.
    """

    cause: str
    severity: float
    certainty: float
    words: str
    cure: str
    rule: str
    numbers: Mapping[str, float] = field(default_factory=dict)

    @property
    def score(self) -> float:
        return self.severity * self.certainty

    @property
    def link(self) -> str:
        """How to read more."""
        return f"hiltk check --explain {self.rule}" if self.rule in RULES else self.rule


Cause = Callable[[Evidence], Suspect | None]


def ramp(value: float, sound: float, spoilt: float) -> float:
    """0 at ``sound``, 1 at ``spoilt``, straight between; 0 of what was never measured."""
    return float(np.clip((value - sound) / (spoilt - sound), 0, 1)) if np.isfinite(value) else 0.0


def grown(e: Evidence) -> float:
    """Certainty of what a policy may show merely because it is young: 0.25 up to 2000 updates, 0.6 from 10000."""
    return 0.25 + 0.35 * ramp(e.metric("update", 1), 2_000, 10_000)


def at_least(count: int, of: int) -> float:
    """What a share is at least, by its 95 % Wilson interval; 0 of none."""
    return wilson(count, of).low


# ---------------------------------------------------------------- data


def zero_actions(e: Evidence) -> Suspect | None:
    """[A1, A2, devlogs 044, 045]"""
    demos, human = _silent(e.demos, e), _silent(_part(e.online, ~e.online.of(Source.policy)), e)
    share = float(np.nanmax([demos, human, 0.0]))
    return Suspect(
        "zero actions",
        share,
        1.0,
        f"{share:.0%} of the human's motion is stored with an action of zero: critics and imitation learn that doing "
        "nothing solves the task",
        "hiltk fix-actions rebuilds them from the joints; then train anew",
        "ACT001" if not demos < share else "ACT002",
        {"demos_silent": demos, "corrections_silent": human},
    )


def _silent(where: Experience, e: Evidence) -> float:
    """Share of transitions that move, but have a zero action of the arm; NaN without motion."""
    moved = (np.abs(where.next_state - where.state) / _spread(e)).max(1, initial=0) > MOVES
    arm = where.action[:, :-1] if where.action.shape[1] > 3 else where.action
    return float((np.abs(arm).max(1) < ZERO)[moved].mean()) if moved.any() else float("nan")


def _part(where: Experience, rows: np.ndarray) -> Experience:
    return Experience(**{name: getattr(where, name)[rows] for name in Experience.__dataclass_fields__})


def _spread(e: Evidence) -> np.ndarray:
    return np.maximum(np.array(e.policy.spec.stats[STATE_KEY].std), 1e-9)


def dead_proprioception(e: Evidence) -> Suspect | None:
    """[S1, S2]"""
    online = e.online.state.std(0) if len(e.online) else np.zeros(len(e.spec.state.dims))
    demos = e.demos.state.std(0) if len(e.demos) else online
    alive = online > ZERO
    dead = alive & (demos < STILL * online)
    stuck = not alive.any() and bool(np.abs(e.online.action).max(initial=0) > 0.1)
    narrow = alive & (np.array(e.policy.spec.stats[STATE_KEY].std) < STILL * online)
    share = 1.0 if stuck else float((dead | narrow).sum() / max(1, alive.sum()))
    named = [e.spec.state.names[i] for i in np.flatnonzero(dead | narrow)]
    listed = ", ".join(named[:4]) + (f" and {len(named) - 4} more" if len(named) > 4 else "")
    return Suspect(
        "dead proprioception",
        min(1.0, 2 * share),
        1.0,
        f"{len(named)} of {alive.sum()} dimensions of the state that move in training stand still in the "
        f"demonstrations or are divided by next to nothing ({listed or 'none'}): they tell the policy nothing",
        "record again with a state that follows the arm (hiltk check names the column), or leave the column out",
        "LRN001" if narrow.any() else "KIN001",
        {"dead": float(dead.sum()), "narrow": float(narrow.sum()), "alive": float(alive.sum())},
    )


def other_world(e: Evidence) -> Suspect | None:
    """[C4, C12, D10, devlog 046]"""
    table = e.shifts[e.shifts.column == "state"] if len(e.shifts) else e.shifts
    apart = float(((table.ks > 0.95) & (table.moved_std.abs() > 5)).mean()) if len(table) else 0.0
    gaps = {name: abs(online - demos) / max(demos, 0.02) for name, (demos, online) in e.brightness.items()}
    light = max(gaps.values(), default=0.0)
    return Suspect(
        "demonstrations of another world",
        max(ramp(apart, 0.1, 0.5), ramp(light, 0.25, 0.8)),
        0.8,
        f"demonstrations and training differ as units, calibration or light do: {apart:.0%} of the state's dimensions "
        f"hardly overlap, the brightness of a camera is off by {light:.0%}",
        "compare light, exposure, crop, units and reset with those of the recording; record again where they changed",
        "IMG004" if light > 0.25 else "LRN002",
        {"dimensions_apart": apart, "brightness_gap": light},
    )


def human_data_missing(e: Evidence) -> Suspect | None:
    """[S13, S14]"""
    share, named = e.metric("batch_demos"), bool(e.setting("demos"))
    helped = e.takeovers.takeovers > 0
    if named:
        severity, certainty = 0.9 * (1 - ramp(share, 0.0, 0.05)) if np.isfinite(share) else 0.0, 1.0
    else:
        severity, certainty = (0.25 if helped or e.setting("init") else 0.5), 1.0
    seen = f"{share:.1%} of each batch are demonstrations" if named else "no demonstrations are named"
    return Suspect(
        "demonstrations do not reach the batches",
        severity * e.headroom,
        certainty,
        f"{seen}: what the human showed is not learned from",
        "demos=[NAME] and demo_fraction=0.5; demonstrations have a store of their own that nothing evicts from",
        "guard human_share (S13)",
        {
            "batch_demos": share,
            "demo_fraction": float(e.setting("demo_fraction", 0.0)),
            "demo_transitions": len(e.demos),
        },
    )


def small_actions(e: Evidence) -> Suspect | None:
    """[A5]"""
    human = [p for p in (e.demos, _part(e.online, ~e.online.of(Source.policy))) if len(p)]
    if not human:
        return None
    saturated = float(np.concatenate([np.abs(p.action[:, :3]).max(1) > 0.95 for p in human]).mean())
    paid = float(np.concatenate([p.positive(e.spec)[p.last] for p in human]).mean())
    tiny = e.refused("ACT006") is not None
    return Suspect(
        "actions too small",
        ramp(saturated, 0.6, 0.9) * (1 - paid),
        1.0 if tiny else 0.8,
        f"the human's actions are at their limit in {saturated:.0%} of the steps, and {paid:.0%} of these episodes "
        "reach success: a full action moves the arm too little for the time there is",
        "a larger env.action_scale_m (and record anew), or a longer task.time_limit_s",
        "ACT006",
        {"saturated": saturated, "human_success": paid, "action_scale_m": e.spec.action.scale_m},
    )


# ---------------------------------------------------------------- reward


def false_successes(e: Evidence) -> Suspect | None:
    """[E5, E6, devlogs 072, 075]"""
    if e.setting("reward.source") != "classifier":
        return None
    known = "true_success" in e.metrics and e.metrics.true_success.notna().any()
    # The simulator judges the observation in which the episode was ended; that its hold had not yet run out is no lie.
    paid = e.online.positive(e.spec) & e.online.last
    false = int((paid & ~e.online.shown).sum()) if known else 0
    blind = e.refused("REW007", "LRN003")
    severity, certainty = at_least(false, int(paid.sum())), 1.0
    if not known:  # as on a real arm
        severity, certainty = (0.7 if blind else 0.0), 0.6
    seen = f"{false} of {paid.sum()} rewarded episodes did not end in success" if known else "the truth is not known"
    return Suspect(
        "false successes of the reward classifier",
        severity * (e.headroom if np.isfinite(e.evaluated) else 1.0),  # an evaluation is not the classifier's word
        certainty,
        f"{seen}{f'; {blind.message}' if blind else ''}: the policy learns to please the classifier",
        "train the classifier on such failures too (human=wandering keep=all), look at mistakes.png and its threshold",
        "REW007",
        {"false": float(false), "rewarded_episodes": float(paid.sum())},
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
        f"{missed} of {len(true)} true successes were not rewarded: what was done right looks like failure",
        "train the classifier on frames of this camera and light; a lower threshold only if false successes stay rare",
        "REW007",
        {"missed": float(missed), "true_successes": float(len(true))},
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
        (1 - ramp(share, 0.0, 0.01)) * (1 - ramp(reached, 0.05, 0.3)) if sparse else 0.0,
        0.95 if alone else 0.5,
        f"{share:.2%} of what was learned from is rewarded and {reached:.0%} of the episodes reach a reward"
        + (", with nobody who shows or helps" if alone else "")
        + ": critics learn that nothing pays",
        "demonstrations that end in success, brief corrections (intervention=brief), or bc-pretrain first",
        "REW001",
        {"positive_share": share, "episodes_rewarded": reached, "takeovers": float(e.takeovers.takeovers)},
    )


def terminal_timeouts(e: Evidence) -> Suspect | None:
    """[algorithms 1a: HIL-SERL's mask; Pardo et al. 2018]"""
    ends = e.online.last
    late = e.online.terminated & ~e.online.positive(e.spec) & ends
    share = float(late[ends].mean()) if ends.any() else 0.0
    by_rule = e.setting("reward.timeout") == "terminal"
    return Suspect(
        "time-outs stored as terminal",
        0.8 * ramp(share, 0.0, 0.5) * e.headroom if by_rule else 0.0,
        1.0,
        f"{share:.0%} of the episodes ended by time and are stored as if nothing could follow: critics learn that "
        "states are worthless because the clock ran out",
        "reward.timeout=truncated",
        "Pardo et al. 2018, arXiv 1712.00378 (reward.timeout)",
        {"timeouts_terminal": share, "ends": float(ends.sum())},
    )


def short_sight(e: Evidence) -> Suspect | None:
    """A discount under which success is worth nothing at the start [E5, F6]."""
    discount, steps = float(e.setting("agent.discount", 0.97)), e.steps_to_success
    worth = discount**steps if np.isfinite(steps) else float("nan")
    return Suspect(
        "discount too low for the task",
        ramp(-np.log10(max(worth, 1e-300)), 2.0, 4.0) * e.headroom if np.isfinite(worth) else 0.0,
        0.9,
        f"success takes {steps:.0f} steps; at a discount of {discount:g} it is worth {worth:.1e} of itself at the "
        "start, less than critics err",
        "agent.discount=0.97 at 10 Hz, up to 0.99 for longer tasks",
        "REW003",
        {"discount": discount, "steps_to_success": steps, "worth_at_start": worth},
    )


def impossible_values(e: Evidence) -> Suspect | None:
    """[F6, devlog 058]"""
    horizon = int(e.metrics["length"].max()) if "length" in e.metrics and len(e.metrics) else 1
    low, high = q_bounds(e.spec.reward, float(e.setting("agent.discount", 0.97)), horizon)
    q, top = e.metric("q_mean", 3), e.metric("q_max", 3)
    span = high - low
    if not np.isfinite(span) or not np.isfinite(q):
        return None
    beyond = max(q - high, low - q, 0.0) / span
    said = e.tripped("q_bound")
    return Suspect(
        "values beyond any reward",
        max(ramp(beyond, 0.1, 1.0), 0.6 if said else 0.0),
        0.8,
        f"Q is {q:.3g} on average and {top:.3g} at most, returns lie between {low:.3g} and {high:.3g}"
        + (": the critics believe in reward that does not exist" if beyond > 0.1 or said else ""),
        "agent.clip_target=true, more critics (agent=rlpd) or a lower utd",
        "guard q_bound (F6)",
        {"q_mean": q, "q_max": top, "q_low": low, "q_high": high},
    )


# ---------------------------------------------------------------- humans


def long_takeovers(e: Evidence) -> Suspect | None:
    """[F8, E2, devlogs 048, 072, 073]"""
    t = e.takeovers
    carried = t.carried * ramp(t.long, 0.3, 0.8)
    return Suspect(
        "takeovers that carry the episodes",
        max(ramp(t.rate, 0.4, 0.8), 0.8 * carried) if t.takeovers else 0.0,
        0.9,
        f"the human makes {t.rate:.0%} of the steps, {t.mean_length:.0f} at a time, and brings {t.carried:.0%} of the "
        "rewarded episodes to success by a long takeover: critics credit the policy with it, and it never meets its "
        "own mistakes",
        "intervention=brief: let it explore, correct one thing, let go; if it is helpless, bc-pretrain first",
        "guard long_interventions (F8)",
        {"rate": t.rate, "mean_length": t.mean_length, "long": t.long, "carried": t.carried},
    )


# ---------------------------------------------------------------- learner


def too_much_noise(e: Evidence) -> Suspect | None:
    """[F1, F5, devlogs 044, 072]"""
    noise, signal = e.noise
    scheduled, alpha = e.metric("noise", RECENT), e.metric("alpha", RECENT)
    noise = max(noise, min(scheduled, 1.0)) if np.isfinite(scheduled) else noise
    # Uniform noise over the whole range has 0.58; what a sound policy ends with is 0.1 to 0.2. One that is merely young
    # explores as much: where the settings do not ask for it, noise becomes suspicious only after many updates.
    asked = scheduled > NOISE if np.isfinite(scheduled) else _asks_for_entropy(e)
    return Suspect(
        "too much exploration noise",
        ramp(noise, NOISE, 0.6) * e.headroom,
        0.9 if asked else grown(e),
        f"exploration deviates from the policy's action by {noise:.2f} of a full action, the actions themselves are "
        f"{signal:.2f}: what the policy knows drowns, and its own experience is shaking",
        "drqv2: agent.noise=linear(0.2,0.05,5000) agent.explore_steps=0; sac: agent.temperature=0.01 and "
        "agent.target_entropy=null; or bc-pretrain first",
        "LRN005" if np.isfinite(alpha) else "LRN004",
        {"noise_rms": noise, "action_rms": signal, "alpha": alpha},
    )


def _asks_for_entropy(e: Evidence) -> bool:
    """SAC's settings that keep a policy random: a temperature, or a target entropy, far above the defaults."""
    target = e.setting("agent.target_entropy")
    wide = target is not None and float(target) > -len(e.spec.action.dims) / 4
    return wide or max(float(e.setting("agent.temperature", 0.0)), e.metric("alpha", RECENT)) > 0.1


def timid(e: Evidence) -> Suspect | None:
    """[F4, devlog 063]"""
    alpha, size = e.metric("alpha", RECENT), e.metric("action_size", RECENT)
    low = alpha < 0.02 if np.isfinite(alpha) else False
    return Suspect(
        "a timid policy",
        (1 - ramp(size, 0.05, 0.15)) * e.headroom if low and np.isfinite(size) else 0.0,
        0.8,
        f"alpha is {alpha:.4f} and actions are {size:.2f} of full size: the arm hardly moves and no longer explores",
        "agent.target_entropy=null, or a higher agent.temperature",
        "LRN005",
        {"alpha": alpha, "action_size": size},
    )


def saturated(e: Evidence) -> Suspect | None:
    """[F1, F3, devlogs 023, 050]"""
    share = e.metric("saturation", 5)
    return Suspect(
        "actions pinned at their limit",
        ramp(share, 0.7, 0.95) * e.headroom,
        0.7,
        f"{share:.0%} of the policy's actions are at their limit, where tanh passes no gradient",
        "raise agent.temperature; bc-pretrain with loss=mean; look at the action scale of the demonstrations",
        "guard saturation (F3)",
        {"saturation": share},
    )


def too_few_updates(e: Evidence) -> Suspect | None:
    """[S10]"""
    steps, updates = e.metric("env_step", 1), e.metric("update", 1)
    replays = updates * float(e.setting("batch_size", 0)) / steps if steps else float("nan")
    wanted, got = float(e.setting("utd", 0)), e.metric("utd")
    behind = 1 - got / wanted if wanted and np.isfinite(got) else 0.0
    return Suspect(
        "too few updates",
        max(ramp(-np.log10(max(replays, 1e-3)), -1.5, 0.0), ramp(behind, 0.25, 0.9)) * e.headroom,
        0.9,
        f"{updates:.0f} updates in {steps:.0f} steps, so each transition is learned from {replays:.1f} times (the "
        "original learner: some 500 times)",
        "utd=2 with batch_size=128, offline_updates=500 before the first episode, or a faster device",
        "guard update_ratio (S10)",
        {"updates": updates, "env_steps": steps, "replays": replays, "utd": got, "utd_configured": wanted},
    )


def unstable(e: Evidence) -> Suspect | None:
    """[A1, devlog 044]"""
    said = e.tripped("critic_loss") or e.tripped("gradient")
    return Suspect(
        "losses that explode",
        0.7 if said else 0.0,
        0.6,
        said or "losses and gradients stay near their median",
        "look at the data first (hiltk check); then a lower agent.lr or agent.tau",
        "guard critic_loss (A1)",
        {"critic_loss": e.metric("critic_loss", 3), "critic_gradient": e.metric("critic_gradient", 3)},
    )


def fallen(e: Evidence) -> Suspect | None:
    """[F9, devlog 082]"""
    said = e.tripped("regression")
    return Suspect(
        "success that was lost again",
        0.8 if said else 0.0,
        0.7,
        said or "success without help never fell by 40 points",
        "look at light, cameras and reset; best/ holds the weights of the best time",
        "guard regression (F9)",
        {"autonomous": e.metric("autonomous", RECENT)},
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
        f"the frozen encoder's filters differ in strength {spread:.1f} times as much as independent random draws do"
        + (": nobody trained it, and training cannot change it" if spread < 1.5 else ""),
        "encoder.weights=helper2424/resnet10 or the folder they were downloaded to; or encoder=cnn, which learns",
        "S5 (hiltk diagnose encoder)",
        {"filter_spread": spread},
    )


def filter_spread(module: nn.Module) -> float:
    """How unequal the norms of a network's filters are, over what equal independent weights would give; their median.

    For n independent weights of one distribution with kurtosis k a filter's norm has a relative deviation of
    sqrt((k - 1) / 4n). Training makes some filters strong and others weak: several times that.
    """
    ratios = []
    for conv in (m for m in module.modules() if isinstance(m, nn.Conv2d)):
        weight = conv.weight.detach().double().flatten(1)
        if weight.shape[0] < 4:
            continue
        centred = weight - weight.mean()
        kurtosis = (centred**4).mean() / (centred**2).mean() ** 2
        norms = weight.norm(dim=1)
        expected = torch.sqrt((kurtosis - 1).clamp(min=0.1) / (4 * weight.shape[1]))
        ratios.append(float(norms.std() / norms.mean() / expected))
    return float(np.median(ratios)) if ratios else float("nan")


def blind(e: Evidence) -> Suspect | None:
    """[F8, S1, devlog 072: the same motion for all cubes]"""
    images = e.policy.spec.image_keys
    if not images:
        return None
    sees, feels = e.sensitivity(*images), e.sensitivity(STATE_KEY)
    if not np.isfinite(sees):
        return None
    return Suspect(
        "a policy that does not look",
        (1 - ramp(sees, 0.02, 0.1)) * e.headroom,
        grown(e),
        f"exchanging the images changes the action by {sees:.0%} of what exchanging everything does, exchanging the "
        f"state by {feels:.0%}",
        "hiltk diagnose encoder says whether the images tell positions apart; more demonstrations from other positions",
        "S12, F8 (hiltk diagnose encoder)",
        {"image_sensitivity": sees, "state_sensitivity": feels},
    )


def numb(e: Evidence) -> Suspect | None:
    """[S1]"""
    if not e.policy.spec.image_keys:
        return None
    feels = e.sensitivity(STATE_KEY)
    if not np.isfinite(feels):
        return None
    return Suspect(
        "a policy that ignores its own state",
        (1 - ramp(feels, 0.02, 0.1)) * e.headroom,
        grown(e),
        f"exchanging the state changes the action by {feels:.0%} of what exchanging everything does",
        "look at the statistics of the state and for columns that stand still",
        "LRN001",
        {"state_sensitivity": feels},
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
        f"evaluated at {best.stratum} it succeeds in {best.rate:.0%}, at {worst.stratum} in {worst.rate:.0%}: a local "
        "optimum that serves the easy positions",
        "demonstrate and correct at the hard positions (task.stratum=, practice=strata)",
        "F8 (devlog 072)",
        {"best": float(best.rate), "worst": float(worst.rate), "episodes_each": float(min(best.n, worst.n))},
    )


def refused_inputs(e: Evidence) -> Suspect | None:
    """Whatever else the gate of training finds in the inputs: an error that was ignored, or that newer rules see."""
    errors = [f for f in e.refusals if f.severity is Severity.error]
    codes = list(dict.fromkeys(f.code for f in errors))
    return Suspect(
        "inputs that the checks refuse",
        0.9 if errors else 0.0,
        0.5,  # often another view of a cause above, which then knows more
        f"{codes[0]} {errors[0].message}" + (f"; also {', '.join(codes[1:])}" if codes[1:] else "")
        if errors
        else "the gate of training finds no error in the inputs",
        errors[0].fix if errors else "",
        codes[0] if codes else "hiltk check --step train",
        {"errors": float(len(errors))},
    )


CAUSES: list[Cause] = [
    zero_actions, dead_proprioception, other_world, human_data_missing, small_actions, false_successes,
    missed_successes, reward_never_reached, terminal_timeouts, short_sight, impossible_values, long_takeovers,
    too_much_noise, timid, saturated, too_few_updates, unstable, fallen, untrained_encoder, blind, numb, uneven,
    refused_inputs,
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
                "what was seen": s.words if s.score >= SEEN else "no sign of it",
                "numbers": ", ".join(f"{k} {v:.4g}" for k, v in s.numbers.items()),
                "cure": s.cure if s.score >= STANDS_OUT else "",
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
    said = f"Most likely: {first.cause} ({first.score:.2f}): {first.words}. Do: {first.cure} [{first.link}]."
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
