"""Every command's settings: whose they are, and which of them name artifacts or files."""

from __future__ import annotations

from hiltk.artifacts.store import KINDS
from hiltk.config.commands import COMMANDS
from hiltk.config.groups import SCHEMAS
from hiltk.config.setting import declared
from hiltk.configuring.files import groups, option
from hiltk.verbs import STEPS

# By hand, from the code of each command: what it hands to `resolve`.
NAMES_ARTIFACTS = {
    "record": {"reward.classifier": "classifiers"},
    "adopt": {"dataset": "datasets"},
    "fix-actions": {"dataset": "datasets"},
    "label": {"dataset": "datasets"},
    "merge": {"datasets": "datasets"},
    "split": {"dataset": "datasets"},
    "drop-episodes": {"dataset": "datasets"},
    "stats": {"dataset": "datasets"},
    "inspect": {"dataset": "datasets"},
    "train-classifier": {"datasets": "datasets", "add": "datasets", "unseen": "datasets"},
    "preview": {"classifier": "classifiers", "dataset": "datasets", "policy": "policies"},
    "bc-pretrain": {"datasets": "datasets", "init": "policies"},
    "train": {"demos": "datasets", "init": "policies", "reward.classifier": "classifiers"},
    "eval": {"policies": "policies", "classifier": "classifiers"},
    "diagnose encoder": {"policies": "policies", "dataset": "datasets", "sets": "datasets"},
    "diagnose buffer": {"policy": "policies", "demos": "datasets"},
    "diagnose run": {"policy": "policies"},
    "diagnose policy": {"policies": "policies", "sets": "datasets"},
    "diagnose critic": {"policies": "policies"},
    "export-policy": {"policy": "policies"},
    "export-replay": {"policy": "policies"},
    "report": {"artifacts": ""},
}
# By hand, from the code: what is opened as a file or folder.
NAMES_FILES = {"arm", "model_path", "calibration_path", "file", "weights"}


def test_every_key_that_names_artifacts_is_known_as_one() -> None:
    found = {
        name: {s.key: s.reference.kind for s in declared(schema) if s.reference} for name, schema in COMMANDS.items()
    }
    assert found == NAMES_ARTIFACTS
    assert {kind for keys in found.values() for kind in keys.values()} <= {"", *KINDS}


def test_every_key_that_names_a_file_is_known_as_one() -> None:
    files = {s.key for schema in COMMANDS.values() for s in declared(schema) if s.file}
    assert {key.rpartition(".")[2] for key in files} == NAMES_FILES
    assert {"env.model_path", "foreign.calibration_path", "file", "encoder.weights"} <= files
    assert "weights" not in files  # of train-classifier: how often frames are drawn


def test_what_is_compared_with_a_sibling_has_it() -> None:
    for schema in COMMANDS.values():
        keys = {s.key for s in declared(schema)}
        assert {s.reference.unless for s in declared(schema) if s.reference and s.reference.unless} <= keys


def test_every_command_and_every_option_has_a_schema() -> None:
    assert set(COMMANDS) == set(STEPS)
    assert set(SCHEMAS) == set(groups())
    for group, names in groups().items():
        assert {option(group, name)[0] for name in names} == set(SCHEMAS[group])
