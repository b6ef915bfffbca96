"""The commands: one module per verb with ``run(cfg) -> Artifact``, and the table that the command line is built from.

Standard library only: `hiltk --help` reads this.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Verb:
    """One command.

    Attributes:
        name: what is typed, with a space where it belongs to a group of commands.
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
        return self.name.replace("-", "_").replace(" ", "_")

    @property
    def module(self) -> str:
        return f"hiltk.steps.{self.config}"


GROUPS = {"diagnose": "Find out what holds learning back: each a table, a figure and an entry in the report."}

VERBS = {
    verb.name: verb
    for verb in (
        Verb("record", "datasets", "Record demonstrations as a LeRobotDataset."),
        Verb("adopt", "datasets", "Give a dataset made elsewhere a spec.", "dataset", many=False),
        Verb("fix-actions", "datasets", "Rebuild zero or missing actions of a dataset.", "dataset", many=False),
        Verb("label", "datasets", "Say in which frames success shows.", "dataset", many=False),
        Verb("merge", "datasets", "Put several datasets into one.", "datasets"),
        Verb("split", "datasets", "Hold out episodes or sessions of a dataset.", "dataset", many=False),
        Verb("drop-episodes", "datasets", "Leave episodes of a dataset out.", "dataset", many=False),
        Verb("stats", "datasets", "Compute a dataset's statistics anew, with floors.", "dataset", many=False),
        Verb("inspect", "reports", "Show what is in a dataset, on one page.", "dataset", many=False),
        Verb("train-classifier", "classifiers", "Train a success classifier on images.", "datasets"),
        Verb("preview", "reports", "Watch a success classifier at work.", "classifier", many=False),
        Verb("bc-pretrain", "policies", "Clone demonstrations into a policy.", "datasets"),
        Verb("train", "policies", "Train with human-in-the-loop reinforcement learning (HIL-SERL)."),
        Verb("eval", "evaluations", "Measure success rates of one or several policies.", "policies"),
        Verb("diagnose encoder", "evaluations", "What an encoder can see.", "policies"),
        Verb("diagnose buffer", "evaluations", "What a training run learned from.", "policy", many=False),
        Verb("diagnose run", "evaluations", "What most likely holds a training run back.", "policy", many=False),
        Verb("diagnose policy", "evaluations", "What a policy's action hangs on.", "policies"),
        Verb("diagnose critic", "evaluations", "Whether values agree with what was paid.", "policies"),
        Verb("export-policy", "exports", "Write a policy as a folder that LeRobot loads.", "policy", many=False),
        Verb("export-replay", "datasets", "Write a policy's training experience as a dataset.", "policy", many=False),
        Verb("report", "reports", "Put figures and tables of several artifacts on one page.", "artifacts"),
    )
}
