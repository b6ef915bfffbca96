"""Flicker must not pay more than finishing: golden returns worked by hand, and every sequence through the real rule."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hiltk.envs.rewards import SuccessRule
from hiltk.rewards.hacking import payoff
from hiltk.spec import RewardSpec
from tests.envs.test_rewards import TapeEnv, play

DEVLOG_072 = RewardSpec(hold_steps=10, min_steps=30, success_value=10.0, step_value=-0.05, timeout="terminal")


def test_golden_default_rule() -> None:
    """Hold 2, success pays 1, nothing else pays: finishing takes two steps and is worth 0.97; flicker is worth 0."""
    paid = payoff(RewardSpec(), 0.97, 50)
    assert (paid.finishing, paid.flickering, paid.best) == pytest.approx((0.97, 0.0, 0.97))
    assert not paid.hackable


def test_golden_step_penalty() -> None:
    """+10 and -0.05, hold 3, discount 0.5: -0.05 - 0.025 + 2.5 = 2.425; for ever -0.05 / 0.5 = -0.1."""
    paid = payoff(RewardSpec(hold_steps=3, success_value=10.0, step_value=-0.05), 0.5, 50)
    assert (paid.finishing, paid.flickering) == pytest.approx((2.425, -0.1))
    assert paid.best == paid.finishing and not paid.hackable


def test_golden_late_success() -> None:
    """Hold 1, at step 3 or later, discount 0.5: 0.25 for success, and 4 steps of 0.1 to the limit are 0.1875."""
    rule = RewardSpec(hold_steps=1, min_steps=3, step_value=0.1, timeout="terminal")
    paid = payoff(rule, 0.5, 4)
    # Finishing: 0.1 + 0.05 + 0.25 = 0.4. One step later: 0.1 + 0.05 + 0.025 + 0.125 = 0.3.
    assert (paid.finishing, paid.flickering, paid.best) == pytest.approx((0.4, 0.1875, 0.4))


def test_golden_devlog_072() -> None:
    """Every positive frame paid 10, here for up to 100 steps: positive frames that are never ten in a row beat a grasp.

    Undiscounted, finishing at step 30 is 30 * 10 = 300. Before step 30 nothing ends, so 29 positives are free; then
    every tenth frame must be negative: at 30, 40 ... 100, which leaves 92 * 10 - 8 * 0.05 = 919.6. With the last ten
    positive, success at step 100: 93 * 10 - 7 * 0.05 = 929.65.
    """
    paid = payoff(DEVLOG_072, 1.0, 100, positive_value=10.0)
    assert (paid.finishing, paid.flickering, paid.best) == pytest.approx((300.0, 919.6, 929.65))
    assert paid.hackable
    discounted = payoff(DEVLOG_072, 0.97, 100, positive_value=10.0)
    # 10 * (1 - 0.97^30) / 0.03 = 199.66 for 30 frames; flicker has 70 more steps of about nine tenths of that rate.
    assert discounted.finishing == pytest.approx(10 * (1 - 0.97**30) / 0.03)
    assert discounted.flickering > 1.3 * discounted.finishing and discounted.hackable
    # The same values under hiltk's rule, which pays success once:
    assert not payoff(DEVLOG_072, 0.97, 100).hackable


@pytest.mark.parametrize(
    ("step_value", "timeout", "hackable"),
    [
        (0.0, "truncated", False),
        (-0.05, "truncated", False),
        (0.029, "truncated", False),  # waiting for ever: 0.029 / 0.03 = 0.967 < 1
        (0.03, "truncated", True),  # just as good
        (0.031, "truncated", True),
        (0.031, "terminal", True),  # not by waiting for ever, but by finishing at the last moment
        (0.029, "terminal", False),
    ],
)
def test_where_waiting_begins_to_pay(step_value: float, timeout: str, hackable: bool) -> None:
    assert payoff(RewardSpec(step_value=step_value, timeout=timeout), 0.97, 50).hackable == hackable


RULES = st.builds(
    RewardSpec,
    hold_steps=st.integers(1, 4),
    min_steps=st.integers(0, 5),
    success_value=st.floats(0.1, 10),
    step_value=st.floats(-1, 0.09),
    timeout=st.just("terminal"),
)


@settings(max_examples=20, deadline=None)
@given(RULES, st.floats(0.5, 1.0), st.integers(1, 6))
def test_it_is_what_the_environment_pays(rule: RewardSpec, discount: float, horizon: int) -> None:
    """The best return over every sequence of verdicts, played through the rule that training uses."""
    finished, endless = {}, {}
    for shown in product([False, True], repeat=horizon):
        rewards, infos, _, _ = play(SuccessRule(TapeEnv(list(shown)), rule))
        value = float(np.sum(np.array(rewards) * discount ** np.arange(len(rewards))))
        (finished if infos[-1]["success"] else endless)[shown] = value
    paid = payoff(rule, discount, horizon)
    assert paid.finishing == pytest.approx((finished | endless)[(True,) * horizon])
    assert paid.flickering == pytest.approx(max(endless.values()))
    assert paid.best == pytest.approx(max((finished | endless).values()))


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 30), st.integers(0, 40), st.floats(0.1, 100), st.floats(-1, 0), st.floats(0.9, 0.99),
    st.integers(1, 200), st.sampled_from(["truncated", "terminal"]),
)  # fmt: skip
def test_success_paid_once_is_safe_where_steps_pay_nothing(
    hold: int, earliest: int, success: float, step: float, discount: float, horizon: int, timeout: str
) -> None:
    """Whatever the hold, the discount and the length of the episode, as long as there is time to finish.

    Discounts from 0.9: at 0.5 a success that may not come before step 22 is worth next to nothing, and says so.
    """
    rule = RewardSpec(hold_steps=hold, min_steps=earliest, success_value=success, step_value=step, timeout=timeout)
    paid = payoff(rule, discount, max(horizon, hold, earliest))
    assert paid.best == pytest.approx(paid.finishing, abs=1e-9)
    assert paid.flickering <= paid.finishing and not paid.hackable


def test_a_success_too_far_off_to_be_worth_anything_is_refused() -> None:
    assert payoff(RewardSpec(min_steps=22, step_value=-1.0), 0.5, 50).hackable
