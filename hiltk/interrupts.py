"""Signals that ask a process to end. All of them arrive as Ctrl-C does, and none cuts a file in half.

Every command runs inside `Interrupts`: whatever puts its files in order after Ctrl-C does so, too, when systemd, SLURM,
``timeout`` or ``docker stop`` ask it to end (SIGTERM), or when its terminal goes away (SIGHUP). What must survive
kill -9, of which no process hears, has to be on disk before.
"""

from __future__ import annotations

import os
import select
import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self

# Windows has no SIGHUP.
ENDING = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


class Terminated(KeyboardInterrupt):
    """Another signal than Ctrl-C's asked the process to end."""

    def __init__(self, number: int) -> None:
        self.number = number
        super().__init__(signal.Signals(number).name)


def interrupt(number: int) -> KeyboardInterrupt:
    """The exception as which a signal arrives."""
    return KeyboardInterrupt() if number == signal.SIGINT else Terminated(number)


def exit_code(error: KeyboardInterrupt) -> int:
    """What a process ends with, as shells count it: 130 after Ctrl-C, 143 after SIGTERM, 129 after SIGHUP."""
    return 128 + (error.number if isinstance(error, Terminated) else signal.SIGINT)


class Interrupts:
    """Within this context signals that end a process are exceptions, and can be held back: they then arrive when they
    are released, or when the context ends.

    What a parent had this process ignore (``nohup``, a shell's ``&``) stays ignored. Signals belong to the main thread;
    elsewhere this does nothing.
    """

    def __init__(self) -> None:
        self._held, self._received = False, 0
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in ENDING:
                if signal.getsignal(number) not in (signal.SIG_IGN, None):  # None: not set from Python
                    self._previous[number] = signal.signal(number, self._handle)
        return self

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if not self._held:
            leave_dead_streams()
            raise interrupt(number)
        self._received = number

    def hold(self) -> None:
        """From here on, wait."""
        self._held = True

    def release(self) -> None:
        """Deliver what came meanwhile, and wait no longer."""
        self._held = False
        if self._received:
            number, self._received = self._received, 0
            leave_dead_streams()
            raise interrupt(number)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        if kind is None:
            self.release()


def leave_dead_streams() -> None:
    """Print into nothing from now on, where stdout or stderr go to a terminal that is gone or a pipe nobody reads.

    The signal that ends us has often ended ``tee`` or the terminal, too; an error while printing must not come between
    us and files that are to be put in order.
    """
    if not hasattr(select, "poll"):
        return
    poll = select.poll()
    for stream in (1, 2):
        poll.register(stream, 0)  # errors are told of in any case
    dead = select.POLLERR | select.POLLHUP  # not POLLNVAL: macOS says that of every terminal
    for stream in [stream for stream, found in poll.poll(0) if found & dead]:
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, stream)
        os.close(nothing)
