"""What `hiltk inspect` counts, by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hiltk.data.episode import Episode
from hiltk.data.lerobot_io import SPEC_FILE
from hiltk.data.survey import (
    Contents,
    Rules,
    action_table,
    brightness,
    episode_table,
    evenly,
    idle_steps,
    read_contents,
    state_table,
    turning_points,
)
from hiltk.spec import STATE_KEY

WRIST = "observation.images.wrist"
GRIPPER = 5


def moving(episode: Episode) -> Episode:
    """The shoulder turns one degree every step, the gripper opens and closes; all else stands still."""
    state = episode.observations[STATE_KEY]
    state[:] = state[0]
    state[:, 0] = np.arange(len(state))
    return episode


@pytest.fixture
def contents(make_episode: Callable[..., Episode], dataset_dir: Callable[..., Path]) -> Contents:
    """Two episodes of ten steps: one moves all the time, the other for its first six steps only."""
    first, second = (moving(make_episode(length=10, seed=s, success=s == 0)) for s in (0, 1))
    second.observations[STATE_KEY][6:, 0] = 6
    first.observations[STATE_KEY][:, GRIPPER] = [20, 24, 28, 32, 30, 31, 20, 10, 10, 12, 30]
    second.observations[STATE_KEY][:, GRIPPER] = 20
    second.is_intervention[2:5] = True
    second.actions[:4] = 0
    return read_contents(dataset_dir(episodes=[first, second]), "mine")


def test_idle_steps(contents: Contents) -> None:
    idle = idle_steps(contents, 0.005)
    assert not idle[:11].any()
    assert idle[11:].tolist() == [False] * 6 + [True] * 4 + [False]  # the last row is no step


def test_one_row_per_episode(contents: Contents) -> None:
    first, second = episode_table(contents, Rules()).to_dict("records")
    assert (first["frames"], first["seconds"], first["ended_in_success"], first["success_frames"]) == (11, 1.1, True, 2)
    assert (first["first_success_frame"], first["gripper_opens"], first["gripper_closes"]) == (9, 2, 1)
    assert (first["idle"], first["intervention"], first["zero_actions"]) == (0, 0, 0)
    assert (second["idle"], second["idle_at_end"], second["idle_at_start"]) == (0.4, 0.4, 0)
    assert (second["intervention"], second["zero_actions"], second["ended_in_success"]) == (0.3, 0.4, False)
    assert (second["gripper_opens"], second["first_success_frame"]) == (0, "")
    assert (second["stratum"], second["session"]) == ("near", "mine")


def test_turning_points_by_hand() -> None:
    values = np.array([20, 24, 28, 32, 30, 31, 20, 10, 10, 12, 30.0])
    assert turning_points(values, 5.0).tolist() == [0, 0, 1, 0, 0, 0, -1, 0, 0, 0, 1]


@given(st.lists(st.floats(0, 100), min_size=1, max_size=50), st.floats(1, 50))
def test_turns_alternate_and_travel_far_enough(values: list[float], least: float) -> None:
    events = turning_points(np.array(values), least)
    signs = events[events != 0]
    assert (signs[1:] == -signs[:-1]).all()
    if len(signs):
        assert max(values) - min(values) > least
    elif len(values) > 1:
        assert max(values) - min(values) <= least * (1 + 1e-9)


def test_ranges_of_the_state(contents: Contents) -> None:
    table = state_table(contents).set_index("name")
    pan = table.loc["shoulder_pan.pos"]
    assert (pan["min"], pan["median"], pan["max"]) == (0, 5, 10) and not pan.still
    assert table.loc["wrist_roll.pos"].still
    contents.state[:3, 4] = 1000.0
    assert state_table(contents).set_index("name").loc["wrist_roll.pos"].outside == pytest.approx(3 / 22)


def test_actions_that_count(contents: Contents) -> None:
    contents.action[:] = 0.5
    contents.action[contents.acts, 0] = 1.0
    contents.action[~contents.acts] = -7  # an episode's last row has none
    table = action_table(contents).set_index("name")
    assert (table.loc["delta_x"].at_limit, table.loc["delta_y"].at_limit, table.loc["delta_y"]["min"]) == (1, 0, 0.5)


def test_evenly_spaced() -> None:
    assert evenly(10, 4).tolist() == [0, 3, 6, 9]
    assert evenly(3, 12).tolist() == [0, 1, 2]
    assert evenly(1, 5).tolist() == [0]


def test_brightness_of_chosen_frames(make_episode: Callable[..., Episode], dataset_dir: Callable[..., Path]) -> None:
    episode = make_episode(length=40)
    episode.observations[WRIST][:] = np.arange(41, dtype=np.uint8)[:, None, None, None]
    files = read_contents(dataset_dir(episodes=[episode]), "mine").files
    rows = np.array([0, 7, 20, *range(21, 41)])
    np.testing.assert_allclose(brightness(files, WRIST, rows), rows / 255)


def test_a_dataset_without_a_spec(dataset_dir: Callable[..., Path]) -> None:
    path = dataset_dir()
    (path / SPEC_FILE).unlink()
    contents = read_contents(path, "theirs")
    assert contents.success is None and contents.task == "lift"
    row = episode_table(contents, Rules()).iloc[0]
    assert row.frames == 13 and row.ended_in_success == "" and row.stratum == ""
    assert state_table(contents).low.isna().all()
