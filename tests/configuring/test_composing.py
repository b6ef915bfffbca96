"""A pace gives other defaults, in every command that has the settings; whatever says a value wins over it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from hiltk.config.groups import PACES, Pace
from hiltk.configuring.composing import compose_untyped, settings, walk
from hiltk.configuring.typed import compose
from hiltk.envs.make import make_bare_env, make_env
from hiltk.errors import ConfigError
from hiltk.humans.make import make_human
from hiltk.verbs import STEPS

PACED = {key for defaults in PACES.values() for key in defaults}
GIVEN = {"record": [], "train": [], "eval": ["policies=[lift]"], "preview": ["classifier=cube"]}


def at(verb: str, *words: str) -> dict[str, Any]:
    """The settings that a pace can change, as a step of the command would get them."""
    cfg = OmegaConf.structured(compose(STEPS[verb], ["name=a", *GIVEN[verb], *words]))
    return {key: value for key, value in walk(cfg) if key in PACED}


@pytest.mark.parametrize("verb", GIVEN)
def test_a_pace_gives_other_defaults(verb: str) -> None:
    real = PACES[Pace.real]
    assert at(verb, "task.pace=real") == {key: real[key] for key in settings(STEPS[verb]) if key in real}
    assert at(verb) == at(verb, "task.pace=quick")
    assert not at(verb).items() & at(verb, "task.pace=real").items()


def test_every_setting_of_a_pace_is_one() -> None:
    assert {key for verb in GIVEN for key in settings(STEPS[verb])} >= PACED


def test_what_is_written_wins_be_it_the_default_of_another_pace() -> None:
    quick = [f"{key}={value}" for key, value in at("train").items()]
    assert at("train", "task.pace=real", *quick) == at("train")


def test_an_option_that_says_a_value_wins(tmp_path: Path) -> None:
    (tmp_path / "task").mkdir()
    (tmp_path / "task" / "mine.yaml").write_text("defaults: [lift, _self_]\npace: real\ntime_limit_s: 20\n")
    words = ["name=a", f"hydra.searchpath=[file://{tmp_path}]", "task=mine"]
    cfg = compose_untyped(STEPS["record"], words)
    assert cfg.task.time_limit_s == 20
    assert cfg.env.action_scale_m == PACES[Pace.real]["env.action_scale_m"]


def test_demonstrations_at_the_real_pace_take_40_to_80_steps() -> None:
    cfg = compose(STEPS["record"], ["name=a", "task.pace=real", "env.cameras=[]"])
    env = make_env(cfg.env, cfg.task, cfg.reward, seed=0)
    human = make_human(cfg.human, env)
    for seed in range(3):
        observation, _ = env.reset(seed=seed)
        human.reset(seed)
        steps, ended = 0, False
        while not ended:
            observation, _, terminated, truncated, info = env.step(human.act(observation))
            steps, ended = steps + 1, terminated or truncated
        assert info["success"]
        assert 40 <= steps <= 80


def test_an_environment_with_a_pace_of_its_own_is_given_none() -> None:
    cfg = compose(STEPS["train"], ["name=a", "env=gymnasium", "env.id=Pendulum-v1", "task.pace=real"])
    with pytest.raises(ConfigError, match="keeps its own"):
        make_bare_env(cfg.env, cfg.task, seed=0)
