"""`hiltk diagnose critic`: compare critic values with observed returns."""

from __future__ import annotations

from collections import deque
from pathlib import Path

import pandas as pd
import torch
from rich.console import Console
from rich.table import Table

from hiltk.agents.make import Agent, build_agent, load_policy
from hiltk.artifacts.store import Artifact, resolve
from hiltk.artifacts.writing import create
from hiltk.config.commands import DiagnoseCriticConf
from hiltk.data.episode import Episode
from hiltk.data.replay_export import stored_episodes
from hiltk.diagnostics.critic import CriticDiagnosis, as_rows, verdict
from hiltk.diagnostics.critic_figure import figure, filmstrip
from hiltk.diagnostics.evidence import measured
from hiltk.diagnostics.experience import learned_from, longest_episode
from hiltk.diagnostics.ratings import rate
from hiltk.diagnostics.record import Record, save
from hiltk.errors import ConfigError, UserError
from hiltk.learning import checkpoint
from hiltk.rewards.demonstrations import as_learned
from hiltk.steps.common import load_datasets, set_up_torch

CAPTION = (
    "Values of executed actions along episodes, with the observed returns (shaded where a time-out hides what "
    "would have); value against return; how much values differ between similar actions; values over the training."
)
STRIP = "Frames of episodes with the value of the action taken there; shaded: between which the return lies."


def run(cfg: DiagnoseCriticConf) -> Artifact:
    """Write ``critic.csv``, ``critic.png``, strips ``values_<n>.png`` and ``diagnosis.json``.

    Raises:
        ConfigError: no policy is named, or none of its episodes is wanted.
        UserError: a policy has no critics, or its replay or demonstrations cannot be read.
    """
    if not cfg.policies or cfg.episodes < 1:
        raise ConfigError("at least one policy and one episode are needed", where="policies, episodes")
    device = set_up_torch(cfg)
    inputs: list[Artifact] = []
    found: list[tuple[CriticDiagnosis, list[Episode], str]] = []
    for name in cfg.policies:
        artifact = resolve(name, "policies", cfg.root)
        inputs.append(artifact)
        metrics = measured(artifact.path / "metrics.csv")
        agent = trained_agent(artifact, metrics, device)
        episodes = _episodes(cfg, artifact, agent, inputs)
        ratings = rate(agent, episodes, cfg.seed)
        diagnosis = CriticDiagnosis(artifact.ref, ratings, metrics, agent.policy.agent_conf.discount)
        found.append((diagnosis, episodes, next(iter(agent.policy.spec.image_keys), "")))
    diagnoses = [d for d, _, _ in found]
    table = pd.DataFrame([row for d in diagnoses for row in as_rows(d)])
    with create(
        "evaluations", cfg.name, root=cfg.root, step="diagnose critic", cfg=cfg, inputs=inputs, seed=cfg.seed
    ) as draft:
        draft.spec = agent.policy.spec
        draft.notes = {"diagnosis": "critic"}
        pictures = {"critic.png": CAPTION}
        figure(diagnoses, draft.path / "critic.png")
        for n, (diagnosis, episodes, key) in enumerate(found):
            if key:
                filmstrip(diagnosis, episodes, key, draft.path / f"values_{n}.png")
                pictures[f"values_{n}.png"] = f"{diagnosis.name}. {STRIP}"
        names = ", ".join(d.name for d in diagnoses)
        record = Record(f"values of {names}", verdict(diagnoses), table, pictures)
        save(record, draft.path, "critic")
    _print(record)
    return draft.done


def trained_agent(artifact: Artifact, metrics: pd.DataFrame, device: torch.device) -> Agent:
    """The learner as it was at the last checkpoint of its training, which also has the critics.

    Raises:
        UserError: the policy is not one of `hiltk train`, or its checkpoint does not fit it.
    """
    state = checkpoint.load(artifact.path)
    if state is None:
        raise UserError(
            f"{artifact.ref} has no critics",
            where=str(artifact.path / checkpoint.FILE),
            fix="name a policy of `hiltk train` that has passed a checkpoint (checkpoint_every)",
        )
    policy = load_policy(artifact.path).to(device)
    horizon = longest_episode(artifact.run().get("config") or {}, metrics, policy.spec.fps)
    agent = build_agent(policy, policy.agent_conf, policy.spec.reward, horizon)
    try:
        agent.load_state_dict(state["agent"])
    except (KeyError, RuntimeError, ValueError) as error:
        first = str(error).splitlines()[0]
        raise UserError(f"the checkpoint does not fit the policy: {first}", where=str(artifact.path)) from error
    policy.eval()
    return agent


def _episodes(cfg: DiagnoseCriticConf, artifact: Artifact, agent: Agent, inputs: list[Artifact]) -> list[Episode]:
    """Demonstrations, with rewards of this run's rule, then the newest episodes of its training."""
    demos: list[Episode] = []
    if cfg.demos and (names := learned_from(artifact)):
        episodes, _, datasets = load_datasets(names, Path(cfg.root), after_end=agent.reward.source != "env")
        demos = as_learned(episodes, agent.reward, artifact.path)
        inputs += [d for d in datasets if d.path not in [a.path for a in inputs]]
    newest = list(deque(stored_episodes(artifact.path, rule=agent.reward), maxlen=cfg.episodes))
    if not demos and not newest:
        raise UserError("there are no episodes to look at", where=artifact.ref, fix="train for longer first")
    keys = set(newest[0].observations) if newest else set(demos[0].observations)
    if missing := [k for k in agent.policy.spec.image_keys if k not in keys]:
        raise UserError(f"the replay store lacks '{missing[0]}'", where=str(artifact.path))
    return [_seen(e, keys) for e in [*demos, *newest]]


def _seen(episode: Episode, keys: set[str]) -> Episode:
    episode.observations = {k: v for k, v in episode.observations.items() if k in keys}
    return episode


def _print(record: Record) -> None:
    names = {
        "source": "source", "episode_percent": "part, %", "transitions": "n", "q_mean": "value",
        "return_low": "return from", "return_high": "to", "q_error": "error", "sharpness": "sharpness",
    }  # fmt: skip
    for policy, rows in record.table.groupby("policy", sort=False):
        table = Table(title=f"values of {policy}")
        for name in names.values():
            table.add_column(name, justify="left" if name == "source" else "right")
        for row in rows.to_dict("records"):
            values = [row[key] for key in names]
            table.add_row(*(f"{v:.3g}" if isinstance(v, float) else str(v) for v in values))
        Console().print(table)
    Console().print(record.verdict, highlight=False, markup=False)
