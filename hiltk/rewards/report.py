"""What a trained classifier is worth, in numbers and in plain words."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pandas as pd
from rich.table import Table

from hiltk.config import ClassifierConf
from hiltk.rewards.calibration import average_precision
from hiltk.rewards.frames import LabelledFrames
from hiltk.rewards.hold import summarise
from hiltk.rewards.training import Result

MIN_POSITIVE_SHARE = 0.02  # below it, terminal-only labels starve the classifier (devlog 058)
MIN_NEGATIVES_PER_POSITIVE = 2.0  # HIL-SERL's authors use about five


def metrics(result: Result, names: list[str]) -> dict[str, Any]:
    """Everything measured, as plain containers for JSON.

    Args:
        names: of every episode, by its number.
    """
    classifier, counts, replay = (result.classifier, result.confusion, summarise(result.verdicts))
    return {
        "frames": {"train": _counts(result.train), "held_out": _counts(result.held_out)},
        "episodes": {"train": len(result.split.train), "held_out": len(result.split.held_out)},
        "threshold": classifier.threshold,
        "hold_steps": classifier.hold_steps,
        "min_steps": classifier.min_steps,
        "temperature": classifier.temperature,
        "precision": counts.precision,
        "recall": counts.recall,
        "accuracy": counts.accuracy,
        "false_positive_rate": counts.false_positive_rate,
        "average_precision": average_precision(result.curve),
        "confusion": asdict(counts),
        "wrongly_ended": asdict(replay.wrongly_ended),
        "missed": asdict(replay.missed),
        "delay_steps": None if replay.delay_steps != replay.delay_steps else replay.delay_steps,
        "held_out_episodes": _episodes(result, names),
        "best_step": result.best_step,
        "losses": [{"step": s, "train": t, "held_out": h} for s, t, h in result.losses],
    }


def warnings(result: Result, conf: ClassifierConf) -> list[str]:
    """What makes this classifier hard to trust, each with its remedy; empty when nothing does."""
    labels, held_out = _counts(result.train), _counts(result.held_out)
    replay, found = summarise(result.verdicts), []
    if labels["success"] < MIN_POSITIVE_SHARE * labels["frames"]:
        found.append("under 2 % of the frames show success: record with steps_after_success=5")
    if labels["failure"] < MIN_NEGATIVES_PER_POSITIVE * labels["success"]:
        found.append("fewer than two failure frames per success frame: record failures as well, with keep=all")
    if not any(v.should_end_at is None for v in result.verdicts):
        found.append(
            "no held-out episode fails: what this classifier says of an empty hand is unknown, and often wrong; "
            "record ten episodes with human=wandering keep=all and add them"
        )
    if held_out["failure"] * conf.max_false_positive_rate < 1:
        found.append(
            f"{held_out['failure']} held-out failure frames cannot show a false-positive rate of "
            f"{conf.max_false_positive_rate:g}: the threshold allows none of them, but record more"
        )
    if result.confusion.recall < 0.5:
        found.append(
            f"at the threshold only {result.confusion.recall:.0%} of held-out success frames are recognised: look at "
            "mistakes.png for wrong labels, or add a camera that sees the difference"
        )
    if replay.wrongly_ended.count:
        found.append(f"held-out episodes ended at a frame labelled failure: {replay.wrongly_ended}; raise hold_steps")
    return found


def table(result: Result) -> Table:
    """The summary that the command prints."""
    classifier, counts, replay = (result.classifier, result.confusion, summarise(result.verdicts))
    out = Table(title="Success classifier on held-out episodes")
    out.add_column("what")
    out.add_column("value", justify="right")
    rows = {
        "episodes trained on / held out": f"{len(result.split.train)} / {len(result.split.held_out)}",
        "frames held out (success / failure)": "{success} / {failure}".format(**_counts(result.held_out)),
        "precision": f"{counts.precision:.1%}",
        "recall": f"{counts.recall:.1%}",
        "accuracy": f"{counts.accuracy:.1%}",
        "success called success / failure": f"{counts.true_positives} / {counts.false_negatives}",
        "failure called success / failure": f"{counts.false_positives} / {counts.true_negatives}",
        "threshold": f"{classifier.threshold:.3f}",
        f"episodes wrongly ended (hold {classifier.hold_steps})": str(replay.wrongly_ended),
        "successful episodes missed": str(replay.missed),
        "median delay": f"{replay.delay_steps:g} steps",
    }
    for name, value in rows.items():
        out.add_row(name, value)
    return out


def curve_table(result: Result) -> pd.DataFrame:
    """The precision-recall curve: threshold, precision, recall, false_positive_rate."""
    return pd.DataFrame(asdict(result.curve))


def _counts(frames: LabelledFrames) -> dict[str, int]:
    success = int(frames.success.sum())
    return {"frames": len(frames), "success": success, "failure": len(frames) - success}


def _episodes(result: Result, names: list[str]) -> list[dict[str, Any]]:
    pairs = zip(result.split.held_out, result.verdicts, strict=True)
    return [
        {"episode": names[n], "verdict": v.verdict.name, "ended_at": v.ended_at, "should_end_at": v.should_end_at}
        for n, v in pairs
    ]
