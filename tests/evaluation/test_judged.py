"""A person's verdicts: blind order, every one on disk at once, and the classifier's beside them."""

from __future__ import annotations

import io
import itertools
import sys
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hiltk.errors import UserError
from hiltk.evaluation.judged import CLASSIFIER, Verdicts, ask, blind_order, confusion
from hiltk.evaluation.seeds import episode_seeds
from hiltk.keys import Keys


@given(st.integers(1, 3), st.integers(1, 8), st.integers(0, 99))
def test_every_policy_meets_every_start_once_and_shares_it(policies: int, episodes: int, seed: int) -> None:
    order = blind_order(policies, ["near", "far"], episodes, seed)
    assert Counter((t.policy, t.stratum, t.number) for t in order).most_common(1)[0][1] == 1
    assert len(order) == policies * 2 * episodes
    for first in range(0, len(order), policies):  # one start after the other, all policies from each
        block = order[first : first + policies]
        assert len({(t.stratum, t.seed) for t in block}) == 1
    assert {t.seed for t in order if t.stratum == "far"} == {*episode_seeds(seed, "far", episodes)}


def test_the_order_does_not_give_away_who_acts() -> None:
    order = blind_order(2, ["near"], 200, seed=3)
    first = [t.policy for t in order[::2]]
    assert 70 < sum(first) < 130
    assert {*itertools.pairwise(first)} == {(0, 0), (0, 1), (1, 0), (1, 1)}  # nor the order before


def answers(monkeypatch: pytest.MonkeyPatch, *lines: str) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("".join(f"{line}\n" for line in lines)))


def test_a_verdict_is_on_disk_before_the_next_and_can_be_taken_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers(monkeypatch, "success", "x", "u", "f")
    verdicts = Verdicts(tmp_path / "judged.csv", ["policy", "success"])
    with Keys() as keys:
        verdicts.add({"policy": "a", "success": ask(keys, verdicts, "1 of 2?")})
        assert pd.read_csv(tmp_path / "judged.csv").success.tolist() == [True]
        verdicts.add({"policy": "b", "success": ask(keys, verdicts, "2 of 2?")})  # x is no answer; u turns the first
        again = Verdicts(tmp_path / "judged.csv", ["policy", "success"])
        assert again.frame().to_dict("list") == {"policy": ["a", "b"], "success": [False, False]}
        with pytest.raises(UserError, match="nobody is there to answer: 3"):
            ask(keys, verdicts, "3 of 3?")


def test_the_confusion_counts_what_each_said_alone() -> None:
    person = [True] * 12 + [False] * 8
    machine = [True] * 10 + [False] * 2 + [True] * 3 + [False] * 5
    rows = pd.DataFrame({"policy": "p", "success": person, CLASSIFIER: machine})
    (row,) = confusion(rows).to_dict("records")
    assert (row["both"], row["only_classifier"], row["only_person"], row["neither"]) == (10, 3, 2, 5)
    assert (row["agree"], round(row["agree_low"], 3), round(row["agree_high"], 3)) == (0.75, 0.531, 0.888)  # Wilson
