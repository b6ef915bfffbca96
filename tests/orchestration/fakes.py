"""A step that needs no robot: it writes a small artifact, or fails in the way its title says.

Used in-process and, by name, in worker processes, which import it afresh.
"""

from __future__ import annotations

import os
import re
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hiltk.artifacts.store import Artifact, resolve
from hiltk.artifacts.writing import create
from hiltk.errors import UserError
from hiltk.verbs import Verb


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
    if what and (not seed or int(seed) == own):
        misbehave(what)
    inputs = [resolve(ref, "", cfg.root) for ref in cfg.artifacts]
    with create("reports", cfg.name, root=cfg.root, step="report", cfg=cfg, inputs=inputs, seed=own) as draft:
        told = [i.path.joinpath("data").read_text() for i in inputs]
        (draft.path / "data").write_text("+".join([*told, f"{cfg.title}{own}"]))
        with (Path(cfg.root) / "order.txt").open("a") as order:
            order.write(f"{cfg.name} {os.getpid()} {os.environ.get('OMP_NUM_THREADS')}\n")
    return draft.artifact


def seed_of(name: str) -> int:
    """The seed in the name that a pipeline gives a step; 0 for a step after all seeds."""
    found = re.search(r"-s(\d+)$", name)
    return int(found[1]) if found else 0


def misbehave(what: str) -> None:
    if what == "fail":
        raise UserError("the robot is on fire", fix="put it out")
    if what == "bug":
        raise IndexError("list index out of range")
    if what == "die":
        print("about to die", file=sys.stderr, flush=True)
        os.kill(os.getpid(), 9)
    if what == "sleep":
        time.sleep(60)
