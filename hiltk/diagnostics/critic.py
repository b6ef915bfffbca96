"""Do the critics' values agree with what was paid afterwards? And do they care what is done?

Values of executed actions are put beside the discounted reward that followed (as Fujimoto et al. 2018, TD3, section 4,
measure overestimation), beside the range the reward rule allows, and perturbed as in the analysis of HIL-SERL (Luo et
al. 2024, arXiv 2410.21845): 100 actions within +-0.2 of the policy's, where the spread of their values shows in which
states it matters what is done.

The returns are those of whoever acted, and the critics judge the policy of today: of the newest episodes of the policy
the difference is small, of demonstrations it is a comparison and no error.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.stats import spearmanr

from hiltk import limits
from hiltk.agents.gripper import COMMANDS, choices
from hiltk.agents.policy import to_tensors
from hiltk.data.episode import Episode, Source
from hiltk.data.replay import store_episodes
from hiltk.diagnostics.subjects import CHUNK
from hiltk.findings import Finding
from hiltk.learning.guards import Expected, q_bound
from hiltk.spec import STATE_KEY

SOURCES = {Source.demo: "demo", Source.policy: "policy", Source.human: "human"}
COLORS = {"demo": "#0072B2", "policy": "#D55E00", "human": "#009E73"}
PHASES = 5
PERTURBED, SAMPLES = 0.2, 100  # the paper's
ALWAYS, SOMETIMES = 0.98, 0.1  # shares of steps
WINDOW = 20  # training episodes averaged at the beginning and the end
TOO_HIGH, TOO_LOW = 0.1, 0.3  # of the range of returns
FLAT = 0.02  # of what a lost step costs: how far values differ between actions, below which nothing matters to them
UNRELATED = 0.2  # rank correlation of values and returns
FILMED, STILLS = 3, 8


@dataclass(frozen=True)
class Ratings:
    """What the critics say of N executed actions, episode after episode.

    Attributes:
        q: (E, N), by critic.
        low, high: (N,), between which the discounted return lies: the same where the episode terminated; further apart
            where a time-out hides what would have followed.
        sharpness: (N,), standard deviation of the value over perturbed actions.
        phase: (N,), 0 at the episode's start, 1 at its end.
        source: (N,), `Source`.
        episode: (N,), number.
        bounds: lowest and highest return that the reward rule allows; infinite where nothing is known.
        gripper: (N, 3), what the three-way gripper's head says of close, hold and open; (N, 0) without one.
        command: (N,), which of the three was executed.
    """

    q: np.ndarray
    low: np.ndarray
    high: np.ndarray
    sharpness: np.ndarray
    phase: np.ndarray
    source: np.ndarray
    episode: np.ndarray
    bounds: tuple[float, float]
    gripper: np.ndarray
    command: np.ndarray

    @property
    def mean(self) -> np.ndarray:
        """The ensemble's mean, (N,)."""
        return self.q.mean(axis=0)

    @property
    def known(self) -> np.ndarray:
        """(N,) bool: the return is known, not only its limits."""
        return self.low == self.high

    @property
    def span(self) -> float:
        """The range of returns: by the reward rule, else as they were."""
        span = self.bounds[1] - self.bounds[0]
        if math.isfinite(span):
            return span
        known = self.low[self.known]
        return float(np.ptp(known)) if len(known) and np.ptp(known) else 1.0


@dataclass(frozen=True)
class CriticDiagnosis:
    """One policy's critics; ``metrics`` is the run's ``metrics.csv``, ``discount`` what returns are discounted by."""

    name: str
    ratings: Ratings
    metrics: pd.DataFrame
    discount: float


def returns(
    rewards: np.ndarray, terminated: bool, discount: float, bounds: tuple[float, float]
) -> tuple[np.ndarray, np.ndarray]:
    """Limits of the discounted reward (T,) from each step on.

    An episode that terminated has no future. One that was cut off has one within ``bounds``.
    """
    ends = (0.0, 0.0) if terminated else bounds
    limits = []
    for total in ends:
        values = np.empty(len(rewards))
        for t in range(len(rewards) - 1, -1, -1):
            total = float(rewards[t]) + discount * total
            values[t] = total
        limits.append(values)
    return limits[0], limits[1]


def rate(agent: Any, episodes: Sequence[Episode], seed: int = 0) -> Ratings:
    """Values of every executed action of these episodes.

    Args:
        agent: a learner with ``policy``, ``critic`` and ``conf``; its reward rule has paid the episodes.
    """
    policy, bounds = agent.policy, (agent.q_low, agent.q_high)
    store = store_episodes(list(episodes))
    rows = store.transitions()
    keys = [STATE_KEY, *policy.spec.image_keys]
    generator = torch.Generator().manual_seed(seed)
    parts, sharpness, gripper, command = [], [], [], []
    for start in range(0, len(rows), CHUNK):
        data = store.gather(rows[start : start + CHUNK], stack=policy.frame_stack, following=False)
        observation = {k: data["observation"][k] for k in keys}
        q, spread, choice = _values(agent, observation, data["action"], generator)
        parts.append(q)
        sharpness.append(spread)
        gripper.append(choice)
        command.append(choices(torch.from_numpy(data["action"])).numpy())
    limits = [returns(e.rewards, e.terminated, agent.conf.discount, bounds) for e in episodes]
    lengths = [len(e) for e in episodes]
    usable = np.concatenate([e.action_valid for e in episodes])
    return Ratings(
        q=np.concatenate(parts, axis=1),
        low=np.concatenate([low for low, _ in limits])[usable],
        high=np.concatenate([high for _, high in limits])[usable],
        sharpness=np.concatenate(sharpness),
        phase=np.concatenate([np.arange(n) / max(1, n - 1) for n in lengths])[usable],
        source=np.concatenate([e.source for e in episodes])[usable],
        episode=np.repeat(np.arange(len(lengths)), lengths)[usable],
        bounds=bounds,
        gripper=np.concatenate(gripper),
        command=np.concatenate(command),
    )


@torch.no_grad()
def _values(
    agent: Any, observation: dict[str, np.ndarray], action: np.ndarray, generator: torch.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Values (E, B) of the actions, the deviation (B,) of the ensemble's mean around the policy's own action, and what
    the gripper's head says of its choices (B, 3 or 0)."""
    policy = agent.policy
    arm = agent.arm  # a three-way gripper has values of its own
    features = policy.torso(to_tensors(observation, policy.device))
    q = agent.critic(features, torch.from_numpy(action[:, :arm]).to(policy.device))
    own = policy.actor.mode(features)
    noise = (2 * torch.rand((SAMPLES, *own.shape), generator=generator) - 1).to(policy.device) * PERTURBED
    near = (own + noise).clamp(-1, 1).flatten(0, 1)
    values = agent.critic(features.repeat(SAMPLES, 1), near).mean(dim=0).unflatten(0, (SAMPLES, -1))
    choice = policy.gripper(features) if policy.gripper else features[:, :0]
    return q.cpu().numpy(), values.std(dim=0).cpu().numpy(), choice.cpu().numpy()


# ---------------------------------------------------------------- numbers


def error(r: Ratings, rows: np.ndarray) -> float:
    """By how much values exceed the highest return that can have been, or (negative) miss the lowest, on average.

    Limits are averaged first: a single return is one draw of what a value is the mean of.
    """
    if not rows.any():
        return float("nan")
    q, low, high = r.mean[rows].mean(), r.low[rows].mean(), r.high[rows].mean()
    return float(q - high) if q > high else float(min(0.0, q - low))


def follows(r: Ratings) -> float:
    """Rank correlation of values and returns where those are known; NaN where too few are, or all are the same."""
    q, paid = r.mean[r.known], r.low[r.known]
    if len(paid) < 10 or np.ptp(paid) == 0 or np.ptp(q) == 0:
        return float("nan")
    return float(spearmanr(q, paid).statistic)


def lost_step(d: CriticDiagnosis) -> float:
    """What one step more to the same end costs on average: the scale of what an action can be worth."""
    return (1 - d.discount) * float(np.abs(d.ratings.mean).mean())


def outside(r: Ratings, rows: np.ndarray) -> float:
    """Share of values beyond the reward rule's range by more than a tenth of it."""
    return float((limits.beyond(r.mean[rows], *r.bounds) > limits.Q_BEYOND.alarm).mean())


def gripper_row(r: Ratings, rows: np.ndarray) -> dict[str, float]:
    """The three-way gripper's head on these transitions; empty without one.

    How often it would choose each command, how often that is what was executed, the value of its choice, and by how
    much that is ahead of the second best.
    """
    if not r.gripper.shape[1]:
        return {}
    values = np.sort(r.gripper[rows], axis=1)
    best = r.gripper[rows].argmax(axis=1)
    shares = {f"gripper_{name}_percent": 100 * float((best == i).mean()) for i, name in enumerate(COMMANDS)}
    return shares | {
        "gripper_agrees_percent": 100 * float((best == r.command[rows]).mean()),
        "gripper_q": float(values[:, -1].mean()),
        "gripper_gap": float((values[:, -1] - values[:, -2]).mean()),
    }


def as_rows(d: CriticDiagnosis) -> Iterator[Mapping[str, object]]:
    """Rows of the table: for each source the whole episodes, then `PHASES` parts of them."""
    r = d.ratings
    part = np.minimum((r.phase * PHASES).astype(int), PHASES - 1)
    for source, name in SOURCES.items():
        mine = r.source == source
        for phase in range(-1, PHASES):
            rows = mine & ((part == phase) | (phase < 0))
            if not rows.any():
                continue
            yield {
                "policy": d.name,
                "source": name,
                "episode_percent": f"{100 * phase // PHASES}-{100 * (phase + 1) // PHASES}" if phase >= 0 else "0-100",
                "transitions": int(rows.sum()),
                "q_mean": r.mean[rows].mean(),
                "q_max": r.q[:, rows].max(),
                "return_low": r.low[rows].mean(),
                "return_high": r.high[rows].mean(),
                "q_error": error(r, rows),
                "outside_percent": 100 * outside(r, rows),
                "critics_differ": np.ptp(r.q[:, rows], axis=0).mean(),
                "sharpness": r.sharpness[rows].mean(),
                **gripper_row(r, rows),
            }


def growth(metrics: pd.DataFrame) -> tuple[float, float, float, float]:
    """Mean value and success without help in the first and the last `WINDOW` training episodes that had updates."""
    rows = metrics.dropna(subset=["q_mean"]) if "q_mean" in metrics else metrics.head(0)
    if len(rows) < 2 * WINDOW:
        return (float("nan"),) * 4
    first, last = rows.iloc[:WINDOW], rows.iloc[-WINDOW:]
    return first.q_mean.mean(), last.q_mean.mean(), first.autonomous.mean(), last.autonomous.mean()


# ---------------------------------------------------------------- in words


def findings(d: CriticDiagnosis) -> list[Finding]:
    """What is wrong; empty where nothing stands out."""
    r = d.ratings
    found = [*_impossible(d), *_too_high(r), *_too_low(r), *_growing(d), *_gripper(r)]
    if r.sharpness.mean() < FLAT * lost_step(d):
        found.append(
            Finding(
                code="flat",
                what=f"the critics hardly care what is done: among actions within {PERTURBED} of the policy's their "
                f"values differ by {r.sharpness.mean():.2g}, where a lost step costs {lost_step(d):.2g}; the actor has "
                "nothing to climb",
                fix="more updates (utd), corrections that differ from what the policy does, or a shorter agent.n_step",
            )
        )
    if follows(r) < UNRELATED:
        found.append(
            Finding(
                code="unrelated",
                what=f"values do not follow returns (rank correlation {follows(r):.2f}): they cannot tell good states "
                "from bad ones",
                fix="see whether the encoder sees the cube (hiltk diagnose encoder), and that successes are paid "
                "(hiltk check: REW002)",
            )
        )
    return found


def _impossible(d: CriticDiagnosis) -> Iterator[Finding]:
    """[058: Q above 1 where a success pays 1]"""
    r = d.ratings
    share, (low, high) = outside(r, np.ones(len(r.phase), bool)), r.bounds
    if share > 0.01:
        yield Finding(
            code="q_bound",
            what=f"{share:.0%} of the values are beyond what the reward rule can pay, {low:.3g} to {high:.3g}; the "
            f"highest is {r.q.max():.3g}",
            fix="agent.clip_target=true, more critics (agent=rlpd) or a lower utd; see that no success is paid twice "
            "(hiltk check: REW003, LRN006)",
        )
        return
    expected = Expected(q_low=low, q_high=high)
    rows = [{k: v for k, v in row.items() if v == v} for row in d.metrics.to_dict("records")]
    tripped = (q_bound(rows[max(0, i - WINDOW) : i], expected) for i in range(3, len(rows) + 1))
    if (first := next((f for f in tripped if f), None)) is not None:
        yield Finding(code=first.code, what=f"in training, {first.what}", fix=first.fix)


def _too_high(r: Ratings) -> Iterator[Finding]:
    over = error(r, r.source == Source.policy)
    if over > TOO_HIGH * r.span:
        yield Finding(
            code="overestimates",
            what=f"the critics overestimate what the policy does: on average by {over:.2g}, {over / r.span:.0%} of the "
            "range of returns",
            fix="the policy is drawn to actions nobody has tried: agent.clip_target=true, agent=rlpd (ten critics), a "
            "lower utd, or short corrections where it goes wrong",
        )


def _too_low(r: Ratings) -> Iterator[Finding]:
    under = error(r, r.source != Source.policy)
    if -under > TOO_LOW * r.span:
        yield Finding(
            code="underestimates",
            what=f"the critics expect {-under:.2g} less than the human then got: reward from the end has not reached "
            "the beginning, or the policy could not do what the human did from there",
            fix="more updates, agent.n_step=3, or agent.mc_floor=true, which keeps targets above the return that was "
            "had",
        )


def _growing(d: CriticDiagnosis) -> Iterator[Finding]:
    before, after, rate_before, rate_after = growth(d.metrics)
    if after - before > 2 * TOO_HIGH * d.ratings.span and rate_after - rate_before < 0.05:
        yield Finding(
            code="growing",
            what=f"over the training values grew from {before:.2g} to {after:.2g} while success without help went from "
            f"{rate_before:.0%} to {rate_after:.0%}: overestimation that grows",
            fix="stop at the best policy so far (its folder best/); agent.clip_target=true, a lower utd or agent=rlpd",
        )


def _gripper(r: Ratings) -> Iterator[Finding]:
    """One command for everything, where people gave several."""
    people = r.source != Source.policy
    if not r.gripper.shape[1] or not people.any():
        return
    best, given = r.gripper[people].argmax(axis=1), r.command[people]
    usual = int(np.bincount(best, minlength=3).argmax())
    others = float((given != usual).mean())
    if (best == usual).mean() >= ALWAYS and others >= SOMETIMES:
        yield Finding(
            code="gripper_fixed",
            what=f"the gripper's head says '{COMMANDS[usual]}' whatever it sees, where people commanded something else "
            f"in {others:.0%} of the steps",
            fix="bc-pretrain and init= teach it before training; see that the demonstrations' gripper is three-way "
            "(hiltk check: GRP001)",
        )


def verdict(diagnoses: Sequence[CriticDiagnosis]) -> str:
    """One paragraph: for each policy how values compare with returns, what is wrong, and what to do."""
    return " ".join(_sentence(d) for d in diagnoses)


def _sentence(d: CriticDiagnosis) -> str:
    r = d.ratings
    parts = []
    for source, name in SOURCES.items():
        rows = r.source == source
        if rows.any():
            low, high = r.low[rows].mean(), r.high[rows].mean()
            paid = f"{low:.2f}" if high - low < 0.005 else f"{low:.2f} to {high:.2f}"
            parts.append(f"{name} {r.mean[rows].mean():.2f} (return {paid})")
    text = f"{d.name}: mean value of actions by {', '.join(parts)}"
    if not math.isnan(follows(r)):
        text += f"; values follow returns with a rank correlation of {follows(r):.2f}"
    text += (
        f"; they differ by {r.sharpness.mean():.2g} among actions within {PERTURBED} of the policy's (a lost step "
        f"costs {lost_step(d):.2g})"
    )
    steep = _steepest(r)
    text += f", most in the part from {steep} of an episode." if steep else "."
    if gripper := gripper_row(r, np.ones(len(r.phase), bool)):
        shares = ", ".join(f"{name} {gripper[f'gripper_{name}_percent']:.0f} %" for name in COMMANDS)
        text += (
            f" The gripper's head would say {shares}, as was done in {gripper['gripper_agrees_percent']:.0f} %, its "
            f"choice ahead by {gripper['gripper_gap']:.2g}."
        )
    found = findings(d)
    if not found:
        return text + " Nothing stands out."
    return text + "".join(f" {f.what[0].upper()}{f.what[1:]}; {f.fix}." for f in found)


def _steepest(r: Ratings) -> str:
    part = np.minimum((r.phase * PHASES).astype(int), PHASES - 1)
    means = {p: float(r.sharpness[part == p].mean()) for p in range(PHASES) if (part == p).any()}
    if not means:
        return ""
    best = max(means, key=lambda p: means[p])
    return f"{100 * best // PHASES} to {100 * (best + 1) // PHASES} %"


# ---------------------------------------------------------------- figures


def figure(diagnoses: Sequence[CriticDiagnosis], path: Path) -> None:
    """A row per policy: values and returns along episodes, against each other, sharpness, and the whole training."""
    sheet = Figure(figsize=(17, 3.7 * len(diagnoses)), layout="constrained")
    for row, d in zip(sheet.subplots(len(diagnoses), 4, squeeze=False), diagnoses, strict=True):
        _draw_phases(row[0], d)
        _draw_scatter(row[1], d.ratings)
        _draw_sharpness(row[2], d.ratings)
        _draw_training(row[3], d)
    sheet.savefig(path, dpi=110)


def _by_phase(r: Ratings, source: Source, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Middles of the phases (in percent) that this source has, and the means of ``values`` there."""
    part = np.minimum((r.phase * PHASES).astype(int), PHASES - 1)
    mine = [(p, (part == p) & (r.source == source)) for p in range(PHASES)]
    pairs = [(100 * (p + 0.5) / PHASES, values[rows].mean()) for p, rows in mine if rows.any()]
    return np.array([x for x, _ in pairs]), np.array([y for _, y in pairs])


def _draw_phases(axis: Axes, d: CriticDiagnosis) -> None:
    r = d.ratings
    for source, name in SOURCES.items():
        x, q = _by_phase(r, source, r.mean)
        if not len(x):
            continue
        axis.plot(x, q, "o-", color=COLORS[name], label=f"{name}: value")
        low, high = (_by_phase(r, source, values)[1] for values in (r.low, r.high))
        if np.isfinite([*low, *high]).all():
            axis.fill_between(x, low, high, color=COLORS[name], alpha=0.15)
            axis.plot(x, (low + high) / 2, ":", color=COLORS[name], label=f"{name}: return")
    _draw_bounds(axis, r)
    axis.set(xlabel="part of the episode, %", ylabel="value, return", title=f"{d.name}: along episodes")
    axis.legend(fontsize=7)


def _draw_bounds(axis: Axes, r: Ratings) -> None:
    for bound in r.bounds:
        if math.isfinite(bound):
            axis.axhline(bound, color="#33383d", lw=0.8, ls="--")


def _draw_scatter(axis: Axes, r: Ratings) -> None:
    for source, name in SOURCES.items():
        rows = r.known & (r.source == source)
        if rows.any():
            axis.scatter(r.low[rows], r.mean[rows], s=6, alpha=0.5, color=COLORS[name], label=name)
    if r.known.any():
        ends = [r.low[r.known].min(), r.low[r.known].max()]
        axis.plot(ends, ends, color="#33383d", lw=0.8)
        axis.legend(fontsize=7)
    _draw_bounds(axis, r)
    axis.set(xlabel="return that followed (episodes that ended)", ylabel="value", title="value against return")


def _draw_sharpness(axis: Axes, r: Ratings) -> None:
    for source, name in SOURCES.items():
        x, sharp = _by_phase(r, source, r.sharpness)
        if len(x):
            axis.plot(x, sharp, "o-", color=COLORS[name], label=name)
    axis.set_ylim(bottom=0)
    title = f"how much actions within {PERTURBED} matter"
    axis.set(xlabel="part of the episode, %", ylabel="deviation of the value", title=title)
    axis.legend(fontsize=7)


def _draw_training(axis: Axes, d: CriticDiagnosis) -> None:
    m = d.metrics
    for key, color in (("q_max", "#E69F00"), ("q_mean", "#D55E00")):
        if key in m:
            axis.plot(m.episode, m[key], color=color, label=f"{key.replace('_', ' ')} of the batches")
    if {"return", "length"} <= set(m):
        played = (m["return"] * d.discount ** (m.length - 1)).rolling(WINDOW, min_periods=1).mean()
        axis.plot(m.episode, played, ":", color="#33383d", label=f"return from the start, mean of {WINDOW}")
    _draw_bounds(axis, d.ratings)
    axis.set(xlabel="episode of training", title="over the training; dashed: the rule's range")
    if axis.get_legend_handles_labels()[0]:
        axis.legend(fontsize=7)


def filmstrip(d: CriticDiagnosis, episodes: Sequence[Episode], key: str, path: Path) -> None:
    """Stills of a few episodes with the value of what was done under each, and the curve of all values below.

    The newest success and failure of the policy are shown, and a demonstration, as far as there are any.
    """
    numbers = examples(episodes)
    sheet = Figure(figsize=(13, 3.6 * len(numbers)))
    sheet.set_layout_engine("constrained", w_pad=0.12)
    parts = sheet.subfigures(len(numbers), 1, squeeze=False)[:, 0]
    for part, number in zip(parts, numbers, strict=True):
        _draw_episode(part, d.ratings, episodes[number], number, key)
    sheet.savefig(path, dpi=100)


def examples(episodes: Sequence[Episode]) -> list[int]:
    """Numbers of the episodes to film: the last success and failure in which the policy acted, the last demo."""
    kinds: dict[str, int] = {}
    for number, episode in enumerate(episodes):
        if not episode.action_valid.all():
            continue
        acted = (episode.source == Source.policy).any()
        kinds[f"policy {episode.succeeded}" if acted else "demo"] = number
    return sorted(kinds.values())[-FILMED:]


def _draw_episode(part: Any, r: Ratings, episode: Episode, number: int, key: str) -> None:
    rows = np.flatnonzero(r.episode == number)
    q, steps = r.mean[rows], np.arange(len(rows))
    stills = np.unique(np.linspace(0, len(rows) - 1, STILLS).astype(int))
    grid = part.add_gridspec(2, len(stills), height_ratios=[1.3, 1])
    for column, t in enumerate(stills.tolist()):
        axis = part.add_subplot(grid[0, column])
        axis.imshow(episode.observations[key][t])
        who = SOURCES[Source(int(episode.source[t]))]
        axis.set_title(f"step {t}, {who}\nQ {q[t]:.2f}", fontsize=8, color=COLORS[who])
        axis.set_axis_off()
    curve = part.add_subplot(grid[1, :])
    curve.plot(steps, q, "-", color="#33383d", lw=1, label="value")
    curve.fill_between(steps, r.low[rows], r.high[rows], color="#999999", alpha=0.3, label="return")
    curve.plot(steps, r.low[rows], ":", color="#777777")
    for source, name in SOURCES.items():
        mine = r.source[rows] == source
        curve.plot(steps[mine], q[mine], "o", ms=4, color=COLORS[name], label=name if mine.any() else None)
    for t in stills.tolist():
        curve.axvline(t, color="#cccccc", lw=0.6, zorder=0)
    if np.isfinite(r.bounds).all():
        curve.set_ylim(r.bounds[0] - 0.05 * r.span, max(r.bounds[1], q.max()) + 0.05 * r.span)
    curve.set_xlabel("step")
    curve.legend(fontsize=7, loc="lower right")
    whose = "policy" if (episode.source == Source.policy).any() else "demonstration"
    outcome = "success" if episode.succeeded else "no success"
    part.suptitle(f"{whose}, {outcome}, {len(rows)} steps", fontsize=9)
