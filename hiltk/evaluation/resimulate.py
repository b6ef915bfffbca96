"""The simulator's own opinion of recorded frames: every episode is played again, and its predicate asked at each step.

A recording notes its environment, its task and its seed, so every attempt starts where it started then; stored actions
do the rest. Which attempt an episode was is found by its first state, and that the replay is the episode is checked at
every step. No pictures are needed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from omegaconf import OmegaConf
from tqdm import tqdm

from hiltk.artifacts.store import Artifact, resolve
from hiltk.config.groups import EnvConf, TaskConf
from hiltk.data.dataset import OwnDataset
from hiltk.envs.base import HilEnv, SceneEnv
from hiltk.envs.make import ENVS, make_bare_env
from hiltk.envs.tasks import TASKS
from hiltk.errors import ConfigError, UserError, nearest
from hiltk.evaluation.seeds import attempt_seed
from hiltk.spec import STATE_KEY

TOLERANCE = 0.05  # degrees or percent of the gripper by which a joint may differ; a replay is exact on one machine
JOINTS = 6


@dataclass(frozen=True)
class SimRecording:
    """One run of `hiltk record` in the simulator.

    Attributes:
        ref: the dataset it wrote.
        env: its environment, without cameras.
        task: its task, with the predicate to be asked.
        seeds: of every attempt.
    """

    ref: str
    env: EnvConf
    task: TaskConf
    seeds: list[int]


def resimulated_success(dataset: OwnDataset, artifact: Artifact, predicate: str, root: str) -> np.ndarray:
    """Whether a task's predicate holds in every stored frame, (N,) bool.

    Args:
        artifact: the dataset; it, or what it was made from, was recorded in the simulator.
        predicate: the task to judge by; empty: the one it was recorded for.

    Raises:
        ConfigError: there is no such task.
        UserError: the dataset does not come from the simulator, a recording is gone, or an episode cannot be replayed.
    """
    if predicate and predicate not in TASKS:
        known = ", ".join(TASKS)
        hint = nearest(predicate, TASKS) or f"there are: {known}"
        raise ConfigError(f"there is no task '{predicate}'", where=f"predicate={predicate}", fix=hint)
    found = np.zeros(dataset.files.bounds[-1][1], bool)
    missing = list(range(len(dataset.files.bounds)))
    with tqdm(total=len(missing), desc="simulating", unit="episode", mininterval=0.5) as bar:
        for recording in _recordings(artifact, predicate, root):
            for episode, success in _replayed(dataset, missing, recording):
                found[slice(*dataset.files.bounds[episode])] = success
                missing.remove(episode)
                bar.update()
    if missing:
        raise UserError(
            f"{len(missing)} of {len(dataset.files.bounds)} episodes cannot be played again: their actions do not lead "
            "where they went",
            where=f"{dataset.name}, episodes {', '.join(map(str, missing[:8]))}",
            fix="the predicate can only be asked of actions as they were commanded; use source=csv or source=keys",
        )
    return found


def _recordings(artifact: Artifact, predicate: str, root: str) -> list[SimRecording]:
    """The runs of `hiltk record` a dataset goes back to."""
    made = [_recording(run, ref, predicate) for ref, run in _ancestors(artifact, root) if run.get("step") == "record"]
    if not made:
        raise UserError(
            "this dataset does not go back to a recording in the simulator",
            where=artifact.ref,
            fix="use source=csv or source=keys",
        )
    return made


def _ancestors(artifact: Artifact, root: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The dataset and the datasets it was made from, with their run.yaml; each once."""
    todo, seen = [artifact], set()
    while todo:
        one = todo.pop()
        if one.path.resolve() in seen:
            continue
        seen.add(one.path.resolve())
        run = one.run()
        yield one.ref, run
        for entry in run.get("inputs") or []:
            if entry.get("kind") == "datasets":
                version = f"@{entry['version']}" if entry.get("version") else ""
                known = "/" in entry["artifact"] or not version
                todo.append(resolve(entry["artifact"] if known else entry["artifact"] + version, "datasets", root))


def _recording(run: dict[str, Any], ref: str, predicate: str) -> SimRecording:
    config = run.get("config") or {}
    row = ENVS.get((config.get("env") or {}).get("name", ""))
    if row is None or not issubclass(row.env, SceneEnv):
        raise UserError(f"{ref} was not recorded in the simulated arm", where=f"env={config.get('env')}")
    env = row.env.blind(_typed(row.conf, config["env"]))
    task: TaskConf = _typed(TaskConf, config["task"])
    task = replace(task, name=predicate or task.name)
    seeds = [attempt_seed(int(config["seed"]), attempt) for attempt in range(int(run["attempts"]))]
    return SimRecording(ref, env, task, seeds)


def _typed(schema: type, values: dict[str, Any]) -> Any:
    return OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(schema), values))


def _replayed(dataset: OwnDataset, episodes: list[int], recording: SimRecording) -> Iterator[tuple[int, np.ndarray]]:
    """Episodes of this recording with their success per row."""
    with closing(make_bare_env(recording.env, recording.task, seed=0)) as env:
        firsts = np.stack([env.reset(seed=seed)[0][STATE_KEY][:JOINTS] for seed in recording.seeds])
        for episode in list(episodes):
            start, stop = dataset.files.bounds[episode]
            gap = np.abs(firsts - dataset.columns.state[start, :JOINTS]).max(axis=1)
            for attempt in np.flatnonzero(gap < TOLERANCE):
                success = _replay(env, recording.seeds[attempt], dataset, start, stop)
                if success is not None:
                    yield episode, success
                    break


def _replay(env: HilEnv, seed: int, dataset: OwnDataset, start: int, stop: int) -> np.ndarray | None:
    """Success per row of one episode; None where the replay leaves the stored states."""
    _, info = env.reset(seed=seed)
    success = [info["success_now"]]
    for row in range(start, stop - 1):
        observation, _, _, _, info = env.step(dataset.columns.action[row])
        if np.abs(observation[STATE_KEY][:JOINTS] - dataset.columns.state[row + 1, :JOINTS]).max() > TOLERANCE:
            return None
        success.append(info["success_now"])
    return np.array(success, bool)
