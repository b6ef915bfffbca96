"""What several steps share."""

from __future__ import annotations

import pytest
import torch

from hiltk.agents.make import build_policy
from hiltk.config.groups import EncoderConf, SacConf
from hiltk.data.replay import store_episodes
from hiltk.data.statistics import vector_stats
from hiltk.spec import STATE_KEY
from hiltk.steps.common import say_how_long, split_by_episode
from tests.conftest import build_episode, build_spec


@pytest.mark.parametrize(("count", "held_out", "expected"), [(10, 0.2, 2), (10, 0.01, 1), (3, 0.99, 2), (1, 0.5, 0)])
def test_no_episode_is_both_trained_on_and_held_out(count: int, held_out: float, expected: int) -> None:
    train, test = split_by_episode(count, held_out, seed=3)
    assert len(test) == expected
    assert sorted(train + test) == list(range(count))


@pytest.mark.parametrize(("size", "said"), [(16, False), (160, True)])
def test_large_pictures_are_said_to_take_long(size: int, said: bool, capsys: pytest.CaptureFixture[str]) -> None:
    spec = build_spec(size)
    episode = build_episode(spec, length=6)
    spec.stats[STATE_KEY] = vector_stats(episode.observations[STATE_KEY], spec.state.dims, "six steps")
    policy = build_policy(SacConf(hidden=[8]), EncoderConf(channels=[4], kernels=[3], strides=[4], features=8), spec)
    before, drawn = {k: v.clone() for k, v in policy.state_dict().items()}, torch.random.get_rng_state()
    say_how_long(policy, store_episodes([episode]), batch_size=4, updates=1000)
    output = " ".join(capsys.readouterr().out.split())
    assert ("pictures of 160 x 160" in output and "foreign.image_height=64" in output) is said
    assert torch.equal(torch.random.get_rng_state(), drawn) and all(p.grad is None for p in policy.parameters())
    assert all(torch.equal(value, before[key]) for key, value in policy.state_dict().items())
