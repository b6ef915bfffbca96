"""The learners there are, and what builds, saves and loads them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from hiltk.agents.base import Agent
from hiltk.agents.drqv2 import DrqAgent, DrqPolicy, check_drq
from hiltk.agents.encoders import check_encoder
from hiltk.agents.policy import CONFIG, WEIGHTS, Policy
from hiltk.agents.sac import SacAgent, check_sac
from hiltk.artifacts.store import spec_file
from hiltk.config.commands import BcConf
from hiltk.config.groups import DrqConf, EncoderConf, LearnerConf, SacConf
from hiltk.config.setting import check_choices, one_of, require
from hiltk.errors import ConfigError, UserError
from hiltk.formats import POLICY, with_new_names
from hiltk.spec import RewardSpec, Spec


@dataclass(frozen=True)
class Learner:
    """One row of `AGENTS`.

    Attributes:
        check: refuses settings that do not fit together, or not with the encoder.
        likelihood: whether its actor has a standard deviation that behaviour cloning can train.
        lerobot: whether LeRobot's ``GaussianActorPolicy`` has its networks, so that it can be exported.
    """

    conf: type[LearnerConf]
    policy: Callable[[Any, EncoderConf, Spec], Policy]
    agent: Callable[[Any, Any, RewardSpec, int], Agent]
    check: Callable[[Any, EncoderConf], None]
    likelihood: bool = True
    lerobot: bool = False


# By `agent.name`. Another package adds a row of its own before it calls hiltk.
AGENTS: dict[str, Learner] = {
    "sac": Learner(SacConf, Policy, SacAgent, check_sac, lerobot=True),
    "drqv2": Learner(DrqConf, DrqPolicy, DrqAgent, check_drq, likelihood=False),
}


def build_policy(agent: LearnerConf, encoder: EncoderConf, spec: Spec) -> Policy:
    """The policy that ``agent.name`` trains.

    Raises:
        ConfigError: there is no such agent, or its options contradict each other.
    """
    check_learner(agent, encoder)
    return AGENTS[agent.name].policy(agent, encoder, spec)


def build_agent(policy: Policy, conf: LearnerConf, reward: RewardSpec, horizon: int) -> Agent:
    """The learner of a policy made by `build_policy` from the same config."""
    check_learner(conf, policy.encoder_conf)
    return AGENTS[conf.name].agent(policy, conf, reward, horizon)


def load_policy(folder: Path) -> Policy:
    """Read a policy artifact; no code from the file is ever run.

    Raises:
        UserError: a file is missing or damaged, or the weights do not fit the config.
    """
    if not (folder / CONFIG).is_file() or not (folder / WEIGHTS).is_file():
        raise UserError(
            "this is not a policy",
            where=str(folder),
            fix=f"a policy folder holds {WEIGHTS} and {CONFIG}",
        )
    agent, encoder = _load_config(folder / CONFIG)
    policy = AGENTS[agent.name].policy(agent, encoder, Spec.load(spec_file("policies", folder)))
    policy.load_weights(folder)
    return policy.eval()


def _load_config(file: Path) -> tuple[LearnerConf, EncoderConf]:
    """What `Policy.save` wrote; it can be built.

    Raises:
        UserError: it is damaged, a newer hiltk's, or asks for what this version does not have.
    """
    try:
        stored: Any = OmegaConf.to_container(OmegaConf.load(file))
        config: Any = OmegaConf.create(with_new_names(POLICY.upgrade(stored, str(file))))
        agent, encoder = agent_conf(config["agent"]), _typed(EncoderConf, config["encoder"])
        check_learner(agent, encoder)
    except UserError:
        raise
    except Exception as error:  # YAML, OmegaConf and the checks each have their own
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"the policy's config cannot be used: {reason}", where=str(file)) from error
    return agent, encoder


def agent_conf(data: Any) -> LearnerConf:
    """The typed config of an agent saved as plain data.

    Raises:
        ConfigError: there is no such agent.
    """
    name = str(data.get("name", "sac"))
    one_of("agent.name", name, tuple(AGENTS))
    conf: LearnerConf = _typed(AGENTS[name].conf, data)
    return conf


def _typed(schema: type, data: Any) -> Any:
    if not isinstance(data, DictConfig | dict):
        raise ValueError(f"{schema.__name__} is not a mapping")
    return OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(schema), data))


# ---------------------------------------------------------------- checks


def check_learner(agent: LearnerConf, encoder: EncoderConf) -> None:
    """Refuse an agent and an encoder that cannot be built or do not go together.

    Raises:
        ConfigError: naming the key and what it may be.
    """
    one_of("agent.name", agent.name, tuple(AGENTS))
    row = AGENTS[agent.name]
    if not isinstance(agent, row.conf):
        raise ConfigError(f"agent.name={agent.name} has other settings", where="agent.name", fix=f"agent={agent.name}")
    check_choices(agent, "agent.")
    for key, fits, meaning in (
        ("hidden", bool(agent.hidden) and min(agent.hidden) >= 1, "one width or more, each at least 1"),
        ("discount", 0 < agent.discount < 1, "above 0 and below 1"),
        ("tau", 0 < agent.tau <= 1, "above 0 and at most 1"),
        ("lr", agent.lr > 0, "above 0"),
        ("policy_tau", 0 < agent.policy_tau <= 1, "above 0 and at most 1"),
        ("n_step", agent.n_step >= 1, "at least 1"),
        ("imitation_weight", agent.imitation_weight >= 0, "0 or more"),
    ):
        require(fits, f"agent.{key}", getattr(agent, key), meaning)
    row.check(agent, encoder)
    check_encoder(encoder)


def check_cloning(conf: BcConf) -> None:
    """Refuse settings of behaviour cloning that cannot be meant, the agent's and the encoder's among them.

    Raises:
        ConfigError: naming the key and what it may be.
    """
    check_learner(conf.agent, conf.encoder)
    check_choices(conf)
    if conf.loss == "likelihood" and not AGENTS[conf.agent.name].likelihood:
        raise ConfigError(
            f"{conf.agent.name}'s actor has no spread that a likelihood could train", where="loss", fix="loss=mean"
        )
    for key, fits, meaning in (
        ("steps", conf.steps >= 1, "at least 1"),
        ("batch_size", conf.batch_size >= 1, "at least 1"),
        ("lr", conf.lr > 0, "above 0"),
        ("held_out", 0 <= conf.held_out < 1, "a fraction from 0 to below 1"),
    ):
        require(fits, key, getattr(conf, key), meaning)
