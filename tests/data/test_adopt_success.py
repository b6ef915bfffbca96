"""Which column says that an episode succeeded: its values decide."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hiltk.config.commands import NONE
from hiltk.data.adopt_questions import DOUBT, OPEN, SURE
from hiltk.data.adopt_success import guess_success, no_success
from hiltk.data.lerobot_files import LeRobotFiles
from tests.data.handmade import handmade

LENGTH, EPISODES = 20, 3
BOUNDS = [(LENGTH * e, LENGTH * (e + 1)) for e in range(EPISODES)]
AT = np.tile(np.arange(LENGTH), EPISODES)
LAST, HELD = (AT == LENGTH - 1).astype(float), (AT >= 14).astype(float)


@pytest.mark.parametrize(
    "values",
    [
        LAST,  # LeRobot's recorders: 1 in the row that ends it
        HELD,
        10 * LAST - 0.05 * (1 - LAST),  # a price of each step, and a prize
        LAST - 0.02 * (AT % 3 == 0),  # LeRobot's penalty for using the jaws, once taken off the prize
        HELD * (AT != 16),  # it flickers
        np.where(AT < 60, LAST, 0) * (np.repeat(np.arange(EPISODES), LENGTH) != 1),  # one failed
        np.zeros(60),
        -0.02 * (AT == 7),  # nothing but one penalty
    ],
)
def test_success_that_shows_once_a_task_is_done(values: np.ndarray) -> None:
    assert no_success(values, BOUNDS) == ""


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (0.05 + 0.95 * AT / (LENGTH - 1), "is graded: from 0.05 to 1, above 0 in 100% of rows"),
        (AT / (LENGTH - 1), "is graded"),  # progress, called success
        (-1.0 + 2 * AT / (LENGTH - 1), "is graded"),
        (LAST - 1, "a cost of each step"),  # rewards of -1 and 0
        (np.ones(60), "in every row of 3 of 3 episodes"),
        (np.repeat([1.0, 0, 1], LENGTH), "foreign.successful_episodes=[0,2]"),
        ((AT > 0).astype(float), "from the first row on in 3 of 3"),  # alive
        ((AT < 5).astype(float), "from the first row on in 3 of 3"),
    ],
)
def test_what_is_no_success(values: np.ndarray, said: str) -> None:
    assert said in no_success(values, BOUNDS)


@given(st.lists(st.integers(2, LENGTH - 1), min_size=EPISODES, max_size=EPISODES), st.floats(1e-3, 1e3))
def test_whenever_it_starts_and_whatever_it_pays(starts: list[int], prize: float) -> None:
    values = prize * (np.repeat(starts, LENGTH) <= AT)
    assert no_success(values, BOUNDS) == ""


def test_the_first_column_that_may_be_one_is_taken(tmp_path: Path) -> None:
    graded = AT / (LENGTH - 1)
    columns = {"observation.state": np.zeros((60, 6)), "success": graded[:, None], "next.reward": LAST[:, None]}
    files = LeRobotFiles(handmade(tmp_path / "both", columns, [LENGTH] * EPISODES))
    assert guess_success(files).value == "next.reward"
    stated = guess_success(files, "success")
    assert stated.confidence == DOUBT and "success is graded" in stated.evidence  # a statement is told of it
    files = LeRobotFiles(handmade(tmp_path / "one", {k: columns[k] for k in list(columns)[:2]}, [LENGTH] * EPISODES))
    guess = guess_success(files)
    assert (guess.value, guess.confidence) == (NONE, OPEN) and "success is graded" in guess.evidence
    columns["success"] = HELD[:, None]
    files = LeRobotFiles(handmade(tmp_path / "good", columns, [LENGTH] * EPISODES))
    assert guess_success(files).value == "success" and guess_success(files).confidence == SURE
