"""A line for the user while a command runs."""

from __future__ import annotations

from rich.console import Console


def say(text: str) -> None:
    """Print a line as it is: square brackets in a folder's name are no markup, and long paths are not broken."""
    Console().print(text, highlight=False, markup=False, soft_wrap=True)
