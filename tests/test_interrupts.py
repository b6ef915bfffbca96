"""Real signals: held back, delivered, told apart, and heard by processes whose streams are gone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from hiltk.interrupts import ENDING, Interrupts, Terminated, exit_code

pytestmark = pytest.mark.usefixtures("interruptible")


def press_ctrl_c() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def test_arrives_at_once_unless_held() -> None:
    with pytest.raises(KeyboardInterrupt), Interrupts():
        press_ctrl_c()
        pytest.fail("not interrupted")


def test_waits_while_held_and_comes_on_release() -> None:
    done = []
    with pytest.raises(KeyboardInterrupt), Interrupts() as interrupts:
        interrupts.hold()
        press_ctrl_c()
        done.append("writing")
        interrupts.release()
        done.append("too far")
    assert done == ["writing"]


def test_comes_at_the_end_if_never_released() -> None:
    done = []
    with pytest.raises(KeyboardInterrupt), Interrupts() as interrupts:
        interrupts.hold()
        press_ctrl_c()
        done.append("all of it")
    assert done == ["all of it"]


def test_the_old_handler_is_back_afterwards_and_other_errors_win() -> None:
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(ValueError, match="mine"), Interrupts() as interrupts:
        interrupts.hold()
        press_ctrl_c()
        raise ValueError("mine")
    assert signal.getsignal(signal.SIGINT) is before


def test_does_nothing_outside_the_main_thread() -> None:
    before = signal.getsignal(signal.SIGINT)
    entered = []

    def work() -> None:
        with Interrupts():
            entered.append(signal.getsignal(signal.SIGINT) is before)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert entered == [True]


@pytest.mark.parametrize("number", ENDING)
def test_every_signal_that_ends_is_one_kind_of_exception_with_its_own_code(number: int) -> None:
    with pytest.raises(KeyboardInterrupt) as caught, Interrupts() as interrupts:
        interrupts.hold()
        os.kill(os.getpid(), number)
        interrupts.release()
    assert exit_code(caught.value) == 128 + number
    assert isinstance(caught.value, Terminated) == (number != signal.SIGINT)


def test_what_the_parent_had_ignored_stays_ignored() -> None:
    """``nohup hiltk train`` outlives its terminal."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Interrupts():
            os.kill(os.getpid(), signal.SIGHUP)
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


ENDED = """
import sys, time
from pathlib import Path
import typer
from hiltk.cli import messages
try:
    with messages():
        try:
            print("ready", flush=True)
            time.sleep(60)
        finally:
            for _ in range(3):
                print("putting files in order" * 1000, flush=True)
                print("still", file=sys.stderr, flush=True)
            Path(sys.argv[1]).write_text("in order")
except typer.Exit as ended:
    sys.exit(ended.exit_code)
"""


def start(file: Path, **streams: Any) -> subprocess.Popen[bytes]:
    # Background jobs of a shell ignore Ctrl-C, and hand that on.
    def hear() -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)

    return subprocess.Popen([sys.executable, "-c", ENDED, str(file)], preexec_fn=hear, **streams)


def test_a_terminal_that_is_gone_hinders_nobody(tmp_path: Path) -> None:
    """Closing the window sends SIGHUP, and whatever is printed after that is an error."""
    ours, theirs = os.openpty()
    process = start(tmp_path / "file", stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True)
    os.close(theirs)
    assert os.read(ours, 100).startswith(b"ready")
    os.close(ours)
    process.send_signal(signal.SIGHUP)  # the kernel sends it to whoever has the terminal as its own
    assert process.wait(60) == 129
    assert (tmp_path / "file").read_text() == "in order"


def test_a_reader_that_the_same_signal_ended_hinders_nobody(tmp_path: Path) -> None:
    """Ctrl-C in ``hiltk record | tee log`` ends ``tee``, too."""
    process = start(tmp_path / "file", stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    process.stdout.close()
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    assert (tmp_path / "file").read_text() == "in order"
