"""DrQ-v2: off-policy control from pixels with random shifts, n-step returns and scheduled noise.

Read beside: Yarats et al. 2021, "Mastering Visual Continuous Control" (arXiv 2107.09645), section 3. Shapes: B batch,
S state (stacked), V image features, A action dimensions.

What the paper lacks: proprioception (beside the image features, or in a bottleneck of its own), several cameras (one
encoder each, features side by side), and what human-in-the-loop training adds, off in the paper's configuration:
an imitation term on human transitions and targets clipped to the range the reward rule allows.

The replay sampler stacks frames, sums n-step rewards and shifts images (``hiltk.data.replay``).
"""

from __future__ import annotations

import copy
import itertools
from collections import deque

import numpy as np
import torch
from torch import Tensor, nn

from hiltk.agents.base import Agent, Metrics, descend
from hiltk.agents.encoders import ENCODERS, CnnEncoder, Encoder, FrameByFrame, build_encoder
from hiltk.agents.networks import Observations, Torso
from hiltk.agents.policy import Policy, to_tensors
from hiltk.agents.schedules import parse_schedule
from hiltk.arm.gripper import quantise
from hiltk.config.groups import DrqConf, EncoderConf
from hiltk.config.setting import require
from hiltk.data.replay import Batch
from hiltk.errors import ConfigError
from hiltk.limits import AT_LIMIT
from hiltk.observation import Observation
from hiltk.spec import STATE_KEY, ImageSpec, RewardSpec, Spec, Stats

CHANNELS, KERNEL, STRIDES = 32, 3, (2, 1, 1, 1)
EDGE = 1e-6  # actions stay this far inside [-1, 1]


# ---------------------------------------------------------------- networks


class DrqEncoder(CnnEncoder):
    """Four convolutions per camera on the stacked frames (section 3.1); 84 x 84 pixels become 32 x 35 x 35 features."""

    def __init__(self, images: list[ImageSpec], stack: int) -> None:
        nn.Module.__init__(self)
        self.keys, self.stack = [image.key for image in images], stack
        self.trunks = nn.ModuleList([_convolutions(3 * stack) for _ in images])
        self.out_features = sum(CHANNELS * _side(image.height) * _side(image.width) for image in images)
        self._checked = False


class Trunk(nn.Module):
    """What actor and critic make of the features (B, S + V) before their MLP; ``out_features`` wide.

    In the paper's layout images go through Linear, LayerNorm and tanh to ``bottleneck`` numbers, the state stays as it
    is. In RoboBase's (github.com/robobase-org/robobase, MLPWithBottleneckFeatures) the state has such a bottleneck too.
    """

    def __init__(self, state: int, visual: int, conf: DrqConf) -> None:
        super().__init__()
        self.sizes = [state, visual]
        self.visual = _bottleneck(visual, conf.bottleneck) if visual else None
        self.state = _bottleneck(state, conf.bottleneck) if conf.layout == "robobase" else None
        self.out_features = (conf.bottleneck if self.visual else 0) + (conf.bottleneck if self.state else state)

    def forward(self, features: Tensor) -> Tensor:
        state, visual = features.split(self.sizes, dim=-1)
        parts = [self.visual(visual)] if self.visual else []
        return torch.cat([*parts, self.state(state) if self.state else state], dim=-1)


class DrqActor(nn.Module):
    """The deterministic action tanh(MLP(trunk)) in [-1, 1]; noise is added outside."""

    def __init__(self, state: int, visual: int, actions: int, conf: DrqConf) -> None:
        super().__init__()
        self.trunk = Trunk(state, visual, conf)
        self.head = _mlp(self.trunk.out_features, conf.hidden, actions)
        self.apply(_orthogonal)

    def forward(self, features: Tensor) -> Tensor:
        return torch.tanh(self.head(self.trunk(features)).float())

    def mode(self, features: Tensor) -> Tensor:
        """The action (B, A) without noise."""
        return self(features)

    def log_prob(self, features: Tensor, action: Tensor) -> Tensor:
        """There is none to learn.

        Raises:
            ConfigError: always; the noise follows a schedule.
        """
        raise ConfigError("drqv2's actor has no spread that a likelihood could train", where="loss", fix="loss=mean")


class DrqCritic(nn.Module):
    """Two action values (2, B): two MLPs on one trunk (paper), or each with a trunk of its own (RoboBase)."""

    def __init__(self, state: int, visual: int, actions: int, conf: DrqConf) -> None:
        super().__init__()
        trunks = 2 if conf.layout == "robobase" else 1
        made = [Trunk(state, visual, conf) for _ in range(trunks)]
        self.trunks = nn.ModuleList(made)
        self.heads = nn.ModuleList([_mlp(made[0].out_features + actions, conf.hidden, 1) for _ in range(2)])
        self.apply(_orthogonal)

    def forward(self, features: Tensor, action: Tensor) -> Tensor:
        seen = [trunk(features) for trunk in self.trunks]
        pairs = zip(self.heads, itertools.cycle(seen), strict=False)
        return torch.stack([head(torch.cat([h, action], dim=-1)).squeeze(-1) for head, h in pairs]).float()


def truncated_noise(mean: Tensor, std: Tensor | float, clip: float | None = None) -> Tensor:
    """A sample of the truncated normal (section 3.1): noise cut at ``clip``, the sum kept inside [-1, 1].

    The gradient goes through to ``mean`` as if nothing had been cut off at the edge.
    """
    noise = torch.randn_like(mean) * std
    if clip is not None:
        noise = noise.clamp(-clip, clip)
    action = mean + noise
    return action + (action.clamp(-1 + EDGE, 1 - EDGE) - action).detach()


def _convolutions(channels: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for stride in STRIDES:
        layers += [nn.Conv2d(channels, CHANNELS, KERNEL, stride), nn.ReLU(inplace=True)]
        channels = CHANNELS
    trunk = nn.Sequential(*layers, nn.Flatten())
    trunk.apply(_orthogonal)
    return trunk.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def _side(pixels: int) -> int:
    """Height or width after the convolutions."""
    for stride in STRIDES:
        pixels = (pixels - KERNEL) // stride + 1
    if pixels < 1:
        raise ConfigError("images are too small for drqv2's encoder", where="image size", fix="at least 16 x 16")
    return pixels


def _bottleneck(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, outputs), nn.LayerNorm(outputs), nn.Tanh())


def _mlp(inputs: int, hidden: list[int], outputs: int) -> nn.Sequential:
    sizes = [inputs, *hidden]
    layers: list[nn.Module] = []
    for left, right in itertools.pairwise(sizes):
        layers += [nn.Linear(left, right), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(sizes[-1], outputs))


def _orthogonal(module: nn.Module) -> None:
    """Orthogonal weights, biases of zero; convolutions with ReLU's gain."""
    if isinstance(module, nn.Linear | nn.Conv2d):
        gain = nn.init.calculate_gain("relu") if isinstance(module, nn.Conv2d) else 1.0
        nn.init.orthogonal_(module.weight, gain)
        nn.init.zeros_(module.bias)  # type: ignore[arg-type]


# ---------------------------------------------------------------- policy


class DrqPolicy(Policy):
    """Encoder and actor, with the frames of the running episode that make up the stack.

    Args:
        agent: hyper-parameters.
        encoder: used where ``agent.own_encoder`` is off; ``none`` always means state only.
        spec: of single frames; stacking is this policy's own business.
    """

    actor: DrqActor  # type: ignore[assignment]
    std: Tensor

    def __init__(self, agent: DrqConf, encoder: EncoderConf, spec: Spec) -> None:
        self.drq, self.frame_stack = agent, agent.frame_stack
        super().__init__(agent, encoder, spec)
        self.schedule = parse_schedule(agent.noise, "agent.noise")
        # Saved with the weights: a stochastic evaluation acts as training did at its end.
        self.register_buffer("std", torch.tensor(self.schedule(0), dtype=torch.float32))
        self.uniform = False
        self._frames: deque[Observation] = deque(maxlen=agent.frame_stack)

    def _build(self, images: list[ImageSpec]) -> None:
        conf, stack = self.drq, self.frame_stack
        self.keys = [STATE_KEY, *(image.key for image in images)]
        if conf.own_encoder and images:
            encoder: Encoder = DrqEncoder(images, stack)
        else:
            encoder = build_encoder(self.encoder_conf, images)
            encoder = FrameByFrame(encoder, images, stack) if images else encoder
        self.torso = Torso(encoder, stacked_stats(self.spec.stats[STATE_KEY], conf))
        self.sizes = (self.torso.out_features - encoder.out_features, encoder.out_features)
        self.actor = DrqActor(*self.sizes, len(self.spec.action.dims), conf)

    def reset(self) -> None:
        self._frames.clear()

    def observe(self, observation: Observation) -> None:
        """Keep a frame; the first of an episode stands for those before it, as in the replay."""
        frame = {k: observation[k] for k in self.keys}
        self._frames.extend([frame] * (1 if self._frames else self.frame_stack))

    def advance(self, env_step: int) -> None:
        self.std.fill_(self.schedule(env_step))
        self.uniform = env_step < self.drq.explore_steps

    @torch.no_grad()
    def act(self, observation: Observation, deterministic: bool = True) -> np.ndarray:
        """The action (A,) float32 for the newest observation of the episode and those seen before it."""
        self.observe(observation)
        stacked = {k: np.concatenate([f[k] for f in self._frames], axis=-1)[None] for k in self.keys}
        return quantise(self.decide(to_tensors(stacked, self.device), deterministic)[0].cpu().numpy(), self.spec.action)

    def decide(self, observations: Observations, deterministic: bool = True) -> Tensor:
        action = self.actor.mode(self.torso(observations))
        if deterministic:
            return action
        return torch.rand_like(action) * 2 - 1 if self.uniform else truncated_noise(action, self.std)


def stacked_stats(stats: Stats, conf: DrqConf) -> Stats:
    """Statistics of the stacked state (S,).

    Raises:
        ConfigError: the configured ones are of a state of another size.
    """
    for key in ("state_mean", "state_std"):
        if len(getattr(conf, key)) not in (0, len(stats.mean)):
            raise ConfigError(f"{key} needs one number for each of {len(stats.mean)} dimensions", where=f"agent.{key}")
    mean, std = conf.state_mean or stats.mean, conf.state_std or stats.std
    return Stats(list(mean) * conf.frame_stack, list(std) * conf.frame_stack)


# ---------------------------------------------------------------- agent


class DrqAgent(Agent):
    """Actor, critic, target critic and their optimizers; `Agent` says what it takes."""

    policy: DrqPolicy
    conf: DrqConf
    critic: DrqCritic

    def __init__(self, policy: DrqPolicy, conf: DrqConf, reward: RewardSpec, horizon: int) -> None:
        super().__init__(policy, conf, reward, horizon)
        self.critic = DrqCritic(*policy.sizes, self.arm, conf).to(policy.device)
        self.target_critic = copy.deepcopy(self.critic).requires_grad_(False)
        # The encoder learns from the critic's loss alone; there is no target encoder.
        seeing = [p for p in policy.torso.parameters() if p.requires_grad]
        self.critic_optimizer = torch.optim.Adam([*self.critic.parameters(), *seeing], lr=conf.lr, fused=True)
        self.actor_optimizer = torch.optim.Adam(policy.actor.parameters(), lr=conf.lr, fused=True)

    def _update_critic(self, batch: Batch, features: Tensor) -> Metrics:
        """Equation 1: the squared errors of both critics, added."""
        target = self._td_target(batch)
        q = self.critic(features, batch.action)  # (2, B)
        loss = (q - target).square().mean(dim=1).sum()
        metrics = {
            "critic_loss": loss.item(),
            "q_mean": q.mean().item(),
            "q_max": q.max().item(),
            "target_mean": target.mean().item(),
        }
        descend(self.critic_optimizer, loss, metrics, "critic_gradient")
        return metrics

    @torch.no_grad()
    def _td_target(self, batch: Batch) -> Tensor:
        """Equation 2: n-step reward + discount^n * min of the target critics at the noisy next action; (B,)."""
        following = self.policy.torso(batch.next_observation)
        action = truncated_noise(self.policy.actor.mode(following), self.policy.std, self.conf.noise_clip)
        target = batch.reward + batch.discount * self.target_critic(following, action).min(dim=0).values
        return target.clamp(self.q_low, self.q_high) if self.conf.clip_target else target

    def _update_actor(self, batch: Batch, features: Tensor) -> Metrics:
        """Equation 3: raise the smaller critic's value of the noisy action; plus imitation of humans, if any."""
        mean = self.policy.actor.mode(features)
        action = truncated_noise(mean, self.policy.std, self.conf.noise_clip)
        imitation, samples = self._imitation(batch, mean)
        weight = self.imitation_weight
        loss = -self.critic(features, action).min(dim=0).values.mean() + weight * imitation
        metrics = {
            "actor_loss": loss.item(),
            "imitation_loss": imitation.item(),
            "imitation_samples": float(samples),
            "imitation_weight": weight,
            "noise": self.policy.std.item(),
            "saturation": (mean.detach().abs() > AT_LIMIT).float().mean().item(),
        }
        descend(self.actor_optimizer, loss, metrics, "actor_gradient")
        return metrics

    def _imitation(self, batch: Batch, mean: Tensor) -> tuple[Tensor, int]:
        """Squared error of the action without noise on human transitions, and how many there were."""
        samples = int(batch.human.sum())
        if samples == 0 or self.imitation_weight == 0:
            return mean.new_zeros(()), 0
        return (mean[batch.human] - batch.action[batch.human]).square().mean(), samples


def check_drq(conf: DrqConf, encoder: EncoderConf) -> None:
    """Refuse settings that this agent cannot have, or an encoder that it would not use.

    Raises:
        ConfigError: naming the key and what it may be.
    """
    parse_schedule(conf.noise, "agent.noise")
    for key, fits, meaning in (
        ("frame_stack", conf.frame_stack >= 1, "at least 1"),
        ("bottleneck", conf.bottleneck >= 1, "at least 1"),
    ):
        require(fits, f"agent.{key}", getattr(conf, key), meaning)
    harmless = {EncoderConf.name, *(name for name, row in ENCODERS.items() if not row.sees)}
    if conf.own_encoder and encoder.name not in harmless:
        raise ConfigError(
            f"agent=drqv2 brings its own encoder; encoder={encoder.name} would not be used",
            where="agent.own_encoder",
            fix=f"agent.own_encoder=false uses encoder={encoder.name}",
        )
