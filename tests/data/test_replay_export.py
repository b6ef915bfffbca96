"""Store to dataset and back: the same transitions, for any layout of episodes and wherever the ring stands."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hiltk.data.episode import Source
from hiltk.data.lerobot_io import dataset_spec, load_episodes
from hiltk.data.replay import FrameStore, example_observation, store_episodes
from hiltk.data.replay_export import export_store, stored_episodes, stored_observations
from hiltk.errors import UserError
from hiltk.spec import STATE_KEY, Dimension, ImageSpec, Spec, StateSpec
from tests.conftest import build_spec

SPEC = build_spec(8, cameras=("wrist", "front"))
COLUMNS = ("action", "reward", "discount", "human", "source")

# An episode: who acted and whether the action is known, by step; how it ended (neither: it was still going on).
STEPS = st.lists(st.tuples(st.sampled_from(list(Source)), st.integers(0, 4)), min_size=1, max_size=6)
LAYOUT = st.lists(st.tuples(STEPS, st.sampled_from(["success", "timeout"])), min_size=1, max_size=6)


def seen(number: int) -> dict[str, np.ndarray]:
    """An observation that can be told from every other one, in every camera."""
    rng = np.random.default_rng(number)
    images = {i.key: rng.integers(0, 256, (i.height, i.width, 3), dtype=np.uint8) for i in SPEC.images}
    return {STATE_KEY: rng.normal(size=len(SPEC.state.dims)).astype(np.float32), **images}


def fill(store: FrameStore, layout: list[tuple[list[tuple[Source, int]], str]], number: int = 0) -> None:
    for steps, end in layout:
        number += 1
        store.begin(seen(number))
        for t, (source, chance) in enumerate(steps):
            number += 1
            last = t == len(steps) - 1
            store.add(
                np.full(4, number / 1000, np.float32), number / 10, seen(number),
                terminated=last and end == "success", truncated=last and end == "timeout", source=source,
                is_intervention=source is Source.human, valid=chance > 0, success=last and end == "success",
            )  # fmt: skip


def transitions(store: FrameStore, rows: np.ndarray, stack: int, n_step: int) -> list[dict[str, Any]]:
    data = store.gather(rows, discount=0.9, n_step=n_step, stack=stack)
    flat = {c: data[c] for c in COLUMNS}
    flat |= {f"now {k}": v for k, v in data["observation"].items()}
    flat |= {f"next {k}": v for k, v in data["next_observation"].items()}
    flat["success"] = store.success[rows % store.size]
    flat["is_intervention"] = store.is_intervention[rows % store.size]
    return [{k: np.asarray(v[i]).tolist() for k, v in flat.items()} for i in range(len(rows))]


def whole_rows(store: FrameStore) -> np.ndarray:
    """Usable transitions of episodes that are still held from their beginning, by looking at every row."""
    rows = store.transitions()
    return rows[[int(r) - int(store.step[r % store.size]) >= store.begin_row for r in rows]]


def wholes(store: FrameStore, layout: list[tuple[list[tuple[Source, int]], str]]) -> int:
    """How many episodes are still held from their first row on."""
    starts = np.cumsum([0, *(len(steps) + 1 for steps, _ in layout)])[:-1]
    return int((starts >= store.begin_row).sum())


def same_transitions(ours: FrameStore, store: FrameStore, stack: int, n_step: int) -> bool:
    rows = whole_rows(store)
    assert len(ours.interventions()) == np.isin(store.interventions(), rows).sum()
    mine, theirs = (transitions(s, r, stack, n_step) for s, r in ((ours, ours.transitions()), (store, rows)))
    return mine == theirs


@settings(max_examples=60, deadline=None)
@given(LAYOUT, st.integers(8, 40), st.integers(0, 9), st.integers(1, 3), st.integers(1, 3))
def test_store_to_episodes_and_back_gives_the_same_transitions(
    layout: list[tuple[list[tuple[Source, int]], str]], capacity: int, slack: int, stack: int, n_step: int
) -> None:
    store = FrameStore(capacity, example_observation(SPEC), 4, slack=slack)
    fill(store, layout)
    episodes = list(stored_episodes(store))
    assert len(episodes) == wholes(store, layout)
    assert [len(e) for e in episodes] == [len(steps) for steps, _ in layout][len(layout) - len(episodes) :]
    if episodes:
        assert same_transitions(store_episodes(episodes), store, stack, n_step)


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(LAYOUT, st.integers(8, 40), st.integers(0, 9), st.booleans())
def test_store_to_dataset_and_back_gives_the_same_transitions(
    layout: list[tuple[list[tuple[Source, int]], str]], capacity: int, slack: int, trimmed: bool
) -> None:
    with TemporaryDirectory() as folder:
        path, out = Path(folder) / "online", Path(folder) / "dataset"
        store = FrameStore(capacity, example_observation(SPEC), 4, path=path, slack=slack)
        fill(store, layout)
        (store.trim if trimmed else store.flush)()
        if not wholes(store, layout):
            with pytest.raises(UserError, match="no whole episode"):
                export_store(path, SPEC, out)
            return
        assert export_store(path, SPEC, out) == wholes(store, layout)
        assert same_transitions(store_episodes(load_episodes(out, SPEC)), store, stack=3, n_step=2)


def test_lerobot_reads_single_frames_whatever_the_stack(tmp_path: Path) -> None:
    """The devlogs' crash: 9-channel frames of a stack of three, which LeRobot cannot write as pictures."""
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    store = FrameStore(50, example_observation(SPEC), 4, path=tmp_path / "online")
    fill(
        store,
        [([(Source.policy, 1), (Source.human, 1), (Source.policy, 0)], "success"), ([(Source.human, 1)], "timeout")],
    )
    store.flush()
    rows = store.transitions()
    assert store.gather(rows, stack=3)["observation"]["observation.images.wrist"].shape[-1] == 9
    assert export_store(tmp_path / "online", SPEC, tmp_path / "out") == 2
    theirs = LeRobotDataset("hiltk/dataset", root=tmp_path / "out")
    assert theirs.num_episodes == 2 and len(theirs) == 4 + 2
    for row in range(6):
        item = theirs[row]
        assert item["observation.images.wrist"].shape == (3, 8, 8)
        expected = store.frames["observation.images.wrist"][row].transpose(2, 0, 1) / 255
        np.testing.assert_allclose(item["observation.images.wrist"].numpy(), expected, atol=1e-6)
        np.testing.assert_array_equal(item["action"].numpy(), store.action[row])
    assert [bool(theirs[r]["is_intervention"]) for r in range(6)] == [False, True, False, False, True, False]
    assert [int(theirs[r]["source"]) for r in (0, 1, 2, 4)] == [1, 2, 1, 2]
    assert [bool(theirs[r]["action_valid"]) for r in (0, 1, 2)] == [True, True, False]
    assert [bool(theirs[r]["next.done"]) for r in range(6)] == [False, False, True, True, False, True]
    assert [bool(theirs[r]["next.truncated"]) for r in range(6)] == [False] * 4 + [True, False]
    assert [bool(theirs[r]["success"]) for r in range(6)] == [False, False, False, True, False, False]
    assert dataset_spec(tmp_path / "out").stats[STATE_KEY].source == "6 recorded frames"


def test_an_episode_without_an_end_keeps_none(tmp_path: Path) -> None:
    store = FrameStore(50, example_observation(SPEC), 4, path=tmp_path / "online")
    fill(store, [([(Source.policy, 1)] * 3, "")])
    store.begin(seen(99))  # nothing was done from here
    store.flush()
    assert export_store(tmp_path / "online", SPEC, tmp_path / "out") == 1
    [episode] = load_episodes(tmp_path / "out", SPEC)
    assert len(episode) == 3 and not episode.terminated and not episode.truncated


def test_an_interrupted_run_gives_its_last_checkpoint(tmp_path: Path) -> None:
    """The process is killed: what came after the last flush is not counted, and the store can still be continued."""
    store = FrameStore(20, example_observation(SPEC), 4, path=tmp_path / "online", slack=12)
    fill(store, [([(Source.policy, 1)] * 3, "success")] * 6)  # 24 rows: the first episode is half gone
    store.flush()
    state = store.state_dict()
    fill(store, [([(Source.human, 1)] * 5, "success")] * 2)
    episodes = list(stored_episodes(tmp_path / "online"))
    assert [len(e) for e in episodes] == [3] * 5 and not any(e.is_intervention.any() for e in episodes)
    again = FrameStore(20, example_observation(SPEC), 4, path=tmp_path / "online", slack=12)
    again.load_state_dict(state)
    assert same_transitions(store_episodes(list(stored_episodes(again))), again, 1, 1)


def test_the_policys_folder_will_do_as_well(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = FrameStore(6, example_observation(SPEC), 4, path=tmp_path / "online")
    fill(store, [([(Source.policy, 1)] * 3, "success")] * 2)
    store.trim()
    assert export_store(tmp_path, SPEC, tmp_path / "out") == 1
    assert "oldest episode is left out: the ring has overwritten all but 2" in " ".join(capsys.readouterr().out.split())


def test_other_cameras_and_no_store_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no replay store"):
        export_store(tmp_path, SPEC, tmp_path / "out")
    blind = Spec(state=StateSpec([Dimension("x")]))
    store = FrameStore(6, example_observation(blind), 4, path=tmp_path / "online")
    store.flush()
    with pytest.raises(UserError, match="no whole episode"):
        export_store(tmp_path, blind, tmp_path / "out")
    with pytest.raises(UserError, match="lacks 'observation.images.top'"):
        export_store(tmp_path, Spec(state=blind.state, images=[ImageSpec("top")]), tmp_path / "out")
    for content, said in ((b"nothing", "damaged"), (None, "lacks reward")):
        file = tmp_path / "online" / "reward.npy"
        file.write_bytes(content) if content else file.unlink()
        with pytest.raises(UserError, match=said):
            export_store(tmp_path, blind, tmp_path / "out")
    (tmp_path / "online" / "ring.json").write_text("[]")
    with pytest.raises(UserError, match="damaged"):
        export_store(tmp_path, blind, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_observations_are_drawn_once_each_and_stacked_within_their_episode() -> None:
    store = FrameStore(40, seen(0), 4)
    fill(store, [([(Source.policy, 1)] * 5, "success"), ([(Source.human, 1)] * 4, "timeout")])
    everything, episodes = stored_observations(store, 100, stack=2)
    rows = store.transitions()
    wanted = store.gather(rows, stack=2)["observation"]
    for key, values in wanted.items():
        np.testing.assert_array_equal(everything[key], values)
    assert episodes.tolist() == [0] * 5 + [1] * 4
    few = stored_observations(store, 3, seed=1)[0][STATE_KEY]
    among = [any(np.array_equal(state, store.frames[STATE_KEY][r]) for r in rows) for state in few]
    assert few.shape == (3, 18) and all(among) and len(np.unique(few, axis=0)) == 3


def test_episodes_without_frames() -> None:
    store = FrameStore(40, seen(0), 4)
    fill(store, [([(Source.policy, 1)] * 5, "success")])
    [episode] = stored_episodes(store, images=False)
    assert set(episode.observations) == {STATE_KEY} and len(episode) == 5
