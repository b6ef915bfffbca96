"""Every config is what it was when ``config_job.json`` was written, but for the keys in `RENAMED_KEYS`."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import yaml

from hiltk.formats import with_new_names
from hiltk.verbs import STEPS
from tests.rails.config_job import ADDED, ADDED_TO_ENV, FILE, NEW_OPTIONS, added, composed, plain, stored, verb_of


def test_no_verb_is_missing() -> None:
    assert {verb_of(command) for command in json.loads(FILE.read_text())} == set(STEPS)


@pytest.mark.parametrize("verb", STEPS)
def test_configs_are_what_they_were(verb: str) -> None:
    now, before = composed(STEPS[verb]), stored(verb)
    assert {command for command in now if command.split()[-1] not in NEW_OPTIONS} == {*before}
    for command, config in before.items():
        of_env = ADDED_TO_ENV.get(config.get("env", {}).get("name"), {})
        assert now[command] == added(with_new_names(config), ADDED.get(verb, {}) | of_env), command


def test_the_command_line_prints_the_same() -> None:
    code = "from hiltk.cli import main; main()"
    for words in (["train"], ["train", "agent=drqv2_demos", "env=gymnasium"]):
        done = subprocess.run([sys.executable, "-c", code, *words, "--cfg", "job"], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert yaml.safe_load(done.stdout) == plain(STEPS["train"], *words[1:])


def test_only_new_keys_may_be_added() -> None:
    assert added({"a": 1}, {"b.c": 2}) == {"a": 1, "b": {"c": 2}}
    with pytest.raises(AssertionError, match="a is not new"):
        added({"a": 1}, {"a": 2})
