"""Questions about a dataset made elsewhere: a guess with its evidence, and how it is settled.

A `Decider` joins guesses with what the user states: a statement always wins, a contradiction becomes a warning, and
what stays open must be asked.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from hiltk.config.commands import AdoptedConf
from hiltk.errors import ConfigError, UserError

SURE, LIKELY, OPEN, OPTIONAL = "sure", "likely", "open", "optional"
DOUBT = "doubtful"


@dataclass(frozen=True)
class Guess:
    """An answer to one question about a dataset.

    Attributes:
        key: the setting that states it, e.g. ``foreign.joint_unit``.
        value: the answer; None where there is not even a guess.
        evidence: what in the data says so.
        confidence: `SURE` | `LIKELY` | `OPEN` (must be stated) | `DOUBT` (the data contradict what would be taken
            otherwise: must be stated even where nothing is inferred) | `OPTIONAL` (unknown, but nothing needs it yet).
        options: what may be stated, where that can be listed.
    """

    key: str
    value: Any
    evidence: str
    confidence: str
    options: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Decision:
    """A question settled: by statement, by evidence, or not (``how == OPEN``)."""

    key: str
    value: Any
    how: str
    evidence: str


Ask = Callable[[Guess], Any]
# What is typed where there is nothing to choose from.
KINDS = {
    "foreign.state": "COLUMN[0:6]",
    "foreign.joints": "[NAME,...]",
    "foreign.success_column": "COLUMN|none",
    "foreign.calibration_path": "FILE",
    "foreign.action_scale_m": "METRES",
    "foreign.gripper_step": "PERCENT",
}


@dataclass
class Decider:
    """Joins guesses with what the user states.

    Attributes:
        conf: what was stated; empty or None means nothing.
        ask: asks a person; None where nobody is there.
        inferred: settings that the data may settle; None: all. Any other stays as it is stated, empty or not.
        made: every decision so far.
        warnings: statements that the data contradict.
        questions: guesses that nobody settled.
    """

    conf: AdoptedConf
    ask: Ask | None = None
    inferred: tuple[str, ...] | None = None
    made: list[Decision] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    questions: list[Guess] = field(default_factory=list)

    def decide(self, guess: Guess) -> Any:
        """The value to go on with; an open question goes on with its guess, so that later ones are found, too."""
        stated = getattr(self.conf, guess.key.removeprefix("foreign."))
        if stated not in ("", None) and stated != []:
            return self._stated(guess, stated)
        doubtful = guess.confidence == DOUBT
        if self.inferred is not None and not doubtful and (guess.key not in self.inferred or guess.confidence == OPEN):
            return self._note(guess, stated, "not stated")
        if guess.confidence not in (OPEN, DOUBT):
            return self._note(guess, guess.value, guess.confidence)
        if self.ask is None:
            self.questions.append(guess)
            return self._note(guess, guess.value, guess.confidence)
        return self._note(guess, self.ask(guess), "asked")

    def _stated(self, guess: Guess, stated: Any) -> Any:
        if guess.options and stated not in guess.options:
            known = ", ".join(map(str, guess.options))
            raise ConfigError(f"unknown choice '{stated}'", where=guess.key, fix=f"one of: {known}")
        if guess.confidence in (SURE, LIKELY, DOUBT) and guess.value is not None and stated != guess.value:
            self.warnings.append(
                f"{guess.key}={setting(stated)} is stated, but the data say {setting(guess.value)}: {guess.evidence}"
            )
        return self._note(guess, stated, "stated")

    def _note(self, guess: Guess, value: Any, how: str) -> Any:
        self.made.append(Decision(guess.key, value, how, guess.evidence))
        return value

    def require_settled(self, where: str) -> None:
        """Refuse to go on with a question open.

        Raises:
            UserError: naming every setting to state.
        """
        if self.questions:
            listing = "\n".join(f"    {_to_type(q)}  ({q.evidence})" for q in self.questions)
            doubtful = any(q.confidence == DOUBT for q in self.questions)
            why = "contradict what is usual" if doubtful else "do not determine everything"
            raise UserError(
                f"the data {why}; state how they were recorded:\n{listing}",
                where=where,
                fix="add them to the command, e.g. " + " ".join(_example(q) for q in self.questions),
            )


def setting(value: Any) -> str:
    """A value as it is typed on the command line."""
    if isinstance(value, list):
        return "[" + ",".join(map(str, value)) + "]"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _to_type(guess: Guess) -> str:
    return f"{guess.key}={'|'.join(map(str, guess.options)) or KINDS[guess.key]}"


def _example(guess: Guess) -> str:
    return _to_type(guess) if guess.value is None else f"{guess.key}={setting(guess.value)}"
