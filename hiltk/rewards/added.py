"""Frames that an earlier version of a classifier got wrong: how it judged them, and how the new one does."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np

from hiltk.intervals import wilson
from hiltk.reward_rule import is_positive, judge_episode, summarise
from hiltk.rewards.calibration import confusion
from hiltk.rewards.classifier import SuccessClassifier
from hiltk.rewards.frames import LabelledFrames


def judge_added(classifier: SuccessClassifier, frames: LabelledFrames, true_hold_steps: int) -> dict[str, Any]:
    """The added frames under a classifier's own threshold and hold: shares of frames and of episodes, for JSON.

    Args:
        true_hold_steps: an episode succeeds where its labels hold for so long.
    """
    probabilities = classifier.probabilities({k: v[:] for k, v in frames.images.items()})
    positive = is_positive(probabilities, classifier.threshold)
    verdicts = []
    for number in np.unique(frames.episode):
        rows = frames.episode == number
        hold = classifier.hold_steps, classifier.min_steps
        verdicts.append(judge_episode(positive[rows], frames.success[rows], *hold, true_hold_steps=true_hold_steps))
    counts = confusion(probabilities, frames.success, classifier.threshold)
    failures = counts.false_positives + counts.true_negatives
    successes = counts.true_positives + counts.false_negatives
    return {
        "false_positives": asdict(wilson(counts.false_positives, failures)),
        "false_negatives": asdict(wilson(counts.false_negatives, successes)),
        "mean_probability_of_failures": float(probabilities[~frames.success].mean()) if failures else None,
        "wrongly_ended": asdict(summarise(verdicts).wrongly_ended),
        "threshold": classifier.threshold,
    }
