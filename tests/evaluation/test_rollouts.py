from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from hiltk.errors import UserError
from hiltk.evaluation.rollouts import ReplayedActions, evaluate, run_episode
from hiltk.evaluation.seeds import episode_seeds


def test_episode_counts_steps_to_success(line_env: Any, go_to: Any) -> None:
    result = run_episode(line_env, go_to(), seed=3, stratum="far")
    # 0.1 m per step towards a goal that success accepts within 0.02 m.
    assert result.success and result.steps == int(np.ceil((line_env.goal - 0.02) / 0.1))
    assert result.actions.shape == (result.steps, 1) and result.actions.dtype == np.float32
    assert result.total_reward == 1.0


def test_failure_lasts_until_the_time_limit(line_env: Any, go_to: Any) -> None:
    result = run_episode(line_env, go_to(reach=0.5), seed=3, stratum="far")
    assert (result.success, result.steps, result.total_reward) == (False, 20, 0.0)


def test_the_rules_verdict_does_not_count(line_env: Any, go_to: Any) -> None:
    """`LineEnv` claims ``success`` at every step, as a broken classifier would."""
    assert not run_episode(line_env, go_to(reach=0.0), seed=3, stratum="near").success


def test_same_seeds_for_every_policy(line_env: Any, go_to: Any) -> None:
    for policy in (go_to(), go_to(reach=0.3)):
        evaluate(line_env, policy, ["near", "far"], 5, seed=1)
    assert line_env.seeds[:10] == line_env.seeds[10:]
    assert line_env.seeds[:10] == episode_seeds(1, "near", 5) + episode_seeds(1, "far", 5)


def test_evaluate_tells_strata_apart(line_env: Any, go_to: Any) -> None:
    seen: list[Any] = []
    frame = evaluate(line_env, go_to(reach=0.5), ["near", "far"], 6, seed=0, progress=seen.append)
    assert list(frame.columns) == ["seed", "episode", "stratum", "success", "steps", "return", "success_at_reset"]
    assert frame.groupby("stratum").success.mean().to_dict() == {"near": 1.0, "far": 0.0}
    assert frame.episode.tolist() == [*range(6), *range(6)]
    assert len(seen) == 12


def test_stochastic_episodes_repeat(line_env: Any, go_to: Any) -> None:
    runs = [run_episode(line_env, go_to(noise=0.5), seed=s, stratum="far", deterministic=False) for s in (4, 4, 5)]
    np.testing.assert_array_equal(runs[0].actions, runs[1].actions)
    assert runs[0].actions.tolist() != runs[2].actions.tolist()


def test_cameras_the_policy_does_not_know_are_kept_from_it(make_line_env: Any, go_to: Any) -> None:
    assert run_episode(make_line_env(("wrist", "front")), go_to(), seed=0, stratum="near").success


def test_replayed_actions_repeat_the_episode(make_line_env: Any, line_env: Any, go_to: Any) -> None:
    seen = run_episode(line_env, go_to(), seed=9, stratum="far")
    replay = ReplayedActions(seen.actions, go_to().spec)
    shown = run_episode(make_line_env(("wrist", "front")), replay, seed=9, stratum="far")
    assert (shown.success, shown.steps) == (seen.success, seen.steps)


def test_film_sees_every_observation(line_env: Any, go_to: Any) -> None:
    calls: list[tuple[int, bool]] = []
    result = run_episode(
        line_env, go_to(), seed=0, stratum="near", film=lambda o, *, step, success: calls.append((step, success))
    )
    assert [step for step, _ in calls] == list(range(result.steps + 1))
    assert [success for _, success in calls] == [False] * result.steps + [True]


def test_nan_action_is_refused(line_env: Any, go_to: Any) -> None:
    policy = go_to()
    policy.act = lambda observation, deterministic=True: np.array([np.nan], np.float32)
    with pytest.raises(UserError, match="not finite"):
        run_episode(line_env, policy, seed=0, stratum="near")


def test_env_that_cannot_judge_is_refused(make_line_env: Any, go_to: Any) -> None:
    with pytest.raises(UserError, match="cannot tell success"):
        run_episode(make_line_env(judges=False), go_to(), seed=0, stratum="near")
