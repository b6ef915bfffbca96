"""The commands: one module per verb with ``run(cfg) -> Artifact``, and the table that the command line is built from.

Standard library only: `hiltk --help` reads this.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Verb:
    """One command.

    Attributes:
        name: what is typed.
        kind: the kind of artifact it writes.
        help: one line for the list of commands.
        words: the config key that words without ``=`` are put into, so that ``hiltk eval a b`` works.
        many: whether that key takes a list.
    """

    name: str
    kind: str
    help: str
    words: str = ""
    many: bool = True

    @property
    def config(self) -> str:
        """Name of its root YAML and, with dots, of its module."""
        return self.name.replace("-", "_")

    @property
    def module(self) -> str:
        return f"hiltk.steps.{self.config}"


VERBS = {
    verb.name: verb
    for verb in (
        Verb("record", "datasets", "Record demonstrations as a LeRobotDataset."),
        Verb("fix-actions", "datasets", "Rebuild zero or missing actions of a dataset.", "dataset", many=False),
        Verb("train-classifier", "classifiers", "Train a success classifier on images.", "datasets"),
        Verb("bc-pretrain", "policies", "Clone demonstrations into a policy.", "datasets"),
        Verb("train", "policies", "Train with human-in-the-loop reinforcement learning (HIL-SERL)."),
        Verb("eval", "evaluations", "Measure success rates of one or several policies.", "policies"),
        Verb("diagnose", "evaluations", "Find out what an encoder can see.", "what", many=False),
        Verb("report", "reports", "Put figures and tables of several artifacts on one page.", "artifacts"),
    )
}
