"""Real SIGINTs, held back and delivered."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from hiltk.steps.interrupts import Interrupts


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
