"""A replay in words and as a picture."""

from __future__ import annotations

from pathlib import Path

from hiltk.diagnostics.buffer import SOURCES, Found, examine, findings, verdict
from hiltk.diagnostics.buffer_figure import figure
from hiltk.spec import Stats
from tests.conftest import build_episode
from tests.diagnostics.experiences import PLAIN, SPEC, of, online_episode


def words(found: Found) -> list[str]:
    return [f"{f.what}: {f.fix}." for f in findings(found)]


def test_advice_follows_from_the_numbers_and_names_its_source() -> None:
    alone = examine(of(), of(*(online_episode("p" * 20, seed=i) for i in range(5))), SPEC, PLAIN)
    said = " ".join(words(alone))
    assert "no human data at all" in said and "Nobody intervened" in said and "0.00% of all" in said
    assert all(SOURCES[f.code] in verdict(alone) for f in findings(alone))
    carried = [online_episode("pp" + "h" * 18, success=True, seed=i) for i in range(5)]
    said = " ".join(words(examine(of(build_episode(SPEC, 12)), of(*carried), SPEC, PLAIN)))
    assert "100% of the intervened episodes had a long takeover, 18 steps" in said
    late = [online_episode("p" * 9 + "hh", terminal=True, seed=i) for i in range(3)]
    said = " ".join(words(examine(of(build_episode(SPEC, 12)), of(*late), SPEC, PLAIN)))
    assert "3 time-outs are stored as terminal" in said


def test_sound_data_gets_no_advice(tmp_path: Path) -> None:
    demos = of(*(build_episode(SPEC, 20, i % 3) for i in range(6)))
    online = of(*(online_episode("p" * 8 + "hhh" + "p" * 9, success=True, seed=i % 3) for i in range(9)))
    stats = Stats([0.0] * 18, demos.state.std(0).clip(1e-3).tolist(), [0.0] * 18, [1.0] * 18)
    found = examine(demos, online, SPEC, stats)
    assert findings(found) == []
    text = verdict(found)
    assert "demos: 120 transitions of 6 episodes, 6 rewarded" in text and "9 takeovers of 3.0 steps" in text
    figure(found, demos, online, SPEC, tmp_path / "buffer.png")
    assert (tmp_path / "buffer.png").stat().st_size > 20_000


def test_a_figure_of_a_run_without_demonstrations(tmp_path: Path) -> None:
    online = of(online_episode("pppp"), online_episode("ppppp"))
    figure(examine(of(), online, SPEC, PLAIN), of(), online, SPEC, tmp_path / "buffer.png")
    assert (tmp_path / "buffer.png").is_file()
