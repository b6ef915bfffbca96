"""The learner's settings, checked in one place before a network is built from them."""

from __future__ import annotations

from hiltk.agents.networks import ACTIVATIONS
from hiltk.config import AgentConf, BcConf, LearnerConf
from hiltk.errors import ConfigError, nearest

AGENTS = ("sac", "drqv2")
ACTOR_Q = ("mean", "min")
LOSSES = ("mean", "likelihood")


def check_agent(conf: LearnerConf) -> None:
    """Refuse an agent that cannot be built or could not learn.

    Raises:
        ConfigError: naming the key and what it may be.
    """
    _one_of("agent.name", conf.name, AGENTS)
    for key, fits, meaning in (
        ("hidden", bool(conf.hidden) and min(conf.hidden) >= 1, "one width or more, each at least 1"),
        ("discount", 0 < conf.discount < 1, "above 0 and below 1"),
        ("tau", 0 < conf.tau <= 1, "above 0 and at most 1"),
        ("lr", conf.lr > 0, "above 0"),
    ):
        _require(fits, f"agent.{key}", getattr(conf, key), meaning)
    if isinstance(conf, AgentConf):
        _check_sac(conf)


def _check_sac(conf: AgentConf) -> None:
    _one_of("agent.activation", conf.activation, tuple(ACTIVATIONS))
    _one_of("agent.actor_q", conf.actor_q, ACTOR_Q)
    for key, fits, meaning in (
        ("critics", conf.critics >= 1, "at least 1"),
        ("target_critics", 1 <= conf.target_critics <= conf.critics, f"from 1 to agent.critics={conf.critics}"),
        ("temperature", conf.temperature > 0, "above 0"),
    ):
        _require(fits, f"agent.{key}", getattr(conf, key), meaning)


def check_cloning(conf: BcConf) -> None:
    """Refuse settings of behaviour cloning that cannot be meant; the agent's and the encoder's own are not looked at.

    Raises:
        ConfigError: naming the key and what it may be.
    """
    _one_of("loss", conf.loss, LOSSES)
    for key, fits, meaning in (
        ("steps", conf.steps >= 1, "at least 1"),
        ("batch_size", conf.batch_size >= 1, "at least 1"),
        ("lr", conf.lr > 0, "above 0"),
        ("held_out", 0 <= conf.held_out < 1, "a fraction from 0 to below 1"),
    ):
        _require(fits, key, getattr(conf, key), meaning)


def _one_of(key: str, value: str, options: tuple[str, ...]) -> None:
    if value not in options:
        hint = nearest(value, options) or f"one of: {', '.join(options)}"
        raise ConfigError(f"unknown {key} '{value}'", where=f"{key}={value}", fix=hint)


def _require(fits: bool, key: str, value: object, meaning: str) -> None:
    if not fits:
        raise ConfigError(f"{key} must be {meaning}", where=f"{key}={value}", fix="leave it out for the default")
