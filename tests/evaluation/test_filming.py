from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from hiltk.evaluation.filming import examples, film_examples
from hiltk.evaluation.rollouts import evaluate


@pytest.fixture
def episodes(line_env: Any, go_to: Any) -> pd.DataFrame:
    return evaluate(line_env, go_to(reach=0.75), ["near", "far"], 10, seed=0)


def test_examples_spread_over_strata(episodes: pd.DataFrame) -> None:
    chosen = examples(episodes, 2)
    won = chosen[chosen.success]
    assert set(won.stratum) == {"near", "far"}
    assert len(chosen[~chosen.success]) == 2 and set(chosen[~chosen.success].stratum) == {"far"}


def test_examples_without_failures(episodes: pd.DataFrame) -> None:
    assert len(examples(episodes[episodes.success], 3)) == 3
    assert examples(episodes, 0).empty


def test_films_show_the_evaluated_outcome_from_more_cameras(
    line_env: Any, make_line_env: Any, go_to: Any, episodes: pd.DataFrame
) -> None:
    chosen = examples(episodes, 2)
    film_env = make_line_env(("wrist", "front"))
    films = list(film_examples(line_env, film_env, go_to(reach=0.75), chosen, label="p", deterministic=True))
    assert [f.success for f in films] == chosen.success.tolist()
    assert [len(f.views) - 1 for f in films] == chosen.steps.tolist()
    assert all(list(f.views[0]) == ["wrist", "front"] for f in films)


def test_a_replay_that_goes_astray_is_not_shown(
    line_env: Any, make_line_env: Any, go_to: Any, episodes: pd.DataFrame
) -> None:
    astray = make_line_env(("wrist", "front"))
    plain_step = astray.step
    astray.step = lambda action: plain_step(0 * np.asarray(action))
    chosen = examples(episodes, 1)
    films = list(film_examples(line_env, astray, go_to(reach=0.75), chosen, label="p", deterministic=True))
    # The failing policy stands still at the end, so only the success differs and is filmed through its own camera.
    assert [f.success for f in films] == chosen.success.tolist()
    assert list(films[0].views[0]) == ["wrist"]
