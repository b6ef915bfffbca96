from __future__ import annotations

import hashlib

from tests.benchmarks.claim_seeds import HIGHEST, LOWEST, claim_seeds


def test_the_first_seed_by_hand() -> None:
    number = int(hashlib.sha256(b"abc quickstart 0").hexdigest()[:16], 16)
    assert claim_seeds("abc", 1) == [10 + number % 99_990]


def test_every_commit_and_claim_draws_its_own_and_always_the_same() -> None:
    seeds = claim_seeds("abc", 10)
    assert seeds == claim_seeds("abc", 10) == claim_seeds("abc", 12)[:10]
    assert len(set(seeds)) == 10 and all(LOWEST <= seed <= HIGHEST for seed in seeds)
    assert not set(seeds) & set(claim_seeds("abd", 10)) and not set(seeds) & set(claim_seeds("abc", 10, "lift"))
