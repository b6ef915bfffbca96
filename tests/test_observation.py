from __future__ import annotations

import numpy as np
import pytest

from hiltk.errors import UserError
from hiltk.observation import ObservationPipeline
from hiltk.spec import STATE_KEY, Dimension, ImageSpec, Spec, StateSpec

SPEC = Spec(
    state=StateSpec([Dimension("a"), Dimension("b")]),
    images=[ImageSpec("wrist", 2, 2, native_height=4, native_width=6, crop=[0, 2, 4, 4])],
)
KEY = "observation.images.wrist"


def raw() -> dict[str, np.ndarray]:
    frame = np.zeros((4, 6, 3), np.uint8)
    frame[:2, 2:4] = 200  # the top left quarter of the crop
    return {STATE_KEY: np.array([1.0, 2.0]), KEY: frame}


def test_frames_are_cropped_then_averaged_down() -> None:
    out = ObservationPipeline(SPEC)(raw())
    assert out[KEY][..., 0].tolist() == [[200, 0], [0, 0]]
    assert out[KEY].dtype == np.uint8 and out[STATE_KEY].dtype == np.float32


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        (STATE_KEY, np.zeros(3), "shape"),
        (STATE_KEY, np.array([1.0, np.nan]), "not finite(.|\n)*b"),
        (KEY, np.zeros((4, 6, 3)), "float64, expected uint8"),
        (KEY, np.zeros((6, 4, 3), np.uint8), "shape"),
        (KEY, None, "lacks"),
    ],
)
def test_a_broken_contract_is_named(key: str, value: np.ndarray | None, message: str) -> None:
    bad = raw() | {key: value} if value is not None else {k: v for k, v in raw().items() if k != key}
    with pytest.raises(UserError, match=message):
        ObservationPipeline(SPEC)(bad)
