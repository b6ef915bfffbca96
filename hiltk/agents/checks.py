"""The learner's settings, checked in one place before anything is read or built for it."""

from __future__ import annotations

from hiltk.agents.encoders import check_encoder
from hiltk.agents.schedules import parse_schedule
from hiltk.config.commands import BcConf
from hiltk.config.groups import DrqConf, EncoderConf, LearnerConf, SacConf
from hiltk.config.setting import check_choices, one_of
from hiltk.errors import ConfigError

SCHEMAS: dict[str, type[LearnerConf]] = {"sac": SacConf, "drqv2": DrqConf}


def check_learner(agent: LearnerConf, encoder: EncoderConf) -> None:
    """Refuse an agent and an encoder that cannot be built or do not go together.

    Raises:
        ConfigError: naming the key and what it may be.
    """
    check_agent(agent)
    if isinstance(agent, DrqConf) and agent.own_encoder and encoder.name not in ("cnn", "none"):
        raise ConfigError(
            f"agent=drqv2 brings its own encoder; encoder={encoder.name} would not be used",
            where="agent.own_encoder",
            fix=f"agent.own_encoder=false uses encoder={encoder.name}",
        )
    check_encoder(encoder)


def check_agent(conf: LearnerConf) -> None:
    """Refuse an agent that cannot be built or could not learn.

    Raises:
        ConfigError: naming the key and what it may be.
    """
    one_of("agent.name", conf.name, tuple(SCHEMAS))
    if not isinstance(conf, SCHEMAS[conf.name]):
        raise ConfigError(f"agent.name={conf.name} has other settings", where="agent.name", fix=f"agent={conf.name}")
    check_choices(conf, "agent.")
    for key, fits, meaning in (
        ("hidden", bool(conf.hidden) and min(conf.hidden) >= 1, "one width or more, each at least 1"),
        ("discount", 0 < conf.discount < 1, "above 0 and below 1"),
        ("tau", 0 < conf.tau <= 1, "above 0 and at most 1"),
        ("lr", conf.lr > 0, "above 0"),
        ("n_step", conf.n_step >= 1, "at least 1"),
    ):
        _require(fits, f"agent.{key}", getattr(conf, key), meaning)
    if isinstance(conf, SacConf):
        _check_sac(conf)
    if isinstance(conf, DrqConf):
        _check_drq(conf)


def _check_sac(conf: SacConf) -> None:
    for key, fits, meaning in (
        ("critics", conf.critics >= 1, "at least 1"),
        ("target_critics", 1 <= conf.target_critics <= conf.critics, f"from 1 to agent.critics={conf.critics}"),
        ("temperature", conf.temperature > 0, "above 0"),
        ("imitation_weight", conf.imitation_weight >= 0, "0 or more"),
        ("gripper_penalty", conf.gripper_penalty >= 0, "0 or more"),
    ):
        _require(fits, f"agent.{key}", getattr(conf, key), meaning)


def _check_drq(conf: DrqConf) -> None:
    parse_schedule(conf.noise, "agent.noise")
    for key, fits, meaning in (
        ("frame_stack", conf.frame_stack >= 1, "at least 1"),
        ("bottleneck", conf.bottleneck >= 1, "at least 1"),
        ("imitation_weight", conf.imitation_weight >= 0, "0 or more"),
    ):
        _require(fits, f"agent.{key}", getattr(conf, key), meaning)


def check_cloning(conf: BcConf) -> None:
    """Refuse settings of behaviour cloning that cannot be meant, the agent's and the encoder's among them.

    Raises:
        ConfigError: naming the key and what it may be.
    """
    check_learner(conf.agent, conf.encoder)
    check_choices(conf)
    if conf.loss == "likelihood" and isinstance(conf.agent, DrqConf):
        raise ConfigError("drqv2's actor has no spread that a likelihood could train", where="loss", fix="loss=mean")
    for key, fits, meaning in (
        ("steps", conf.steps >= 1, "at least 1"),
        ("batch_size", conf.batch_size >= 1, "at least 1"),
        ("lr", conf.lr > 0, "above 0"),
        ("held_out", 0 <= conf.held_out < 1, "a fraction from 0 to below 1"),
    ):
        _require(fits, key, getattr(conf, key), meaning)


def _require(fits: bool, key: str, value: object, meaning: str) -> None:
    if not fits:
        raise ConfigError(f"{key} must be {meaning}", where=f"{key}={value}", fix="leave it out for the default")
