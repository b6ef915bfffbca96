"""Behaviour cloning: its losses by hand, and problems it must solve."""

from __future__ import annotations

import math

import pytest
import torch

from hiltk.agents.bc import BehaviorCloning
from hiltk.agents.policy import Policy
from hiltk.config.groups import EncoderConf, SacConf
from hiltk.data.replay import Batch
from hiltk.spec import STATE_KEY, ActionSpec, Dimension, ImageSpec, Spec, StateSpec, Stats


def cloning(loss: str) -> BehaviorCloning:
    torch.manual_seed(0)
    spec = Spec(
        state=StateSpec([Dimension("s")]),
        action=ActionSpec([Dimension("a", low=-1, high=1)]),
        stats={STATE_KEY: Stats([0.0], [1.0])},
    )
    return BehaviorCloning(
        Policy(SacConf(hidden=[32, 32]), EncoderConf(name="none"), spec),
        lr=3e-3,
        loss=loss,
    )


def batch_of(states: torch.Tensor, actions: torch.Tensor) -> Batch:
    zeros = torch.zeros(len(states))
    return Batch({STATE_KEY: states}, actions, zeros, {STATE_KEY: states}, zeros, zeros.bool())


@pytest.mark.parametrize("loss", ["mean", "likelihood"])
def test_saturated_demonstrations_come_back_saturated(loss: str) -> None:
    """Fitting the mean before the tanh turned demonstrations at +-1 into +-0.76 (failures, S4)."""
    learner = cloning(loss)
    states = torch.linspace(-1, 1, 64)[:, None]
    actions = states.sign()
    for _ in range(400):
        learner.update(batch_of(states, actions))
    executed = learner.policy.actor.mode(learner.policy.torso({STATE_KEY: states}))
    clear = states.abs() > 0.2
    assert (executed - actions).abs()[clear].max() < 0.1


def test_the_mean_loss_is_the_squared_error_of_the_executed_action() -> None:
    learner = cloning("mean")
    states, actions = torch.randn(5, 1), torch.rand(5, 1)
    executed = learner.policy.actor.mode(learner.policy.torso({STATE_KEY: states}))
    expected = ((executed - actions) ** 2).mean()
    assert torch.allclose(learner.compute_loss(batch_of(states, actions)), expected)


def test_the_likelihood_loss_by_hand() -> None:
    """A standard normal before the tanh: at action tanh(0.5) 0.5 * 0.25 + 0.91894 + log(1 - tanh(0.5)^2) = 0.80377."""
    learner = cloning("likelihood")
    with torch.no_grad():
        for parameter in learner.policy.actor.trunk[-1].parameters():
            parameter.zero_()
    loss = learner.compute_loss(batch_of(torch.zeros(3, 1), torch.full((3, 1), math.tanh(0.5))))
    assert loss.item() == pytest.approx(0.125 + 0.918939 + math.log(1 - math.tanh(0.5) ** 2), abs=1e-5)


def test_held_out_batches_are_weighted_by_size() -> None:
    learner = cloning("mean")
    one, two = (
        batch_of(torch.zeros(1, 1), torch.zeros(1, 1)),
        batch_of(torch.ones(3, 1), torch.ones(3, 1)),
    )
    losses = [learner.compute_loss(b).item() for b in (one, two)]
    assert learner.evaluate([one, two]) == pytest.approx((losses[0] + 3 * losses[1]) / 4)


@pytest.mark.slow
def test_cloning_learns_to_point_at_what_it_sees() -> None:
    """Images only: the action says in which column a bright square stands; judged on squares in other rows."""
    torch.manual_seed(0)
    spec = Spec(
        state=StateSpec([Dimension("s")]),
        action=ActionSpec([Dimension("a", low=-1, high=1)]),
        images=[ImageSpec("wrist", 32, 32)],
        stats={STATE_KEY: Stats([0.0], [1.0])},
    )
    learner = BehaviorCloning(Policy(SacConf(hidden=[64, 64]), EncoderConf(), spec), lr=1e-3, loss="mean")

    def pictures(count: int, rows: range) -> Batch:
        columns = torch.randint(0, 25, (count,))
        frames = torch.zeros(count, 3, 32, 32, dtype=torch.uint8)
        for i, column in enumerate(columns.tolist()):
            row = rows[int(torch.randint(0, len(rows), ()))]
            frames[i, :, row : row + 8, column : column + 8] = 255
        batch = batch_of(torch.zeros(count, 1), (columns / 12 - 1)[:, None])
        batch.observation["observation.images.wrist"] = frames
        return batch

    for _ in range(400):
        learner.update(pictures(32, range(0, 25, 2)))
    tests = pictures(100, range(1, 24, 2))
    shown = learner.policy.actor.mode(learner.policy.torso(tests.observation))
    assert (shown - tests.action).abs().mean() < 0.08
