"""Sessions: who is held out, who is judged as if unseen, and how often frames are drawn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from hiltk.config.commands import ClassifierConf, ClassifierSplit
from hiltk.data.episode import Episode
from hiltk.errors import UserError
from hiltk.rewards.frames import Origin, balanced_rows
from hiltk.rewards.sessions import MOST_ROUNDS, rounds, split_by_origin
from hiltk.rewards.training import train_classifier
from hiltk.spec import Spec
from tests.rewards.conftest import labelled_episode


def origins(*sessions: str) -> list[Origin]:
    return [Origin(s) for s in sessions]


def test_added_episodes_are_never_held_out(episodes: list[Episode]) -> None:
    of = [Origin("views", added=i % 3 == 0) for i in range(12)]
    for seed in range(20):
        split = split_by_origin(episodes, 0.4, seed, of)
        assert {0, 3, 6, 9} <= set(split.train.tolist())
        assert sorted([*split.train, *split.held_out]) == list(range(12))


def test_every_session_is_judged_however_small(episodes: list[Episode]) -> None:
    """A tenth of 40 is 4, of which the two of the evening would often have none."""
    many = [labelled_episode([False] * 3 + [i % 2 == 0] * 3, seed=i) for i in range(40)]
    of = origins(*["morning"] * 38, *["evening"] * 2)
    for seed in range(10):
        held_out = split_by_origin(many, 0.1, seed, of).held_out
        assert {of[n].session for n in held_out} == {"morning", "evening"}


def test_copies_of_one_recording_are_never_parted(episodes: list[Episode]) -> None:
    """Episodes 0, 1 and 7 are one recording, 3 and 4 another, 5 is one of the added 8; all else is different."""
    same = {1: 0, 7: 0, 4: 3, 8: 5}
    of = [Origin("a" if n < 7 else "b", added=n == 8, recording=same.get(n, n)) for n in range(12)]
    for seed in range(20):
        split = split_by_origin(episodes, 0.4, seed, of)
        assert sorted([*split.train, *split.held_out]) == list(range(12))
        parts = [{of[n].recording for n in part} for part in (split.train, split.held_out)]
        assert not parts[0] & parts[1] and 5 in parts[0]
    both = [replace(o, session="ab"[n % 2]) for n, o in enumerate(of)]
    for turn in rounds(episodes, both):
        assert not {both[n].recording for n in turn.train} & {both[n].recording for n in turn.held_out}


def test_sessions_to_leave_out_in_turn(episodes: list[Episode]) -> None:
    """Six successes, then six failures: a session of failures only cannot be judged, nor the only one of successes."""
    both = origins(*["a", "b", "c"] * 4)
    turns = rounds(episodes, both)
    assert [sorted({both[n].session for n in turn.held_out}) for turn in turns] == [["a"], ["b"], ["c"]]
    assert all(not set(t.train) & set(t.held_out) and len(t.train) + len(t.held_out) == 12 for t in turns)
    apart = origins(*["views"] * 6, *["play"] * 6)
    assert rounds(episodes, apart) == []


def test_many_sessions_are_left_out_several_at_once(episodes: list[Episode]) -> None:
    of = origins(*[f"day {i % 6}" for i in range(12)])
    turns = rounds(episodes, of)
    assert len(turns) == MOST_ROUNDS
    assert sorted(n for turn in turns for n in turn.held_out) == list(range(12))


def test_a_session_lit_differently_fails_as_if_unseen_only(
    spec: Spec, conf: ClassifierConf, make_labelled: Callable[..., Episode]
) -> None:
    """The evening's successes are dark squares: what was learned of the morning does not tell them."""

    def evening(seed: int) -> Episode:
        episode = make_labelled([False] * 6 + [True] * 6, seed=seed)
        for key in spec.image_keys:
            episode.observations[key][6:, 10:22, 10:22] = 0
        return episode

    morning = [make_labelled([False] * 6 + [True] * 6, seed=i) for i in range(6)]
    mixed = [*morning, *(evening(20 + i) for i in range(6))]
    of = origins(*["morning"] * 6, *["evening"] * 6)
    result = train_classifier(mixed, spec, conf, origins=of)
    found = {(s.session, s.unseen): s.confusion for s in result.sessions}
    assert set(found) == {(s, unseen) for s in ("morning", "evening") for unseen in (False, True)}
    assert found["morning", False].accuracy > 0.9 and found["evening", False].accuracy > 0.9
    assert found["evening", True].recall < 0.5
    assert all(sum(vars(found[s, True]).values()) == 72 for s in ("morning", "evening"))
    only = train_classifier(mixed, spec, replace(conf, split=ClassifierSplit.episode, steps=10), origins=of)
    assert not [s for s in only.sessions if s.unseen]


def test_one_session_cannot_be_left_out(episodes: list[Episode], spec: Spec, conf: ClassifierConf) -> None:
    with pytest.raises(UserError, match="no two sessions"):
        train_classifier(episodes, spec, replace(conf, split=ClassifierSplit.session))


def test_weights_are_how_often_frames_are_drawn() -> None:
    success = np.array([True, True, False, False, False, False])
    weight = np.array([3.0, 1.0, 1.0, 1.0, 4.0, 0.5])
    rows = np.concatenate([balanced_rows(success, 50, np.random.default_rng(s), weight) for s in range(200)])
    share = np.bincount(rows, minlength=6) / 5000
    np.testing.assert_allclose(share, [0.75, 0.25, 1 / 6.5, 1 / 6.5, 4 / 6.5, 0.5 / 6.5], atol=0.02)


def test_weighted_sessions_reach_training(episodes: list[Episode], spec: Spec, conf: ClassifierConf) -> None:
    short = replace(conf, steps=5, split=ClassifierSplit.episode)
    plain = train_classifier(episodes, spec, short, origins=origins(*["a", "b"] * 6))
    assert plain.train.weight is None
    of = [Origin("a"), Origin("b", weight=2.0)] * 6
    weighted = train_classifier(episodes, spec, short, origins=of)
    assert weighted.train.weight is not None
    assert set(zip(weighted.train.episode % 2, weighted.train.weight, strict=True)) == {(0, 1.0), (1, 2.0)}
    assert weighted.losses != plain.losses
