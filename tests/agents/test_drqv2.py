"""DrQ-v2's losses, targets and networks against numbers worked by hand, its frame stack, and learning to act."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from hiltk.agents.base import NotFinite
from hiltk.agents.bc import BehaviorCloning
from hiltk.agents.drqv2 import DrqAgent, DrqEncoder, DrqPolicy, truncated_noise
from hiltk.agents.encoders import FrameByFrame, build_encoder
from hiltk.agents.make import build_agent, build_policy, load_policy
from hiltk.config.commands import TrainConf
from hiltk.config.groups import DrqConf, EncoderConf, EnvConf, InterventionConf, SacConf, Schedule
from hiltk.data.episode import Source
from hiltk.data.replay import Batch, FrameStore, ReplaySampler, example_observation, to_batch
from hiltk.errors import ConfigError, UserError
from hiltk.humans.schedules import InterventionSchedule
from hiltk.learning.loop import Trainer
from hiltk.spec import STATE_KEY, ActionSpec, Dimension, ImageSpec, RewardSpec, Spec, StateSpec, Stats
from tests.learning.test_loop import SPEC, Guide, Line

TINY = DrqConf(hidden=[16, 16], bottleneck=8, frame_stack=2, noise="0.2", explore_steps=0)
CNN, NONE = EncoderConf(channels=[4], kernels=[3], strides=[4], features=6), EncoderConf(name="none")


def make_spec(states: int = 3, actions: int = 2, size: int = 0) -> Spec:
    return Spec(
        state=StateSpec([Dimension(f"s{i}") for i in range(states)]),
        action=ActionSpec([Dimension(f"a{i}", low=-1, high=1) for i in range(actions)]),
        images=[ImageSpec("wrist", size, size)] if size else [],
        stats={STATE_KEY: Stats([0.0] * states, [1.0] * states)},
    )


def make_agent(conf: DrqConf = TINY, size: int = 0, **changes: object) -> DrqAgent:
    torch.manual_seed(0)
    conf = replace(conf, **changes)  # type: ignore[arg-type]
    policy = build_policy(conf, EncoderConf() if size else NONE, make_spec(size=size))
    agent = build_agent(policy, conf, RewardSpec(), 50)
    assert isinstance(agent, DrqAgent)
    return agent


def make_batch(size: int = 6, pixels: int = 0, stack: int = 2, human: list[bool] | None = None) -> Batch:
    generator = torch.Generator().manual_seed(1)

    def observation() -> dict[str, torch.Tensor]:
        out = {STATE_KEY: torch.rand(size, 3 * stack, generator=generator) * 2 - 1}
        if pixels:
            shape = (size, 3 * stack, pixels, pixels)
            out["observation.images.wrist"] = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
        return out

    return Batch(
        observation=observation(),
        action=torch.rand(size, 2, generator=generator) * 2 - 1,
        reward=torch.zeros(size),
        next_observation=observation(),
        discount=torch.full((size,), 0.99**3),
        human=torch.tensor(human if human is not None else [False] * size),
    )


def count(*modules: nn.Module) -> int:
    return sum(p.numel() for m in modules for p in m.parameters())


class FixedCritic(nn.Module):
    """Two critics that answer with given constants."""

    def __init__(self, values: list[float]) -> None:
        super().__init__()
        self.values = values

    def forward(self, features: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
        return torch.tensor(self.values)[:, None].expand(-1, len(action))


class SumCritic(nn.Module):
    """Values that rise with the action's sum, in one critic twice as fast as in the other."""

    def forward(self, features: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
        return torch.stack([action.sum(-1), 2 * action.sum(-1)])


# ---------------------------------------------------------------- networks


def full_size(conf: DrqConf) -> DrqAgent:
    """18 numbers of state and one 84 x 84 camera, three frames each: 54 and 9 x 84 x 84."""
    policy = build_policy(conf, EncoderConf(), make_spec(states=18, actions=4, size=84))
    agent = build_agent(policy, conf, RewardSpec(), 50)
    assert isinstance(agent, DrqAgent)
    return agent


def test_parameter_counts_of_the_devlogs_variant() -> None:
    """Devlog 041: encoder 28.6 K per camera, actor 2.0 M, critic 4.1 M and its target, 10.3 M in all."""
    agent = full_size(DrqConf(layout="robobase", hidden=[256, 256]))
    encoder = 3 * 3 * 9 * 32 + 32 + 3 * (3 * 3 * 32 * 32 + 32)
    bottlenecks = (32 * 35 * 35 * 50 + 50 + 100) + (54 * 50 + 50 + 100)  # with the LayerNorm's 2 x 50
    actor = bottlenecks + (100 * 256 + 256) + (256 * 256 + 256) + (256 * 4 + 4)
    critic = 2 * (bottlenecks + (104 * 256 + 256) + (256 * 256 + 256) + (256 + 1))
    assert count(agent.policy.torso) == encoder == 30_368
    assert count(agent.policy.actor) == actor == 2_055_676
    assert count(agent.critic) == count(agent.target_critic) == critic == 4_111_858
    assert encoder + actor + 2 * critic == 10_309_760
    # The table's 28.6 K are those of a first layer that sees single frames.
    assert count(DrqEncoder([ImageSpec("wrist", 84, 84)], stack=1)) == 28_640


def test_parameter_counts_of_the_papers_networks() -> None:
    agent = full_size(DrqConf())
    trunk = 39_200 * 50 + 50 + 100
    assert agent.policy.torso.encoder.out_features == 32 * 35 * 35 == 39_200
    assert count(agent.policy.actor) == trunk + (104 * 1024 + 1024) + (1024 * 1024 + 1024) + (1024 * 4 + 4)
    assert count(agent.critic) == trunk + 2 * ((108 * 1024 + 1024) + (1024 * 1024 + 1024) + (1024 + 1))


def test_the_encoder_centres_bytes_and_keeps_cameras_in_order() -> None:
    images = [ImageSpec("wrist", 16, 16), ImageSpec("front", 20, 16)]
    encoder = DrqEncoder(images, stack=2)
    assert encoder.out_features == 32 * 1 * 1 + 32 * 3 * 1
    frames = {i.key: torch.randint(0, 256, (2, 6, i.height, i.width), dtype=torch.uint8) for i in images}
    out = encoder(frames)
    alone = encoder.trunks[1](frames[images[1].key].float() / 255 - 0.5)
    assert torch.allclose(out[:, 32:], alone, atol=1e-5)


def test_weights_start_orthogonal() -> None:
    agent = make_agent()
    weight = agent.policy.actor.head[2].weight
    assert torch.allclose(weight @ weight.T, torch.eye(len(weight)), atol=1e-5)
    first = DrqEncoder([ImageSpec("wrist", 16, 16)], 1).trunks[0][0].weight.flatten(1)  # 32 filters of 27 numbers
    assert torch.allclose(first.T @ first, 2 * torch.eye(27), atol=1e-4)  # ReLU's gain squared
    assert all((p == 0).all() for n, p in agent.critic.named_parameters() if n.endswith("0.bias") and "heads" in n)


def test_other_encoders_see_frame_by_frame() -> None:
    images = [ImageSpec("wrist", 16, 16)]
    inner = build_encoder(CNN, images)
    frames = torch.randint(0, 256, (3, 6, 16, 16), dtype=torch.uint8)
    out = FrameByFrame(inner, images, stack=2)({images[0].key: frames})
    each = [inner({images[0].key: frames[:, k : k + 3]}) for k in (0, 3)]
    assert torch.allclose(out, torch.cat(each, -1), atol=1e-6)
    policy = build_policy(replace(TINY, own_encoder=False), CNN, make_spec(size=16))
    assert isinstance(policy, DrqPolicy) and policy.sizes == (6, 12)


def test_the_truncated_normal_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "randn_like", lambda x: torch.tensor([1.0, -4.0, 4.0, 4.0]))
    mean = torch.tensor([0.1, 0.0, 0.5, 0.9], requires_grad=True)
    # noise 0.2, -0.8, 0.8, 0.8; clipped at 0.3: 0.2, -0.3, 0.3, 0.3; the last sum is cut at the edge
    assert truncated_noise(mean, 0.2, 0.3).tolist() == pytest.approx([0.3, -0.3, 0.8, 1 - 1e-6])
    free = truncated_noise(mean, 0.2)
    assert free.tolist() == pytest.approx([0.3, -0.8, 1 - 1e-6, 1 - 1e-6])
    free.sum().backward()
    assert mean.grad is not None and mean.grad.tolist() == [1, 1, 1, 1]  # also where the edge cut


# ---------------------------------------------------------------- losses


def test_the_target_is_the_n_step_reward_plus_the_discounted_minimum() -> None:
    agent, batch = make_agent(), make_batch(3)
    agent.target_critic = FixedCritic([0.8, 0.5])
    batch.reward = torch.tensor([0.0, 1.0, 0.25])
    batch.discount = torch.tensor([0.99**3, 0.0, 0.99])  # three steps, a success, one step before control passes
    assert agent._td_target(batch).tolist() == pytest.approx([0.970299 * 0.5, 1.0, 0.25 + 0.495])


def test_targets_stay_inside_the_reward_bound_only_when_asked() -> None:
    for clip, expected in ((False, 0.970299 * 3), (True, 1.0)):
        agent = make_agent(clip_target=clip)
        agent.target_critic = FixedCritic([3.0, 4.0])
        assert agent._td_target(make_batch(2)).tolist() == pytest.approx([expected] * 2)


def test_the_target_takes_the_noisy_action_of_the_next_state() -> None:
    agent, batch = make_agent(noise_clip=0.05, noise="5.0"), make_batch(64)
    agent.target_critic = SumCritic()
    mean = agent.policy.actor.mode(agent.policy.torso(batch.next_observation))
    # Noise of 5 is nearly always cut to +-0.05 in each of two dimensions, so sums move by -0.1, 0 or 0.1.
    sums = agent._td_target(batch) / batch.discount
    sums = torch.where(sums < 0, sums / 2, sums)  # the minimum of s and 2 s
    moved = (sums - mean.sum(-1)).abs()
    assert moved.max() <= 0.1 + 1e-5 and (moved > 0.09).any()


def test_the_critic_loss_is_the_sum_of_both_mean_squares() -> None:
    agent, batch = make_agent(), make_batch(5)
    agent.target_critic = FixedCritic([0.25, 0.75])
    with torch.no_grad():
        q = agent.critic(agent.policy.torso(batch.observation), batch.action)
    wanted = 0.970299 * 0.25
    expected = ((q[0] - wanted) ** 2).mean() + ((q[1] - wanted) ** 2).mean()
    metrics = agent._update_critic(batch, agent.policy.torso(batch.observation))
    assert metrics["critic_loss"] == pytest.approx(expected.item(), rel=1e-5)
    assert metrics["target_mean"] == pytest.approx(wanted)


def test_the_actor_loss_is_minus_the_smaller_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "randn_like", torch.zeros_like)
    agent, batch = make_agent(), make_batch(8)
    agent.critic = SumCritic()  # type: ignore[assignment]
    features = agent.policy.torso(batch.observation)
    sums = agent.policy.actor.mode(features).sum(-1)
    expected = -torch.minimum(sums, 2 * sums).mean().item()
    assert agent._update_actor(batch, features)["actor_loss"] == pytest.approx(expected, rel=1e-4)


def test_imitation_counts_and_uses_human_rows_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "randn_like", torch.zeros_like)
    agent = make_agent(imitation_weight=2.0, imitation_end=1.0, imitation_steps=10)
    batch = make_batch(4, human=[True, False, True, False])
    features = agent.policy.torso(batch.observation)
    mean = agent.policy.actor.mode(features)
    error = (mean[[0, 2]] - batch.action[[0, 2]]).square().mean().item()
    value = agent.critic(features, mean).min(dim=0).values.mean().item()
    agent.updates = 5  # half way from 2 to 1
    metrics = agent._update_actor(batch, features)
    assert metrics["imitation_samples"] == 2 and metrics["imitation_weight"] == 1.5
    assert metrics["actor_loss"] == pytest.approx(-value + 1.5 * error, rel=1e-4, abs=1e-5)
    assert make_agent(imitation_weight=0.0)._imitation(batch, mean)[1] == 0


def test_the_encoder_learns_from_the_critic_alone() -> None:
    agent, batch = make_agent(size=16), make_batch(4, pixels=16)
    encoder = copy.deepcopy(agent.policy.torso.encoder.state_dict())
    agent._update_actor(batch, agent.policy.torso(batch.observation).detach())
    assert all(torch.equal(v, encoder[k]) for k, v in agent.policy.torso.encoder.state_dict().items())
    actor = copy.deepcopy(agent.policy.actor.state_dict())
    agent.update(batch, actor=False)
    assert any(not torch.equal(v, encoder[k]) for k, v in agent.policy.torso.encoder.state_dict().items())
    assert all(torch.equal(v, actor[k]) for k, v in agent.policy.actor.state_dict().items())


def test_the_target_moves_by_tau() -> None:
    agent = make_agent(tau=0.25)
    before = [p.clone() for p in agent.target_critic.parameters()]
    with torch.no_grad():
        for p in agent.critic.parameters():
            p += 1.0
    agent._update_targets()
    for old, new in zip(before, agent.target_critic.parameters(), strict=True):
        assert torch.allclose(new, old + 0.25)


def test_gradient_norms_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the actor's parameters in the actor's step; of the critics' and the encoder's in the critic's."""
    monkeypatch.setattr(torch, "randn_like", torch.zeros_like)
    agent, batch = make_agent(size=16), make_batch(4, pixels=16)
    other, torso = copy.deepcopy(agent), agent.policy.torso
    metrics = agent.update(batch)
    features = other.policy.torso(batch.observation)
    (other.critic(features, batch.action) - other._td_target(batch)).square().mean(dim=1).sum().backward()
    learned = [*other.critic.parameters(), *other.policy.torso.parameters()]
    norm = sum(p.grad.square().sum() for p in learned).sqrt().item()
    assert metrics["critic_gradient"] == pytest.approx(norm, rel=1e-4) and norm > 0
    assert metrics["actor_gradient"] > 0 and any(p.grad is not None for p in torso.parameters())


def test_a_step_ends_before_a_number_that_is_not_finite_spreads() -> None:
    agent, batch = make_agent(), make_batch(4)
    before = copy.deepcopy(agent.state_dict())
    batch.reward[1] = float("inf")
    with pytest.raises(NotFinite, match="critic_loss") as caught:
        agent.update(batch)
    assert "critic_loss" in caught.value.metrics and "actor_loss" not in caught.value.metrics
    for part in ("policy", "critic", "target_critic"):
        assert all(torch.equal(v, agent.state_dict()[part][k]) for k, v in before[part].items()), part


@pytest.mark.parametrize("layout", ["paper", "robobase"])
def test_state_round_trip_continues_bit_for_bit(layout: str) -> None:
    agent, batch = make_agent(size=16, layout=layout, noise="linear(1,0.1,10)"), make_batch(4, pixels=16)
    agent.policy.advance(5)
    agent.update(batch)
    saved = copy.deepcopy(agent.state_dict())
    other = make_agent(size=16, layout=layout, noise="linear(1,0.1,10)")
    other.update(make_batch(4, pixels=16))
    other.load_state_dict(saved)
    for one in (agent, other):
        torch.manual_seed(7)
        one.update(batch)
    assert other.updates == 2 and other.policy.std.item() == pytest.approx(0.55)
    for left, right in ((agent.policy, other.policy), (agent.target_critic, other.target_critic)):
        for (name, a), b in zip(left.state_dict().items(), right.state_dict().values(), strict=True):
            assert torch.equal(a, b), name


# ---------------------------------------------------------------- acting


def frame(value: float, size: int = 0) -> dict[str, np.ndarray]:
    out: dict[str, np.ndarray] = {STATE_KEY: np.full(3, value, np.float32)}
    if size:
        out["observation.images.wrist"] = np.full((size, size, 3), int(value * 10), np.uint8)
    return out


def test_acting_sees_the_stack_that_replay_will_show(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also at the start of an episode, and after steps on which the human acted."""
    policy = make_agent(size=16, frame_stack=3).policy
    seen: list[dict[str, torch.Tensor]] = []
    torso = policy.torso.forward
    monkeypatch.setattr(policy.torso, "forward", lambda o: (seen.append(o), torso(o))[1])
    store = FrameStore(50, frame(0, 16), 2)
    for episode in (0, 10):
        policy.reset()
        store.begin(frame(episode, 16))
        for t in range(5):
            now = frame(episode + t, 16)
            if t == 2:  # the human acts
                policy.observe(now)
            else:
                policy.act(now)
            store.add(np.zeros(2), 0, frame(episode + t + 1, 16), terminated=False, truncated=t == 4,
                      source=Source.human if t == 2 else Source.policy)  # fmt: skip
    rows = store.transitions()
    rows = rows[store.source[rows] == Source.policy]
    shown = to_batch(store.gather(rows, stack=3), 0, np.random.default_rng(0)).observation
    for key, value in shown.items():
        assert torch.equal(torch.cat([o[key] for o in seen]), value), key
    assert seen[0][STATE_KEY][0, ::3].tolist() == [0, 0, 0]
    assert seen[1][STATE_KEY][0, ::3].tolist() == [0, 0, 1]
    assert seen[2][STATE_KEY][0, ::3].tolist() == [1, 2, 3]  # what the human acted on is not lost
    assert seen[4][STATE_KEY][0, ::3].tolist() == [10, 10, 10]  # nothing of the episode before


def test_exploration_is_uniform_first_then_follows_the_schedule() -> None:
    policy = make_agent(noise="linear(1.0,0.1,100)", explore_steps=10).policy
    policy.advance(9)
    policy.reset()
    draws = np.array([policy.act(frame(0.1), deterministic=False) for _ in range(400)])
    assert abs(draws).max() <= 1 and draws.std() == pytest.approx(1 / 3**0.5, abs=0.05)
    policy.advance(50)
    assert policy.std.item() == pytest.approx(0.55)
    policy.advance(100)
    mean = policy.act(frame(0.1))
    draws = np.array([policy.act(frame(0.1), deterministic=False) for _ in range(600)])
    assert (draws - mean).std() == pytest.approx(0.1, abs=0.02)
    assert abs(draws - mean).max() > 0.2  # acting, the noise is not clipped


def test_a_saved_policy_acts_as_before(tmp_path: Path) -> None:
    policy = make_agent(size=16, layout="robobase").policy
    policy.advance(7)
    policy.save(tmp_path)
    again = load_policy(tmp_path)
    assert isinstance(again, DrqPolicy) and again.drq == policy.drq
    for t in range(3):
        assert np.array_equal(policy.act(frame(t, 16)), again.act(frame(t, 16)))
    with pytest.raises(UserError, match="does not fit"):
        make_agent(size=16).policy.load_weights(tmp_path)


def test_a_policy_can_normalise_as_a_snapshot_did() -> None:
    policy = make_agent(state_mean=[1.0, 2.0, 3.0], state_std=[2.0, 2.0, 2.0]).policy
    out = policy.torso({STATE_KEY: torch.tensor([[1.0, 2.0, 3.0, 3.0, 4.0, 5.0]])})
    assert out.tolist() == [[0, 0, 0, 1, 1, 1]]


# ---------------------------------------------------------------- configuration


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layout": "papre"}, "did you mean 'paper'"),
        ({"noise": "lots"}, "agent.noise"),
        ({"frame_stack": 0}, "at least 1"),
        ({"hidden": []}, "at least 1"),
        ({"state_mean": [1.0]}, "state_mean needs one number"),
        ({"name": "drq"}, "did you mean 'drqv2'"),
        ({"name": "sac"}, "has other settings"),
    ],
)
def test_contradictions_are_config_errors(change: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build_policy(replace(TINY, **change), NONE, make_spec())  # type: ignore[arg-type]


def test_an_encoder_that_would_not_be_used_is_refused() -> None:
    with pytest.raises(ConfigError, match="own_encoder=false uses encoder=resnet10"):
        build_policy(TINY, EncoderConf(name="resnet10"), make_spec(size=16))
    with pytest.raises(ConfigError, match="too small"):
        build_policy(TINY, EncoderConf(), make_spec(size=12))


def test_presets_by_situation() -> None:
    from hiltk.configuring.typed import compose
    from hiltk.verbs import STEPS

    initial = {}
    for name in ("", "_scratch", "_demos", "_pretrained", "_robobase"):
        conf = compose(STEPS["train"], ["name=x", f"agent=drqv2{name}"]).agent
        assert isinstance(conf, DrqConf)
        policy = build_policy(conf, NONE, make_spec())
        assert isinstance(policy, DrqPolicy)
        initial[name] = policy.schedule(0)
    assert initial[""] == initial["_scratch"] == 1.0
    assert 0.3 <= initial["_demos"] <= 0.5 and 0.1 <= initial["_pretrained"] == initial["_robobase"] <= 0.2
    assert compose(STEPS["bc-pretrain"], ["datasets=[d]", "name=x", "agent=drqv2"]).agent == DrqConf()
    assert isinstance(compose(STEPS["train"], ["name=x"]).agent, SacConf)


# ---------------------------------------------------------------- learning


@pytest.mark.parametrize("size", [0, 16])
def test_cloning_fits_the_action_it_executes(size: int) -> None:
    torch.manual_seed(0)
    policy = build_policy(TINY, EncoderConf() if size else NONE, make_spec(size=size))
    learner, batch = BehaviorCloning(policy, lr=3e-3, loss="mean"), make_batch(8, pixels=size)
    before = learner.evaluate([batch])
    for _ in range(150):
        learner.update(batch)
    assert learner.evaluate([batch]) < 0.05 * before
    with pytest.raises(ConfigError, match="loss=mean"):
        BehaviorCloning(policy, lr=1e-3, loss="likelihood").update(batch)


def make_trainer(folder: Path, conf: DrqConf, episodes: int, **changes: object) -> Trainer:
    """The real loop on a line with a goal, with a guide who takes over unless the schedule forbids it."""
    folder.mkdir(exist_ok=True)
    torch.manual_seed(0)
    schedule = InterventionConf(schedule=changes.pop("schedule", Schedule.brief), explore_steps=3, max_steps=2)  # type: ignore[arg-type]
    cfg = TrainConf(name="x", env=EnvConf(name="line"), agent=conf, episodes=episodes, utd=1.5, batch_size=16,
                    learning_starts=10, checkpoint_every=2)  # fmt: skip
    cfg = replace(cfg, **changes)  # type: ignore[arg-type]
    policy, env, example = build_policy(conf, NONE, copy.deepcopy(SPEC)), Line(), example_observation(SPEC)
    online = FrameStore(5000, example, 1, path=folder / "online", slack=50)
    return Trainer(
        env=env, human=Guide(env), schedule=InterventionSchedule(schedule, 0),
        agent=build_agent(policy, conf, RewardSpec(), 12), conf=cfg, folder=folder,
        sampler=ReplaySampler(FrameStore(1, example, 1), online, discount=0.99, pad=0, rng=np.random.default_rng(0),
                              n_step=conf.n_step, stack=conf.frame_stack),
    )  # fmt: skip


def test_a_run_continued_from_a_checkpoint_is_the_run_that_was_never_interrupted(tmp_path: Path) -> None:
    conf = replace(TINY, frame_stack=3, noise="linear(1.0,0.1,60)", explore_steps=15, imitation_weight=1.0)
    whole = make_trainer(tmp_path / "whole", conf, 8)
    rows = whole.run()
    make_trainer(tmp_path / "parts", conf, 4).run()
    parts = make_trainer(tmp_path / "parts", conf, 8, resume=True)
    again = parts.run()
    for ours, theirs in zip(again[4:], rows[4:], strict=True):
        assert all(ours[k] == v or np.isnan(v) for k, v in theirs.items() if k not in ("wall_s", "steps_per_s"))
    assert rows[-1]["imitation_samples"] > 0 and rows[-1]["noise"] < rows[2]["noise"]
    one, other = whole.agent.state_dict(), parts.agent.state_dict()
    for part in ("policy", "critic", "target_critic"):
        assert all(torch.equal(v, other[part][k]) for k, v in one[part].items()), part


def test_an_imitation_term_without_humans_is_not_silent(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_trainer(tmp_path, replace(TINY, imitation_weight=0.5), 8, schedule=Schedule.never).run()
    assert "guard imitation_inert: the imitation term has weight 0.5" in capsys.readouterr().out


def test_gradients_that_explode_trip_the_guard(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trainer = make_trainer(tmp_path, TINY, 12)
    update = trainer.agent.update

    def wild(batch: Batch, *, actor: bool) -> dict[str, float]:
        metrics = update(batch, actor=actor)
        return metrics | {"critic_gradient": metrics["critic_gradient"] * (1e4 if trainer.episode == 11 else 1)}

    trainer.agent.update = wild  # type: ignore[method-assign]
    rows = trainer.run()
    assert all(r["critic_gradient"] > 0 and r["actor_gradient"] > 0 for r in rows if "critic_loss" in r)
    assert "guard gradient: the norm of the critic's gradient" in capsys.readouterr().out


@pytest.mark.slow
def test_it_learns_to_point_at_what_it_sees() -> None:
    """One step, images only: the action is paid by its distance from where a bright square stands."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    conf = DrqConf(hidden=[64, 64], frame_stack=1, n_step=1, lr=1e-3, noise="0.3")
    spec = make_spec(states=1, actions=1, size=16)
    policy = build_policy(conf, EncoderConf(), spec)
    agent = build_agent(policy, conf, RewardSpec(source="env"), 1)

    def picture() -> tuple[dict[str, np.ndarray], float]:
        column = int(rng.integers(0, 13))
        image = np.zeros((16, 16, 3), np.uint8)
        image[6:10, column : column + 4] = 255
        return {STATE_KEY: np.zeros(1, np.float32), "observation.images.wrist": image}, column / 6 - 1

    def error() -> float:
        tests = [picture() for _ in range(50)]
        return float(np.mean([abs(float(policy.act(o)[0]) - where) for o, where in tests]))

    store = FrameStore(4000, picture()[0], 1)
    sampler = ReplaySampler(FrameStore(1, picture()[0], 1), store, discount=0.99, pad=0, rng=rng)
    before = error()
    for _ in range(1500):
        observation, where = picture()
        action = policy.act(observation, deterministic=False)
        store.begin(observation)
        store.add(action, -abs(float(action[0]) - where), observation, terminated=True, truncated=False,
                  source=Source.policy)  # fmt: skip
        if store.end > 128:
            agent.update(sampler.sample(64, 0.0))
    assert before > 0.3 and error() < 0.12


@pytest.mark.slow
def test_it_learns_to_reach_a_goal_with_stacked_frames(tmp_path: Path) -> None:
    """Through the real loop: steps of 0.2 to a goal, a reward of 1 at the end, three frames and three-step returns."""
    conf = DrqConf(hidden=[64, 64], lr=1e-3, noise="linear(1.0,0.2,1500)", explore_steps=300, clip_target=True)
    trainer = make_trainer(tmp_path, conf, 300, schedule=Schedule.never, utd=1, batch_size=128)
    env, policy = trainer.env, trainer.agent.policy
    rows = trainer.run()
    assert np.mean([r["success"] for r in rows[-50:]]) > 0.9
    assert np.mean([r["length"] for r in rows[-50:]]) < np.mean([r["length"] for r in rows[:25]])
    solved = []
    for seed in range(50):
        observation, _ = env.reset(seed=10_000 + seed)
        policy.reset()
        done = success = False
        while not done:
            observation, _, success, truncated, _ = env.step(policy.act(observation))
            done = success or truncated
        solved.append(success)
    assert np.mean(solved) > 0.95
