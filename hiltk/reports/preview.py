"""The page of `hiltk preview`: every episode as a film strip with its probability below, wrong ones first."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hiltk.evaluation.preview import Look
from hiltk.reports.colors import FAILURE, SUCCESS
from hiltk.reports.page import Cell, Section, Table, Video
from hiltk.reports.page import Figure as Picture
from hiltk.reward_rule import Verdict, summarise

WIDTH, LEFT, RIGHT, STRIP, TITLE, AXIS = 7.2, 0.45, 0.12, 0.85, 0.28, 0.3  # inches of a figure and its parts
CELLS = 10  # frames of a film strip
RIGHT_END, WRONG_END, WARNING, INK = "#009E73", "#D55E00", "#CC79A7", "#33383d"
MOST_ROWS = 200  # episodes in the page's table; all are in episodes.csv
WORDS = {
    Verdict.wrongly_ended: "wrongly ended",
    Verdict.missed: "missed",
    Verdict.rightly_ended: "rightly ended",
    Verdict.rightly_silent: "rightly not ended",
}


# ---------------------------------------------------------------- tables


def verdict_words(look: Look) -> str:
    """``rightly ended, 2 frames late``; without labels only whether it was ended."""
    if look.verdict is None:
        return "not ended" if look.ended_at is None else "ended"
    words, delay = WORDS[look.verdict.verdict], look.delay
    if not delay:
        return words
    return f"{words}, {abs(delay)} frame{'s' * (abs(delay) != 1)} {'late' if delay > 0 else 'early'}"


def episode_table(looks: Sequence[Look]) -> pd.DataFrame:
    """One row per episode; frames count from 0, empty where there is none."""
    rows = [
        {
            "episode": look.name,
            "frames": len(look),
            "label": "" if look.success is None else ("success" if look.success.any() else "failure"),
            "verdict": verdict_words(look).split(",")[0],
            "judged_from": look.first_positive,
            "labelled_from": look.first_label,
            "ended_at": look.ended_at,
            "should_end_at": look.verdict.should_end_at if look.verdict else None,
            "delay": look.delay,
            "highest_probability": round(float(look.probability.max()), 4),
            "drift": "; ".join(drift.finding.what for _, drift in look.drift),
        }
        for look in looks
    ]
    whole = ["judged_from", "labelled_from", "ended_at", "should_end_at", "delay"]
    return pd.DataFrame(rows).astype(dict.fromkeys(whole, "Int64"))


def frame_table(looks: Sequence[Look]) -> pd.DataFrame:
    """One row per frame of every episode."""
    parts = [
        pd.DataFrame(
            {
                "episode": look.name,
                "frame": np.arange(len(look)),
                "probability": look.probability,
                "spread": look.spread,
                "judged_success": look.positive,
                "hold": look.run,
                "label": pd.array([None] * len(look) if look.success is None else look.success, "boolean"),
            }
        )
        for look in looks
    ]
    return pd.concat(parts, ignore_index=True)


def facts(looks: Sequence[Look], taught: bool) -> list[str]:
    """What the page says first.

    Args:
        taught: the classifier was trained on these very episodes.
    """
    found = []
    verdicts = [look.verdict for look in looks if look.verdict]
    if verdicts:
        replay = summarise(verdicts)
        found.append(f"Wrongly ended: {replay.wrongly_ended.counted}. Successes missed: {replay.missed.counted}.")
        if replay.delay_steps == replay.delay_steps:
            found.append(f"Where rightly ended, the rule was {replay.delay_steps:g} frames late (median).")
    else:
        ended = sum(look.ended_at is not None for look in looks)
        found.append(f"The rule ended {ended} of {len(looks)} episodes; nothing says whether it was right.")
    if taught:
        found.append("The classifier was trained on these very episodes: on unseen ones it is worse.")
    rule = looks[0].rule
    earliest = f", not before step {rule.min_steps}" if rule.min_steps else ""
    found.append(f"The rule: {rule.hold_steps} frames in a row at {rule.threshold:.3f} or above{earliest}.")
    return found + drift_facts(looks)


def drift_facts(looks: Sequence[Look]) -> list[str]:
    """Each kind of drift once, with the first message and the number of episodes that show it."""
    codes: dict[str, list[str]] = {}
    for look in looks:
        for code, drift in {d.code: d for _, d in reversed(look.drift)}.items():
            codes.setdefault(code, []).append(f"{drift.finding.what}; {drift.finding.fix}")
    return [f"Drift in {len(said)} of {len(looks)} episodes: {said[0]}." for said in codes.values()]


# ---------------------------------------------------------------- the page


def sections(looks: Sequence[Look], strips: Sequence[Path], films: Sequence[Path]) -> list[Section]:
    """The table, the wrong episodes, the others, and films.

    Args:
        looks: wrong ones first.
        strips: a picture of each.
        films: of the first ones, in the same order.
    """
    pictures = [_picture(look, file) for look, file in zip(looks, strips, strict=True)]
    wrong = [p for p, look in zip(pictures, looks, strict=True) if look.wrong]
    right = [p for p, look in zip(pictures, looks, strict=True) if not look.wrong]
    key = "Line: probability of success. Dashed: threshold. Tinted: frames labelled success. Bar: the rule ends the "
    key += "episode, rightly (green) or wrongly (red). Triangle: drift."
    titles = ("Wrongly judged episodes", "Rightly judged episodes") if looks[0].verdict else ("", "Episodes")
    found = [_table_section(looks)]
    if wrong:
        found.append(Section(titles[0], [key], figures=wrong))
    if right:
        found.append(Section(titles[1], [] if wrong else [key], figures=right))
    if films:
        shown = [Video(file, look.name) for file, look in zip(films, looks, strict=False)]
        more = f" of {len(looks)}; all are in videos/" if len(films) < len(looks) else ""
        found.append(Section("Films", [f"{len(films)} episodes{more}."] if more else [], videos=shown))
    return found


def _picture(look: Look, file: Path) -> Picture:
    ended = "never ended" if look.ended_at is None else f"ended at frame {look.ended_at}"
    highest = f"probability of success up to {look.probability.max():.2f}"
    return Picture(file, f"{look.name}: {verdict_words(look)}; {ended}; {highest}.")


def _table_section(looks: Sequence[Look]) -> Section:
    table = episode_table(looks).head(MOST_ROWS).drop(columns=["frames", "should_end_at", "highest_probability"])
    table["drift"] = [", ".join(f"{d.camera} {d.quantity}" for _, d in look.drift) for look in looks[:MOST_ROWS]]
    kept = [c for c in table if table[c].astype(str).replace("<NA>", "").str.len().any()]
    head = [[Cell(column.replace("_", " ")) for column in kept]]
    body = [
        [Cell("" if value is pd.NA else str(value)) for value in row] for row in table[kept].itertuples(index=False)
    ]
    rest = f" The first {MOST_ROWS} of {len(looks)}." if len(looks) > MOST_ROWS else ""
    text = f"Wrong ones first. Frames count from 0; all numbers are in episodes.csv and frames.csv.{rest}"
    return Section("Episode by episode", [text], [Table(head, body)], folded=len(looks) > 60)


# ---------------------------------------------------------------- a film strip


def strip_figure(look: Look, file: Path) -> None:
    """Frames above, the probability below on the same axis of time; a PNG at ``file``."""
    cell = (WIDTH - LEFT - RIGHT) / CELLS
    heights = [cell * frames.shape[1] / frames.shape[2] for frames in look.images.values()]
    total = TITLE + sum(heights) + 0.05 + STRIP + AXIS
    figure = Figure(figsize=(WIDTH, total))
    figure.text(LEFT / WIDTH, 1 - 0.06 / total, look.name, fontsize=9, weight="bold", va="top", color=INK)
    color = WRONG_END if look.wrong else INK
    figure.text(1 - RIGHT / WIDTH, 1 - 0.06 / total, verdict_words(look), fontsize=9, va="top", ha="right", color=color)
    top, end = total - TITLE, len(look) / look.fps
    for (camera, frames), height in zip(look.images.items(), heights, strict=True):
        top -= height
        axis = figure.add_axes((LEFT / WIDTH, top / total, 1 - (LEFT + RIGHT) / WIDTH, (height - 0.02) / total))
        _draw_frames(axis, frames, camera, end)
    low = (top - 0.05 - STRIP) / total
    axis = figure.add_axes((LEFT / WIDTH, low, 1 - (LEFT + RIGHT) / WIDTH, STRIP / total))
    _draw_probability(axis, look, end)
    figure.savefig(file, dpi=110, facecolor="white")


def _draw_frames(axis: Axes, frames: np.ndarray, camera: str, end: float) -> None:
    """Each frame over its own stretch of time, the one from the middle of it."""
    width = end / CELLS
    for i in range(CELLS):
        frame = frames[min(len(frames) - 1, int((i + 0.5) * len(frames) / CELLS))]
        axis.imshow(frame, extent=(i * width, (i + 0.97) * width, 0, 1), aspect="auto", interpolation="nearest")
    axis.set(xlim=(0, end), ylim=(0, 1))
    axis.set_axis_off()
    axis.text(-0.006, 0.5, camera, fontsize=7, rotation=90, va="center", ha="right", transform=axis.transAxes)


def _draw_probability(axis: Axes, look: Look, end: float) -> None:
    """Every frame lasts until the next."""
    edges = np.arange(len(look) + 1) / look.fps
    if look.success is not None:
        shown = np.append(look.success, look.success[-1])
        axis.fill_between(edges, 0, 1, where=shown, step="post", color=SUCCESS, alpha=0.16, lw=0)
    if look.spread.any():
        low, high = (np.clip(look.probability + s * look.spread, 0, 1) for s in (-1, 1))
        low, high = np.append(low, low[-1]), np.append(high, high[-1])
        axis.fill_between(edges, low, high, step="post", color=INK, alpha=0.2, lw=0)
    axis.axhline(look.rule.threshold, color=INK, lw=0.8, ls="--")
    axis.step(edges, np.append(look.probability, look.probability[-1]), where="post", color=INK, lw=1.3)
    if look.ended_at is not None:
        right = look.success is None or look.success[look.ended_at]
        axis.axvline(look.ended_at / look.fps, color=RIGHT_END if right else WRONG_END, lw=3)
    for frame in {frame for frame, _ in look.drift}:
        said = "\n".join(f"{d.camera} {d.quantity}" for t, d in look.drift if t == frame)
        side = "right" if frame > 0.7 * len(look) else "left"
        axis.plot(frame / look.fps, 1.0, "v", color=WARNING, ms=7, clip_on=False, zorder=5)
        axis.annotate(said, (frame / look.fps, 0.82), fontsize=7, color=WARNING, va="top", ha=side)
    axis.set(xlim=(0, end), ylim=(-0.03, 1.03), yticks=(0, 1))
    axis.tick_params(labelsize=7, length=2, colors=INK)
    axis.xaxis.set_major_formatter("{x:g} s")
    axis.spines[["top", "right"]].set_visible(False)
    axis.spines[["left", "bottom"]].set_color(FAILURE)
