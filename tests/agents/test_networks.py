from __future__ import annotations

import pytest
import torch
from torch.distributions import Normal, TanhTransform, TransformedDistribution

from hiltk.agents.networks import (
    CriticEnsemble,
    GaussianActor,
    StateNormalizer,
    mlp,
    squashed_log_prob,
)
from hiltk.spec import Stats


def test_the_squashed_density_agrees_with_torchs_own() -> None:
    mean, log_std, raw = torch.randn(5, 3), torch.randn(5, 3) * 0.3, torch.randn(5, 3)
    reference = TransformedDistribution(Normal(mean, log_std.exp()), [TanhTransform()])
    expected = reference.log_prob(torch.tanh(raw)).sum(-1)
    assert torch.allclose(squashed_log_prob(mean, log_std, raw), expected, atol=1e-4)


def test_the_density_at_zero_by_hand() -> None:
    # A standard normal at 0 has log-density -0.9189385; tanh has slope 1 there.
    zero = torch.zeros(1, 2)
    assert squashed_log_prob(zero, zero, zero).item() == pytest.approx(2 * -0.9189385, abs=1e-5)


def test_actions_at_the_edge_have_a_finite_likelihood() -> None:
    actor = GaussianActor(3, 2, [8], "tanh")
    assert torch.isfinite(actor.log_prob(torch.randn(4, 3), torch.tensor([[1.0, -1.0]] * 4))).all()


def test_the_mode_is_the_squashed_mean() -> None:
    actor = GaussianActor(3, 2, [8], "relu")
    features = torch.randn(4, 3)
    assert torch.equal(actor.mode(features), torch.tanh(actor(features)[0]))


def test_each_critic_is_the_plain_network_it_stands_for() -> None:
    critic = CriticEnsemble(3, 4, 2, [8, 8], "tanh")
    features, action = torch.randn(5, 4), torch.randn(5, 2)
    together = critic(features, action)
    for k in range(3):
        single = mlp(6, [8, 8], 1, "tanh")
        parameters = list(critic.trunk.parameters())
        with torch.no_grad():
            for own, shared in zip(single.parameters(), parameters, strict=True):
                own.copy_(shared[k].T if own.ndim == 2 else shared[k].reshape(own.shape))
        assert torch.allclose(
            together[k],
            single(torch.cat([features, action], -1)).squeeze(-1),
            atol=1e-5,
        )


def test_states_are_normalised_and_clipped() -> None:
    normalise = StateNormalizer(Stats(mean=[10.0, 0.0], std=[2.0, 1.0]))
    assert normalise(torch.tensor([[14.0, -100.0]])).tolist() == [[2.0, -8.0]]
