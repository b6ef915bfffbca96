"""Figures are checked by what they draw, not by their pixels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from hiltk.learning.metrics import COLUMNS
from hiltk.reports import figures
from hiltk.reports.sources import read_csv, training_runs
from hiltk.reports.success import boards


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The matplotlib figures that were saved."""
    seen: list[Figure] = []
    save = figures._save
    monkeypatch.setattr(figures, "_save", lambda figure, path: (seen.append(figure), save(figure, path)))
    return seen


def test_bars_and_error_bars_are_the_boards_numbers(maker: Any, tmp_path: Path, drawn: list[Figure]) -> None:
    parts = [
        maker.evaluation(
            f"e{s}", {"bc": {"near": 10, "far": s}, "hil": {"near": 10, "far": 9}}, seeds={"bc": s, "hil": s}
        )
        for s in (0, 2)
    ]
    (board,) = boards(parts)
    figures.success_figure(board, tmp_path / "f.png")
    (axis,) = drawn[0].axes
    heights = [
        [bar.get_height() for bar in container] for container in axis.containers if hasattr(container, "patches")
    ]
    np.testing.assert_allclose(heights, [[100, 10, 55], [100, 90, 95]])
    low_high = axis.containers[1].lines[2][0].get_segments()[1][:, 1]
    rate = board.rate("bc", "far")
    np.testing.assert_allclose(low_high, [100 * rate.low, 100 * rate.high])
    assert [t.get_text() for t in axis.get_legend().get_texts()] == ["bc", "hil"]
    assert Image.open(tmp_path / "f.png").width > 800


def test_learning_curve_is_a_rolling_mean(maker: Any, tmp_path: Path, drawn: list[Figure]) -> None:
    (runs,) = training_runs([maker.trained("hil-s0", 0), maker.trained("hil-s1", 1)], "train").values()
    figures.learning_figure(runs, tmp_path / "f.png")
    by_episode, by_time = drawn[0].axes
    mean = next(line for line in by_episode.lines if line.get_label() == "intervention rate")
    # Half the steps by the human for 20 episodes, none afterwards: a mean over 20 falls on a line from 50 to 0.
    np.testing.assert_allclose(mean.get_ydata()[19:], np.linspace(50, 0, 21))
    assert by_time.lines[0].get_xdata()[-1] == pytest.approx(40 * 3 / 60)


def test_learning_is_also_drawn_over_a_persons_time(maker: Any, tmp_path: Path, drawn: list[Figure]) -> None:
    (runs,) = training_runs([maker.trained("hil")], "train").values()
    counted = {seed: frame.assign(human_s=600 + 9.0 * (frame.episode + 1)) for seed, frame in runs.items()}
    figures.learning_figure(counted, tmp_path / "f.png")
    _, by_human, _ = drawn[0].axes
    assert by_human.lines[0].get_xdata()[-1] == pytest.approx((600 + 9 * 40) / 60)


def test_survival_curves_are_steps(tmp_path: Path, drawn: list[Figure]) -> None:
    curve = (np.array([0.0, 20.0, 35.0]), np.array([1.0, 0.5, 0.0]))
    figures.survival_figure([("90 %", "episodes", {"hil": curve})], tmp_path / "f.png")
    line = drawn[0].axes[0].lines[0]
    assert line.get_drawstyle() == "steps-post" and line.get_xydata().tolist() == [[0, 100], [20, 50], [35, 0]]


def test_what_the_guards_watch_is_drawn_as_far_as_it_was_measured(
    maker: Any, tmp_path: Path, drawn: list[Figure]
) -> None:
    runs = {seed: read_csv(maker.trained(f"hil-s{seed}", seed), "metrics.csv") for seed in (0, 1)}
    assert figures.watched_figure(runs, tmp_path / "none.png") == [] and not (tmp_path / "none.png").exists()
    for seed, frame in runs.items():
        frame["q_mean"] = [float("nan")] * 2 + [0.1 * seed] * (len(frame) - 2)
        frame["utd"], frame["alpha"] = 2.0, 0.01 if seed else float("nan")
    assert figures.watched_figure(runs, tmp_path / "f.png") == ["q_mean", "utd"]  # alpha is not known of both
    first = drawn[0].axes[0]
    assert first.get_title() == "Q, mean of a batch" and len(first.lines) == 2
    assert first.lines[1].get_xydata()[0].tolist() == [3, 0.1]  # before the first update there is none


def test_guarded_metrics_are_columns_that_training_writes() -> None:
    assert set(figures.LOGARITHMIC) < set(figures.WATCHED) < set(COLUMNS)


def test_short_and_empty_curves_are_drawn(maker: Any, tmp_path: Path) -> None:
    (runs,) = training_runs([maker.trained("hil", episodes=2)], "train").values()
    figures.learning_figure(runs, tmp_path / "a.png")
    (cloned,) = training_runs([maker.cloned("bc")], "bc-pretrain").values()
    figures.loss_figure({"bc": cloned[0]}, tmp_path / "b.png")
    (board,) = boards([maker.evaluation("e", {"hil": {"near": 0}})])
    figures.success_figure(board, tmp_path / "c.png")
    assert all((tmp_path / f"{n}.png").is_file() for n in "abc")


def test_precision_recall_marks_the_threshold(maker: Any, tmp_path: Path, drawn: list[Figure]) -> None:
    curve = read_csv(maker.classifier("cube"), "curve.csv")
    figures.precision_recall_figure({"cube": curve}, {"cube": (0.9, 0.98)}, tmp_path / "f.png")
    points = [line.get_xydata().tolist() for line in drawn[0].axes[0].lines if line.get_marker() == "o"]
    assert [pytest.approx(xy) for xy in points[0]] == [[90, 98]]
