"""How people intervened, by hand."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hiltk.diagnostics.takeovers import interventions, summary
from tests.diagnostics.experiences import SPEC, of, online_episode


def test_interventions_by_hand() -> None:
    online = of(
        online_episode("pp" + "h" * 12 + "pp"),  # 12 of 16: long for its episode
        online_episode("p" * 8 + "h" * 11, success=True),  # 11 of 19, to the end: carried
        online_episode("ppphhphhppp", success=True),  # two brief ones
        online_episode("pppp"),
    )
    table = interventions(online, SPEC)
    assert table.takeovers.tolist() == [1, 1, 2, 0] and table.longest.tolist() == [12, 11, 2, 0]
    assert table.mean_length.tolist()[:3] == [12, 11, 2] and table.rate[2] == pytest.approx(4 / 11)
    assert table.carried.tolist() == [False, True, False, False]
    assert table.success.tolist() == [False, True, True, False]
    whole = summary(table)
    assert whole.rate == pytest.approx(27 / 50) and whole.takeovers == 4 and whole.mean_length == pytest.approx(27 / 4)
    assert whole.long == pytest.approx(2 / 3) and whole.carried == pytest.approx(1 / 2)
    assert whole.rate_first == pytest.approx(12 / 16) and whole.rate_last == 0 and whole.trend < 0


@given(st.lists(st.text("ph", min_size=3, max_size=30), min_size=1, max_size=6))
@settings(max_examples=40, deadline=None)
def test_takeovers_add_up(patterns: list[str]) -> None:
    table = interventions(of(*(online_episode(p) for p in patterns)), SPEC)
    assert table.human_steps.tolist() == [p.count("h") for p in patterns]
    assert table.takeovers.tolist() == [len([r for r in p.split("p") if r]) for p in patterns]
    assert table.longest.tolist() == [max(map(len, p.split("p"))) for p in patterns]
    assert 0 <= summary(table).long <= 1 and 0 <= summary(table).rate <= 1
