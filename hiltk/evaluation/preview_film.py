"""Films of the success classifier at work: the cameras above, its probability below, frame by frame."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from hiltk.evaluation.preview import Look
from hiltk.evaluation.videos import FAILURE, INK, PAPER, RUNNING, SUCCESS, compose

LEAST_PX = 520  # wide enough for a line of text
_CURVE_PX, _LINE_PX, _LEFT, _RIGHT = 96, 18, 34, 12
_LABELLED, _FADED, _WARNING = (214, 231, 245), (190, 194, 198), (190, 90, 0)


def film(look: Look, hold_s: float = 1.0) -> Iterator[np.ndarray]:
    """Frames (H, W, 3) uint8: views as the network gets them, curve with threshold, hold count, label, end and drift.

    Args:
        hold_s: how long the last frame stays.
    """
    runs, last = look.run, len(look) - 1
    for t in range(len(look)):
        ended = look.ended_at is not None and t >= look.ended_at
        views = {camera: frames[t] for camera, frames in look.images.items()}
        held = f"hold {min(runs[t], look.rule.hold_steps)}/{look.rule.hold_steps}"
        caption = f"{look.name}  {t / look.fps:.1f} s  p {look.probability[t]:.2f}  {held}{'  ended' if ended else ''}"
        top = compose(views, caption, _color(look, ended), least_px=LEAST_PX)
        frame = np.concatenate([top, _panel(look, t, top.shape[1])])
        for _ in range(max(1, round(hold_s * look.fps)) if t == last else 1):
            yield frame


def _color(look: Look, ended: bool) -> tuple[int, int, int]:
    """Green once the rule has ended the episode, red where it should not have."""
    if not ended:
        return RUNNING
    return SUCCESS if look.success is None or look.success[look.ended_at] else FAILURE


def _panel(look: Look, t: int, width: int) -> np.ndarray:
    """The probability over the whole episode, bold up to frame ``t``, and what is to be said in words."""
    canvas = Image.new("RGB", (width, _CURVE_PX + 3 * _LINE_PX + 2), PAPER)
    draw = ImageDraw.Draw(canvas)
    x = np.linspace(_LEFT, width - _RIGHT, len(look)).tolist()
    y = [_height(p) for p in look.probability.tolist()]
    half = (x[1] - x[0]) / 2 if len(x) > 1 else 1.0
    if look.success is not None:
        for place in np.flatnonzero(look.success).tolist():
            draw.rectangle((x[place] - half, _height(1.0), x[place] + half, _height(0.0)), fill=_LABELLED)
    for start in range(_LEFT, width - _RIGHT, 8):
        draw.line((start, _height(look.rule.threshold), start + 4, _height(look.rule.threshold)), fill=INK)
    draw.line(list(zip(x, y, strict=True)), fill=_FADED, width=1)
    if t:
        draw.line(list(zip(x[: t + 1], y[: t + 1], strict=True)), fill=INK, width=3)
    draw.line((x[t], _height(1.0), x[t], _height(0.0)), fill=_FADED)
    if look.ended_at is not None and t >= look.ended_at:
        draw.line((x[look.ended_at], _height(1.0), x[look.ended_at], _height(0.0)), fill=_color(look, True), width=3)
    for text, value in (("1", 1.0), ("0", 0.0)):
        draw.text((8, _height(value) - 8), text, fill=INK, font=ImageFont.load_default(13))
    for i, (line, color) in enumerate(_lines(look, t, width)):
        draw.text((8, _CURVE_PX + i * _LINE_PX), line, fill=color, font=ImageFont.load_default(13))
    return np.asarray(canvas)


def _height(probability: float) -> float:
    return 10 + (1 - probability) * (_CURVE_PX - 20)


def _lines(look: Look, t: int, width: int) -> list[tuple[str, tuple[int, int, int]]]:
    """Label and threshold; then the newest drift, on two lines."""
    label = "" if look.success is None else f"label: {'success' if look.success[t] else 'no success'}   "
    lines = [(f"{label}threshold {look.rule.threshold:.2f}", INK)]
    said = [drift.finding.what for frame, drift in look.drift if frame <= t]
    if said:
        words, row, rows = f"drift: {said[-1]}".split(), "", []
        for word in words:
            if len(row) + len(word) > width // 7:
                rows.append(row)
                row = ""
            row += f"{word} "
        lines += [(text, _WARNING) for text in [*rows, row][:2]]
    return lines
