"""A step that needs no robot: it writes a small artifact, or fails in the way its title says.

Used in-process and, by name, in worker processes, which import it afresh.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import re
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hiltk.artifacts import provenance
from hiltk.artifacts.store import Artifact, resolve
from hiltk.artifacts.writing import create
from hiltk.errors import UserError
from hiltk.orchestration import workers
from hiltk.verbs import Verb

CODE = "of fakes"  # in place of the hash of all code that a step can reach, which takes seconds
if multiprocessing.current_process().name != "MainProcess":  # in a worker
    provenance.code_fingerprint = lambda module: CODE


@dataclass(frozen=True)
class FakeVerb(Verb):
    """`hiltk report` with this module's `run`."""

    @property
    def module(self) -> str:
        return "tests.orchestration.fakes"


FAKE = FakeVerb("report", "reports", "A fake.", "artifacts")


def run(cfg: Any) -> Artifact:
    """Do what ``cfg.title`` says, to the seeds it names: ``fail:1`` fails for seed 1."""
    what, _, seed = cfg.title.partition(":")
    print(f"fake {cfg.name}: {cfg.title}", flush=True)
    own = seed_of(cfg.name)
    root = Path(cfg.root)
    if what and (not seed or int(seed) == own):
        misbehave(what, root)
    inputs = [resolve(ref, "", cfg.root) for ref in cfg.artifacts]
    with create("reports", cfg.name, root=cfg.root, step="report", cfg=cfg, inputs=inputs, seed=own) as draft:
        told = [i.path.joinpath("data").read_text() for i in inputs]
        (draft.path / "data").write_text("+".join([*told, f"{cfg.title}{own}"]))
        (draft.path / "index.html").write_text(f"{cfg.title}{list(cfg.artifacts)}")
        with (root / "order.txt").open("a") as order:
            order.write(f"{cfg.name} {os.getpid()} {os.environ.get('OMP_NUM_THREADS')}\n")
    return draft.artifact


def show(artifact: Artifact, folder: Path) -> str:
    """What can be shown of a fake; fails for the artifact whose data asks for it."""
    if "unshowable" in (artifact.path / "data").read_text():
        raise ValueError("no picture")
    return f"picture of {artifact.ref} in {folder.name}"


def seed_of(name: str) -> int:
    """The seed in the name that a pipeline gives a step; 0 for a step after all seeds."""
    found = re.search(r"-s(\d+)$", name)
    return int(found[1]) if found else 0


def misbehave(what: str, root: Path) -> None:
    if what == "fail":
        raise UserError("the robot is on fire", fix="put it out")
    if what == "bug":
        raise IndexError("list index out of range")
    if what == "die":
        print("about to die", file=sys.stderr, flush=True)
        os.kill(os.getpid(), 9)
    if what == "sleep":
        sleep(root)
    if what == "deaf":
        (root / f"asleep-{os.getpid()}").touch()
        workers.PATIENCE_S = 0.1
        while True:
            with contextlib.suppress(KeyboardInterrupt):
                time.sleep(60)
    if what == "meet":  # goes on only once two are here, so the steps do run side by side
        (root / f"here-{os.getpid()}").touch()
        while len(list(root.glob("here-*"))) < 2:
            time.sleep(0.02)


def sleep(root: Path) -> None:
    """A long step that puts its files in order when it is interrupted, once."""
    (root / f"asleep-{os.getpid()}").touch()
    try:
        time.sleep(60)
    except KeyboardInterrupt:
        with (root / "interrupted.txt").open("a") as file:
            file.write(f"{os.getpid()}\n")
        raise
