"""Small labelled episodes whose success is a bright square, and a classifier config that learns them in seconds."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch

from hiltk.config.commands import AugmentConf, ClassifierConf
from hiltk.config.groups import EncoderConf
from hiltk.data.episode import Episode
from hiltk.rewards.training_images import Statistics
from hiltk.spec import STATE_KEY, ImageSpec, Spec
from tests.rewards.scenes import episode, statistics_of

SIZE = 32
WRIST = "observation.images.wrist"
MakeEpisode = Callable[..., Episode]

# Networks this small only wait for each other on several threads.
torch.set_num_threads(1)


def labelled_episode(labels: Sequence[bool], seed: int = 0, keys: Sequence[str] = (WRIST,)) -> Episode:
    """An episode of noise images in which labelled frames show a bright square in the middle."""
    rng = np.random.default_rng(seed)
    success = np.array(labels, dtype=bool)
    frames = rng.integers(0, 120, (len(success), SIZE, SIZE, 3), dtype=np.uint8)
    frames[success, 10:22, 10:22] = 230
    steps = len(success) - 1
    return Episode(
        observations={STATE_KEY: np.zeros((len(success), 2), np.float32), **{k: frames.copy() for k in keys}},
        actions=np.zeros((steps, 4), np.float32),
        rewards=np.zeros(steps, np.float32),
        success=success,
        source=np.zeros(steps, np.int64),
        is_intervention=np.zeros(steps, bool),
        action_valid=np.ones(steps, bool),
        terminated=bool(success[-1]),
        truncated=not success[-1],
    )


@pytest.fixture
def make_labelled() -> MakeEpisode:
    return labelled_episode


@pytest.fixture
def spec() -> Spec:
    image = ImageSpec("wrist", SIZE, SIZE, native_height=SIZE, native_width=SIZE)
    return Spec(task="lift", images=[image])


@pytest.fixture
def conf() -> ClassifierConf:
    encoder = EncoderConf(channels=[8, 8], kernels=[5, 3], strides=[4, 2], features=16, shift_pad=2)
    # The frames are noise: blurred or turned, what is left of it would be another problem.
    return ClassifierConf(
        datasets=["demos"], name="cube", encoder=encoder, hidden=16, steps=150, batch_size=16, lr=3e-3, held_out=0.25,
        augment=AugmentConf(color=0.1, gamma=0.0, light=0.0, blur=0.0, camera=0.0), hold_steps=2, min_steps=0,
    )  # fmt: skip


@pytest.fixture
def episodes() -> list[Episode]:
    """Six successes and six failures of 12 frames."""
    return [labelled_episode([False] * 8 + [i < 6] * 4, seed=i) for i in range(12)]


@pytest.fixture(scope="session")
def trained() -> Statistics:
    return statistics_of([episode(seed) for seed in range(40)], held_out=10)
