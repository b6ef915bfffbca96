"""Plain data must survive the trip through Hydra's grammar."""

from __future__ import annotations

from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st

from hiltk.configuring.words import into_mapping, override, words_to_overrides
from hiltk.errors import ConfigError
from hiltk.verbs import STEPS

scalars = st.one_of(
    st.none(), st.booleans(), st.integers(-(10**9), 10**9), st.floats(allow_nan=False, allow_infinity=False), st.text()
)
data = st.one_of(scalars, st.lists(st.one_of(scalars, st.lists(scalars, max_size=2)), max_size=4))


@given(data)
def test_any_value_comes_back(value: Any) -> None:
    [parsed] = OverridesParser.create().parse_overrides([override("key", value)])
    assert parsed.value() == value


@pytest.mark.parametrize(
    "word", ["NaN", "inf", "null", "True", "1e-4", "a'b", "a\\", "\\'", "${seed}", "a=b", "[x]", ""]
)
def test_text_that_looks_like_something_else_stays_text(word: str) -> None:
    [parsed] = OverridesParser.create().parse_overrides([override("key", word)])
    assert parsed.value() == word


def test_words_without_equals_are_the_main_key() -> None:
    verb = STEPS["eval"]
    assert words_to_overrides(verb, ["bc", "name=x", "lift"]) == ["policies=[bc,lift]", "name=x"]
    assert words_to_overrides(verb, ["bc", "--cfg", "job", "-m", "~task"]) == [
        "policies=[bc]",
        "--cfg",
        "job",
        "-m",
        "~task",
    ]
    with pytest.raises(ConfigError, match="not a setting"):
        words_to_overrides(STEPS["train"], ["bc"])


@pytest.mark.parametrize(
    ("verb", "word", "free"),
    [
        ("train", "env.kwargs.render_mode=rgb_array", True),
        ("adopt", "foreign.cameras={wrist: cam}", True),
        ("fix-actions", "foreign.locked.wrist_roll=90", True),
        ("train-classifier", "weights.cube=2", True),
        ("train-classifier", "encoder.weights=x", False),
        ("train", "weights=x", False),
        ("train", "agent.lr=1", False),
    ],
)
def test_a_free_mapping_takes_new_keys(verb: str, word: str, free: bool) -> None:
    assert into_mapping(STEPS[verb], word) == (f"++{word}" if free else word)
