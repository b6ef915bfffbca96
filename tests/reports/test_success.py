from __future__ import annotations

from typing import Any

import pytest

from hiltk.artifacts.store import resolve
from hiltk.config.groups import JitterConf, So101SimConf
from hiltk.errors import UserError
from hiltk.evaluation.tables import TOTAL
from hiltk.intervals import over_seeds
from hiltk.reports.sections import success_table
from hiltk.reports.sources import training_runs
from hiltk.reports.success import boards


def three_seeds(maker: Any) -> list[Any]:
    return [
        maker.evaluation(
            f"e-s{s}",
            {f"bc-s{s}": {"near": 9, "far": 2 + s}, f"hil-s{s}": {"near": 10, "far": 9}},
            seeds={f"bc-s{s}": s, f"hil-s{s}": s},
        )
        for s in (0, 1, 2)
    ]


def test_seeds_of_a_policy_share_a_column_group(maker: Any) -> None:
    (board,) = boards(three_seeds(maker))
    assert board.policies == ["bc", "hil"] and board.rows == ["near", "far", TOTAL]
    assert board.seeds("bc") == [0, 1, 2]
    assert [board.single("bc", "far", s).count for s in (0, 1, 2)] == [2, 3, 4]
    far = board.rate("bc", "far")
    assert far == over_seeds([(2, 10), (3, 10), (4, 10)]) and far.singles == "2, 3, 4 of 10"
    pooled = board.rate("hil").pooled
    assert (pooled.count, pooled.n) == (57, 60)
    assert (pooled.low, pooled.high) == (pytest.approx(0.8630, abs=1e-4), pytest.approx(0.9829, abs=1e-4))
    assert board.rate("hil").low < pooled.low  # what three trainings say of others


def test_trainings_that_differ_in_more_than_the_seed_are_not_averaged(maker: Any) -> None:
    for seed in (0, 1, 2):
        maker.repaired(f"demos-s{seed}")
        maker.trained(f"hil-s{seed}", seed, utd=4.0 if seed == 2 else 2.0, demos=[f"demos-s{seed}@d-0001"])
    seeds = {f"hil-s{s}": s for s in (0, 1, 2)}
    (board,) = boards([maker.evaluation("e", {name: {"near": 9} for name in seeds}, seeds=seeds)])
    assert {p: board.seeds(p) for p in board.policies} == {"hil (utd=2.0)": [0, 1], "hil (utd=4.0)": [2]}
    assert list(training_runs([resolve(n, "policies", maker.root) for n in seeds], "train")) == board.policies


def test_difference_pairs_by_training_seed_and_episode(maker: Any) -> None:
    (board,) = boards(three_seeds(maker))
    gap = board.compare("bc", "hil", "far")
    # The first episodes win: hil's 9 contain bc's 2, 3 and 4.
    assert [(pair.n, pair.only_first, pair.only_second) for pair in gap.seeds] == [(10, 0, 7), (10, 0, 6), (10, 0, 5)]
    # 0.7, 0.6, 0.5: s = 0.1, half width 4.3027 s / sqrt(3).
    assert (gap.difference, gap.low) == (pytest.approx(0.6), pytest.approx(0.6 - 0.24842, abs=1e-4))


def test_table_has_every_number(maker: Any) -> None:
    (board,) = boards(three_seeds(maker))
    table = board.table().set_index(["policy", "seed", "stratum"])
    assert len(table) == 2 * 5 * 3
    assert table.loc[("hil", "1", TOTAL), "interval"] == "episodes"
    assert table.loc[("hil", "all", TOTAL), "interval"] == "trainings"
    assert "ignores variation between seeds" in table.loc[("hil", "pooled", TOTAL), "interval"]
    assert table.loc[("bc", "1", "far"), "successes"] == 3
    assert table.loc[("hil", "all", TOTAL), "n"] == 60


def test_the_same_episodes_count_once(maker: Any) -> None:
    twice = [maker.evaluation(name, {"hil": {"near": 8}}) for name in ("a", "b")]
    (board,) = boards(twice)
    assert board.rate("hil").n == 10
    (board,) = boards([*twice, maker.evaluation("c", {"hil": {"near": 8}}, run_seed=1)])
    assert board.rate("hil").n == 20


def test_versions_of_a_policy_are_not_mixed(maker: Any) -> None:
    old = maker.evaluation("old", {"hil": {"near": 2}}, refs={"hil": "hil@p-0001"})
    new = maker.evaluation("new", {"hil": {"near": 9}}, refs={"hil": "hil@p-0002"})
    (board,) = boards([old, new])
    assert {p: board.rate(p).count for p in board.policies} == {"hil@p-0001": 2, "hil@p-0002": 9}


def test_settings_are_not_mixed(maker: Any) -> None:
    plain = maker.evaluation("plain", {"hil": {"near": 10}})
    jitter = maker.evaluation("jitter", {"hil": {"near": 5}}, env=So101SimConf(jitter=JitterConf(color=1.0)))
    first, second = boards([plain, jitter])
    assert (first.setting, second.setting) == ("env.jitter.color=0.0", "env.jitter.color=1.0")
    assert (first.rate("hil").count, second.rate("hil").count) == (10, 5)


def test_time_to_success_in_seconds(maker: Any) -> None:
    (board,) = boards([maker.evaluation("e", {"hil": {"near": 3}, "bc": {"near": 0}})])
    assert board.time_s("hil") == pytest.approx((10 + 11 + 12) / 3 / 10)
    assert board.time_s("bc") is None
    ((_, with_time, without, *_), *_) = success_table(board).body
    assert with_time.note.endswith("3/10, 1.1 s") and without.note.endswith("0/10")


def test_evaluation_without_episodes_is_refused(maker: Any) -> None:
    evaluation = maker.evaluation("e", {"hil": {"near": 3}})
    (evaluation.path / "episodes.csv").unlink()
    with pytest.raises(UserError, match=r"has no readable episodes\.csv"):
        boards([evaluation])
