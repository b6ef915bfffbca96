"""Augmented held-out episodes, for a domain shift to come: another lamp, a knocked camera."""

from __future__ import annotations

import numpy as np
import torch

from hiltk.config.commands import ClassifierConf
from hiltk.data.frames import Frames
from hiltk.rewards.augment import augmented
from hiltk.rewards.frames import LabelledFrames

MOST_BYTES = 2**30  # that all versions together may take; with more frames than that there are fewer of them


def versions_of(frames: LabelledFrames, wanted: int) -> int:
    """How many of each episode there is room for, the recorded one included: 1 to ``wanted + 1``."""
    return max(1, min(wanted + 1, MOST_BYTES // max(1, sum(v.nbytes for v in frames.images.values()))))


def with_versions(frames: LabelledFrames, conf: ClassifierConf, versions: int) -> LabelledFrames:
    """The frames, then ``versions - 1`` copies of them, augmented as for training.

    A version of an episode is changed alike from its first frame to its last, as a lamp is that was moved overnight,
    each camera in its own way. It counts as an episode of its own, with a number of its own.

    Args:
        frames: N of whole episodes.
        conf: its seed, ``augment`` and shifts.

    Returns:
        ``versions * N`` frames.
    """
    if versions == 1:
        return frames
    stride = int(frames.episode.max()) + 1
    return LabelledFrames(
        images={key: _seen(v, frames, conf, versions, place) for place, (key, v) in enumerate(frames.images.items())},
        success=np.tile(frames.success, versions),
        episode=np.concatenate([frames.episode + k * stride for k in range(versions)]),
        step=np.tile(frames.step, versions),
    )


def _seen(images: Frames, frames: LabelledFrames, conf: ClassifierConf, versions: int, camera: int) -> Frames:
    out = np.empty((versions, *images.shape), np.uint8)
    out[0] = images[np.arange(len(images))]
    for i, episode in enumerate(frames.episode.tolist()):
        # The same seed for every frame of an episode: what is drawn for its k-th version stays the same throughout.
        rng = np.random.default_rng([conf.seed, episode, camera])
        copies = np.repeat(images[i][None], versions - 1, axis=0)
        changed = augmented(copies, conf.augment, conf.encoder.shift_pad, rng, torch.device("cpu"))
        scale = 255 if changed.is_floating_point() else 1
        out[1:, i] = (changed * scale).round().byte().permute(0, 2, 3, 1).numpy()
    return Frames(list(out))
