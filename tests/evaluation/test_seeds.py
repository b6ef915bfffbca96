from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hiltk.evaluation.seeds import EVALUATION_SEEDS_FROM, attempt_seed, episode_seeds


@given(st.integers(0, 2**31), st.sampled_from(["all", "near", "far", ""]), st.integers(1, 300))
def test_seeds_are_distinct_reproducible_and_beyond_32_bits(seed: int, stratum: str, episodes: int) -> None:
    seeds = episode_seeds(seed, stratum, episodes)
    assert len(set(seeds)) == episodes
    assert seeds == episode_seeds(seed, stratum, episodes)
    assert min(seeds) >= EVALUATION_SEEDS_FROM > np.iinfo(np.uint32).max


def test_a_longer_run_begins_with_the_shorter_one() -> None:
    assert episode_seeds(0, "far", 200)[:40] == episode_seeds(0, "far", 40)


def test_strata_and_run_seeds_have_episodes_of_their_own() -> None:
    sets = [set(episode_seeds(seed, stratum, 200)) for seed in (0, 1, 2) for stratum in ("near", "far", "yaw")]
    assert len(set.union(*sets)) == sum(map(len, sets))


def test_training_seeds_cannot_reach_evaluation() -> None:
    from hiltk.learning.loop import episode_seed

    assert max(episode_seed(seed, episode) for seed in range(3) for episode in range(200)) < EVALUATION_SEEDS_FROM


def test_a_recording_s_attempts_start_as_they_always_did() -> None:
    """Datasets are played again from these, so they may never change."""
    assert [attempt_seed(seed, attempt) for seed, attempt in ((0, 0), (0, 1), (1000, 0))] == [
        3935637600,
        937340616,
        3259001180,
    ]
