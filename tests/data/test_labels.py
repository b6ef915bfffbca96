"""Success labels: files, ranges that include both ends, and what follows for reward and the end of an episode."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hiltk.data.dataset import open_dataset
from hiltk.data.episode import Episode
from hiltk.data.labels import Kind, Mark, marks_of, read_marks, relabelled, success_of
from hiltk.data.lerobot_io import load_episodes
from hiltk.data.rewrite import replace_columns
from hiltk.errors import UserError
from hiltk.reward_rule import Hold, settle
from hiltk.spec import RewardSpec, Spec

LENGTHS = [10, 100, 5]


def write(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "labels.csv"
    file.write_text(text)
    return file


# ---------------------------------------------------------------- files


def test_a_file_by_hand(tmp_path: Path) -> None:
    file = write(
        tmp_path, "episode, first, last, kind\n0,7,,\n# a gap\n1,60,99,success\n1,78,88,exclude\n2,,,failure\n"
    )
    assert read_marks(file, LENGTHS) == [
        Mark(0, 7, 9),
        Mark(1, 60, 99),
        Mark(1, 78, 88, Kind.exclude),
        Mark(2, 0, 4, Kind.failure),
    ]


def test_two_columns_are_enough(tmp_path: Path) -> None:
    assert read_marks(write(tmp_path, "episode,first\n0,3\n"), LENGTHS) == [Mark(0, 3, 9)]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("episode,first\n3,0\n", "there is no episode 3"),  # counted from 1: the third is 2
        ("episode,first,last\n0,1,10\n", "frames 1 to 10 are no range of episode 0"),  # the last frame is 9
        ("episode,first,last\n0,5,4\n", "frames 5 to 4"),
        ("episode,first\n-1,0\n", "there is no episode -1"),
        ("episode,first\n0,\n", "'' is not a whole number"),
        ("episode,first\n0,2.5\n", "'2.5' is not a whole number"),
        ("episode,frist\n0,2\n", "did you mean 'first'?"),
        ("episode,last\n0,2\n", "the column 'first' is missing"),
        ("episode,first,last,kind\n0,2,3,sucess\n", "did you mean 'success'?"),
        ("episode,first,last,kind\n0,2,3,failure\n", "a failure is a whole episode"),
        ("episode,first,last,kind\n0,2,3,exclude\n", "no success row has them"),
        ("episode,first,last,kind\n1,2,8,\n0,2,3,exclude\n", "frames 2 to 3 of episode 0"),  # of another episode
        ("episode,first,last,kind\n0,5,8,\n0,2,4,exclude\n", "labels.csv, row 2"),  # beside it
        ("episode,first\n", "no rows"),
        ("", "cannot be read"),
        ('a,"b\n', "cannot be read"),
    ],
)
def test_lines_that_cannot_be_meant(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(UserError) as caught:
        read_marks(write(tmp_path, text), LENGTHS)
    assert said in str(caught.value) and "labels.csv" in str(caught.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        read_marks(tmp_path / "none.csv", LENGTHS)


# ---------------------------------------------------------------- ranges


def test_ranges_include_both_ends_and_count_from_zero() -> None:
    """78 to 88 are eleven frames, the 79th to the 89th (failures.md E10)."""
    success = success_of([Mark(1, 78, 88)], [(0, 10), (10, 110)], np.zeros(110, bool), others="keep")
    assert np.flatnonzero(success).tolist() == list(range(10 + 78, 10 + 89)) and success.sum() == 11


def test_exclusions_win_wherever_they_stand() -> None:
    marks = [Mark(0, 4, 5, Kind.exclude), Mark(0, 2, 7)]
    success = success_of(marks, [(0, 10)], np.zeros(10, bool), others="keep")
    assert np.flatnonzero(success).tolist() == [2, 3, 6, 7]


@pytest.mark.parametrize(("others", "second"), [("keep", [True] * 3), ("failure", [False] * 3)])
def test_episodes_without_a_row(others: str, second: list[bool]) -> None:
    success = success_of([Mark(0, 1, 1)], [(0, 3), (3, 6)], np.ones(6, bool), others=others)
    assert success[:3].tolist() == [False, True, False] and success[3:].tolist() == second


def test_a_failure_clears_its_episode() -> None:
    success = success_of([Mark(0, 0, 2, Kind.failure)], [(0, 3), (3, 6)], np.ones(6, bool), others="keep")
    assert success.tolist() == [False] * 3 + [True] * 3


@given(st.lists(st.booleans(), max_size=40))
def test_runs_give_back_the_labels(shown: list[bool]) -> None:
    success = np.array(shown, bool)
    again = np.zeros(len(shown), bool)
    for first, last in marks_of(success):
        assert success[first : last + 1].all()
        again[first : last + 1] = True
    assert (again == success).all()


# ---------------------------------------------------------------- the rule


@pytest.mark.parametrize(
    ("shown", "hold", "least", "end"),
    [
        ([0, 0, 0, 1, 1, 0], 2, 0, 4),
        ([0, 1, 0, 1, 0, 0], 2, 0, None),  # flicker never holds
        ([0, 1, 0, 1, 1, 0], 2, 0, 4),
        ([1, 1, 0, 0, 0, 0], 2, 0, None),  # the first observation does not count
        ([0, 0, 0, 0, 0, 1], 2, 0, None),  # a time-out: nothing says that it would have held
        ([0, 1, 1, 1, 1, 1], 2, 4, 4),
        ([0, 1, 1, 0, 0, 0], 2, 4, None),  # over before it is allowed
        ([0, 0, 0, 0, 0, 0], 1, 0, None),
    ],
)
def test_where_an_episode_ends(shown: list[int], hold: int, least: int, end: int | None) -> None:
    settled = settle(np.array(shown, bool), RewardSpec(hold_steps=hold, min_steps=least))
    assert (settled.steps if settled.success else None) == end


@given(st.lists(st.booleans(), min_size=2, max_size=30), st.integers(1, 4), st.integers(0, 10))
def test_the_end_is_the_simulators(shown: list[bool], hold: int, least: int) -> None:
    """The same verdict as the rule that runs while recording."""
    rule = Hold(hold, least)
    steps = [t for t in range(1, len(shown)) if rule.see(shown[t])]
    settled = settle(np.array(shown), RewardSpec(hold_steps=hold, min_steps=least))
    assert (settled.steps if settled.success else None) == (steps[0] if steps else None)


def test_nothing_can_confirm_the_last_frame_of_an_environment_that_ended() -> None:
    assert settle(np.array([0, 0, 0, 1], bool), RewardSpec(hold_steps=2), closed=True).success


def relabel(path: Path, target: Path, success: np.ndarray, rewards: str = "rule") -> list[Episode]:
    dataset = open_dataset(path)
    replace_columns(dataset.files, target, relabelled(dataset, success, rewards=rewards))
    return load_episodes(target)


def test_reward_and_end_follow(
    dataset_dir: Callable[..., Path], make_episode: Callable[..., Episode], tmp_path: Path
) -> None:
    path = dataset_dir(episodes=[make_episode(length=6, success=s) for s in (True, False, True)])
    success = np.zeros(21, bool)
    success[[3, 4, 5]] = True  # episode 0 succeeds earlier, at step 4
    success[7 + 2] = True  # episode 1 flickers
    success[14 + 5 : 14 + 7] = True  # episode 2 as it was
    early, never, same = relabel(path, tmp_path / "new", success)
    assert len(early) == 4 and early.terminated and not early.truncated
    assert early.rewards.tolist() == [0, 0, 0, 1]
    assert len(never) == 6 and never.truncated and not never.terminated and not never.rewards.any()
    assert never.success.tolist() == [False, False, True, False, False, False, False]
    assert len(same) == 6 and same.terminated and same.rewards.tolist() == [0] * 5 + [1]
    whole = load_episodes(tmp_path / "new", after_end=True)[0]
    assert len(whole) == 6 and whole.success.tolist() == [False] * 3 + [True] * 3 + [False]


def test_a_false_success_becomes_a_failure_that_was_cut_off(
    dataset_dir: Callable[..., Path], make_episode: Callable[..., Episode], tmp_path: Path
) -> None:
    path = dataset_dir(episodes=[make_episode(length=5, success=True)])
    [episode] = relabel(path, tmp_path / "new", np.zeros(6, bool))
    assert (episode.terminated, episode.truncated, len(episode)) == (False, True, 5)
    assert not episode.rewards.any()


def test_rewards_may_be_kept(
    dataset_dir: Callable[..., Path], make_episode: Callable[..., Episode], tmp_path: Path
) -> None:
    path = dataset_dir(episodes=[make_episode(length=5, success=True)])
    [episode] = relabel(path, tmp_path / "new", np.zeros(6, bool), rewards="keep")
    assert episode.terminated and episode.rewards.tolist() == [0, 0, 0, 0, 1] and not episode.success.any()


def test_other_rules_pay_what_they_say(
    dataset_dir: Callable[..., Path], make_episode: Callable[..., Episode], tiny_spec: Spec, tmp_path: Path
) -> None:
    tiny_spec.reward = RewardSpec(hold_steps=1, success_value=10.0, step_value=-0.05, timeout="terminal")
    path = dataset_dir(episodes=[make_episode(length=4, success=s) for s in (True, True)], spec=tiny_spec)
    success = np.zeros(10, bool)
    success[2] = True
    won, lost = relabel(path, tmp_path / "new", success)
    np.testing.assert_allclose(won.rewards, [-0.05, 10])
    np.testing.assert_allclose(lost.rewards, [-0.05] * 4)
    assert won.terminated and lost.terminated and not lost.truncated
