"""Disks that are full: real ones, small, where the test may mount them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hiltk.artifacts.replacing import is_partial
from hiltk.artifacts.store import unfinished
from hiltk.config.commands import RecordConf, TrainConf
from hiltk.config.groups import EncoderConf, SacConf, So101SimConf, TaskConf
from hiltk.data.lerobot_io import load_episodes
from hiltk.errors import UserError
from hiltk.learning.loop import Trainer
from hiltk.steps import record, train

ENV, TASK = So101SimConf(image_height=32, image_width=32), TaskConf(stratum="near", time_limit_s=3.0)


class Disk:
    """A file system of its own in the memory.

    Attributes:
        path: where it is mounted.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def mount(self, *options: str) -> bool:
        return not subprocess.run(
            ["mount", "-t", "tmpfs", "-o", ",".join(options), "hiltk-test", str(self.path)], capture_output=True
        ).returncode

    def grow(self, size: str) -> None:
        assert self.mount("remount", f"size={size}")

    def fill(self) -> None:
        """Somebody else's file takes what is left."""
        with pytest.raises(OSError, match="No space left"), (self.path / "others").open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    made = Disk(tmp_path)
    if not (sys.platform == "linux" and made.mount("size=400k")):
        pytest.skip("nothing can be mounted here")
    yield made
    subprocess.run(["umount", "-l", str(tmp_path)], check=True)


def test_a_recording_goes_on_once_there_is_space_again(disk: Disk) -> None:
    conf = RecordConf(root=str(disk.path), name="demos", env=ENV, task=TASK, keep="all", episodes=100)
    with pytest.raises(UserError, match="the disk is full") as caught:
        record.run(conf)
    assert "resume=true" in caught.value.fix
    left = unfinished("datasets", "demos", disk.path)
    assert left is not None and not any(map(is_partial, left.rglob("*")))
    finished = len(list((left / record.JOURNAL).iterdir()))
    disk.grow("20m")
    conf.resume, conf.episodes = True, finished + 1
    assert finished > 1 and len(load_episodes(record.run(conf).path)) == finished + 1


def test_a_training_goes_on_once_there_is_space_again(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A memory map of a sparse file finds out when it is written to, and the process dies of it (SIGBUS)."""
    disk.grow("20m")
    conf = TrainConf(
        root=str(disk.path), name="hil", env=ENV, task=TASK, agent=SacConf(hidden=[16, 16]),
        encoder=EncoderConf(channels=[4], kernels=[3], strides=[4], features=8), episodes=4, capacity=2000,
        learning_starts=20, batch_size=8, utd=0.1, checkpoint_every=1,
    )  # fmt: skip
    play = Trainer._run_episode

    def and_fill(trainer: Trainer) -> object:
        if trainer.episode == 2:
            disk.fill()
        return play(trainer)

    monkeypatch.setattr(Trainer, "_run_episode", and_fill)
    with pytest.raises(UserError, match="the disk is full"):
        train.run(conf)
    left = unfinished("policies", "hil", disk.path)
    assert left is not None and not any(map(is_partial, left.rglob("*")))
    monkeypatch.undo()
    with pytest.raises(UserError, match="the disk has"):  # said before anything is begun
        train.run(conf)
    (disk.path / "others").unlink()
    conf.resume = True
    assert train.run(conf).run()["episodes"] == 4
