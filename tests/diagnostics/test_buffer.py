"""The replay examined: numbers worked by hand, and a two-sample test for which episodes are the unit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ks_2samp

from hiltk.data.episode import Episode, Source
from hiltk.diagnostics.buffer import SOURCES, Found, examine, findings, verdict
from hiltk.diagnostics.buffer_figure import figure
from hiltk.diagnostics.composition import composition
from hiltk.diagnostics.experience import Experience, of_episodes
from hiltk.diagnostics.shifts import coverage, shifts
from hiltk.diagnostics.takeovers import interventions, summary
from hiltk.spec import STATE_KEY, RewardSpec, Stats
from tests.conftest import build_episode, build_spec

SPEC = build_spec()
PLAIN = Stats([0.0] * 18, [1.0] * 18, [-1.0] * 18, [1.0] * 18)


def online_episode(pattern: str, *, success: bool = False, seed: int = 0, terminal: bool = False) -> Episode:
    """An episode of training: ``p`` a step of the policy, ``h`` one of the human."""
    episode = build_episode(SPEC, len(pattern), seed, success=success)
    human = np.array([c == "h" for c in pattern])
    source = np.where(human, Source.human, Source.policy)
    ends = {"terminated": success or terminal, "truncated": not (success or terminal)}
    return replace(episode, source=source, is_intervention=human, **ends)  # type: ignore[arg-type]


def of(*episodes: Episode) -> Experience:
    return of_episodes(episodes, SPEC)


def noise(count: int, length: int, *, offset: float = 0.0, between: float = 1.0, seed: int = 0) -> Experience:
    """Episodes whose frames lie close together, each around a place of its own: near-copies, as frames are."""
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        episode = build_episode(SPEC, length)
        states = offset + between * rng.normal(size=(1, 18)) + 0.05 * rng.normal(size=(length + 1, 18))
        made.append(replace(episode, observations={STATE_KEY: states.astype(np.float32)}))
    return of(*made)


# ---------------------------------------------------------------- composition


def test_composition_by_hand() -> None:
    demos = of(build_episode(SPEC, 10, 0), build_episode(SPEC, 6, 1, success=False))
    online = of(online_episode("pppphh", success=True), online_episode("pppp"), online_episode("hhpp", terminal=True))
    table = composition(demos, online, SPEC).set_index("part")
    assert table.transitions.to_dict() == {"demos": 16, "policy": 10, "human": 4}
    assert table.episodes.to_dict() == {"demos": 2, "policy": 3, "human": 2}
    assert table.positive.to_dict() == {"demos": 1, "policy": 0, "human": 1}
    assert table.positive_rate["human"] == pytest.approx(0.25) and table.share["demos"] == pytest.approx(16 / 30)
    assert table.terminated.to_dict() == {"demos": 1, "policy": 1, "human": 1}
    assert table.truncated.to_dict() == {"demos": 1, "policy": 1, "human": 0}
    assert table.timeouts_terminal.to_dict() == {"demos": 0, "policy": 1, "human": 0}


def test_a_step_reward_is_no_success() -> None:
    spec = replace(SPEC, reward=RewardSpec(success_value=10.0, step_value=-0.05))
    paid = build_episode(SPEC, 5)
    paid = replace(paid, rewards=np.array([-0.05, -0.05, -0.05, -0.05, 10.0], np.float32))
    assert of_episodes([paid], spec).positive(spec).tolist() == [False] * 4 + [True]


# ---------------------------------------------------------------- two samples


def test_the_distance_is_that_of_kolmogorov_and_smirnov() -> None:
    demos, online = noise(5, 9, seed=1), noise(7, 6, offset=0.7, seed=2)
    table = shifts(demos, online, SPEC)
    for i, row in enumerate(table[table.column == "state"].itertuples()):
        expected = ks_2samp(demos.state[:, i], online.state[:, i], method="asymp").statistic
        assert row.ks == pytest.approx(expected, abs=1e-6)
        assert row.demo_median == pytest.approx(float(np.median(demos.state[:, i])), rel=1e-5)
    assert len(table) == 18 + 4


def test_equal_values_are_one_step() -> None:
    """A gripper that is open or shut: ties must not be split between the sides."""
    a, b = of(build_episode(SPEC, 4)), of(build_episode(SPEC, 4))
    assert shifts(a, b, SPEC).ks.max() == pytest.approx(0, abs=1e-6)


def test_near_copies_are_no_evidence() -> None:
    """Episodes from one distribution: a test of frames calls them different nearly always, one of episodes rarely."""
    naive, ours = [], []
    for seed in range(8):
        demos, online = noise(6, 12, seed=seed), noise(6, 12, seed=100 + seed)
        table = shifts(demos, online, SPEC, seed)
        ours.append(bool((table[table.column == "state"].q < 0.05).any()))
        naive.append(ks_2samp(demos.state[:, 0], online.state[:, 0]).pvalue < 0.05)
    assert sum(naive) >= 7 and sum(ours) <= 1


def test_a_real_difference_is_found() -> None:
    table = shifts(noise(8, 10, seed=1), noise(10, 10, offset=6.0, seed=2), SPEC)
    state = table[table.column == "state"]
    assert (state.q < 0.05).all() and (state.ks > 0.95).all() and (state.moved_std > 2).all()


def test_without_demonstrations_there_is_nothing_to_compare() -> None:
    assert shifts(of(), noise(3, 5), SPEC).empty
    assert coverage(of(), noise(3, 5), PLAIN) is None


# ---------------------------------------------------------------- coverage


def test_coverage_of_the_same_place_and_of_another() -> None:
    demos = noise(12, 10, between=0.05, seed=1)
    near, far = noise(12, 10, between=0.05, seed=2), noise(12, 10, between=0.05, offset=3.0, seed=3)
    same, other = coverage(demos, near, PLAIN), coverage(demos, far, PLAIN)
    assert same is not None and other is not None
    assert same.online > 0.8 and same.demos > 0.8
    assert other.online == other.demos == 0.0


# ---------------------------------------------------------------- interventions


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


# ---------------------------------------------------------------- words and figure


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
