"""Sets of images for a diagnosis, made as the run's own observation pipeline makes them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from hiltk.artifacts.store import Artifact
from hiltk.config.groups import EnvConf, TaskConf
from hiltk.data.episode import Episode
from hiltk.data.lerobot_io import iter_episodes
from hiltk.envs.make import scene_class
from hiltk.errors import UserError
from hiltk.observation import ObservationPipeline, fit_image
from hiltk.robots.snaps import cameras_of
from hiltk.spec import STATE_KEY, ImageSpec, Spec

SUFFIXES = (".png", ".jpg", ".jpeg")


@dataclass(frozen=True)
class Pictures:
    """One set.

    Attributes:
        frames: per image key (N, H, W, 3) uint8, as networks get them.
        positions_m: where the object is, (N, 2) in the base frame; None where it is not known.
        states: of the robot, (N, D); None where they are not known.
    """

    name: str
    frames: dict[str, np.ndarray]
    positions_m: np.ndarray | None = None
    states: np.ndarray | None = None

    def __len__(self) -> int:
        return len(next(iter(self.frames.values())))


# ---------------------------------------------------------------- folders


def from_folder(folder: Path, images: Sequence[ImageSpec]) -> Pictures:
    """PNG and JPG files of a folder, at the camera's native size; with several cameras a folder inside for each.

    Pictures of `hiltk arm snap` are made as `env=so101` makes them of that arm's cameras.

    Raises:
        UserError: there are none, one cannot be read, or has another size than the spec says.
    """
    frames = {}
    taken = cameras_of(folder)
    for image in images:
        if image.name in taken:  # by an arm, whose own camera and crop come before the size that networks take
            image = replace(taken[image.name], height=image.height, width=image.width)
        inner = folder / image.name
        if len(images) > 1 and not inner.is_dir():
            fix = f"camera={image.name} looks at one camera only"
            raise UserError(f"there is no folder for camera '{image.name}'", where=str(folder), fix=fix)
        files = sorted(f for f in (inner if inner.is_dir() else folder).iterdir() if f.suffix.lower() in SUFFIXES)
        if not files:
            raise UserError("there are no PNG or JPG files", where=str(inner if inner.is_dir() else folder))
        frames[image.key] = np.stack([fit_image(_read(file, image), image) for file in files])
    return Pictures(folder.name, frames)


def _read(file: Path, image: ImageSpec) -> np.ndarray:
    """A frame (H, W, 3) uint8 RGB at native size."""
    frame = cv2.imread(str(file), cv2.IMREAD_COLOR)
    if frame is None:
        raise UserError("the image cannot be read", where=str(file))
    native = (image.native_height, image.native_width)
    if frame.shape[:2] != native:
        raise UserError(
            f"the image is {frame.shape[0]} x {frame.shape[1]}, camera '{image.name}' gives {native[0]} x {native[1]}",
            where=str(file),
            fix="save frames as the camera gives them, neither cropped nor resized: the run's own pipeline does that",
        )
    return cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)


# ---------------------------------------------------------------- datasets


def from_dataset(
    artifact: Artifact, which: str, spec: Spec, images: Sequence[ImageSpec], *, first_only: bool
) -> Pictures:
    """Frames of a dataset's episodes: all of them, or the first of each.

    Args:
        which: episode numbers (``3``, ``0-9``), a stratum, or nothing for all.

    Raises:
        UserError: no episode is chosen, or the dataset does not fit the spec.
    """
    name = f"{artifact.name}:{which}" if which else artifact.name
    episodes = chosen(iter_episodes(artifact.path, replace(spec, images=list(images))), which)
    parts: dict[str, list[np.ndarray]] = {key: [] for key in [STATE_KEY, *(image.key for image in images)]}
    for episode in episodes:
        for key, frames in parts.items():
            frames.append(episode.observations[key][: 1 if first_only else None].copy())
    if not parts[images[0].key]:
        raise UserError(f"there are no episodes '{which}'", where=artifact.ref, fix="e.g. NAME:0-9 or NAME:near")
    together = {key: np.concatenate(values) for key, values in parts.items()}
    states = together.pop(STATE_KEY)
    return Pictures(name, together, states=states)


def chosen(episodes: Iterable[Episode], which: str) -> Iterator[Episode]:
    """Those episodes of a dataset that ``which`` names: numbers, a stratum, or nothing for all."""
    first, _, last = which.partition("-")
    for number, episode in enumerate(episodes):
        if first.isdigit() and number > int(last or first):
            return
        if not which or episode.stratum == which or (first.isdigit() and number >= int(first)):
            yield episode


# ---------------------------------------------------------------- simulator


def from_simulator(
    env: EnvConf,
    task: TaskConf,
    spec: Spec,
    images: Sequence[ImageSpec],
    strata: Sequence[str],
    count: int,
    seed: int,
) -> list[Pictures]:
    """The scene at the start of episodes, ``count`` for each stratum, and where the cube lies in them.

    Raises:
        UserError: the environment's observations are not what the spec says.
        ConfigError: a stratum does not exist.
    """
    with Photographer(env, task, spec, images, seed) as photographer:
        return [
            photographer.take(stratum, [({"stratum": stratum}, None)] * count, f"images, {stratum}")
            for stratum in strata
        ]


class Photographer:
    """Takes pictures of the simulated scene at the start of episodes, through a spec's observation pipeline."""

    def __init__(self, env: EnvConf, task: TaskConf, spec: Spec, images: Sequence[ImageSpec], seed: int = 0) -> None:
        self.simulator = scene_class(env)(env, task, seed)
        self.pipeline, self.images = ObservationPipeline(spec), images

    def __enter__(self) -> Photographer:
        return self

    def __exit__(self, *exception: object) -> None:
        self.simulator.close()

    def take(self, name: str, scenes: Sequence[tuple[dict[str, Any], int | None]], about: str) -> Pictures:
        """A picture of each scene, given as the options and the seed of `SceneEnv.reset`."""
        observations, positions = [], []
        for options, seed in tqdm(scenes, about, mininterval=0.5):
            raw, _ = self.simulator.reset(seed=seed, options=options)
            observations.append(self.pipeline(raw))
            positions.append(self.simulator.cube_position()[:2])
        frames = {image.key: np.stack([o[image.key] for o in observations]) for image in self.images}
        return Pictures(name, frames, np.stack(positions), np.stack([o[STATE_KEY] for o in observations]))
