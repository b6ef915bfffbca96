from __future__ import annotations

from typing import Any

from hiltk.reports.facts import classifier_fact, success_facts, training_facts
from hiltk.reports.sources import training_runs
from hiltk.reports.success import boards


def test_success_in_words(maker: Any) -> None:
    (board,) = boards(
        [maker.evaluation("e", {"bc": {"near": 10, "left_edge": 0}, "hil": {"near": 10, "left_edge": 10}})]
    )
    bc, hil, difference = success_facts(board)
    assert bc.startswith(
        "bc succeeds in 10 of 20 episodes: 50.0 % [29.9, 70.1], of this one training; its weakest stratum is left edge "
        "with 0.0 %"
    )
    assert "20 of 20" in hil and "mean time to success 1.4 s" in hil  # steps 10..19, half of them twice
    # Ten pairs all in one direction: p = 2 / 2^10.
    assert difference == (
        "hil against bc: +50.0 points [+21.1, +69.8] on 20 shared episodes of one training each "
        "(exact McNemar test, p = 0.002)."
    )


def test_several_seeds_in_words(maker: Any) -> None:
    parts = [
        maker.evaluation(
            f"e{s}", {f"bc-s{s}": {"near": 2 + s}, f"hil-s{s}": {"near": 9}}, seeds={f"bc-s{s}": s, f"hil-s{s}": s}
        )
        for s in (0, 1, 2)
    ]
    (board,) = boards(parts)
    bc, _, difference = success_facts(board)
    assert bc.startswith("bc: 30.0 % [5.2, 54.8] over 3 seeds (2, 3, 4 of 10 episodes); mean time")
    assert difference == "hil against bc: +60.0 points [+35.2, +84.8], paired by seed; better on 3 of 3 seeds."


def test_training_in_words(maker: Any) -> None:
    (label, runs), *_ = training_runs([maker.trained("hil-s3", 3)], "train").items()
    (fact,) = training_facts(label, runs)
    assert fact.startswith(
        "hil, seed 3: 40 episodes, 800 steps, 2.0 minutes; intervention rate 50 % of the steps in the first 20"
    )
    assert "0 % in the last 20; success when left alone 0 of 20, then 20 of 20." in fact
    assert fact.endswith("ended 4 of 40 episodes without true success and missed 0 true ones.")


def test_nothing_is_said_about_true_success_where_it_is_unknown(maker: Any) -> None:
    (runs,) = training_runs([maker.trained("hil")], "train").values()
    blind = {seed: frame.drop(columns="true_success") for seed, frame in runs.items()}
    assert "true" not in training_facts("hil", blind)[0]


def test_classifier_in_words(maker: Any) -> None:
    fact = classifier_fact(maker.classifier("cube"))
    assert fact == (
        "classifiers/cube@c-0001: precision 98.0 %, recall 90.0 % on held-out frames at threshold 0.500; "
        "1 of 8 held-out episodes wrongly ended."
    )
    assert classifier_fact(maker.trained("hil")) == ""
