"""The key of a run: equal when the run must give the same, different when it may not."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from hiltk.artifacts import provenance
from hiltk.artifacts.provenance import duration_s, plain_config, references, step_key
from hiltk.artifacts.store import Artifact
from hiltk.artifacts.writing import create
from hiltk.config.commands import (
    COMMANDS,
    BcConf,
    ClassifierConf,
    DiagnoseEncoderConf,
    DiagnosePolicyConf,
    PreviewConf,
    RecordConf,
    ReportConf,
    TrainConf,
)
from hiltk.config.groups import GymnasiumConf, SacConf, So101Conf, So101SimConf
from hiltk.config.setting import declared
from hiltk.errors import UserError


def dataset(root: Path, name: str, text: str) -> Artifact:
    return store(root, "datasets", name, text)


def store(root: Path, kind: str, name: str, text: str) -> Artifact:
    with create(kind, name, root=root, step="record", cfg={}, inputs=[], seed=0) as draft:
        (draft.path / "data").write_text(text)
    return draft.artifact


def changed(cfg: Any, **values: Any) -> Any:
    other = copy.deepcopy(cfg)
    for key, value in values.items():
        node = other
        *parents, last = key.split("__")
        for parent in parents:
            node = getattr(node, parent)
        setattr(node, last, value)
    return other


@pytest.fixture
def cfg(tmp_path: Path) -> BcConf:
    dataset(tmp_path, "demos", "one")
    return BcConf(name="bc", root=str(tmp_path), datasets=["demos"], agent=SacConf())


def test_what_does_not_count_is_said_where_a_setting_is_declared() -> None:
    """By name, so that no command may mean something else by it."""
    assert {"root", "name", "threads", "device", "resume", "checks"} == provenance.VOLATILE
    declared_as = {(one.key, one.volatile) for conf in COMMANDS.values() for one in declared(conf)}
    assert {key for key, volatile in declared_as if not volatile}.isdisjoint(provenance.VOLATILE)


def test_where_and_how_fast_does_not_count(cfg: BcConf, tmp_path: Path) -> None:
    key = step_key("bc-pretrain", cfg, tmp_path)
    for values in ({"name": "other"}, {"threads": 2}, {"device": "cpu"}, {"root": "elsewhere"}):
        assert step_key("bc-pretrain", changed(cfg, **values), tmp_path) == key
    assert step_key("bc_pretrain", cfg, tmp_path) == key


@pytest.mark.parametrize("values", [{"seed": 1}, {"steps": 7}, {"agent__lr": 1.0}, {"encoder__channels": [1]}])
def test_settings_count(cfg: BcConf, tmp_path: Path, values: dict[str, Any]) -> None:
    assert step_key("bc-pretrain", changed(cfg, **values), tmp_path) != step_key("bc-pretrain", cfg, tmp_path)


def test_inputs_count_by_content_not_by_name(cfg: BcConf, tmp_path: Path) -> None:
    key = step_key("bc-pretrain", cfg, tmp_path)
    dataset(tmp_path, "demos", "one")  # the same again: d-0002
    assert step_key("bc-pretrain", cfg, tmp_path) == key
    assert step_key("bc-pretrain", changed(cfg, datasets=["demos@d-0001"]), tmp_path) == key
    dataset(tmp_path, "copy", "one")
    assert step_key("bc-pretrain", changed(cfg, datasets=["copy"]), tmp_path) == key
    dataset(tmp_path, "demos", "two")
    assert step_key("bc-pretrain", cfg, tmp_path) != key


def test_code_counts(cfg: BcConf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = step_key("bc-pretrain", cfg, tmp_path)
    monkeypatch.setattr(provenance, "code_fingerprint", lambda module: f"other {module}")
    assert step_key("bc-pretrain", cfg, tmp_path) != key


def test_a_model_file_counts_by_content(tmp_path: Path) -> None:
    (tmp_path / "arm.xml").write_text("one")
    cfg = RecordConf(name="x", env=So101SimConf(model_path=str(tmp_path / "arm.xml")))
    key = step_key("record", cfg, tmp_path)
    (tmp_path / "arm.xml").write_text("two")
    assert step_key("record", cfg, tmp_path) != key


def test_a_missing_input_is_said(cfg: BcConf, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"there is no dataset 'dems'[\s\S]*'demos'"):
        step_key("bc-pretrain", changed(cfg, datasets=["dems"]), tmp_path)


def test_references_are_all_that_are_set() -> None:
    cfg = TrainConf(name="x", env=So101SimConf(), agent=SacConf(), demos=["a", "b"])
    cfg.reward.classifier = "cube"
    found = [(key, what.kind, names) for key, what, names in references("train", plain_config(cfg))]
    assert found == [("reward.classifier", "classifiers", ["cube"]), ("demos", "datasets", ["a", "b"])]


@pytest.mark.parametrize(
    ("step", "cfg"),
    [
        ("train-classifier", ClassifierConf(name="x", datasets=[], add=["thing"])),
        ("train-classifier", ClassifierConf(name="x", datasets=[], unseen=["thing"])),
        ("preview", PreviewConf(name="x", classifier="thing", env=So101SimConf())),
        ("diagnose encoder", DiagnoseEncoderConf(name="x", env=So101SimConf(), sets=["thing", "thing:0-9"])),
        ("diagnose policy", DiagnosePolicyConf(name="x", policies=[], env=So101SimConf(), sets=["thing:near"])),
        ("report", ReportConf(name="x", artifacts=["datasets/thing"])),
    ],
)
def test_every_kind_of_input_counts_by_content(step: str, cfg: Any, tmp_path: Path) -> None:
    for text in ("one", "two", "two"):
        dataset(tmp_path, "thing", text)
        store(tmp_path, "classifiers", "thing", text)
    first, second, third = (
        step_key(step, pinned(cfg, number), tmp_path) for number in range(1, 4)
    )  # other names, and the last two the same content
    assert first != second == third
    assert second == step_key(step, cfg, tmp_path)


def pinned(cfg: Any, number: int) -> Any:
    """The config with version ``number`` of ``thing`` wherever it is named."""
    other = copy.deepcopy(cfg)
    for key in ("add", "unseen", "sets", "artifacts", "classifier"):
        letter = "c" if key == "classifier" else "d"
        value = getattr(cfg, key, "")
        named = [v.replace("thing", f"thing@{letter}-{number:04}") for v in ([value] if key == "classifier" else value)]
        if value:
            setattr(other, key, named[0] if key == "classifier" else named)
    return other


def test_other_episodes_of_a_dataset_are_another_input(tmp_path: Path) -> None:
    dataset(tmp_path, "thing", "one")
    cfg = DiagnosePolicyConf(name="x", policies=[], env=So101SimConf(), sets=["thing:0-9"])
    key = step_key("diagnose policy", cfg, tmp_path)
    assert step_key("diagnose policy", changed(cfg, sets=["thing:10-19"]), tmp_path) != key
    assert step_key("diagnose policy", changed(cfg, sets=["thing@d-0001:0-9"]), tmp_path) == key


def test_a_folder_of_images_counts_by_content_and_strata_are_no_datasets(tmp_path: Path) -> None:
    for name in ("front", "back"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "0.png").write_text(name)
    folders = [str(tmp_path / "front"), str(tmp_path / "back")]
    cfg = DiagnoseEncoderConf(name="x", env=So101SimConf(), sets=folders)
    key = step_key("diagnose encoder", cfg, tmp_path)
    (tmp_path / "back" / "0.png").write_text("another")
    assert step_key("diagnose encoder", cfg, tmp_path) != key
    step_key("diagnose encoder", changed(cfg, sets=["near", "far"], positions="sim"), tmp_path)
    with pytest.raises(UserError, match="there is no dataset 'near'"):
        step_key("diagnose encoder", changed(cfg, sets=["near", "far"]), tmp_path)


def test_pretrained_weights_on_this_machine_count_by_content(cfg: BcConf, tmp_path: Path) -> None:
    folder = tmp_path / "resnet10"
    folder.mkdir()
    (folder / "model.safetensors").write_text("one")
    cfg.encoder.weights = str(folder)
    key = step_key("bc-pretrain", cfg, tmp_path)
    (folder / "model.safetensors").write_text("two")
    assert step_key("bc-pretrain", cfg, tmp_path) != key


def test_a_snapshot_made_elsewhere_counts_by_content(cfg: BcConf, tmp_path: Path) -> None:
    snapshot = tmp_path / "best_snapshot.pt"
    snapshot.write_text("one")
    cfg.init = str(snapshot)
    key = step_key("bc-pretrain", cfg, tmp_path)
    snapshot.write_text("two")
    assert step_key("bc-pretrain", cfg, tmp_path) != key


def test_configs_become_plain_data() -> None:
    cfg = RecordConf(name="x", env=GymnasiumConf(id="Foo-v0", kwargs={"n": 1}))
    plain = plain_config(cfg)
    assert plain["env"]["kwargs"] == {"n": 1}
    assert plain["fault"] == "none"


def test_an_installed_wheel_inside_someones_repository_has_no_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provenance, "PACKAGE", tmp_path / "hiltk")
    assert provenance.code_version() == {}


def test_the_peak_of_this_process_is_in_mebibytes() -> None:
    before = provenance.peak_memory_mb()
    ballast = bytearray(300 * 2**20)
    ballast[:: 2**12] = b"x" * len(ballast[:: 2**12])  # touch every page
    assert 50 < before < provenance.peak_memory_mb() < 20_000
    assert provenance.peak_memory_mb() >= 300


def test_duration() -> None:
    record = {"started": "2026-01-01T10:00:00+00:00", "finished": "2026-01-01T10:02:03+00:00"}
    assert duration_s(record) == 123
    assert duration_s({"started": "2026-01-01T10:00:00+00:00"}) is None
    assert duration_s({"started": "yesterday", "finished": "today"}) is None


def test_an_arm_counts_by_what_its_file_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "arms").mkdir()
    cfg = RecordConf(name="demos", env=So101Conf(arm="desk"))
    keys = []
    for text in ("port: one", "port: two"):
        (tmp_path / "arms" / "desk.yaml").write_text(text)
        keys.append(step_key("record", cfg, tmp_path))
    assert keys[0] != keys[1]
    assert step_key("record", cfg, tmp_path) == keys[1]
