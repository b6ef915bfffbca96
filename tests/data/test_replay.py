"""Replay against a slow, obvious reference: lists of episodes, searched one transition at a time."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hiltk.data import replay
from hiltk.data.episode import Episode, Source
from hiltk.data.indices import RowIndex
from hiltk.data.replay import FrameStore, ReplaySampler, store_episodes
from hiltk.errors import UserError
from hiltk.spec import STATE_KEY

IMAGE = "observation.images.wrist"


@dataclass
class Step:
    """One transition of the reference, with the numbers of the observations on either side."""

    obs: int
    following: int
    reward: float
    terminated: bool
    truncated: bool
    source: Source
    episode: int


def observation(number: int) -> dict[str, np.ndarray]:
    """An observation that carries its own number in the state and in every pixel."""
    return {
        STATE_KEY: np.full(2, number, np.float32),
        IMAGE: np.full((4, 4, 3), number % 251, np.uint8),
    }


def fill(store: FrameStore, episodes: list[tuple[list[Source], bool]]) -> list[Step]:
    """Write episodes (sources of their steps, whether they terminate) and return the reference."""
    steps, number = [], 0
    for index, (sources, terminates) in enumerate(episodes):
        store.begin(observation(number))
        for t, source in enumerate(sources):
            last = t == len(sources) - 1
            step = Step(
                number,
                number + 1,
                float(number),
                last and terminates,
                last and not terminates,
                source,
                index,
            )
            store.add(
                np.full(3, number, np.float32),
                step.reward,
                observation(number + 1),
                terminated=step.terminated,
                truncated=step.truncated,
                source=source,
                is_intervention=source is Source.human,
            )
            steps.append(step)
            number += 1
        number += 1
    return steps


def reference_n_step(steps: list[Step], start: int, n: int, discount: float) -> tuple[float, int, float]:
    """Return, number of the next observation and discount of the n-step transition that starts at ``steps[start]``."""
    total, factor, following, terminal = 0.0, 1.0, -1, False
    human = steps[start].source is not Source.policy
    for step in steps[start : start + n]:
        if step.episode != steps[start].episode or (step.source is not Source.policy) != human:
            break
        total += factor * step.reward
        factor *= discount
        following, terminal = step.following, step.terminated
        if step.terminated or step.truncated:
            break
    return total, following, 0.0 if terminal else factor


SOURCES = st.sampled_from([Source.policy, Source.human])
EPISODES = st.lists(
    st.tuples(st.lists(SOURCES, min_size=1, max_size=7), st.booleans()),
    min_size=1,
    max_size=8,
)


@settings(max_examples=150, deadline=None)
@given(EPISODES, st.integers(5, 40), st.integers(0, 9), st.integers(1, 4), st.integers(1, 3))
def test_every_gathered_transition_is_the_true_one(
    episodes: list[tuple[list[Source], bool]], capacity: int, slack: int, n_step: int, stack: int
) -> None:
    store = FrameStore(capacity, observation(0), 3, slack=slack)
    steps = fill(store, episodes)
    rows = store.transitions()
    data = store.gather(rows, discount=0.9, n_step=n_step, stack=stack)
    # A transition survives while its own row and the row after it do; rows and observation numbers coincide here.
    oldest = max(0, store.end - capacity)
    alive = [i for i, s in enumerate(steps) if s.obs >= oldest]
    assert rows.tolist() == [steps[i].obs for i in alive]
    for k, i in enumerate(alive):
        total, following, discount = reference_n_step(steps, i, n_step, 0.9)
        assert data["reward"][k] == pytest.approx(total)
        assert data["next_observation"][STATE_KEY][k][-1] == following
        assert data["discount"][k] == pytest.approx(discount)
        assert data["action"][k][0] == steps[i].obs
        first = max(oldest, next(s.obs for s in steps if s.episode == steps[i].episode))
        for key, newest in (("observation", steps[i].obs), ("next_observation", following)):
            frames = [max(newest - back, first) % 251 for back in reversed(range(stack))]
            assert data[key][IMAGE][k][0, 0, ::3].tolist() == frames


def test_interventions_at_3_4_20_21_have_their_own_next_states() -> None:
    """The case in which the original's demo buffer returned the image of t=5 with the state of t=20."""
    sources = [Source.human if t in (3, 4, 20, 21) else Source.policy for t in range(25)]
    store = FrameStore(100, observation(0), 3)
    fill(store, [(sources, True)])
    rows = store.interventions()
    data = store.gather(rows, discount=0.97)
    assert data["observation"][STATE_KEY][:, 0].tolist() == [3, 4, 20, 21]
    assert data["next_observation"][STATE_KEY][:, 0].tolist() == [4, 5, 21, 22]
    assert data["observation"][IMAGE][:, 0, 0, 0].tolist() == [3, 4, 20, 21]
    assert data["next_observation"][IMAGE][:, 0, 0, 0].tolist() == [4, 5, 21, 22]
    assert data["human"].all()


@pytest.mark.parametrize("before", [0, 3, 11])
def test_those_interventions_under_stacks_and_n_steps_after_the_ring_has_wrapped(before: int) -> None:
    """By hand: sums stop after t=4 and t=21, where control passes back; stacks look back across the takeover."""
    sources = [Source.human if t in (3, 4, 20, 21) else Source.policy for t in range(25)]
    store = FrameStore(30, observation(0), 3, slack=2)
    fill(store, [([Source.human] * 6, True)] * before)  # 7 rows each: the ring of 33 has wrapped twice after 11
    first = store.end
    store.begin(observation(0))
    for t, source in enumerate(sources):
        store.add(
            np.zeros(3), float(t), observation(t + 1), terminated=t == 24, truncated=False, source=source,
            is_intervention=source is Source.human,
        )  # fmt: skip
    rows = store.interventions()[-4:]
    assert rows.tolist() == [first + t for t in (3, 4, 20, 21)]
    data = store.gather(rows, discount=0.5, n_step=3, stack=3)
    assert data["reward"].tolist() == [3 + 0.5 * 4, 4, 20 + 0.5 * 21, 21]
    assert data["discount"].tolist() == [0.25, 0.5, 0.25, 0.5]
    pixels = {key: data[key][IMAGE][:, 0, 0, ::3].tolist() for key in ("observation", "next_observation")}
    assert pixels["observation"] == [[1, 2, 3], [2, 3, 4], [18, 19, 20], [19, 20, 21]]
    assert pixels["next_observation"] == [[3, 4, 5], [3, 4, 5], [20, 21, 22], [20, 21, 22]]
    assert data["source"].tolist() == [Source.human] * 4
    # The policy's steps before a takeover stop there as well: t=2 alone, t=22 to 24 to the end.
    alone = store.gather(first + np.array([1, 2, 22]), discount=0.5, n_step=3)
    assert alone["reward"].tolist() == [1 + 0.5 * 2, 2, 22 + 0.5 * 23 + 0.25 * 24]
    assert alone["discount"].tolist() == [0.25, 0.5, 0.0]


def test_timeouts_bootstrap_and_successes_do_not() -> None:
    store = FrameStore(100, observation(0), 3)
    fill(store, [([Source.policy] * 2, False), ([Source.policy] * 2, True)])
    data = store.gather(store.transitions(), discount=0.5)
    assert data["discount"].tolist() == [0.5, 0.5, 0.5, 0.0]
    assert data["next_observation"][STATE_KEY][:, 0].tolist() == [1, 2, 4, 5]


def test_unknown_actions_are_never_sampled() -> None:
    store = FrameStore(10, observation(0), 3)
    store.begin(observation(0))
    for t, valid in enumerate([True, False, True]):
        store.add(
            np.zeros(3),
            0.0,
            observation(t + 1),
            terminated=t == 2,
            truncated=False,
            source=Source.demo,
            valid=valid,
        )
    assert store.transitions().tolist() == [0, 2]


def test_a_mapped_store_continues_where_its_state_says(tmp_path) -> None:
    store = FrameStore(50, observation(0), 3, path=tmp_path, slack=20)
    fill(store, [([Source.policy] * 4, True)])
    state = store.state_dict()
    before = store.gather(store.transitions(), discount=0.9)
    fill(store, [([Source.policy] * 3, True)])  # done after the checkpoint, then lost
    again = FrameStore(50, observation(0), 3, path=tmp_path, slack=20)
    again.load_state_dict(state)
    after = again.gather(again.transitions(), discount=0.9)
    assert np.array_equal(before["observation"][IMAGE], after["observation"][IMAGE])
    assert np.array_equal(before["reward"], after["reward"])


def test_rows_of_the_last_checkpoint_survive_wrapping_within_the_slack(
    tmp_path,
) -> None:
    store = FrameStore(10, observation(0), 3, path=tmp_path, slack=6)
    fill(store, [([Source.policy] * 9, True)])
    state, before = store.state_dict(), store.gather(store.transitions(), discount=0.9)
    fill(store, [([Source.policy] * 5, True)])
    again = FrameStore(10, observation(0), 3, path=tmp_path, slack=6)
    again.load_state_dict(state)
    after = again.gather(again.transitions(), discount=0.9)
    assert np.array_equal(before["observation"][STATE_KEY], after["observation"][STATE_KEY])


LONGER = st.lists(st.tuples(st.lists(SOURCES, min_size=1, max_size=7), st.booleans()), max_size=4)


@settings(max_examples=30, deadline=None)
@given(LONGER, LONGER, LONGER, st.integers(8, 40))
def test_going_back_and_on_again_gives_the_store_that_never_went_back(
    kept: list[tuple[list[Source], bool]],
    lost: list[tuple[list[Source], bool]],
    again: list[tuple[list[Source], bool]],
    capacity: int,
) -> None:
    """A run killed at any moment after a checkpoint: what it had written since does not show, wherever the ring is."""
    with TemporaryDirectory() as folder:
        store = FrameStore(capacity, observation(0), 3, path=Path(folder), slack=32)  # 4 episodes of at most 8 rows
        fill(store, kept)
        store.flush()
        state = store.state_dict()
        fill(store, lost)
        resumed = FrameStore(capacity, observation(0), 3, path=Path(folder), slack=32)
        resumed.load_state_dict(state)
        fill(resumed, again)
        calm = FrameStore(capacity, observation(0), 3, slack=32)
        fill(calm, kept)
        fill(calm, again)
        rows = calm.transitions()
        assert resumed.transitions().tolist() == rows.tolist()
        assert resumed.interventions().tolist() == calm.interventions().tolist()
        ours, theirs = (flat(s.gather(rows, discount=0.9, n_step=2, stack=2)) for s in (resumed, calm))
        assert ours.keys() == theirs.keys() and all(np.array_equal(ours[k], theirs[k]) for k in ours)


def flat(data: dict[str, Any]) -> dict[str, np.ndarray]:
    plain = {k: v for k, v in data.items() if not isinstance(v, dict)}
    nested = {f"{k} {key}": v for k in data if k not in plain for key, v in data[k].items()}
    return plain | nested


def test_a_flush_says_on_disk_where_the_ring_stands(tmp_path) -> None:
    store = FrameStore(10, observation(0), 3, path=tmp_path, slack=6)
    fill(store, [([Source.policy] * 9, True)] * 3)
    store.flush()
    ring = json.loads((tmp_path / "ring.json").read_text())
    assert ring == {"end": 30, "episode": 2, "capacity": 10, "size": 17}
    assert np.load(tmp_path / f"{STATE_KEY}.npy")[29 % 17, 0] == 29
    store.load_state_dict(store.state_dict() | {"end": 20, "episode": 1})
    assert json.loads((tmp_path / "ring.json").read_text())["end"] == 20
    FrameStore(10, observation(0), 3).flush()  # in memory there is nothing to do


def test_demonstrations_are_not_copied(make_episode: Callable[..., Episode]) -> None:
    """A store of episodes looks at their own frames, and gives what a store of copies gives."""
    episodes = [make_episode(length=5 + seed, seed=seed, success=seed != 1) for seed in range(3)]
    views = store_episodes(episodes)
    copies = FrameStore(views.capacity, {k: v[0] for k, v in episodes[0].observations.items()}, 4)
    for episode in episodes:
        copies.add_episode(episode)
    rows = copies.transitions()
    assert views.transitions().tolist() == rows.tolist() and list(views.frames) == list(copies.frames)
    assert len(rows) == sum(map(len, episodes))  # all of them, and nothing is ever added that could evict one
    for stack, n_step in ((1, 1), (3, 2)):
        ours, theirs = (flat(s.gather(rows, discount=0.9, n_step=n_step, stack=stack)) for s in (views, copies))
        assert all(np.array_equal(ours[k], theirs[k]) and ours[k].dtype == theirs[k].dtype for k in theirs)
    frames = views.gather(rows[:1], copy=False)["observation"][IMAGE]
    assert np.shares_memory(frames[0], episodes[0].observations[IMAGE])
    samplers = [ReplaySampler(s, s, discount=0.9, pad=2, rng=np.random.default_rng(0)) for s in (views, copies)]
    ours, theirs = (s.sample(16, 0.5) for s in samplers)
    assert all(torch.equal(ours.observation[k], theirs.observation[k]) for k in theirs.observation)


def test_a_finished_store_takes_no_more_room_than_its_rows(tmp_path) -> None:
    store = FrameStore(1000, observation(0), 3, path=tmp_path)
    fill(store, [([Source.policy] * 4, True)])
    store.trim()
    frames = np.load(tmp_path / f"{IMAGE}.npy")
    assert frames.shape == (5, 4, 4, 3) and frames[:, 0, 0, 0].tolist() == [0, 1, 2, 3, 4]
    assert np.load(tmp_path / "reward.npy").tolist() == [0, 1, 2, 3, 0]
    assert sum(f.stat().st_size for f in tmp_path.iterdir()) < 5000


@pytest.mark.parametrize("rows", [3, 999, 12_345])
def test_an_array_is_resized_in_place_to_what_numpy_would_have_saved(tmp_path: Path, rows: int) -> None:
    whole = np.zeros((max(rows, 1000), 4, 4, 3), np.uint8)
    whole[:1000] = np.random.default_rng(0).integers(0, 255, (1000, 4, 4, 3))
    np.save(tmp_path / "ours.npy", whole[:1000])
    replay._resize(tmp_path / "ours.npy", rows)
    np.save(tmp_path / "theirs.npy", whole[:rows])
    assert (tmp_path / "ours.npy").read_bytes() == (tmp_path / "theirs.npy").read_bytes()


def test_the_space_of_all_rows_that_will_be_filled_is_taken_at_once(tmp_path: Path) -> None:
    """Rows of 4 x 4 x 3 bytes of image: 5,000 of 20,000 are 240 kB."""
    if not hasattr(os, "posix_fallocate"):
        pytest.skip("files cannot be reserved here")
    FrameStore(20_000, observation(0), 3, path=tmp_path, most=5_000)
    assert 240_000 <= 512 * (tmp_path / f"{IMAGE}.npy").stat().st_blocks < 400_000
    assert (tmp_path / f"{IMAGE}.npy").stat().st_size == 128 + 20_001 * 48


def no_space(file: Path, size: int) -> bool:
    if file.stem == "moves":  # not the first of them
        raise OSError(errno.ENOSPC, "No space left on device", str(file))
    return True


def test_a_store_without_space_takes_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space left"):
        patch.setattr(replay, "reserve", no_space)
        FrameStore(50, observation(0), 3, path=tmp_path)
    assert not list(tmp_path.iterdir())
    store = FrameStore(50, observation(0), 3, path=tmp_path)
    fill(store, [([Source.policy] * 4, True)])
    store.trim()
    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space left"):
        patch.setattr(replay, "reserve", no_space)
        FrameStore(50, observation(0), 3, path=tmp_path)  # one that is continued keeps what it has
    assert np.load(tmp_path / "reward.npy")[:5].tolist() == [0, 1, 2, 3, 0]


def test_where_space_cannot_be_taken_it_is_looked_for_before_each_episode(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on macOS."""
    monkeypatch.setattr(replay, "reserve", lambda file, size: False)
    store = FrameStore(50, observation(0), 3, path=tmp_path, longest=10)
    for free, fits in ((10 * store.row_bytes, True), (10 * store.row_bytes - 1, False)):
        monkeypatch.setattr(replay, "free_disk", lambda path, free=free: free)
        with nullcontext() if fits else pytest.raises(OSError, match="No space left"):
            fill(store, [([Source.policy] * 4, True)])
    assert store.end == 5  # nothing was begun


def test_a_trimmed_store_can_be_continued(tmp_path) -> None:
    """A run killed after trimming, before it was complete, must still resume."""
    store = FrameStore(1000, observation(0), 3, path=tmp_path)
    steps = fill(store, [([Source.policy] * 4, True)])
    state = store.state_dict()
    store.trim()
    again = FrameStore(1000, observation(0), 3, path=tmp_path)
    again.load_state_dict(state)
    assert again.gather(again.transitions())["action"][:, 0].tolist() == [s.obs for s in steps]
    fill(again, [([Source.policy] * 900, True)])
    assert len(again.transitions()) == 904


def test_a_store_of_another_layout_is_refused(tmp_path) -> None:
    FrameStore(50, observation(0), 3, path=tmp_path)
    with pytest.raises(UserError, match="replay store"):
        FrameStore(50, observation(0), 4, path=tmp_path)


def sampler(demos: int, online: list[Source]) -> ReplaySampler:
    demo_store, online_store = (
        FrameStore(100, observation(0), 3),
        FrameStore(100, observation(0), 3),
    )
    if demos:
        fill(demo_store, [([Source.demo] * demos, True)])
    if online:
        fill(online_store, [(online, True)])
    return ReplaySampler(demo_store, online_store, discount=0.9, pad=0, rng=np.random.default_rng(0))


def test_half_of_a_batch_is_human() -> None:
    batch = sampler(10, [Source.policy] * 20).sample(64, 0.5)
    assert int(batch.human.sum()) == 32 and len(batch) == 64


def test_a_batch_is_all_demonstrations_before_anything_happened_online() -> None:
    assert bool(sampler(10, []).sample(16, 0.5).human.all())


def test_a_batch_is_all_online_where_there_are_no_demonstrations() -> None:
    assert not bool(sampler(0, [Source.policy] * 20).sample(16, 0.5).human.any())


@pytest.mark.parametrize("demos", [0, 10])
def test_the_human_half_is_demonstrations_and_corrections_alone(demos: int) -> None:
    """Few corrections among many steps of the policy: drawn from everything online, they would be a tenth."""
    batch = sampler(demos, [Source.human] * 4 + [Source.policy] * 36).sample(64, 0.5)
    assert batch.source is not None and batch.human[:32].all() and not batch.human[32:].all()
    assert bool((batch.source[:32] == Source.human).any()) and bool((batch.source == Source.demo).any()) == (demos > 0)


def test_corrections_and_demonstrations_share_the_human_half_by_their_number() -> None:
    mixed = sampler(30, [Source.human] * 10 + [Source.policy] * 10)
    corrections = sum(int(mixed._split(64, 30, 10)) for _ in range(200)) / (200 * 64)
    assert corrections == pytest.approx(0.75, abs=0.03)


# ---------------------------------------------------------------- views kept up to date, returns to go


def brute_force(store: FrameStore) -> tuple[list[int], list[int]]:
    """Usable rows and corrections, by looking at every row."""
    rows = np.arange(store.begin_row, store.end)
    usable = rows[store.valid[rows % store.size]]
    return usable.tolist(), usable[store.is_intervention[usable % store.size]].tolist()


def reference_return(steps: list[Step], start: int, discount: float) -> float:
    total, factor = 0.0, 1.0
    for step in steps[start:]:
        if step.episode != steps[start].episode:
            break
        total += factor * step.reward
        factor *= discount
        if step.terminated:
            return total
        if step.truncated:
            break
    return -np.inf


@settings(max_examples=100, deadline=None)
@given(EPISODES, st.integers(5, 40), st.lists(st.booleans(), min_size=60, max_size=60), st.integers(0, 60))
def test_views_are_right_after_every_row_and_after_going_back(
    episodes: list[tuple[list[Source], bool]], capacity: int, valid: list[bool], back: int
) -> None:
    store = FrameStore(capacity, observation(0), 3, slack=64)
    state, held, number = store.state_dict(), [], 0
    for sources, _ in episodes:
        store.begin(observation(number))
        for t, source in enumerate(sources):
            store.add(
                np.zeros(3), 0.0, observation(number + 1), terminated=t == len(sources) - 1, truncated=False,
                source=source, is_intervention=source is Source.human, valid=valid[number % 60],
            )  # fmt: skip
            number += 1
            assert (store.transitions().tolist(), store.interventions().tolist()) == brute_force(store)
            held.append((store.transitions(), store.transitions().tolist()))
        if number <= back:
            state = store.state_dict()
    assert all(view.tolist() == then for view, then in held)  # what was handed out has not changed
    store.load_state_dict(state)
    assert (store.transitions().tolist(), store.interventions().tolist()) == brute_force(store)


@settings(max_examples=100, deadline=None)
@given(EPISODES, st.integers(5, 40), st.booleans())
def test_returns_to_go_are_those_of_the_episodes_that_terminated(
    episodes: list[tuple[list[Source], bool]], capacity: int, looking: bool
) -> None:
    store, steps = FrameStore(capacity, observation(0), 3), []
    store.begin(observation(0))  # an episode that nobody finished
    number = 1
    for index, (sources, terminates) in enumerate(episodes):
        store.begin(observation(number))
        for t, source in enumerate(sources):
            last = t == len(sources) - 1
            step = Step(
                number, number + 1, float(number % 3), last and terminates, last and not terminates, source, index
            )
            store.add(
                np.zeros(3), step.reward, observation(number + 1), terminated=step.terminated,
                truncated=step.truncated, source=source,
            )  # fmt: skip
            steps.append(step)
            number += 1
            if looking:  # in the middle of an episode nothing is known of it yet
                alone = store.returns_to_go(np.array([store.end - 2]), 0.9)
                assert np.isinf(alone[0]) == (not step.terminated)
        number += 1
    rows = store.transitions()
    alive = [i for i, s in enumerate(steps) if s.obs >= store.begin_row]
    assert store.returns_to_go(rows, 0.9) == pytest.approx([reference_return(steps, i, 0.9) for i in alive])


def test_returns_are_drawn_with_the_transitions_they_belong_to() -> None:
    demos, online = FrameStore(100, observation(0), 3), FrameStore(100, observation(0), 3)
    fill(demos, [([Source.demo] * 3, True)])
    fill(online, [([Source.policy] * 4, False)])
    mixed = ReplaySampler(demos, online, discount=0.5, pad=1, rng=np.random.default_rng(0), returns=True)
    batch = mixed.sample(64, 0.5)
    assert batch.returns is not None
    # Rewards 0, 1, 2: 0 + 0.5 * (1 + 0.5 * 2) = 1, 1 + 0.5 * 2 = 2, 2. The time-out has no return.
    expected = torch.tensor([1.0, 2.0, 2.0])[batch.action[:, 0].long().clamp(max=2)]
    assert torch.equal(batch.returns, torch.where(batch.human, expected, torch.tensor(-torch.inf)))
    assert batch.source is not None and torch.equal(batch.source != Source.policy, batch.human)


def test_a_row_index_drops_and_grows_in_order() -> None:
    index, reference = RowIndex(), []
    for row in range(500):
        index.append(row)
        reference.append(row)
        if row % 7 == 0:
            index.drop_before(row - 50)
            reference = [r for r in reference if r >= row - 50]
        assert index.rows.tolist() == reference
    with pytest.raises(ValueError, match="read-only"):
        index.rows[0] = 3
