"""The sentences of a report; every number in them is read from an artifact."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from hiltk.artifacts.store import Artifact, title_of
from hiltk.evaluation.tables import TOTAL, format_p
from hiltk.learning.metrics import WINDOW, by_itself, early, missed
from hiltk.reports.figures import Runs
from hiltk.reports.success import SuccessBoard


def success_facts(board: SuccessBoard) -> list[str]:
    """Success of each policy with its weakest stratum, and the difference between the first two."""
    facts = [_policy_fact(board, policy) for policy in board.policies]
    for second in board.policies[1:]:
        first = board.policies[0]
        gap = board.compare(first, second)
        if len(gap.seeds) == 1:
            said = f"{gap} on {gap.n} shared episodes of one training each"
            facts.append(f"{second} against {first}: {said} (exact McNemar test, {format_p(gap.seeds[0].p_value)}).")
        elif gap.n:
            better = sum(pair.difference > 0 for pair in gap.seeds)
            said = f"{gap}, paired by seed; better on {better} of {len(gap.seeds)} seeds"
            facts.append(f"{second} against {first}: {said}.")
    return facts


def _policy_fact(board: SuccessBoard, policy: str) -> str:
    total = board.rate(policy)
    strata = [s for s in board.rows if s != TOTAL and board.rate(policy, s).n]
    if len(total.seeds) > 1:
        fact = f"{policy}: {total} over {len(total.seeds)} seeds ({total.singles} episodes)"
    else:
        fact = f"{policy} succeeds in {total.count} of {total.n} episodes: {total}, of this one training"
    if len(strata) > 1 and total.rate < 1:
        weakest = min(strata, key=lambda s: board.rate(policy, s).rate)
        fact += (
            f"; its weakest stratum is {weakest.replace('_', ' ')} with {100 * board.rate(policy, weakest).rate:.1f} %"
        )
    time = board.time_s(policy)
    return fact + (f"; mean time to success {time:.1f} s." if time is not None else ".")


def training_facts(label: str, runs: Runs) -> list[str]:
    """Length, intervention rate and wrongly ended episodes of each training run."""
    facts = []
    for seed, frame in runs.items():
        name = label if seed is None else f"{label}, seed {seed}"
        first, last = frame.head(WINDOW), frame.tail(WINDOW)
        facts.append(
            f"{name}: {len(frame)} episodes, {frame.env_step.iloc[-1]:.0f} steps, "
            f"{frame.wall_s.iloc[-1] / 60:.1f} minutes{_human_time(frame)}; "
            f"intervention rate {_percent(first.intervention_rate)} of the steps in the first {len(first)} episodes, "
            f"{_percent(last.intervention_rate)} in the last {len(last)}; "
            f"success when left alone {_alone(first)}, then {_alone(last)}.{_misjudged(frame)}"
        )
    return facts


def _alone(frame: pd.DataFrame) -> str:
    counted = by_itself(frame).dropna()
    return f"{counted.sum():.0f} of {len(counted)}" if len(counted) else "not measured"


def _human_time(frame: pd.DataFrame) -> str:
    """A person's time behind a run, where it was counted."""
    return f", {frame.human_s.iloc[-1] / 60:.1f} minutes of a person" if "human_s" in frame else ""


def _misjudged(frame: pd.DataFrame) -> str:
    """How often the reward rule contradicts the environment's own predicate, where that was recorded."""
    if "true_success" not in frame or frame.true_success.isna().all():
        return ""
    told, known = (frame.success, frame.true_success), frame.true_success.notna().sum()
    return (
        f" The reward rule ended {early(*told).sum()} of {known} episodes without true success and missed "
        f"{missed(*told).sum()} true ones."
    )


def classifier_fact(artifact: Artifact) -> str:
    """Precision, recall and wrongly ended episodes as the training step recorded them; empty where it did not."""
    record = artifact.run()
    known = {
        key: record[key] for key in ("precision", "recall", "threshold") if isinstance(record.get(key), int | float)
    }
    if len(known) < 3:
        return ""
    fact = (
        f"{title_of(artifact)}: precision {100 * known['precision']:.1f} %, recall {100 * known['recall']:.1f} % "
        f"on held-out frames at threshold {known['threshold']:.3f}"
    )
    for key, words in (("wrongly_ended", "held-out episodes wrongly ended"), ("missed", "successes missed")):
        counts = record.get(key)
        if isinstance(counts, Mapping) and {"count", "n"} <= set(counts):
            fact += f"; {counts['count']} of {counts['n']} {words}"
    return fact + "."


def _percent(values: pd.Series) -> str:
    return f"{100 * values.mean():.0f} %"
