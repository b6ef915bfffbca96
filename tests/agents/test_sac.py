"""SAC's losses and targets against numbers worked by hand."""

from __future__ import annotations

import copy
import math

import pytest
import torch

from hiltk.agents.policy import Policy
from hiltk.agents.sac import SacAgent, q_bounds
from hiltk.config import AgentConf, EncoderConf
from hiltk.data.replay import Batch
from hiltk.spec import (
    STATE_KEY,
    ActionSpec,
    Dimension,
    GripperFormat,
    RewardSpec,
    Spec,
    StateSpec,
    Stats,
)


def tiny_spec(states: int = 2, actions: int = 2) -> Spec:
    return Spec(
        state=StateSpec([Dimension(f"s{i}") for i in range(states)]),
        action=ActionSpec([Dimension(f"a{i}", low=-1, high=1) for i in range(actions)]),
        stats={STATE_KEY: Stats([0.0] * states, [1.0] * states)},
    )


def make_agent(**conf: object) -> SacAgent:
    torch.manual_seed(0)
    agent = AgentConf(hidden=[8, 8], **conf)  # type: ignore[arg-type]
    return SacAgent(
        Policy(agent, EncoderConf(name="none"), tiny_spec()),
        agent,
        RewardSpec(),
        horizon=50,
    )


def make_batch(size: int = 6, human: list[bool] | None = None) -> Batch:
    generator = torch.Generator().manual_seed(1)
    rand = lambda *shape: torch.rand(*shape, generator=generator) * 2 - 1  # noqa: E731
    return Batch(
        observation={STATE_KEY: rand(size, 2)},
        action=rand(size, 2),
        reward=torch.zeros(size),
        next_observation={STATE_KEY: rand(size, 2)},
        discount=torch.full((size,), 0.97),
        human=torch.tensor(human if human is not None else [False] * size),
    )


class FixedCritic(torch.nn.Module):
    """An ensemble that answers with given constants, one per member."""

    def __init__(self, values: list[float]) -> None:
        super().__init__()
        self.values = values

    def forward(self, features: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
        return torch.tensor(self.values)[:, None].expand(-1, len(action))


def test_the_target_is_reward_plus_discounted_minimum() -> None:
    agent, batch = make_agent(), make_batch(3)
    agent.target_critic = FixedCritic([0.5, 0.8])
    batch.reward = torch.tensor([0.0, 1.0, 0.25])
    batch.discount = torch.tensor([0.97, 0.0, 0.97])  # the second is a success: nothing after it counts
    # 0.97 * 0.5 = 0.485; 1; 0.25 + 0.485 = 0.735
    assert agent._td_target(batch).tolist() == pytest.approx([0.485, 1.0, 0.735])


def test_targets_stay_inside_the_reward_bound_when_asked() -> None:
    batch = make_batch(2)
    batch.reward = torch.tensor([1.0, -0.5])
    for clip, expected in ((True, [1.0, 1.0]), (False, [1.0 + 0.97 * 2, -0.5 + 0.97 * 2])):
        agent = make_agent(clip_target=clip)
        agent.target_critic = FixedCritic([2.0, 2.0])
        assert agent._td_target(batch).tolist() == pytest.approx(expected)


def test_the_entropy_is_backed_up_only_when_asked() -> None:
    batch = make_batch(4)
    values = {}
    for backup in (False, True):
        agent = make_agent(backup_entropy=backup, clip_target=False, temperature=0.5)
        agent.target_critic = FixedCritic([1.0, 1.0])
        torch.manual_seed(3)
        values[backup] = agent._td_target(batch)
    torch.manual_seed(3)
    agent = make_agent(backup_entropy=True, temperature=0.5)
    torch.manual_seed(3)
    _, log_prob = agent.policy.actor.sample(agent.target_torso(batch.next_observation))
    assert torch.allclose(values[True], values[False] - 0.97 * 0.5 * log_prob, atol=1e-6)


def test_the_critic_loss_is_the_mean_square_over_the_ensemble() -> None:
    agent, batch = make_agent(), make_batch(5)
    with torch.no_grad():
        features = agent.policy.torso(batch.observation)
        expected = (agent.critic(features, batch.action) - 0.97 * 0.25).square().mean().item()
    agent.target_critic = FixedCritic([0.25, 0.75])
    metrics = agent._update_critic(batch, agent.policy.torso(batch.observation))
    assert metrics["critic_loss"] == pytest.approx(expected, rel=1e-5)
    assert metrics["target_mean"] == pytest.approx(0.97 * 0.25)


def test_target_entropy_is_minus_half_the_action_dimensions() -> None:
    assert make_agent().target_entropy == -1.0
    assert make_agent(target_entropy=-3.0).target_entropy == -3.0


def test_the_temperature_falls_when_entropy_is_above_its_target() -> None:
    agent = make_agent(temperature=0.1)
    agent._update_alpha(torch.full((4,), -5.0))  # entropy 5, target -1: too random already
    assert agent.log_alpha.exp().item() < 0.1
    agent._update_alpha(torch.full((4,), 50.0))
    agent._update_alpha(torch.full((4,), 50.0))
    agent._update_alpha(torch.full((4,), 50.0))
    assert agent.log_alpha.item() > math.log(0.1) - 0.01


def test_imitation_counts_and_uses_human_rows_only() -> None:
    agent, batch = make_agent(), make_batch(4, human=[True, False, True, False])
    features = agent.policy.torso(batch.observation).detach()
    loss, samples = agent._imitation(batch, features)
    rows = torch.tensor([0, 2])
    expected = (agent.policy.actor.mode(features[rows]) - batch.action[rows]).square().mean()
    assert samples == 2
    assert torch.allclose(loss, expected)
    assert agent._imitation(make_batch(4), features) == (torch.zeros(()), 0)


def test_the_imitation_weight_follows_its_schedule() -> None:
    agent = make_agent(imitation_weight=1.0, imitation_end=0.2, imitation_steps=10)
    weights = []
    for updates in (0, 5, 10, 100):
        agent.updates = updates
        weights.append(agent.imitation_weight)
    assert weights == pytest.approx([1.0, 0.6, 0.2, 0.2])


@pytest.mark.parametrize("weight", [0.0, 0.3])
def test_without_an_end_the_imitation_weight_stays(weight: float) -> None:
    agent = make_agent(imitation_weight=weight)
    for agent.updates in (0, 1, 100, 10**6):
        assert agent.imitation_weight == weight


def test_critics_are_asked_about_executed_actions_only() -> None:
    agent = make_agent()
    action = torch.tensor([[0.3, 0.2], [0.1, -0.7]], requires_grad=True)
    assert agent._executed(action) is action
    agent.policy.spec.action.gripper = GripperFormat.discrete3
    snapped = agent._executed(action)
    assert snapped.tolist() == [[pytest.approx(0.3), 0.0], [pytest.approx(0.1), -1.0]]
    snapped.sum().backward()
    assert action.grad is not None and action.grad.tolist() == [[1, 1], [1, 1]]  # straight through


def test_the_actor_leaves_the_torso_alone_and_critic_steps_leave_the_actor_alone() -> None:
    agent, batch = make_agent(), make_batch(8)
    actor = copy.deepcopy(agent.policy.actor.state_dict())
    agent.update(batch, actor=False)
    assert all(torch.equal(v, agent.policy.actor.state_dict()[k]) for k, v in actor.items())
    agent.update(batch, actor=True)
    assert any(not torch.equal(v, agent.policy.actor.state_dict()[k]) for k, v in actor.items())


def test_targets_move_by_tau() -> None:
    agent = make_agent(tau=0.25)
    before = [p.clone() for p in agent.target_critic.parameters()]
    with torch.no_grad():
        for p in agent.critic.parameters():
            p += 1.0
    agent._update_targets()
    for old, new, online in zip(before, agent.target_critic.parameters(), agent.critic.parameters(), strict=True):
        assert torch.allclose(new, old + 0.25 * (online - old))


def test_state_round_trip_continues_bit_for_bit() -> None:
    agent, batch = make_agent(), make_batch(8)
    agent.update(batch)
    saved = copy.deepcopy(agent.state_dict())
    other = make_agent(temperature=0.3)
    other.load_state_dict(saved)
    for one in (agent, other):
        torch.manual_seed(7)
        one.update(batch)
    for (name, left), right in zip(
        agent.policy.state_dict().items(),
        other.policy.state_dict().values(),
        strict=True,
    ):
        assert torch.equal(left, right), name
    assert torch.equal(agent.log_alpha, other.log_alpha)


@pytest.mark.parametrize(
    ("reward", "low", "high"),
    [
        (RewardSpec(), 0.0, 1.0),
        # Waiting for ever at -0.05 a step is worth -0.05 / 0.03; success at once 10.
        (RewardSpec(success_value=10.0, step_value=-0.05), -0.05 / 0.03, 10.0),
        # With time-outs terminal no episode is longer than 3 steps: -0.05 * (1 + 0.97 + 0.97^2) = -0.145545.
        (RewardSpec(success_value=10.0, step_value=-0.05, timeout="terminal"), -0.145545, 10.0),
        # Waiting two steps, then success: 0.5 * 1.97 + 0.97^2 = 1.9259; three steps without: 1.45545.
        (RewardSpec(success_value=1.0, step_value=0.5, timeout="terminal"), 0.5, 1.9259),
        (RewardSpec(source="env"), -math.inf, math.inf),
    ],
)
def test_q_bounds_follow_from_the_reward_rule(reward: RewardSpec, low: float, high: float) -> None:
    assert q_bounds(reward, 0.97, 3) == pytest.approx((low, high))
