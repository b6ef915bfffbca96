"""Every version of every file that was ever written can be read, and a newer one says what to do.

``samples/`` holds one of each, as the hiltk of its time wrote it: files are added, never changed.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from hiltk import formats, spec
from hiltk.agents.make import load_policy
from hiltk.agents.policy import Policy
from hiltk.artifacts.store import Artifact
from hiltk.errors import UserError
from hiltk.formats import ARM, CHECKPOINT, CLASSIFIER, POLICY, RUN, SPEC, STATISTICS, Format
from hiltk.learning import checkpoint
from hiltk.rewards.classifier import SuccessClassifier
from hiltk.rewards.training_images import Statistics
from hiltk.robots.arm_store import load_arm_file
from hiltk.spec import STATE_KEY, Spec

SAMPLES = Path(__file__).parent / "samples"

# By format: its sample of version N, the file in it that holds the version, what reads it.
FILES: dict[str, tuple[Format, str, str, Callable[[Path], Any]]] = {
    "spec": (SPEC, "spec-{}", "hiltk_spec.yaml", lambda folder: Spec.load(folder / "hiltk_spec.yaml")),
    "run": (RUN, "run-{}", "run.yaml", lambda folder: Artifact("policies", "lift", "", folder).run()),
    "policy": (POLICY, "policy-{}", "policy.yaml", load_policy),
    "classifier": (CLASSIFIER, "classifier-{}", "classifier.yaml", SuccessClassifier.load),
    "statistics": (STATISTICS, "statistics-{}", "drift.json", Statistics.load),
    "checkpoint": (CHECKPOINT, "checkpoint-{}", "checkpoint.pt", checkpoint.load),
    "arm": (ARM, "arm-{}", "desk.yaml", lambda folder: load_arm_file(str(folder / "desk.yaml"))),
}
EVERY = [
    (name, version) for name, (format, *_) in FILES.items() for version in range(format.oldest, format.version + 1)
]


def test_no_format_is_forgotten() -> None:
    known = [f for f in vars(formats).values() if isinstance(f, Format)]
    assert {id(f) for f in known} == {id(f) for f, *_ in FILES.values()}
    for format in known:
        assert len(format.migrations) == format.version - format.oldest, format.name


@pytest.mark.parametrize(("name", "version"), EVERY)
def test_every_version_still_loads(name: str, version: int) -> None:
    _, sample, _, load = FILES[name]
    check = {"spec": is_spec, "run": is_run, "policy": acts, "classifier": judges, "checkpoint": goes_on}
    check.get(name, lambda loaded: loaded is not None or pytest.fail())(load(SAMPLES / sample.format(version)))


def is_spec(loaded: Spec) -> None:
    assert (loaded.task, loaded.fps, len(loaded.state.dims), loaded.image_keys) == (
        "lift", 10.0, 18, ["observation.images.wrist"],
    )  # fmt: skip


def is_run(loaded: dict[str, Any]) -> None:
    assert (loaded["step"], loaded["config"]["agent"]["hidden"], loaded["packages"]["hiltk"]) == ("train", [4], "0.1.0")


def acts(loaded: Policy) -> None:
    zeros = {STATE_KEY: torch.zeros(18).numpy(), "observation.images.wrist": torch.zeros(8, 8, 3).byte().numpy()}
    assert loaded.act(zeros).shape == (4,)


def judges(loaded: SuccessClassifier) -> None:
    assert 0 <= loaded.probability({"observation.images.wrist": torch.zeros(8, 8, 3).byte().numpy()}) <= 1


def goes_on(loaded: dict[str, Any]) -> None:
    assert loaded["episode"] == 1 and {"agent", "online", "schedule", "sampler_rng"} <= set(loaded)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("needs", [{"needs": "9.0.0"}, {}])
def test_a_newer_one_says_upgrade_whatever_else_is_in_it(name: str, needs: dict[str, str], tmp_path: Path) -> None:
    format, sample, file, load = FILES[name]
    folder = Path(shutil.copytree(SAMPLES / sample.format(format.version), tmp_path / "newer"))
    newer = {format.key: format.version + 1, **needs, "never_heard_of": {"a": 1}}
    if file.endswith(".pt"):
        torch.save(newer, folder / file)
    else:
        (folder / file).write_text(json.dumps(newer))  # which is YAML, too
    with pytest.raises(UserError) as caught:
        load(folder)
    assert ("made by hiltk >= 9.0.0" if needs else "made by a newer hiltk") in caught.value.what
    assert caught.value.fix == "upgrade hiltk" and file in caught.value.where


def test_a_spec_goes_through_a_migration_and_says_who_reads_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As the next version of the spec might be: the rate under another name."""
    old = yaml.safe_load((SAMPLES / "spec-1" / "hiltk_spec.yaml").read_text())
    old["rate"] = old.pop("fps")
    (tmp_path / "old.yaml").write_text(yaml.safe_dump(old))
    second = replace(SPEC, since=("0.1.0", "0.2.0"), migrations=(lambda was: {"fps": was.pop("rate"), **was},))
    with pytest.raises(UserError, match="rate"):
        Spec.load(tmp_path / "old.yaml")
    monkeypatch.setattr(spec, "SPEC", second)
    monkeypatch.setattr(spec, "_read_before", {})
    loaded = Spec.load(tmp_path / "old.yaml")
    assert loaded.fps == 10.0
    loaded.save(tmp_path / "new.yaml")
    assert yaml.safe_load((tmp_path / "new.yaml").read_text())["needs"] == "0.2.0"
    assert Spec.load(tmp_path / "new.yaml") == loaded
    monkeypatch.undo()
    with pytest.raises(UserError, match=r"made by hiltk >= 0\.2\.0"):
        Spec.load(tmp_path / "new.yaml")
