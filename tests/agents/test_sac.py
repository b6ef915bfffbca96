"""SAC's losses and targets against numbers worked by hand."""

from __future__ import annotations

import copy
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from hiltk.agents.base import NotFinite
from hiltk.agents.bc import BehaviorCloning
from hiltk.agents.gripper import choices, double_dqn_target
from hiltk.agents.make import load_policy
from hiltk.agents.policy import Policy
from hiltk.agents.sac import SacAgent
from hiltk.arm.gripper import quantise
from hiltk.config.groups import EncoderConf, SacConf
from hiltk.configuring.typed import compose
from hiltk.data.replay import Batch
from hiltk.reward_rule import q_bounds
from hiltk.spec import STATE_KEY, ActionSpec, Dimension, GripperFormat, ImageSpec, RewardSpec, Spec, StateSpec, Stats
from hiltk.verbs import STEPS


def tiny_spec(states: int = 2, actions: int = 2) -> Spec:
    return Spec(
        state=StateSpec([Dimension(f"s{i}") for i in range(states)]),
        action=ActionSpec([Dimension(f"a{i}", low=-1, high=1) for i in range(actions)]),
        stats={STATE_KEY: Stats([0.0] * states, [1.0] * states)},
    )


def make_agent(**conf: object) -> SacAgent:
    torch.manual_seed(0)
    agent = SacConf(hidden=[8, 8], **conf)  # type: ignore[arg-type]
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
    assert agent._td_target(batch, agent.target_torso(batch.next_observation)).tolist() == pytest.approx(
        [0.485, 1.0, 0.735]
    )


def test_targets_stay_inside_the_reward_bound_when_asked() -> None:
    batch = make_batch(2)
    batch.reward = torch.tensor([1.0, -0.5])
    for clip, expected in ((True, [1.0, 1.0]), (False, [1.0 + 0.97 * 2, -0.5 + 0.97 * 2])):
        agent = make_agent(clip_target=clip)
        agent.target_critic = FixedCritic([2.0, 2.0])
        assert agent._td_target(batch, agent.target_torso(batch.next_observation)).tolist() == pytest.approx(expected)


def test_the_entropy_is_backed_up_only_when_asked() -> None:
    batch = make_batch(4)
    values = {}
    for backup in (False, True):
        agent = make_agent(backup_entropy=backup, clip_target=False, temperature=0.5)
        agent.target_critic = FixedCritic([1.0, 1.0])
        torch.manual_seed(3)
        values[backup] = agent._td_target(batch, agent.target_torso(batch.next_observation))
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


class SumCritic(torch.nn.Module):
    """Values that rise with the action's sum, in one critic three times as fast as in the other."""

    def forward(self, features: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
        return torch.stack([action.sum(-1), 3 * action.sum(-1)])


@pytest.mark.parametrize("actor_q", ["mean", "min"])
def test_the_actor_loss_is_alpha_times_log_prob_less_the_value(actor_q: str) -> None:
    agent = make_agent(actor_q=actor_q, temperature=0.5, imitation_weight=2.0)
    batch = make_batch(6, human=[True, False] * 3)
    agent.critic = SumCritic()
    features = agent.policy.torso(batch.observation).detach()
    torch.manual_seed(3)
    action, log_prob = agent.policy.actor.sample(features)
    sums, human = action.sum(-1), torch.arange(6) % 2 == 0
    value = 2 * sums if actor_q == "mean" else torch.minimum(sums, 3 * sums)
    error = (agent.policy.actor.mode(features)[human] - batch.action[human]).square().mean()
    expected = (0.5 * log_prob - value).mean() + 2 * error
    torch.manual_seed(3)
    metrics = agent._update_actor(batch, features)
    assert metrics["actor_loss"] == pytest.approx(expected.item(), rel=1e-5)
    assert metrics["entropy"] == pytest.approx(-log_prob.mean().item(), rel=1e-5)


def test_rlpd_takes_the_minimum_over_a_random_pair_of_ten() -> None:
    agent, batch, seen = make_agent(critics=10, target_critics=2), make_batch(3), set()
    agent.target_critic = FixedCritic([0.1 * k for k in range(10)])
    for seed in range(60):
        torch.manual_seed(seed)
        targets = agent._td_target(batch, agent.target_torso(batch.next_observation)).tolist()
        assert targets == pytest.approx([targets[0]] * 3)  # one pair for the whole batch
        seen.add(round(targets[0] / 0.097))
    assert seen <= set(range(9)) and len(seen) > 5  # the ninth is never the smaller of two


def test_parameter_counts() -> None:
    """State of 18 and one camera: 64 features by three convolutions, as `encoder=cnn` has them."""
    spec = tiny_spec(states=18, actions=4)
    spec.images = [ImageSpec("wrist", 64, 64)]
    conf = SacConf()
    agent = SacAgent(Policy(conf, EncoderConf(), spec), conf, RewardSpec(), 50)
    layer = lambda into, out: into * out + out + 2 * out  # noqa: E731  with its LayerNorm
    convolutions = (3 * 25 * 16 + 16) + (16 * 9 * 32 + 32) + (32 * 9 * 32 + 32)
    encoder = convolutions + layer(32 * 4 * 4, 64)  # 64 pixels at strides 4, 2, 2
    actor = layer(18 + 64, 256) + layer(256, 256) + (256 * 8 + 8)
    critic = layer(18 + 64 + 4, 256) + layer(256, 256) + 257
    count = lambda module: sum(p.numel() for p in module.parameters())  # noqa: E731
    assert count(agent.policy.torso) == count(agent.target_torso) == encoder
    assert count(agent.policy.actor) == actor
    assert count(agent.critic) == count(agent.target_critic) == 2 * critic


def test_the_temperatures_step_by_hand() -> None:
    """Loss -alpha * (log pi + target): at alpha 0.1, log pi 2 and target -1 its slope by log alpha is -0.1."""
    agent = make_agent(temperature=0.1)
    agent._update_alpha(torch.full((4,), 2.0))
    assert agent.log_alpha.grad is not None and agent.log_alpha.grad.item() == pytest.approx(-0.1)
    assert agent.log_alpha.item() == pytest.approx(math.log(0.1) + 3e-4, abs=1e-6)  # Adam's first step is its rate


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


def weight(policy: Policy) -> torch.Tensor:
    return next(policy.actor.parameters()).detach().clone()


def test_a_run_gives_the_average_of_its_policies() -> None:
    agent, batch = make_agent(policy_tau=0.25), make_batch()
    assert agent.given is agent.policy  # nothing learned yet, whatever is loaded into the policy
    seen = []
    for _ in range(3):
        agent.update(batch)
        seen.append(weight(agent.policy))
    # It begins with the first update: 3/4 (3/4 w1 + 1/4 w2) + 1/4 w3.
    assert torch.allclose(weight(agent.given), 0.5625 * seen[0] + 0.1875 * seen[1] + 0.25 * seen[2])
    again = make_agent(policy_tau=0.25)
    again.load_state_dict(agent.state_dict())
    assert torch.equal(weight(again.given), weight(agent.given))


def test_the_average_changes_nothing_that_is_learned() -> None:
    batch, found = make_batch(), []
    for rate in (0.25, 1.0):
        agent = make_agent(policy_tau=rate)
        torch.manual_seed(3)
        for _ in range(3):
            agent.update(batch)
        found.append(weight(agent.policy))
    assert torch.equal(*found) and agent.given is agent.policy


def test_checkpoints_of_older_versions_hold_no_average() -> None:
    agent = make_agent(policy_tau=0.25)
    agent.update(make_batch())
    state = agent.state_dict()
    del state["average"]
    agent.load_state_dict(state)
    assert torch.equal(weight(agent.given), weight(agent.policy))


@pytest.mark.parametrize(("own", "moved"), [(True, 0.25), (False, 1.0)])
def test_the_target_encoder_moves_by_tau_or_is_the_encoder_itself(own: bool, moved: float) -> None:
    conf, spec = SacConf(hidden=[8, 8], tau=0.25, target_encoder=own), tiny_spec()
    spec.images = [ImageSpec("wrist", 16, 16)]
    encoder = EncoderConf(channels=[4], kernels=[3], strides=[4], features=4)
    agent = SacAgent(Policy(conf, encoder, spec), conf, RewardSpec(), horizon=50)
    before = [p.clone() for p in agent.target_torso.parameters()]
    with torch.no_grad():
        for p in agent.policy.torso.parameters():
            p.add_(1.0)
    agent._update_targets()
    assert before and (agent.target_torso is agent.policy.torso) is not own
    for then, now in zip(before, agent.target_torso.parameters(), strict=True):
        assert torch.allclose(now - then, torch.tensor(moved), atol=1e-5)


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


# ---------------------------------------------------------------- optional switches


def test_imitation_can_be_left_to_rows_where_the_critics_prefer_the_human() -> None:
    agent = make_agent(imitation_filter=True)
    batch = make_batch(4, human=[True, True, True, False])
    features = agent.policy.torso(batch.observation).detach()

    class ByFirstAction(torch.nn.Module):
        """Q is the first action dimension, so the larger one is the better."""

        def forward(self, features: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
            return action[:, 0].expand(2, -1)

    agent.critic = ByFirstAction()
    mode = agent.policy.actor.mode(features).detach()
    batch.action[:, 0] = mode[:, 0] + torch.tensor([0.3, -0.3, 0.2, 0.4])  # better, worse, better, not human
    loss, samples = agent._imitation(batch, features)
    rows = torch.tensor([0, 2])
    assert samples == 2
    assert torch.allclose(loss, (mode[rows] - batch.action[rows]).square().mean())
    batch.action[:, 0] = mode[:, 0] - 0.1
    assert agent._imitation(batch, features) == (torch.zeros(()), 0)


def test_the_monte_carlo_floor_lifts_targets_to_the_return_that_was_had() -> None:
    agent, batch = make_agent(mc_floor=True), make_batch(3)
    agent.target_critic = FixedCritic([0.5, 0.5])
    batch.returns = torch.tensor([0.9, 0.1, -math.inf])
    target = agent._td_target(batch, agent.target_torso(batch.next_observation))
    assert target.tolist() == pytest.approx([0.9, 0.485, 0.485])  # 0.97 * 0.5 = 0.485


# ---------------------------------------------------------------- the three-way gripper


def gripper_agent(reward: RewardSpec | None = None, **conf: object) -> SacAgent:
    torch.manual_seed(0)
    agent, spec = SacConf(hidden=[8, 8], **conf), tiny_spec(actions=3)  # type: ignore[arg-type]
    spec.action.gripper = GripperFormat.discrete3
    return SacAgent(Policy(agent, EncoderConf(name="none"), spec), agent, reward or RewardSpec(), horizon=50)


def gripper_batch(commands: list[float]) -> Batch:
    batch = make_batch(len(commands))
    batch.action = torch.cat([batch.action, torch.tensor(commands)[:, None]], dim=-1)
    return batch


class FixedHead(torch.nn.Module):
    """The same three values whatever the features."""

    def __init__(self, values: list[float]) -> None:
        super().__init__()
        self.values = torch.nn.Parameter(torch.tensor(values))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return self.values.expand(len(features), 3)


def test_double_dqn_takes_the_online_choice_at_the_targets_value() -> None:
    target = double_dqn_target(
        online=torch.tensor([[0.1, 0.2, 0.9]] * 4),  # prefers open
        target=torch.tensor([[0.8, 0.7, 0.3]] * 4),  # which the target values at 0.3, though it prefers close
        reward=torch.tensor([0.0, 0.0, 0.0, 1.0]),
        discount=torch.tensor([0.9, 0.9, 0.9, 0.0]),
        penalty=0.02,
        choice=torch.tensor([0, 1, 2, 0]),
    )
    # close, hold, open: 0.27 less 0.02 for moving; a success pays 1 less 0.02 and nothing follows
    assert target.tolist() == pytest.approx([0.25, 0.27, 0.25, 0.98])


def test_commands_snap_as_they_do_in_the_policy() -> None:
    values = torch.tensor([-1.0, -0.5, -0.4, 0.0, 0.49, 0.5, 1.0])
    action = torch.stack([torch.zeros(7), values], dim=-1)
    assert choices(action).tolist() == [0, 0, 1, 1, 1, 2, 2]
    spec = ActionSpec(gripper=GripperFormat.discrete3)
    assert (quantise(action.numpy(), spec)[:, -1] + 1).tolist() == choices(action).tolist()


def test_the_gripper_learns_on_every_batch_and_its_penalty_is_its_own() -> None:
    agent, batch = gripper_agent(clip_target=False), gripper_batch([-1.0, 0.0, 1.0])
    agent.policy.gripper = FixedHead([0.0, 0.5, 0.0])
    agent.target_gripper = FixedHead([0.2, 0.4, 0.6])
    agent.target_critic = FixedCritic([0.5, 0.5])
    features = agent.policy.torso(batch.observation)
    # The online choice is hold, worth 0.4: targets 0.388 - 0.02, 0.388, 0.388 - 0.02 against values 0, 0.5, 0.
    expected = (0.368**2 + 0.112**2 + 0.368**2) / 3
    assert agent._gripper_loss(batch, features, features).item() == pytest.approx(expected, rel=1e-5)
    # The critics' targets carry no penalty.
    assert agent._td_target(batch, features).tolist() == pytest.approx([0.485] * 3)
    whole = gripper_agent()
    for actor in (False, True):
        before = copy.deepcopy(whole.policy.gripper.state_dict())
        assert whole.update(batch, actor=actor)["gripper_loss"] > 0
        assert any(not torch.equal(v, before[k]) for k, v in whole.policy.gripper.state_dict().items())


def test_the_grippers_target_moves_by_tau() -> None:
    agent = gripper_agent(tau=0.25)
    before = [p.clone() for p in agent.target_gripper.parameters()]
    with torch.no_grad():
        for p in agent.policy.gripper.parameters():
            p.add_(1.0)
    agent._update_targets()
    for then, now in zip(before, agent.target_gripper.parameters(), strict=True):
        assert torch.allclose(now - then, torch.tensor(0.25), atol=1e-5)


def test_the_arm_and_the_gripper_share_an_action() -> None:
    agent = gripper_agent()
    assert agent.arm == 2 and agent.target_entropy == -1.5  # the gripper counts
    assert agent.policy.actor(torch.zeros(1, 2))[0].shape == (1, 2)
    assert agent.critic(torch.zeros(4, 2), torch.zeros(4, 2)).shape == (2, 4)
    for values, command in (([1.0, 0.0, 0.0], -1), ([0.0, 1.0, 0.0], 0), ([0.0, 0.0, 1.0], 1)):
        with torch.no_grad():
            agent.policy.gripper.trunk[-1].weight.zero_()
            agent.policy.gripper.trunk[-1].bias.copy_(torch.tensor(values))
        for deterministic in (True, False):  # greedy in training, too
            action = agent.policy.act({STATE_KEY: np.zeros(2, np.float32)}, deterministic)
            assert action.shape == (3,) and action[-1] == command


@pytest.mark.parametrize(
    ("timeout", "lowest"),
    # 0.02 a step for ever at 0.97: 0.02 / 0.03 = 0.6667. To the time-out, 50 steps: less 0.97^50 = 0.2181 of it.
    [("truncated", -0.666667), ("terminal", -0.521289)],
)
def test_gripper_targets_stay_inside_the_bound_less_what_penalties_cost(timeout: str, lowest: float) -> None:
    agent, batch = gripper_agent(RewardSpec(timeout=timeout)), gripper_batch([1.0, 1.0])
    agent.policy.gripper = FixedHead([0.0, 0.0, 0.0])
    agent.target_gripper = FixedHead([-100.0, -100.0, -100.0])
    assert agent.gripper_low == pytest.approx(lowest, rel=1e-5) and agent.q_low == 0
    features = agent.policy.torso(batch.observation)
    assert agent._gripper_loss(batch, features, features).item() == pytest.approx(lowest**2, rel=1e-5)


def test_the_gripper_is_saved_with_agent_and_policy(tmp_path: Path) -> None:
    agent, batch = gripper_agent(), gripper_batch([-1.0, 0.0, 1.0, 0.0])
    for _ in range(3):
        agent.update(batch)
    saved = copy.deepcopy(agent.state_dict())
    other = gripper_agent()
    other.load_state_dict(saved)
    for one in (agent, other):
        torch.manual_seed(7)
        one.update(batch)
    for name, tensor in agent.policy.gripper.state_dict().items():
        assert torch.equal(tensor, other.policy.gripper.state_dict()[name])
    for name, tensor in agent.target_gripper.state_dict().items():
        assert torch.equal(tensor, other.target_gripper.state_dict()[name])
    agent.policy.save(tmp_path)
    again = load_policy(tmp_path)
    observation = {STATE_KEY: np.ones(2, np.float32)}
    assert np.array_equal(again.act(observation), agent.policy.act(observation))


def test_cloning_teaches_the_gripper_at_the_size_of_rewards() -> None:
    agent = gripper_agent()
    head, features = agent.policy.gripper, torch.zeros(2, 2)
    with torch.no_grad():
        head.trunk[-1].weight.zero_()
        head.trunk[-1].bias.copy_(torch.tensor([0.0, 0.1, 0.0]))
    # Values 0, 0.1, 0 at temperature 0.05 are logits 0, 2, 0: hold has probability e^2 / (e^2 + 2).
    hold = math.exp(2) / (math.exp(2) + 2)
    action = torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    expected = -0.05 * (math.log(hold) + math.log((1 - hold) / 2)) / 2
    assert head.cloning_loss(features, action).item() == pytest.approx(expected, rel=1e-5)


def test_cloned_commands_are_followed_and_values_stay_small() -> None:
    torch.manual_seed(0)
    agent = gripper_agent()
    state = torch.rand(96, 2) * 2 - 1
    batch = make_batch(96)
    batch.observation = {STATE_KEY: state}
    command = torch.where(state[:, 0] > 0.3, 1.0, torch.where(state[:, 0] < -0.3, -1.0, 0.0))
    batch.action = torch.cat([torch.zeros(96, 2), command[:, None]], dim=-1)
    cloning = BehaviorCloning(agent.policy, lr=1e-2, loss="mean")
    for _ in range(200):
        cloning.update(batch)
    features = agent.policy.torso(batch.observation)
    assert (agent.policy.gripper.command(features)[:, 0] == command).float().mean() > 0.95
    assert agent.policy.gripper(features).abs().max() < 3.0


def test_steps_end_before_a_number_that_is_not_finite_spreads() -> None:
    agent, batch = make_agent(), make_batch(4)
    before = copy.deepcopy(agent.state_dict())
    batch.reward[1] = float("inf")
    agent.q_high = math.inf
    with pytest.raises(NotFinite, match="critic_loss") as caught:
        agent.update(batch)
    assert "critic_loss" in caught.value.metrics and "actor_loss" not in caught.value.metrics
    after = agent.state_dict()
    for part in ("policy", "critic", "target_critic"):
        assert all(torch.equal(v, after[part][k]) for k, v in before[part].items())


def test_presets_say_what_they_are_named_after() -> None:
    def conf(words: list[str]) -> SacConf:
        return compose(STEPS["train"], ["name=x", *words]).agent

    ours, hilserl, rlpd = conf([]), conf(["agent=hilserl"]), conf(["agent=rlpd"])
    assert ours == SacConf()
    original = {
        "hidden": [256, 256], "activation": "tanh", "critics": 2, "target_critics": 2, "actor_q": "mean",
        "discount": 0.97, "tau": 0.005, "lr": 3e-4, "temperature": 0.01, "target_entropy": None, "n_step": 1,
        "backup_entropy": False, "target_encoder": True, "clip_target": False, "imitation_weight": 0.0,
        "imitation_end": 0.0, "imitation_filter": False, "mc_floor": False, "gripper_penalty": 0.02,
    }  # fmt: skip
    assert {k: getattr(hilserl, k) for k in original} == original
    assert {k: getattr(rlpd, k) for k in original} == original | {"critics": 10}


@pytest.mark.slow
def test_sac_solves_a_line_and_its_gripper() -> None:
    """One step: go to the goal and close the gripper left of the middle, open it right of it."""
    torch.manual_seed(0)
    spec = tiny_spec(states=1, actions=2)
    spec.action.gripper = GripperFormat.discrete3
    conf = SacConf(hidden=[64, 64], lr=1e-3, clip_target=False, gripper_penalty=0.0)
    agent = SacAgent(Policy(conf, EncoderConf(name="none"), spec), conf, RewardSpec(source="env"), 1)
    rng = np.random.default_rng(0)
    for _ in range(1500):
        state = rng.uniform(-1, 1, (64, 1)).astype(np.float32)
        action = rng.uniform(-1, 1, (64, 1)).astype(np.float32)
        command = rng.integers(-1, 2, (64, 1)).astype(np.float32)
        reward = -np.abs(action - state)[:, 0] + (command == np.sign(state))[:, 0]
        agent.update(
            Batch(
                {STATE_KEY: torch.from_numpy(state)},
                torch.from_numpy(np.concatenate([action, command], axis=1)),
                torch.from_numpy(reward.astype(np.float32)),
                {STATE_KEY: torch.from_numpy(state)},
                torch.zeros(64),
                torch.zeros(64, dtype=torch.bool),
            )
        )
    wrong = 0
    for x in np.linspace(-0.8, 0.8, 9):
        if abs(x) < 0.1:
            continue
        action = agent.policy.act({STATE_KEY: np.array([x], np.float32)})
        assert abs(action[0] - x) < 0.25
        wrong += action[1] != np.sign(x)
    assert wrong == 0
