"""Evaluation where nobody knows the truth but the person watching: blind, in mixed order, one verdict an episode.

An arm has no predicate, and the classifier that paid a policy must not grade it (devlog 072 took its last reward for
success). So a person says after each episode whether it succeeded, without being told which policy acted, and the
classifier's verdict is stored beside theirs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from rich.table import Table

from hiltk.artifacts.replacing import write_rows
from hiltk.evaluation.seeds import episode_seeds
from hiltk.intervals import wilson
from hiltk.keys import FAILURE, SUCCESS, UNDO, Keys

ENOUGH = 20  # episodes in a stratum: below, an interval is wider than 40 points
CLASSIFIER = "classifier_success"  # a column of episodes.csv
COUNTS = ["both", "only_classifier", "only_person", "neither"]
CONFUSION_COLUMNS = ["policy", "n", *COUNTS, "agree", "agree_low", "agree_high"]
JUDGED = "judged.csv"  # the episodes so far, from which an interrupted evaluation goes on


@dataclass(frozen=True)
class Trial:
    """One episode to play: which policy (a number), and where it starts."""

    policy: int
    stratum: str
    number: int
    seed: int


def blind_order(policies: int, strata: Sequence[str], episodes: int, seed: int) -> list[Trial]:
    """Every policy from every start; the policies of one start follow each other, in an order drawn anew each time.

    Strata take turns, so that light or a hot motor that changes over an hour meets all of them alike.
    """
    rng = np.random.default_rng(seed)
    seeds = {stratum: episode_seeds(seed, stratum, episodes) for stratum in strata}
    return [
        Trial(int(policy), stratum, number, seeds[stratum][number])
        for number in range(episodes)
        for stratum in strata
        for policy in rng.permutation(policies)
    ]


class Verdicts:
    """The rows of an evaluation, each on disk before the next episode begins.

    Args:
        file: where; rows that are there already are taken up.
        columns: of a row, ``success`` among them.
    """

    def __init__(self, file: Path, columns: Sequence[str]) -> None:
        self.file, self.columns = file, list(columns)
        self.rows: list[dict[str, object]] = []
        if file.is_file():
            stored = pd.read_csv(file, keep_default_na=False)
            self.rows = [{str(key): value for key, value in row.items()} for row in stored.to_dict("records")]

    def add(self, row: dict[str, object]) -> None:
        self.rows.append(row)
        write_rows(self.file, self.columns, self.rows)

    def take_back(self) -> str:
        """Turn the last verdict round; says what it is now."""
        last = self.rows[-1]
        last["success"] = not last["success"]
        write_rows(self.file, self.columns, self.rows)
        return "success" if last["success"] else "failure"

    def frame(self) -> pd.DataFrame:
        return pd.DataFrame(self.rows, columns=self.columns)


def ask(keys: Keys, verdicts: Verdicts, question: str) -> bool:
    """The person's verdict on the episode that has just ended."""
    while True:
        answers = {SUCCESS: "success", FAILURE: "failure"}
        if verdicts.rows:
            answers[UNDO] = "the one before was the other way round"
        key = keys.ask(question, answers)
        if key != UNDO:
            return key == SUCCESS
        question = f"the one before counts as a {verdicts.take_back()} now; and this one?"


def confusion(episodes: pd.DataFrame) -> pd.DataFrame:
    """The classifier's verdicts against the person's, by policy: counts, and how often they agree (95 %, Wilson)."""
    rows = []
    for policy, own in episodes.groupby("policy", sort=False):
        person, machine = own.success.astype(bool), own[CLASSIFIER].astype(bool)
        both, neither = int((person & machine).sum()), int((~person & ~machine).sum())
        agree = wilson(both + neither, len(own))
        only_machine, only_person = int((machine & ~person).sum()), int((person & ~machine).sum())
        rows.append((policy, len(own), both, only_machine, only_person, neither, agree.rate, agree.low, agree.high))
    return pd.DataFrame(rows, columns=CONFUSION_COLUMNS)


def confusion_table(table: pd.DataFrame) -> Table:
    """For the terminal: what both said, and of what each said alone the share with its interval."""
    shown = Table(title="The classifier's verdict beside the person's", title_justify="left")
    for column in ("policy", "both success", "only the classifier", "only the person", "neither", "agree"):
        shown.add_column(column, justify="left" if column == "policy" else "right")
    for row in table.itertuples(index=False):
        agree = wilson(row.both + row.neither, row.n)
        said, meant = row.both + row.only_classifier, row.both + row.only_person
        wrong = f"{row.only_classifier}\n{wilson(row.only_classifier, said)} of its own" if said else "0"
        missed = f"{row.only_person}\n{wilson(row.only_person, meant)} of theirs" if meant else "0"
        shown.add_row(
            str(row.policy), str(row.both), wrong, missed, str(row.neither), f"{row.both + row.neither}\n{agree}"
        )
    return shown
