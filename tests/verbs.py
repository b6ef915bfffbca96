"""Which verb a typed command means."""

from __future__ import annotations

from hiltk.verbs import STEPS, Verb


def verb_of(words: list[str]) -> tuple[Verb, list[str]] | None:
    """The verb that ``hiltk a b ...`` starts with, one word or two, and the words behind it."""
    for count in (2, 1):
        if verb := STEPS.get(" ".join(words[1 : 1 + count])):
            return verb, words[1 + count :]
    return None
