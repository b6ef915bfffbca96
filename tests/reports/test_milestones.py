from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from hiltk.reports.milestones import Waiting, arrival, milestones, waiting
from hiltk.reports.sections import milestone_section


def run(successes: list[int], **columns: Any) -> pd.DataFrame:
    n = np.arange(len(successes))
    return pd.DataFrame(
        {"episode": n, "success": successes, "autonomous": successes, "human_s": 600.0 + 30 * (n + 1)} | columns
    )


def test_kaplan_meier_by_hand() -> None:
    """Of 4 seeds one is there at 2; one ends at 3 without; at 5 one of the 2 left: (1 - 1/4) (1 - 1/2) = 0.375."""
    times, left = Waiting(reached=(2, 5), ended=(3, 7)).curve()
    found = dict(zip(times.tolist(), left.tolist(), strict=True))
    assert [found[t] for t in (0, 2, 3, 5, 7)] == pytest.approx([1, 0.75, 0.75, 0.375, 0.375])
    assert Waiting((2, 5), (3, 7)).median == 5


def test_seeds_that_never_get_there_have_no_median() -> None:
    nobody = Waiting((), (40, 40))
    assert math.isnan(nobody.median) and nobody.curve()[1].min() == 1
    assert math.isnan(Waiting((10,), (12, 12)).median)


def test_arrival_is_the_first_window_at_the_level() -> None:
    # 20 episodes with 18 successes: after 2 failures and 18 successes, in row 19. 19 of 20: one later.
    frame = run([0, 0] + [1] * 30)
    assert (arrival(frame, 0.9), arrival(frame, 0.95)) == (19, 20)
    assert arrival(run([1] * 19), 0.9) is None  # no window is full


def test_only_episodes_left_alone_tell() -> None:
    alone = [0, 1] * 25
    frame = run(alone, left_alone=alone)  # every episode with help counts as none
    assert arrival(frame, 0.95) == 39  # the twentieth left alone
    assert arrival(frame.drop(columns="left_alone"), 0.9) is None


def test_times_are_counted_in_episodes_and_in_a_persons_minutes() -> None:
    runs = {0: run([1] * 30), 1: run([0] * 10)}
    assert waiting(runs, 0.9, "episode") == Waiting((20.0,), (10.0,))
    assert waiting(runs, 0.9, "human_s") == Waiting((20.0,), (15.0,))  # 10 minutes before, half a minute each
    assert waiting({0: runs[0].drop(columns="human_s")}, 0.9, "human_s") is None
    table = milestones({"hil": runs})
    assert table.reached.tolist() == [1, 1] and table.seeds.tolist() == [2, 2]


def test_section_is_there_where_several_seeds_are(maker: Any, tmp_path: Path) -> None:
    one, other = maker.trained("hil-s0", 0, episodes=60), maker.trained("hil-s1", 1, episodes=30)
    assert milestone_section([one], tmp_path / "t.png") is None
    section = milestone_section([one, other], tmp_path / "t.png")
    assert section is not None and (tmp_path / "t.png").is_file()
    # Success alone begins half-way, with 30 of 60 and 15 of 30 episodes: 18 successes in a window at episode 48.
    assert [cell.text for cell in section.tables[0].body[0]][:3] == ["hil", "90 %", "1 of 2"]
    assert section.tables[0].body[0][4].text == ""  # these runs did not count a person's time
