"""Builds the policy and the agent a config asks for."""

from __future__ import annotations

from typing import Any, Protocol

from omegaconf import OmegaConf

from hiltk.agents.checks import SCHEMAS, check_agent
from hiltk.agents.divergence import Stage
from hiltk.agents.drqv2 import DrqAgent, DrqPolicy
from hiltk.agents.policy import Policy
from hiltk.agents.sac import Metrics, SacAgent
from hiltk.config.groups import DrqConf, EncoderConf, LearnerConf, SacConf
from hiltk.config.setting import one_of
from hiltk.data.replay import Batch
from hiltk.spec import RewardSpec, Spec


class Agent(Protocol):
    """What the training loop knows of a learner."""

    updates: int
    reward: RewardSpec
    horizon: int

    @property
    def policy(self) -> Policy: ...

    def update(self, batch: Batch, *, actor: bool = True) -> Metrics: ...

    def repeat(self, batch: Batch, stage: Stage) -> Metrics: ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


def build_policy(agent: LearnerConf, encoder: EncoderConf, spec: Spec) -> Policy:
    """The policy that ``agent.name`` trains.

    Raises:
        ConfigError: there is no such agent, or its options contradict each other.
    """
    check_agent(agent)
    return DrqPolicy(agent, encoder, spec) if isinstance(agent, DrqConf) else Policy(agent, encoder, spec)


def build_agent(policy: Policy, conf: LearnerConf, reward: RewardSpec, horizon: int) -> Agent:
    """The learner of a policy made by `build_policy` from the same config."""
    check_agent(conf)
    if isinstance(conf, DrqConf) and isinstance(policy, DrqPolicy):
        return DrqAgent(policy, conf, reward, horizon)
    assert isinstance(conf, SacConf)
    return SacAgent(policy, conf, reward, horizon)


def agent_conf(data: dict[str, Any]) -> LearnerConf:
    """The typed config of an agent saved as plain data.

    Raises:
        ConfigError: there is no such agent.
    """
    name = str(data.get("name", "sac"))
    one_of("agent.name", name, tuple(SCHEMAS))
    conf: LearnerConf = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(SCHEMAS[name]), data))  # type: ignore[assignment]
    return conf
