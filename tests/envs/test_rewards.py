"""The success rule: golden traces worked by hand, and what no sequence of observations may get out of it."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hiltk.envs.base import HilEnv
from hiltk.envs.rewards import SuccessRule, classifier_judge
from hiltk.errors import ConfigError, UserError
from hiltk.reward_rule import first_hold
from hiltk.spec import STATE_KEY, Dimension, ImageSpec, RewardSpec, Spec, StateSpec

NOTHING = np.zeros(1, np.float32)


class TapeEnv(HilEnv):
    """Plays a tape: entry t is whether success shows after step t, and the state is that number of the step.

    Args:
        ends_at: the step at which it terminates by itself, paying ``pays``; 0 for never.
    """

    strata = ("near", "far")

    def __init__(self, tape: list[bool], *, predicate: bool = True, ends_at: int = 0, pays: float = 0.0) -> None:
        self.tape, self.has_predicate, self.ends_at, self.pays = tape, predicate, ends_at, pays
        images = [ImageSpec("wrist", 2, 2, 4, 4)]
        self.action_space = gym.spaces.Box(-1, 1, (1,), np.float32)
        self.io_spec = Spec(state=StateSpec([Dimension("t")]), images=images, fps=10.0)
        self.speed_limit = 3.0
        self.nan_at = -1

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, Any]:
        self.t = 0
        self.options = options
        return self._observe(), self._info(False)

    def step(self, action: np.ndarray) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.t += 1
        ended = self.t == self.ends_at
        reward = self.pays if ended else 0.25
        return self._observe(), reward, ended, self.t >= len(self.tape), self._info(self.tape[self.t - 1])

    def _observe(self) -> dict[str, np.ndarray]:
        t = np.nan if self.t == self.nan_at else self.t
        frame = np.full((4, 4, 3), self.t, np.uint8)
        return {STATE_KEY: np.array([t]), "observation.images.wrist": frame}

    def _info(self, success: bool) -> dict[str, Any]:
        return {"stratum": "near"} | ({"success_now": success} if self.has_predicate else {})


class TapeClassifier:
    """Knows one probability per step, by the state."""

    threshold = 0.7

    def __init__(self, probabilities: list[float]) -> None:
        self.probabilities = probabilities

    def probability(self, observation: dict[str, np.ndarray]) -> float:
        return self.probabilities[int(observation[STATE_KEY][0])]


def play(rule: SuccessRule) -> tuple[list[float], list[dict[str, Any]], bool, bool]:
    """Step until the end: rewards, infos, terminated, truncated."""
    rule.reset()
    rewards, infos, terminated, truncated = [], [], False, False
    while not (terminated or truncated):
        _, reward, terminated, truncated, info = rule.step(NOTHING)
        rewards.append(reward)
        infos.append(info)
    return rewards, infos, terminated, truncated


def tape(text: str) -> list[bool]:
    return [c == "1" for c in text]


# ---------------------------------------------------------------- golden traces


@pytest.mark.parametrize(
    ("shown", "hold", "earliest", "rewards", "terminated"),
    [
        ("01011000", 2, 0, [0, 0, 0, 0, 1], True),  # the lone 1 at step 2 pays nothing
        ("01011000", 1, 0, [0, 1], True),
        ("111111", 2, 4, [0, 0, 0, 1], True),  # early positives count for the hold, but not before step 4
        ("110111", 3, 0, [0, 0, 0, 0, 0, 1], True),  # held on the very last step: success, not a time-out
        ("010101", 2, 0, [0, 0, 0, 0, 0, 0], False),
        ("110000", 2, 3, [0, 0, 0, 0, 0, 0], False),  # held too early, gone when it could count
    ],
)
def test_hold_rule(shown: str, hold: int, earliest: int, rewards: list[float], terminated: bool) -> None:
    rule = SuccessRule(TapeEnv(tape(shown)), RewardSpec(hold_steps=hold, min_steps=earliest))
    paid, infos, was_terminated, was_truncated = play(rule)
    assert paid == rewards
    assert (was_terminated, was_truncated) == (terminated, not terminated)
    assert [i["success"] for i in infos] == [False] * (len(paid) - 1) + [terminated]
    assert infos[-1]["timeout"] is not terminated


def test_every_other_step_pays_the_step_value() -> None:
    spec = RewardSpec(hold_steps=2, success_value=10.0, step_value=-0.05)
    paid, *_ = play(SuccessRule(TapeEnv(tape("1011")), spec))
    assert paid == [-0.05, -0.05, -0.05, 10.0]


def test_the_observation_of_reset_does_not_count() -> None:
    rule = SuccessRule(TapeEnv([True] * 4), RewardSpec(source="classifier", hold_steps=2), lambda o, i: True)
    assert len(play(rule)[0]) == 2


@pytest.mark.parametrize(("timeout", "ends"), [("truncated", (False, True)), ("terminal", (True, False))])
def test_time_out(timeout: str, ends: tuple[bool, bool]) -> None:
    paid, infos, *flags = play(SuccessRule(TapeEnv([False] * 3), RewardSpec(timeout=timeout)))
    assert (paid, tuple(flags)) == ([0, 0, 0], ends)
    assert infos[-1]["timeout"] and not infos[-1]["success"]


def test_a_recorder_may_go_on_after_success() -> None:
    rule = SuccessRule(TapeEnv(tape("0110110")), RewardSpec(hold_steps=2), end_on_success=False)
    paid, infos, terminated, truncated = play(rule)
    assert paid == [0, 0, 1, 0, 0, 0, 0]  # the second hold, at step 6, pays nothing
    assert [i["success"] for i in infos] == [False, False, True, True, True, True, True]
    assert (terminated, truncated) == (False, True)


def test_a_recorder_may_close_the_episode_it_kept_open() -> None:
    rule = SuccessRule(TapeEnv(tape("110000")), RewardSpec(hold_steps=2), end_on_success=False)
    rule.reset()
    assert [rule.step(NOTHING)[2] for _ in range(3)] == [False, False, False]
    rule.end_on_success = True
    _, reward, terminated, _, _ = rule.step(NOTHING)
    assert (reward, terminated) == (0, True)


def test_a_new_episode_starts_from_nothing() -> None:
    """Neither the run of one episode nor its success, step count or truth is carried into the next."""
    rule = SuccessRule(TapeEnv(tape("1101")), RewardSpec(hold_steps=2, min_steps=2))
    first = play(rule)
    assert (first[0], first[1][-1]["true_success"]) == ([0, 1], True)
    said = {key: value for key, value in rule.reset()[1].items() if key != "stratum"}
    assert said == {"success_now": False, "success": False, "true_success": False, "timeout": False}
    assert play(rule) == first

    rule = SuccessRule(TapeEnv(tape("1000")), RewardSpec(hold_steps=2))
    rule.reset()
    rule.step(NOTHING)
    assert play(rule)[0] == [0, 0, 0, 0]


# ---------------------------------------------------------------- environments that end by themselves


def test_when_the_environment_ends_itself_its_last_observation_decides() -> None:
    paid, infos, terminated, _ = play(SuccessRule(TapeEnv(tape("0010"), ends_at=3), RewardSpec(hold_steps=2)))
    assert (paid, terminated) == ([0, 0, 1], True)
    assert infos[-1]["success"] and infos[-1]["true_success"]


def test_an_end_without_success_pays_nothing() -> None:
    paid, infos, terminated, _ = play(SuccessRule(TapeEnv(tape("0100"), ends_at=3), RewardSpec(hold_steps=2)))
    assert (paid, terminated) == ([0, 0, 0], True)
    assert not infos[-1]["success"] and not infos[-1]["timeout"]


@pytest.mark.parametrize(("shown", "pays", "success"), [("0001", 1.0, True), ("0100", -1.0, False)])
def test_the_environments_own_reward_passes_through(shown: str, pays: float, success: bool) -> None:
    rule = SuccessRule(TapeEnv(tape(shown + "00"), ends_at=4, pays=pays), RewardSpec(source="env", hold_steps=1))
    paid, infos, terminated, _ = play(rule)
    assert (paid, terminated) == ([0.25, 0.25, 0.25, pays], True)
    assert [i["success"] for i in infos] == [False, False, False, success]


def test_without_a_predicate_positive_pay_at_the_end_is_success() -> None:
    env = TapeEnv([False] * 3, predicate=False, ends_at=2, pays=0.5)
    _, infos, _, _ = play(SuccessRule(env, RewardSpec(source="env", hold_steps=1)))
    assert [i["success"] for i in infos] == [False, True]
    assert infos[-1]["true_success"] is None


# ---------------------------------------------------------------- classifiers and the truth


def test_a_classifiers_verdict_is_kept_apart_from_the_truth() -> None:
    classifier = TapeClassifier([0.9, 0.69, 0.7, 0.8, 0.0])
    rule = SuccessRule(TapeEnv(tape("0001")), RewardSpec(source="classifier"), classifier_judge(classifier))
    _, info = rule.reset()
    assert (info["success_probability"], info["success"], info["true_success"]) == (0.9, False, False)
    paid, infos, terminated, _ = play(rule)
    assert (paid, terminated) == ([0, 0, 1], True)
    assert [i["success_probability"] for i in infos] == [0.69, 0.7, 0.8]
    assert infos[-1]["success"] is True
    assert infos[-1]["true_success"] is False


def test_the_truth_has_its_own_hold_and_stays() -> None:
    rule = SuccessRule(TapeEnv(tape("110000")), RewardSpec(hold_steps=5), true_hold_steps=2)
    _, infos, terminated, _ = play(rule)
    assert [i["true_success"] for i in infos] == [False, True, True, True, True, True]
    assert not terminated


def test_without_a_predicate_the_truth_is_unknown() -> None:
    judge = classifier_judge(TapeClassifier([0.0] * 3))
    rule = SuccessRule(TapeEnv([False] * 2, predicate=False), RewardSpec(source="classifier"), judge)
    assert rule.reset()[1]["true_success"] is None
    assert play(rule)[1][-1]["true_success"] is None


def test_the_predicate_of_an_environment_without_one() -> None:
    with pytest.raises(ConfigError, match="does not say when its task is done"):
        SuccessRule(TapeEnv([False], predicate=False), RewardSpec()).reset()


# ---------------------------------------------------------------- properties


@given(st.lists(st.booleans(), min_size=1, max_size=40), st.integers(1, 5), st.integers(0, 12), st.booleans())
def test_flicker_never_pays(shown: list[bool], hold: int, earliest: int, end: bool) -> None:
    """Whatever shows, success is paid at most once, and only for a full hold; the offline replay agrees."""
    spec = RewardSpec(hold_steps=hold, min_steps=earliest, success_value=10.0, step_value=-0.05)
    paid, infos, terminated, truncated = play(SuccessRule(TapeEnv(shown), spec, end_on_success=end))
    success_at = first_hold(np.array([True, *shown]), hold, earliest)
    expected = [10.0 if t == success_at else -0.05 for t in range(1, len(paid) + 1)]
    assert paid == expected
    assert len(paid) == (success_at if end and success_at else len(shown))
    assert infos[-1]["success"] == (success_at is not None)
    assert terminated != truncated


@given(st.lists(st.booleans(), min_size=6, max_size=40), st.integers(2, 5), st.floats(0.9, 0.999))
def test_hovering_never_beats_finishing(shown: list[bool], hold: int, discount: float) -> None:
    """The best discounted return is that of holding at once (devlog 072's rule paid 348 for 70 flickering steps)."""
    spec = RewardSpec(hold_steps=hold, success_value=10.0, step_value=-0.05)

    def value(shown: list[bool]) -> float:
        return sum(r * discount**t for t, r in enumerate(play(SuccessRule(TapeEnv(shown), spec))[0]))

    assert value(shown) <= value([True] * len(shown)) + 1e-9


# ---------------------------------------------------------------- the environment inside


def test_observations_go_through_the_pipeline() -> None:
    rule = SuccessRule(TapeEnv([False] * 3), RewardSpec())
    observation, _ = rule.reset()
    assert observation["observation.images.wrist"].shape == (2, 2, 3)
    assert observation[STATE_KEY].dtype == np.float32
    assert rule.observation_space.contains(observation)
    assert rule.observation_space.contains(rule.step(NOTHING)[0])


def test_a_number_that_is_not_finite_is_refused() -> None:
    env = TapeEnv([False] * 3)
    env.nan_at = 2
    rule = SuccessRule(env, RewardSpec())
    rule.reset()
    rule.step(NOTHING)
    with pytest.raises(UserError, match="not finite"):
        rule.step(NOTHING)


def test_the_spec_gains_the_rule_and_the_inner_one_does_not() -> None:
    env, spec = TapeEnv([False]), RewardSpec(hold_steps=7, step_value=-0.5)
    rule = SuccessRule(env, spec)
    assert rule.io_spec.reward == spec
    assert env.io_spec.reward == RewardSpec()
    rule.io_spec.state.dims[0].name = "changed"
    assert env.io_spec.state.names == ["t"]


def test_the_inner_environment_stays_reachable() -> None:
    env = TapeEnv([False])
    rule = SuccessRule(env, RewardSpec())
    assert (rule.strata, rule.fps, rule.unwrapped.speed_limit) == (("near", "far"), 10.0, 3.0)
    assert rule.unwrapped is env
    rule.reset(options={"stratum": "far"})
    assert env.options == {"stratum": "far"}
    with pytest.raises(AttributeError):
        _ = rule.no_such_thing


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (RewardSpec(source="classifer"), "did you mean 'classifier'"),
        (RewardSpec(timeout="truncate"), "did you mean 'truncated'"),
        (RewardSpec(hold_steps=0), "at least one step"),
        (RewardSpec(min_steps=-1), "cannot be negative"),
        (RewardSpec(success_value=0.0), "must be rewarded more"),
        (RewardSpec(source="classifier"), "needs a classifier"),
    ],
)
def test_rules_that_cannot_be_meant(spec: RewardSpec, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SuccessRule(TapeEnv([False]), spec)
