"""`hiltk` commands of a checkout, run in a folder by the checkout's own environment."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parents[2]
Words = Sequence[str]

# One process for a list of commands: importing everything takes longer than any of them. ``main`` is the console
# script's entry point, and the name of the program is what it is for a user, not where it lies on this machine.
_DRIVER = """
import json, sys
from hiltk.cli import main
for words in json.loads(sys.argv[1]):
    sys.argv = ["hiltk", *words]
    try:
        main()
    except SystemExit as end:
        if end.code:
            raise
"""


def run(commands: Sequence[Words], folder: Path, checkout: Path = HERE) -> None:
    """Run commands one after the other in ``folder``.

    Raises:
        subprocess.CalledProcessError: one of them failed.
    """
    with _started(commands, folder, checkout) as process:
        if process.wait():
            raise subprocess.CalledProcessError(process.returncode, ["hiltk", *map(" ".join, commands)])


def run_and_kill(words: Words, folder: Path, when: Callable[[], bool], checkout: Path = HERE) -> None:
    """Run a command and kill it with SIGKILL as soon as ``when()`` is true.

    Raises:
        RuntimeError: it ended by itself before.
    """
    with _started([words], folder, checkout) as process:
        while process.poll() is None and not when():
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        if process.wait() != -signal.SIGKILL:
            raise RuntimeError(f"hiltk {' '.join(words)} ended before it was to be killed")


def lines(file: Path) -> int:
    """Lines of a file so far; none where it does not exist yet."""
    with contextlib.suppress(FileNotFoundError):
        return file.read_text().count("\n")
    return 0


def _started(commands: Sequence[Words], folder: Path, checkout: Path) -> subprocess.Popen[bytes]:
    python = checkout / ".venv" / "bin" / "python"
    environment = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(folder)}
    return subprocess.Popen(
        [str(python if python.is_file() else sys.executable), "-c", _DRIVER, json.dumps([list(c) for c in commands])],
        cwd=folder,
        env={**os.environ, **environment},
    )
