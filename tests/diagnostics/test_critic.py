"""Chains with known returns under critics that are right, too high, too low, impossible or indifferent."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from hiltk.agents.drqv2 import DrqAgent, DrqPolicy
from hiltk.agents.sac import SacAgent
from hiltk.config.groups import DrqConf, EncoderConf
from hiltk.data.episode import Episode, Source
from hiltk.data.statistics import vector_stats
from hiltk.diagnostics.critic import (
    CriticDiagnosis,
    as_rows,
    error,
    findings,
    follows,
    growth,
    verdict,
)
from hiltk.diagnostics.critic_figure import examples, figure, filmstrip
from hiltk.diagnostics.ratings import Ratings, rate, returns
from hiltk.spec import STATE_KEY, RewardSpec, Spec
from tests.conftest import build_episode, build_spec

GAMMA = 0.5
WRIST = "observation.images.wrist"


def chain(length: int, *, success: bool = True, source: Source = Source.policy) -> Episode:
    """The state is the number of steps left to the end, the only reward is that of the last step."""
    episode = build_episode(build_spec(), length, success=success)
    left = np.arange(length, -1, -1, dtype=np.float32)
    state = np.zeros((length + 1, 18), np.float32)
    state[:, 0] = left
    return replace(
        episode,
        observations={**episode.observations, STATE_KEY: state},
        actions=np.zeros((length, 4), np.float32),
        source=np.full(length, source, np.int64),
    )


def right(features: Tensor, action: Tensor) -> Tensor:
    """0.5^(steps left - 1), and that times an action's first number, twice over."""
    value = GAMMA ** (features[:, 0] - 1) * (1 + action[:, 0])
    return torch.stack([value, value])


@dataclass
class Tabular:
    """A learner whose features are the state and whose critic is a function."""

    critic: Any
    q_low: float = 0.0
    q_high: float = 1.0
    conf: Any = field(default_factory=lambda: SimpleNamespace(discount=GAMMA))
    gripper: Any = None
    arm: int = 4  # action dimensions that the critic takes

    @property
    def policy(self) -> Any:
        def torso(observation: dict[str, Tensor]) -> Tensor:
            return observation[STATE_KEY]

        actor = SimpleNamespace(mode=lambda features: torch.zeros(len(features), 4))
        device = torch.device("cpu")
        return SimpleNamespace(
            spec=build_spec(), torso=torso, actor=actor, frame_stack=1, device=device, gripper=self.gripper
        )


def diagnosed(critic: Any, episodes: list[Episode], metrics: pd.DataFrame | None = None) -> CriticDiagnosis:
    ratings = rate(Tabular(critic), episodes)
    return CriticDiagnosis("p", ratings, pd.DataFrame() if metrics is None else metrics, GAMMA)


def codes(d: CriticDiagnosis) -> list[str]:
    return [f.code for f in findings(d)]


CHAINS = [chain(4), chain(3), chain(5, source=Source.demo), chain(6)]


def test_returns_by_hand() -> None:
    low, high = returns(np.array([0.0, 1.0, 0.0, 2.0]), True, 0.5, (0.0, 9.0))
    assert low.tolist() == high.tolist() == [0.75, 1.5, 1.0, 2.0]
    low, high = returns(np.array([0.0, 0.0, 1.0]), False, 0.5, (0.0, 4.0))
    assert low.tolist() == [0.25, 0.5, 1.0] and high.tolist() == [0.25 + 0.5, 0.5 + 1.0, 1.0 + 2.0]
    low, high = returns(np.array([1.0]), False, 0.5, (-math.inf, math.inf))
    assert low.tolist() == [-math.inf] and high.tolist() == [math.inf]


def test_a_right_critic_is_right() -> None:
    d = diagnosed(right, CHAINS)
    r = d.ratings
    np.testing.assert_allclose(r.mean, r.low, rtol=1e-6)
    np.testing.assert_allclose(r.mean[:4], [0.125, 0.25, 0.5, 1.0])
    assert r.known.all() and r.phase[:4].tolist() == pytest.approx([0, 1 / 3, 2 / 3, 1])
    assert error(r, r.source == Source.policy) == pytest.approx(0, abs=1e-7)
    assert follows(r) == pytest.approx(1)
    assert codes(d) == [] and "Nothing stands out" in verdict([d])


def test_sharpness_by_hand() -> None:
    """A uniform number within 0.2 has the deviation 0.2 / sqrt 3; here that times the value."""
    r = rate(Tabular(right), CHAINS)
    assert (r.sharpness / r.mean).mean() == pytest.approx(0.2 / np.sqrt(3), rel=0.05)
    np.testing.assert_array_equal(r.sharpness, rate(Tabular(right), CHAINS).sharpness)


def test_planted_overestimation_is_found_and_named() -> None:
    d = diagnosed(lambda f, a: (right(f, a) + 0.2).clamp(max=1.0), CHAINS)
    assert codes(d) == ["overestimates"]
    policy = d.ratings.source == Source.policy
    # By hand, per episode of 3, 4 and 6 steps: 0.2 each step but the last.
    assert error(d.ratings, policy) == pytest.approx(0.2 * (2 + 3 + 5) / 13, rel=1e-5)
    assert "overestimate what the policy does: on average by 0.15, 15%" in verdict([d])


def test_values_beyond_the_reward_rule() -> None:
    d = diagnosed(lambda f, a: right(f, a) + 0.5, CHAINS)
    assert codes(d) == ["q_bound", "overestimates"]
    assert "beyond the returns that the reward rule allows, 0 to 1; the highest is 1.5" in findings(d)[0].what


def test_time_outs_leave_room_for_what_they_hide() -> None:
    """Of a failure of 6 steps it is known that its return is below 0.5^6 at the start, and below 0.5 at the end."""
    failures = [chain(6, success=False) for _ in range(3)]
    r = rate(Tabular(right), failures)
    assert not r.known.any() and r.high[:6].tolist() == pytest.approx([GAMMA**n for n in range(6, 0, -1)])
    assert error(r, np.ones(18, bool)) == pytest.approx((r.mean - r.high).mean())  # it believes in success: too high
    hopeless = rate(Tabular(lambda f, a: 0.0 * right(f, a)), failures)
    assert error(hopeless, np.ones(18, bool)) == 0
    assert codes(CriticDiagnosis("p", r, pd.DataFrame(), GAMMA)) == ["overestimates"]


def test_a_critic_that_expects_nothing_of_demonstrations() -> None:
    demos = [chain(2, source=Source.demo) for _ in range(8)]
    d = diagnosed(lambda f, a: 0.1 * right(f, a), demos)
    assert "underestimates" in codes(d) and error(d.ratings, d.ratings.source == Source.demo) == pytest.approx(-0.675)


def test_a_three_way_gripper_is_judged() -> None:
    """The head closes in the last two steps and holds before; people closed in the last one and opened elsewhere."""

    def head(features: Tensor) -> Tensor:
        close = (features[:, 0] <= 2).float()
        return torch.stack([close, 1 - close, torch.full_like(close, 0.75)], dim=1)

    episode = chain(4, source=Source.demo)
    episode.actions[:, -1] = [1, 1, 1, -1]
    ratings = rate(Tabular(right, gripper=head), [episode])
    diagnosis = CriticDiagnosis("chain", ratings, pd.DataFrame(), GAMMA)
    row = next(iter(as_rows(diagnosis)))
    shares = [row[f"gripper_{name}_percent"] for name in ("close", "hold", "open", "agrees")]
    assert shares == [50, 50, 0, 25] and (row["gripper_q"], row["gripper_gap"]) == (1, 0.25)
    assert "would say close 50 %, hold 50 %, open 0 %, as was done in 25 %" in verdict([diagnosis])
    assert "gripper_fixed" not in [f.code for f in findings(diagnosis)]
    stuck = replace(ratings, gripper=np.tile([0.1, 0.5, 0.2], (4, 1)))
    found = {f.code: f.what for f in findings(replace(diagnosis, ratings=stuck))}
    assert "says 'hold' whatever it sees, where people commanded something else in 100%" in found["gripper_fixed"]
    same = replace(stuck, command=np.ones(4, int))  # nobody did anything else
    assert "gripper_fixed" not in [f.code for f in findings(replace(diagnosis, ratings=same))]
    assert not any(key.startswith("gripper") for key in next(iter(as_rows(diagnosed(right, [episode])))))


def test_a_critic_that_does_not_care_what_is_done() -> None:
    assert codes(diagnosed(lambda f, a: right(f, 0 * a), CHAINS)) == ["flat"]
    assert codes(diagnosed(lambda f, a: right(f, 0.05 * a), CHAINS)) == ["flat"]  # 0.006 of the value, a step costs 0.5
    assert codes(diagnosed(lambda f, a: right(f, 0.2 * a), CHAINS)) == []


def test_values_that_do_not_follow_returns() -> None:
    backwards = diagnosed(lambda f, a: 0.3 - 0.2 * right(f, a), CHAINS)
    assert "unrelated" in codes(backwards) and follows(backwards.ratings) == pytest.approx(-1)


def metrics(q: np.ndarray, alone: np.ndarray) -> pd.DataFrame:
    frame = pd.DataFrame({"episode": np.arange(len(q)), "q_mean": q, "q_max": q, "autonomous": alone})
    return frame.assign(**{"return": 1.0, "length": 5})


def test_overestimation_that_grows() -> None:
    """Values rise by half of their range while success stays; beside it a run in which success rises with them."""
    rising, flat = np.linspace(0.1, 0.7, 60), np.full(60, 0.3)
    assert codes(diagnosed(right, CHAINS, metrics(rising, flat))) == ["growing"]
    assert codes(diagnosed(right, CHAINS, metrics(rising, rising))) == []
    assert growth(metrics(rising, flat))[0] == pytest.approx(rising[:20].mean())
    assert np.isnan(growth(metrics(rising[:30], flat[:30]))).all() and np.isnan(growth(pd.DataFrame())).all()
    beyond = codes(diagnosed(right, CHAINS, metrics(np.linspace(0.5, 2.0, 60), flat)))
    assert beyond == ["q_bound", "growing"]


def test_without_a_bound_the_returns_give_the_scale() -> None:
    r = rate(Tabular(right, -math.inf, math.inf), CHAINS)
    assert r.span == pytest.approx(1 - GAMMA**5)
    d = CriticDiagnosis("p", r, pd.DataFrame(), GAMMA)
    assert codes(d) == []


def test_actions_that_are_not_known_are_left_out() -> None:
    episode = chain(4)
    episode.action_valid[1] = False
    r = rate(Tabular(right), [episode, chain(3)])
    assert (
        r.mean.tolist() == pytest.approx([0.125, 0.5, 1.0, 0.25, 0.5, 1.0]) and r.episode.tolist() == [0] * 3 + [1] * 3
    )
    np.testing.assert_allclose(r.mean, r.low, rtol=1e-6)


def test_table_by_source_and_part() -> None:
    table = pd.DataFrame(as_rows(diagnosed(right, CHAINS)))
    assert table.source.unique().tolist() == ["demo", "policy"]
    whole = table[table.episode_percent == "0-100"].set_index("source")
    assert whole.transitions.to_dict() == {"demo": 5, "policy": 13}
    assert whole.q_mean["demo"] == pytest.approx(1.9375 / 5, rel=1e-5)
    assert table[table.episode_percent == "80-100"].q_max.tolist() == [1.0, 1.0]


def test_which_episodes_are_filmed() -> None:
    demo, good, bad = chain(3, source=Source.demo), chain(3), chain(3, success=False)
    assert examples([demo, demo, good, bad, good]) == [1, 3, 4]
    assert examples([demo]) == [0]


def test_a_time_out_in_sight_of_success_is_filmed_as_a_failure() -> None:
    """Success shows in the last frame only, which is not held: the rule ended it by time."""
    good, near = chain(3), replace(chain(3, success=False), success=np.arange(4) == 3)
    assert examples([good, near]) == [0, 1]


def test_figures(tmp_path: Path) -> None:
    episodes = [*CHAINS, chain(5, success=False)]
    d = diagnosed(right, episodes, metrics(np.linspace(0.1, 0.7, 60), np.full(60, 0.3)))
    bare = CriticDiagnosis("q", rate(Tabular(right, -math.inf, math.inf), episodes[-1:]), pd.DataFrame(), GAMMA)
    figure([d, bare], tmp_path / "c.png")
    filmstrip(d, episodes, WRIST, tmp_path / "v.png")
    assert all((tmp_path / n).read_bytes().startswith(b"\x89PNG") for n in ("c.png", "v.png"))
    assert "Nothing" in verdict([bare]) or findings(bare)


@pytest.mark.parametrize("stack", [1, 3])
def test_real_learners_values_are_their_critics(stack: int) -> None:
    """Of DrQ-v2's stacked frames, in order: the same numbers as asking its networks one step at a time."""
    spec: Spec = build_spec(size=24)
    episodes = [build_episode(spec, length=6 + s, seed=s) for s in range(2)]
    spec.stats = {STATE_KEY: vector_stats(episodes[0].observations[STATE_KEY], spec.state.dims, "test")}
    conf = DrqConf(frame_stack=stack, hidden=[16], bottleneck=8)
    policy = DrqPolicy(conf, EncoderConf(), spec).eval()
    agent = DrqAgent(policy, conf, RewardSpec(), horizon=10)
    r: Ratings = rate(agent, episodes)
    assert r.q.shape == (2, 13)
    for step in (0, 1, 4):
        seen = [max(0, step - back) for back in reversed(range(stack))]
        observation = {
            k: np.concatenate([v[t] for t in seen], axis=-1)[None] for k, v in episodes[0].observations.items()
        }
        tensors = {
            k: torch.from_numpy(v).permute(0, 3, 1, 2) if v.ndim == 4 else torch.from_numpy(v)
            for k, v in observation.items()
        }
        with torch.no_grad():
            q = agent.critic(policy.torso(tensors), torch.from_numpy(episodes[0].actions[step : step + 1]))
        np.testing.assert_allclose(r.q[:, step], q[:, 0].numpy(), rtol=1e-4, atol=1e-6)
    assert not isinstance(agent, SacAgent)
