"""Lines for the user."""

from __future__ import annotations

import pytest

from hiltk.console import say


def test_brackets_in_a_name_are_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    say("an interrupted run lies in /data/[bold]/run [/x] until the next one is put there")
    assert "/data/[bold]/run [/x] until" in capsys.readouterr().out
