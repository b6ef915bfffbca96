"""Golden numbers: McNemar by summing the binomial."""

from __future__ import annotations

import numpy as np
import pytest

from hiltk.evaluation.intervals import compare_paired


def test_mcnemar_golden() -> None:
    """Ten discordant pairs, nine for the second policy: p = 2 (C(10,0) + C(10,1)) / 2^10 = 22/1024."""
    first = [True] * 5 + [True] + [False] * 9 + [False] * 5
    second = [True] * 5 + [False] + [True] * 9 + [False] * 5
    test = compare_paired(first, second)
    assert (test.n, test.only_first, test.only_second) == (20, 1, 9)
    assert test.difference == pytest.approx(8 / 20)
    assert test.p_value == pytest.approx(22 / 1024)


def test_equal_policies_do_not_differ() -> None:
    test = compare_paired([True, False, True], [True, False, True])
    assert (test.difference, test.p_value) == (0, 1)


def test_unequal_lengths_do_not_pair() -> None:
    with pytest.raises(ValueError, match="do not pair up"):
        compare_paired(np.ones(3), np.ones(4))
