"""Keys of a terminal and lines of a pipe."""

from __future__ import annotations

import io
import sys

import pexpect
import pytest

from hiltk.keys import FAILURE, GO, SUCCESS, Keys

PROGRAM = """
import time
from hiltk.keys import Keys
with Keys() as outer, Keys() as keys:
    print('READY', outer.live, flush=True)
    found = []
    while len(found) < 4:
        found += keys.pressed()
        time.sleep(0.01)
    print('FOUND', found, flush=True)
    print('ASKED', keys.ask('which?', {'s': 'success', 'enter': 'go'}), flush=True)
    print('WAITING', flush=True)
    time.sleep(60)
"""


def test_keys_of_a_terminal_do_not_echo_and_ctrl_c_stays_ctrl_c() -> None:
    child = pexpect.spawn(sys.executable, ["-c", PROGRAM], encoding="utf-8", timeout=60)
    child.expect("READY True")
    child.send("s \x1b")
    child.send("U")
    child.expect_exact("FOUND ['s', 'space', 'escape', 'u']")
    child.send("x\r")
    child.expect("ASKED enter")
    child.expect("WAITING")
    child.sendintr()
    child.expect("KeyboardInterrupt")
    child.wait()


def test_lines_of_a_pipe_answer_questions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("\nYes\nsuccess\nF\n"))
    with Keys() as keys:
        assert not keys.live and keys.pressed() == []
        assert keys.ask("go?", {GO: "go"}) == GO
        assert keys.ask("well?", {SUCCESS: "success", FAILURE: "failure"}) == SUCCESS  # yes is no answer
        assert keys.ask("well?", {SUCCESS: "success", FAILURE: "failure"}) == FAILURE
