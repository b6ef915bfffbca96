"""The commands in one table: command line, provenance, gates, pipelines, completion and the README derive from it.

Standard library only: `hiltk --help` reads this.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import Literal

OUTPUTS, ROOT_VARIABLE = "outputs", "HILTK_ROOT"
ARMS = "arms"  # the folder of arms' files, under the current one
ROOT_HELP = f"folder of all artifacts; default: ${ROOT_VARIABLE}, else {OUTPUTS}"


def default_root() -> str:
    """The folder of all artifacts where no ``root=`` says another."""
    return os.environ.get(ROOT_VARIABLE) or OUTPUTS


@dataclass(frozen=True)
class Verb:
    """One command.

    Attributes:
        name: what is typed, with a space where several commands share the first word.
        kind: the kind of artifact it writes; empty: it writes none.
        help: one line for the list of commands.
        words: what words without ``=`` name: the config key they are put into, so that ``hiltk eval a b`` works.
        many: whether there can be several of these.
        gate: what it checks by itself: the artifacts it reads, the one it writes, or the one it writes against those
            it was made of.
        has_config: whether Hydra composes its settings from ``conf/``; the others take ``root=`` and options.
        group: heading it stands under in the list of commands.
        home: the module with its ``run``, where that is another package's.
    """

    name: str
    kind: str
    help: str
    words: str = ""
    many: bool = True
    gate: Literal["", "inputs", "output", "change"] = ""
    has_config: bool = True
    group: str = ""
    home: str = ""

    @property
    def config(self) -> str:
        """Name of its root YAML, where it has one, and of its module."""
        return self.name.replace("-", "_").replace(" ", "_")

    @property
    def module(self) -> str:
        return self.home or f"hiltk.steps.{self.config}"


PREFIXES = {
    "arm": "The arm on the desk: its file, its servos and cameras. ARM is a file's name, arms/ARM.yaml; the only one "
    "there need not be named.",
    "diagnose": "Find out what holds learning back: each a table, a figure and an entry in the report.",
}

_GROUPS = {
    "Data": (
        Verb("record", "datasets", "Record demonstrations as a LeRobotDataset.", gate="output"),
        Verb("adopt", "datasets", "Give a dataset made elsewhere a spec.", "dataset", many=False, gate="output"),
        Verb(
            "fix-actions",
            "datasets",
            "Rebuild zero or missing actions of a dataset.",
            "dataset",
            many=False,
            gate="output",
        ),
        Verb("label", "datasets", "Label success frame by frame.", "dataset", many=False, gate="change"),
        Verb("merge", "datasets", "Put several datasets into one.", "datasets", gate="change"),
        Verb(
            "split",
            "datasets",
            "Hold out episodes or sessions of a dataset.",
            "dataset",
            many=False,
            gate="change",
        ),
        Verb(
            "drop-episodes",
            "datasets",
            "Copy a dataset without some episodes.",
            "dataset",
            many=False,
            gate="change",
        ),
        Verb(
            "stats",
            "datasets",
            "Compute a dataset's statistics anew, with floors.",
            "dataset",
            many=False,
            gate="change",
        ),
        Verb("inspect", "reports", "Show what is in a dataset, on one page.", "dataset", many=False),
    ),
    "Learn": (
        Verb("train-classifier", "classifiers", "Train a success classifier on images.", "datasets", gate="inputs"),
        Verb("bc-pretrain", "policies", "Clone demonstrations into a policy.", "datasets", gate="inputs"),
        Verb("train", "policies", "Train with human-in-the-loop reinforcement learning (HIL-SERL).", gate="inputs"),
    ),
    "Judge": (
        Verb("eval", "evaluations", "Measure success rates of one or several policies.", "policies", gate="inputs"),
        Verb("preview", "reports", "Watch a success classifier at work.", "classifier", many=False),
        Verb("report", "reports", "Put figures and tables of several artifacts on one page.", "artifacts"),
    ),
    "Diagnose": (
        Verb(
            "check",
            "",
            "Look for known mistakes in datasets, classifiers, policies and evaluations.",
            "artifacts",
            has_config=False,
        ),
        Verb(
            "show",
            "",
            "Show an artifact's spec and how it was made.",
            "artifact",
            many=False,
            has_config=False,
        ),
        Verb("diff", "", "Compare two artifacts: spec, settings, statistics.", "artifacts", has_config=False),
        Verb("diagnose encoder", "evaluations", "What an encoder can see.", "policies"),
        Verb("diagnose buffer", "evaluations", "What a training run learned from.", "policy", many=False),
        Verb("diagnose run", "evaluations", "What most likely holds a training run back.", "policy", many=False),
        Verb("diagnose policy", "evaluations", "Which inputs a policy relies on.", "policies"),
        Verb("diagnose critic", "evaluations", "Compare a critic's values with observed returns.", "policies"),
    ),
    "Share": (
        Verb("export-policy", "exports", "Write a policy as a folder that LeRobot loads.", "policy", many=False),
        Verb(
            "export-replay",
            "datasets",
            "Write a policy's training experience as a dataset.",
            "policy",
            many=False,
            gate="change",
        ),
    ),
    "Pipelines": (Verb("run", "", "Run a pipeline: a chain of commands.", "pipeline", many=False, has_config=False),),
    "Arm": tuple(
        Verb(name, "", about, words, many=False, has_config=False)
        for name, about, words in (
            ("doctor", "Say what this machine has, and lacks for which command.", ""),
            ("arm init", "Write an arm's file: ask, measure, propose.", "name"),
            ("arm scan", "List every servo: id, model, firmware, voltage, temperature, load.", "arm"),
            ("arm check", "Compare an arm with its file, move it a centimetre, look through its cameras.", "arm"),
            ("arm calibrate", "Measure the range of each joint, guided.", "arm"),
            ("arm home", "Move an arm to where episodes start, then park it.", "arm"),
            ("arm relax", "Switch an arm's torque off, motor by motor.", "arm"),
            ("arm snap", "Keep a frame of every camera, as it comes and as networks see it.", "name"),
        )
    ),
}

VERBS = {verb.name: replace(verb, group=group) for group, verbs in _GROUPS.items() for verb in verbs}
STEPS = {name: verb for name, verb in VERBS.items() if verb.has_config}  # each writes an artifact: what pipelines chain
GATED = tuple(name for name, verb in VERBS.items() if verb.gate)
