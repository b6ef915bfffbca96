"""A step whose numbers overflowed can be taken again from its dump, and overflows again."""

from __future__ import annotations

import copy
import math
from pathlib import Path

import pytest
import torch

from hiltk.agents.divergence import NotFinite
from hiltk.agents.policy import Policy
from hiltk.agents.sac import SacAgent
from hiltk.config import AgentConf, EncoderConf
from hiltk.data.replay import Batch
from hiltk.errors import UserError
from hiltk.learning.divergence import dump, replay_step
from hiltk.spec import STATE_KEY, ActionSpec, Dimension, GripperFormat, ImageSpec, RewardSpec, Spec, StateSpec, Stats

IMAGE = "observation.images.wrist"


def make_agent() -> SacAgent:
    torch.manual_seed(0)
    spec = Spec(
        state=StateSpec([Dimension("a"), Dimension("b")]),
        action=ActionSpec([Dimension(n, low=-1, high=1) for n in ("x", "y", "g")], gripper=GripperFormat.discrete3),
        images=[ImageSpec("wrist", 16, 16)],
        reward=RewardSpec(success_value=2.0),
        stats={STATE_KEY: Stats([0.0, 0.0], [1.0, 1.0])},
    )
    conf = AgentConf(hidden=[8, 8], critics=3, target_critics=2)
    encoder = EncoderConf(channels=[4], kernels=[3], strides=[4], features=8)
    return SacAgent(Policy(conf, encoder, spec), conf, spec.reward, 50)


def make_batch(seed: int) -> Batch:
    g = torch.Generator().manual_seed(seed)

    def observation() -> dict[str, torch.Tensor]:
        frames = torch.randint(0, 256, (8, 3, 16, 16), generator=g, dtype=torch.uint8)
        return {STATE_KEY: torch.randn(8, 2, generator=g), IMAGE: frames}

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


def break_critic(agent: SacAgent, batch: Batch) -> None:
    batch.observation[STATE_KEY][2, 0] = math.nan


def break_actor(agent: SacAgent, batch: Batch) -> None:
    """Large enough to overflow in the actor's loss alone: its last layer, which the critic's targets do not see."""
    with torch.no_grad():
        agent.log_alpha.fill_(200.0)  # exp(200) is infinite in float32; not backed up into targets


@pytest.mark.parametrize(("fault", "stage"), [(break_critic, "critic"), (break_actor, "actor")])
def test_a_dumped_step_overflows_again_with_the_same_numbers(tmp_path: Path, fault: object, stage: str) -> None:
    agent, batch = trained(), make_batch(9)
    fault(agent, batch)  # type: ignore[operator]
    torch.manual_seed(5)
    with pytest.raises(NotFinite) as caught:
        agent.update(batch)
    error = caught.value
    assert error.stage is not None and error.stage.name == stage
    file = dump(tmp_path, agent, batch, error)
    torch.manual_seed(123)  # another process, another random state
    again = replay_step(file)
    ours = error.metrics
    broken = {k for k, v in ours.items() if not math.isfinite(v)}
    assert broken and {k for k, v in again.items() if not math.isfinite(v)} == broken
    assert {k: v for k, v in again.items() if k not in broken} == {k: v for k, v in ours.items() if k not in broken}


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


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "x.pt").write_bytes(b"nothing")
    with pytest.raises(UserError, match="cannot|not a step"):
        replay_step(tmp_path / "x.pt")
    file = dump(tmp_path, trained(), make_batch(1), NotFinite({"critic_loss": math.nan}))
    with pytest.raises(UserError, match="no state from before"):
        replay_step(file)
