"""Schedules: numbers that change while training, most given as strings in the config (Yarats et al. 2021, DrQ-v2).

``0.2`` is constant. ``linear(1.0,0.1,100000)`` goes from 1.0 to 0.1 over 100 000 steps and stays there.
``step_linear(1.0,0.2,5000,0.05,20000)`` goes to 0.2 over 5 000 steps, then to 0.05 over another 20 000.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from hiltk.config.groups import LearnerConf
from hiltk.errors import ConfigError, nearest

_FORMS = {"linear": "linear(START,END,STEPS)", "step_linear": "step_linear(START,MIDDLE,STEPS,END,STEPS)"}
_CALL = re.compile(r"(\w+)\((.*)\)", re.ASCII)
_NUMBER = re.compile(r"\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+", re.ASCII)


@dataclass(frozen=True)
class PiecewiseLinear:
    """A value by step: straight lines between ``(step, value)`` points, constant before and after them."""

    points: tuple[tuple[float, float], ...]

    def __call__(self, step: int) -> float:
        start, value = self.points[0]
        for end, goal in self.points[1:]:
            if step < end:
                return value + (goal - value) * max(0.0, step - start) / (end - start)
            start, value = end, goal
        return value


def imitation_weight(conf: LearnerConf, updates: int) -> float:
    """Linear from ``imitation_weight`` to ``imitation_end`` over ``imitation_steps`` updates, if there is an end."""
    start, end = conf.imitation_weight, conf.imitation_end
    progress = min(1.0, updates / max(1, conf.imitation_steps))
    return start if end is None else start + progress * (end - start)


def parse_schedule(text: str, where: str = "") -> PiecewiseLinear:
    """Read a schedule of values that are not negative.

    Args:
        where: the config key it comes from, for the message.

    Raises:
        ConfigError: it is not a number or one of the forms, or a duration is zero.
    """
    plain = re.sub(r"\s", "", str(text))
    call = _CALL.fullmatch(plain)
    if call is None:
        return PiecewiseLinear(((0.0, _number(plain, text, where)),))
    name, values = call[1], [_number(v, text, where) for v in call[2].split(",")]
    if name == "linear" and len(values) == 3:
        start, end, steps = values
        return PiecewiseLinear(((0.0, start), (_duration(steps, text, where), end)))
    if name == "step_linear" and len(values) == 5:
        start, middle, first, end, second = values
        turn = _duration(first, text, where)
        return PiecewiseLinear(((0.0, start), (turn, middle), (turn + _duration(second, text, where), end)))
    fix = f"write {_FORMS[name]}" if name in _FORMS else nearest(name, _FORMS)
    raise _nonsense(text, where, fix)


def _number(word: str, text: str, where: str) -> float:
    if not _NUMBER.fullmatch(word) or not math.isfinite(float(word)):
        raise _nonsense(text, where, f"'{word}' is not a number of 0 or more")
    return float(word)


def _duration(steps: float, text: str, where: str) -> float:
    if steps <= 0:
        raise _nonsense(text, where, "a line needs at least one step")
    return steps


def _nonsense(text: str, where: str, fix: str) -> ConfigError:
    forms = ", ".join(["0.2", *_FORMS.values()])
    return ConfigError(f"'{text}' is not a schedule; there are: {forms}", where=where, fix=fix)
