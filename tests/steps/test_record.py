"""`hiltk record` on the simulated arm: what it writes, keeps, breaks on purpose, and leaves behind when stopped."""

from __future__ import annotations

import errno
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hiltk.artifacts.store import Artifact, resolve, unfinished
from hiltk.config.commands import Fault, RecordConf
from hiltk.config.groups import HumanConf, RewardConf, So101SimConf, TaskConf
from hiltk.data import journal
from hiltk.data.episode import Source
from hiltk.data.lerobot_io import DatasetWriter, dataset_spec, load_episodes
from hiltk.errors import ConfigError, UserError
from hiltk.spec import STATE_KEY
from hiltk.steps import record


def conf(root: Path, **changes: Any) -> RecordConf:
    env = So101SimConf(image_height=16, image_width=16)
    base = RecordConf(root=str(root), name="demos", env=env, task=TaskConf(stratum="near"), episodes=2, seed=3)
    return replace(base, **changes)


class Wrapped:
    """A human with one method replaced, for faults."""

    def __init__(self, human: Any, act: Callable[..., np.ndarray]) -> None:
        self._human, self._act = human, act

    def __getattr__(self, name: str) -> Any:
        return getattr(self._human, name)

    def act(self, observation: Any) -> np.ndarray:
        return self._act(self._human, observation)


def with_human(monkeypatch: pytest.MonkeyPatch, act: Callable[..., np.ndarray]) -> None:
    make = record.make_human
    monkeypatch.setattr(record, "make_human", lambda conf, env: Wrapped(make(conf, env), act))


def test_successes_from_one_stratum(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    artifact = record.run(conf(tmp_path))
    assert artifact.ref == "demos@d-0001"
    episodes = load_episodes(artifact.path)
    assert len(episodes) == 2
    for episode in episodes:
        assert episode.stratum == "near" and episode.terminated and not episode.truncated
        assert episode.success[-2:].all() and not episode.success[0]  # held for two steps
        assert episode.rewards.tolist() == [0.0] * (len(episode) - 1) + [1.0]
        assert (episode.source == Source.demo).all() and episode.action_valid.all()
        assert np.abs(episode.actions).max() > 0.5 and not episode.is_intervention.any()
        assert episode.observations["observation.images.wrist"].std() > 5
    notes = artifact.run()
    assert (notes["episodes_asked"], notes["episodes_kept"], notes["interrupted"]) == (2, 2, False)
    assert notes["strata"] == {"near": 2}
    printed = capsys.readouterr().out
    assert "demos@d-0001" in printed and "near" in printed and "mean length" in printed


def test_the_spec_travels_along(tmp_path: Path) -> None:
    spec = dataset_spec(record.run(conf(tmp_path)).path)
    assert spec.task == "lift" and spec.fps == 10.0 and len(spec.state.dims) == 18
    assert spec.reward.hold_steps == 2 and spec.robot.model_hash
    stats = spec.stats[STATE_KEY]
    ranges = np.array([d.high - d.low for d in spec.state.dims])
    assert (np.array(stats.std) >= 0.0099 * ranges).all()


def test_the_same_seed_gives_the_same_dataset(tmp_path: Path) -> None:
    first, second = (load_episodes(record.run(conf(tmp_path)).path) for _ in range(2))
    other = load_episodes(record.run(conf(tmp_path, seed=4)).path)
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a.actions, b.actions)
        for key in a.observations:
            np.testing.assert_array_equal(a.observations[key], b.observations[key])
    assert not np.array_equal(first[0].observations[STATE_KEY][0], other[0].observations[STATE_KEY][0])


def test_zero_actions_are_the_only_difference_of_the_fault(tmp_path: Path) -> None:
    sound = load_episodes(record.run(conf(tmp_path)).path)
    faulty = load_episodes(record.run(conf(tmp_path, fault=Fault.zero_actions)).path)
    for a, b in zip(sound, faulty, strict=True):
        assert not b.actions.any() and b.action_valid.all()
        np.testing.assert_array_equal(a.observations[STATE_KEY], b.observations[STATE_KEY])
        np.testing.assert_array_equal(a.success, b.success)


def test_recording_goes_on_after_success(tmp_path: Path) -> None:
    artifact = record.run(conf(tmp_path, steps_after_success=3, episodes=1))
    (short,), (whole,) = load_episodes(artifact.path), load_episodes(artifact.path, after_end=True)
    assert short.terminated and short.rewards[-1] == 1
    assert len(whole) == len(short) + 3
    assert whole.success[-5:].all()  # two of the hold, three after it
    assert whole.rewards.sum() == 1
    np.testing.assert_array_equal(whole.actions[: len(short)], short.actions)


def test_failures_are_kept_on_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_human(monkeypatch, lambda human, observation: np.zeros(4, np.float32))
    episodes = load_episodes(record.run(conf(tmp_path, keep="all", task=TaskConf(time_limit_s=0.5))).path)
    assert [len(e) for e in episodes] == [5, 5]
    for episode in episodes:
        assert episode.truncated and not episode.terminated and not episode.success.any() and not episode.rewards.any()


def test_only_failures(tmp_path: Path) -> None:
    clumsy = HumanConf(name="clumsy", skill=0.7)
    artifact = record.run(conf(tmp_path, keep="failures", human=clumsy, task=TaskConf(name="grasp"), episodes=3))
    assert artifact.run()["successes"] == 0
    assert all(e.truncated and not e.terminated and not e.rewards.any() for e in load_episodes(artifact.path))
    short = TaskConf(stratum="near", time_limit_s=3.0)
    with pytest.raises(UserError, match="only 0 of 1 episodes failed in 5 attempts") as caught:
        record.run(conf(tmp_path, name="none", keep="failures", human=HumanConf(noise=0.0), episodes=1, task=short))
    assert "human=clumsy" in caught.value.fix


def test_a_time_out_that_terminates_is_no_success(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_human(monkeypatch, lambda human, observation: np.zeros(4, np.float32))
    terminal = {"task": TaskConf(time_limit_s=0.5), "reward": RewardConf(timeout="terminal")}
    artifact = record.run(conf(tmp_path, keep="all", **terminal))
    assert all(episode.terminated for episode in load_episodes(artifact.path))
    assert (artifact.run()["episodes_kept"], artifact.run()["successes"]) == (2, 0)
    with pytest.raises(UserError, match="only 0 of 2 episodes succeeded"):
        record.run(conf(tmp_path, name="kept", **terminal))


def test_the_renderer_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record.run(conf(tmp_path, episodes=1))
    assert "renderer: cpu\n" in capsys.readouterr().out


def test_a_classifiers_network_gets_the_threads_and_the_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}

    def make(*args: Any, **options: Any) -> Any:
        seen.update(options)
        raise UserError("far enough")

    monkeypatch.setattr(record, "make_env", make)
    monkeypatch.setattr(record, "set_up_torch", lambda cfg: f"set up with {cfg.threads}")
    with pytest.raises(UserError, match="far enough"):
        record.run(conf(tmp_path, threads=2, reward=RewardConf(source="classifier")))
    assert seen["device"] == "set up with 2"
    with pytest.raises(UserError, match="far enough"):
        record.run(conf(tmp_path))
    assert seen["device"] == "cpu"


def test_gives_up_when_the_human_keeps_failing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_human(monkeypatch, lambda human, observation: np.zeros(4, np.float32))
    with pytest.raises(UserError, match="only 0 of 2 episodes succeeded in 10 attempts") as caught:
        record.run(conf(tmp_path, task=TaskConf(time_limit_s=0.5)))
    assert "time_limit_s" in caught.value.fix
    with pytest.raises(UserError):
        resolve("demos", "datasets", tmp_path)


def interrupted_after(attempts: int) -> Callable[..., np.ndarray]:
    """A human during whose episode number ``attempts`` Ctrl-C is pressed, at its fourth step."""
    seen = {"episodes": 0, "steps": 0}

    def act(human: Any, observation: Any) -> np.ndarray:
        seen["steps"] = seen["steps"] + 1
        if not observation[STATE_KEY][6:12].any():  # velocities are zero at an episode's start
            seen["episodes"], seen["steps"] = seen["episodes"] + 1, 1
        if seen["episodes"] == attempts and seen["steps"] == 4:
            raise KeyboardInterrupt
        return human.act(observation)

    return act


def test_ctrl_c_keeps_the_finished_episodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_human(monkeypatch, interrupted_after(3))
    with pytest.raises(KeyboardInterrupt):
        record.run(conf(tmp_path, episodes=5, keep="all"))
    artifact = resolve("demos", "datasets", tmp_path)
    assert len(load_episodes(artifact.path)) == 2
    notes = artifact.run()
    assert (notes["episodes_asked"], notes["episodes_kept"], notes["interrupted"]) == (5, 2, True)
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    assert LeRobotDataset("any/name", root=artifact.path, video_backend="pyav").num_episodes == 2


def test_ctrl_c_before_the_first_episode_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_human(monkeypatch, interrupted_after(1))
    with pytest.raises(KeyboardInterrupt):
        record.run(conf(tmp_path))
    with pytest.raises(UserError):
        resolve("demos", "datasets", tmp_path)


# ---------------------------------------------------------------- going on

COMMAND = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from hiltk.cli import main
main()
"""
WORDS = ("name=demos", "seed=3", "task.stratum=near", "keep=all", "steps_after_success=3")
SMALL = ("env.image_height=16", "env.image_width=16", "human.noise=0.3")


def start(root: Path, *words: str) -> subprocess.Popen[bytes]:
    """The real command, recording more episodes than it will be given time for."""
    code = [sys.executable, "-c", COMMAND, "record", *WORDS, *SMALL, "episodes=1000", f"root={root}", *words]
    with (root / "log").open("wb") as log:
        return subprocess.Popen(code, stdout=log, stderr=log)


def wait_for_episodes(root: Path, count: int, process: subprocess.Popen[bytes]) -> None:
    while len(list((root / "datasets" / "demos" / ".unfinished" / record.JOURNAL).glob("*.npz"))) < count:
        assert process.poll() is None, (root / "log").read_text()
        time.sleep(0.02)


def require_same(ours: Artifact, theirs: Artifact) -> None:
    """The same episodes, to the bit, and the same story of how they came to be."""
    for a, b in zip(*(load_episodes(artifact.path, after_end=True) for artifact in (ours, theirs)), strict=True):
        assert a.observations.keys() == b.observations.keys()
        assert all(np.array_equal(a.observations[key], b.observations[key]) for key in a.observations)
        assert all(np.array_equal(getattr(a, key), getattr(b, key)) for key in (*journal.ARRAYS, *journal.PLAIN))
    for file in ("info.json", "stats.json", "hiltk_spec.yaml"):
        assert (ours.path / "meta" / file).read_text() == (theirs.path / "meta" / file).read_text()
    told = ("episodes_kept", "attempts", "successes", "frames", "strata", "interrupted")
    assert [ours.run()[key] for key in told] == [theirs.run()[key] for key in told]


def test_whatever_ends_a_recording_its_finished_episodes_stay_and_it_goes_on(tmp_path: Path) -> None:
    process = start(tmp_path)
    wait_for_episodes(tmp_path, 2, process)
    process.kill()
    process.wait()
    with pytest.raises(UserError):  # no half artifact
        resolve("demos", "datasets", tmp_path)
    process = start(tmp_path, "resume=true")
    wait_for_episodes(tmp_path, 4, process)
    process.send_signal(signal.SIGTERM)
    assert process.wait() == 143
    first = resolve("demos", "datasets", tmp_path)
    kept = first.run()["episodes_kept"]
    assert kept >= 4 and first.run()["interrupted"] and first.is_intact() and not (first.path / record.JOURNAL).exists()
    assert (
        f"{kept} of 1000 episodes are in demos@d-0001; resume=true goes on from there" in (tmp_path / "log").read_text()
    )
    changes: dict[str, Any] = {"keep": "all", "steps_after_success": 3, "human": HumanConf(noise=0.3)}
    whole = record.run(conf(tmp_path, episodes=kept + 1, resume=True, **changes))
    assert whole.ref == "demos@d-0002" and unfinished("datasets", "demos", tmp_path) is None
    require_same(whole, record.run(conf(tmp_path, name="calm", episodes=kept + 1, **changes)))


def test_a_full_disk_costs_the_episode_that_did_not_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add, room = DatasetWriter.add, iter(range(2))

    def fill(writer: DatasetWriter, *episode: Any, **after: Any) -> None:
        if next(room, None) is None:
            raise RuntimeError("a library's own words") from OSError(errno.ENOSPC, "No space left on device")
        add(writer, *episode, **after)

    full = shutil._ntuple_diskusage(10**9, 10**9, 0)  # type: ignore[attr-defined]
    monkeypatch.setattr(DatasetWriter, "add", fill)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: full)
    with pytest.raises(UserError, match="the disk is full") as caught:
        record.run(conf(tmp_path, keep="all", episodes=4))
    assert "go on with resume=true" in caught.value.fix
    monkeypatch.undo()
    left = unfinished("datasets", "demos", tmp_path)
    assert left is not None and sorted(p.name for p in left.iterdir()) == [record.JOURNAL, "run.yaml"]
    again = record.run(conf(tmp_path, keep="all", episodes=4, resume=True))
    require_same(again, record.run(conf(tmp_path, name="calm", keep="all", episodes=4)))


def test_a_recording_that_was_lost_while_it_was_finished_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed after the dataset's files had got their places, before it was an artifact."""
    with monkeypatch.context() as patch, pytest.raises(ZeroDivisionError):
        patch.setattr(record, "_notes", lambda *args, **options: 1 // 0)
        record.run(conf(tmp_path, keep="all"))
    assert record.run(conf(tmp_path, keep="all", resume=True)).run()["episodes_kept"] == 2


def test_going_on_with_other_settings_is_refused_and_starting_anew_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UserError, match="no interrupted run"):
        record.run(conf(tmp_path, resume=True))
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        with_human(patch, interrupted_after(2))
        record.run(conf(tmp_path, keep="all"))
    with pytest.raises(UserError, match="seed: 3 before, 4 now"):
        record.run(conf(tmp_path, keep="all", seed=4, resume=True))
    assert "starts anew" not in capsys.readouterr().out
    record.run(conf(tmp_path, keep="all"))
    assert "starts anew; an interrupted run of 'demos'" in capsys.readouterr().out


def test_fewer_episodes_than_there_are_already_end_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        with_human(patch, interrupted_after(3))
        record.run(conf(tmp_path, keep="all", episodes=5))
    require_same(
        record.run(conf(tmp_path, keep="all", episodes=1, resume=True)),
        record.run(conf(tmp_path, name="calm", keep="all", episodes=1)),
    )


def test_video_is_stored_as_video(tmp_path: Path) -> None:
    env = So101SimConf(image_height=64, image_width=64)
    exact = load_episodes(record.run(conf(tmp_path, env=env, episodes=1)).path)[0]
    artifact = record.run(conf(tmp_path, env=env, episodes=1, video=True))
    assert list((artifact.path / "videos").rglob("*.mp4"))
    key = "observation.images.wrist"
    lossy = load_episodes(artifact.path)[0]
    assert lossy.observations[key].shape == exact.observations[key].shape
    assert np.abs(lossy.observations[key].astype(int) - exact.observations[key]).mean() < 6


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"keep": "best"}, "keep=successes or keep=failures or keep=all"),
        ({"episodes": 0}, "episodes=0"),
        ({"steps_after_success": -1}, "steps_after_success=-1"),
        ({"human": HumanConf(name="scriptd")}, "scripted"),
        ({"task": TaskConf(name="lfit")}, "lift"),
        ({"task": TaskConf(stratum="nera")}, "near"),
        ({"reward": RewardConf(source="oracle")}, "oracle"),
        ({"seed": -1}, "seed=-1"),
        ({"threads": 0}, "threads=0"),
        ({"device": "cdua"}, "did you mean 'cuda'?"),
    ],
)
def test_config_mistakes(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        record.run(conf(tmp_path, **changes))
    assert message in str(caught.value) and caught.value.exit_code == 2
