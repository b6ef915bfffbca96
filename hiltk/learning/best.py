"""The best checkpoint so far, by success without help and not by a loss; and whether it is better than the last."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scipy.stats import fisher_exact

from hiltk.agents.policy import WEIGHTS, Policy
from hiltk.artifacts.replacing import replacing

WINDOW = 20
FOLDER, LAST = "best", "last"
LEVEL = 0.05  # of the test whether the best are better than the last


class BestPolicy:
    """Keeps ``best/`` in the policy's folder: the weights after the `WINDOW` left-alone episodes with most success.

    Of equally good ones the later is kept. Nothing is kept before the first full window, or while nothing succeeds.

    The best of many windows looks better than it is, since luck had a part in choosing it. So the last weights are what
    a run gives, unless they are worse by more than luck (`is_better`): success was lost again.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder / FOLDER
        self.recent: deque[float] = deque(maxlen=WINDOW)
        self.rate, self.episode = 0.0, -1
        self.seen = 0  # episodes, all of them

    def update(self, policy: Policy, episode: int, success: float) -> None:
        """Note one more episode that was left alone; save the policy if it has never done better."""
        self.recent.append(success)
        self.seen += 1
        rate = sum(self.recent) / WINDOW
        if len(self.recent) < WINDOW or rate == 0 or rate < self.rate:
            return
        self.rate, self.episode = rate, episode
        if self.folder.is_dir():  # config and spec are there; writing them costs ten times what weights do
            with replacing(self.folder / WEIGHTS) as partial:
                policy.save_weights(partial)
        else:
            _create(self.folder, policy)

    @property
    def p_value(self) -> float:
        """How likely the best window is so much better than the last by luck alone; 1 where there is none.

        Fisher's exact test, one-sided, times the windows that the best was chosen from (Bonferroni). Where the two
        windows share episodes they differ less than the test supposes, so that errs on the side of the last.
        """
        if self.episode < 0:
            return 1.0
        best, last = round(self.rate * WINDOW), round(sum(self.recent))
        table = [[best, WINDOW - best], [last, WINDOW - last]]
        return min(1.0, fisher_exact(table, alternative="greater").pvalue * max(1.0, self.seen / WINDOW))

    @property
    def is_better(self) -> bool:
        """Whether there is evidence that the best weights are better than the last."""
        return self.p_value < LEVEL

    def choose(self, policy: Policy) -> None:
        """At a run's end, give the policy the best weights if they are better; the last then lie in ``last/``."""
        if self.is_better:
            _create(self.folder.with_name(LAST), policy)
            policy.load_weights(self.folder)

    def note(self) -> dict[str, Any]:
        """For ``run.yaml``: which weights the run gives, and which episode ``best/`` is of, if there is one."""
        if self.episode < 0:
            return {"weights": LAST}
        best = {
            "episode": self.episode,
            "autonomous_success": self.rate,
            "autonomous_success_of_last": sum(self.recent) / WINDOW,
            "p_value": float(f"{self.p_value:.3g}"),
            "window": WINDOW,
            "folder": FOLDER,
        }
        return {"weights": FOLDER if self.is_better else LAST, "best": best}

    def state_dict(self) -> dict[str, Any]:
        return {"recent": list(self.recent), "rate": self.rate, "episode": self.episode, "seen": self.seen}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.recent = deque(state["recent"], maxlen=WINDOW)
        self.rate, self.episode = state["rate"], state["episode"]
        self.seen = state.get("seen", len(self.recent))  # absent in older checkpoints, where every episode counted


def _create(folder: Path, policy: Policy) -> None:
    """A policy's folder, whole or not at all."""
    with replacing(folder) as partial:
        partial.mkdir()
        policy.save(partial)


def chosen(record: Mapping[str, Any]) -> str:
    """In words, which weights a run gave and why, by its ``run.yaml``; empty where nothing was chosen."""
    best, weights = record.get("best"), record.get("weights")
    if not best or not weights:
        return ""
    if best["autonomous_success"] == best["autonomous_success_of_last"]:
        return f"the last weights: no {best['window']} episodes left alone went better than the last"
    first, last = (f"{best[key]:.0%}" for key in ("autonomous_success", "autonomous_success_of_last"))
    said = (
        f"of {best['window']} episodes left alone {first} succeeded up to episode {best['episode']} and {last} at last"
    )
    if weights == FOLDER:
        return f"the best weights, not the last, which are in {LAST}/: {said} (p = {best['p_value']:.2g})"
    return f"the last weights: {said}, which is no evidence that those in {FOLDER}/ are better"
