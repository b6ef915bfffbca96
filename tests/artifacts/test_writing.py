"""Artifacts appear whole or not at all, and say clearly what went wrong."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hiltk.artifacts.store import Artifact, resolve, unfinished, versions
from hiltk.artifacts.writing import create
from hiltk.config.commands import SplitConf
from hiltk.errors import ConfigError, UserError
from hiltk.spec import Spec

CFG = {"name": "x", "seed": 3}


def write(root: Path, name: str = "demos", kind: str = "datasets", text: str = "data", **options: Any) -> Artifact:
    """One small artifact."""
    given = {"step": "record", "cfg": CFG, "inputs": [], "seed": 3, **options}
    with create(kind, name, root=root, **given) as draft:
        (draft.path / "data.txt").write_text(text)
    return draft.artifact


def left_over(root: Path, name: str = "demos", kind: str = "datasets") -> list[str]:
    """What lies beside the versions, but for the lock."""
    return sorted(p.name for p in (root / kind / name).iterdir() if p.name != ".lock" and not p.name.startswith("d-"))


# ---------------------------------------------------------------- writing


def test_versions_count_up_and_the_newest_is_found(tmp_path: Path) -> None:
    first, second = write(tmp_path, text="a"), write(tmp_path, text="b")
    assert (first.ref, second.ref) == ("demos@d-0001", "demos@d-0002")
    assert resolve("demos", "datasets", tmp_path) == second
    assert resolve("demos@d-0001", "datasets", tmp_path) == first
    assert not left_over(tmp_path)


def test_versions_after_9999_keep_their_order(tmp_path: Path) -> None:
    for version in ("d-9999", "d-10000", "d-0002", "notes", "p-0001"):
        (tmp_path / "datasets" / "demos" / version).mkdir(parents=True)
    assert versions("datasets", "demos", tmp_path) == ["d-0002", "d-9999", "d-10000"]
    assert write(tmp_path).version == "d-10001"


def test_run_yaml_tells_where_an_artifact_comes_from(tmp_path: Path) -> None:
    source = write(tmp_path)
    result = write(tmp_path, "bc", "policies", step="bc-pretrain", inputs=[source])
    run = result.run()
    assert (run["step"], run["status"], run["seed"], run["config"]) == ("bc-pretrain", "finished", 3, CFG)
    assert run["inputs"] == [
        {"kind": "datasets", "artifact": "demos", "version": "d-0001", "fingerprint": source.fingerprint}
    ]
    assert set(run["packages"]) == {"hiltk", "torch", "lerobot", "mujoco", "numpy"}
    assert all(run["packages"].values())
    assert run["started"] <= run["finished"]
    assert run["argv"] == sys.argv
    assert run["fingerprint"] == result.fingerprint
    assert len(run["key"]) == 16


def test_work_that_began_earlier_is_said_to_have(tmp_path: Path) -> None:
    assert write(tmp_path, started="2020-01-01T00:00:00+00:00").run()["started"] == "2020-01-01T00:00:00+00:00"


def test_spec_and_notes_are_saved(tmp_path: Path) -> None:
    with create("datasets", "demos", root=tmp_path, step="record", cfg=CFG, inputs=[], seed=0) as draft:
        draft.spec = Spec(task="lift")
        draft.notes = {"rate": np.float32(0.5), "counts": {"near": np.int64(3)}, "path": Path("x"), "list": (1, 2)}
    assert (draft.artifact.path / "meta" / "hiltk_spec.yaml").is_file()
    assert draft.artifact.spec() == Spec(task="lift")
    run = draft.artifact.run()
    assert (run["rate"], run["counts"], run["path"], run["list"]) == (0.5, {"near": 3}, "x", [1, 2])


@pytest.mark.parametrize("content", [b"\x93nonsense", b"step: [train\n", b"nonsense"])
def test_a_damaged_record_is_said(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "run.yaml").write_bytes(content)
    with pytest.raises(UserError, match=r"run\.yaml is damaged") as caught:
        Artifact("policies", "mine", "p-0001", tmp_path).run()
    assert caught.value.where == str(tmp_path / "run.yaml")


def test_a_failing_step_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), create_demos(tmp_path) as draft:
        (draft.path / "half").write_text("x")
        _ = 1 / 0
    assert not versions("datasets", "demos", tmp_path)
    assert not left_over(tmp_path)


@contextmanager
def create_demos(root: Path, **options: Any) -> Iterator[Any]:
    with create("datasets", "demos", root=root, step="record", cfg=CFG, inputs=[], seed=0, **options) as draft:
        yield draft


def test_ctrl_c_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), create_demos(tmp_path):
        raise KeyboardInterrupt
    assert not left_over(tmp_path)


def test_two_writers_at_once_are_refused(tmp_path: Path) -> None:
    with create_demos(tmp_path):
        with pytest.raises(UserError, match=rf"another run is writing dataset 'demos'[\s\S]*process {os.getpid()}"):
            write(tmp_path)
        assert write(tmp_path, "other").version == "d-0001"  # another name is free
    assert write(tmp_path).version == "d-0002"


HOLD = """
import sys, time
from hiltk.artifacts.writing import create
from hiltk.config.commands import SplitConf
keep = len(sys.argv) > 2
cfg = {"name": "x", "seed": 3}
with create("datasets", "demos", root=sys.argv[1], step="record", cfg=cfg, inputs=[], seed=0, resumable=keep) as d:
    (d.path / "data.txt").write_text("begun")
    print("ready", flush=True)
    time.sleep(60)
"""


def killed_writer(root: Path, *arguments: str) -> None:
    """A process that is killed (as by kill -9) while it writes; refuses others while it lives."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(root), *arguments], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    with pytest.raises(UserError, match=f"process {process.pid}"):
        write(root)
    process.kill()
    process.wait()


def test_a_killed_writer_blocks_nobody_and_its_rest_is_cleared(tmp_path: Path) -> None:
    killed_writer(tmp_path)
    assert len(left_over(tmp_path)) == 2  # its draft, and the note of who it was
    assert not versions("datasets", "demos", tmp_path)
    assert write(tmp_path).version == "d-0001"
    assert not left_over(tmp_path)


def test_a_killed_resumable_step_goes_on_where_it_was(tmp_path: Path) -> None:
    killed_writer(tmp_path, "resumable")
    found = unfinished("datasets", "demos", tmp_path)
    assert found is not None
    with create_demos(tmp_path, resumable=True, resume=True) as draft:
        assert draft.path == found
        assert (draft.path / "data.txt").read_text() == "begun"
    assert draft.artifact.version == "d-0001"
    assert len(draft.artifact.run()["resumed_from"]) == 1
    assert unfinished("datasets", "demos", tmp_path) is None


def test_a_run_is_not_continued_under_other_settings(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), create_demos(tmp_path, resumable=True):
        raise RuntimeError
    other = {**CFG, "added": {"deep": 1}}
    options: dict[str, Any] = {"root": tmp_path, "step": "record", "inputs": [], "seed": 0, "resumable": True}
    refused = create("datasets", "demos", cfg=other, resume=True, **options)
    with pytest.raises(UserError, match=r"added.deep: None before, 1 now"), refused:
        pass
    with create("datasets", "demos", cfg=other, resume=True, may_change=("added",), **options) as draft:
        pass
    assert draft.artifact.version == "d-0001"


def test_a_setting_that_the_interrupted_run_did_not_know_had_its_default(tmp_path: Path) -> None:
    options: dict[str, Any] = {"root": tmp_path, "step": "stats", "inputs": [], "seed": 0, "resumable": True}
    with pytest.raises(RuntimeError), create("datasets", "demos", cfg={"name": "demos"}, **options):
        raise RuntimeError
    changed = create("datasets", "demos", cfg=SplitConf(name="demos", held_out=0.3), resume=True, **options)
    with pytest.raises(UserError, match=r"held_out: 0.2 before, 0.3 now"), changed:
        pass
    with create("datasets", "demos", cfg=SplitConf(name="demos"), resume=True, **options) as draft:
        pass
    assert draft.artifact.version == "d-0001"


def test_a_fresh_start_pushes_an_unfinished_run_aside(tmp_path: Path) -> None:
    for text in ("old", "older is gone"):
        with pytest.raises(RuntimeError), create_demos(tmp_path, resumable=True) as draft:
            assert not (draft.path / "data.txt").exists()
            (draft.path / "data.txt").write_text(text)
            raise RuntimeError
    with create_demos(tmp_path, resumable=True) as draft:
        assert [p.name for p in draft.path.iterdir()] == ["run.yaml"]
    assert (tmp_path / "datasets" / "demos" / ".abandoned" / "data.txt").read_text() == "older is gone"


def test_nothing_to_resume_is_said(tmp_path: Path) -> None:
    with (
        pytest.raises(UserError, match="no interrupted run of 'demos'"),
        create_demos(tmp_path, resumable=True, resume=True),
    ):
        pass


@pytest.mark.parametrize("name", ["a/b", "", ".hidden", "a b", "../up", "x@d-0001"])
def test_bad_names_are_config_errors(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="cannot be the name"):
        write(tmp_path, name)


# ---------------------------------------------------------------- places that cannot be written


def test_root_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="output folder cannot be written"):
        write(tmp_path / "file")


@pytest.fixture
def nobody() -> Iterator[None]:
    """Tests as the superuser may write anywhere; this makes them an ordinary user for a while."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_root_is_read_only(tmp_path: Path, nobody: None) -> None:
    folder = Path("/proc/self")  # nobody can make folders there, whoever they are
    with pytest.raises(UserError, match="output folder cannot be written"):
        write(folder / "outputs")
    with pytest.raises(UserError, match="output folder cannot be written: Permission denied"):
        write(Path("/usr/share/hiltk-outputs"))


def test_disk_full_is_said_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="the disk is full"), create_demos(tmp_path):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert not left_over(tmp_path)


def test_disk_full_is_recognised_behind_a_library_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """torch, pyarrow and ffmpeg wrap a failed write in errors of their own; the disk itself tells."""
    import shutil

    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 10**9, 0))  # type: ignore[attr-defined]
    with pytest.raises(UserError, match="the disk is full"), create_demos(tmp_path):
        raise RuntimeError("unexpected pos 64 vs 0")


def test_errors_about_other_files_are_not_blamed_on_the_output(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), create_demos(tmp_path / "root"):
        (tmp_path / "elsewhere" / "input").read_text()
    with pytest.raises(FileNotFoundError), create_demos(tmp_path / "root") as draft:
        (draft.path / "never written").read_text()  # a bug of the step
