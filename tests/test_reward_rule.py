"""The reward rule: golden traces, and that whatever applies it pays, ends and judges as the environment does."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st

from hiltk.data.episode import Episode, Source, end_at
from hiltk.data.foreign import split_at_success
from hiltk.data.labels import relabelled
from hiltk.envs.base import HilEnv
from hiltk.envs.rewards import SuccessRule
from hiltk.errors import ConfigError
from hiltk.evaluation.preview import Look
from hiltk.reward_rule import (
    Verdict,
    check_rule,
    first_hold,
    is_success_reward,
    judge_episode,
    settle,
    summarise,
)
from hiltk.spec import STATE_KEY, Dimension, RewardSpec, Spec, StateSpec
from tests.envs.test_rewards import TapeEnv, play


def bits(text: str) -> np.ndarray:
    return np.array([c == "1" for c in text])


@pytest.mark.parametrize(
    ("positive", "hold", "earliest", "ends"),
    [
        ("0011100", 1, 0, 2),
        ("0011100", 2, 0, 3),
        ("0011100", 3, 0, 4),
        ("0011100", 4, 0, None),
        ("0101010", 2, 0, None),  # flicker
        ("1100000", 1, 0, 1),  # the observation of reset does not count
        ("1100000", 2, 0, None),
        ("1110000", 2, 0, 2),
        ("0111110", 2, 4, 4),  # held since 2, too early until 4
        ("0110011", 2, 4, 6),  # the early run does not count on
        ("0000001", 1, 6, 6),
        ("", 1, 0, None),
        ("1", 1, 0, None),
    ],
)
def test_first_hold_by_hand(positive: str, hold: int, earliest: int, ends: int | None) -> None:
    assert first_hold(bits(positive), hold, earliest) == ends


class Replayed(HilEnv):
    """Says of each step what a list says."""

    has_predicate = True

    def __init__(self, positive: np.ndarray) -> None:
        self.io_spec = Spec(state=StateSpec([Dimension("x")]))
        self.positive, self.t = positive, 0
        self.action_space = spaces.Box(-1, 1, (4,), np.float32)

    def _now(self) -> tuple[dict[str, Any], dict[str, Any]]:
        return {"observation.state": np.zeros(1)}, {"success_now": bool(self.positive[self.t]), "stratum": ""}

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        self.t = 0
        return self._now()

    def step(self, action: np.ndarray) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.t += 1
        observation, info = self._now()
        return observation, 0.0, False, self.t == len(self.positive) - 1, info


@given(st.lists(st.booleans(), min_size=2, max_size=30), st.integers(1, 5), st.integers(0, 12))
@settings(max_examples=200, deadline=None)
def test_replay_ends_episodes_exactly_where_the_environment_does(
    positive: list[bool], hold: int, earliest: int
) -> None:
    env = SuccessRule(Replayed(np.array(positive)), RewardSpec(hold_steps=hold, min_steps=earliest))
    env.reset()
    ended = None
    for t in range(1, len(positive)):
        _, _, terminated, truncated, _ = env.step(np.zeros(4))
        if terminated:
            ended = t
        if terminated or truncated:
            break
    assert first_hold(np.array(positive), hold, earliest) == ended


@pytest.mark.parametrize(
    ("positive", "labels", "verdict"),
    [
        ("00011", "00011", Verdict.rightly_ended),
        ("00001111", "00111111", Verdict.rightly_ended),  # late, but right
        ("00111111", "00001111", Verdict.wrongly_ended),  # too early is wrong
        ("0011000", "0000000", Verdict.wrongly_ended),
        ("0010100", "0001111", Verdict.missed),
        ("0010100", "0000000", Verdict.rightly_silent),
        ("0000000", "0010100", Verdict.rightly_silent),  # the labels never held long enough
    ],
)
def test_judge_episode_by_hand(positive: str, labels: str, verdict: Verdict) -> None:
    assert judge_episode(bits(positive), bits(labels), hold_steps=2).verdict is verdict


def test_golden_trace_of_four_episodes() -> None:
    traces = [("0011", "0011"), ("0000011", "0011111"), ("0110", "0000"), ("0000", "0011")]
    verdicts = [judge_episode(bits(p), bits(y), hold_steps=2) for p, y in traces]
    assert [v.ended_at for v in verdicts] == [3, 6, 2, None]
    assert [v.should_end_at for v in verdicts] == [3, 3, None, 3]
    replay = summarise(verdicts)
    assert (replay.wrongly_ended.count, replay.wrongly_ended.n) == (1, 4)
    assert (replay.missed.count, replay.missed.n) == (1, 3)
    assert replay.delay_steps == 1.5  # 0 and 3


def test_a_failure_whose_labels_flicker_is_a_failure() -> None:
    """Success shows for one frame of the two that make one, the rule ends right there: a failure was rewarded."""
    verdict = judge_episode(bits("00100"), bits("00100"), hold_steps=1, true_hold_steps=2)
    assert (verdict.ended_at, verdict.should_end_at, verdict.wrongly_rewarded) == (2, None, True)
    replay = summarise([verdict])
    assert (replay.wrongly_rewarded.count, replay.wrongly_rewarded.n) == (1, 1)


# ---------------------------------------------------------------- one rule

SHOWN = st.lists(st.booleans(), min_size=1, max_size=30)
RULES = st.builds(
    lambda step, more, **rest: RewardSpec(success_value=(step + more) / 8, step_value=step / 8, **rest),
    step=st.integers(-8, 8),  # eighths, which are exact in float32
    more=st.integers(1, 80),
    hold_steps=st.integers(1, 5),
    min_steps=st.integers(0, 12),
    timeout=st.sampled_from(["truncated", "terminal"]),
)


def stepped(env: SuccessRule) -> tuple[Episode, list[dict[str, Any]]]:
    """An episode as a recorder keeps it, and what was said of every step."""
    rewards, infos, terminated, truncated = play(env)
    steps = len(rewards)
    episode = Episode(
        observations={STATE_KEY: np.zeros((steps + 1, 1), np.float32)},
        actions=np.zeros((steps, 1), np.float32),
        rewards=np.array(rewards, np.float32),
        success=np.array([False, *(i["success_now"] for i in infos)]),
        source=np.full(steps, Source.demo, np.int64),
        is_intervention=np.zeros(steps, bool),
        action_valid=np.ones(steps, bool),
        terminated=terminated,
        truncated=truncated,
        rule=env.rule,
    )
    return episode, infos


def judged_by(shown: list[bool], truth: list[bool], rule: RewardSpec, **options: Any) -> SuccessRule:
    """An environment whose classifier sees success where ``shown`` says so, while its predicate holds in ``truth``."""
    spec = replace(rule, source="classifier")
    return SuccessRule(TapeEnv(truth), spec, lambda o, info: shown[int(o[STATE_KEY][0]) - 1], **options)


def outcome(episode: Any, steps: int) -> tuple[list[float], bool, bool, int]:
    return episode.rewards[:steps].tolist(), episode.terminated, episode.truncated, steps


@given(SHOWN, RULES)
def test_a_recording_is_settled_as_the_environment_pays_and_ends_it(shown: list[bool], rule: RewardSpec) -> None:
    live, infos = stepped(SuccessRule(TapeEnv(shown), rule))
    settled = settle(np.array([False, *shown]), rule)
    assert outcome(settled, settled.steps) == outcome(live, len(live))
    assert settled.success == infos[-1]["success"] and not settled.rewards[settled.steps :].any()


@given(SHOWN, RULES)
def test_a_recordings_end_decides_as_an_environments_own_end(shown: list[bool], rule: RewardSpec) -> None:
    live, infos = stepped(SuccessRule(TapeEnv(shown, ends_at=len(shown)), rule))
    settled = settle(np.array([False, *shown]), rule, closed=True)
    assert settled.rewards[: settled.steps].tolist() == live.rewards.tolist()
    assert (settled.success, settled.steps) == (infos[-1]["success"], len(live))
    assert settled.terminated == live.terminated or not settled.success  # without success it counts as cut off


@given(SHOWN, RULES)
def test_labels_pay_and_end_as_the_rule_settles(shown: list[bool], rule: RewardSpec) -> None:
    success = np.array([False, *shown])
    flags = {"success": ~success, "next.done": np.ones(len(success), bool), "next.truncated": ~success}
    columns = SimpleNamespace(flags=flags, reward=np.full(len(success), 7.0, np.float32))
    files = SimpleNamespace(bounds=[(0, len(success))])
    dataset: Any = SimpleNamespace(columns=columns, files=files, spec=SimpleNamespace(reward=rule))
    closed = bool(success.all())  # by the column of time-outs above
    found, settled = relabelled(dataset, success, rewards="rule"), settle(success, rule, closed=closed)
    assert found["next.reward"].tolist() == [*settled.rewards.tolist(), 0.0]
    done = int(found["next.done"].argmax())
    assert found["next.done"][done:].all() and done == settled.steps - settled.terminated
    assert np.flatnonzero(found["next.truncated"]).tolist() == [settled.steps - 1] * settled.truncated


@given(SHOWN, RULES)
def test_recordings_from_elsewhere_are_settled_alike(shown: list[bool], rule: RewardSpec) -> None:
    """But for one shorter than ``min_steps``, which nobody could have judged: there the last frame decides."""
    success, rule = np.array([False, *shown]), replace(rule, min_steps=min(rule.min_steps, len(shown)))
    observations = {STATE_KEY: np.zeros((len(success), 1), np.float32)}
    episode, after = split_at_success(observations, np.zeros((len(shown), 1), np.float32), success, rule)
    settled = settle(success, rule, closed=True)
    assert outcome(episode, len(episode)) == outcome(settled, settled.steps)
    assert (0 if after is None else len(after)) == len(shown) - settled.steps


@given(SHOWN, SHOWN, RULES)
def test_a_demonstration_ends_where_the_run_would_have_ended_it(
    shown: list[bool], truth: list[bool], rule: RewardSpec
) -> None:
    """Recorded under one rule and beyond its end, judged by another: as if it had been played under that one."""
    truth = (truth * len(shown))[: len(shown)]
    live, infos = stepped(judged_by(shown, truth, rule))
    whole, _ = stepped(judged_by(truth, truth, RewardSpec(), end_on_success=False))
    whole = replace(whole, truncated=True, terminated=False)
    step = first_hold(np.array([False, *shown]), rule.hold_steps, rule.min_steps)
    again = end_at(whole, step, rule)
    assert (step is not None) == infos[-1]["success"]
    assert outcome(again, len(again)) == outcome(live, len(live))
    assert len(again.success) == len(again.observations[STATE_KEY]) == len(again.actions) + 1


@given(SHOWN, SHOWN, RULES, st.integers(0, 4))
def test_replays_and_previews_judge_as_the_environment_does(
    shown: list[bool], truth: list[bool], rule: RewardSpec, true_hold: int
) -> None:
    truth = (truth * len(shown))[: len(shown)]
    env = judged_by(shown, truth, rule, end_on_success=False, true_hold_steps=true_hold)
    infos = play(env)[1]
    positive, labels = np.array([False, *shown]), np.array([False, *truth])
    found = judge_episode(positive, labels, rule.hold_steps, rule.min_steps, true_hold_steps=true_hold)
    assert (found.ended_at is not None, found.should_end_at is not None) == (
        infos[-1]["success"], infos[-1]["true_success"],
    )  # fmt: skip
    for at, key in ((found.ended_at, "success"), (found.should_end_at, "true_success")):
        assert at is None or [i[key] for i in infos].index(True) == at - 1
    look = Look("", {}, positive.astype(float), labels * 0.0, labels, found.ended_at, rule, 10.0, [], true_hold)
    assert look.verdict == found and look.positive.tolist() == positive.tolist()


def test_a_preview_judges_by_the_tasks_own_hold() -> None:
    """Labels hold for three frames, the task asks for two, the tuned rule for five: a success was missed."""
    labels, rule = bits("0011100"), RewardSpec(hold_steps=5)
    never = Look("", {}, labels * 0.0, labels * 0.0, labels, None, rule, 10.0, [], 2)
    assert never.verdict == judge_episode(labels & False, labels, 5, true_hold_steps=2)
    assert never.verdict is not None and never.verdict.verdict is Verdict.missed


def test_the_truth_knows_no_earliest_step() -> None:
    """As the environment: it held from frame 2 on, and broke before the rule would have believed it."""
    labels = bits("0110000")
    assert judge_episode(labels & False, labels, 2, 5).verdict is Verdict.missed
    infos = play(judged_by([False] * 6, labels[1:].tolist(), RewardSpec(hold_steps=2, min_steps=5)))[1]
    assert infos[-1]["true_success"] and not infos[-1]["success"]


@pytest.mark.parametrize(
    ("rule", "rewards", "paid_for"),
    [
        (RewardSpec(), [0.0, 1.0], [False, True]),
        (RewardSpec(success_value=10.0, step_value=-0.05), [-0.05, 10.0], [False, True]),
        (RewardSpec(success_value=0.0, step_value=-1.0), [-1.0, 0.0], [False, True]),
        (RewardSpec(step_value=0.01), [0.01, 1.0], [False, True]),
        (RewardSpec(source="env"), [-0.5, 0.5], [False, True]),
    ],
)
def test_what_pays_success(rule: RewardSpec, rewards: list[float], paid_for: list[bool]) -> None:
    assert is_success_reward(np.array(rewards, np.float32), rule).tolist() == paid_for


def test_success_in_a_reward_summed_over_steps() -> None:
    """Three steps of 0.01 make 0.0297 at most, success at the third of them 1.01."""
    rule = RewardSpec(step_value=0.01)
    sums = np.array([0.01, 0.01 + 0.0099 + 0.009801, 0.01 + 0.0099 + 0.9801], np.float32)
    assert is_success_reward(sums, rule, discount=0.99, steps=3).tolist() == [False, False, True]


@pytest.mark.parametrize("key", ["success_value", "step_value"])
def test_a_rule_that_no_spec_could_hold_is_refused(key: str) -> None:
    with pytest.raises(ConfigError, match="not a finite number"):
        check_rule(replace(RewardSpec(), **{key: float("nan")}))
