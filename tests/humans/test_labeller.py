"""Labelling by keys: what each key does, and the player fed with a script of them."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from hiltk.data.dataset import open_dataset
from hiltk.humans.labeller import Labels, half_blocks, label_by_keys, strip


@pytest.fixture
def labels() -> Labels:
    """Two episodes, of twelve and of five frames."""
    return Labels([(0, 12), (12, 17)], np.zeros(17, bool))


def press(labels: Labels, keys: str) -> Labels:
    for key in keys:
        labels.press(key)
    return labels


@pytest.mark.parametrize(
    ("keys", "frame"), [("...", 3), ("..,", 1), (",", 0), ("]", 10), ("]]", 11), ("]].", 11), ("]][", 1), ("z", 0)]
)
def test_moving_stays_inside_the_episode(labels: Labels, keys: str, frame: int) -> None:
    assert press(labels, keys).frame == frame


@pytest.mark.parametrize(("arrow", "frame"), [("\x1b[C", 1), ("\x1b[A", 10), ("\x1bOC", 1)])
def test_arrows(labels: Labels, arrow: str, frame: int) -> None:
    labels.press(arrow)
    assert labels.frame == frame


def test_a_range_includes_both_ends(labels: Labels) -> None:
    press(labels, "..s...e")
    assert np.flatnonzero(labels.success).tolist() == [2, 3, 4, 5] and labels.touched == {0}


def test_a_range_may_be_marked_backwards(labels: Labels) -> None:
    assert np.flatnonzero(press(labels, ".....s,,,e").success).tolist() == [2, 3, 4, 5]


def test_an_end_without_a_start_does_nothing(labels: Labels) -> None:
    assert not press(labels, "..e").success.any() and not labels.touched


def test_exclusion_of_a_frame_and_of_a_range(labels: Labels) -> None:
    press(labels, "s]e")  # 0 to 10
    press(labels, ",x")  # frame 9
    press(labels, "[s..x")  # 0 to 2
    assert np.flatnonzero(labels.success).tolist() == [3, 4, 5, 6, 7, 8, 10]


def test_a_failure_and_undo(labels: Labels) -> None:
    press(labels, "s]ef")
    assert not labels.success.any() and labels.touched == {0}
    assert press(labels, "u").success[:11].all()
    assert not press(labels, "uuu").success.any() and not labels.touched


def test_episodes(labels: Labels) -> None:
    press(labels, "..np")
    assert (labels.episode, labels.frame) == (0, 0)
    press(labels, "nns.e")  # there is no third
    assert np.flatnonzero(labels.success).tolist() == [12, 13] and labels.touched == {1}


# ---------------------------------------------------------------- the player


def script(keys: str) -> Callable[[], str]:
    source: Iterator[str] = iter(keys)
    return lambda: next(source)


def terminal() -> Console:
    return Console(file=io.StringIO(), force_terminal=True, width=120, height=40, color_system="truecolor")


def test_played_through(shared_dataset: Path) -> None:
    console = terminal()
    success, touched = label_by_keys(open_dataset(shared_dataset), script("nf]s.ew"), console)
    assert touched == {1} and np.flatnonzero(success[11:23]).tolist() == [10, 11]
    assert success[:11].tolist() == [False] * 9 + [True] * 2  # as it was
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "episode 1 of 3" in shown and "success in frames: 10-11" in shown and "▀" in shown


def test_keys_that_arrive_together(shared_dataset: Path) -> None:
    typed = iter(["n\x1b[C\x1bOCs", "..\x1b[Aew"])
    success, _ = label_by_keys(open_dataset(shared_dataset), lambda: next(typed), terminal())
    assert np.flatnonzero(success[11:23]).tolist() == list(range(2, 12))


@pytest.mark.parametrize("key", ["q", "\x03"])
def test_giving_up(shared_dataset: Path, key: str) -> None:
    with pytest.raises(KeyboardInterrupt):
        label_by_keys(open_dataset(shared_dataset), script(f"f{key}"), terminal())


def test_pictures_in_characters() -> None:
    frame = np.zeros((2, 3, 3), np.uint8)
    frame[0] = 255, 0, 0
    text = half_blocks(frame)  # enlarged to 72 columns and 24 lines
    assert text.plain == ("▀" * 72 + "\n") * 24
    assert str(text.spans[0].style) == "rgb(255,0,0) on rgb(255,0,0)"
    assert str(text.spans[-1].style) == "rgb(0,0,0) on rgb(0,0,0)"
    tall = np.zeros((52, 36, 3), np.uint8)
    tall[::2] = 9
    assert {str(s.style) for s in half_blocks(tall).spans} == {"rgb(9,9,9) on rgb(0,0,0)"}
    wide = half_blocks(np.zeros((480, 640, 3), np.uint8)).plain.splitlines()
    assert len(wide) <= 26 and max(map(len, wide)) <= 72


def test_the_strip_shows_where_one_is() -> None:
    assert strip(np.array([False, True, True]), 1).plain == "▄█▄"
    assert len(strip(np.zeros(1000, bool), 999).plain) <= 72
