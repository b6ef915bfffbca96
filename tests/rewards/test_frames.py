from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hiltk.data.episode import Episode
from hiltk.errors import UserError
from hiltk.rewards.frames import balanced_rows, collect, require_both_classes, split_episodes
from hiltk.spec import STATE_KEY

KEY = "observation.images.wrist"


def of_labels(labels: list[bool]) -> Episode:
    """An episode whose 2x2 frames all hold its number of frames, so that rows can be told apart."""
    n = len(labels)
    frames = np.full((n, 2, 2, 3), n, np.uint8)
    steps = np.zeros(n - 1)
    none = np.zeros(n - 1, bool)
    observations = {STATE_KEY: np.zeros((n, 1), np.float32), KEY: frames}
    actions = np.zeros((n - 1, 4), np.float32)
    return Episode(observations, actions, steps, np.array(labels), steps, none, ~none, labels[-1], not labels[-1])


SUCCESS, FAILURE = [False, False, True], [False, False]


def test_collect_keeps_order_and_the_last_observation() -> None:
    frames = collect([of_labels(SUCCESS), of_labels(FAILURE)], [KEY])
    assert frames.success.tolist() == [False, False, True, False, False]
    assert frames.episode.tolist() == [0, 0, 0, 1, 1]
    assert frames.step.tolist() == [0, 1, 2, 0, 1]
    assert frames.images[KEY][:][:, 0, 0, 0].tolist() == [3, 3, 3, 2, 2]
    only_second = collect([of_labels(SUCCESS), of_labels(FAILURE)], [KEY], [1])
    assert only_second.episode.tolist() == [1, 1] and only_second.images[KEY][0][0, 0, 0] == 2


kinds = st.lists(st.sampled_from(["success", "failure"]), min_size=2, max_size=40)


@given(kinds, st.floats(0.05, 0.95), st.integers(0, 2**31), st.integers(1, 4))
@settings(max_examples=200, deadline=None)
def test_split_never_leaks_and_both_parts_show_both_classes(
    kinds: list[str], fraction: float, seed: int, groups: int
) -> None:
    kinds = ["success", "success", *kinds]
    episodes = [of_labels(SUCCESS if k == "success" else FAILURE) for k in kinds]
    split = split_episodes(episodes, fraction, seed, [f"set {i % groups}" for i in range(len(kinds))])
    train, held_out = set(split.train.tolist()), set(split.held_out.tolist())
    assert not train & held_out
    assert train | held_out == set(range(len(kinds)))
    frames = collect(episodes, [KEY])
    parts = [collect(episodes, [KEY], part) for part in (split.train, split.held_out)]
    assert not set(parts[0].episode) & set(parts[1].episode)
    assert len(parts[0]) + len(parts[1]) == len(frames)
    assert all(p.success.any() and not p.success.all() for p in parts)


def test_split_is_stratified_by_class_and_group() -> None:
    # 10 successes and 10 failures of each of two sessions; a quarter of 40 is 10: 5 successes, 5 failures.
    episodes = [of_labels(SUCCESS if i % 2 else FAILURE) for i in range(40)]
    groups = ["morning" if i < 20 else "evening" for i in range(40)]
    held_out = split_episodes(episodes, 0.25, 7, groups).held_out
    assert sum(i % 2 for i in held_out) == 5
    assert 4 <= sum(i < 20 for i in held_out) <= 6


def test_split_depends_on_the_seed_only() -> None:
    episodes = [of_labels(SUCCESS) for _ in range(30)]
    first, again, other = (split_episodes(episodes, 0.2, s).held_out.tolist() for s in (3, 3, 4))
    assert first == again != other
    assert len(first) == 6


def test_two_episodes_are_enough() -> None:
    split = split_episodes([of_labels(SUCCESS), of_labels(SUCCESS)], 0.2, 0)
    assert len(split.train) == len(split.held_out) == 1


@pytest.mark.parametrize(
    ("labels", "message", "fix"),
    [
        ([FAILURE, FAILURE, FAILURE], "none of the 3 episodes has a frame labelled as success", "steps_after_success"),
        ([[True, True], [True]], "every frame of the 2 episodes is labelled as success", "keep=all"),
        ([SUCCESS, FAILURE, FAILURE], "only one episode shows success", "one more success"),
        ([SUCCESS, [True, True]], "only one episode shows failure", "frames before success"),
    ],
)
def test_unusable_labels_are_refused(labels: list[list[bool]], message: str, fix: str) -> None:
    with pytest.raises(UserError) as caught:
        require_both_classes([of_labels([*x]) for x in labels])
    assert message in str(caught.value) and fix in str(caught.value)


def test_a_part_without_failures_is_refused() -> None:
    # The only pure failure is never held out, and one of the three successes is nothing but success.
    episodes = [of_labels([True, True]), of_labels([True, True, True]), of_labels(FAILURE), of_labels(SUCCESS)]
    outcomes = []
    for seed in range(20):
        try:
            split_episodes(episodes, 0.25, seed)
            outcomes.append("fits")
        except UserError as error:
            assert "held-out episodes show no failure" in str(error)
            outcomes.append("refused")
    assert set(outcomes) == {"fits", "refused"}


@given(st.integers(1, 50), st.integers(1, 50), st.integers(2, 65), st.integers(0, 1000))
@settings(max_examples=60, deadline=None)
def test_batches_are_balanced(positives: int, negatives: int, size: int, seed: int) -> None:
    success = np.array([True] * positives + [False] * negatives)
    rows = balanced_rows(success, size, np.random.default_rng(seed))
    assert len(rows) == size
    assert success[rows].sum() == size // 2


def test_every_frame_of_a_class_is_drawn_sooner_or_later() -> None:
    success = np.array([True, True, False, True, False])
    drawn = np.concatenate([balanced_rows(success, 8, np.random.default_rng(s)) for s in range(20)])
    assert set(drawn.tolist()) == {0, 1, 2, 3, 4}
