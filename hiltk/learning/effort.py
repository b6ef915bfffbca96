"""A person's time behind a policy: demonstrations, labels, corrections, and setting up the scene for every episode.

Wall time says what a computer costs. What decides whether anybody trains an arm this way is how long a person has to be
there, so that is one number for each run (`Effort.total_s`), and learning curves are drawn over it, too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from hiltk.artifacts.store import Artifact, resolve
from hiltk.config.groups import CostsConf
from hiltk.data.dataset import Dataset
from hiltk.errors import UserError


@dataclass(frozen=True)
class Effort:
    """Seconds of a person.

    Attributes:
        demonstrations_s: every recorded step, whoever was recorded for what.
        labels_s: of the episodes that a success classifier learned from.
        corrections_s: steps in which the human acted while a policy trained.
        resets_s: the scene, before every episode: of recordings (attempts that were not kept included) and of training.
    """

    demonstrations_s: float = 0.0
    labels_s: float = 0.0
    corrections_s: float = 0.0
    resets_s: float = 0.0

    def __add__(self, other: Effort) -> Effort:
        return Effort(*(a + b for a, b in zip(asdict(self).values(), asdict(other).values(), strict=True)))

    @property
    def total_s(self) -> float:
        return sum(asdict(self).values())

    def __str__(self) -> str:
        parts = ", ".join(f"{key.removesuffix('_s')} {value / 60:.1f}" for key, value in asdict(self).items() if value)
        return f"a person's time: {self.total_s / 60:.1f} minutes" + (f" ({parts})" if parts else "")

    def note(self) -> dict[str, dict[str, float]]:
        """For ``run.yaml``."""
        return {"human_s": {"total": round(self.total_s, 1)} | {
            key.removesuffix("_s"): round(value, 1) for key, value in asdict(self).items()
        }}  # fmt: skip


def trained(human_steps: int, episodes: int, fps: float, costs: CostsConf) -> Effort:
    """Of training episodes."""
    return Effort(corrections_s=human_steps / fps, resets_s=episodes * costs.reset_s)


def behind(inputs: Sequence[Artifact], costs: CostsConf, root: str | Path) -> Effort:
    """Of everything that a run starts from: its datasets, and those behind its classifier and its first weights.

    Each dataset counts once, by what it holds; what is no longer in the store, or was not written by hiltk, counts as
    far as it can be read.
    """
    datasets: dict[Path, tuple[Artifact, bool]] = {}
    total = Effort()
    for artifact, labelled in _ancestors(inputs, root, labelled=False):
        if artifact.kind == "datasets":
            before = datasets.get(artifact.path, (artifact, False))[1]
            datasets[artifact.path] = (artifact, labelled or before)
        elif artifact.kind == "policies":  # first weights that were themselves corrected
            record = artifact.run()
            corrections = float((record.get("human_s") or {}).get("corrections", 0.0))
            episodes = int(record.get("episodes", 0)) if record.get("step") == "train" else 0
            total += Effort(corrections_s=corrections, resets_s=episodes * costs.reset_s)
    for artifact, labelled in datasets.values():
        total += _recorded(artifact, costs, labelled=labelled)
    return total


def _ancestors(artifacts: Sequence[Artifact], root: str | Path, *, labelled: bool) -> Iterator[tuple[Artifact, bool]]:
    """Each with whether a classifier learned from it; a dataset's own ancestors are in it and do not count again."""
    for artifact in artifacts:
        yield artifact, labelled
        if artifact.kind in ("policies", "classifiers"):
            found = [one for noted in artifact.run().get("inputs") or [] if (one := _resolved(noted, root))]
            yield from _ancestors(found, root, labelled=artifact.kind == "classifiers")


def _resolved(noted: dict[str, str], root: str | Path) -> Artifact | None:
    name, version = noted["artifact"], noted.get("version", "")
    try:
        return resolve(f"{name}@{version}" if version and ":" not in name else name, noted["kind"], root)
    except UserError:
        return None


def _recorded(artifact: Artifact, costs: CostsConf, *, labelled: bool) -> Effort:
    dataset = Dataset(artifact.path, artifact.ref)
    episodes = len(dataset.bounds)
    return Effort(
        demonstrations_s=float(dataset.lengths.sum()) / dataset.files.fps,
        labels_s=episodes * costs.label_s if labelled else 0.0,
        resets_s=int(artifact.run().get("attempts", episodes)) * costs.reset_s,
    )
