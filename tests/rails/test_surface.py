"""The public surface changes only with a line in CHANGELOG.md."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from hiltk.diagnostics.causes import CAUSES
from hiltk.learning.guards import GUARDS
from tests.rails.surface import BASE, CHANGELOG, FILE, differences, surface, unnamed


@pytest.fixture(scope="module")
def written() -> dict[str, Any]:
    return json.loads(FILE.read_text())


def test_the_surface_is_what_is_written_down(written: dict[str, Any]) -> None:
    found = [f"  {': '.join(path)}: {word}" for path, word in differences(written, surface()).items()]
    assert not found, "\n".join([
        "the public surface has changed:", *found,
        "if that is meant: regenerate with `uv run python -m tests.rails.surface` AND add a line to CHANGELOG.md",
    ])  # fmt: skip


def test_the_changelog_names_what_changed_since_the_last_release(written: dict[str, Any]) -> None:
    missing = unnamed(json.loads(BASE.read_text()), written, CHANGELOG.read_text())
    assert not missing, "\n  ".join(["CHANGELOG.md, section Unreleased, does not name in `backticks`:", *missing])


def test_guards_and_causes_are_complete(written: dict[str, Any]) -> None:
    assert len([code for code in written["guards"] if not code.startswith("drift_")]) == len(GUARDS) + 1  # regression
    assert len(written["causes of diagnose run"]) == len(CAUSES)


CHANGES: list[tuple[str, tuple[str, ...], str | None, str]] = [
    # what is done to the surface: where, the new text (None: gone); and an entry that names it
    ("a key is gone everywhere", ("keys", "train", "utd"), None, "`utd` is gone"),
    ("a key is gone for one verb", ("keys", "train", "seed"), None, "`train` has no `seed=`"),
    ("a new key", ("keys", "train", "warmup"), "int", "`warmup`: how many\n  steps"),
    ("another type", ("keys", "train", "utd"), "int", "`utd` is whole"),
    ("a new verb", ("verbs", "sweep", "writes"), "reports", "`sweep`"),
    ("another argument", ("verbs", "check", "takes"), "artifacts settings", "`check` takes `root=`"),
    ("a rule is gone", ("rules", "ACT001"), None, "`ACT001`"),
    ("a milder rule", ("rules", "ACT001"), "warning", "`ACT001` warns"),
    ("another exit code", ("exit codes", "bad input"), "3", "`bad input`"),
    ("a field of run.yaml is gone", ("run.yaml", "train", "key"), None, "`key` of `train`"),
    ("a field of the spec is new", ("spec", "robot.serial"), "str", "`robot.serial`"),
]


@pytest.mark.parametrize(("path", "value", "entry"), [c[1:] for c in CHANGES], ids=[c[0] for c in CHANGES])
def test_a_change_must_be_named(written: dict[str, Any], path: tuple[str, ...], value: str | None, entry: str) -> None:
    now = copy.deepcopy(written)
    node = now
    for key in path[:-1]:
        node = node.setdefault(key, {})
    if value is None:
        del node[path[-1]]
    else:
        node[path[-1]] = value
    before = "# Changelog\n\n## Unreleased\n\n- `other`\n"
    released = f"\n## 0.1.0\n\n- {entry}\n"
    assert len(unnamed(written, now, before + released)) == 1
    assert unnamed(written, now, f"{before}- {entry}\n{released}") == []


def test_words_of_help_may_change(written: dict[str, Any]) -> None:
    now = copy.deepcopy(written)
    now["verbs"]["train"]["help"] = "Train."
    assert differences(written, now) and unnamed(written, now, "") == []


def test_two_names_must_stand_in_one_entry(written: dict[str, Any]) -> None:
    now = copy.deepcopy(written)
    del now["keys"]["train"]["seed"]
    assert unnamed(written, now, "## Unreleased\n\n- `train`\n- `seed`\n") == ["keys: train: seed: gone"]
