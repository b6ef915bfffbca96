"""What can be shown of one artifact as soon as it is there: the page of a running pipeline grows by it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hiltk.artifacts.store import Artifact
from hiltk.reports.page import Section, Video

if TYPE_CHECKING:
    from hiltk.data.dataset import Dataset

FILMED = 4  # episodes of a dataset on its film


@dataclass(frozen=True)
class Exhibit:
    """Sentences and sections on one artifact."""

    facts: list[str] = field(default_factory=list)
    sections: list[Section] = field(default_factory=list)


def exhibit(artifact: Artifact, folder: Path) -> Exhibit:
    """What a report would say of this artifact alone; of a dataset a film.

    Args:
        folder: for files that have to be made; one of the artifact's own is made in it.

    Raises:
        UserError: the artifact is damaged.
    """
    own = folder / artifact.ref.replace("/", "-")
    if artifact.kind in ("reports", "exports"):
        return Exhibit()
    own.mkdir(parents=True, exist_ok=True)
    if artifact.kind == "datasets":
        return _dataset(artifact, own)
    from hiltk.reports.evidence import evidence_of, facts, sections  # draws with matplotlib, which a film does without

    evidence = evidence_of([artifact])
    return Exhibit(facts(evidence), sections(evidence, own))


def _dataset(artifact: Artifact, folder: Path) -> Exhibit:
    from hiltk.data.dataset import Dataset

    dataset = Dataset(artifact.path, artifact.ref)
    seconds = float(dataset.lengths.sum()) / dataset.files.fps
    count, steps = len(dataset.bounds), dataset.lengths.sum()
    fact = f"{artifact.ref}: {count} episodes, {steps} steps, {seconds:.0f} seconds of the robot's time."
    if not dataset.files.cameras:
        return Exhibit([fact])
    film = folder / "episodes.mp4"
    shown = _film(dataset, film)
    caption = f"{len(shown)} of {count} episodes of {artifact.ref}: {', '.join(str(e) for e in shown)}"
    return Exhibit([fact], [Section("Episodes", videos=[Video(film, caption)])])


def _film(dataset: Dataset, file: Path) -> list[int]:
    """Write a film of a few episodes side by side, as the first camera saw them; returns which."""
    from hiltk.data.survey import evenly, sampled_frames
    from hiltk.evaluation.videos import RUNNING, compose, write_video

    camera, fps = dataset.files.cameras[0], dataset.files.fps
    chosen = evenly(len(dataset.bounds), FILMED).tolist()
    episodes = [list(sampled_frames(dataset.files, camera, np.arange(*dataset.bounds[e]))) for e in chosen]
    frames = []
    for step in range(max(map(len, episodes))):
        views = {f"episode {e}": own[min(step, len(own) - 1)] for e, own in zip(chosen, episodes, strict=True)}
        frames.append(compose(views, f"{step / fps:.1f} s", RUNNING))
    write_video(frames, file, fps)
    return chosen
