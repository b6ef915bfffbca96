"""Builds the policy and the agent a config asks for."""

from __future__ import annotations

from typing import Any, Protocol

from omegaconf import OmegaConf

from hiltk.agents.drqv2 import DrqAgent, DrqPolicy
from hiltk.agents.policy import Policy
from hiltk.agents.sac import Metrics, SacAgent
from hiltk.config import AgentConf, DrqConf, EncoderConf, LearnerConf
from hiltk.data.replay import Batch
from hiltk.errors import ConfigError, nearest
from hiltk.spec import RewardSpec, Spec

SCHEMAS: dict[str, type[LearnerConf]] = {"sac": AgentConf, "drqv2": DrqConf}


class Agent(Protocol):
    """What the training loop knows of a learner."""

    updates: int

    @property
    def policy(self) -> Policy: ...

    def update(self, batch: Batch, *, actor: bool = True) -> Metrics: ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


def build_policy(agent: LearnerConf, encoder: EncoderConf, spec: Spec) -> Policy:
    """The policy that ``agent.name`` trains.

    Raises:
        ConfigError: there is no such agent, or its options contradict each other.
    """
    _check_name(agent)
    return DrqPolicy(agent, encoder, spec) if isinstance(agent, DrqConf) else Policy(agent, encoder, spec)


def build_agent(policy: Policy, conf: LearnerConf, reward: RewardSpec, horizon: int) -> Agent:
    """The learner of a policy made by `build_policy` from the same config."""
    _check_name(conf)
    if isinstance(conf, DrqConf) and isinstance(policy, DrqPolicy):
        return DrqAgent(policy, conf, reward, horizon)
    assert isinstance(conf, AgentConf)
    return SacAgent(policy, conf, reward, horizon)


def agent_conf(data: dict[str, Any]) -> LearnerConf:
    """The typed config of an agent saved as plain data.

    Raises:
        ConfigError: there is no such agent.
    """
    schema = SCHEMAS.get(data.get("name", "sac"))
    if schema is None:
        raise _unknown(str(data["name"]))
    conf: LearnerConf = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(schema), data))  # type: ignore[assignment]
    return conf


def _check_name(conf: LearnerConf) -> None:
    schema = SCHEMAS.get(conf.name)
    if schema is None:
        raise _unknown(conf.name)
    if not isinstance(conf, schema):
        raise ConfigError(f"agent.name={conf.name} has other settings", where="agent.name", fix=f"agent={conf.name}")


def _unknown(name: str) -> ConfigError:
    fix = nearest(name, SCHEMAS) or f"there are: {', '.join(SCHEMAS)}"
    return ConfigError(f"unknown agent '{name}'", where="agent.name", fix=fix)
