"""Ctrl-C that never cuts a file in half."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self


class Interrupts:
    """Within this context Ctrl-C can be held back: it then arrives when it is released, or when the context ends.

    Signals belong to the main thread; elsewhere this does nothing.
    """

    def __init__(self) -> None:
        self._held = self._received = False
        self._previous: Any = None

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._previous = signal.signal(signal.SIGINT, self._handle)
        return self

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if not self._held:
            raise KeyboardInterrupt
        self._received = True

    def hold(self) -> None:
        """From here on, wait."""
        self._held = True

    def release(self) -> None:
        """Deliver what came meanwhile, and wait no longer."""
        self._held = False
        if self._received:
            self._received = False
            raise KeyboardInterrupt

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._previous is not None:
            signal.signal(signal.SIGINT, self._previous)
        if kind is None:
            self.release()
