from __future__ import annotations

import pytest
import torch

from hiltk.agents.encoders import build_encoder
from hiltk.config import EncoderConf
from hiltk.errors import ConfigError, UserError
from hiltk.spec import ImageSpec

WRIST, FRONT = ImageSpec("wrist", 64, 48), ImageSpec("front", 32, 32)


def frames(image: ImageSpec, batch: int = 2) -> torch.Tensor:
    return torch.randint(0, 256, (batch, 3, image.height, image.width), dtype=torch.uint8)


def test_features_of_every_camera_are_concatenated() -> None:
    encoder = build_encoder(EncoderConf(features=10), [WRIST, FRONT])
    out = encoder({WRIST.key: frames(WRIST), FRONT.key: frames(FRONT)})
    assert out.shape == (2, 20) and encoder.out_features == 20


def test_bytes_and_unit_floats_give_the_same_features() -> None:
    encoder = build_encoder(EncoderConf(), [WRIST])
    image = frames(WRIST)
    assert torch.allclose(encoder({WRIST.key: image}), encoder({WRIST.key: image / 255.0}), atol=1e-5)


@pytest.mark.parametrize("scale", [255.0, -1.0])
def test_floats_outside_the_unit_range_are_refused(scale: float) -> None:
    encoder = build_encoder(EncoderConf(), [WRIST])
    with pytest.raises(UserError, match="uint8, or floats in"):
        encoder({WRIST.key: torch.rand(2, 3, 64, 48) * scale})


def test_a_missing_camera_is_named() -> None:
    with pytest.raises(UserError, match=r"observation\.images\.front"):
        build_encoder(EncoderConf(), [FRONT])({WRIST.key: frames(WRIST)})


def test_unknown_names_suggest_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean 'cnn'"):
        build_encoder(EncoderConf(name="cnm"), [WRIST])
    with pytest.raises(ConfigError, match="at least one camera"):
        build_encoder(EncoderConf(), [])
