"""Demonstrations under the reward rule of the run that learns from them: one batch must not mix two rules.

A demonstration was ended by the rule it was recorded with, mostly after two frames of success; online steps are judged
by a classifier with a longer hold. Taken as recorded, the same state would be worth 1 and terminal in one half of a
batch and 0 in the other, and no demonstration would show how to hold (failures, S9). So every recording is judged anew,
the frames after its end included, and ends where this run's rule finds success.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from hiltk.data.episode import Episode, end_at
from hiltk.errors import UserError, listed
from hiltk.findings import Finding, Severity
from hiltk.reward_rule import is_positive, success_step
from hiltk.rewards.classifier import SuccessClassifier
from hiltk.spec import RewardSpec

FILE = "demonstrations.csv"  # in a run's folder: where each demonstration ends
LISTED = 12  # episodes named in a message


@dataclass(frozen=True)
class Demonstrations:
    """Recordings, judged.

    Attributes:
        episodes: as the run learns from them.
        satisfied: (E,) bool, whether the rule finds success in it.
    """

    episodes: list[Episode]
    satisfied: np.ndarray

    def of(self, dataset: str) -> Demonstrations:
        """Those of one dataset."""
        own = [episode.name.rpartition(" ")[0] == dataset for episode in self.episodes]
        return Demonstrations([e for e, mine in zip(self.episodes, own, strict=True) if mine], self.satisfied[own])

    def finding(self) -> Finding | None:
        """What to say where the rule misses some: an error if over half of them, None if none."""
        missed = [episode.name for episode, ok in zip(self.episodes, self.satisfied, strict=True) if not ok]
        if not missed:
            return None
        return Finding(
            f"{len(missed)} of {len(self.episodes)} demonstrations never satisfy the run's reward rule: they are "
            "neither rewarded nor terminal",
            where=listed(missed, LISTED),
            fix="record with steps_after_success as long as the rule's hold (the default is), or see with "
            "hiltk preview what the classifier says of them",
            severity=Severity.error if 2 * len(missed) > len(self.episodes) else Severity.warning,
            evidence={"demonstrations": len(self.episodes), "unsatisfied": len(missed)},
        )

    def save(self, folder: Path) -> None:
        """Write where each ends, so that what was learned from can be looked at without the classifier."""
        rows = [(e.name, len(e), bool(ok)) for e, ok in zip(self.episodes, self.satisfied, strict=True)]
        pd.DataFrame(rows, columns=["episode", "steps", "success"]).to_csv(folder / FILE, index=False)


def judge_demonstrations(
    episodes: Sequence[Episode], rule: RewardSpec, classifier: SuccessClassifier | None = None, *, closed: bool = False
) -> Demonstrations:
    """End and reward recordings by a run's rule.

    With ``source: env`` they stay as they were recorded: only that environment knows its rewards.

    Args:
        episodes: with what was recorded after their end (``after_end=True``).
        classifier: with ``source: classifier`` asked about every frame. In a recording without its cameras success
            shows where the labels say so.
        closed: the environment ends its episodes by itself, so that nothing could confirm their last frame.
    """
    if rule.source == "env":
        return Demonstrations(list(episodes), np.array([e.succeeded for e in episodes], bool))
    ends = [success_step(_shown(e, classifier), rule, closed=closed and e.terminated) for e in episodes]
    found = [end_at(e, step, rule) for e, step in zip(episodes, ends, strict=True)]
    return Demonstrations(found, np.array([step is not None for step in ends], bool))


def _shown(episode: Episode, classifier: SuccessClassifier | None) -> np.ndarray:
    """(T+1,) bool, whether success shows: to the classifier, else by the labels."""
    if classifier is None or not {i.key for i in classifier.spec.images} <= episode.observations.keys():
        return episode.success
    return np.asarray(is_positive(classifier.probabilities(episode.observations), classifier.threshold))


def as_learned(episodes: Sequence[Episode], rule: RewardSpec, run: Path) -> list[Episode]:
    """Recordings as the run in this folder learned from them.

    A run from before there was a list took them as they were recorded: ended by their own rule.

    Args:
        episodes: with what was recorded after their end.

    Raises:
        UserError: the run's list is damaged.
    """
    if rule.source == "env":
        return list(episodes)
    ends = _saved(run)
    steps = [
        ends[e.name] if e.name in ends else success_step(e.success, e.rule or RewardSpec(), closed=True)
        for e in episodes
    ]
    return [end_at(e, step, rule) for e, step in zip(episodes, steps, strict=True)]


def _saved(run: Path) -> dict[str, int | None]:
    """Per demonstration the step at which it ended in success, None: in none. Empty for runs without a list."""
    if not (run / FILE).is_file():
        return {}
    try:
        table = pd.read_csv(run / FILE)
        rows = zip(table["episode"], table["steps"], table["success"], strict=True)
        return {str(name): int(steps) if success else None for name, steps, success in rows}
    except (ValueError, KeyError) as error:
        raise UserError(f"the list of demonstrations is damaged: {error}", where=str(run / FILE)) from error
