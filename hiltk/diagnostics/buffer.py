"""What is in a run's replay: who made it, what is rewarded, where it has been, how people intervened. Numbers, words.

Episodes are the unit wherever chance is judged: neighbouring frames are near-copies, and a test that counts them one by
one calls any two recordings different.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.spatial import cKDTree
from scipy.stats import false_discovery_control, spearmanr

from hiltk import limits
from hiltk.data.episode import Source
from hiltk.data.repair import asks_for_nothing
from hiltk.diagnostics.experience import Experience
from hiltk.spec import STATE_KEY, Spec, StateSpec, Stats

SAMPLE = 2000  # states of each side that coverage is measured on
SHUFFLES = 400  # of episodes, for the two-sample test
FAR_QUANTILE = 0.95
BRIEF_STEPS = 10  # a takeover up to this is brief: here the schedule that follows the paper lets go
LONG_STEPS, LONG_SHARE = 20, 0.5  # beyond this it is long; or, unless brief, beyond this part of the episode
MOVES = 0.05  # standard deviations of a dimension of the state within one step: less is rest
# Of Kolmogorov and Smirnov's distance: an effect that is large, if it is significant; one that needs no test.
LARGE_EFFECT, NO_OVERLAP = 0.8, 0.95
LEAST_COVERED = 0.5
COLORS = {"demos": "#009E73", "policy": "#0072B2", "human": "#D55E00"}
PAPER = "HIL-SERL, arXiv 2410.21845"


# ---------------------------------------------------------------- composition


def composition(demos: Experience, online: Experience, spec: Spec) -> pd.DataFrame:
    """One row for demonstrations, the policy's own steps and the human's corrections.

    ``terminated`` and ``truncated`` count ends of episodes; ``timeouts_terminal`` those stored as terminal although no
    success was paid: their value is learned as 0.
    """
    parts = {
        "demos": (demos, np.ones(len(demos), bool)),
        "policy": (online, online.of(Source.policy)),
        "human": (online, ~online.of(Source.policy)),
    }
    total = len(demos) + len(online)
    rows = []
    for name, (where, rows_of) in parts.items():
        positive, count = where.positive(spec) & rows_of, int(rows_of.sum())
        rows.append(
            {
                "part": name,
                "episodes": len(np.unique(where.episode[rows_of])),
                "transitions": count,
                "share": count / total if total else np.nan,
                "positive": int(positive.sum()),
                "positive_rate": positive.sum() / count if count else np.nan,
                "terminated": int((where.terminated & rows_of).sum()),
                "truncated": int((where.truncated & rows_of).sum()),
                "timeouts_terminal": int((timed_out(where, spec) & rows_of).sum()),
                "unknown_actions": int((~where.valid & rows_of).sum()),
            }
        )
    return pd.DataFrame(rows)


def timed_out(where: Experience, spec: Spec) -> np.ndarray:
    """(N,) bool: ends that are stored as terminal although no success was paid: their value is learned as 0."""
    return where.terminated & ~where.positive(spec)


def silent_share(where: Experience, spec: Spec) -> float:
    """Share of transitions that move, but have a zero or missing action of the arm; NaN without motion."""
    spread = np.maximum(np.array(spec.stats[STATE_KEY].std), 1e-9)
    moved = (np.abs(where.next_state - where.state) / spread).max(1, initial=0) > MOVES
    silent = asks_for_nothing(where.action, columns=3 if spec.action.ee_deltas else None)
    return float(silent[moved & where.valid].mean()) if (moved & where.valid).any() else float("nan")


def still_dimensions(demos: Experience, online: Experience, spec: Spec) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(D,) bool each: dimensions of the state that move online; of these, those that stand still in the demonstrations,
    and those that the statistics divide by next to nothing."""
    spread = online.state.std(0) if len(online) else np.zeros(len(spec.state.dims))
    alive, least = spread > 1e-6, limits.NARROW * spread
    still = demos.state.std(0) < least if len(demos) else np.zeros(len(spread), bool)
    return alive, alive & still, alive & (np.array(spec.stats[STATE_KEY].std) < least)


# ---------------------------------------------------------------- offline against online


def shifts(demos: Experience, online: Experience, spec: Spec, seed: int = 0) -> pd.DataFrame:
    """Demonstrations against what was experienced, dimension by dimension of state and action.

    ``ks`` is the distance of Kolmogorov and Smirnov between the two distributions of frames (0 the same, 1 no overlap):
    the effect size. ``moved_std`` is how far the median moved, in standard deviations of the demonstrations. ``p`` is
    the share of `SHUFFLES` random assignments of whole episodes to the two sides with a distance as large, and ``q``
    the same after Benjamini and Hochberg, for all dimensions together. Empty where one side has no data.
    """
    if not len(demos) or not len(online):
        return pd.DataFrame(
            columns=["column", "dimension", "demo_median", "online_median", "moved_std", "ks", "p", "q"]
        )
    weights = _assignments(demos.lengths, online.lengths, seed)
    rows = []
    for column, names in (("state", spec.state.names), ("action", spec.action.names)):
        a, b = getattr(demos, column).astype(np.float64), getattr(online, column).astype(np.float64)
        for i, name in enumerate(names):
            distances = _distances(np.concatenate([a[:, i], b[:, i]]), weights)
            spread = max(float(a[:, i].std()), 1e-9)
            rows.append(
                {
                    "column": column,
                    "dimension": name,
                    "demo_median": float(np.median(a[:, i])),
                    "online_median": float(np.median(b[:, i])),
                    "moved_std": float(np.median(b[:, i]) - np.median(a[:, i])) / spread,
                    "ks": distances[0],
                    "p": float((1 + (distances[1:] >= distances[0] - 1e-12).sum()) / len(distances)),
                }
            )
    table = pd.DataFrame(rows)
    return table.assign(q=false_discovery_control(table.p))


def _assignments(demo_lengths: np.ndarray, online_lengths: np.ndarray, seed: int) -> np.ndarray:
    """Weights (1 + SHUFFLES, N) of every frame: +1/n on the first side, -1/m on the second; row 0 as it really was."""
    lengths, first = np.concatenate([demo_lengths, online_lengths]), len(demo_lengths)
    rng, sides = np.random.default_rng(seed), np.zeros((1 + SHUFFLES, len(lengths)), bool)
    sides[0, :first] = True
    for row in sides[1:]:
        row[rng.permutation(len(lengths))[:first]] = True
    frames = np.repeat(sides, lengths, axis=1)
    count = frames.sum(1, keepdims=True)
    return np.where(frames, 1 / count, -1 / (frames.shape[1] - count)).astype(np.float32)


def _distances(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Kolmogorov and Smirnov's distance of the two sides under every assignment; equal values count as one step."""
    order = np.argsort(values, kind="stable")
    ends = np.r_[np.diff(values[order]) > 0, True]
    out = [np.abs(np.cumsum(row[order], dtype=np.float64)[ends]).max() for row in weights]
    return np.array(out)


@dataclass(frozen=True)
class Coverage:
    """How far the two bodies of data lie in the same place.

    Attributes:
        online: share of online states that lie as near to a demonstrated one as demonstrations do to each other.
        demos: share of demonstrated states that lie so near to an online one.
    """

    online: float
    demos: float


def coverage(demos: Experience, online: Experience, stats: Stats, seed: int = 0) -> Coverage | None:
    """Overlap of the states, each dimension divided by its standard deviation; None where one side has no data.

    "Near" is the distance within which `FAR_QUANTILE` of demonstrated states have one of *another* demonstration.
    """
    if demos.episodes < 2 or not len(online):
        return None
    rng, scale = np.random.default_rng(seed), np.maximum(np.array(stats.std), 1e-9)
    a, b = _some(demos, rng), _some(online, rng)
    x, y = demos.state[a] / scale, online.state[b] / scale
    near = float(np.quantile(_to_others(x, demos.episode[a]), FAR_QUANTILE))
    to_demos, to_online = cKDTree(x).query(y)[0], cKDTree(y).query(x)[0]
    return Coverage(float((to_demos <= near).mean()), float((to_online <= near).mean()))


def _some(where: Experience, rng: np.random.Generator) -> np.ndarray:
    return np.sort(rng.choice(len(where), min(len(where), SAMPLE), replace=False))


def _to_others(x: np.ndarray, episode: np.ndarray) -> np.ndarray:
    """Distance of each state to the nearest one of another episode."""
    out = np.empty(len(x))
    for number in np.unique(episode):
        own = episode == number
        out[own] = cKDTree(x[~own]).query(x[own])[0]
    return out


# ---------------------------------------------------------------- interventions


def interventions(online: Experience, spec: Spec) -> pd.DataFrame:
    """One row per online episode: its takeovers, how long they were, and whether the human carried it to success."""
    rows = []
    paid = online.positive(spec)
    for number in np.unique(online.episode):
        own = np.flatnonzero(online.episode == number)
        human = online.source[own] != Source.policy
        edges = np.flatnonzero(np.diff(np.r_[False, human, False].astype(int)))
        lengths = edges[1::2] - edges[::2]
        rows.append(
            {
                "episode": int(number),
                "steps": len(own),
                "human_steps": int(human.sum()),
                "rate": float(human.mean()),
                "takeovers": len(lengths),
                "mean_length": float(lengths.mean()) if len(lengths) else np.nan,
                "longest": int(lengths.max(initial=0)),
                "success": bool(paid[own[-1]]),
                "carried": bool(paid[own[-1]] and human[-1] and _is_long(lengths[-1], len(own))),
            }
        )
    return pd.DataFrame(rows)


def _is_long(length: Any, steps: Any) -> Any:
    """Whether takeovers are long: in themselves, or for their episodes; a brief one never is."""
    return (length > LONG_STEPS) | ((length > BRIEF_STEPS) & (length > LONG_SHARE * steps))


@dataclass(frozen=True)
class Takeovers:
    """Interventions of a whole run.

    Attributes:
        rate, rate_first, rate_last: share of steps by the human: overall, in the first and the last third of episodes.
        trend: rank correlation of an episode's rate with its number, -1 to 1; NaN where it never varies.
        mean_length: steps of a takeover, on average.
        long: share of the intervened episodes with a long takeover.
        carried: share of the paid episodes that a long takeover brought to success.
    """

    rate: float
    rate_first: float
    rate_last: float
    trend: float
    takeovers: int
    mean_length: float
    long: float
    carried: float


def summary(table: pd.DataFrame) -> Takeovers:
    """The whole run from the rows of `interventions`."""
    third = max(1, len(table) // 3)
    first, last, with_any = table.head(third), table.tail(third), table[table.takeovers > 0]
    is_long = _is_long(with_any.longest, with_any.steps)
    varies = len(table) > 2 and table.rate.nunique() > 1
    return Takeovers(
        rate=_ratio(table.human_steps.sum(), table.steps.sum()),
        rate_first=_ratio(first.human_steps.sum(), first.steps.sum()),
        rate_last=_ratio(last.human_steps.sum(), last.steps.sum()),
        trend=float(spearmanr(table.episode, table.rate).statistic) if varies else float("nan"),
        takeovers=int(table.takeovers.sum()),
        mean_length=_ratio(table.human_steps.sum(), table.takeovers.sum()),
        long=float(is_long.mean()) if len(with_any) else 0.0,
        carried=float(table.carried[table.success].mean()) if table.success.any() else 0.0,
    )


def _ratio(part: float, whole: float) -> float:
    return float(part / whole) if whole else 0.0


# ---------------------------------------------------------------- in words


@dataclass(frozen=True)
class Advice:
    """One thing to do, why, and who says so."""

    words: str
    source: str


@dataclass(frozen=True)
class Found:
    """Everything measured on one run's experience."""

    composition: pd.DataFrame
    shifts: pd.DataFrame
    coverage: Coverage | None
    episodes: pd.DataFrame
    takeovers: Takeovers

    def part(self, name: str) -> pd.Series:
        return self.composition.set_index("part").loc[name]


def examine(demos: Experience, online: Experience, spec: Spec, stats: Stats, seed: int = 0) -> Found:
    """Measure all of it; ``stats`` are those that the run normalised states by."""
    table = interventions(online, spec)
    return Found(
        composition(demos, online, spec),
        shifts(demos, online, spec, seed),
        coverage(demos, online, stats, seed),
        table,
        summary(table),
    )


def advice(found: Found) -> list[Advice]:
    """What follows from the numbers, the most pressing first."""
    return [a for a in (*_on_data(found), *_on_interventions(found), *_on_overlap(found)) if a]


def _on_data(found: Found) -> list[Advice | None]:
    demos, policy, human = (found.part(name) for name in ("demos", "policy", "human"))
    paid = (demos.positive + policy.positive + human.positive) / max(1, found.composition.transitions.sum())
    late = int(found.composition.timeouts_terminal.sum())
    return [
        Advice(
            "There is no human data at all: 20 to 30 demonstrations, then brief corrections.",
            f"{PAPER}, Table 1b: without demonstrations and corrections none of three tasks was learned",
        )
        if not demos.transitions + human.transitions
        else None,
        Advice(
            f"Only {paid:.2%} of all transitions are rewarded: more demonstrations that end in success, and "
            "corrections that reach it in every third episode.",
            "devlog 058: 53 of 5866; devlog 072: reward in a third of the episodes",
        )
        if paid < limits.POSITIVE.alarm
        else None,
        Advice(
            f"{late} time-outs are stored as terminal: critics learn that waiting there is worth nothing. "
            "reward.timeout=truncated bootstraps through them.",
            "Pardo et al. 2018, arXiv 1712.00378; HIL-SERL's own environment stores them so",
        )
        if late
        else None,
    ]


def _on_interventions(found: Found) -> list[Advice | None]:
    t = found.takeovers
    alone = not t.takeovers
    return [
        Advice(
            "Nobody intervened: brief corrections reach what demonstrations alone do not.",
            f"{PAPER}, Table 1b: demonstrations without interventions solved 48, 0 and 100 of 100, with them 100 each",
        )
        if alone
        else None,
        Advice(
            f"{t.long:.0%} of the intervened episodes had a long takeover, {t.mean_length:.0f} steps on average: "
            "correct one thing, then let go (intervention=brief); critics credit the policy with what the human did.",
            f"{PAPER}, its section on interventions: avoid long sparse ones that lead to success; devlogs 072 and 073",
        )
        if t.takeovers and (t.long > limits.LONG_TAKEOVERS.alarm or t.rate > limits.TAKEN_OVER.alarm)
        else None,
        Advice(
            f"The human's share does not fall ({t.rate_first:.0%} of the steps at first, {t.rate_last:.0%} at the "
            "end): the policy does not learn from the corrections; `hiltk diagnose run` looks for the reason.",
            "devlog 072: it should fall as the policy improves; if not, something is wrong",
        )
        if t.takeovers and len(found.episodes) >= 20 and t.rate_last > 0.1 and t.rate_last >= 0.9 * t.rate_first
        else None,
    ]


def _on_overlap(found: Found) -> list[Advice | None]:
    state = found.shifts[found.shifts.column == "state"] if len(found.shifts) else found.shifts
    apart = state[(state.ks > LARGE_EFFECT) & (state.q < 0.05)] if len(state) else state
    thin = found.coverage is not None and found.coverage.online < LEAST_COVERED
    return [
        Advice(
            f"{', '.join(apart.dimension[:4])} hardly overlap between demonstrations and experience: look for another "
            "unit, frame, calibration or reset pose (hiltk check) before anything else.",
            "failures C4, C12 and S1; devlog 046",
        )
        if len(apart)
        else None,
        Advice(
            f"{1 - found.coverage.online:.0%} of what the policy meets is far from any demonstration: demonstrate or "
            "correct there.",
            "devlog 072: more demonstrations at the hard positions",
        )
        if thin and found.coverage
        else None,
    ]


def verdict(found: Found, said: Sequence[Advice]) -> str:
    """What the numbers say and what to do, in one paragraph."""
    parts = [
        f"{row.part}: {row.transitions} transitions of {row.episodes} episodes, {row.positive} rewarded"
        for row in found.composition.itertuples()
        if row.transitions
    ]
    t, facts = found.takeovers, [f"{'; '.join(parts) or 'nothing'}."]
    facts.append(
        f"{t.takeovers} takeovers of {t.mean_length:.1f} steps on average made {t.rate:.0%} of the steps "
        f"({t.rate_first:.0%} in the first third, {t.rate_last:.0%} in the last)."
        if t.takeovers
        else "Nobody intervened."
    )
    if found.coverage:
        facts.append(
            f"{found.coverage.online:.0%} of the experienced states lie among the demonstrated ones, "
            f"{found.coverage.demos:.0%} of the demonstrated were experienced."
        )
    if len(found.shifts):
        worst = found.shifts.loc[found.shifts.ks.idxmax()]
        facts.append(
            f"They differ most in {worst.column} {worst.dimension} (distance {worst.ks:.2f}, q {worst.q:.2g} over "
            "whole episodes)."
        )
    return " ".join([*facts, *(f"{a.words} [{a.source}]" for a in said)])


# ---------------------------------------------------------------- figure


def figure(found: Found, demos: Experience, online: Experience, spec: Spec, path: Path) -> None:
    """Composition, interventions over time, where the states lie, and the distance of each dimension."""
    sheet = Figure(figsize=(9.6, 8.4), layout="constrained")
    ((parts, time), (places, distances)) = sheet.subplots(2, 2)
    _draw_parts(parts, found.composition)
    _draw_time(time, found.episodes)
    _draw_places(places, demos, online, spec.state)
    _draw_distances(distances, found.shifts)
    sheet.savefig(path, dpi=130)


def _draw_parts(axis: Axes, table: pd.DataFrame) -> None:
    axis.bar(table.part, table.transitions, color=[COLORS[p] for p in table.part])
    for i, row in enumerate(table.itertuples()):
        rate = f"{row.positive_rate:.1%}" if row.transitions else "-"
        axis.annotate(f"{row.transitions}\n{rate} rewarded", (i, row.transitions), ha="center", va="bottom", fontsize=9)
    axis.set(title="what the replay is made of", ylabel="transitions")
    axis.margins(y=0.18)


def _draw_time(axis: Axes, table: pd.DataFrame) -> None:
    window = min(20, max(1, len(table) // 3))
    axis.bar(table.episode + 1, 100 * table.rate, color="#f2c9a8", width=1.0, label="steps by the human, %")
    smooth = 100 * table.rate.rolling(window, min_periods=1).mean()
    axis.plot(table.episode + 1, smooth, color=COLORS["human"], lw=2, label=f"mean of {window} episodes")
    axis.set(title="interventions over time", xlabel="episode", ylabel="%", ylim=(0, 140), yticks=range(0, 101, 20))
    other = axis.twinx()
    other.plot(table.episode + 1, table.mean_length, ".", color="#33383d", label="length of a takeover, steps")
    other.set(ylim=(0, 1.4 * max(12.0, float(table.mean_length.fillna(0).max()))), ylabel="steps")
    lines = [axis.get_legend_handles_labels(), other.get_legend_handles_labels()]
    handles, labels = ([*a, *b] for a, b in zip(*lines, strict=True))
    axis.legend(handles, labels, fontsize=8, loc="upper right")


def _draw_places(axis: Axes, demos: Experience, online: Experience, state: StateSpec) -> None:
    """Along two dimensions that people know, the end effector's x and y, or else those that vary most."""
    names = state.names
    if {"ee.x", "ee.y"} <= set(names):
        i, j = names.index("ee.x"), names.index("ee.y")
    else:
        spread = np.concatenate([demos.state, online.state]).std(0)
        i, j = (int(k) for k in np.argsort(spread)[::-1][:2]) if len(names) > 1 else (0, 0)
    human = online.source != Source.policy
    for part, color, name in (
        (online.state[~human], COLORS["policy"], "policy"),
        (online.state[human], COLORS["human"], "human"),
        (demos.state, COLORS["demos"], "demos"),
    ):
        if len(part):
            axis.scatter(part[:, i], part[:, j], s=5, alpha=0.5, color=color, label=name, linewidths=0)
    units = [state.dims[k].unit for k in (i, j)]
    axis.set(title="where the states lie", xlabel=f"{names[i]}, {units[0]}", ylabel=f"{names[j]}, {units[1]}")
    axis.legend(fontsize=8, markerscale=2)


def _draw_distances(axis: Axes, table: pd.DataFrame) -> None:
    axis.set(title="demonstrations against experience", xlabel="Kolmogorov-Smirnov distance", xlim=(0, 1))
    if not len(table):
        axis.text(0.5, 0.5, "no demonstrations", ha="center", va="center")
        return
    own = table.iloc[::-1]
    sure = own.q < 0.05
    labels = [
        f"{row.dimension} ({row.column})" if row.column == "action" else row.dimension for row in own.itertuples()
    ]
    axis.barh(labels, own.ks, color=np.where(sure, "#CC79A7", "#d5d9dc"))
    axis.tick_params(axis="y", labelsize=7)
    axis.set_xlabel("Kolmogorov-Smirnov distance; coloured: q < 0.05 over whole episodes", fontsize=8)
