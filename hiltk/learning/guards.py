"""Guards: failures of past training runs, detected from the metrics of each episode.

Every guard is a function of the last episodes' metrics and of what the configuration promises. It finds
nothing, or says what it saw, what that means and what to do. The thresholds leave room: healthy runs of the simulated
tasks stay well inside. In brackets: the cases in the project's history that each would have shown.
"""

from __future__ import annotations

import csv
import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean, median

from hiltk import limits
from hiltk.artifacts.replacing import write_rows
from hiltk.findings import Finding, Severity
from hiltk.learning.metrics import Row, alone

Rows = Sequence[Row]
WINDOW = 20
TREND = 40  # episodes over which help should become less
STEADY = 5  # episodes running in which it has not
FILE = "guards.csv"


@dataclass(frozen=True)
class Expected:
    """What the configuration promises.

    Attributes:
        q_low, q_high: range of the return under the reward rule; infinite where nothing is known.
        utd: updates per environment step.
        human_share: of each batch, of demonstrations and interventions; 0 where there are none.
        sparse: reward is positive only where an episode succeeds.
    """

    q_low: float = -math.inf
    q_high: float = math.inf
    utd: float = 0.0
    human_share: float = 0.0
    sparse: bool = True

    @property
    def span(self) -> float:
        return self.q_high - self.q_low


class Guards:
    """Looks at each finished episode; each guard speaks once in a run."""

    def __init__(self, expected: Expected) -> None:
        self.expected = expected
        self.rows: deque[Row] = deque(maxlen=TREND + WINDOW + STEADY - 1)
        self.tripped: set[str] = set()
        self._alone: deque[bool] = deque(maxlen=WINDOW)  # success in the newest episodes that were left alone
        self._best = 0.0

    def check(self, row: Row) -> list[Finding]:
        """What there is to say after one more episode, given its metrics as they go to ``metrics.csv``."""
        self.rows.append(row)
        self._alone.extend(alone([row]))
        found = [guard(list(self.rows), self.expected) for guard in GUARDS]
        every = [replace(f, severity=Severity.warning) for f in [*found, self._regression()] if f is not None]
        new = [f for f in every if f.code not in self.tripped]
        self.tripped |= {f.code for f in new}
        return new

    def _regression(self) -> Finding | None:
        """[082: from 55 % to 28 % between two checkpoints, by a change of light]"""
        if len(self._alone) < WINDOW:
            return None
        now = fmean(self._alone)
        self._best = max(self._best, now)
        if self._best - now < limits.FALLEN:
            return None
        return Finding(
            code="regression",
            what=f"success in {WINDOW} episodes left alone fell from {self._best:.0%} to {now:.0%}: a "
            "domain shift, or the policy has forgotten",
            fix="check light, cameras and reset first; the folder best/ of this policy holds the weights of its best "
            "time, and the run ends with those unless it recovers",
            evidence={"best": self._best, "now": now},
        )


# ---------------------------------------------------------------- the guards


def q_bound(rows: Rows, expected: Expected) -> Finding | None:
    """Q values beyond any return [058: Q above 1 where success is rewarded with 1]."""
    if not math.isfinite(expected.span):
        return None
    means, tops = _last(rows, "q_mean", 3), _last(rows, "q_max", 3)
    low, high = expected.q_low, expected.q_high
    outside = [v for v in means if not limits.beyond(v, low, high) <= limits.Q_BEYOND.alarm]
    outside = outside or [v for v in tops if v > high and limits.beyond(v, low, high) > limits.Q_PEAK_BEYOND]
    if len(outside) < 3:
        return None
    return Finding(
        code="q_bound",
        what=f"Q is {outside[-1]:.3g}, but returns lie between {expected.q_low:.3g} and {expected.q_high:.3g}: the "
        "critics overestimate, and the policy follows them",
        fix="agent.clip_target=true, more critics (agent=rlpd) or a lower utd; see that no success is rewarded twice",
        evidence={"q": outside[-1], "q_low": expected.q_low, "q_high": expected.q_high},
    )


def critic_loss(rows: Rows, expected: Expected) -> Finding | None:
    """Exploding loss [044: 11 000 to 28 000]."""
    floor = 0.05 * expected.span**2 if math.isfinite(expected.span) else 1.0
    jump = _jump(rows, "critic_loss", times=20, floor=floor)
    if jump is None:
        return None
    return Finding(
        code="critic_loss",
        what=f"the critic loss is {jump[0]:.3g}, {jump[0] / jump[1]:.0f} times its median: the TD targets of the "
        "critics diverge",
        fix="lower agent.lr or agent.tau; look for rewards of different scale in demos and online "
        "(reward.success_value)",
        evidence={"critic_loss": jump[0], "median": jump[1]},
    )


def gradient(rows: Rows, expected: Expected) -> Finding | None:
    """Exploding gradients, which come before the loss."""
    for key in ("critic_gradient", "actor_gradient"):
        jump = _jump(rows, key, times=100, floor=1.0)
        if jump is not None:
            return Finding(
                code="gradient",
                what=f"the norm of the {key.removesuffix('_gradient')}'s gradient is {jump[0]:.3g}, "
                f"{jump[0] / jump[1]:.0f} times its median",
                fix="lower agent.lr; see whether the observations changed (a camera, a unit)",
                evidence={key: jump[0], "median": jump[1]},
            )
    return None


def saturation(rows: Rows, expected: Expected) -> Finding | None:
    """Saturated actions [050, 023]."""
    values = _last(rows, "saturation", 5)
    if not values or min(values) < limits.SATURATED.alarm:
        return None
    return Finding(
        code="saturation",
        what=f"{values[-1]:.0%} of the policy's actions are at their limit: tanh passes no gradient there, it cannot "
        "leave",
        fix="check the action scale of the demonstrations; raise agent.temperature; bc-pretrain with loss=mean",
        evidence={"saturation": values[-1]},
    )


def alpha_low(rows: Rows, expected: Expected) -> Finding | None:
    """A timid policy that has stopped exploring [063: 2 mm a step, at home for 120 episodes]."""
    alphas, sizes = _last(rows, "alpha", 3), _last(rows, "action_size", 3)
    if not alphas or not sizes or max(alphas) > limits.ALPHA_GONE or max(sizes) > limits.ACTION_SIZE.alarm:
        return None
    return Finding(
        code="alpha_low",
        what=f"alpha is {alphas[-1]:.4f} and actions average {sizes[-1]:.2f} of full size: the arm hardly moves and no "
        "longer explores",
        fix="agent.target_entropy=null (half the action dimensions), or a higher one; a higher agent.temperature",
        evidence={"alpha": alphas[-1], "action_size": sizes[-1]},
    )


def positive_rate(rows: Rows, expected: Expected) -> Finding | None:
    """Too little reward to learn from [058: 53 of 5866 transitions]."""
    values = _last(rows, "positive_share", 10)
    if not expected.sparse or not values or fmean(values) >= limits.POSITIVE.alarm:
        return None
    return Finding(
        code="positive_rate",
        what=f"{fmean(values):.2%} of the transitions learned from carry a reward: critics see almost no reward",
        fix="more demonstrations that end in success, earlier corrections, or a reward classifier that recognises "
        "success",
        evidence={"positive_share": fmean(values)},
    )


def early_ends(rows: Rows, expected: Expected) -> Finding | None:
    """Episodes that the reward classifier ends before success [E12: 40 of 55 by the simulator]."""
    recent = [row for row in rows if "early" in row][-TREND:]
    found = [row for row in recent if row["early"]]
    if len(found) <= limits.EARLY.alarm * TREND:
        return None
    missing = [row["missing_mm"] for row in found if "missing_mm" in row]
    short = f", {fmean(missing):.0f} mm short on average" if missing else ""
    return Finding(
        code="early_ends",
        what=f"the reward classifier ended {len(found)} of the last {len(recent)} episodes before the task was "
        f"done{short}: the policy learns to stop there",
        fix="train the classifier on more episodes at this pace, with longer tails (steps_after_success), or with a "
        "longer hold (hold_steps)",
        evidence={"early": len(found), "episodes": len(recent), "missing_mm": fmean(missing) if missing else math.nan},
    )


def update_ratio(rows: Rows, expected: Expected) -> Finding | None:
    """Fewer updates than configured [S10: 3.9 for 20]."""
    values = _last(rows, "utd", 10)
    if (
        not expected.utd
        or not values
        or abs(median(values) - expected.utd) <= limits.UPDATES_BEHIND.alarm * expected.utd
    ):
        return None
    return Finding(
        code="update_ratio",
        what=f"{median(values):.2g} updates per environment step instead of {expected.utd:.2g}",
        fix="the learner does not keep up, or runs ahead: lower utd or batch_size, or use a faster device",
        evidence={"utd": median(values), "utd_configured": expected.utd},
    )


def human_share(rows: Rows, expected: Expected) -> Finding | None:
    """Human data that does not reach the batches [S13, S14: evicted, or lost at a resume]."""
    values = _last(rows, "demo_share", 10)
    if not expected.human_share or not values or fmean(values) >= limits.HUMAN_DATA * expected.human_share:
        return None
    return Finding(
        code="human_share",
        what=f"{fmean(values):.0%} of each batch is human, {expected.human_share:.0%} is configured: demonstrations or "
        "corrections are missing",
        fix="check demos= and that corrections are recorded as such",
        evidence={"demo_share": fmean(values), "human_share": expected.human_share},
    )


def long_interventions(rows: Rows, expected: Expected) -> Finding | None:
    """Takeovers that carry the episode [072, 073: 90 to 97 % of the steps]."""
    values = _last(rows, "intervention_rate", 3)
    if not values or min(values) <= limits.TAKEN_OVER.alarm:
        return None
    return Finding(
        code="long_interventions",
        what=f"the human made {values[-1]:.0%} of the steps, over {limits.TAKEN_OVER.alarm:.0%} for three episodes "
        "running: critics credit the policy with what the human did, and it never sees its own mistakes through",
        fix="correct briefly, then let go (intervention=brief); if the policy is helpless, bc-pretrain first",
        evidence={"intervention_rate": values[-1]},
    )


def still_helped(rows: Rows, expected: Expected) -> Finding | None:
    """Help that never becomes less [048: 80 % after 100 episodes]."""
    rates = _last(rows, "intervention_rate", TREND + WINDOW + STEADY - 1)
    if not rates:
        return None
    means = [fmean(rates[i : i + WINDOW]) for i in range(TREND + STEADY)]
    then, now = means[STEADY - 1], means[-1]
    # One comparison of two means of twenty is a toss of a coin as long as help has not begun to fall.
    if any(late < max(early, limits.STILL_HELPED) for early, late in zip(means, means[TREND:], strict=False)):
        return None
    by_itself = alone(rows)[-WINDOW:]
    measured = f"left alone, it succeeded in {sum(by_itself)} of {len(by_itself)} episodes" if by_itself else ""
    return Finding(
        code="still_helped",
        what=f"the human made {now:.0%} of the steps, no less than {TREND} episodes before ({then:.0%}): "
        + (measured or "and no episode was left alone, so nothing says what the policy can do by itself"),
        fix="if it fails alone: hiltk diagnose run, once this run has ended; if it was never left alone: "
        "intervention.alone=0.2",
        evidence={"intervention_rate": now, "before": then},
    )


def imitation_inert(rows: Rows, expected: Expected) -> Finding | None:
    """An imitation term that imitates nobody [059: its input was never filled].

    At once where nobody is there to be imitated; else a human may be still to come, or be better only at times.
    """
    count = 5 if expected.human_share else 1
    samples, weights = _last(rows, "imitation_samples", count), _last(rows, "imitation_weight", count)
    if not samples or not weights or max(samples) > 0 or min(weights) <= 0:
        return None
    return Finding(
        code="imitation_inert",
        what=f"the imitation term has weight {weights[-1]:.2g} and no transition to imitate",
        fix="give demos= or corrections; with agent.imitation_filter the critics may prefer the policy: then it has "
        "done its work",
        evidence={"imitation_weight": weights[-1]},
    )


GUARDS: list[Callable[[Rows, Expected], Finding | None]] = [
    q_bound, critic_loss, gradient, saturation, alpha_low, positive_rate, early_ends, update_ratio, human_share,
    long_interventions, still_helped, imitation_inert,
]  # fmt: skip


def _last(rows: Rows, key: str, count: int) -> list[float]:
    """The newest ``count`` values of a metric; empty while there are fewer."""
    values = [row[key] for row in rows if key in row]
    return values[-count:] if len(values) >= count else []


def _jump(rows: Rows, key: str, times: float, floor: float) -> tuple[float, float] | None:
    """The newest value and the median before it, where the former is ``times`` the latter and above ``floor``."""
    values = [row[key] for row in rows if key in row][-WINDOW:]
    if len(values) < 6:
        return None
    usual = max(median(values[:-1]), 1e-12)
    return (values[-1], usual) if values[-1] > max(times * usual, floor) else None


# ---------------------------------------------------------------- the record


class GuardLog:
    """``guards.csv``: one row per guard that tripped, a header alone where none did."""

    COLUMNS = ("episode", "code", "message", "fix")

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE
        self.rows: list[dict[str, object]] = []

    def keep(self, prefixes: tuple[str, ...], before: int) -> None:
        """Take over what an earlier run of this folder found in episodes ``before`` this: codes that begin with one of
        ``prefixes``."""
        rows = _read(self.path)
        self.rows += [{**r} for r in rows if r["code"].startswith(prefixes) and int(r["episode"]) < before]

    def write(self, episode: int, findings: Sequence[Finding]) -> None:
        """Add findings; the file is replaced as a whole, so that it is never half written."""
        self.rows += [{"episode": episode, "code": f.code, "message": f.what, "fix": f.fix} for f in findings]
        write_rows(self.path, self.COLUMNS, self.rows)


def noted(folder: Path) -> list[Finding]:
    """What the guards found while the policy in this folder was trained, in the order they spoke."""
    return [
        Finding(row["message"], f"episode {row['episode']}, {FILE}", row["fix"], row["code"], Severity.warning)
        for row in _read(folder / FILE)
    ]


def _read(path: Path) -> list[dict[str, str]]:
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
