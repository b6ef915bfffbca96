"""What a policy could earn by playing with the success classifier instead of finishing: exact, by dynamic programming.

A policy that has found out how to make the classifier say "success" decides in every frame whether it does. The reward
rule sees nothing but that: it is a small automaton, whose path of highest return `payoff` computes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from hiltk.reward_rule import is_held
from hiltk.spec import RewardSpec

NEGLIGIBLE = 1e-9  # of a reward so late that leaving it out changes nothing
LONGEST = 100_000  # steps looked ahead at most
TOLERANCE = 1e-6  # relative; returns closer than this are equal


@dataclass(frozen=True)
class Payoff:
    """Discounted returns from the first step of an episode, in the reward's units.

    Attributes:
        finishing: of showing success in every frame from the first on, so of finishing as early as the rule allows.
        flickering: the best of never finishing: any frames positive, but never enough of them in a row.
        best: of whatever frames positive, finishing late included.
    """

    finishing: float
    flickering: float
    best: float

    @property
    def hackable(self) -> bool:
        """Whether something returns more than finishing at once, or never finishing returns as much."""
        slack = TOLERANCE * max(abs(self.finishing), abs(self.best), 1e-12)
        return self.best > self.finishing + slack or self.flickering >= self.finishing - slack


def payoff(rule: RewardSpec, discount: float, horizon: int, *, positive_value: float | None = None) -> Payoff:
    """Backward induction (Bellman 1957) over steps and the number of positive frames in a row.

    Args:
        rule: hold and earliest step, what success, an ordinary step and a time-out are worth.
        discount: of the learner, 0..1.
        horizon: steps to the time limit. Where time-outs are bootstrapped through, values go on past it, so it only
            counts with ``timeout: terminal``.
        positive_value: reward of a positive frame that does not complete success; None: ``step_value``, as
            `hiltk.envs.rewards.SuccessRule` gives. Devlog 072's rule gave +10.
    """
    steps = horizon if rule.timeout == "terminal" else _far(discount) + rule.min_steps
    positive = rule.step_value if positive_value is None else positive_value
    runs = np.minimum(np.arange(rule.hold_steps + 1) + 1, rule.hold_steps)  # the run that one more positive makes
    finishing: np.ndarray
    flickering: np.ndarray
    best: np.ndarray
    finishing, flickering, best = (np.zeros(rule.hold_steps + 1) for _ in range(3))
    for step in range(steps, 0, -1):
        done = is_held(runs, step, rule.hold_steps, rule.min_steps)
        finishing = np.where(done, rule.success_value, positive + discount * finishing[runs])
        go_on = np.where(done, rule.success_value, positive + discount * best[runs])
        best = np.maximum(go_on, rule.step_value + discount * best[0])
        stay = np.where(done, -math.inf, positive + discount * flickering[runs])
        flickering = np.maximum(stay, rule.step_value + discount * flickering[0])
    return Payoff(float(finishing[0]), float(flickering[0]), float(best[0]))


def _far(discount: float) -> int:
    """Steps after which a reward, discounted, is worth next to nothing."""
    return LONGEST if discount >= 1 else min(LONGEST, math.ceil(math.log(NEGLIGIBLE) / math.log(discount)) + 1)
