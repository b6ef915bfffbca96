"""Seeds of episodes: recording's, apart from training's; evaluation's, apart from both, the same for every policy."""

from __future__ import annotations

from zlib import crc32

import numpy as np

# Recording and training draw 32-bit seeds; evaluation starts above all of them.
EVALUATION_SEEDS_FROM = 2**32


def attempt_seed(run_seed: int, attempt: int) -> int:
    """The seed of one attempt of a recording, of a stream apart from the one training draws from."""
    return int(np.random.SeedSequence([run_seed, attempt, crc32(b"record")]).generate_state(1)[0])


def episode_seeds(run_seed: int, stratum: str, episodes: int) -> list[int]:
    """One environment seed per episode, from 2^32 up: consecutive from a start drawn from run seed and stratum.

    So they are distinct within a stratum, the first 40 of 200 are those of a run of 40, and they do not depend on
    the policy or on which other strata are evaluated.
    """
    start = np.random.SeedSequence([run_seed, crc32(stratum.encode())]).generate_state(1)[0]
    first = EVALUATION_SEEDS_FROM + int(start)
    return [first + episode for episode in range(episodes)]
