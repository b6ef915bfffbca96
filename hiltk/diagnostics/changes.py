"""The same pictures again with one thing changed: the object's place, which should matter, or what should not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from hiltk.config.groups import EnvConf, JitterConf, TaskConf
from hiltk.diagnostics.pictures import Photographer, Pictures
from hiltk.envs.make import scene_class
from hiltk.envs.tasks import sample_spawn
from hiltk.images import random_shift
from hiltk.spec import ImageSpec, Spec

CUBE, LIGHT, CAMERA = "cube", "light", "camera"
OTHER, BRIGHTNESS, SHIFT = "other set", "brightness", "shift"
SHIFT_PX = 4  # each way, as the augmentation in training shifts
BRIGHTNESS_FACTOR = 0.5  # times 0.5 to 1.5, as the simulator's jitter at strength 1
AWAY_M = 3.0  # where no camera sees the cube


@dataclass(frozen=True)
class Changes:
    """Pictures before and after; picture i belongs to picture i.

    Attributes:
        wanted: the change in `after` that an encoder should answer to; the others are nuisances.
        empty: the same scenes without the object; None where that cannot be had.
        moved_mm: mean distance between the object's places before and after; NaN where it is not known.
    """

    before: Pictures
    after: dict[str, Pictures]
    wanted: str
    empty: Pictures | None = None
    moved_mm: float = float("nan")

    @property
    def nuisances(self) -> list[str]:
        return [name for name in self.after if name != self.wanted]


def in_simulator(
    env: EnvConf, task: TaskConf, spec: Spec, images: Sequence[ImageSpec], count: int, seed: int
) -> Changes:
    """``count`` scenes over the whole spawn area; then only the cube, only the light, only the camera differs.

    Light and camera change as `env.jitter` at strength 1 changes them; each scene has one look of its own.

    Raises:
        UserError: the environment's observations are not what the spec says.
    """
    rng = np.random.default_rng(seed)
    poses = [sample_spawn(task, task.stratum, rng) for _ in range(2 * count)]
    seeds = [int(n) for n in rng.integers(0, 2**31, count)]

    def pictures(name: str, where: Sequence[tuple[float, ...]], jitter: JitterConf) -> Pictures:
        scenes = [({"cube_pose": pose}, s) for pose, s in zip(where, seeds, strict=True)]
        with Photographer(scene_class(env).jittered(env, jitter), task, spec, images) as photographer:
            return photographer.take(name, scenes, f"images, {name}")

    still, first, second = JitterConf(), poses[:count], poses[count:]
    before, after = pictures("before", first, still), pictures(CUBE, second, still)
    assert before.positions_m is not None and after.positions_m is not None
    return Changes(
        before,
        {
            CUBE: after,
            LIGHT: pictures(LIGHT, first, JitterConf(lighting=1.0)),
            CAMERA: pictures(CAMERA, first, JitterConf(camera=1.0)),
        },
        wanted=CUBE,
        empty=pictures("no cube", [(AWAY_M, AWAY_M, 0.0)] * count, still),
        moved_mm=1000 * float(np.linalg.norm(before.positions_m - after.positions_m, axis=1).mean()),
    )


def of_sets(first: Pictures, second: Pictures, count: int, seed: int) -> Changes:
    """Pictures of one set against others of the second, against brighter or darker ones, and against shifted ones."""
    rng = np.random.default_rng(seed)
    rows = rng.choice(len(first), min(count, len(first)), replace=False)
    partners = rng.choice(len(second), len(rows))
    before, other = _some(first, rows, first.name), _some(second, partners, OTHER)
    factors = 1 + BRIGHTNESS_FACTOR * rng.uniform(-1, 1, (len(rows), 1, 1, 1))
    brightness = {k: np.clip(v * factors, 0, 255).astype(np.uint8) for k, v in before.frames.items()}
    shift = {k: random_shift(v, SHIFT_PX, rng) for k, v in before.frames.items()}
    return Changes(
        before,
        {
            OTHER: other,
            BRIGHTNESS: replace(before, name=BRIGHTNESS, frames=brightness),
            SHIFT: replace(before, name=SHIFT, frames=shift),
        },
        wanted=OTHER,
    )


def _some(pictures: Pictures, rows: np.ndarray, name: str) -> Pictures:
    states = None if pictures.states is None else pictures.states[rows]
    places = None if pictures.positions_m is None else pictures.positions_m[rows]
    return Pictures(name, {k: v[rows] for k, v in pictures.frames.items()}, places, states)


def displacement(before: np.ndarray, after: np.ndarray) -> float:
    """Mean distance between embeddings (N, D) that belong together."""
    return float(np.linalg.norm(before.astype(np.float64) - after, axis=1).mean())
