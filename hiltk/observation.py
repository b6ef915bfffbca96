"""The observation pipeline: the one place where a raw observation becomes what is stored and what networks see."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np

from hiltk.errors import UserError
from hiltk.spec import STATE_KEY, ImageSpec, Spec

Observation = dict[str, np.ndarray]


class ObservationPipeline:
    """Built from a spec and used by record, train, eval, preview and diagnose alike.

    Input: a mapping with ``observation.state`` (D,) in the spec's units and ``observation.images.<camera>``
    (H, W, 3) uint8 RGB at native size. Output: the same keys, state as float32, images cropped and resized to
    the spec's size, still uint8. Scaling to floats and normalisation happen once, inside the networks.
    """

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self._state_size = len(spec.state.dims)

    def __call__(self, raw: Mapping[str, Any]) -> Observation:
        """Check and convert one observation.

        Raises:
            UserError: a key is missing, a shape or dtype differs from the spec, or a number is not finite.
        """
        out: Observation = {STATE_KEY: self._state(raw)}
        for image in self.spec.images:
            out[image.key] = self._image(raw, image)
        return out

    def _state(self, raw: Mapping[str, Any]) -> np.ndarray:
        state = np.asarray(self._get(raw, STATE_KEY), dtype=np.float32)
        if state.shape != (self._state_size,):
            raise UserError(
                f"the state has shape {state.shape}, the spec says ({self._state_size},)",
                where=f"{STATE_KEY}; spec dimensions: {', '.join(self.spec.state.names)}",
            )
        if not np.isfinite(state).all():
            bad = [n for n, ok in zip(self.spec.state.names, np.isfinite(state), strict=True) if not ok]
            raise UserError("the state is not finite", where=", ".join(bad))
        return state

    def _image(self, raw: Mapping[str, Any], image: ImageSpec) -> np.ndarray:
        frame = np.asarray(self._get(raw, image.key))
        native = (image.native_height, image.native_width, 3)
        if frame.dtype != np.uint8:
            raise UserError(
                f"{image.key} has dtype {frame.dtype}, expected uint8 in 0..255",
                where=image.key,
            )
        if frame.shape != native:
            raise UserError(
                f"{image.key} has shape {frame.shape}, the spec says {native}",
                where=image.key,
            )
        return fit_image(frame, image)

    @staticmethod
    def _get(raw: Mapping[str, Any], key: str) -> Any:
        if key not in raw:
            raise UserError(f"the observation lacks '{key}'", where=f"present: {', '.join(raw)}")
        return raw[key]


def fit_image(frame: np.ndarray, image: ImageSpec) -> np.ndarray:
    """Crop and resize one native frame (H, W, 3) uint8 to the spec's size; a no-op when nothing changes."""
    if image.crop:
        top, left, height, width = image.crop
        frame = frame[top : top + height, left : left + width]
    if frame.shape[:2] != (image.height, image.width):
        # Area averaging is the anti-aliased choice when shrinking, which cameras nearly always need.
        frame = cv2.resize(frame, (image.width, image.height), interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(frame)
