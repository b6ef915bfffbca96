"""Feature maps of a frozen trunk, computed once per frame and shift, then read from disk.

A frozen network gives the same maps for the same pixels. With K fixed shifts of every frame, drawn once, random-shift
augmentation becomes a choice among K stored maps: less varied than a fresh shift each time, and no convolutions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from rich.console import Console

from hiltk.agents.encoders import Encoder, ResNetEncoder, feature_key
from hiltk.config.groups import EncoderConf
from hiltk.data.replay import FrameStore
from hiltk.data.resources import human_size, require_memory
from hiltk.images import shift_frame, to_tensor
from hiltk.observation import Observation
from hiltk.spec import IMAGE_PREFIX

CHUNK = 256  # frames through the trunk at once
SHIFT_SEED = 0  # the shifts are the same in every run


class FeatureStore:
    """What the trunk makes of the frames in a replay store, float16, by row and shift; computed when first asked for.

    Rows are remembered by their absolute number: one that the ring has overwritten is computed again.

    Args:
        frames: the store whose frames are looked at.
        encoder: its trunk makes the maps; its cameras are kept.
        shifts: how many fixed shifts a frame has; the first is none at all.
        pad: largest shift, pixels.
        rng: draws a shift for every row and camera of a batch.
    """

    def __init__(
        self, frames: FrameStore, encoder: ResNetEncoder, shifts: int, pad: int, rng: np.random.Generator
    ) -> None:
        self.frames, self.encoder, self.pad, self.rng = frames, encoder, pad, rng
        self.offsets = fixed_shifts(shifts, pad)
        rows = (frames.size, len(self.offsets))
        self._maps = {k: np.zeros(rows + shape, np.float16) for k, shape in map_shapes(frames.frames, encoder).items()}
        self._holds = {k: np.full(rows, -1, np.int64) for k in self._maps}  # absolute number of the row in place

    def observation(self, rows: np.ndarray) -> Observation:
        """Stacks of K observations at absolute ``rows`` (K, B), with feature maps (B, K * C, h, w) in place of frames.

        The frames of a stack are shifted alike, by a shift drawn at random for every camera.
        """
        at = rows % self.frames.size
        vectors = {k: v for k, v in self.frames.frames.items() if not k.startswith(IMAGE_PREFIX)}
        out = {k: np.concatenate([v[some] for some in at], axis=-1) for k, v in vectors.items()}
        for key in self._maps:
            shifts = self.rng.integers(len(self.offsets), size=rows.shape[1])
            out[feature_key(key)] = np.concatenate([self.maps(key, some, shifts) for some in rows], axis=1)
        return out

    def forget(self) -> None:
        """Compute everything anew: rows may come to hold other frames under the same numbers."""
        for holds in self._holds.values():
            holds.fill(-1)

    def maps(self, key: str, rows: np.ndarray, shifts: np.ndarray) -> np.ndarray:
        """Feature maps (B, C, h, w) float16 of one camera's frames at absolute ``rows``, each shifted its own way."""
        at, holds = rows % self.frames.size, self._holds[key]
        new = np.unique(np.stack([rows, shifts])[:, holds[at, shifts] != rows], axis=1)
        for start in range(0, new.shape[1], CHUNK):
            some, shift = new[:, start : start + CHUNK]
            self._maps[key][some % self.frames.size, shift] = self._computed(key, some, shift)
            holds[some % self.frames.size, shift] = some
        return self._maps[key][at, shifts]

    def _computed(self, key: str, rows: np.ndarray, shifts: np.ndarray) -> np.ndarray:
        frames = self.frames.frames[key]
        pairs = zip(rows % self.frames.size, shifts, strict=True)
        shifted = np.stack([shift_frame(frames[row], *self.offsets[shift]) for row, shift in pairs])
        tensor = to_tensor(shifted, self.encoder.trunk.normalise.scale.device)
        # One frame alone is convolved otherwise than several, with other last digits: a resumed run, which computes
        # together what was computed one by one, would not be the same run.
        maps = self.encoder.trunk(tensor.expand(max(2, len(tensor)), -1, -1, -1))[: len(tensor)]
        return maps.half().cpu().numpy()


def attach(
    stores: Sequence[tuple[FrameStore, int]], encoder: Encoder, conf: EncoderConf, rng: np.random.Generator
) -> None:
    """Let replay stores hand out feature maps instead of frames, where ``conf.cache_shifts`` asks for it.

    Says first how much memory that can take.

    Args:
        stores: each with the number of rows it will come to hold.

    Raises:
        UserError: the maps would not fit into the memory that is available.
    """
    if not conf.cache_shifts:
        return
    encoder = encoder.innermost
    assert isinstance(encoder, ResNetEncoder)  # as `check_encoder` demands
    shifts = len(fixed_shifts(conf.cache_shifts, conf.shift_pad))
    announce_cache(sum(cache_bytes(rows, map_shapes(store.frames, encoder), shifts) for store, rows in stores), shifts)
    for store, _ in stores:
        store.features = FeatureStore(store, encoder, shifts, conf.shift_pad, rng)


def map_shapes(frames: Mapping[str, Any], encoder: ResNetEncoder) -> dict[str, tuple[int, int, int]]:
    """Shape (C, h, w) of the maps of every camera's frames (N, H, W, 3)."""
    trunk = encoder.trunk
    return {key: (trunk.channels, *trunk.map_size(*frames[key].shape[1:3])) for key in encoder.keys}


def cache_bytes(rows: int, shapes: dict[str, tuple[int, int, int]], versions: int) -> int:
    """Bytes of float16 maps for so many rows, and of the numbers that say which rows they are."""
    return rows * versions * sum(2 * int(np.prod(shape)) + 8 for shape in shapes.values())


def announce_cache(needed: int, versions: int) -> None:
    """Say how much memory the feature cache of so many versions of every frame can take.

    Raises:
        UserError: it is more than there is.
    """
    size = human_size(needed)
    Console().print(f"feature cache: up to {size} of memory for {versions} shifts of every frame", highlight=False)
    where, fix = f"encoder.cache_shifts={versions}", "lower encoder.cache_shifts or capacity, or encoder.cache_shifts=0"
    require_memory(needed, "the feature cache can grow to", where=where, fix=fix)


def fixed_shifts(count: int, pad: int) -> np.ndarray:
    """``count`` different shifts (K, 2) of at most ``pad`` pixels down and right, the first (0, 0); all if fewer."""
    side = np.arange(-pad, pad + 1)
    grid = np.stack(np.meshgrid(side, side, indexing="ij"), axis=-1).reshape(-1, 2)
    others = np.random.default_rng(SHIFT_SEED).permutation(grid[(grid != 0).any(axis=1)])
    return np.concatenate([np.zeros((1, 2), grid.dtype), others])[:count]
