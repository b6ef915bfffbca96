"""Image encoders: uint8 frames in, features out. Scaling happens here, once, and nowhere else."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hiltk.config import EncoderConf
from hiltk.errors import ConfigError, UserError, nearest
from hiltk.spec import ImageSpec

Images = dict[str, Tensor]
NAMES = ("cnn", "none")


class Encoder(nn.Module):
    """What turns images into features; ``out_features`` is their number, 0 where no image is looked at."""

    out_features: int


class CnnEncoder(Encoder):
    """One small convolutional trunk per camera, trained end to end; features are concatenated in the spec's order.

    A strided first convolution is what makes this affordable on a CPU: it costs about a sixth of DrQ-v2's stride-2
    stack at the same image size. Input: per camera (B, 3, H, W) uint8, or float already in [0, 1]. Output: (B, F).
    """

    def __init__(self, conf: EncoderConf, images: list[ImageSpec]) -> None:
        super().__init__()
        self.keys = [image.key for image in images]
        self.trunks = nn.ModuleList([_trunk(conf, image) for image in images])
        self.out_features = conf.features * len(images)
        self._checked = False

    def forward(self, images: Images) -> Tensor:
        if not self._checked:
            self._check(images)
        return torch.cat(
            [trunk(_centred(images[k])) for k, trunk in zip(self.keys, self.trunks, strict=True)],
            dim=-1,
        )

    def _check(self, images: Images) -> None:
        """Refuse frames whose range is not what training will see (devlogs 048, 059, 068: images scaled twice)."""
        for key in self.keys:
            if key not in images:
                raise UserError(f"the encoder needs '{key}'", where=f"present: {', '.join(images)}")
            frame = images[key]
            if frame.dtype != torch.uint8 and (frame.min() < 0 or frame.max() > 1):
                low, high = frame.min().item(), frame.max().item()
                raise UserError(
                    f"{key} holds floats in [{low:.3g}, {high:.3g}]; an encoder takes uint8, or floats in [0, 1]",
                    where=key,
                    fix="pass frames as the observation pipeline returns them",
                )
        self._checked = True


class NoEncoder(Encoder):
    """State only: no image is looked at."""

    out_features = 0

    def forward(self, images: Images) -> Tensor:
        raise RuntimeError("NoEncoder has no features; the torso skips it")


def check_encoder(conf: EncoderConf) -> None:
    """Refuse an encoder that cannot be built.

    Raises:
        ConfigError: naming the key and what it may be.
    """
    if conf.name not in NAMES:
        raise ConfigError(f"unknown encoder '{conf.name}'", where="encoder.name", fix=nearest(conf.name, NAMES))
    layers = {key: getattr(conf, key) for key in ("channels", "kernels", "strides")}
    said = ", ".join(f"encoder.{key}={list(value)}" for key, value in layers.items())
    if len({len(value) for value in layers.values()}) > 1 or not conf.channels:
        raise ConfigError(
            "the encoder needs one number of channels, one kernel size and one stride for each of its layers",
            where=said,
            fix="give the three lists the same length",
        )
    if min(min(value) for value in layers.values()) < 1:
        raise ConfigError("channels, kernels and strides must be at least 1", where=said)
    for key, least in (("features", 1), ("shift_pad", 0)):
        if getattr(conf, key) < least:
            raise ConfigError(f"encoder.{key} must be at least {least}", where=f"encoder.{key}={getattr(conf, key)}")


def build_encoder(conf: EncoderConf, images: list[ImageSpec]) -> Encoder:
    """The encoder a config names, for these cameras.

    Raises:
        ConfigError: a setting is out of range, or an image encoder is asked for where there are no images.
    """
    check_encoder(conf)
    builders = {"cnn": CnnEncoder, "none": lambda conf, images: NoEncoder()}
    if conf.name != "none" and not images:
        raise ConfigError(
            "an image encoder needs at least one camera",
            where="encoder.name",
            fix="encoder=none",
        )
    return builders[conf.name](conf, images)


def _centred(frames: Tensor) -> Tensor:
    """(B, C, H, W) uint8 or [0, 1] to floats in [-0.5, 0.5], as DrQ-v2 does."""
    scale = 255.0 if frames.dtype == torch.uint8 else 1.0
    return frames.to(torch.float32).mul_(1.0 / scale).sub_(0.5) if scale != 1.0 else frames - 0.5


def _trunk(conf: EncoderConf, image: ImageSpec) -> nn.Sequential:
    layers: list[nn.Module] = []
    channels = 3
    for out, kernel, stride in zip(conf.channels, conf.kernels, conf.strides, strict=True):
        layers += [
            nn.Conv2d(channels, out, kernel, stride, padding=kernel // 2),
            nn.ReLU(),
        ]
        channels = out
    # channels_last is how frames are stored (H, W, C); convolving in that layout saves a copy and is faster on CPUs.
    convolutions = nn.Sequential(*layers, nn.Flatten()).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    with torch.no_grad():
        size = convolutions(torch.zeros(1, 3, image.height, image.width)).shape[1]
    return nn.Sequential(
        convolutions,
        nn.Linear(size, conf.features),
        nn.LayerNorm(conf.features),
        nn.Tanh(),
    )
