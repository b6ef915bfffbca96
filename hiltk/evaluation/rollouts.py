"""Running a policy and counting how often it succeeds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

import numpy as np
import pandas as pd

from hiltk.envs.base import HilEnv, Info
from hiltk.errors import UserError
from hiltk.evaluation.seeds import episode_seeds
from hiltk.observation import Observation
from hiltk.spec import JOINT_PARTS, STATE_KEY, Spec, require_compatible, say_what_differs

EPISODE_COLUMNS = ["seed", "episode", "stratum", "success", "steps", "return"]
AT_RESET = "success_at_reset"  # a column besides; evaluations of older versions lack it


class Actor(Protocol):
    """What an evaluation needs of a policy."""

    spec: Spec

    def act(self, observation: Observation, deterministic: bool = True) -> np.ndarray: ...


@runtime_checkable
class Remembers(Protocol):
    """A policy with a memory, e.g. of stacked frames, which has to be told when an episode begins."""

    def reset(self) -> None: ...


class OnObservation(Protocol):
    """Told of every observation of an episode, the first included, while it is filmed."""

    def __call__(self, observation: Observation, *, step: int, success: bool) -> None: ...


@dataclass(frozen=True)
class EpisodeResult:
    """How one episode went.

    Attributes:
        success: the environment's own predicate held, or a person said so; a reward classifier has no say here.
        steps: control steps until success or the end.
        total_reward: undiscounted sum.
        at_reset: the predicate was true before anything was done, so that success says nothing of the policy.
        actions: (steps, A) float32, as the policy gave them.
    """

    seed: int
    stratum: str
    success: bool
    steps: int
    total_reward: float
    at_reset: bool
    actions: np.ndarray


class ReplayedActions:
    """Stands in for a policy by repeating the actions of an episode: the same motion, seen by other cameras.

    Should the episode go on for longer than it did, it holds still.
    """

    def __init__(self, actions: np.ndarray, spec: Spec) -> None:
        self.spec = replace(spec, images=[])
        self._remaining = iter(actions)

    def act(self, observation: Observation, deterministic: bool = True) -> np.ndarray:
        return next(self._remaining, np.zeros(len(self.spec.action.dims), np.float32))


def run_episode(
    env: HilEnv,
    policy: Actor,
    *,
    seed: int,
    stratum: str,
    deterministic: bool = True,
    film: OnObservation | None = None,
    verdict: Callable[[Info], bool] | None = None,
) -> EpisodeResult:
    """Let a policy act until success or the end of the episode.

    Args:
        env: with the success rule applied, i.e. what `make_env` returns.
        seed: of the environment and, for a stochastic policy, of its samples.
        stratum: where to spawn; empty leaves it to the environment.
        film: sees every observation.
        verdict: says at the end, from the last ``info``, whether it succeeded; None: the environment knows at each
            step, and its first success ends the episode.

    Raises:
        UserError: the policy returned an action that is not finite, or the environment cannot judge success.
    """
    if not deterministic:
        _seed_sampling(seed)
    options = {"stratum": stratum} if stratum else {}
    keys = [STATE_KEY, *policy.spec.image_keys]
    observation, info = env.reset(seed=seed, options=options)
    if isinstance(policy, Remembers):
        policy.reset()
    at_reset = bool(info.get("success_now", False))
    actions: list[np.ndarray] = []
    total, ended, success = 0.0, False, False
    if film:
        film(observation, step=0, success=False)
    while not (ended or success):
        action = policy.act({k: observation[k] for k in keys}, deterministic)
        if not np.isfinite(action).all():
            raise UserError("the policy's action is not finite", where=f"seed {seed}, step {len(actions)}")
        observation, reward, terminated, truncated, info = env.step(action)
        actions.append(action)
        total += float(reward)
        ended = terminated or truncated
        if verdict is None:
            success = true_success(info)
        elif ended:
            success = verdict(info)
        if film:
            film(observation, step=len(actions), success=success)
    return EpisodeResult(seed, stratum, success, len(actions), total, at_reset, np.asarray(actions, np.float32))


def true_success(info: Info) -> bool:
    """The environment's own verdict.

    Raises:
        UserError: it has none.
    """
    verdict = info.get("true_success")
    if verdict is None:
        raise UserError(
            "this environment cannot tell success by itself, so there is nothing to evaluate against",
            where="info['true_success'] is missing",
            fix="for a Gymnasium environment set env.success_key",
        )
    return bool(verdict)


def evaluate(
    env: HilEnv,
    policy: Actor,
    strata: Sequence[str],
    episodes: int,
    seed: int,
    deterministic: bool = True,
    progress: Callable[[EpisodeResult], Any] | None = None,
    film: Callable[[str], OnObservation | None] = lambda stratum: None,
) -> pd.DataFrame:
    """Run ``episodes`` episodes in each stratum, on seeds that depend on ``seed`` and the stratum only.

    Args:
        film: of a stratum's next episode, where that has to be made while it is played.

    Returns:
        One row per episode: seed, episode (within its stratum), stratum, success, steps, return, success_at_reset.
    """
    rows = []
    for stratum in strata:
        for number, episode_seed in enumerate(episode_seeds(seed, stratum, episodes)):
            result = run_episode(
                env, policy, seed=episode_seed, stratum=stratum, deterministic=deterministic, film=film(stratum)
            )
            outcome = (result.success, result.steps, result.total_reward, result.at_reset)
            rows.append((result.seed, number, stratum, *outcome))
            if progress:
                progress(result)
    return pd.DataFrame(rows, columns=[*EPISODE_COLUMNS, AT_RESET])


def _seed_sampling(seed: int) -> None:
    import torch

    torch.manual_seed(seed)


def require_fit(policy: Spec, env: Spec, policy_name: str, env_name: str) -> None:
    """Refuse a policy made for other actions, states or cameras; cameras it does not use are no obstacle.

    What merely differs, as between a simulated arm and one on the desk, is said.

    Raises:
        UserError: naming every difference.
    """
    used = {image.name for image in policy.images}
    seen = [image for image in env.images if image.name in used]
    if missing := used - {image.name for image in seen}:
        raise UserError(
            f"policy {policy_name} looks through a camera that {env_name} lacks: {', '.join(sorted(missing))}",
            where=f"its cameras: {', '.join(image.name for image in env.images) or 'none'}",
            fix=f"env.cameras=[{','.join(image.name for image in policy.images)}]",
        )
    fitting = replace(env, images=seen)
    names = {"left_name": f"policy {policy_name}", "right_name": env_name}
    require_compatible(policy, fitting, JOINT_PARTS, **names)
    say_what_differs(policy, fitting, **names)
