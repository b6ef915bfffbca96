"""What a run learned from: counts, silent motion and dimensions that stand still, by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hiltk.diagnostics.composition import (
    at_limit_share,
    composition,
    rewarded_share,
    short_of_the_rule,
    silent_share,
    still_dimensions,
    still_share,
    timed_out,
    timed_out_share,
)
from hiltk.diagnostics.experience import Experience, of_episodes
from hiltk.spec import STATE_KEY, RewardSpec, Spec
from tests.conftest import build_episode
from tests.diagnostics.experiences import PLAIN, SPEC, of, online_episode


def test_composition_by_hand() -> None:
    demos = of(build_episode(SPEC, 10, 0), build_episode(SPEC, 6, 1, success=False))
    online = of(online_episode("pppphh", success=True), online_episode("pppp"), online_episode("hhpp", terminal=True))
    table = composition(demos, online, SPEC).set_index("part")
    assert table.transitions.to_dict() == {"demos": 16, "policy": 10, "human": 4}
    assert table.episodes.to_dict() == {"demos": 2, "policy": 3, "human": 2}
    assert table.positive.to_dict() == {"demos": 1, "policy": 0, "human": 1}
    assert table.positive_rate["human"] == pytest.approx(0.25) and table.share["demos"] == pytest.approx(16 / 30)
    assert table.terminated.to_dict() == {"demos": 1, "policy": 1, "human": 1}
    assert table.truncated.to_dict() == {"demos": 1, "policy": 1, "human": 0}
    assert table.timeouts_terminal.to_dict() == {"demos": 0, "policy": 1, "human": 0}


def test_a_step_reward_is_no_success() -> None:
    spec = replace(SPEC, reward=RewardSpec(success_value=10.0, step_value=-0.05))
    paid = build_episode(SPEC, 5)
    paid = replace(paid, rewards=np.array([-0.05, -0.05, -0.05, -0.05, 10.0], np.float32))
    assert of_episodes([paid], spec).positive(spec).tolist() == [False] * 4 + [True]


def moving(count: int, length: int, action: float) -> Experience:
    """Episodes whose states move by a tenth a step, all under this action."""
    made = []
    for _ in range(count):
        states = np.linspace(0, length / 10, length + 1)[:, None].repeat(18, axis=1).astype(np.float32)
        actions = np.full((length, 4), action, np.float32)
        made.append(replace(build_episode(SPEC, length), observations={STATE_KEY: states}, actions=actions))
    return of(*made)


def with_stats() -> Spec:
    return replace(SPEC, stats={STATE_KEY: PLAIN})


def test_silent_motion_by_hand() -> None:
    """Under a zero action of the arm, whatever the gripper does; transitions whose action is unknown do not count."""
    spec = with_stats()
    loud, silent = moving(2, 5, 0.5), moving(2, 5, 0.0)
    assert silent_share(loud, spec) == 0 and silent_share(silent, spec) == 1
    half = replace(loud, action=np.where((loud.step < 3)[:, None], 0.0, loud.action))
    assert silent_share(half, spec) == pytest.approx(0.6)
    assert silent_share(replace(half, valid=half.step >= 3), spec) == 0
    gripper = silent.action.copy()
    gripper[:, 3] = 1.0
    assert silent_share(replace(silent, action=gripper), spec) == 1
    assert np.isnan(silent_share(replace(silent, next_state=silent.state), spec))


@pytest.mark.parametrize(("hold", "share"), [(1, 0.25), (4, 0.25), (5, 0.75), (13, 1.0)])
def test_demonstrations_that_end_before_the_rules_hold(hold: int, share: float) -> None:
    """Success shows for 2, 2 and 6 steps before the end; the fourth has none."""
    demos = of(*(build_episode(SPEC, 10, seed) for seed in range(3)), build_episode(SPEC, 6, 3, success=False))
    shown = np.zeros(len(demos), bool)
    shown[[8, 9, 18, 19, *range(24, 30)]] = True
    spec = replace(SPEC, reward=RewardSpec(hold_steps=hold))
    assert short_of_the_rule(replace(demos, shown=shown), spec) == share
    assert short_of_the_rule(of(), spec) == 0


def test_dimensions_that_stand_still() -> None:
    online, demos = moving(2, 9, 0.5), moving(2, 9, 0.5)
    online.state[:, 3] = 7.0  # nothing moves it
    demos.state[:, :2] = 0.0
    spec = with_stats()
    spec.stats = {STATE_KEY: replace(PLAIN, std=[1.0] * 17 + [1e-6])}
    alive, dead, narrow = still_dimensions(demos, online, spec)
    assert np.flatnonzero(~alive).tolist() == [3]
    assert np.flatnonzero(dead).tolist() == [0, 1] and np.flatnonzero(narrow).tolist() == [17]
    assert not still_dimensions(of(), online, spec)[1].any()
    assert still_share(demos, online, spec) == pytest.approx(3 / 17)
    online.state[:] = 7.0  # nothing moves, whatever is asked for
    assert still_share(demos, online, spec) == 1 and still_share(demos, moving(0, 1, 0.0), spec) == 0


def test_time_outs_that_are_terminal() -> None:
    online = of(online_episode("ppp", success=True), online_episode("ppp"), online_episode("ppp", terminal=True))
    assert np.flatnonzero(timed_out(online, SPEC)).tolist() == [8]
    assert timed_out_share(online, SPEC) == pytest.approx(1 / 3) and timed_out_share(of(), SPEC) == 0


def test_shares_of_episodes_and_steps() -> None:
    online = of(online_episode("ppp", success=True), online_episode("pppp", success=True), online_episode("ppp"))
    assert rewarded_share([online, of(online_episode("ppp"))], SPEC) == pytest.approx(2 / 4)
    assert rewarded_share([of()], SPEC) == at_limit_share([of()]) == 0
    action = np.zeros_like(online.action)
    action[:4, 1], action[4:, 3] = -0.96, 1.0  # the gripper does not count
    assert at_limit_share([replace(online, action=action)]) == pytest.approx(0.4)
