from __future__ import annotations

from typing import Any

import pytest

from hiltk.artifacts.store import title_of
from hiltk.errors import ConfigError, UserError
from hiltk.reports.sources import find, read_csv, split_label, training_runs


def test_references_of_every_form_name_the_same_artifact_once(maker: Any) -> None:
    policy = maker.trained("hil-s0")
    forms = ["policies/hil-s0@p-0001", "policies/hil-s0", "hil-s0", "hil-s0@p-0001", str(policy.path)]
    assert [title_of(a) for a in find(forms, maker.root)] == ["policies/hil-s0@p-0001"]


def test_a_path_outside_the_store_keeps_its_kind(maker: Any, tmp_path: Any) -> None:
    policy = maker.trained("hil-s0")
    (found,) = find([str(policy.path)], tmp_path / "elsewhere")
    assert found.kind == "policies" and title_of(found) == str(policy.path)


def test_missing_and_empty_references(maker: Any) -> None:
    maker.trained("hil-s0")
    with pytest.raises(UserError, match="hil-s0"):
        find(["policies/hil-s"], maker.root)
    with pytest.raises(ConfigError, match="nothing to report"):
        find([], maker.root)


@pytest.mark.parametrize(
    ("label", "seed", "expected"),
    [
        ("hil-s0", 0, ("hil", 0)),
        ("hil_seed2", 2, ("hil", 2)),
        ("hil-s0@p-0003", 0, ("hil@p-0003", 0)),
        ("hil-s1", 0, ("hil-s1", 0)),  # the number is not the seed: part of the name
        ("hil-s1", None, ("hil", 1)),
        ("class2", 2, ("class2", 2)),
        ("hil", 1, ("hil", 1)),
    ],
)
def test_seed_in_a_name(label: str, seed: int | None, expected: tuple[str, int | None]) -> None:
    assert split_label(label, seed) == expected


def test_training_runs_are_grouped_over_seeds(maker: Any) -> None:
    policies = [maker.trained("hil-s0", 0), maker.trained("hil-s1", 1), maker.cloned("bc-s0")]
    assert {label: list(runs) for label, runs in training_runs(policies, "train").items()} == {"hil": [0, 1]}
    assert list(training_runs(policies, "bc-pretrain")) == ["bc"]


def test_two_versions_of_one_name_stay_apart(maker: Any) -> None:
    policies = [maker.trained("hil"), maker.trained("hil")]
    assert list(training_runs(policies, "train")) == ["hil", "hil@p-0002"]


def test_damaged_tables(maker: Any) -> None:
    policy = maker.trained("hil")
    with pytest.raises(UserError, match="has no readable"):
        read_csv(policy, "nothing.csv")
    with pytest.raises(UserError, match="lacks the columns q"):
        read_csv(policy, "metrics.csv", ["episode", "q"])
