"""From scores to decisions: temperature, threshold, precision-recall curve, confusion."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp

from hiltk.reward_rule import is_positive

MAX_TEMPERATURE = 20.0


@dataclass(frozen=True)
class Confusion:
    """Counts of frames, and what follows from them; a ratio without cases is 0."""

    true_positives: int
    false_positives: int
    true_negatives: int
    false_negatives: int

    @property
    def precision(self) -> float:
        return _ratio(self.true_positives, self.true_positives + self.false_positives)

    @property
    def recall(self) -> float:
        return _ratio(self.true_positives, self.true_positives + self.false_negatives)

    @property
    def false_positive_rate(self) -> float:
        return _ratio(self.false_positives, self.false_positives + self.true_negatives)

    @property
    def accuracy(self) -> float:
        wrong = self.false_positives + self.false_negatives
        return _ratio(self.true_positives + self.true_negatives, wrong + self.true_positives + self.true_negatives)


@dataclass(frozen=True)
class Curve:
    """Precision, recall and false-positive rate at each threshold, thresholds rising; all (K,)."""

    threshold: np.ndarray
    precision: np.ndarray
    recall: np.ndarray
    false_positive_rate: np.ndarray


@dataclass(frozen=True)
class Reliability:
    """Said against seen, per bin of equal width over [0, 1]; all (K,), NaN where a bin is empty.

    Both classes weigh equally, as in training: the probability is that of success where failure is as likely.

    Attributes:
        said: mean probability of the frames in the bin.
        seen: weighted share of successes among them.
        weight: share of the whole weight that lies in the bin; they add up to 1.
        frames: number of frames in the bin.
    """

    said: np.ndarray
    seen: np.ndarray
    weight: np.ndarray
    frames: np.ndarray

    @property
    def error(self) -> float:
        """Expected calibration error: the weighted mean distance of said and seen (Guo et al. 2017, equation 3)."""
        return float(np.nansum(self.weight * np.abs(self.said - self.seen)))


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """Logistic function, without overflow for large negative logits."""
    return np.exp(-np.logaddexp(0.0, -logits))


def balanced_loss(logits: np.ndarray, success: np.ndarray, temperature: float = 1.0) -> float:
    """Cross-entropy of the mean probability, with both classes weighted equally, as they are sampled in training.

    Args:
        logits: (N,) of one network, or (K, N) of an ensemble.
        success: (N,) bool labels.
    """
    wrong = np.atleast_2d(np.where(success, -logits, logits) / temperature)
    # -log of the mean over networks of sigmoid(-wrong), without overflow.
    losses = np.log(len(wrong)) - logsumexp(-np.logaddexp(0.0, wrong), axis=0)
    return float((losses[success].mean() + losses[~success].mean()) / 2)


def fit_temperature(logits: np.ndarray, success: np.ndarray) -> float:
    """Temperature scaling (Guo et al. 2017): the divisor of the logits with the lowest loss on held-out frames.

    At least 1: a few held-out episodes without a mistake would ask for boundless confidence, so it only ever softens.
    """
    result = minimize_scalar(
        lambda log_t: balanced_loss(logits, success, float(np.exp(log_t))),
        bounds=(0.0, np.log(MAX_TEMPERATURE)),
        method="bounded",
    )
    return 1.0 if result.x < 1e-3 else float(np.exp(result.x))


def choose_threshold(
    probabilities: np.ndarray, success: np.ndarray, max_false_positive_rate: float, floor: float = 0.5
) -> float:
    """The threshold of a classifier whose verdict is "success" at or above it.

    The rule: the lowest one, from ``floor`` up, whose false-positive rate is at most ``max_false_positive_rate``. All
    thresholds in the gap between two neighbouring scores give the same verdicts; the middle of the gap is taken, since
    the wrong side of either end is a mistake. The floor is what theory asks for: both classes are drawn equally in
    training, so where failures are n times as many, a frame of probability p is likelier a success only where
    p > n / (n + 1) (Elkan 2001, theorem 2). A handful of held-out episodes knows no better than that, only whether too
    many failures lie above.

    Args:
        probabilities: (N,) scores in [0, 1].
        success: (N,) bool labels with at least one failure.
        max_false_positive_rate: of failure frames called success, 0..1.
    """
    scores = np.unique(np.append(probabilities, [0.0, 1.0]))
    candidates = np.maximum(floor, (scores[:-1] + scores[1:]) / 2)[scores[1:] >= floor]
    failures = np.sort(probabilities[~success])
    wrong = len(failures) - np.searchsorted(failures, candidates)
    few_enough = candidates[wrong <= max_false_positive_rate * len(failures) + 1e-9]
    return float(few_enough[0]) if len(few_enough) else 1.0  # 1: failures score 1 itself


def confusion(probabilities: np.ndarray, success: np.ndarray, threshold: float) -> Confusion:
    """Count verdicts "success" at or above ``threshold`` against the labels."""
    verdict = is_positive(probabilities, threshold)
    return Confusion(
        true_positives=int((verdict & success).sum()),
        false_positives=int((verdict & ~success).sum()),
        true_negatives=int((~verdict & ~success).sum()),
        false_negatives=int((~verdict & success).sum()),
    )


def precision_recall_curve(probabilities: np.ndarray, success: np.ndarray, max_points: int = 500) -> Curve:
    """The curve over every distinct score, thinned evenly to ``max_points``."""
    thresholds = np.unique(probabilities)
    if len(thresholds) > max_points:
        thresholds = thresholds[np.linspace(0, len(thresholds) - 1, max_points).astype(int)]
    points = [confusion(probabilities, success, t) for t in thresholds]
    return Curve(
        thresholds,
        np.array([p.precision for p in points]),
        np.array([p.recall for p in points]),
        np.array([p.false_positive_rate for p in points]),
    )


def average_precision(curve: Curve) -> float:
    """Area below the precision-recall curve as the sum of precision times step in recall."""
    recall_below = np.append(curve.recall[1:], 0.0)
    return float(((curve.recall - recall_below) * curve.precision).sum())


def reliability(probabilities: np.ndarray, success: np.ndarray, bins: int = 10) -> Reliability:
    """How often frames show success that are said to do so with about this probability.

    Args:
        probabilities: (N,) in [0, 1].
        success: (N,) bool labels with both classes.
    """
    weights = np.where(success, 0.5 / success.sum(), 0.5 / (~success).sum())
    place = np.minimum((probabilities * bins).astype(int), bins - 1)
    weight = np.bincount(place, weights, bins)
    with np.errstate(invalid="ignore"):
        said = np.bincount(place, weights * probabilities, bins) / weight
        seen = np.bincount(place, weights * success, bins) / weight
    return Reliability(said, seen, weight, np.bincount(place, minlength=bins))


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
