"""Frames in several arrays against the same frames in one."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hiltk.data.frames import Frames


def pieces(lengths: list[int]) -> list[np.ndarray]:
    starts = np.cumsum([0, *lengths])
    return [
        np.arange(a, b, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 3, 3), np.uint8)
        for a, b in pairwise(starts)
    ]


@given(st.lists(st.integers(0, 5), min_size=1, max_size=6), st.data())
def test_every_way_to_index_is_that_of_one_array(lengths: list[int], data: st.DataObject) -> None:
    parts = pieces(lengths)
    whole, frames = np.concatenate(parts), Frames(parts)
    assert (len(frames), frames.shape, frames.ndim, frames.nbytes) == (len(whole), whole.shape, 4, whole.nbytes)
    if len(whole):
        rows = np.array(data.draw(st.lists(st.integers(0, len(whole) - 1), max_size=9)), np.int64)
        np.testing.assert_array_equal(frames[rows], whole[rows])
        assert all(np.array_equal(v, whole[r]) for v, r in zip(frames.views(rows), rows, strict=True))
        np.testing.assert_array_equal(frames[len(whole) - 1], whole[-1])
    start, stop = data.draw(st.integers(0, 30)), data.draw(st.integers(0, 30))
    np.testing.assert_array_equal(frames[start:stop], whole[start:stop])
    np.testing.assert_array_equal(frames[:], whole)


def test_single_frames_are_views_and_nothing_can_be_written(tmp_path: Path) -> None:
    parts = pieces([2, 3])
    frames = Frames(parts)
    assert np.shares_memory(frames[3], parts[1]) and not np.shares_memory(frames[3], parts[0])
    with pytest.raises(TypeError):
        frames[0] = 1  # type: ignore[index]
    np.save(tmp_path / "a.npy", parts[1])
    mapped = Frames([parts[0], np.load(tmp_path / "a.npy", mmap_mode="r")[1:]])
    assert frames.mapped_bytes == 0 and mapped.mapped_bytes == parts[1][1:].nbytes
