"""Artifacts are found by any reference; what is not there is answered with the nearest."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from hiltk.artifacts.store import names, resolve
from hiltk.errors import ConfigError, UserError
from tests.artifacts.test_writing import create_demos, write


def test_missing_names_are_answered_with_the_nearest(tmp_path: Path) -> None:
    write(tmp_path, "cube-demos")
    write(tmp_path, "lift", "policies")
    with pytest.raises(UserError, match=r"there is no dataset 'cube-demo'[\s\S]*did you mean 'cube-demos'"):
        resolve("cube-demo", "datasets", tmp_path)
    with pytest.raises(UserError, match=r"there is no dataset 'lift'[\s\S]*'lift' is a policy"):
        resolve("lift", "datasets", tmp_path)
    with pytest.raises(UserError, match=r"has no version 'd-0002'[\s\S]*it has d-0001"):
        resolve("cube-demos@d-0002", "datasets", tmp_path)
    with pytest.raises(UserError, match=r"there is no classifier 'cube'[\s\S]*make a classifier first"):
        resolve("cube", "classifiers", tmp_path)
    with pytest.raises(ConfigError, match="name of a policy is missing"):
        resolve("", "policies", tmp_path)


def test_names_without_a_finished_version_do_not_exist(tmp_path: Path) -> None:
    with create_demos(tmp_path):
        assert names("datasets", tmp_path) == []
        with pytest.raises(UserError, match="there is no dataset 'demos'"):
            resolve("demos", "datasets", tmp_path)


def test_any_kind_is_found_where_it_is_clear(tmp_path: Path) -> None:
    policy = write(tmp_path, "lift", "policies")
    assert resolve("lift", "", tmp_path) == policy
    evaluation = write(tmp_path, "lift", "evaluations")
    assert resolve("lift@e-0001", "", tmp_path) == evaluation
    with pytest.raises(UserError, match=r"could be a policy or an evaluation[\s\S]*lift@p-0001 or lift@e-0001"):
        resolve("lift", "", tmp_path)
    with pytest.raises(UserError, match="did you mean 'lift'"):
        resolve("lifft", "", tmp_path)


def test_a_path_is_an_artifact(tmp_path: Path) -> None:
    inside = write(tmp_path)
    assert resolve(str(inside.path), "datasets", tmp_path).ref == "demos@d-0001"
    assert resolve(str(inside.path), "datasets", tmp_path / "other").ref == str(inside.path)
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "file").write_text("x")
    foreign = resolve(str(tmp_path / "foreign"), "datasets", tmp_path)
    assert foreign.ref == str(tmp_path / "foreign")
    assert foreign.run() == {}
    assert len(foreign.fingerprint) == 16
    with pytest.raises(UserError, match=r"no such folder[\s\S]*did you mean 'foreign'"):
        resolve(str(tmp_path / "forein"), "datasets", tmp_path)


def test_tampering_is_noticed(tmp_path: Path) -> None:
    artifact = write(tmp_path)
    assert artifact.is_intact()
    time.sleep(0.01)
    (artifact.path / "data.txt").write_text("Data")
    assert not artifact.is_intact()


def test_spec_files_are_written_in_one_place() -> None:
    """Where they lie is the store's, who writes one is `hiltk.artifacts.writing`."""
    import hiltk

    root = Path(hiltk.__file__).parent
    wrong = [
        f"{file.relative_to(root)}:{number}"
        for file in root.rglob("*.py")
        for number, line in enumerate(file.read_text().splitlines(), 1)
        if ("hiltk_spec.yaml" in line and file != root / "artifacts" / "store.py")
        or ("spec.save(" in line and file != root / "artifacts" / "writing.py")
    ]
    assert wrong == []
