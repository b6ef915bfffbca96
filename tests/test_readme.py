"""The commands in the README and in docs/: each composes, and the chain by hand can be run twice."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from hiltk.configuring.typed import compose
from hiltk.configuring.words import words_to_overrides
from hiltk.verbs import STEPS
from tests.docs import pages
from tests.verbs import readme_table, verb_of

README = (Path(__file__).parents[1] / "README.md").read_text()


def commands(*texts: str) -> list[list[str]]:
    """Every command of one verb in the blocks of shell code, split into words."""
    blocks = [block for text in texts for block in re.findall(r"```bash\n(.*?)```", text, re.DOTALL)]
    lines = [line.strip() for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    found = [shlex.split(line, comments=True) for line in lines if line.startswith("hiltk ")]
    return [words for words in found if verb_of(words)]


@pytest.mark.parametrize("words", commands(*(page.read_text() for page in pages())), ids=" ".join)
def test_every_command_composes(words: list[str]) -> None:
    found = verb_of(words)
    assert found
    compose(found[0], words_to_overrides(*found))


def test_the_table_of_commands_is_the_table_of_verbs() -> None:
    assert readme_table() in README, "`uv run python -m tests.verbs` prints the table to be pasted"


def test_what_the_report_reads_stays_unambiguous_once_it_exists() -> None:
    made: dict[str, set[str]] = {}
    for words in commands(README):
        name = next(word.removeprefix("name=") for word in words if word.startswith("name="))
        found = verb_of(words)
        assert found
        made.setdefault(name, set()).add(found[0].kind)
    reports = [words for words in commands(README) if words[1] == "report"]
    assert reports
    for word in (w for words in reports for w in words[2:] if "=" not in w):
        assert len(made[word]) == 1, word


def test_recordings_do_not_share_their_episodes() -> None:
    recorded = [words for words in commands(README) if words[1] == "record"]
    seeds = [compose(STEPS["record"], words_to_overrides(STEPS["record"], words[2:])).seed for words in recorded]
    assert len(recorded) == 3 and sorted(seeds) == [0, 1000, 2000]
