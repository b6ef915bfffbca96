"""What can be shown of one artifact as soon as it is there: the page of a running pipeline grows by it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hiltk.artifacts.store import Artifact
from hiltk.reports.page import Section, Video
from hiltk.spec import IMAGE_PREFIX

if TYPE_CHECKING:
    from hiltk.data.dataset import Dataset

FILMED = 3  # episodes of a dataset


@dataclass(frozen=True)
class Exhibit:
    """Sentences and sections on one artifact."""

    facts: list[str] = field(default_factory=list)
    sections: list[Section] = field(default_factory=list)


def exhibit(artifact: Artifact, folder: Path) -> Exhibit:
    """What a report would say of this artifact alone; of a dataset a few films.

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
    from hiltk.reports.contents import facts, inputs_of, sections  # draws with matplotlib, which a film does without

    inputs = inputs_of([artifact])
    return Exhibit(facts(inputs), sections(inputs, own))


def _dataset(artifact: Artifact, folder: Path) -> Exhibit:
    from hiltk.data.dataset import Dataset

    dataset = Dataset(artifact.path, artifact.ref)
    seconds = float(dataset.lengths.sum()) / dataset.files.fps
    count, steps = len(dataset.bounds), dataset.lengths.sum()
    fact = f"{artifact.ref}: {count} episodes, {steps} steps, {seconds:.0f} seconds of the robot's time."
    if not dataset.files.cameras:
        return Exhibit([fact])
    return Exhibit([fact], [Section(f"{min(count, FILMED)} of {count} episodes", videos=list(_films(dataset, folder)))])


def _films(dataset: Dataset, folder: Path) -> Iterator[Video]:
    """Films of a few episodes, as every camera saw them."""
    from hiltk.data.survey import evenly, sampled_frames
    from hiltk.evaluation.videos import RUNNING, compose, write_video

    fps, cameras = dataset.files.fps, dataset.files.cameras
    for episode in evenly(len(dataset.bounds), FILMED).tolist():
        rows = np.arange(*dataset.bounds[episode])
        seen = {key.removeprefix(IMAGE_PREFIX): sampled_frames(dataset.files, key, rows) for key in cameras}
        frames = [
            compose(dict(zip(seen, views, strict=True)), f"episode {episode}  {step / fps:.1f} s", RUNNING)
            for step, views in enumerate(zip(*seen.values(), strict=True))
        ]
        write_video(frames, folder / f"episode_{episode}.mp4", fps)
        yield Video(folder / f"episode_{episode}.mp4", f"episode {episode}")
