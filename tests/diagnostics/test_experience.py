"""What a run learned from, as columns: from episodes and from datasets on disk."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hiltk.artifacts.store import Artifact
from hiltk.data.episode import Source
from hiltk.diagnostics.experience import demonstrations, of_episodes, reference, require_training
from hiltk.errors import UserError
from hiltk.spec import STATE_KEY, RewardSpec
from tests.conftest import build_episode, build_spec

SPEC = build_spec()


def test_columns_by_hand() -> None:
    first, second = build_episode(SPEC, 4, 0), build_episode(SPEC, 3, 1, success=False)
    e = of_episodes([first, second], SPEC)
    assert e.episode.tolist() == [0] * 4 + [1] * 3 and e.step.tolist() == [0, 1, 2, 3, 0, 1, 2]
    assert e.last.tolist() == [False] * 3 + [True] + [False] * 2 + [True]
    assert e.terminated.tolist() == [False] * 3 + [True] + [False] * 3 and e.truncated.tolist() == [False] * 6 + [True]
    np.testing.assert_array_equal(e.state[4:], second.observations[STATE_KEY][:-1])
    np.testing.assert_array_equal(e.next_state[:4], first.observations[STATE_KEY][1:])
    assert e.episodes == 2 and e.lengths.tolist() == [4, 3] and e.of(Source.demo).all()


def test_nothing_has_the_right_shape() -> None:
    e = of_episodes([], SPEC)
    assert len(e) == 0 and e.state.shape == (0, 18) and e.action.shape == (0, 4) and not e.last.any()


def test_demonstrations_are_rewarded_by_the_runs_rule(dataset_dir: Callable[..., Path], tmp_path: Path) -> None:
    path = dataset_dir()
    run = replace(SPEC, reward=RewardSpec(success_value=10.0, step_value=-0.05))
    e = demonstrations([Artifact("datasets", "d", "", path)], run, tmp_path)
    assert e.episodes == 3 and set(np.round(e.reward, 3)) == {10.0, np.float32(-0.05)}
    assert e.positive(run).sum() == 3 and (e.positive(run) == e.last).all()


def test_how_inputs_are_found_again() -> None:
    assert reference({"artifact": "demos", "version": "d-0002"}) == "demos@d-0002"
    assert reference({"artifact": "/data/demos", "version": ""}) == "/data/demos"


def test_a_folder_is_no_training_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no training run: it was made by something else"):
        require_training(Artifact("policies", "p", "", tmp_path))
