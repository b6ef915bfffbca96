"""The networks of the actor and the critics. Shapes: B batch, F features, A action dimensions, E ensemble.

What they hand out is float32, whatever they compute in (`hiltk.agents.compute`).
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hiltk.agents.encoders import Encoder
from hiltk.spec import STATE_KEY, Stats

LOG_STD_MIN, LOG_STD_MAX = -5.0, 1.0
Observations = dict[str, Tensor]
ACTIVATIONS: dict[str, type[nn.Module]] = {"tanh": nn.Tanh, "relu": nn.ReLU, "silu": nn.SiLU}


def mlp(inputs: int, hidden: list[int], outputs: int, activation: str) -> nn.Sequential:
    """Linear, LayerNorm and activation per hidden layer, then a plain linear output (HIL-SERL's MLP)."""
    layers: list[nn.Module] = []
    for width in hidden:
        layers += [
            nn.Linear(inputs, width),
            nn.LayerNorm(width),
            ACTIVATIONS[activation](),
        ]
        inputs = width
    return nn.Sequential(*layers, nn.Linear(inputs, outputs))


class StateNormalizer(nn.Module):
    """Proprioception (B, D) in the spec's units to zero mean and unit variance, clipped to +-8."""

    mean: Tensor
    std: Tensor

    def __init__(self, stats: Stats) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(stats.mean, dtype=torch.float32))
        self.register_buffer("std", torch.tensor(stats.std, dtype=torch.float32))

    def forward(self, state: Tensor) -> Tensor:
        return ((state - self.mean) / self.std).clamp(-8, 8)


class Torso(nn.Module):
    """Observation to features (B, F): normalised proprioception beside the encoder's image features.

    The state goes through a layer of its own first where the encoder asks for one (`Encoder.state_features`).
    """

    def __init__(self, encoder: Encoder, stats: Stats) -> None:
        super().__init__()
        self.encoder = encoder
        self.normalize = StateNormalizer(stats)
        size, width = len(stats.mean), encoder.state_features
        self.embed_state = nn.Sequential(nn.Linear(size, width), nn.LayerNorm(width), nn.Tanh()) if width else None
        self.out_features: int = (width or size) + encoder.out_features

    def forward(self, observation: Observations) -> Tensor:
        state = self.normalize(observation[STATE_KEY])
        if self.encoder.out_features == 0:
            return state
        if self.embed_state is not None:
            state = self.embed_state(state)
        return torch.cat([state, self.encoder(observation)], dim=-1).float()


class GaussianActor(nn.Module):
    """A Gaussian squashed by tanh into [-1, 1] (Haarnoja et al. 2018, appendix C)."""

    def __init__(self, features: int, actions: int, hidden: list[int], activation: str) -> None:
        super().__init__()
        self.trunk = mlp(features, hidden, 2 * actions, activation)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log standard deviation before the squashing, (B, A) each."""
        mean, log_std = self.trunk(features).float().chunk(2, dim=-1)
        return mean, log_std.clamp(LOG_STD_MIN, LOG_STD_MAX)

    def mode(self, features: Tensor) -> Tensor:
        """The deterministic action tanh(mean) (B, A)."""
        return torch.tanh(self(features)[0])

    def sample(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """A reparametrised action (B, A) and its log-probability (B,)."""
        mean, log_std = self(features)
        raw = mean + torch.randn_like(mean) * log_std.exp()
        return torch.tanh(raw), squashed_log_prob(mean, log_std, raw)

    def log_prob(self, features: Tensor, action: Tensor) -> Tensor:
        """Log-likelihood (B,) of given actions; clamped just inside [-1, 1], where the density is finite."""
        mean, log_std = self(features)
        raw = torch.atanh(action.clamp(-0.999, 0.999))
        return squashed_log_prob(mean, log_std, raw)


def squashed_log_prob(mean: Tensor, log_std: Tensor, raw: Tensor) -> Tensor:
    """log pi(tanh(raw)): the Gaussian's density less the log-determinant of tanh, (B,).

    log(1 - tanh(x)^2) is written as 2 (log 2 - x - softplus(-2x)), which does not underflow.
    """
    gaussian = -0.5 * ((raw - mean) / log_std.exp()) ** 2 - log_std - 0.5 * math.log(2 * math.pi)
    jacobian = 2 * (math.log(2) - raw - F.softplus(-2 * raw))
    return (gaussian - jacobian).sum(-1)


class EnsembleLinear(nn.Module):
    """E independent linear layers as one batched product: (E, B, in) to (E, B, out)."""

    def __init__(self, members: int, inputs: int, outputs: int) -> None:
        super().__init__()
        bound = 1 / math.sqrt(inputs)
        self.weight = nn.Parameter(torch.empty(members, inputs, outputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(members, 1, outputs))

    def forward(self, x: Tensor) -> Tensor:
        return torch.baddbmm(self.bias, x, self.weight)


class EnsembleLayerNorm(nn.Module):
    """LayerNorm with a scale and shift of its own for each member."""

    def __init__(self, members: int, width: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(members, 1, width))
        self.shift = nn.Parameter(torch.zeros(members, 1, width))

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, x.shape[-1:]) * self.scale + self.shift


class CriticEnsemble(nn.Module):
    """E critics Q(features, action), evaluated together: output (E, B)."""

    def __init__(
        self,
        members: int,
        features: int,
        actions: int,
        hidden: list[int],
        activation: str,
    ) -> None:
        super().__init__()
        self.members = members
        layers: list[nn.Module] = []
        inputs = features + actions
        for width in hidden:
            layers += [
                EnsembleLinear(members, inputs, width),
                EnsembleLayerNorm(members, width),
                ACTIVATIONS[activation](),
            ]
            inputs = width
        self.trunk = nn.Sequential(*layers, EnsembleLinear(members, inputs, 1))

    def forward(self, features: Tensor, action: Tensor) -> Tensor:
        x = torch.cat([features, action], dim=-1).expand(self.members, -1, -1)
        return self.trunk(x).squeeze(-1).float()
