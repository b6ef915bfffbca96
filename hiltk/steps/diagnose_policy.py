"""`hiltk diagnose policy`: which inputs a policy relies on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table

from hiltk.agents.make import load_policy
from hiltk.agents.policy import Policy
from hiltk.artifacts.store import Artifact, resolve, split_episodes
from hiltk.artifacts.writing import create
from hiltk.config.commands import DiagnosePolicyConf
from hiltk.data.decoded import cached_episodes
from hiltk.data.episode import Episode
from hiltk.diagnostics.changes import Changes, in_simulator
from hiltk.diagnostics.experience import learned_from
from hiltk.diagnostics.frames import some_moments
from hiltk.diagnostics.pictures import chosen
from hiltk.diagnostics.policy import PolicyDiagnosis, as_rows, diagnose, figure, verdict
from hiltk.diagnostics.record import Record, save
from hiltk.envs.make import scene_class
from hiltk.errors import ConfigError, UserError
from hiltk.spec import STATE_KEY
from hiltk.steps.common import frame_cache, set_up_torch

CAPTION = (
    "How far the action moves when one input is replaced by another episode's, in percent of what replacing everything "
    "does: 0 is not used, 100 is all that is used. Arrows: the first action for each place of the cube."
)


def run(cfg: DiagnosePolicyConf) -> Artifact:
    """Write ``policy.csv``, ``policy.png`` and ``diagnosis.json``: which inputs each policy relies on.

    Raises:
        ConfigError: options contradict each other, or no dataset is known.
        UserError: a policy or a dataset cannot be used.
    """
    _check(cfg)
    device = set_up_torch(cfg)
    artifacts = [resolve(name, "policies", cfg.root) for name in cfg.policies]
    inputs = list(artifacts)
    found: list[PolicyDiagnosis] = []
    for artifact in artifacts:
        policy = load_policy(artifact.path).to(device)
        episodes = _episodes(cfg, artifact, policy, inputs)
        keys = [STATE_KEY, *policy.spec.image_keys]
        moments = some_moments(episodes, keys, policy.frame_stack, cfg.frames, cfg.seed)
        found.append(diagnose(artifact.ref, policy, moments, _changes(cfg, policy), cfg.seed))
    table = pd.DataFrame([row for d in found for row in as_rows(d)])
    with create(
        "evaluations", cfg.name, root=cfg.root, step="diagnose policy", cfg=cfg, inputs=inputs, seed=cfg.seed
    ) as draft:
        draft.spec = policy.spec
        draft.notes = {"diagnosis": "policy"}
        figure(found, draft.path / "policy.png")
        names = ", ".join(d.name for d in found)
        record = Record(f"what {names} acts on", verdict(found), table, {"policy.png": CAPTION})
        save(record, draft.path, "policy")
    _print(found, record.verdict)
    return draft.done


def _check(cfg: DiagnosePolicyConf) -> None:
    if not cfg.policies:
        raise ConfigError("no policy is named", where="policies", fix="hiltk diagnose policy NAME")
    if cfg.positions:
        scene_class(cfg.env, "only the simulated arm can move its cube")
    if min(cfg.frames, cfg.scenes) < 2:
        raise ConfigError("frames and scenes must be at least 2", where="frames, scenes")


def _episodes(cfg: DiagnosePolicyConf, artifact: Artifact, policy: Policy, inputs: list[Artifact]) -> list[Episode]:
    """Those of the datasets that are named; else of those that the policy was made from."""
    names = list(cfg.sets) or learned_from(artifact)
    if not names:
        raise ConfigError(
            f"{artifact.ref} was made from no dataset", where="sets", fix="sets=[NAME]: where it is to be asked"
        )
    episodes: list[Episode] = []
    for name in names:
        reference, which = split_episodes(name)
        dataset = resolve(reference, "datasets", cfg.root)
        if dataset.path not in [a.path for a in inputs]:
            inputs.append(dataset)
        every = cached_episodes(dataset.path, policy.spec, cache=frame_cache(cfg.root), name=dataset.ref)
        some = list(chosen(every, which))
        if not some:
            raise UserError(f"there are no episodes '{which}'", where=dataset.ref, fix="e.g. NAME:0-9 or NAME:near")
        episodes += some
    return episodes


def _changes(cfg: DiagnosePolicyConf, policy: Policy) -> Changes | None:
    if not cfg.positions:
        return None
    return in_simulator(cfg.env, cfg.task, policy.spec, policy.spec.images, cfg.scenes, cfg.seed)


def _print(found: Sequence[PolicyDiagnosis], words: str) -> None:
    for d in found:
        table = Table(title=f"{d.name}: change of the action, % of what replacing everything does")
        table.add_column("replaced")
        for name in [*d.actions, "all"]:
            table.add_column(name, justify="right")
        for effect in d.effects:
            shares = np.array([*d.shares(effect), d.share(effect)])
            indent = "  " if effect.kind == "dimension" else ""
            table.add_row(indent + effect.what, *(f"{100 * s:.0f}" for s in shares))
        Console().print(table)
    Console().print(words, highlight=False, markup=False)
