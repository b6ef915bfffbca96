"""Keys of a terminal, over SSH too: one table of what they mean, and answers to questions.

Without a terminal (a pipe, a script) nobody presses keys, and each line of the input answers one question.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import Any, ClassVar, Self

from hiltk.console import say
from hiltk.errors import UserError

# What a key means, wherever it means something.
PAUSE, STOP, GO, SUCCESS, FAILURE, UNDO = "space", "escape", "enter", "s", "f", "u"
MEANINGS = {
    PAUSE: "hold the arm still; again: go on",
    STOP: "end, save, park the arm",
    GO: "go on",
    SUCCESS: "success",
    FAILURE: "failure",
    UNDO: "take the last answer back",
}


def legend(*keys: str) -> str:
    """The keys that mean something now, in one line."""
    return "   ".join(f"[{key}] {MEANINGS[key]}" for key in keys)


class Keys:
    """The terminal's keys while the context lasts: pressed ones do not echo, and Ctrl-C stays Ctrl-C.

    There is one terminal, so several of these share it: the environment's for pausing, the evaluation's for verdicts.
    """

    _input: ClassVar[Any] = None
    _raw: ClassVar[Any] = None
    _users: ClassVar[int] = 0

    def __enter__(self) -> Self:
        if not Keys._users and sys.stdin is not None and sys.stdin.isatty():
            from prompt_toolkit.input import create_input

            Keys._input = create_input(sys.stdin)
            Keys._raw = Keys._input.raw_mode()
            Keys._raw.__enter__()
            _keep_signals()
        Keys._users += 1
        return self

    def __exit__(self, *_: object) -> None:
        Keys._users -= 1
        if not Keys._users and Keys._raw is not None:
            Keys._raw.__exit__(None, None, None)
            Keys._input = Keys._raw = None

    @property
    def live(self) -> bool:
        """Whether somebody can press keys here."""
        return self._input is not None

    def pressed(self) -> list[str]:
        """Keys pressed since last asked: ``s``, ``space``, ``enter``, ``escape``; returns at once."""
        if self._input is None:
            return []
        found = [_name(key.key, key.data) for key in self._input.read_keys()]
        # A lone escape could be the beginning of an arrow key: with nothing after it, it is itself.
        return found + [_name(key.key, key.data) for key in self._input.flush_keys()]

    def ask(self, question: str, answers: Mapping[str, str]) -> str:
        """Ask until one of the keys is pressed (or a line begins with one); returns that key.

        Args:
            answers: key to what it means, shown beside the question.

        Raises:
            UserError: there is neither a terminal nor another line of input.
        """
        say(f"{question}   " + "   ".join(f"[{key}] {meaning}" for key, meaning in answers.items()))
        while True:
            for key in self.pressed() if self.live else [_line(question, answers)]:
                if key in answers:
                    return key
            if self.live:
                time.sleep(0.02)


def _line(question: str, answers: Mapping[str, str]) -> str:
    """The next line of the input as the name of a key; an empty one is ``enter``."""
    line = sys.stdin.readline() if sys.stdin is not None else ""
    if not line:
        raise UserError(
            f"nobody is there to answer: {question}",
            where="the input is no terminal, and has ended",
            fix=f"run it in a terminal, or give it one answer a line: {', '.join(answers)}",
        )
    word = line.strip().lower()
    return word if word in answers else (word[:1] or GO)


def _name(key: Any, data: str) -> str:
    name = str(getattr(key, "value", key))
    return {"c-m": GO, "c-j": GO, " ": PAUSE, "escape": STOP}.get(name, name if len(name) > 1 else data.lower())


def _keep_signals() -> None:
    """Raw mode would hand Ctrl-C over as a key, which nobody reads while a network learns."""
    try:
        import termios
    except ImportError:  # Windows keeps them
        return
    settings = termios.tcgetattr(sys.stdin)
    settings[3] |= termios.ISIG
    termios.tcsetattr(sys.stdin, termios.TCSANOW, settings)
