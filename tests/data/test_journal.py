"""Finished episodes on disk: what comes back, and what is said of a damaged file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from hiltk.data.episode import Episode
from hiltk.data.journal import ARRAYS, PLAIN, EpisodeJournal
from hiltk.errors import UserError


def require_equal(ours: Episode, theirs: Episode) -> None:
    assert list(ours.observations) == list(theirs.observations)
    pairs = [(ours.observations[k], theirs.observations[k]) for k in theirs.observations]
    for a, b in [*pairs, *((getattr(ours, key), getattr(theirs, key)) for key in ARRAYS)]:
        assert a.dtype == b.dtype and np.array_equal(a, b)
    assert [getattr(ours, key) for key in PLAIN] == [getattr(theirs, key) for key in PLAIN]


def test_episodes_come_back_in_order_with_what_followed_them(
    tmp_path: Path, make_episode: Callable[..., Episode]
) -> None:
    journal = EpisodeJournal(tmp_path / "episodes")
    written = [(make_episode(seed=i, length=3), make_episode(seed=9, length=2) if i % 2 else None) for i in range(12)]
    for number, (episode, after) in enumerate(written):
        journal.add(episode, after, {"attempts": number})
    assert not list(tmp_path.rglob("*.tmp*"))
    for number, (episode, after, notes) in enumerate(EpisodeJournal(tmp_path / "episodes").read()):
        require_equal(episode, written[number][0])
        assert (after is None) == (written[number][1] is None) and notes == {"attempts": number}
        if after is not None and (wanted := written[number][1]) is not None:
            require_equal(after, wanted)
    assert number == 11


def test_a_damaged_file_is_named(tmp_path: Path, make_episode: Callable[..., Episode]) -> None:
    journal = EpisodeJournal(tmp_path)
    journal.add(make_episode(), None, {})
    file = tmp_path / "000000.npz"
    for content in (file.read_bytes()[:1000], b"", b"not a zip file"):
        file.write_bytes(content)
        with pytest.raises(UserError, match="a recorded episode is damaged") as caught:
            list(journal.read())
        assert caught.value.where == str(file)
