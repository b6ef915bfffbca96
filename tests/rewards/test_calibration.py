from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hiltk.rewards.calibration import (
    MAX_TEMPERATURE,
    average_precision,
    balanced_loss,
    choose_threshold,
    confusion,
    fit_temperature,
    precision_recall_curve,
    reliability,
    sigmoid,
)

# Ten failures and five successes; one failure scores as high as a success.
NEGATIVE = [0.01, 0.02, 0.03, 0.05, 0.10, 0.20, 0.30, 0.55, 0.70, 0.90]
POSITIVE = [0.60, 0.80, 0.95, 0.97, 0.99]
P = np.array(NEGATIVE + POSITIVE)
SUCCESS = np.array([False] * 10 + [True] * 5)


@pytest.mark.parametrize(
    ("rate", "threshold"),
    [
        (0.0, (0.90 + 0.95) / 2),  # none allowed
        (0.05, (0.90 + 0.95) / 2),  # 0.05 * 10 = 0.5: none allowed
        (0.1, (0.70 + 0.80) / 2),  # one allowed: 0.90
        (0.2, (0.55 + 0.60) / 2),  # two allowed: 0.90, 0.70
        (0.9, 0.5),  # more allowed than there are above the floor
    ],
)
def test_threshold_by_hand(rate: float, threshold: float) -> None:
    assert choose_threshold(P, SUCCESS, rate) == pytest.approx(threshold)


def test_threshold_floor_is_an_option() -> None:
    p, success = np.array([0.10, 0.30, 0.55]), np.array([False, False, True])
    assert choose_threshold(p, success, 0.0) == 0.5
    assert choose_threshold(p, success, 0.0, floor=0.1) == pytest.approx((0.30 + 0.55) / 2)


def test_separated_classes_get_the_floor_or_the_middle_of_the_gap() -> None:
    success = np.array([False, False, True])
    assert choose_threshold(np.array([0.01, 0.02, 0.9]), success, 0.0) == 0.5
    assert choose_threshold(np.array([0.01, 0.6, 0.9]), success, 0.0) == pytest.approx(0.75)


def test_a_failure_above_every_success_makes_the_classifier_silent() -> None:
    p, success = np.array([0.1, 0.9, 0.8]), np.array([False, False, True])
    threshold = choose_threshold(p, success, 0.0)
    assert threshold == pytest.approx(0.95)
    assert confusion(p, success, threshold).recall == 0


def test_ties_count_as_false_positives() -> None:
    # Three failures share the score 0.6: allowing one cannot admit that score.
    p, success = np.array([0.6, 0.6, 0.6, 0.2, 0.8]), np.array([False] * 4 + [True])
    threshold = choose_threshold(p, success, 0.25)
    assert threshold == pytest.approx(0.7)
    assert confusion(p, success, threshold).false_positives == 0


scores = st.lists(st.floats(0, 1), min_size=1, max_size=40)


@given(scores, scores, st.floats(0, 0.99), st.floats(0.01, 0.99))
@settings(max_examples=300, deadline=None)
def test_threshold_keeps_the_promised_rate_and_loses_no_success_for_nothing(
    negative: list[float], positive: list[float], rate: float, floor: float
) -> None:
    p = np.array(negative + positive)
    success = np.array([False] * len(negative) + [True] * len(positive))
    # Scores one rounding error below 1 leave no number between them and 1.
    p = np.round(p, 6)
    threshold = choose_threshold(p, success, rate, floor)
    chosen = confusion(p, success, threshold)
    assert threshold >= floor
    if threshold < 1:
        assert chosen.false_positive_rate <= rate + 1e-9
    others = [confusion(p, success, t) for t in np.append(p[p >= floor], floor)]
    allowed = [o.recall for o in others if o.false_positive_rate <= rate + 1e-9]
    assert chosen.recall >= max(allowed, default=0.0)


def test_confusion_by_hand() -> None:
    counts = confusion(P, SUCCESS, 0.75)
    assert (counts.true_positives, counts.false_positives) == (4, 1)
    assert (counts.true_negatives, counts.false_negatives) == (9, 1)
    assert counts.precision == pytest.approx(4 / 5)
    assert counts.recall == pytest.approx(4 / 5)
    assert counts.false_positive_rate == pytest.approx(1 / 10)
    assert counts.accuracy == pytest.approx(13 / 15)


def test_the_verdict_at_the_threshold_is_success() -> None:
    assert confusion(np.array([0.5]), np.array([True]), 0.5).true_positives == 1


def test_ratios_without_cases_are_zero() -> None:
    counts = confusion(np.array([0.1, 0.2]), np.array([False, False]), 0.5)
    assert counts.precision == counts.recall == 0


def test_curve_by_hand() -> None:
    p, success = np.array([0.2, 0.4, 0.6, 0.8]), np.array([False, True, False, True])
    curve = precision_recall_curve(p, success)
    np.testing.assert_allclose(curve.threshold, [0.2, 0.4, 0.6, 0.8])
    np.testing.assert_allclose(curve.precision, [2 / 4, 2 / 3, 1 / 2, 1])
    np.testing.assert_allclose(curve.recall, [1, 1, 1 / 2, 1 / 2])
    np.testing.assert_allclose(curve.false_positive_rate, [1, 1 / 2, 1 / 2, 0])
    # Recall falls 1 -> 1 -> 1/2 -> 1/2 -> 0: half a step at precision 2/3, half at precision 1.
    assert average_precision(curve) == pytest.approx(0.5 * 2 / 3 + 0.5 * 1)


def test_curve_is_thinned_but_keeps_its_ends() -> None:
    p = np.linspace(0, 1, 5000)
    curve = precision_recall_curve(p, p > 0.5, max_points=100)
    assert len(curve.threshold) == 100
    assert curve.threshold[0] == 0 and curve.threshold[-1] == 1


def test_balanced_loss_weighs_classes_not_frames() -> None:
    # log(1 + e^0) = log 2 for the success, log(1 + e^-2) for each of three failures.
    logits, success = np.array([0.0, -2.0, -2.0, -2.0]), np.array([True, False, False, False])
    assert balanced_loss(logits, success) == pytest.approx((np.log(2) + np.log1p(np.exp(-2))) / 2)


def test_temperature_undoes_a_known_overconfidence() -> None:
    rng = np.random.default_rng(0)
    true_logits = rng.normal(0, 2, 40_000)
    success = rng.random(40_000) < sigmoid(true_logits)
    assert fit_temperature(3 * true_logits, success) == pytest.approx(3.0, rel=0.05)


def test_temperature_never_sharpens() -> None:
    # Without a mistake, the likelihood would ask for boundless confidence.
    assert fit_temperature(np.array([-1.0, -2.0, 1.0]), np.array([False, False, True])) == 1.0


def test_temperature_is_bounded() -> None:
    assert fit_temperature(np.array([50.0, -50.0]), np.array([False, True])) == pytest.approx(MAX_TEMPERATURE, rel=0.01)


def test_sigmoid_does_not_overflow() -> None:
    with np.errstate(over="raise"):
        np.testing.assert_allclose(sigmoid(np.array([-1000.0, 0.0, 1000.0])), [0, 0.5, 1])


# ---------------------------------------------------------------- ensembles and reliability


def test_loss_of_an_ensemble_is_that_of_its_mean_probability() -> None:
    logits = np.array([[2.0, -1.0, 0.5], [0.0, -3.0, 4.0]])
    success = np.array([True, False, True])
    p = sigmoid(logits / 1.5).mean(0)
    expected = (-(np.log(p[0]) + np.log(p[2])) / 2 - np.log(1 - p[1])) / 2
    assert balanced_loss(logits, success, 1.5) == pytest.approx(expected)
    assert balanced_loss(logits[:1], success) == pytest.approx(balanced_loss(logits[0], success))
    assert np.isfinite(balanced_loss(1000 * logits, success))


def test_reliability_by_hand() -> None:
    """Four failures and one success: the success weighs as much as all four failures.

    Lowest bin: two failures at 0.05, weight 2/8, all failures. Bin of 0.65: two failures and the success, weight
    2/8 + 1/2, of which 1/2 is success.
    """
    p, success = np.array([0.05, 0.05, 0.65, 0.65, 0.65]), np.array([False, False, False, False, True])
    found = reliability(p, success, bins=10)
    assert found.frames.tolist() == [2, 0, 0, 0, 0, 0, 3, 0, 0, 0]
    assert found.weight[[0, 6]].tolist() == [0.25, 0.75]
    assert found.seen[0] == 0 and found.seen[6] == pytest.approx(2 / 3) and found.said[6] == pytest.approx(0.65)
    assert np.isnan(found.seen[1])
    assert found.error == pytest.approx(0.25 * 0.05 + 0.75 * (2 / 3 - 0.65))


def test_a_calibrated_classifier_has_no_error_and_a_boastful_one_has() -> None:
    rng = np.random.default_rng(0)
    p = rng.random(200_000)
    success = rng.random(len(p)) < p
    assert reliability(p, success).error < 0.01
    boastful = np.where(p > 0.5, 0.999, 0.001)
    assert reliability(boastful, success).error == pytest.approx(0.249, abs=0.01)
    assert reliability(np.array([0.0, 1.0]), np.array([False, True])).error == 0


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=2, max_size=50))
def test_reliability_weighs_every_frame_once(made: list[tuple[float, bool]]) -> None:
    p = np.array([x for x, _ in made] + [0.3, 0.6])
    found = reliability(p, np.array([y for _, y in made] + [True, False]))
    assert found.frames.sum() == len(p) and found.weight.sum() == pytest.approx(1)
    assert 0 <= found.error <= 1
