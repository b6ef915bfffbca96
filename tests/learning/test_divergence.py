"""A step whose numbers overflow changes nothing, and what caused it is kept."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from hiltk.agents.base import NotFinite
from hiltk.agents.bc import BehaviorCloning
from hiltk.agents.drqv2 import DrqAgent
from hiltk.agents.make import build_agent, build_policy
from hiltk.agents.policy import Policy
from hiltk.agents.sac import SacAgent
from hiltk.config.groups import DrqConf, EncoderConf, SacConf
from hiltk.data.replay import Batch
from hiltk.learning.divergence import dump
from hiltk.spec import STATE_KEY, ActionSpec, Dimension, GripperFormat, ImageSpec, RewardSpec, Spec, StateSpec, Stats

IMAGE = "observation.images.wrist"


def make_spec() -> Spec:
    return Spec(
        state=StateSpec([Dimension("a"), Dimension("b")]),
        action=ActionSpec([Dimension(n, low=-1, high=1) for n in ("x", "y", "g")], gripper=GripperFormat.discrete3),
        images=[ImageSpec("wrist", 16, 16)],
        reward=RewardSpec(success_value=2.0),
        stats={STATE_KEY: Stats([0.0, 0.0], [1.0, 1.0], [-3.0, -3.0], [3.0, 3.0])},
    )


ENCODER = EncoderConf(channels=[4], kernels=[3], strides=[4], features=8)


def make_agent() -> SacAgent:
    torch.manual_seed(0)
    conf, spec = SacConf(hidden=[8, 8], critics=3, target_critics=2), make_spec()
    return SacAgent(Policy(conf, ENCODER, spec), conf, spec.reward, 50)


def make_drq() -> DrqAgent:
    torch.manual_seed(0)
    conf, spec = DrqConf(hidden=[8, 8], bottleneck=4, frame_stack=2, noise="linear(1.0,0.1,10)"), make_spec()
    agent = build_agent(build_policy(conf, ENCODER, spec), conf, spec.reward, 50)
    assert isinstance(agent, DrqAgent)
    agent.policy.advance(5)
    return agent


def make_batch(seed: int, stack: int = 1) -> Batch:
    g = torch.Generator().manual_seed(seed)

    def observation() -> dict[str, torch.Tensor]:
        frames = torch.randint(0, 256, (8, 3 * stack, 16, 16), generator=g, dtype=torch.uint8)
        return {STATE_KEY: torch.randn(8, 2 * stack, generator=g), IMAGE: frames}

    human = torch.arange(8) % 2 == 0
    return Batch(
        observation(),
        torch.rand(8, 3, generator=g) * 2 - 1,
        torch.zeros(8),
        observation(),
        torch.full((8,), 0.9),
        human,
    )


def trained() -> SacAgent:
    agent = make_agent()
    for seed in range(3):
        agent.update(make_batch(seed))
    return agent


def break_critic(agent: SacAgent | DrqAgent, batch: Batch) -> None:
    batch.observation[STATE_KEY][2, 0] = math.nan


def break_actor(agent: SacAgent, batch: Batch) -> None:
    """Large enough to overflow in the actor's loss alone: its last layer, which the critic's targets do not see."""
    with torch.no_grad():
        agent.log_alpha.fill_(200.0)  # exp(200) is infinite in float32; not backed up into targets


def break_imitation(agent: DrqAgent, batch: Batch) -> None:
    agent.conf = replace(agent.conf, imitation_weight=math.inf)
    agent.policy.agent_conf = agent.conf  # which the dump keeps


@pytest.mark.parametrize(
    ("make", "stack", "fault", "stage"),
    [
        (make_agent, 1, break_critic, "critic"),
        (make_agent, 1, break_actor, "actor"),
        (make_drq, 2, break_critic, "critic"),
        (make_drq, 2, break_imitation, "actor"),
    ],
)
def test_a_dump_holds_what_overflowed(tmp_path: Path, make: Any, stack: int, fault: Any, stage: str) -> None:
    agent, batch = make(), make_batch(9, stack)
    for seed in range(3):
        agent.update(make_batch(seed, stack))
    fault(agent, batch)
    torch.manual_seed(5)
    with pytest.raises(NotFinite) as caught:
        agent.update(batch)
    broken = {k for k, v in caught.value.metrics.items() if not math.isfinite(v)}
    assert f"{stage}_loss" in broken
    saved = torch.load(dump(tmp_path, agent, batch, caught.value), weights_only=True)
    assert {k for k, v in saved["metrics"].items() if not math.isfinite(v)} == broken
    assert torch.equal(saved["batch"]["action"], batch.action) and saved["agent"]["updates"] == 3


def test_cloning_that_overflows_changes_nothing(tmp_path: Path) -> None:
    torch.manual_seed(0)
    cloning = BehaviorCloning(build_policy(SacConf(hidden=[8, 8]), ENCODER, make_spec()), lr=1e-3, loss="likelihood")
    for seed in range(3):
        cloning.update(make_batch(seed))
    before, batch = copy.deepcopy(cloning.policy.state_dict()), make_batch(9)
    batch.action[3, 0] = math.nan
    with pytest.raises(NotFinite, match="loss, gradient") as caught:
        cloning.update(batch)
    assert all(torch.equal(v, before[k]) for k, v in cloning.policy.state_dict().items()) and cloning.updates == 3
    saved = torch.load(dump(tmp_path, cloning, batch, caught.value), weights_only=True)
    assert saved["batch"]["action"].isnan().any() and saved["agent"]["updates"] == 3


def test_the_dump_holds_the_state_from_before_the_step(tmp_path: Path) -> None:
    agent, batch = trained(), make_batch(9)
    before = copy.deepcopy(agent.state_dict())
    break_critic(agent, batch)
    with pytest.raises(NotFinite) as caught:
        agent.update(batch)
    saved = torch.load(dump(tmp_path, agent, batch, caught.value), weights_only=True)["agent"]
    for part in ("policy", "critic", "target_critic", "target_torso", "target_gripper"):
        assert all(torch.equal(v, saved[part][k]) for k, v in before[part].items()), part
    assert saved["updates"] == before["updates"] == 3
