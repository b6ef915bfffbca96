"""`hiltk bc-pretrain` and `hiltk train` in the real simulator: small, but through every real part."""

from __future__ import annotations

import contextlib
import json
import os
import random
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
import pandas as pd
import pytest
import torch

from hiltk.agents.make import load_policy
from hiltk.artifacts.store import Artifact, resolve, unfinished, versions
from hiltk.config.commands import BcConf, RecordConf, TrainConf, UntilConf
from hiltk.config.groups import (
    DrqConf,
    EncoderConf,
    GymnasiumConf,
    InterventionConf,
    LearnerConf,
    RewardConf,
    SacConf,
    Schedule,
    So101SimConf,
    TaskConf,
)
from hiltk.data import decoded
from hiltk.data.lerobot_io import load_episodes
from hiltk.data.replay_export import export_store
from hiltk.errors import ConfigError, UserError
from hiltk.learning import checkpoint
from hiltk.rewards import demonstrations
from hiltk.rewards.demonstrations import judge_demonstrations
from hiltk.spec import STATE_KEY, GripperFormat, RewardSpec
from hiltk.steps import bc_pretrain, record, train
from hiltk.steps.common import load_datasets

ENV = So101SimConf(image_height=16, image_width=16)
TASK = TaskConf(time_limit_s=3.0)
AGENT = SacConf(hidden=[16, 16])
ENCODER = EncoderConf(channels=[4], kernels=[3], strides=[4], features=8)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a few demonstrations and a policy cloned from them."""
    root = tmp_path_factory.mktemp("outputs")
    record.run(RecordConf(root=str(root), name="demos", env=ENV, task=TASK, episodes=4))
    bc_pretrain.run(
        BcConf(root=str(root), name="bc", datasets=["demos"], agent=AGENT, encoder=ENCODER, steps=60, held_out=0.25)
    )
    return root


def conf(root: Path, **changes: object) -> TrainConf:
    base = TrainConf(
        root=str(root), name="hil", env=ENV, task=TASK, agent=AGENT, encoder=ENCODER, demos=["demos"], episodes=3,
        batch_size=16, utd=0.5, learning_starts=20, capacity=500, checkpoint_every=1,
    )  # fmt: skip
    return replace(base, **changes)  # type: ignore[arg-type]


def metrics(artifact: Artifact) -> pd.DataFrame:
    return pd.read_csv(artifact.path / "metrics.csv")


def test_cloning_writes_a_policy_with_its_held_out_loss(root: Path) -> None:
    artifact = resolve("bc", "policies", root)
    table = metrics(artifact)
    assert table.step.tolist() == [50, 60]
    assert np.isfinite(table.held_out_loss).all()
    notes = artifact.run()
    assert len(notes["held_out_episodes"]) == 1 and notes["inputs"][0]["artifact"] == "demos"
    policy = load_policy(artifact.path)
    observation = {STATE_KEY: np.zeros(18, np.float32), "observation.images.wrist": np.zeros((16, 16, 3), np.uint8)}
    assert policy.act(observation).shape == (4,)


def test_training_starts_from_a_policy_and_records_what_happened(root: Path) -> None:
    artifact = train.run(conf(root, init="bc"))
    table = metrics(artifact)
    assert table.episode.tolist() == [0, 1, 2]
    assert table.env_step.iloc[-1] == table.length.sum()
    assert table["update"].iloc[-1] == int(0.5 * (table.length.sum() - 19))
    assert table.imitation_samples.dropna().min() >= 8  # the imitation term is never silently inert
    assert [i["artifact"] for i in artifact.run()["inputs"]] == ["demos", "bc"]
    start = load_policy(resolve("bc", "policies", root).path).state_dict()
    trained = load_policy(artifact.path).state_dict()
    assert any(not np.array_equal(start[k], trained[k]) for k in start)
    stored = np.load(artifact.path / "online" / "action.npy")
    assert stored.shape == (int(table.length.sum()) + 3, 4)  # trimmed to its transitions and three last observations


def test_the_record_says_how_the_policy_did_alone_and_why_the_run_ended() -> None:
    row = {"env_step": 9.0, "wall_s": 1.0, "autonomous": 1.0, "intervention_rate": 0.0, "success": 1.0}
    rows = (
        [row | {"left_alone": 1.0}] * 24 + [row | {"left_alone": 0.0}] * 5 + [row | {"left_alone": 1.0, "success": 0}]
    )
    notes = train._summary(rows, TrainConf(until=UntilConf(rate=0.7)))
    assert notes["left_alone"] == {"episodes": 25, "of_last": 20, "success": 19} and notes["ended_by"] == "until"
    assert train._summary(rows, TrainConf())["ended_by"] == "episodes"
    assert train._summary(rows[24:29], TrainConf())["left_alone"] == {"episodes": 0, "of_last": 0, "success": 0}


def test_the_same_seed_trains_the_same_policy(root: Path) -> None:
    first, second = train.run(conf(root, name="twin")), train.run(conf(root, name="twin"))
    assert first.version != second.version
    one, two = load_policy(first.path).state_dict(), load_policy(second.path).state_dict()
    assert all(np.array_equal(one[k], two[k]) for k in one)


def test_cloning_that_overflows_writes_no_policy_but_the_step(root: Path) -> None:
    cfg = BcConf(
        root=str(root), name="overflowing", datasets=["demos"], agent=AGENT, encoder=ENCODER, lr=1e38, held_out=0
    )
    with pytest.raises(UserError, match=r"training diverged: .* is not finite at update \d+") as caught:
        bc_pretrain.run(cfg)
    assert [f.name for f in (root / "policies" / "overflowing").glob("[!.]*")] == ["diverged.pt"]
    saved = torch.load(caught.value.where, weights_only=True)
    assert "lower lr" in caught.value.fix and not all(map(np.isfinite, saved["metrics"].values()))


def test_another_architecture_is_refused_by_parameter(root: Path) -> None:
    with pytest.raises(UserError, match=r"shape: .*\(16, .*\) in the file"):
        train.run(conf(root, init="bc", agent=SacConf(hidden=[8, 8])))


@pytest.mark.parametrize(
    ("env", "named"),
    [
        (replace(ENV, gripper=GripperFormat.discrete3), "action.gripper: 'continuous' against 'discrete3'"),
        (replace(ENV, action_scale_m=0.01), "action.scale_m: 0.02 against 0.01"),
        (replace(ENV, cameras=["front"]), "images.order"),
        (replace(ENV, fps=20.0), "fps: 10.0 against 20.0"),
    ],
)
def test_demonstrations_of_another_contract_are_refused_by_field(root: Path, env: So101SimConf, named: str) -> None:
    with pytest.raises(UserError) as caught:
        train.run(conf(root, env=env))
    assert named in str(caught.value) and "demos" in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"demo_fraction": 1.5}, "not a share"),
        ({"episodes": 0}, "at least 1"),
        ({"practice": "hard"}, "unknown practice"),
        ({"reward": RewardConf(source="classifier")}, "needs a classifier"),
        ({"encoder": EncoderConf(name="resnet99")}, "unknown encoder"),
        ({"encoder": EncoderConf(cache_shifts=2)}, "only what a frozen encoder"),
        ({"agent": replace(AGENT, activation="tahn")}, "did you mean 'tanh'"),
        ({"agent": DrqConf(noise="lots")}, "not a schedule"),
        ({"until": UntilConf(rate=1.2)}, "until.rate must be above 0 and below 1"),
        (
            {"until": UntilConf(rate=0.8), "intervention": InterventionConf(alone=0)},
            "left alone, and there will be none",
        ),
    ],
)
def test_contradictions_are_config_errors_told_at_once(
    root: Path, change: dict[str, object], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def built(*args: object, **options: object) -> None:
        raise AssertionError("an environment was built, or a dataset read, before the settings were looked at")

    monkeypatch.setattr(train, "make_env", built)
    monkeypatch.setattr(train, "load_datasets", built)
    with pytest.raises(ConfigError, match=message):
        train.run(conf(root, **change))


def test_names_that_do_not_exist_suggest_the_nearest(root: Path) -> None:
    with pytest.raises(UserError, match="demos"):
        train.run(conf(root, demos=["demo"]))


def test_a_store_that_cannot_fit_the_disk_is_refused_before_training(root: Path) -> None:
    huge = conf(root, name="huge", capacity=10**12, episodes=10**11)
    with pytest.raises(UserError, match="the disk has"):
        train.run(huge)


def test_room_can_be_given_in_bytes(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # A row: 18 + 4 + 1 floats of 4 bytes, 16 x 16 x 3 bytes of frame, 7 of flags and source, 8 + 4 of numbers: 879.
    # An episode has at most 31 rows; those of one checkpoint come on top: 100 rows are 100 - 1 - 31 transitions.
    room = 100.5 * 879 / 2**30
    artifact = train.run(conf(root, name="small", episodes=4, learning_starts=1000, capacity_gib=room))
    ring = json.loads((artifact.path / "online" / "ring.json").read_text())
    assert (ring["capacity"], ring["size"]) == (68, 100)
    printed = " ".join(capsys.readouterr().out.split())
    assert "replay: up to 100 frames, 86 KiB on disk" in printed
    demos = load_episodes(resolve("demos", "datasets", root).path)
    rows = sum(len(e) + 1 for e in demos)
    assert f"demonstrations: {rows:,} frames, {rows * 879 / 1024:,.0f} KiB of memory" in printed
    again = train.run(conf(root, name="small", episodes=1, learning_starts=1000, capacity=60, capacity_gib=room))
    assert json.loads((again.path / "online" / "ring.json").read_text())["capacity"] == 60


def test_room_for_less_than_an_episode_is_refused(root: Path) -> None:
    with pytest.raises(ConfigError, match="capacity_gib=1e-06 has no room") as caught:
        train.run(conf(root, name="tiny", capacity_gib=1e-6))
    assert "at least 0.001" in str(caught.value)
    assert not (root / "policies" / "tiny").exists()


def test_frames_from_the_cache_train_the_same_policies(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def both() -> list[Artifact]:
        cloned = BcConf(root=str(root), name="cached-bc", datasets=["demos"], agent=AGENT, encoder=ENCODER, steps=5)
        return [bc_pretrain.run(cloned), train.run(conf(root, name="cached", episodes=1))]

    plain = both()
    monkeypatch.setattr(decoded, "WORTH_IT", 0)
    for ours, theirs in zip(both(), plain, strict=True):  # the first decodes, the second maps
        one, two = load_policy(ours.path).state_dict(), load_policy(theirs.path).state_dict()
        assert all(np.array_equal(one[k], two[k]) for k in one)
    assert len(list((root / "cache").glob("*/*/frames.npy"))) == 1
    shutil.rmtree(root / "cache")


def test_what_a_run_lived_through_can_be_exported(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, count = train.Trainer._run_episode, iter(range(100))

    def until_the_third(trainer: train.Trainer) -> object:
        tally = whole(trainer)
        if next(count) == 2:
            raise KeyboardInterrupt
        return tally

    monkeypatch.setattr(train.Trainer, "_run_episode", until_the_third)
    with pytest.raises(KeyboardInterrupt):
        train.run(conf(root, name="lived"))
    draft = resolve(str(unfinished("policies", "lived", root)), "policies", root)
    assert export_store(draft.path / "online", draft.spec(), tmp_path / "draft") == 2  # as of the last checkpoint
    artifact = train.run(conf(root, name="lived", resume=True))
    assert export_store(artifact.path / "online", artifact.spec(), tmp_path / "whole") == 3
    table, episodes = metrics(artifact), load_episodes(tmp_path / "whole", artifact.spec())
    assert [len(e) for e in episodes] == table.length.tolist()
    assert [e.terminated for e in episodes] == table.success.astype(bool).tolist()
    assert [float(e.rewards.sum()) for e in episodes] == pytest.approx(table["return"].tolist())
    assert [e.is_intervention.mean() for e in episodes] == pytest.approx(table.intervention_rate.tolist(), rel=1e-5)
    for episode in episodes:  # the rule holds for two steps: success shows before it is declared
        assert episode.success[-2:].all() == episode.terminated
    for ours, earlier in zip(episodes, load_episodes(tmp_path / "draft", artifact.spec()), strict=False):
        assert all(np.array_equal(ours.observations[k], earlier.observations[k]) for k in earlier.observations)


def test_any_gymnasium_environment_trains_without_demonstrations(root: Path) -> None:
    cfg = conf(
        root, name="pendulum", env=GymnasiumConf(id="Pendulum-v1"), encoder=EncoderConf(name="none"), demos=[],
        reward=RewardConf(source="env"), intervention=InterventionConf(schedule=Schedule.never), episodes=1,
    )  # fmt: skip
    table = metrics(train.run(cfg))
    assert table.length.tolist() == [200] and table.demo_share.iloc[0] == 0
    assert table.q_mean.iloc[0] < 0  # its reward is never positive, and is not clipped away


def test_demonstrations_are_paid_by_this_runs_reward_rule(root: Path) -> None:
    episodes = load_episodes(resolve("demos", "datasets", root).path)
    spec = resolve("demos", "datasets", root).spec()
    spec.reward = RewardSpec(success_value=10.0, step_value=-0.05)
    store = train._demo_store(judge_demonstrations(episodes, spec.reward).episodes, spec)
    rewards = store.gather(store.transitions())["reward"]
    assert sorted(set(rewards.tolist())) == pytest.approx([-0.05, 10.0])
    assert (rewards == 10).sum() == len(episodes)
    episodes[0].success[:] = False  # a time-out recorded as terminal
    store = train._demo_store(judge_demonstrations(episodes, spec.reward).episodes, spec)
    assert (store.gather(store.transitions())["reward"] == 10).sum() == len(episodes) - 1


@pytest.mark.parametrize(("timeout", "discount"), [("truncated", 0.9), ("terminal", 0.0)])
def test_time_outs_of_demonstrations_end_as_this_runs_rule_says(root: Path, timeout: str, discount: float) -> None:
    dataset = resolve("demos", "datasets", root)
    episode, spec = load_episodes(dataset.path)[0], dataset.spec()
    episode.terminated, episode.truncated, episode.success[:] = False, True, False
    spec.reward = RewardSpec(timeout=timeout)
    store = train._demo_store(judge_demonstrations([episode], spec.reward).episodes, spec)
    ends = store.gather(store.transitions(), discount=0.9)["discount"]
    assert ends[:-1] == pytest.approx(0.9) and ends[-1] == pytest.approx(discount)
    assert not store.reward.any()


def test_demonstrations_that_never_satisfy_the_reward_rule_are_judged_once_and_refused(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The gate says so of what the run has judged, all of it; it does not read and judge the dataset again."""
    asked: list[int] = []
    judge = demonstrations.judge_demonstrations

    def watched(episodes: Any, *args: Any, **kwargs: Any) -> Any:
        asked.append(len(episodes))
        return judge(episodes, *args, **kwargs)

    for module in (train, demonstrations):
        monkeypatch.setattr(module, "judge_demonstrations", watched)
    with pytest.raises(UserError, match=r"train refuses: REW008 \d+ of \d+ demonstrations never satisfy"):
        train.run(conf(root, name="short", reward=RewardConf(hold_steps=20)))
    assert asked == [len(load_episodes(resolve("demos", "datasets", root).path))]


def test_cloning_refuses_a_start_of_another_contract(root: Path) -> None:
    fine = replace(ENV, action_scale_m=0.01)
    record.run(RecordConf(root=str(root), name="fine", env=fine, task=TASK, episodes=2))
    cfg = BcConf(root=str(root), name="bc2", datasets=["fine"], agent=AGENT, encoder=ENCODER, steps=5, init="bc")
    with pytest.raises(UserError, match="action.scale_m: 0.02 against 0.01"):
        bc_pretrain.run(cfg)


def test_statistics_cover_every_dataset(root: Path) -> None:
    again = shutil.copytree(resolve("demos", "datasets", root).path, root / "again")
    episodes, spec, _ = load_datasets(["demos", str(again)], root)
    _, one, _ = load_datasets(["demos"], root)
    states = np.concatenate([e.observations[STATE_KEY] for e in episodes])
    assert spec.stats[STATE_KEY].mean == pytest.approx(states.mean(0).tolist(), rel=1e-4, abs=1e-4)
    assert f"demos@d-0001, {again}" in spec.stats[STATE_KEY].source != one.stats[STATE_KEY].source


def test_a_policy_without_eyes_goes_through_every_step(root: Path) -> None:
    blind = EncoderConf(name="none")
    bc_pretrain.run(BcConf(root=str(root), name="blind", datasets=["demos"], agent=AGENT, encoder=blind, steps=5))
    artifact = train.run(
        conf(root, name="blind-hil", env=replace(ENV, cameras=[]), encoder=blind, init="blind", episodes=1)
    )
    assert artifact.spec().images == []


def test_resuming_under_other_settings_is_refused_by_name(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train.Trainer, "run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train.run(conf(root, name="changed"))
    with pytest.raises(UserError, match=r"agent.lr: 0.0003 before, 0.1 now"):
        train.run(conf(root, name="changed", resume=True, agent=replace(AGENT, lr=0.1)))
    with pytest.raises(KeyboardInterrupt):  # more episodes are no other run
        train.run(conf(root, name="changed", resume=True, episodes=7))


def interrupted(trainer: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("agent", "expected"),
    [
        (replace(AGENT, discount=0.9, n_step=2, mc_floor=True), (0.9, 2, 1, 3, True)),
        (DrqConf(hidden=[16, 16]), (0.99, 3, 3, 3, False)),
    ],
)
def test_settings_reach_the_sampler(
    root: Path, monkeypatch: pytest.MonkeyPatch, agent: LearnerConf, expected: tuple[object, ...]
) -> None:
    built: list[train.Trainer] = []
    monkeypatch.setattr(train.Trainer, "run", lambda trainer: (built.append(trainer), interrupted(trainer)))
    with pytest.raises(KeyboardInterrupt):
        train.run(conf(root, name="wired", agent=agent, encoder=replace(ENCODER, shift_pad=3)))
    sampler = built[0].sampler
    assert (sampler.discount, sampler.n_step, sampler.stack, sampler.pad, sampler.returns) == expected


def test_a_resume_needs_room_only_for_what_is_not_written_yet(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, count = train.Trainer._run_episode, iter(range(100))

    def until_the_second(trainer: train.Trainer) -> object:
        return whole(trainer) if next(count) != 2 else interrupted(trainer)

    monkeypatch.setattr(train.Trainer, "_run_episode", until_the_second)
    with pytest.raises(KeyboardInterrupt):
        train.run(conf(root, name="roomy"))
    # Three episodes of at most 31 rows of 879 bytes are 81,747, and their space is taken already.
    monkeypatch.setattr(train, "free_disk", lambda path: 60_000)
    monkeypatch.setattr(checkpoint, "disk_bytes", lambda agent: 0)
    with pytest.raises(UserError, match="can grow to 80 KiB"):
        train.run(conf(root, name="cramped"))
    train.run(conf(root, name="roomy", resume=True))


def test_the_forecast_of_checkpoints_is_what_they_take(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two checkpoints, and four times the weights: of the best policy, of the next best, of the last, and the run's."""
    told, forecast = [], checkpoint.disk_bytes
    monkeypatch.setattr(checkpoint, "disk_bytes", lambda agent: told.append(forecast(agent)) or told[-1])
    done = train.run(conf(root, name="measured")).path
    sizes = [(done / name).stat().st_size for name in (checkpoint.FILE, "policy.safetensors")]
    assert 0.5 < told[0] / (2 * sizes[0] + 4 * sizes[1]) < 1.1


# ---------------------------------------------------------------- kill -9

COMMAND = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_train import conf
from hiltk.steps import train
train.run(conf(Path({root!r}), name={name!r}, episodes={episodes}, resume={resume}))
"""


def start(root: Path, name: str, episodes: int, *, resume: bool) -> subprocess.Popen[bytes]:
    """A process that trains; what it prints goes to ``<name>.log``."""
    code = COMMAND.format(tests=str(Path(__file__).parent), root=str(root), name=name, episodes=episodes, resume=resume)
    with (root / f"{name}.log").open("wb") as log:
        return subprocess.Popen([sys.executable, "-c", code], stdout=log, env=os.environ | {"OMP_NUM_THREADS": "1"})


def wait_for(happened: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 600  # where many share the machine, imports alone can take minutes
    while not happened():
        if time.monotonic() > deadline or process.poll():
            process.kill()
            raise AssertionError(f"exit code {process.poll()} while waiting")
        time.sleep(0.05)


def wait_for_training(log: Path, process: subprocess.Popen[bytes]) -> None:
    """Until the line that comes just before the run's folder is made or opened again; or until it is all over."""
    wait_for(lambda: "replay: up to" in log.read_text() or process.poll() == 0, process)


def kill(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGKILL)
    process.wait()


def require_same_contents(ours: Artifact, theirs: Artifact) -> None:
    """The same policy and the same replay, bit for bit, and the same history."""
    weights, others = (load_policy(a.path).state_dict() for a in (ours, theirs))
    assert weights.keys() == others.keys() and all(np.array_equal(weights[k], others[k]) for k in weights)
    stored = sorted(f.name for f in (theirs.path / "online").iterdir())
    assert sorted(f.name for f in (ours.path / "online").iterdir()) == stored and "ring.json" in stored
    for name in stored:
        assert (ours.path / "online" / name).read_bytes() == (theirs.path / "online" / name).read_bytes(), name
    timing = ["steps_per_s", "wall_s"]
    pd.testing.assert_frame_equal(metrics(ours).drop(columns=timing), metrics(theirs).drop(columns=timing))


def test_a_killed_run_goes_on_with_its_buffers(root: Path) -> None:
    process, folder = start(root, "killed", 1000, resume=False), root / "policies" / "killed"
    wait_for(lambda: len(list(folder.glob("*/checkpoint.pt"))) > 0 and _rows(folder) >= 4, process)
    kill(process)
    done = _rows(folder)
    with pytest.raises(UserError):  # no half artifact
        resolve("killed", "policies", root)
    assert start(root, "killed", done + 2, resume=True).wait(timeout=180) == 0
    ours = resolve("killed", "policies", root)
    assert metrics(ours).episode.tolist() == list(range(done + 2))
    require_same_contents(ours, train.run(conf(root, name="whole", episodes=done + 2)))


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_kills_at_random_moments_change_nothing(root: Path, seed: int) -> None:
    rng, name, episodes, kills = random.Random(seed), f"hunted-{seed}", 20, 0
    while not versions("policies", name, root):
        process = start(root, name, episodes, resume=unfinished("policies", name, root) is not None)
        wait_for_training(root / f"{name}.log", process)
        with contextlib.suppress(subprocess.TimeoutExpired):
            assert process.wait(rng.uniform(0, 4) if kills < 5 else 600) == 0
            continue
        kill(process)
        kills += 1
    assert kills >= 2
    require_same_contents(
        resolve(name, "policies", root), train.run(conf(root, name=f"calm-{seed}", episodes=episodes))
    )


def _rows(folder: Path) -> int:
    files = list(folder.glob("*/metrics.csv"))
    return len(files[0].read_text().splitlines()) - 1 if files else 0


def test_the_ring_keeps_its_size_on_resume(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`checkpoint_every` decides how many rows the store has; rows lie at their number modulo that."""
    monkeypatch.setattr(train.Trainer, "run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train.run(conf(root, name="ring"))
    with pytest.raises(UserError, match="checkpoint_every: 1 before, 9 now"):
        train.run(conf(root, name="ring", resume=True, checkpoint_every=9))
