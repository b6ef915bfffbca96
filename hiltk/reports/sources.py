"""What a report is made from: artifacts of any kind, and the tables found in them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from hiltk.artifacts.provenance import VOLATILE, flat, references
from hiltk.artifacts.store import Artifact, resolve, title_of
from hiltk.diagnostics.record import FILE as DIAGNOSIS_FILE
from hiltk.errors import ConfigError, UserError, listed

# Columns of ``metrics.csv`` without which a report says nothing, by the step that wrote it.
_METRICS = {
    "train": ("episode", "env_step", "wall_s", "success", "autonomous", "intervention_rate"),
    "bc-pretrain": ("step", "loss", "held_out_loss"),
}
MOST_NAMED = 4  # settings in a name
_SEED_SUFFIX = re.compile(r"[-_.](?:s|seed)[-_]?(\d+)(?=@|$)")


def find(references: Sequence[str], root: str | Path) -> list[Artifact]:
    """Artifacts by reference: ``policies/hil@p-0001``, a name of any kind, or a path; each once.

    Raises:
        ConfigError: nothing is named.
        UserError: an artifact does not exist.
    """
    if not references:
        raise ConfigError("there is nothing to report on", where="artifacts=[]", fix="artifacts=[evaluations/my-eval]")
    found = [resolve(reference, "", root) for reference in references]
    return list({artifact.path.resolve(): artifact for artifact in found}.values())


def kind_of(artifact: Artifact) -> str:
    """Its kind in the store; ``diagnoses`` for what `hiltk diagnose` wrote, which is kept among the evaluations."""
    diagnosed = str(artifact.run().get("step")).startswith("diagnose ") or (artifact.path / DIAGNOSIS_FILE).is_file()
    return "diagnoses" if diagnosed else artifact.kind


def read_csv(artifact: Artifact, name: str, columns: Sequence[str] = ()) -> pd.DataFrame:
    """One of an artifact's tables.

    Raises:
        UserError: it is missing, empty, not CSV, or lacks a column.
    """
    file = artifact.path / name
    try:
        frame = pd.read_csv(file)
    except (OSError, ValueError) as error:
        raise UserError(f"{title_of(artifact)} has no readable {name}: {error}", where=str(file)) from error
    if missing := [c for c in columns if c not in frame]:
        raise UserError(f"{name} lacks the columns {', '.join(missing)}", where=str(file))
    return frame


def split_label(label: str, seed: int | None) -> tuple[str, int | None]:
    """``hil-s0`` trained with seed 0 is ``hil``, seed 0. A number that is not the seed is part of the name."""
    match = _SEED_SUFFIX.search(label)
    if match and seed in (None, int(match[1])):
        return label[: match.start()] + label[match.end() :], int(match[1])
    return label, seed


def settings_of(policy: Artifact) -> dict[str, str]:
    """What decides how a policy was trained, besides its seed, by dotted key; its inputs by name without their seed."""
    record = policy.run()
    config = {k: str(v) for k, v in flat(record.get("config") or {}).items() if k not in VOLATILE and k != "seed"}
    for key, _, names in references(str(record.get("step")), record.get("config") or {}):
        config[key] = ", ".join(split_label(name, None)[0].partition("@")[0] for name in names)
    return config


def described(settings: Mapping[str, Any], every: Sequence[Mapping[str, Any]], *, shared: bool = False) -> str:
    """The keys in which settings differ, with the values of one: ``env.fps=10, stochastic=True``.

    Args:
        shared: only keys that all of them have: what a newer version added is no difference.
    """
    keys = list(dict.fromkeys(key for s in every for key in s if not shared or all(key in other for other in every)))
    varying = [key for key in keys if len({str(s.get(key)) for s in every}) > 1]
    return listed([f"{key}={settings.get(key)}" for key in varying], MOST_NAMED)


def tell_apart(label: str, settings: Mapping[str, Any], every: Sequence[Mapping[str, Any]]) -> str:
    """``lift``, or ``lift (agent.lr=0.001)`` where trainings of that name differ in more than the seed."""
    difference = described(settings, [s for s in every if s], shared=True) if settings else ""
    return f"{label} ({difference})" if difference else label


def training_runs(policies: Sequence[Artifact], step: str) -> dict[str, dict[int | None, pd.DataFrame]]:
    """``metrics.csv`` of the policies a step made, by label and seed; the seeds of a label share all other settings."""
    runs: dict[str, dict[int | None, pd.DataFrame]] = {}
    made = [p for p in policies if p.run().get("step") == step and (p.path / "metrics.csv").is_file()]
    settings: dict[str, list[dict[str, str]]] = {}
    for policy in made:
        settings.setdefault(split_label(policy.name, policy.run().get("seed"))[0], []).append(settings_of(policy))
    for policy in made:
        label, seed = split_label(policy.name, policy.run().get("seed"))
        label = tell_apart(label, settings_of(policy), settings[label])
        seeds = runs.setdefault(label, {})
        if seed in seeds:  # another version of the same name: a run of its own
            seeds = runs.setdefault(f"{label}@{policy.version}", {})
        seeds[seed] = read_csv(policy, "metrics.csv", _METRICS[step])
        if seeds[seed].empty:
            raise UserError(f"{title_of(policy)} has an empty metrics.csv", where=str(policy.path))
    return runs
