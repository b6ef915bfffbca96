"""`make_env` on the real simulated arm, with real classifier artifacts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from hiltk.artifacts.writing import create
from hiltk.config.commands import ClassifierConf
from hiltk.config.groups import EncoderConf, EnvConf, GymnasiumConf, HumanConf, RewardConf, So101SimConf, TaskConf
from hiltk.envs.gymnasium_env import GymnasiumEnv
from hiltk.envs.make import announce_renderer, env_class, episode_steps, make_bare_env, make_env
from hiltk.envs.so101_sim import So101SimEnv
from hiltk.errors import ConfigError, HiltkError, UserError
from hiltk.humans.make import make_human
from hiltk.rewards.classifier import SuccessClassifier
from hiltk.spec import ImageSpec, RewardSpec, Spec

ENCODER = EncoderConf(channels=[4, 4, 4], features=8)


def sim(**changes: Any) -> So101SimConf:
    return So101SimConf(**({"image_height": 32, "image_width": 32} | changes))


def classifier(size: int = 32, camera: str = "wrist", hold: int = 3, bias: float = 0.0) -> SuccessClassifier:
    """Untrained; ``bias`` is the logit it gives to any picture, so that its verdict is known."""
    rule = RewardSpec(source="classifier", threshold=0.625, hold_steps=hold, min_steps=4)
    found = SuccessClassifier(ENCODER, Spec(images=[ImageSpec(camera, size, size, size, size)], reward=rule))
    *_, last = found.networks[0].head.parameters()
    for parameter in found.networks[0].head.parameters():
        parameter.data.zero_()
    last.data.fill_(bias)
    return found.eval()


def save(found: SuccessClassifier, root: Path) -> str:
    """Write it as the artifact ``cube``; returns its fingerprint."""
    cfg = ClassifierConf(name="cube", datasets=[])
    with create("classifiers", "cube", root=root, step="train-classifier", cfg=cfg, inputs=[], seed=0) as draft:
        found.save(draft.path)
        draft.spec = found.spec
    assert draft.artifact
    return draft.artifact.fingerprint


# ---------------------------------------------------------------- the simulated arm


def test_the_scripted_human_succeeds_under_the_predicate() -> None:
    task = TaskConf(hold_steps=3, time_limit_s=8.0, stratum="near")
    rule = make_env(sim(), task, RewardConf(), seed=0)
    assert rule.io_spec.reward == RewardSpec(source="predicate", hold_steps=3)
    assert isinstance(rule.unwrapped, So101SimEnv)
    human = make_human(HumanConf(noise=0.0), rule)
    observation, info = rule.reset(seed=0)
    human.reset(0)
    assert rule.observation_space.contains(observation)
    rewards, shown, done = [], [], False
    while not done:
        observation, reward, terminated, truncated, info = rule.step(human.act(observation))
        rewards.append(reward)
        shown.append(info["success_now"])
        done = terminated or truncated
    assert terminated and info["success"] and info["true_success"]
    assert rewards == [0.0] * (len(rewards) - 1) + [1.0]
    assert shown[-3:] == [True, True, True]


def test_an_episode_repeats_bit_for_bit() -> None:
    def states(seed: int) -> np.ndarray:
        rule = make_env(sim(), TaskConf(), RewardConf(), seed=0)
        actions = np.random.default_rng(1).uniform(-1, 1, (5, 4)).astype(np.float32)
        first, _ = rule.reset(seed=seed)
        steps = [first, *(rule.step(action)[0] for action in actions)]
        return np.concatenate([v.ravel() for o in steps for v in o.values()])

    assert np.array_equal(states(3), states(3))
    assert not np.array_equal(states(3), states(4))


def test_no_success_within_the_time_limit_is_a_time_out() -> None:
    rule = make_env(sim(cameras=[]), TaskConf(time_limit_s=0.5), RewardConf(timeout="terminal"), seed=0)
    assert episode_steps(rule.unwrapped, TaskConf(time_limit_s=0.5)) == 5
    rule.reset(seed=0)
    ends = [rule.step(np.zeros(4, np.float32))[2:4] for _ in range(5)]
    assert ends == [(False, False)] * 4 + [(True, False)]


@pytest.mark.parametrize(
    ("reward", "hold", "earliest"), [(RewardConf(), 2, 0), (RewardConf(hold_steps=5, min_steps=7), 5, 7)]
)
def test_the_tasks_hold_unless_told_otherwise(reward: RewardConf, hold: int, earliest: int) -> None:
    spec = make_env(sim(cameras=[]), TaskConf(hold_steps=2), reward, seed=0).io_spec.reward
    assert (spec.hold_steps, spec.min_steps) == (hold, earliest)


# ---------------------------------------------------------------- classifiers


def test_a_classifier_artifact_brings_its_rule(tmp_path: Path) -> None:
    """It says yes to everything (probability 0.731): hold 3 is full at step 3, but success comes at its step 4."""
    print_of_it = save(classifier(bias=1.0), tmp_path)
    reward = RewardConf(source="classifier", classifier="cube", step_value=-0.1)
    rule = make_env(sim(), TaskConf(), reward, seed=0, root=str(tmp_path))
    expected = RewardSpec("classifier", print_of_it, 0.625, hold_steps=3, min_steps=4, step_value=-0.1)
    assert rule.io_spec.reward == expected
    rule.reset(seed=0)
    steps = [rule.step(np.zeros(4, np.float32)) for _ in range(4)]
    assert [s[1] for s in steps] == [-0.1, -0.1, -0.1, 1.0]
    assert [s[2] for s in steps] == [False, False, False, True]
    info = steps[-1][-1]
    assert info["success_probability"] == pytest.approx(0.7310586, abs=1e-6)
    assert (info["success"], info["true_success"]) == (True, False)


def test_the_hold_of_a_classifier_comes_from_nowhere_else(tmp_path: Path) -> None:
    save(classifier(), tmp_path)
    reward = RewardConf(source="classifier", classifier="cube", hold_steps=6)
    with pytest.raises(ConfigError, match="comes with the classifier"):
        make_env(sim(), TaskConf(), reward, seed=0, root=str(tmp_path))


@pytest.mark.parametrize(("said", "earliest"), [(3, 4), (9, 9)])
def test_the_later_of_two_minimum_steps_counts(said: int, earliest: int) -> None:
    reward = RewardConf(source="classifier", min_steps=said)
    rule = make_env(sim(cameras=["wrist"]), TaskConf(), reward, seed=0, classifier=classifier())
    assert rule.io_spec.reward.min_steps == earliest


def test_a_classifier_may_be_passed_in() -> None:
    rule = make_env(sim(), TaskConf(), RewardConf(source="classifier"), seed=0, classifier=classifier(bias=-1.0))
    _, info = rule.reset(seed=0)
    assert info["success_probability"] == pytest.approx(0.2689414, abs=1e-6)
    assert rule.io_spec.reward.classifier == ""


@pytest.mark.parametrize(
    ("found", "message"),
    [(classifier(camera="front"), "camera 'front'"), (classifier(size=48), "not what the classifier was trained on")],
)
def test_a_classifier_for_other_pictures(found: SuccessClassifier, message: str) -> None:
    with pytest.raises(UserError, match=message):
        make_env(sim(), TaskConf(), RewardConf(source="classifier"), seed=0, classifier=found)


def test_a_classifier_that_does_not_exist(tmp_path: Path) -> None:
    save(classifier(), tmp_path)
    with pytest.raises(HiltkError, match="did you mean 'cube'"):
        make_env(sim(), TaskConf(), RewardConf(source="classifier", classifier="cubes"), seed=0, root=str(tmp_path))


# ---------------------------------------------------------------- other environments


def test_any_gymnasium_environment_by_the_same_call() -> None:
    rule = make_env(GymnasiumConf(id="Pendulum-v1"), TaskConf(), RewardConf(source="env"), seed=3)
    assert isinstance(rule.unwrapped, GymnasiumEnv)
    assert rule.io_spec.reward == RewardSpec(source="env", hold_steps=1)
    assert episode_steps(rule.unwrapped, TaskConf()) == 200
    native, _ = gym.make("Pendulum-v1").reset(seed=3)
    assert np.array_equal(rule.reset()[0]["observation.state"], native)
    assert rule.step(np.ones(1, np.float32))[1] < 0


# ---------------------------------------------------------------- config mistakes


@pytest.mark.parametrize(
    ("env", "reward", "message"),
    [
        (EnvConf(name="so101sim"), RewardConf(), "did you mean 'so101_sim'"),
        (EnvConf(name="gym-hil"), RewardConf(), "there is no environment 'gym-hil'"),
        (EnvConf(name="so101_sim"), RewardConf(), "env=so101_sim"),
        (So101SimConf(), RewardConf(source="predicat"), "did you mean 'predicate'"),
        (So101SimConf(), RewardConf(source="classifier"), "needs a classifier"),
        (So101SimConf(), RewardConf(timeout="terminate"), "did you mean 'terminal'"),
        (So101SimConf(), RewardConf(hold_steps=51), "no episode is long enough"),
        (So101SimConf(), RewardConf(min_steps=51), "ends after 50 steps"),
        (So101SimConf(), RewardConf(hold_steps=-1), "at least one step"),
        (So101SimConf(), RewardConf(step_value=1.0), "must be rewarded more"),
    ],
)
def test_config_mistakes(env: EnvConf, reward: RewardConf, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_env(env, TaskConf(), reward, seed=0)


def test_a_bare_environment_pays_nothing() -> None:
    env = make_bare_env(sim(cameras=[]), TaskConf(), seed=0)
    env.reset(seed=0)
    assert env.step(np.zeros(4, np.float32))[1:4] == (0.0, False, False)


def test_films_have_more_cameras_and_pixels_where_they_can_be_chosen() -> None:
    given = So101SimConf(cameras=["wrist"], image_height=48, image_width=64)
    conf = env_class(given).film_conf(given)
    assert isinstance(conf, So101SimConf)
    assert (conf.cameras, conf.image_height, conf.image_width) == (["wrist", "front"], 144, 192)
    other = GymnasiumConf(id="X-v0")
    assert env_class(other).film_conf(other) is None


# ---------------------------------------------------------------- what is said, and where networks run


@pytest.mark.parametrize(
    ("env", "said"),
    [
        (sim(), "renderer: cpu\n"),
        (sim(cameras=[]), ""),
        (GymnasiumConf(id="MountainCarContinuous-v0"), ""),
    ],
)
def test_the_renderer_is_said_where_there_are_cameras(
    env: EnvConf, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    source = "env" if isinstance(env, GymnasiumConf) else "predicate"
    announce_renderer(make_env(env, TaskConf(), RewardConf(source=source), seed=0))
    assert capsys.readouterr().out == said


def test_the_classifier_moves_to_the_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(classifier(), tmp_path)
    moved: list[Any] = []
    monkeypatch.setattr(SuccessClassifier, "to", lambda self, device: (moved.append(device), self)[1])
    rule = RewardConf(source="classifier", classifier="cube")
    make_env(sim(), TaskConf(), rule, seed=0, root=str(tmp_path), device="somewhere")
    assert moved == ["somewhere"]
