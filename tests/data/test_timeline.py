"""Which rows become frames: missing and repeated rows, other frame rates."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hiltk.data.lerobot_files import LeRobotFiles
from hiltk.data.timeline import timeline
from hiltk.errors import ConfigError, UserError
from tests.data.handmade import handmade


class Rows:
    """What `timeline` asks of a dataset, from numbers."""

    def __init__(self, frame: list[list[int]], fps: float = 10.0, time: list[float] | None = None) -> None:
        self.path, self.features = Path("made/up"), {"frame_index": {}, "timestamp": {}}
        self.fps, index = fps, np.concatenate([np.array(f) for f in frame])
        stops = np.cumsum([len(f) for f in frame]).tolist()
        self.bounds = list(zip([0, *stops[:-1]], stops, strict=True))
        self._columns = {"frame_index": index, "timestamp": index / fps if time is None else np.array(time)}

    def column(self, name: str) -> np.ndarray:
        return self._columns[name]


def test_whole_episodes_are_taken_as_they_are() -> None:
    frames = timeline(Rows([[0, 1, 2], [0, 1]]))
    assert frames.rows.tolist() == [0, 1, 2, 3, 4] and frames.episode.tolist() == [0, 0, 0, 1, 1]
    assert frames.known.all() and frames.bounds == [(0, 3), (3, 5)] and frames.takes_all_of(Rows([[0, 1, 2], [0, 1]]))
    assert (frames.missing, frames.repeated, frames.fps) == (0, 0, 10.0)


def test_a_gap_in_the_index_is_a_step_of_several_frames() -> None:
    frames = timeline(Rows([[0, 1, 4, 5]]))
    assert frames.steps.tolist() == [1, 3, 1, 1] and frames.known.tolist() == [True, False, True, True]
    assert frames.missing == 2 and not frames.takes_all_of(Rows([[0, 1, 4, 5]]))


def test_a_gap_in_the_time_is_one_too_and_jitter_is_none() -> None:
    frames = timeline(Rows([[0, 1, 2, 3]], time=[0.0, 0.104, 0.39, 0.51]))
    assert frames.steps.tolist() == [1, 3, 1, 1] and frames.missing == 2


@pytest.mark.parametrize("time", [None, [0.0, 0.1, 0.1, 0.2]])
def test_a_repeated_row_is_left_out(time: list[float] | None) -> None:
    frames = timeline(Rows([[0, 1, 1, 2] if time is None else [0, 1, 2, 3]], time=time))
    assert frames.rows.tolist() == [0, 1, 3] and frames.repeated == 1 and frames.missing == 0


def test_every_third_frame() -> None:
    frames = timeline(Rows([list(range(10)), list(range(5))], fps=30.0), fps=10.0)
    assert frames.rows.tolist() == [0, 3, 6, 9, 10, 13] and not frames.share.any() and frames.known.all()
    values = np.arange(15.0)[:, None]
    assert frames.numbers(values).ravel().tolist() == [0, 3, 6, 9, 10, 13]


def test_25_to_10_interpolates_numbers_and_takes_the_nearest_pictures() -> None:
    frames = timeline(Rows([list(range(11))], fps=25.0), fps=10.0)
    assert frames.numbers(np.arange(11.0)[:, None]).ravel().tolist() == [0, 2.5, 5, 7.5, 10]
    assert frames.rows[[0, 2, 4]].tolist() == [0, 5, 10] and (np.diff(frames.rows) > 0).all() and frames.known.all()


def test_a_gap_is_not_filled_by_interpolation() -> None:
    frames = timeline(Rows([[0, 1, 2, 3, 12, 13, 14, 15]], fps=30.0), fps=10.0)
    assert frames.rows.tolist() == [0, 3, 4, 7] and frames.steps.tolist() == [1, 3, 1, 1] and not frames.share.any()


@settings(max_examples=50, deadline=None)
@given(length=st.integers(4, 80), fps=st.floats(3.0, 10.0), seed=st.integers(0, 99))
@example(length=6, fps=5.5, seed=5)  # the last time lies after the last row
@example(length=12, fps=7.0, seed=51)
@example(length=4, fps=9.0, seed=0)
def test_resampled_numbers_lie_at_even_times(length: int, fps: float, seed: int) -> None:
    """Of a straight motion interpolation is exact, whatever rows are missing."""
    rng = np.random.default_rng(seed)
    index = np.flatnonzero(np.r_[True, rng.random(length - 2) > 0.2, True])
    if length * fps / 10 < (3 if len(index) == length else 8):
        return  # too short: beside gaps fewer than two frames may be left, which is refused
    frames = timeline(Rows([index.tolist()]), fps=fps)
    times = frames.numbers(index[:, None] / 10.0).ravel()
    ticks = np.r_[0, np.cumsum(frames.steps)[:-1]] / fps
    off = np.abs(times - times[0] - ticks)
    assert off.max() < 0.05 + 1e-6  # beside a gap the nearest frame stands in: at most half a frame off
    if len(index) == length:
        assert off.max() < 1e-6 and (np.diff(frames.rows) > 0).all()


def test_more_frames_than_there_are_cannot_be_had() -> None:
    with pytest.raises(ConfigError, match="foreign.fps=20"):
        timeline(Rows([[0, 1, 2]]), fps=20.0)


def test_time_must_not_run_backwards() -> None:
    with pytest.raises(UserError, match="runs backwards"):
        timeline(Rows([[0, 1, 2]], time=[0.0, 0.2, 0.1]))


def test_an_episode_of_one_frame_is_none() -> None:
    with pytest.raises(UserError, match="episode 1 has 1 frames"):
        timeline(Rows([list(range(9)), [0, 1]], fps=30.0), fps=10.0)


def test_the_reader_accepts_gaps_only_when_asked(tmp_path: Path) -> None:
    path = handmade(tmp_path / "gaps", {"observation.state": np.zeros((4, 6))}, [4], frame_index=np.array([0, 1, 5, 6]))
    with pytest.raises(UserError, match="missing or out of order"):
        LeRobotFiles(path)
    assert timeline(LeRobotFiles(path, gaps=True)).missing == 3
    backwards = handmade(
        tmp_path / "back", {"observation.state": np.zeros((4, 6))}, [4], frame_index=np.array([0, 5, 1, 6])
    )
    with pytest.raises(UserError, match="missing or out of order"):
        LeRobotFiles(backwards, gaps=True)
