"""Feature maps of a frozen trunk while a classifier is trained: a few versions of every frame, each computed once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from hiltk.agents.encoders import ResNetEncoder, feature_key
from hiltk.agents.features import CHUNK, announce_cache, cache_bytes, map_shapes
from hiltk.data.frames import Frames

Augment = Callable[[np.ndarray], Tensor]  # frames (B, H, W, 3) as the trunk is to see them, (B, 3, H, W)


class MapCache:
    """K versions of each of N frames, as the trunk sees them, float16.

    A version is whatever augmentation is drawn when it is first asked for, and that ever after: shifts and colours
    alike, less varied than fresh ones each time.
    """

    def __init__(self, encoder: ResNetEncoder, frames: Mapping[str, Frames], versions: int) -> None:
        self.encoder, self.frames, self.versions = encoder, frames, versions
        rows = (len(frames[encoder.keys[0]]), versions)
        self._maps = {k: np.zeros(rows + shape, np.float16) for k, shape in map_shapes(frames, encoder).items()}
        self._known = np.zeros(rows, bool)

    def __call__(self, rows: np.ndarray, versions: np.ndarray, augment: Augment) -> dict[str, Tensor]:
        """Feature maps (B, C, h, w) of the frames in ``rows``, of each the version asked for; by `feature_key`."""
        new = np.unique(np.stack([rows, versions])[:, ~self._known[rows, versions]], axis=1)
        for start in range(0, new.shape[1], CHUNK):
            some, version = new[:, start : start + CHUNK]
            for key, maps in self._maps.items():
                maps[some, version] = self.encoder.trunk(augment(self.frames[key][some])).half().cpu().numpy()
            self._known[some, version] = True
        device = self.encoder.trunk.normalise.scale.device
        return {feature_key(k): torch.from_numpy(v[rows, versions]).to(device) for k, v in self._maps.items()}


def cached(encoder: ResNetEncoder, parts: Sequence[tuple[Mapping[str, Frames], int]]) -> list[MapCache]:
    """A cache for each part of the frames, with so many versions of every frame; says first what memory that takes.

    Raises:
        UserError: it is more than there is.
    """
    shapes = map_shapes(parts[0][0], encoder)
    needed = sum(cache_bytes(len(frames[encoder.keys[0]]), shapes, versions) for frames, versions in parts)
    announce_cache(needed, max(versions for _, versions in parts))
    return [MapCache(encoder, frames, versions) for frames, versions in parts]
