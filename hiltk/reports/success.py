"""Success of several policies over several training seeds, from any number of evaluations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from hiltk.artifacts.provenance import flat
from hiltk.artifacts.store import Artifact, resolve
from hiltk.errors import UserError
from hiltk.evaluation.rollouts import EPISODE_COLUMNS
from hiltk.evaluation.tables import TOTAL
from hiltk.intervals import Rate, SeedDifference, SeedRate, compare_over_seeds, compare_paired, over_seeds, wilson
from hiltk.reports.sources import described, read_csv, settings_of, split_label, tell_apart

_COLUMNS = ["setting", "policy", "seed", "stratum", "n", "successes", "rate", "low", "high", "interval"]
# What an interval of the table is over: this policy's episodes, its trainings, or episodes as if of one policy.
OF_EPISODES, OF_SEEDS, POOLED = "episodes", "trainings", "pooled episodes, ignores variation between seeds"
_SAME_EPISODE = ["train_seed", "stratum", "seed"]


@dataclass
class SuccessBoard:
    """Every episode of every policy in one evaluation setting.

    Attributes:
        setting: how it differs from the report's other settings, e.g. ``env.jitter.color=1.0``; empty for the only one.
        episodes: one row per episode: those of ``episodes.csv``, and ``train_seed``, -1 where it is unknown.
        fps: control steps per second.
    """

    setting: str
    episodes: pd.DataFrame
    fps: float

    @property
    def policies(self) -> list[str]:
        return list(dict.fromkeys(self.episodes.policy))

    @property
    def rows(self) -> list[str]:
        """Strata, then `TOTAL`."""
        return [*dict.fromkeys(self.episodes.stratum), TOTAL]

    def seeds(self, policy: str) -> list[int]:
        return sorted(set(self.episodes.train_seed[self.episodes.policy == policy]))

    def select(self, policy: str, stratum: str = TOTAL, seed: int | None = None) -> pd.DataFrame:
        """Episodes of one policy, in one stratum or all, for one training seed or all."""
        e = self.episodes
        keep = e.policy == policy
        if stratum != TOTAL:
            keep &= e.stratum == stratum
        if seed is not None:
            keep &= e.train_seed == seed
        return e[keep]

    def rate(self, policy: str, stratum: str = TOTAL) -> SeedRate:
        """Over the trainings of a policy; of a single one over its episodes."""
        singles = [self.single(policy, stratum, seed) for seed in self.seeds(policy)]
        return over_seeds([(rate.count, rate.n) for rate in singles])

    def single(self, policy: str, stratum: str, seed: int) -> Rate:
        """Of one training, over its episodes."""
        part = self.select(policy, stratum, seed)
        return wilson(int(part.success.sum()), len(part))

    def time_s(self, policy: str, stratum: str = TOTAL) -> float | None:
        """Mean time to success over the successes; None without any."""
        part = self.select(policy, stratum)
        return float(part.steps[part.success].mean()) / self.fps if part.success.any() else None

    def compare(self, first: str, second: str, stratum: str = TOTAL) -> SeedDifference:
        """Paired by training seed, each pair on the episodes it shares: same stratum, same episode."""
        left, right = (self.select(p, stratum).set_index(_SAME_EPISODE)[["success"]] for p in (first, second))
        shared = left.join(right, how="inner", lsuffix="_first", rsuffix="_second")
        return compare_over_seeds(
            [compare_paired(pair.success_first, pair.success_second) for _, pair in shared.groupby("train_seed")]
        )

    def table(self) -> pd.DataFrame:
        """The numbers of the table: one row per policy, training seed (or ``all``, or ``pooled``) and stratum."""
        out = []
        for policy in self.policies:
            for stratum in self.rows:
                rate, seeds = self.rate(policy, stratum), self.seeds(policy)
                found: list[tuple[str, Rate | SeedRate, str]] = [
                    (_seed_name(seed), self.single(policy, stratum, seed), OF_EPISODES) for seed in seeds
                ]
                if len(seeds) > 1:
                    found += [("all", rate, OF_SEEDS), ("pooled", rate.pooled, POOLED)]
                out += [
                    (self.setting, policy, name, stratum, r.n, r.count, r.rate, r.low, r.high, interval)
                    for name, r, interval in found
                ]
        return pd.DataFrame(out, columns=_COLUMNS)


def boards(evaluations: Sequence[Artifact]) -> list[SuccessBoard]:
    """One board per evaluation setting (environment, task, deterministic or not), in the order given.

    Policies that were trained alike but for the seed are one policy of the board (``hil-s0`` and ``hil-s1`` are
    ``hil``); where settings differ, their names say how. The same episode of the same policy counts once, however many
    evaluations hold it.

    Raises:
        UserError: an evaluation lacks its ``episodes.csv``.
    """
    settings = [_setting(evaluation.run().get("config") or {}) for evaluation in evaluations]
    parts: dict[str, list[pd.DataFrame]] = {}
    rates: dict[str, float] = {}
    for evaluation, setting in zip(evaluations, settings, strict=True):
        name = described(setting, settings)
        parts.setdefault(name, []).append(_episodes(evaluation))
        rates[name] = float(setting.get("env.fps", 10.0))
    return [SuccessBoard(name, _merge(frames), rates[name]) for name, frames in parts.items()]


def _episodes(evaluation: Artifact) -> pd.DataFrame:
    """Episodes of one evaluation with the policy's name, reference and training seed told apart."""
    record = evaluation.run()
    frame = read_csv(evaluation, "episodes.csv", ["policy", *EPISODE_COLUMNS])
    origins: dict[str, dict[str, Any]] = record.get("policies") or {}
    named = {label: split_label(label, origins.get(label, {}).get("seed")) for label in frame.policy.unique()}
    frame["ref"] = [origins.get(label, {}).get("ref", label) for label in frame.policy]
    seeds = [named[label][1] for label in frame.policy]
    frame["train_seed"] = [-1 if seed is None else seed for seed in seeds]
    frame["policy"] = [named[label][0] for label in frame.policy]
    frame["success"] = frame.success.astype(bool)
    made = {ref: _made_with(evaluation, ref) for ref in frame.ref.unique()}
    frame["made"] = [made[ref] for ref in frame.ref]
    return frame


def _made_with(evaluation: Artifact, ref: str) -> dict[str, str]:
    """Settings of an evaluated policy's training; empty where the policy is no longer beside its evaluation."""
    try:
        return settings_of(resolve(ref, "policies", evaluation.path.parents[2]))
    except UserError:
        return {}


def _merge(frames: list[pd.DataFrame]) -> pd.DataFrame:
    """Concatenate; policies that share a name and seed but are different artifacts keep their versions in the name."""
    episodes = pd.concat(frames, ignore_index=True)
    trained = episodes.drop_duplicates(["policy", "ref"])
    names = {
        (policy, ref): tell_apart(policy, made, list(trained.made[trained.policy == policy]))
        for policy, ref, made in zip(trained.policy, trained.ref, trained.made, strict=True)
    }
    episodes["policy"] = [names[key] for key in zip(episodes.policy, episodes.ref, strict=True)]
    episodes = episodes.drop(columns="made")
    refs = episodes.groupby(["policy", "train_seed"]).ref.transform("nunique")
    version = "@" + episodes.ref.str.rpartition("@")[2]
    ambiguous = (refs > 1) & ~episodes.policy.str.contains("@")
    episodes["policy"] = episodes.policy.where(~ambiguous, episodes.policy + version)
    return episodes.drop_duplicates(["policy", "ref", *_SAME_EPISODE], ignore_index=True)


def _setting(config: dict[str, Any]) -> dict[str, Any]:
    """The keys of an evaluation's config that decide what its numbers mean."""
    parts: dict[str, Any] = {key: config.get(key) for key in ("env", "task", "stochastic") if key in config}
    return {key: value for key, value in flat(parts).items() if key not in ("task.stratum", "env.renderer")}


def _seed_name(seed: int) -> str:
    return "?" if seed < 0 else str(seed)
