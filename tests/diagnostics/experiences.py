"""Experience made by hand: who acted in each step, and states around a place."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hiltk.data.episode import Episode, Source
from hiltk.diagnostics.experience import Experience, of_episodes
from hiltk.spec import STATE_KEY, Stats
from tests.conftest import build_episode, build_spec

SPEC = build_spec()
PLAIN = Stats([0.0] * 18, [1.0] * 18, [-1.0] * 18, [1.0] * 18)


def online_episode(pattern: str, *, success: bool = False, seed: int = 0, terminal: bool = False) -> Episode:
    """An episode of training: ``p`` a step of the policy, ``h`` one of the human."""
    episode = build_episode(SPEC, len(pattern), seed, success=success)
    human = np.array([c == "h" for c in pattern])
    source = np.where(human, Source.human, Source.policy)
    ends = {"terminated": success or terminal, "truncated": not (success or terminal)}
    return replace(episode, source=source, is_intervention=human, **ends)  # type: ignore[arg-type]


def of(*episodes: Episode) -> Experience:
    return of_episodes(episodes, SPEC)


def noise(count: int, length: int, *, offset: float = 0.0, between: float = 1.0, seed: int = 0) -> Experience:
    """Episodes whose frames lie close together, each around a place of its own: near-copies, as frames are."""
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        episode = build_episode(SPEC, length)
        states = offset + between * rng.normal(size=(1, 18)) + 0.05 * rng.normal(size=(length + 1, 18))
        made.append(replace(episode, observations={STATE_KEY: states.astype(np.float32)}))
    return of(*made)
