from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from hiltk.config.commands import ClassifierConf
from hiltk.data.episode import Episode
from hiltk.reward_rule import EpisodeVerdict, Verdict
from hiltk.rewards.calibration import Confusion
from hiltk.rewards.figures import FAILURE, plot_curve, plot_hold, plot_mistakes
from hiltk.rewards.report import curve_table, metrics, table, warnings
from hiltk.rewards.sessions import SessionScore
from hiltk.rewards.training import Result, train_classifier
from hiltk.rewards.tuning import Tuning
from hiltk.spec import Spec

NAMES = [f"demos {i}" for i in range(12)]
WRONG = np.arange(24).reshape(3, 2, 4) < 9


@pytest.fixture
def result(episodes: list[Episode], spec: Spec, conf: ClassifierConf) -> Result:
    return train_classifier(episodes, spec, replace(conf, steps=25))


def test_metrics_are_json_and_consistent(result: Result) -> None:
    report = metrics(result, NAMES)
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    assert report["frames"]["train"]["frames"] + report["frames"]["held_out"]["frames"] == 12 * 12
    assert report["frames"]["held_out"] == {"frames": 48, "success": 8, "failure": 40}  # 2 + 2 episodes of 12
    assert sum(report["confusion"].values()) == 48
    assert [e["episode"] for e in report["held_out_episodes"]] == [f"demos {n}" for n in result.split.held_out]
    assert report["threshold"] == result.classifier.threshold
    assert report["negatives_per_positive"] == {"train": 5.0, "held_out": 5.0}
    assert report["spread"] is None and report["members"] == 1
    assert 0 <= report["calibration_error"] <= 1
    [session] = report["sessions"]
    assert not session["unseen"] and session["confusion"] == report["confusion"]


def test_the_tuned_rule_and_its_grid_are_reported(episodes: list[Episode], spec: Spec, conf: ClassifierConf) -> None:
    tuned = train_classifier(episodes, spec, replace(conf, hold_steps=None, min_steps=None, versions=2))
    report = metrics(tuned, NAMES)
    grid = report["tuning"]
    # Success shows from frame 8 on, four frames of it, and holds at frame 9.
    assert grid["hold_steps"] == list(range(1, 9)) and grid["min_steps"] == [0, 2, 4, 6]
    assert [row[0] for row in grid["missed"]] == [0] * 4 + [2 * 3] * 4
    assert grid["versions"] == 3
    assert [row[0] for row in grid["wrongly_ended"]] == [2 * 3] + [0] * 7  # a hold of 1 ends before the labels held
    assert grid["wrongly_ended_as_chosen"]["count"] == 0 and grid["wrongly_ended_as_chosen"]["n"] == 4 * 3
    assert grid["chosen"] == {"hold_steps": 2, "min_steps": 6}
    assert (report["hold_steps"], report["min_steps"]) == (2, 6)
    assert (tuned.classifier.hold_steps, tuned.classifier.min_steps) == (2, 6)
    assert grid["mistakes_by_rule_of_the_others"]["count"] == 0
    assert grid["mistakes_by_rule_of_the_others"]["n"] == len(tuned.verdicts) == 4
    assert {v.ended_at for v in tuned.verdicts} == {9, None}


def test_an_ensembles_spread_is_larger_where_it_is_wrong(
    episodes: list[Episode], spec: Spec, conf: ClassifierConf
) -> None:
    result = train_classifier(episodes, spec, replace(conf, steps=25, members=2))
    assert result.opinions.shape == (2, 48) and len(result.fits) == 2
    assert result.fits[0].losses != result.fits[1].losses
    np.testing.assert_allclose(result.probabilities, result.classifier.probabilities(result.held_out.images), rtol=1e-5)
    right = result.probabilities >= result.classifier.threshold
    doubtful = replace(result, held_out=replace(result.held_out, success=np.where(np.arange(48) < 40, right, ~right)))
    opinions = np.tile(result.probabilities, (2, 1)) + np.where(np.arange(48) < 40, 0.01, 0.2) * [[1], [-1]]
    spread = metrics(replace(doubtful, opinions=opinions), NAMES)["spread"]
    assert spread == {"right": pytest.approx(0.01), "wrong": pytest.approx(0.2)}


def test_without_successes_ended_the_delay_is_null(result: Result) -> None:
    silent = replace(result, verdicts=[EpisodeVerdict(Verdict.missed, None, 9)] * len(result.split.held_out))
    assert metrics(silent, NAMES)["delay_steps"] is None


def test_curve_table_is_the_curve(result: Result) -> None:
    frame = curve_table(result)
    assert list(frame.columns) == ["threshold", "precision", "recall", "false_positive_rate"]
    assert frame.threshold.is_monotonic_increasing
    assert frame.recall.is_monotonic_decreasing and frame.recall.iloc[0] == 1


def test_a_healthy_classifier_gets_no_warning_but_the_few_frames(result: Result, conf: ClassifierConf) -> None:
    perfect = replace(
        result,
        confusion=Confusion(8, 0, 40, 0),
        verdicts=[EpisodeVerdict(Verdict.rightly_ended, 9, 9), EpisodeVerdict(Verdict.rightly_silent, None, None)],
    )
    assert ["40 held-out failure frames cannot" in w for w in warnings(perfect, conf)] == [True]
    assert warnings(perfect, replace(conf, max_false_positive_rate=0.05)) == []


def test_warnings_name_what_is_wrong(result: Result, conf: ClassifierConf) -> None:
    only_success = replace(result.train, success=np.arange(len(result.train)) % 2 == 0)
    bad = replace(
        result,
        train=only_success,
        confusion=Confusion(2, 3, 37, 6),
        verdicts=[EpisodeVerdict(Verdict.wrongly_ended, 4, 9)],
    )
    found = "\n".join(warnings(bad, conf))
    assert "fewer than two failure frames per success frame" in found
    assert "no held-out episode fails" in found
    assert "only 25% of held-out success frames" in found
    assert "ended at a frame labelled failure: 1 of 1" in found
    many = replace(result, train=replace(result.train, success=np.arange(len(result.train)) % 10 == 0))
    assert "8.6 failure frames per success frame, where 2 to 5 are advised" in "\n".join(warnings(many, conf))
    unseen = SessionScore("evening", True, Confusion(1, 0, 8, 1), [])
    assert "had evening not been recorded, 90.0%" in "\n".join(warnings(replace(result, sessions=[unseen]), conf))
    rare = replace(result, train=replace(result.train, success=np.arange(len(result.train)) == 0))
    assert "under 2 % of the frames show success" in "\n".join(warnings(rare, conf))


def test_table_shows_the_confusion(result: Result) -> None:
    console = Console(record=True, width=100, file=io.StringIO())
    console.print(table(replace(result, confusion=Confusion(5, 1, 39, 3))))
    text = console.export_text()
    assert "5 / 3" in text and "1 / 39" in text and "83.3%" in text and "62.5%" in text


def test_figures_are_written(result: Result, tmp_path: Path) -> None:
    plot_curve(result, tmp_path / "curve.png")
    plot_mistakes(result, NAMES, tmp_path / "mistakes.png")
    plot_hold(
        replace(result, tuning=Tuning([1, 2, 3], [0, 4], WRONG, ~WRONG, (1, 1), np.ones(4, bool))),
        tmp_path / "hold.png",
    )
    for name, width in (("curve.png", 800), ("mistakes.png", 800), ("hold.png", 200)):
        with Image.open(tmp_path / name) as image:
            assert image.width > width and np.asarray(image.convert("L")).std() > 5


def test_only_mistakes_are_framed(result: Result, tmp_path: Path) -> None:
    color = tuple(int(FAILURE[i : i + 2], 16) for i in (1, 3, 5))

    def framed(probabilities: np.ndarray) -> bool:
        plot_mistakes(replace(result, probabilities=probabilities), NAMES, tmp_path / "mistakes.png")
        with Image.open(tmp_path / "mistakes.png") as image:
            return bool((np.asarray(image.convert("RGB")) == color).all(-1).sum() > 100)

    right = result.held_out.success.astype(float)
    assert not framed(right)
    assert framed(1 - right)
