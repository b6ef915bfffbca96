"""The errors a user sees: one message that says what is wrong, where, and how to fix it."""

from collections.abc import Iterable, Sequence


class HiltkError(Exception):
    """An error whose text is meant for the user; the command line prints it without a stack trace.

    Args:
        what: what is wrong, in one sentence.
        where: the file, episode, key or value concerned.
        fix: what to type or change to fix it.
    """

    exit_code = 1

    def __init__(self, what: str, *, where: str = "", fix: str = "") -> None:
        self.what, self.where, self.fix = what, where, fix
        lines = [what]
        if where:
            lines.append(f"  where: {where}")
        if fix:
            lines.append(f"  fix:   {fix}")
        super().__init__("\n".join(lines))


class UserError(HiltkError):
    """Bad input: a dataset, checkpoint, name or device that cannot be used (exit code 1)."""


class ConfigError(HiltkError):
    """A config mistake: an unknown key, a value out of range, options that contradict (exit code 2)."""

    exit_code = 2


def nearest(word: str, options: Iterable[str]) -> str:
    """The hint that names the option closest to ``word``; empty when none is close."""
    import difflib

    near = difflib.get_close_matches(word, list(options), n=1, cutoff=0.5)
    return f"did you mean '{near[0]}'?" if near else ""


def listed(items: Sequence[object], most: int) -> str:
    """``a, b and 3 more``: the first ``most`` of them."""
    more = f" and {len(items) - most} more" if len(items) > most else ""
    return ", ".join(map(str, items[:most])) + more
