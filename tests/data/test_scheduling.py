"""Encoding leaves the process as it was: SVT-AV1 makes whoever calls it a real-time process, where it may."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from hiltk.data.scheduling import scheduling_kept
from tests.conftest import build_spec


@pytest.mark.skipif(not hasattr(os, "sched_getscheduler"), reason="the system has no such policies")
def test_what_is_encoded_changes_no_scheduling(dataset_dir: Callable[..., Path]) -> None:
    dataset_dir(video=True, spec=build_spec(64))  # of smaller pictures the encoder dies
    assert os.sched_getscheduler(0) == os.SCHED_OTHER


@pytest.mark.skipif(not hasattr(os, "sched_getscheduler"), reason="the system has no such policies")
def test_another_policy_is_taken_back() -> None:
    with scheduling_kept():
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    assert os.sched_getscheduler(0) == os.SCHED_OTHER
