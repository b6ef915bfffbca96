"""Taking episodes out and putting datasets together: the same frames in the same order, also for LeRobot's reader."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from hiltk.data.curate import merge, parse_episodes, sane_stats, select_episodes, succeeded, summarise
from hiltk.data.dataset import OwnDataset, open_dataset
from hiltk.data.episode import Episode
from hiltk.data.lerobot_io import dataset_spec, load_episodes
from hiltk.errors import ConfigError, UserError
from hiltk.spec import STATE_KEY, Dimension, ImageSpec, RewardSpec, Semantics, Spec
from tests.conftest import build_episode, build_spec, write_dataset

WRIST = "observation.images.wrist"


def coded_episode(spec: Spec, length: int, number: int) -> Episode:
    """Frames one grey each, which survives video and says which frame of which episode it is."""
    episode = build_episode(spec, length, number, success=number % 2 == 0)
    grey = 30 * number + 2.0 * np.arange(length + 1)
    episode.observations[WRIST] = np.broadcast_to(grey[:, None, None, None], (length + 1, 64, 64, 3)).astype(np.uint8)
    return episode


@pytest.fixture(scope="module", params=[False, True], ids=["images", "video"])
def stored(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two datasets, of four and of two episodes."""
    root, spec = tmp_path_factory.mktemp("stored"), build_spec(64)
    first = [coded_episode(spec, 8 + n, n) for n in range(4)]
    second = [coded_episode(spec, 6 + n, n) for n in (4, 5)]
    return {
        name: write_dataset(root / name, spec, episodes, video=request.param)
        for name, episodes in (("first", first), ("second", second))
    }


def opened(path: Path) -> OwnDataset:
    return open_dataset(path, path.name)


def same(made: list[Episode], expected: list[Episode], *, frames: int = 0) -> None:
    """Equal in everything; pictures up to ``frames`` grey values."""
    assert len(made) == len(expected)
    for a, b in zip(made, expected, strict=True):
        for f in fields(Episode):
            if f.name != "observations":
                np.testing.assert_array_equal(getattr(a, f.name), getattr(b, f.name), err_msg=f.name)
        np.testing.assert_array_equal(a.observations[STATE_KEY], b.observations[STATE_KEY])
        gap = np.abs(a.observations[WRIST].astype(int) - b.observations[WRIST])
        assert gap.max() <= frames


def same_for_lerobot(path: Path) -> None:
    """LeRobot's own reader opens it and sees the states our reader sees, frame by frame."""
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    theirs = LeRobotDataset("any/name", root=path, video_backend="pyav")
    ours = load_episodes(path, after_end=True)
    assert theirs.num_episodes == len(ours)
    states = np.concatenate([e.observations[STATE_KEY] for e in ours])
    pictures = np.concatenate([e.observations[WRIST] for e in ours])
    assert theirs.num_frames == len(states)
    for row in (0, len(states) // 2, len(states) - 1):
        item = theirs[row]
        np.testing.assert_array_equal(item[STATE_KEY].numpy(), states[row])
        assert abs(255 * float(item[WRIST].mean()) - pictures[row].mean()) < 1.5


@pytest.fixture(scope="module")
def made(stored: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two episodes cut out, the second dataset put behind them, and the middle of that cut out again."""
    root = tmp_path_factory.mktemp("made")
    paths = {name: root / name for name in ("cut", "both", "end")}
    before = {p: p.read_bytes() for p in stored["first"].rglob("*") if p.is_file()}
    select_episodes(opened(stored["first"]), [2, 0], paths["cut"])
    assert before == {p: p.read_bytes() for p in stored["first"].rglob("*") if p.is_file()}
    merge([opened(paths["cut"]), opened(stored["second"])], paths["both"])
    select_episodes(opened(paths["both"]), [1, 2], paths["end"])
    return paths


@pytest.mark.parametrize("name", ["cut", "both", "end"])
def test_the_right_episodes_in_order(stored: dict[str, Path], made: dict[str, Path], name: str) -> None:
    """Bit for bit, video too: nothing is encoded again, though files hold frames that nothing refers to any more."""
    first, second = (load_episodes(stored[n]) for n in ("first", "second"))
    expected = {"cut": [first[0], first[2]], "both": [first[0], first[2], *second], "end": [first[2], second[0]]}[name]
    same(load_episodes(made[name]), expected)
    same_for_lerobot(made[name])
    assert {p.name for p in made[name].iterdir()} <= {"data", "meta", "videos"}
    spec, states = dataset_spec(made[name]), np.concatenate([e.observations[STATE_KEY] for e in expected])
    assert replace(spec, stats={}) == replace(dataset_spec(stored["first"]), stats={})
    np.testing.assert_allclose(spec.stats[STATE_KEY].mean, states.mean(0, dtype=np.float64), rtol=1e-6)
    known = {"both": ["cut", "cut", "second", "second"], "end": ["cut", "second"]}
    assert opened(made[name]).sessions() == known.get(name, ["cut", "cut"])


def test_statistics_of_a_selection_have_floors_everywhere(made: dict[str, Path]) -> None:
    spec = dataset_spec(made["cut"])
    stats = json.loads((made["cut"] / "meta" / "stats.json").read_text())[STATE_KEY]
    roll = spec.state.names.index("wrist_roll.pos")  # never moves in these episodes
    span = spec.state.dims[roll].high - spec.state.dims[roll].low
    assert stats["max"][roll] - stats["min"][roll] == pytest.approx(span / 100)
    assert stats["std"][roll] == pytest.approx(span / 100) == spec.stats[STATE_KEY].std[roll]


def test_video_may_be_cut_down(tmp_path: Path) -> None:
    spec = build_spec(64)
    episodes = [coded_episode(spec, 8 + n, n) for n in range(3)]
    path = write_dataset(tmp_path / "video", spec, episodes, video=True)
    select_episodes(opened(path), [1, 2], tmp_path / "cut", reencode=True)
    same(load_episodes(tmp_path / "cut"), load_episodes(path)[1:], frames=4)
    (before,), (after,) = path.rglob("*.mp4"), (tmp_path / "cut").rglob("*.mp4")
    assert after.stat().st_size < before.stat().st_size


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"fps": 20.0}, "fps: 10.0 against 20.0"),
        ({"task": "reach"}, "task: 'lift' against 'reach'"),
        ({"action.semantics": Semantics.achieved}, "action.semantics: 'commanded' against 'achieved'"),
        ({"action.scale_m": 0.01}, "action.scale_m: 0.02 against 0.01"),
        ({"reward.step_value": -0.05}, "reward.step_value: 0.0 against -0.05"),
        ({"images": [ImageSpec("wrist", 8, 8, 8, 8)]}, "images.wrist.height: 16 against 8"),
        ({"images": [ImageSpec("front", 16, 16, 16, 16)]}, "images.wrist"),
    ],
)
def test_specs_must_agree(shared_dataset: Path, tmp_path: Path, change: dict[str, object], named: str) -> None:
    spec = build_spec()
    for path, value in change.items():
        node: object = spec
        *parents, leaf = path.split(".")
        for parent in parents:
            node = getattr(node, parent)
        setattr(node, leaf, value)
    other = write_dataset(tmp_path / "other", spec, [build_episode(spec)])
    with pytest.raises(UserError, match="do not fit together") as caught:
        merge([opened(shared_dataset), opened(other)], tmp_path / "out")
    assert named in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_what_may_differ_when_it_is_said(shared_dataset: Path, tmp_path: Path) -> None:
    spec = build_spec()
    spec.action.semantics = Semantics.achieved
    other = write_dataset(tmp_path / "other", spec, [build_episode(spec)])
    merged = merge([opened(shared_dataset), opened(other)], tmp_path / "out", allow=["action.semantics"])
    assert merged.action.semantics is Semantics.commanded and len(load_episodes(tmp_path / "out")) == 4


def test_images_and_video_cannot_be_one(tmp_path: Path) -> None:
    spec = build_spec(64)
    paths = [write_dataset(tmp_path / str(v), spec, [build_episode(spec)], video=v) for v in (False, True)]
    with pytest.raises(UserError, match="stored differently: image against video"):
        merge([opened(p) for p in paths], tmp_path / "out")


def test_summary_by_hand(shared_dataset: Path) -> None:
    dataset = opened(shared_dataset)
    assert succeeded(dataset).tolist() == [True, False, True]
    assert summarise(dataset).to_dict() == {
        "episodes": 3,
        "frames": 36,
        "successes": 2,
        "success_frames": 4,
        "shortest": 10,
        "longest": 12,
        "positive_rewards": 2,
    }


def test_a_cost_of_time_hides_no_success(tmp_path: Path) -> None:
    """-1 a step and 0 for success: no reward is above 0, and what follows the end is paid 0, too."""
    spec = build_spec()
    spec.reward = RewardSpec(success_value=0.0, step_value=-1.0)
    episodes = [build_episode(spec, 5, n, success=n == 0) for n in range(2)]
    for episode in episodes:
        episode.rewards = episode.rewards - 1
    assert summarise(opened(write_dataset(tmp_path / "costly", spec, episodes))).positive_rewards == 1


# ---------------------------------------------------------------- episodes by number


def test_numbers_and_ranges() -> None:
    assert parse_episodes(["3", "7-9", "8"], 10) == [3, 7, 8, 9]
    assert parse_episodes([], 10) == []


@pytest.mark.parametrize("word", ["10", "9-10", "-1", "3-", "5-4", "x", "1.5"])
def test_episodes_that_cannot_be_meant(word: str) -> None:
    with pytest.raises(ConfigError, match="episode"):
        parse_episodes([word], 10)


# ---------------------------------------------------------------- statistics


def test_a_dimension_that_stood_still_gets_a_floor() -> None:
    """One hundredth of its range, 4: LeRobot's 1e-8 would make 0.1 of it ten million."""
    values = np.stack([np.full(50, 0.3), np.linspace(-1, 1, 50)], axis=1)
    stats = sane_stats(values, [Dimension("still", "rad", -2, 2), Dimension("moves", "m", -1, 1)])
    low, high = np.array(stats["min"]), np.array(stats["max"])
    np.testing.assert_allclose((low[0], high[0], stats["std"][0]), (0.28, 0.32, 0.04))
    np.testing.assert_allclose((low[1], high[1]), (-1, 1))
    np.testing.assert_allclose(stats["std"][1], values[:, 1].std())
    for lower, upper in (("q01", "q99"), ("q10", "q90")):
        assert stats[upper][0] - stats[lower][0] == pytest.approx(0.04)
    normalised = 2 * (values + np.array([0.1, 0]) - low) / (high - low + 1e-8) - 1
    assert np.abs(normalised).max() <= 6


# ---------------------------------------------------------------- sessions


def test_sessions_that_do_not_fit_are_refused(
    dataset_dir: Callable[..., Path],
) -> None:
    path = dataset_dir()
    (path / "meta" / "hiltk_sessions.json").write_text('["a"]')
    with pytest.raises(UserError, match="1 sessions for 3 episodes"):
        opened(path).sessions()
    (path / "meta" / "hiltk_sessions.json").write_text('["a"')
    with pytest.raises(UserError, match="damaged"):
        opened(path).sessions()


def test_the_same_simulator_drawn_otherwise_is_the_same_robot(tmp_path: Path) -> None:
    """Pictures differ, numbers mean the same; another robot is refused as before."""
    paths = []
    for seed, name in enumerate(("so101_sim (cpu renderer)", "so101_sim (egl renderer)", "so101_sim")):
        spec = build_spec()
        spec.robot.name = name
        paths.append(write_dataset(tmp_path / str(seed), spec, [build_episode(spec, 8, seed)]))
    spec = merge([opened(p) for p in paths], tmp_path / "both")
    assert spec.robot.name == "so101_sim (cpu renderer) + so101_sim (egl renderer) + so101_sim"
    assert spec.robot.kind == "so101_sim" == json.loads((tmp_path / "both/meta/info.json").read_text())["robot_type"]
    assert merge([opened(tmp_path / "both"), opened(paths[0])], tmp_path / "again").robot.name == spec.robot.name
    other = build_spec()
    other.robot.name = "so101"
    write_dataset(tmp_path / "other", other, [build_episode(other, 8, 9)])
    with pytest.raises(UserError, match="robot.name"):
        merge([opened(paths[0]), opened(tmp_path / "other")], tmp_path / "neither")


@pytest.mark.parametrize(
    ("file", "said"), [("tasks.parquet", "tasks.parquet is missing"), ("stats.json", "hiltk stats")]
)
def test_what_lerobot_would_ask_the_hub_for(shared_dataset: Path, tmp_path: Path, file: str, said: str) -> None:
    path = Path(shutil.copytree(shared_dataset, tmp_path / "dataset"))
    (path / "meta" / file).unlink()
    with pytest.raises(UserError, match=said):
        select_episodes(opened(path), [1], tmp_path / "cut")
