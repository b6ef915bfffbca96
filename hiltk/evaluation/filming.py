"""Choosing episodes to show, and filming them after the fact so that evaluation itself renders no more than it must."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from hiltk.envs.base import HilEnv
from hiltk.evaluation.rollouts import Actor, EpisodeResult, ReplayedActions, run_episode
from hiltk.evaluation.videos import Film


def examples(episodes: pd.DataFrame, count: int) -> pd.DataFrame:
    """Up to ``count`` successes and ``count`` failures of one policy, from as many strata as possible."""
    turn = episodes.groupby(["stratum", "success"]).cumcount()
    in_turns = episodes.assign(turn=turn).sort_values(["success", "turn"], ascending=[False, True], kind="stable")
    return in_turns.groupby("success", sort=False).head(count).drop(columns="turn")


def film_examples(
    env: HilEnv, film_env: HilEnv, policy: Actor, chosen: pd.DataFrame, *, label: str, deterministic: bool
) -> Iterator[Film]:
    """Film episodes that were evaluated before.

    The policy acts in ``env``, as in the evaluation; its actions are then replayed in ``film_env``. Should that
    not end the same way (other cameras may disturb a stochastic environment), the policy's own view is filmed.
    """
    for row in chosen.itertuples(index=False):
        title = f"{label}  {row.stratum.replace('_', ' ')}".rstrip()
        own = Film(title, env.io_spec.fps)
        seen = run_episode(
            env,
            policy,
            seed=int(row.seed),
            stratum=row.stratum,
            deterministic=deterministic,
            film=own if env.io_spec.images else None,
        )
        film = Film(title, env.io_spec.fps)
        replay = ReplayedActions(seen.actions, policy.spec)
        shown = run_episode(film_env, replay, seed=seen.seed, stratum=seen.stratum, film=film)
        if _same(seen, shown):
            yield film
        elif own.views:
            yield own


def _same(first: EpisodeResult, second: EpisodeResult) -> bool:
    return (first.success, first.steps) == (second.success, second.steps)
