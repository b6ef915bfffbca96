"""What a training run learned from, as plain columns: its replay buffer and the demonstrations it names. No frames."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from hiltk.artifacts.store import Artifact, resolve
from hiltk.data.episode import Episode, Source
from hiltk.data.lerobot_io import DatasetReader
from hiltk.data.replay_export import stored_episodes
from hiltk.errors import UserError
from hiltk.reward_rule import is_success_reward
from hiltk.rewards.demonstrations import as_learned
from hiltk.spec import STATE_KEY, Spec


@dataclass(frozen=True)
class Experience:
    """N transitions of E whole episodes, in order.

    Attributes:
        episode: (N,) number of each transition's episode, from 0.
        step: (N,) its place in the episode, from 0.
        state, next_state: (N, D) in the spec's units.
        action: (N, A), as executed.
        reward: (N,) under the run's own reward rule.
        source: (N,) `Source`.
        terminated, truncated: (N,) bool, as stored: no bootstrapping after the former.
        shown: (N,) bool, success shows in the observation that the transition led to.
        valid: (N,) bool, the action is known.
    """

    episode: np.ndarray
    step: np.ndarray
    state: np.ndarray
    next_state: np.ndarray
    action: np.ndarray
    reward: np.ndarray
    source: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    shown: np.ndarray
    valid: np.ndarray

    def __len__(self) -> int:
        return len(self.episode)

    @cached_property
    def episodes(self) -> int:
        return len(np.unique(self.episode))

    @cached_property
    def lengths(self) -> np.ndarray:
        """(E,) transitions of each episode."""
        return np.bincount(self.episode)

    @property
    def last(self) -> np.ndarray:
        """(N,) bool: the last transition of its episode."""
        return np.r_[self.episode[1:] != self.episode[:-1], True] if len(self) else np.zeros(0, bool)

    def part(self, rows: np.ndarray) -> Experience:
        """Only these transitions (N,) bool."""
        return Experience(**{f.name: getattr(self, f.name)[rows] for f in fields(self)})

    def of(self, source: Source) -> np.ndarray:
        """(N,) bool: transitions that this source chose."""
        return self.source == source

    def positive(self, spec: Spec) -> np.ndarray:
        """(N,) bool: transitions with more reward than an ordinary step."""
        return np.asarray(is_success_reward(self.reward, spec.reward))


def of_episodes(episodes: Iterable[Episode], spec: Spec) -> Experience:
    """Columns of episodes; their frames, if any, are left alone."""
    parts = [_columns(number, episode) for number, episode in enumerate(episodes)]
    if not parts:
        parts = [_nothing(spec)]
    return Experience(**{f.name: np.concatenate([part[f.name] for part in parts]) for f in fields(Experience)})


def _columns(number: int, episode: Episode) -> dict[str, np.ndarray]:
    count, state = len(episode), episode.observations[STATE_KEY]
    last = np.arange(count) == count - 1
    return {
        "episode": np.full(count, number),
        "step": np.arange(count),
        "state": state[:-1],
        "next_state": state[1:],
        "action": episode.actions,
        "reward": episode.rewards,
        "source": episode.source,
        "terminated": last & episode.terminated,
        "truncated": last & episode.truncated,
        "shown": episode.success[1:],
        "valid": episode.action_valid,
    }


def _nothing(spec: Spec) -> dict[str, np.ndarray]:
    state, action = np.zeros((0, len(spec.state.dims))), np.zeros((0, len(spec.action.dims)))
    none, never = np.zeros(0, np.int64), np.zeros(0, bool)
    return {
        "episode": none, "step": none, "state": state, "next_state": state, "action": action, "reward": np.zeros(0),
        "source": none, "terminated": never, "truncated": never, "shown": never, "valid": never,
    }  # fmt: skip


# ---------------------------------------------------------------- where it lies


def require_training(run: Artifact) -> dict[str, Any]:
    """The record of a run of `hiltk train`.

    Raises:
        UserError: the artifact is something else, or training is not over.
    """
    record = run.run()
    if record.get("step") != "train":
        raise UserError(
            f"this is no training run: it was made by {record.get('step') or 'something else'}",
            where=str(run.path),
            fix="name a policy of `hiltk train`",
        )
    return record


def longest_episode(config: Mapping[str, Any], metrics: pd.DataFrame, fps: float) -> int:
    """Steps in a run's longest episode: by the time limit of the simulated arm, else as they were played."""
    if (config.get("env") or {}).get("name") == "so101_sim":
        return max(1, round(config["task"]["time_limit_s"] * fps))
    return int(metrics.length.max()) if "length" in metrics and len(metrics) else 1


def online(run: Artifact, spec: Spec) -> Experience:
    """What a run of `hiltk train` experienced, from the replay it stored.

    Raises:
        UserError: there is no replay store, or it is damaged.
    """
    return of_episodes(stored_episodes(run.path, images=False), spec)


def demonstrations(datasets: list[Artifact], spec: Spec, run: Path) -> Experience:
    """All episodes of datasets, ended and rewarded as the run in this folder learned from them.

    Raises:
        UserError: a dataset is damaged, or has another state or action.
    """
    blind = copy.copy(spec)
    blind.images = []  # no frame is decoded
    whole = spec.reward.source != "env"
    episodes = [e for d in datasets for e in DatasetReader(d.path, blind, d.ref).episodes(after_end=whole)]
    for episode in episodes:
        if episode.actions.shape[1] != len(spec.action.dims):
            raise UserError("actions have another size than the run's", where=", ".join(d.ref for d in datasets))
    return of_episodes(as_learned(episodes, spec.reward, run), spec)


def learned_from(artifact: Artifact) -> list[str]:
    """The datasets that a policy's own step read, as references to the very versions."""
    return [reference(i) for i in artifact.run().get("inputs") or [] if i.get("kind") == "datasets"]


def demo_artifacts(run: Artifact, root: str | Path, said: list[str]) -> list[Artifact]:
    """The datasets a run learned from; or those ``said``.

    Raises:
        UserError: one is not there any more.
    """
    return [resolve(name, "datasets", root) for name in said or learned_from(run)]


def reference(noted: dict[str, str]) -> str:
    """How an input noted in ``run.yaml`` is found again."""
    return f"{noted['artifact']}@{noted['version']}" if noted.get("version") else noted["artifact"]
