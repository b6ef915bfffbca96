"""Demonstrations under another reward rule than the one they were recorded with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from hiltk.data.episode import Episode
from hiltk.errors import UserError
from hiltk.findings import Severity
from hiltk.rewards.demonstrations import FILE, as_learned, judge_demonstrations
from hiltk.spec import RewardSpec

HELD = RewardSpec(source="classifier", hold_steps=3)


class Sees:
    """A classifier that finds success in bright frames."""

    threshold = 0.5
    spec = SimpleNamespace(images=[SimpleNamespace(key="observation.images.wrist")])

    def probabilities(self, images: dict[str, np.ndarray]) -> np.ndarray:
        return images["observation.images.wrist"].mean((1, 2, 3)) / 255


@pytest.fixture
def recorded(make_episode: Callable[..., Episode]) -> Callable[..., Episode]:
    def make(bright: list[int], name: str = "demos 0", success: int = 2) -> Episode:
        """Nine steps, success by the labels from frame ``success`` on, by the pictures in the frames named."""
        episode = make_episode(length=9)
        episode.observations["observation.images.wrist"][:] = 0
        episode.observations["observation.images.wrist"][bright] = 255
        episode.success[:] = np.arange(10) >= success
        return replace(episode, name=name)

    return make


def judged(episodes: list[Episode], classifier: Any = None, rule: RewardSpec = HELD) -> Any:
    return judge_demonstrations(episodes, rule, classifier)


def test_it_ends_where_the_classifier_has_seen_success_for_long_enough(recorded: Callable[..., Episode]) -> None:
    found = judged([recorded([4, 5, 6, 7, 8])], Sees())
    (episode,) = found.episodes
    assert len(episode) == 6 and episode.rewards.tolist() == [0, 0, 0, 0, 0, 1]
    assert (episode.terminated, episode.truncated, found.satisfied.tolist()) == (True, False, [True])
    assert found.finding() is None and episode.rule == HELD


def test_without_its_pictures_the_labels_decide(recorded: Callable[..., Episode]) -> None:
    blind = recorded([])
    del blind.observations["observation.images.wrist"]
    assert [len(e) for e in judged([blind], Sees()).episodes] == [4]


def test_one_that_never_satisfies_the_rule_is_neither_rewarded_nor_terminal(recorded: Callable[..., Episode]) -> None:
    """Frames 4, 5 and 7, 8, 9 hold the rule of three only at the very end, flicker never does."""
    found = judged([recorded([4, 5, 7, 8]), recorded([4, 5, 7, 8, 9], "demos 1")], Sees())
    short = found.episodes[0]
    assert len(short) == 9 and not short.rewards.any() and (short.terminated, short.truncated) == (False, True)
    finding = found.finding()
    assert finding.severity is Severity.warning and finding.where == "demos 0" and "1 of 2" in finding.what


def test_most_of_them_is_an_error(recorded: Callable[..., Episode]) -> None:
    finding = judged(
        [recorded([], "demos 0"), recorded([], "demos 1"), recorded([4, 5, 6], "demos 2")], Sees()
    ).finding()
    assert finding.severity is Severity.error and finding.where == "demos 0, demos 1"


def test_each_dataset_is_told_of_its_own(recorded: Callable[..., Episode]) -> None:
    found = judged(
        [recorded([4, 5, 6], "demos@d-0001 0"), recorded([], "demos@d-0001 11"), recorded([], "more 0")], Sees()
    )
    assert found.of("demos@d-0001").finding().where == "demos@d-0001 11"
    assert found.of("more").finding().severity is Severity.error and not found.of("demos").episodes


def test_an_environments_own_rewards_stay(recorded: Callable[..., Episode]) -> None:
    episode = recorded([])
    assert judged([episode], rule=RewardSpec(source="env")).episodes == [episode]


def test_what_a_run_learned_from_is_found_again(recorded: Callable[..., Episode], tmp_path: Path) -> None:
    whole = [recorded([4, 5, 6, 7]), recorded([4, 5], "demos 1")]
    found = judged(whole, Sees())
    found.save(tmp_path)
    again = as_learned(whole, HELD, tmp_path)
    assert [(len(e), e.terminated, e.rewards.sum()) for e in again] == [(6, True, 1), (9, False, 0)]


def test_a_run_without_a_list_took_them_as_recorded(recorded: Callable[..., Episode], tmp_path: Path) -> None:
    (episode,) = as_learned([replace(recorded([]), rule=RewardSpec(hold_steps=2))], HELD, tmp_path)
    assert len(episode) == 3 and episode.terminated and episode.rewards[-1] == 1


def test_a_damaged_list_is_named(recorded: Callable[..., Episode], tmp_path: Path) -> None:
    (tmp_path / FILE).write_text("episode,steps\ndemos 0,3\n")
    with pytest.raises(UserError, match="list of demonstrations is damaged"):
        as_learned([recorded([])], HELD, tmp_path)
