"""Every guard against a run that should trip it and the healthy one that should not."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import pytest

from hiltk.findings import Finding
from hiltk.learning.guards import GUARDS, Expected, GuardLog, Guards

EXPECTED = Expected(q_low=0.0, q_high=1.0, utd=2.0, human_share=0.5)
# The middle of a good run of the simulated lift.
HEALTHY = {
    "left_alone": 1.0, "success": 1.0, "q_mean": 0.6, "q_max": 1.08, "critic_loss": 0.002, "critic_gradient": 0.1,
    "actor_gradient": 0.2, "saturation": 0.15, "action_size": 0.4, "alpha": 0.006, "positive_share": 0.03,
    "utd": 2.0, "demo_share": 0.65,
    "intervention_rate": 0.1, "imitation_samples": 80.0, "imitation_weight": 1.0,
}  # fmt: skip


# Of each ten episodes the mean share of the steps that the human made.
SOUND_TENS = [
    [0.33, 0.29, 0.296, 0.244, 0.215, 0.168, 0.1, 0.039, 0.096, 0.06, 0.056, 0.101, 0.119, 0.068, 0.052],
    [0.294, 0.294, 0.214, 0.22, 0.103, 0.163, 0.127, 0.054, 0.081, 0.075, 0.088, 0.107, 0.193, 0.0, 0.014],
]
SOUND = [[rate for rate in tens for _ in range(10)] for tens in SOUND_TENS]


def run(*changes: dict[str, float], expected: Expected = EXPECTED, warm_up: int = 20) -> list[Finding]:
    """Findings of a healthy run that goes on with the given episodes."""
    guards = Guards(expected)
    rows = [HEALTHY] * warm_up + [HEALTHY | change for change in changes]
    return [finding for row in rows for finding in guards.check(row)]


def test_a_healthy_run_passes() -> None:
    assert run(*[{}] * 40) == []


def test_episodes_before_the_first_update_pass() -> None:
    guards = Guards(EXPECTED)
    assert not [f for _ in range(30) for f in guards.check({"success": 0.0, "intervention_rate": 0.3})]


@pytest.mark.parametrize(
    ("code", "change", "episodes", "says"),
    [
        ("q_bound", {"q_mean": 1.34}, 3, "1.34"),
        ("q_bound", {"q_mean": -0.2}, 3, "-0.2"),
        ("q_bound", {"q_max": 1.8}, 3, "1.8"),
        ("critic_loss", {"critic_loss": 11_000.0}, 1, "1.1e+04"),
        ("gradient", {"actor_gradient": 300.0}, 1, "actor"),
        ("saturation", {"saturation": 0.97}, 5, "97%"),
        ("alpha_low", {"alpha": 0.015, "action_size": 0.05}, 3, "0.0150"),
        ("positive_rate", {"positive_share": 0.001}, 7, "0.97%"),
        ("early_ends", {"early": 1.0, "missing_mm": 12.0}, 3, "12 mm short"),
        ("update_ratio", {"utd": 0.4}, 5, "1.2"),
        ("human_share", {"demo_share": 0.05}, 7, "23%"),
        ("long_interventions", {"intervention_rate": 0.93}, 3, "93%"),
        ("imitation_inert", {"imitation_samples": 0.0}, 5, "no transition"),
    ],
)
def test_a_guard_trips_after_its_episodes_and_speaks_once(
    code: str, change: dict[str, float], episodes: int, says: str
) -> None:
    assert code not in [f.code for f in run(*[change] * (episodes - 1))]
    found = run(*[change] * (episodes + 5))
    assert [f.code for f in found] == [code]
    assert says in found[0].what and found[0].fix and all(map(math.isfinite, found[0].evidence.values()))
    assert found[0].evidence


def test_two_early_ends_of_forty_are_borne() -> None:
    early, right = {"early": 1.0, "missing_mm": 3.0}, {"early": 0.0}
    assert run(*([early, *[right] * 19] * 4)) == []
    found = run(*[right] * 37, early, early, early)
    assert found[0].evidence == {"early": 3, "episodes": 40, "missing_mm": 3.0}


def test_success_that_falls_is_a_regression() -> None:
    assert run(*[{"success": 0.0}] * 7) == []
    found = run(*[{"success": 0.0}] * 8)  # of 20: 100 % down to 60 %
    assert [f.code for f in found] == ["regression"] and "from 100% to 60%" in found[0].what


def test_episodes_with_a_human_at_hand_are_no_regression() -> None:
    assert run(*[{"success": 0.0, "left_alone": 0.0}] * 40) == []


def test_help_that_does_not_become_less_is_told_after_forty_episodes_more() -> None:
    """Twenty episodes against those that end 40 later, five times running."""
    helped = {"intervention_rate": 0.3, "left_alone": 0.0}
    assert run(*[helped] * 63, warm_up=0) == []
    found = run(*[helped] * 64, warm_up=0)
    assert [f.code for f in found] == ["still_helped"] and "30% of the steps, no less than 40" in found[0].what
    assert "no episode was left alone" in found[0].what
    alone = [helped, helped | {"left_alone": 1.0}, helped | {"left_alone": 1.0, "success": 0.0}] * 22
    assert "succeeded in 10 of 20 episodes" in run(*alone, warm_up=0)[0].what


def test_help_that_becomes_less_or_is_rare_passes() -> None:
    assert run(*[{"intervention_rate": 0.5 - 0.005 * n} for n in range(80)], warm_up=0) == []
    assert run(*[{"intervention_rate": 0.19}] * 80, warm_up=0) == []
    once_no_less = [0.24] * 20 + [0.3] * 20 + [0.24] * 20 + [0.1] * 20
    assert run(*[{"intervention_rate": rate} for rate in once_no_less], warm_up=0) == []


@pytest.mark.parametrize("seed", range(2))
def test_sound_runs_raise_no_alarm(seed: int) -> None:
    """Rates of two runs of the quickstart, of which the policies succeed in 198 of 200 episodes."""
    assert run(*[{"intervention_rate": rate} for rate in SOUND[seed]], warm_up=0) == []


def test_nothing_is_said_of_bounds_that_are_not_known() -> None:
    own = Expected(q_low=-math.inf, q_high=math.inf, utd=2.0, sparse=False)
    assert run(*[{"q_mean": -400.0, "q_max": 900.0, "positive_share": 0.0}] * 12, expected=own) == []
    assert [f.code for f in run({"critic_loss": 50.0}, expected=own)] == ["critic_loss"]


def test_where_nobody_can_be_imitated_it_is_said_after_one_episode() -> None:
    nobody = Expected(q_low=0.0, q_high=1.0, utd=2.0, human_share=0.0)
    found = run({"imitation_samples": 0.0, "demo_share": 0.0}, expected=nobody)
    assert [f.code for f in found] == ["imitation_inert"]
    assert run({"imitation_samples": 0.0, "imitation_weight": 0.0}, expected=nobody) == []  # annealed to its end


def test_every_guard_has_a_case_above() -> None:
    tested = {p[0] for p in test_a_guard_trips_after_its_episodes_and_speaks_once.pytestmark[0].args[1]}
    tested.add("still_helped")  # which looks further back
    assert {guard.__name__ for guard in GUARDS} == tested


def test_the_record_is_whole_after_every_finding(tmp_path: Path) -> None:
    log = GuardLog(tmp_path)
    log.write(0, [])
    assert (tmp_path / "guards.csv").read_text().strip() == "episode,code,message,fix"
    log.write(7, [Finding(code="saturation", what="all, pinned", fix="raise it")])
    log.write(9, [Finding(code="q_bound", what="too much", fix="clip")])
    with (tmp_path / "guards.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(r["episode"], r["code"], r["message"]) for r in rows] == [
        ("7", "saturation", "all, pinned"), ("9", "q_bound", "too much"),
    ]  # fmt: skip
    assert [p.name for p in tmp_path.iterdir()] == ["guards.csv"]
