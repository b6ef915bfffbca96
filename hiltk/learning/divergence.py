"""A step that made a number overflow, kept in a file from which it can be taken again."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf

from hiltk.agents.divergence import NotFinite, Stage, set_rng_state
from hiltk.agents.make import Agent, agent_conf, build_agent, build_policy
from hiltk.agents.sac import Metrics, SacAgent
from hiltk.config import EncoderConf
from hiltk.data.replay import Batch
from hiltk.errors import UserError
from hiltk.spec import RewardSpec, Spec

FILE = "diverged.pt"


def dump(folder: Path, agent: Agent, batch: Batch, error: NotFinite) -> Path:
    """Write the batch, the agent as it was before the step, the random state and everything to rebuild the agent."""
    policy = agent.policy
    state: dict[str, Any] = {
        "batch": vars(batch),
        "agent": agent.state_dict(),
        "metrics": error.metrics,
        "stage": vars(error.stage) if error.stage else None,
        "conf": {"agent": asdict(policy.agent_conf), "encoder": asdict(policy.encoder_conf)},
        "spec": policy.spec.to_dict(),
    }
    if isinstance(agent, SacAgent):
        state |= {"reward": asdict(agent.reward), "horizon": agent.horizon}
    torch.save(state, folder / FILE)
    return folder / FILE


def replay_step(path: Path) -> Metrics:
    """Take the step of a dump again, on the CPU; returns its metrics, the ones that are not finite among them.

    The random state of Torch is changed. To look inside, put a breakpoint into `SacAgent.repeat`.

    Raises:
        UserError: the file is no such dump, or its agent stopped only after the step.
    """
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
        stage, batch = saved["stage"], Batch(**saved["batch"])
    except Exception as error:
        raise UserError(f"this is not a step that can be repeated: {error}", where=str(path)) from error
    if stage is None:
        raise UserError("this agent kept no state from before the step", where=str(path))
    agent = _rebuild(saved)
    set_rng_state(stage["rng"])
    try:
        return agent.repeat(batch, Stage(**stage))
    except NotFinite as error:
        return error.metrics


def _rebuild(saved: dict[str, Any]) -> SacAgent:
    conf = agent_conf(saved["conf"]["agent"])
    encoder = OmegaConf.merge(OmegaConf.structured(EncoderConf), saved["conf"]["encoder"])
    policy = build_policy(conf, OmegaConf.to_object(encoder), Spec.from_dict(saved["spec"]))  # type: ignore[arg-type]
    agent = build_agent(policy, conf, RewardSpec(**saved["reward"]), saved["horizon"])
    assert isinstance(agent, SacAgent)
    agent.load_state_dict(saved["agent"])
    return agent
