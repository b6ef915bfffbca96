"""What several steps share."""

from __future__ import annotations

import pytest

from hiltk.steps.common import split_by_episode


@pytest.mark.parametrize(("count", "held_out", "expected"), [(10, 0.2, 2), (10, 0.01, 1), (3, 0.99, 2), (1, 0.5, 0)])
def test_no_episode_is_both_trained_on_and_held_out(count: int, held_out: float, expected: int) -> None:
    train, test = split_by_episode(count, held_out, seed=3)
    assert len(test) == expected
    assert sorted(train + test) == list(range(count))
