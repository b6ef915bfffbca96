"""Schedules against values worked by hand, and refused nonsense."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hiltk.agents.schedules import parse_schedule
from hiltk.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("0.2", {0: 0.2, 10**9: 0.2}),
        ("linear(1.0,0.1,100000)", {0: 1.0, 50_000: 0.55, 100_000: 0.1, 200_000: 0.1}),
        ("linear(0.3, 0.3, 5)", {0: 0.3, 3: 0.3, 9: 0.3}),
        ("linear(0,1e0,4)", {1: 0.25, 4: 1.0}),
        # 1.0 to 0.2 over 10, then to 0.1 over 20: at 5 half way, at 20 half way down the second line
        ("step_linear(1.0,0.2,10,0.1,20)", {0: 1.0, 5: 0.6, 10: 0.2, 20: 0.15, 30: 0.1, 31: 0.1}),
    ],
)
def test_values_by_step(text: str, values: dict[int, float]) -> None:
    schedule = parse_schedule(text)
    assert {step: schedule(step) for step in values} == pytest.approx(values)


@pytest.mark.parametrize(
    "text",
    [
        "", "fast", "-0.2", "nan", "inf", "1e999", "0x10", "1_000", "0.2)", "(0.2)", "linear", "linear()",
        "linear(1,0.1)", "linear(1,0.1,10,3)", "linear(1,0.1,0)", "linear(1,0.1,-5)", "linear(1,,5)", "linear(a,b,c)",
        "Linear(1,0,5)", "step_linear(1,0.2,10)", "step_linear(1,0.2,0,0.1,20)", "step_linear(1,0.2,10,0.1,0)",
        "cosine(1,0.1,10)", "linear(1,0.1,10)+1", "linear(linear(1,0,1),0,1)", "__import__('os')",
    ],
)  # fmt: skip
def test_nonsense_is_a_config_error_that_shows_the_forms(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_schedule(text, "agent.noise")
    assert "agent.noise" in str(caught.value) and "step_linear(START,MIDDLE,STEPS,END,STEPS)" in str(caught.value)


def test_a_misspelt_form_is_guessed() -> None:
    with pytest.raises(ConfigError, match="did you mean 'linear'"):
        parse_schedule("liner(1,0.1,10)")


@given(st.floats(0, 10), st.floats(0, 10), st.integers(1, 10**6), st.integers(0, 2 * 10**6))
def test_a_line_stays_between_its_ends(start: float, end: float, steps: int, step: int) -> None:
    value = parse_schedule(f"linear({start!r},{end!r},{steps})")(step)
    assert min(start, end) - 1e-9 <= value <= max(start, end) + 1e-9
