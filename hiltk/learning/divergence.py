"""A step that made a number overflow, kept in a file from which it can be taken again."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf

from hiltk.agents.bc import BehaviorCloning
from hiltk.agents.compute import lowered
from hiltk.agents.divergence import NotFinite, Stage, set_rng_state
from hiltk.agents.make import Agent, agent_conf, build_agent, build_policy
from hiltk.agents.sac import Metrics
from hiltk.config.groups import EncoderConf
from hiltk.data.replay import Batch
from hiltk.errors import UserError
from hiltk.spec import RewardSpec, Spec

FILE = "diverged.pt"
Learner = Agent | BehaviorCloning


def diverged(folder: Path, learner: Learner, batch: Batch, error: NotFinite, fix: str) -> UserError:
    """Keep what made the numbers overflow; what to raise in place of ``error``."""
    return UserError(
        f"training diverged: {error} is not finite at update {learner.updates}",
        where=str(dump(folder, learner, batch, error)),
        fix=f"{fix}; hiltk.learning.divergence.replay_step repeats the step",
    )


def dump(folder: Path, learner: Learner, batch: Batch, error: NotFinite) -> Path:
    """Write the batch, the learner as it was before the step, the random state and all it takes to rebuild it."""
    policy = learner.policy
    state: dict[str, Any] = {
        "batch": vars(batch),
        "agent": learner.state_dict(),
        "metrics": error.metrics,
        "stage": vars(error.stage) if error.stage else None,
        "conf": {"agent": asdict(policy.agent_conf), "encoder": asdict(policy.encoder_conf)},
        "spec": policy.spec.to_dict(),
    }
    if isinstance(learner, BehaviorCloning):
        state["cloning"] = {"lr": learner.lr, "loss": learner.loss}
    else:
        state |= {"reward": asdict(learner.reward), "horizon": learner.horizon}
    torch.save(state, folder / FILE)
    return folder / FILE


def replay_step(path: Path) -> Metrics:
    """Take the step of a dump again, on the CPU; returns its metrics, the ones that are not finite among them.

    The random state of Torch is changed. To look inside, put a breakpoint into the learner's `repeat`.

    Raises:
        UserError: the file is no such dump, or its learner stopped only after the step.
    """
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
        stage, batch = saved["stage"], Batch(**saved["batch"])
    except Exception as error:
        raise UserError(f"this is not a step that can be repeated: {error}", where=str(path)) from error
    if stage is None:
        raise UserError("this agent kept no state from before the step", where=str(path))
    learner = _rebuild(saved)
    set_rng_state(stage["rng"])
    try:
        with lowered(stage.get("precision", "float32"), torch.device("cpu")):
            return learner.repeat(batch, Stage(**stage))
    except NotFinite as error:
        return error.metrics


def _rebuild(saved: dict[str, Any]) -> Learner:
    conf = agent_conf(saved["conf"]["agent"])
    encoder = OmegaConf.merge(OmegaConf.structured(EncoderConf), saved["conf"]["encoder"])
    policy = build_policy(conf, OmegaConf.to_object(encoder), Spec.from_dict(saved["spec"]))  # type: ignore[arg-type]
    learner: Learner
    if "cloning" in saved:
        learner = BehaviorCloning(policy, **saved["cloning"])
    else:
        learner = build_agent(policy, conf, RewardSpec(**saved["reward"]), saved["horizon"])
    learner.load_state_dict(saved["agent"])
    return learner
