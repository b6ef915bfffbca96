"""Which verb a typed command means, and the README's table of them all."""

from __future__ import annotations

from hiltk.verbs import PREFIXES, STEPS, VERBS, Verb


def verb_of(words: list[str]) -> tuple[Verb, list[str]] | None:
    """The verb that ``hiltk a b ...`` starts with, one word or two, and the words behind it."""
    for count in (2, 1):
        if verb := STEPS.get(" ".join(words[1 : 1 + count])):
            return verb, words[1 + count :]
    return None


def readme_table() -> str:
    """``uv run python -m tests.verbs`` prints it, to be pasted."""
    lines, group = ["| command | what it does | writes |", "|---|---|---|"], ""
    for verb in VERBS.values():
        if verb.group != group:
            group = verb.group
            lines.append(f"| **{group}** | | |")
        prefix = verb.name.partition(" ")[0]
        if " " in verb.name and not verb.kind:  # several that write nothing: one row
            names = [name.partition(" ")[2] for name in VERBS if name.startswith(f"{prefix} ")]
            row = f"| `hiltk {prefix}` {', '.join(names)} | {PREFIXES[prefix].partition('.')[0]}. | – |"
            lines += [] if lines[-1] == row else [row]
            continue
        lines.append(
            f"| `{' '.join(['hiltk', verb.name, verb.words.upper()]).strip()}` | {verb.help} | {verb.kind or '–'} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    print(readme_table())
