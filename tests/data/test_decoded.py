"""The cache of decoded frames: the same episodes as decoding them gives, whatever happened to the cache."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hiltk.data import decoded, resources
from hiltk.data.decoded import cached_episodes
from hiltk.data.episode import Episode
from hiltk.data.frames import Frames
from hiltk.data.lerobot_files import LeRobotFiles
from hiltk.data.lerobot_io import dataset_spec, load_episodes
from hiltk.errors import UserError
from hiltk.spec import Spec
from tests.conftest import build_episode, build_spec, write_dataset


@pytest.fixture(autouse=True)
def _everything_is_worth_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoded, "WORTH_IT", 0)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two cameras; some rows come after the end of an episode."""
    spec = build_spec(cameras=("wrist", "front"))
    path = tmp_path_factory.mktemp("cached") / "dataset"
    from hiltk.data.lerobot_io import DatasetWriter

    with DatasetWriter(path, spec) as writer:
        for seed in range(3):
            episode, after = build_episode(spec, 8, seed), build_episode(spec, 3, seed + 10)
            for key, values in after.observations.items():
                values[0] = episode.observations[key][-1]
            writer.add(episode, after=after if seed == 1 else None)
    return path


def same(ours: list[Episode], theirs: list[Episode]) -> bool:
    def equal(a: Episode, b: Episode) -> bool:
        assert a.observations.keys() == b.observations.keys()
        columns = ("actions", "rewards", "success", "source", "is_intervention", "action_valid")
        pairs = [(getattr(a, c), getattr(b, c)) for c in columns]
        pairs += [(a.observations[k], b.observations[k]) for k in a.observations]
        return all(np.array_equal(x, y) for x, y in pairs) and (a.terminated, a.truncated, a.stratum) == (
            b.terminated, b.truncated, b.stratum,
        )  # fmt: skip

    return len(ours) == len(theirs) and all(equal(a, b) for a, b in zip(ours, theirs, strict=True))


def mapped(episodes: list[Episode]) -> bool:
    images = [v for e in episodes for k, v in e.observations.items() if v.ndim == 4]
    frames = Frames(images)
    return frames.mapped_bytes == frames.nbytes > 0 and not any(v.flags.writeable for v in images)


def no_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: LeRobotFiles, camera: str) -> Iterator[np.ndarray]:
        raise AssertionError(f"{camera} was decoded again")
        yield  # a generator, like the real one: nothing happens before the first frame is asked for

    monkeypatch.setattr(LeRobotFiles, "frames", refuse)


@pytest.mark.parametrize("after_end", [False, True])
def test_the_second_time_is_a_memory_map_of_the_same(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], after_end: bool
) -> None:
    expected = load_episodes(dataset, after_end=after_end)
    first = cached_episodes(dataset, cache=tmp_path / "cache", after_end=after_end, name="demos")
    assert same(first, expected) and mapped(first)
    assert "decoded earlier" not in capsys.readouterr().out
    no_decoding(monkeypatch)
    second = cached_episodes(dataset, cache=tmp_path / "cache", after_end=after_end, name="demos")
    assert same(second, expected) and mapped(second)
    assert capsys.readouterr().out.count("demos: 45 KiB of frames were decoded earlier") == 1


def test_video_is_cached_as_it_decodes(
    tmp_path: Path, dataset_dir: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = dataset_dir(spec=build_spec(32), video=True)
    expected = load_episodes(path)
    assert same(cached_episodes(path, cache=tmp_path / "cache"), expected)
    no_decoding(monkeypatch)
    assert same(cached_episodes(path, cache=tmp_path / "cache"), expected)


def test_every_wish_has_frames_of_its_own(dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = dataset_spec(dataset)
    small = replace(spec, images=[replace(spec.images[0], height=8, width=8)])
    cropped = replace(spec, images=[replace(spec.images[0], height=8, width=8, crop=[2, 3, 10, 10])])
    wishes = [spec, small, cropped]
    for _ in range(2):
        for wish in wishes:
            assert same(cached_episodes(dataset, wish, cache=tmp_path), load_episodes(dataset, wish))
    one = replace(spec, images=spec.images[:1])
    expected = load_episodes(dataset, one)
    no_decoding(monkeypatch)  # one camera of the two that are there
    assert same(cached_episodes(dataset, one, cache=tmp_path), expected)


def test_a_dataset_edited_in_place_is_decoded_again(tmp_path: Path, tiny_spec: Spec) -> None:
    path = tmp_path / "dataset"
    cache = tmp_path / "cache"
    write_dataset(path, tiny_spec, [build_episode(tiny_spec, seed=0)])
    before = cached_episodes(path, cache=cache)
    for part in ("data", "meta"):
        (path / part).rename(tmp_path / f"old_{part}")
    write_dataset(path, tiny_spec, [build_episode(tiny_spec, seed=1)])
    after = cached_episodes(path, cache=cache)
    assert same(after, load_episodes(path)) and not same(after, before)


def test_the_same_content_elsewhere_shares_the_frames(
    tmp_path: Path, tiny_spec: Spec, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    path = write_dataset(tmp_path / "dataset", tiny_spec, [build_episode(tiny_spec, seed=0)])
    shutil.copytree(path, tmp_path / "copy")
    expected = cached_episodes(path, cache=tmp_path / "cache")
    no_decoding(monkeypatch)
    assert same(cached_episodes(tmp_path / "copy", cache=tmp_path / "cache"), expected)


def flip(file: Path) -> None:
    with file.open("r+b") as stream:
        stream.seek(-5, os.SEEK_END)
        byte = stream.read(1)
        stream.seek(-5, os.SEEK_END)
        stream.write(bytes([byte[0] ^ 1]))


DAMAGE: dict[str, Callable[[Path], None]] = {
    "cut": lambda f: os.truncate(f / decoded.FRAMES, 1000),
    "one bit": lambda f: flip(f / decoded.FRAMES),
    "zeros": lambda f: (f / decoded.FRAMES).write_bytes(bytes((f / decoded.FRAMES).stat().st_size)),
    "no frames": lambda f: (f / decoded.FRAMES).unlink(),
    "no checksum": lambda f: (f / decoded.ABOUT).unlink(),
    "empty checksum": lambda f: (f / decoded.ABOUT).write_text(""),
    "not ours": lambda f: (f / decoded.ABOUT).write_text("[1]"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_cache_is_decoded_again(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: str
) -> None:
    expected = cached_episodes(dataset, cache=tmp_path)
    folders = [f.parent for f in tmp_path.glob(f"*/*/{decoded.FRAMES}")]
    assert len(folders) == 2
    DAMAGE[damage](folders[0])
    again = load_episodes(dataset)
    assert same(cached_episodes(dataset, cache=tmp_path), again)
    assert capsys.readouterr().out.count("are damaged, and decoded again") == 1
    assert same(cached_episodes(dataset, cache=tmp_path), again)
    assert "are damaged" not in capsys.readouterr().out
    if damage not in ("one bit", "zeros", "cut"):  # those were written through the map
        assert same(expected, again)


def test_deleting_the_cache_costs_nothing_but_time(dataset: Path, tmp_path: Path) -> None:
    import shutil

    held = cached_episodes(dataset, cache=tmp_path / "cache")
    shutil.rmtree(tmp_path / "cache")  # while its frames are in use
    expected = load_episodes(dataset)
    assert same(held, expected)
    assert same(cached_episodes(dataset, cache=tmp_path / "cache"), expected)


# ---------------------------------------------------------------- no room


def test_without_room_on_disk_frames_are_decoded_into_memory(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(decoded, "free_disk", lambda path: 1000)
    episodes = cached_episodes(dataset, cache=tmp_path, name="demos")
    assert same(episodes, load_episodes(dataset)) and not mapped(episodes)
    assert "demos are decoded into memory" in " ".join(capsys.readouterr().out.split())
    assert not list(tmp_path.rglob("*.npy"))


def test_a_cache_that_cannot_be_written_is_done_without(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    assert same(cached_episodes(dataset, cache=tmp_path / "cache"), load_episodes(dataset))
    assert "decoded into memory" in capsys.readouterr().out


def test_frames_that_fit_nowhere_are_refused_before_decoding(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoded, "free_disk", lambda path: 0)
    monkeypatch.setattr(resources, "available_memory", lambda: 10_000)
    no_decoding(monkeypatch)
    # 3 episodes of 9 rows and 3 after an end: 30 rows of 2 x 16 x 16 x 3 bytes are 46,080: 45 KiB.
    with pytest.raises(UserError, match="the frames of demos need 45 KiB of memory, 10 KiB are available"):
        cached_episodes(dataset, cache=tmp_path, name="demos")


def test_small_datasets_leave_no_files(dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoded, "WORTH_IT", 46_081)
    assert same(cached_episodes(dataset, cache=tmp_path), load_episodes(dataset)) and not list(tmp_path.iterdir())
    monkeypatch.setattr(decoded, "WORTH_IT", 46_080)
    cached_episodes(dataset, cache=tmp_path)
    assert len(list(tmp_path.glob("*/*/frames.npy"))) == 2


def test_a_dataset_that_breaks_off_leaves_no_cache(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = LeRobotFiles.frames
    monkeypatch.setattr(LeRobotFiles, "frames", lambda self, camera: iter(list(whole(self, camera))[:-2]))
    with pytest.raises(UserError, match="2 frames too few"):
        cached_episodes(dataset, cache=tmp_path)
    assert not list(tmp_path.rglob("*.npy")) and not list(tmp_path.rglob("*.partial"))


def test_memory_while_decoding_is_that_of_single_frames(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Frames are consumed one by one: no more than two of them live at once."""
    import weakref

    alive: list[weakref.ref[np.ndarray]] = []
    whole = LeRobotFiles.frames
    most = 0

    def watched(self: LeRobotFiles, camera: str) -> Iterator[np.ndarray]:
        nonlocal most
        for frame in whole(self, camera):
            alive.append(weakref.ref(frame))
            most = max(most, sum(r() is not None for r in alive))
            yield frame

    monkeypatch.setattr(LeRobotFiles, "frames", watched)
    cached_episodes(dataset, cache=tmp_path)
    assert len(alive) == 60 and most <= 2


# ---------------------------------------------------------------- other processes


CODE = """
import sys, time
from pathlib import Path
import numpy as np
from hiltk.data import decoded
from hiltk.data.lerobot_files import LeRobotFiles
decoded.WORTH_IT = 0
whole = LeRobotFiles.frames
def slow(self, camera):
    for frame in whole(self, camera):
        time.sleep(float(sys.argv[3]))
        print("decoded one", flush=True)
        yield frame
LeRobotFiles.frames = slow
episodes = decoded.cached_episodes(Path(sys.argv[1]), cache=Path(sys.argv[2]))
print("sum", sum(int(v.sum()) for e in episodes for v in e.observations.values() if v.ndim == 4))
"""


def decoder(dataset: Path, cache: Path, pause_s: float) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", CODE, str(dataset), str(cache), str(pause_s)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


def test_two_processes_decode_once_and_a_killed_one_leaves_nothing(dataset: Path, tmp_path: Path) -> None:
    killed = decoder(dataset, tmp_path, 0.2)
    assert killed.stdout is not None
    for _ in range(5):
        killed.stdout.readline()
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert list(tmp_path.rglob("*.partial")) and not list(tmp_path.rglob(decoded.ABOUT))
    both = [decoder(dataset, tmp_path, 0.02) for _ in range(2)]
    outputs = [process.communicate(timeout=120)[0] for process in both]
    assert sum(out.count("decoded one") for out in outputs) == 60  # every frame of both cameras, once
    expected = sum(int(v.sum()) for e in load_episodes(dataset) for v in e.observations.values() if v.ndim == 4)
    assert all(f"sum {expected}" in out for out in outputs)
    assert not list(tmp_path.rglob("*.partial"))
