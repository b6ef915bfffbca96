"""What a trained classifier is worth, in numbers and in plain words."""

from __future__ import annotations

import math
from dataclasses import asdict
from statistics import median
from typing import Any

import pandas as pd
from rich.table import Table

from hiltk.config.commands import ClassifierConf
from hiltk.intervals import wilson
from hiltk.limits import AFTER_SUCCESS, SHOWS_SUCCESS
from hiltk.reward_rule import is_positive, summarise
from hiltk.rewards.calibration import average_precision, reliability
from hiltk.rewards.frames import LabelledFrames
from hiltk.rewards.sessions import SessionScore
from hiltk.rewards.training import Result
from hiltk.rewards.tuning import Tuning

ADVISED_NEGATIVES = (2.0, 5.0)  # failure frames per success frame; HIL-SERL's authors use about five
MIN_UNSEEN_ACCURACY = 0.95  # HIL-SERL's authors go on from there


def metrics(result: Result, names: list[str]) -> dict[str, Any]:
    """Everything measured, as plain containers for JSON.

    Args:
        names: of every episode, by its number.
    """
    classifier, counts, replay = (result.classifier, result.confusion, summarise(result.verdicts))
    return {
        "frames": {"train": _counts(result.train), "held_out": _counts(result.held_out)},
        "negatives_per_positive": {"train": _ratio(result.train), "held_out": _ratio(result.held_out)},
        "episodes": {"train": len(result.split.train), "held_out": len(result.split.held_out)},
        "threshold": classifier.threshold,
        "hold_steps": classifier.hold_steps,
        "min_steps": classifier.min_steps,
        "temperature": classifier.temperature,
        "calibration_error": reliability(result.probabilities, result.held_out.success).error,
        "members": len(classifier.members),
        "spread": _spread(result),
        "precision": counts.precision,
        "recall": counts.recall,
        "accuracy": counts.accuracy,
        "false_positive_rate": counts.false_positive_rate,
        "average_precision": average_precision(result.curve),
        "confusion": asdict(counts),
        "wrongly_ended": asdict(replay.wrongly_ended),
        "wrongly_rewarded": asdict(replay.wrongly_rewarded),
        "too_soon": asdict(replay.too_soon) | {"steps": _known(replay.early_steps), "mm": _known(_early_mm(result))},
        "missed": asdict(replay.missed),
        "delay_steps": _known(replay.delay_steps),
        "tuning": _tuning(result.tuning),
        "sessions": [_session(score) for score in result.sessions],
        "held_out_episodes": _episodes(result, names),
        "best_step": result.best_step,
        "losses": [{"step": s, "train": t, "held_out": h} for s, t, h in result.losses],
    }


def warnings(result: Result, conf: ClassifierConf) -> list[str]:
    """What makes this classifier hard to trust, each with its fix; empty when nothing does."""
    labels, held_out = _counts(result.train), _counts(result.held_out)
    replay, found = summarise(result.verdicts), []
    if labels["success"] < SHOWS_SUCCESS * labels["frames"]:
        found.append(
            f"under {100 * SHOWS_SUCCESS:g} % of the frames show success: record with "
            f"steps_after_success={AFTER_SUCCESS}"
        )
    least, most = ADVISED_NEGATIVES
    if labels["failure"] < least * labels["success"]:
        found.append("fewer than two failure frames per success frame: record failures as well, with keep=all")
    if labels["failure"] > most * labels["success"]:
        found.append(
            f"{_ratio(result.train):.1f} failure frames per success frame, where {least:g} to {most:g} are advised: "
            "batches are half and half all the same, but more frames of success would help "
            f"(steps_after_success={AFTER_SUCCESS})"
        )
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
    if replay.wrongly_ended.count or replay.too_soon.count:
        by = f", the early ones by {_early(result)}" if replay.early.count else ""
        found.append(
            f"held-out episodes ended at a frame labelled failure: {replay.wrongly_ended.counted}, before success had "
            f"held: {replay.too_soon.counted}{by}; record more episodes at this pace, and go on longer after success, "
            "or raise hold_steps"
        )
    found += [
        f"had {score.session} not been recorded, {score.confusion.accuracy:.1%} of its frames would be judged rightly: "
        "a new day or lamp needs a few episodes of its own"
        for score in result.sessions
        if score.unseen and score.confusion.accuracy < MIN_UNSEEN_ACCURACY
    ]
    return found


def table(result: Result) -> Table:
    """The summary that the command prints."""
    classifier, counts, replay = (result.classifier, result.confusion, summarise(result.verdicts))
    fps = classifier.spec.fps
    out = Table(title="Success classifier on held-out episodes")
    out.add_column("what")
    out.add_column("value", justify="right")
    rows = {
        "episodes trained on / held out": f"{len(result.split.train)} / {len(result.split.held_out)}",
        "failure frames per success frame trained on": f"{_ratio(result.train):.1f}",
        "frames held out (success / failure)": "{success} / {failure}".format(**_counts(result.held_out)),
        "precision": f"{counts.precision:.1%}",
        "recall": f"{counts.recall:.1%}",
        "accuracy": f"{counts.accuracy:.1%}",
        "success called success / failure": f"{counts.true_positives} / {counts.false_negatives}",
        "failure called success / failure": f"{counts.false_positives} / {counts.true_negatives}",
        "calibration error": f"{reliability(result.probabilities, result.held_out.success).error:.1%}",
        "threshold": f"{classifier.threshold:.3f}",
        "frames that must hold / not before step": f"{classifier.hold_steps} / {classifier.min_steps}",
        "the same in seconds": f"{classifier.hold_steps / fps:.1f} / {classifier.min_steps / fps:.1f}",
        "episodes wrongly ended": replay.wrongly_ended.counted,
        "failed episodes wrongly rewarded": replay.wrongly_rewarded.counted,
        "episodes ended before success": replay.too_soon.counted,
        **({"successes ended early by": _early(result)} if replay.early.count else {}),
        "successful episodes missed": replay.missed.counted,
        "median delay": f"{replay.delay_steps:g} steps, {replay.delay_steps / fps:.1f} s",
    }
    for name, value in rows.items():
        out.add_row(name, value)
    return out


def session_table(result: Result) -> Table | None:
    """Session by session, as the command prints it; None where there is only one."""
    if len({score.session for score in result.sessions}) < 2:
        return None
    out = Table(title="Sessions")
    for name in ("session", "frames judged rightly", "episodes wrongly ended", "missed"):
        out.add_column(name, justify="left" if name == "session" else "right")
    for score in result.sessions:
        counts, replay = score.confusion, summarise(score.verdicts)
        frames = counts.true_positives + counts.true_negatives + counts.false_positives + counts.false_negatives
        out.add_row(
            score.session + (", as if never seen" if score.unseen else ""),
            f"{counts.accuracy:.1%} of {frames}",
            f"{replay.wrongly_ended.count} of {replay.wrongly_ended.n}",
            f"{replay.missed.count} of {replay.missed.n}",
        )
    return out


def curve_table(result: Result) -> pd.DataFrame:
    """The precision-recall curve: threshold, precision, recall, false_positive_rate."""
    return pd.DataFrame(asdict(result.curve))


def _early(result: Result) -> str:
    """By how much the rule ends successes before they have held: frames, and the way that was left."""
    steps, mm = summarise(result.verdicts).early_steps, _early_mm(result)
    return f"{steps:g} frames" + ("" if math.isnan(mm) else f", {mm:.0f} mm") + " (median)"


def _early_mm(result: Result) -> float:
    known = [mm for mm in result.to_go_mm if not math.isnan(mm)]
    return median(known) if known else math.nan


def _known(value: float) -> float | None:
    """JSON has no NaN."""
    return None if math.isnan(value) else value


def _counts(frames: LabelledFrames) -> dict[str, int]:
    success = int(frames.success.sum())
    return {"frames": len(frames), "success": success, "failure": len(frames) - success}


def _ratio(frames: LabelledFrames) -> float:
    counts = _counts(frames)
    return counts["failure"] / counts["success"]


def _spread(result: Result) -> dict[str, float] | None:
    """How far the networks of an ensemble disagree: over frames judged rightly, and over the others."""
    if len(result.opinions) < 2:
        return None
    spread = result.opinions.std(0)
    wrong = is_positive(result.probabilities, result.classifier.threshold) != result.held_out.success
    return {name: float(spread[rows].mean()) for name, rows in (("right", ~wrong), ("wrong", wrong)) if rows.any()}


def _tuning(tuning: Tuning) -> dict[str, Any]:
    """Counts of episodes by hold_steps (rows) and min_steps (columns)."""
    as_chosen = tuning.wrongly_ended[tuning.chosen]
    return {
        "versions": tuning.versions,
        "hold_steps": tuning.holds,
        "min_steps": tuning.earliest,
        "wrongly_ended": tuning.wrongly_ended.sum(-1).tolist(),
        "wrongly_ended_as_chosen": asdict(wilson(int(as_chosen.sum()), as_chosen.size)),
        "missed": tuning.missed.sum(-1).tolist(),
        "chosen": {"hold_steps": tuning.hold_steps, "min_steps": tuning.min_steps},
        "mistakes_by_rule_of_the_others": asdict(wilson(tuning.mistakes_apart(), tuning.episodes)),
    }


def _session(score: SessionScore) -> dict[str, Any]:
    counts, replay = score.confusion, summarise(score.verdicts)
    return {
        "session": score.session,
        "unseen": score.unseen,
        "accuracy": counts.accuracy,
        "confusion": asdict(counts),
        "wrongly_ended": asdict(replay.wrongly_ended),
        "missed": asdict(replay.missed),
    }


def _episodes(result: Result, names: list[str]) -> list[dict[str, Any]]:
    pairs = zip(result.split.held_out, result.verdicts, strict=True)
    return [
        {"episode": names[n], "verdict": v.verdict.name, "ended_at": v.ended_at, "should_end_at": v.should_end_at}
        for n, v in pairs
    ]
