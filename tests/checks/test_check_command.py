"""`hiltk check` through the real command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from hiltk import cli
from hiltk.checks.catalogue import IDS
from hiltk.checks.rule import RULES
from hiltk.data.episode import Episode


def check(*words: object) -> Result:
    return CliRunner().invoke(cli.app, ["check", *map(str, words)], terminal_width=200)


@pytest.fixture
def broken(dataset_dir: Callable[..., Path], make_episode: Callable[..., Episode]) -> Path:
    episode = make_episode(length=20)
    episode.actions[:] = 0
    return dataset_dir("broken", episodes=[episode])


def test_a_sound_dataset(shared_dataset: Path) -> None:
    result = check(shared_dataset)
    assert result.exit_code == 0, result.output
    assert f"{shared_dataset}  passes" in result.output.replace("\n", "") and "0 errors, 0 warnings" in result.output


def test_a_broken_one(broken: Path) -> None:
    result = check(broken)
    assert result.exit_code == 1
    assert "error ACT001" in result.output and "fix:   hiltk fix-actions" in result.output
    assert check(broken, "--ignore", "ACT001,GRP").exit_code == 0
    assert check(broken, "--select", "KIN").exit_code == 0
    assert check(broken, "--step", "train-classifier").exit_code == 0


def test_for_machines(broken: Path) -> None:
    data = json.loads(check(broken, "--json").stdout)
    assert data["errors"] >= 1 and data["findings"][0]["code"] == "ACT001"
    assert data["findings"][0]["artifact"] == str(broken)


def test_the_map() -> None:
    text = check("--list").output
    assert all(code in text for code in RULES)
    words = set(text.replace(",", " ").split())
    assert [id_ for id_ in IDS if id_ not in words] == []
    assert "by construction" in text and "guards" in text
    assert set(json.loads(check("--list", "--json").stdout)["catalogue"]) == set(IDS)


def test_explanations() -> None:
    text = check("--explain", "KIN001").output
    assert text.startswith("KIN001  error") and "Symptom:" in text and "Source:" in text
    result = check("--explain", "KIN1")
    assert result.exit_code == 2 and "did you mean 'KIN0" in result.output


@pytest.mark.parametrize(
    ("words", "message", "code"),
    [
        ((), "nothing is named", 2),
        (("nothing",), "there is no artifact 'nothing'", 1),
        (("demos", "select=ACT"), "'select=ACT' is not a setting", 2),
        (("demos", "--root", "x"), "--root is now root=", 2),
        (("demos", "--step", "trian"), "there is no artifact", 1),
    ],
)
def test_mistakes(words: tuple[str, ...], message: str, code: int, tmp_path: Path) -> None:
    result = check(*words, f"root={tmp_path}")
    assert result.exit_code == code and message in result.output
