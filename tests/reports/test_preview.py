"""The page of a preview: its tables worked by hand, and what it says in words."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from hiltk.evaluation.preview import Look
from hiltk.evaluation.preview_film import LEAST_PX, film
from hiltk.reports.preview import episode_table, facts, frame_table, sections, strip_figure, verdict_words
from hiltk.reward_rule import Verdict, first_hold
from hiltk.rewards.drift import Drift
from hiltk.rewards.training_images import Known
from hiltk.spec import RewardSpec

RULE = RewardSpec(threshold=0.7, hold_steps=2, min_steps=0)
DARK = Drift("wrist", "brightness", False, 50.0, Known(100.0, 2.0, [90.0, 95.0, 100.0, 105.0, 110.0], 1.9))


def look(name: str, probability: list[float], success: list[int] | None, drift: bool = False) -> Look:
    p = np.array(probability)
    rng = np.random.default_rng(0)
    return Look(
        name,
        {"wrist": rng.integers(0, 255, (len(p), 16, 16, 3), dtype=np.uint8)},
        p,
        np.zeros(len(p)),
        None if success is None else np.array(success, bool),
        first_hold(p >= RULE.threshold, RULE.hold_steps),
        RULE,
        10.0,
        [(2, DARK)] if drift else [],
    )


RIGHT = look("right", [0.1, 0.2, 0.9, 0.2, 0.8, 0.8], [0, 0, 0, 1, 1, 1])  # ended at 5, labels hold from 4
WRONG = look("wrong", [0.1, 0.9, 0.9, 0.1, 0.1, 0.1], [0, 0, 0, 0, 1, 1])
MISSED = look("missed", [0.1, 0.1, 0.9, 0.1, 0.9, 0.1], [0, 0, 0, 1, 1, 1])
SILENT = look("silent", [0.1] * 6, [0] * 6, drift=True)
ALL = sorted([RIGHT, SILENT, MISSED, WRONG], key=lambda one: one.rank)


def test_wrong_ones_come_first() -> None:
    assert [one.name for one in ALL] == ["wrong", "missed", "right", "silent"]
    verdicts = [one.verdict.verdict for one in ALL if one.verdict]
    assert verdicts == [Verdict.wrongly_ended, Verdict.missed, Verdict.rightly_ended, Verdict.rightly_silent]
    assert [one.wrong for one in ALL] == [True, True, False, False]
    assert [verdict_words(one) for one in ALL] == [
        "wrongly ended", "missed", "rightly ended, 1 frame late", "rightly not ended",
    ]  # fmt: skip


def test_the_hold_counts_as_the_rule_does() -> None:
    assert RIGHT.run.tolist() == [0, 0, 1, 0, 1, 2]
    at_reset = look("", [0.9, 0.9, 0.9, 0.1], None)
    assert at_reset.run.tolist() == [0, 1, 2, 0] and at_reset.ended_at == 2  # the first observation does not count


def test_table_of_episodes(tmp_path: Path) -> None:
    table = episode_table(ALL)
    assert table.episode.tolist() == ["wrong", "missed", "right", "silent"]
    assert table.label.tolist() == ["success", "success", "success", "failure"]
    assert table.judged_from.tolist() == [1, 2, 2, pd.NA]
    assert table.labelled_from.tolist() == [4, 3, 3, pd.NA]
    assert table.ended_at.tolist() == [2, pd.NA, 5, pd.NA]
    assert table.delay.tolist() == [pd.NA, pd.NA, 1, pd.NA]
    assert "brightness 50" in table.drift[3]
    table.to_csv(tmp_path / "t.csv", index=False)
    assert (tmp_path / "t.csv").read_text().splitlines()[2].startswith("missed,6,success,missed,2,3,,4,,0.9,")


def test_table_of_frames() -> None:
    table = frame_table([RIGHT, look("nobody knows", [0.5, 0.6], None)])
    assert len(table) == 8 and table.hold[:6].tolist() == [0, 0, 1, 0, 1, 2]
    assert table.label.isna().tolist() == [False] * 6 + [True] * 2
    assert table.judged_success.sum() == 3


def test_words() -> None:
    said = facts(ALL, taught=True)
    assert said[0].startswith("Wrongly ended: 1 of 4 (95 %") and "missed: 1 of 3" in said[0]
    assert "1 frames late (median)" in said[1] and "trained on these very episodes" in said[2]
    assert "2 frames in a row at 0.700 or above" in said[3]
    assert said[4].startswith("Drift in 1 of 4 episodes: camera 'wrist' is darker than anything")
    alone = facts([look("a", [0.1, 0.9, 0.9], None)], taught=False)
    assert alone[0] == "The rule ended 1 of 1 episodes; nothing says whether it was right."


def test_sections(tmp_path: Path) -> None:
    strips = [tmp_path / f"{i}.png" for i in range(4)]
    for one, file in zip(ALL, strips, strict=True):
        strip_figure(one, file)
        with Image.open(file) as picture:
            assert picture.size[0] > 700
    found = sections(ALL, strips, [tmp_path / "film.mp4"])
    assert [s.title for s in found] == [
        "Episode by episode",
        "Wrongly judged episodes",
        "Rightly judged episodes",
        "Films",
    ]
    assert [len(s.figures) for s in found] == [0, 2, 2, 0] and found[3].text == ["1 episodes of 4; all are in videos/."]
    assert "wrong: wrongly ended" in found[1].figures[0].alt
    without = sections([replace(RIGHT, success=None)], strips[:1], [])
    assert [s.title for s in without] == ["Episode by episode", "Episodes"]


def test_an_ensemble_has_a_band(tmp_path: Path) -> None:
    strip_figure(RIGHT, tmp_path / "one.png")
    strip_figure(replace(RIGHT, spread=np.full(6, 0.1)), tmp_path / "several.png")
    assert (tmp_path / "one.png").read_bytes() != (tmp_path / "several.png").read_bytes()


@pytest.mark.parametrize("one", ALL, ids=lambda one: one.name)
def test_film(one: Look) -> None:
    frames = list(film(one, hold_s=0.3))
    assert len(frames) == len(one) + 2
    assert {f.shape for f in frames} == {frames[0].shape} and frames[0].shape[1] == LEAST_PX
    assert not frames[0].shape[0] % 2 and frames[0].dtype == np.uint8
    assert (frames[0] != frames[-1]).any() and (frames[-1] == frames[-2]).all()
