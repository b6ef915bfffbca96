"""Image encoders: uint8 frames in, features out. Scaling happens here, once, and nowhere else."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hiltk.agents.pretrained import check_reference, load_trunk
from hiltk.agents.resnet import FrozenResNet
from hiltk.config.groups import EncoderConf, TrunkConf
from hiltk.errors import ConfigError, UserError, nearest
from hiltk.images import ImageNetNorm, full_scale
from hiltk.spec import IMAGE_PREFIX, ImageSpec

Images = dict[str, Tensor]
FEATURE_PREFIX = "features."  # of a camera's stored feature maps, in place of its frames
LEAST_RESNET_PX = 96  # a ResNet-10 leaves 3 x 3 cells of 84 pixels, 4 x 4 of 128
LEROBOT_KERNELS, LEROBOT_STRIDES, LEROBOT_SMALLEST = [7, 5, 3, 3], [2, 2, 2, 2], 39  # pixels a side


class Encoder(nn.Module):
    """What turns images into features.

    Attributes:
        out_features: their number; 0 where no image is looked at.
        state_features: width of the layer that the state goes through; 0 where it goes beside the features as it is.
        stack: frames of each camera that it takes at once.
    """

    out_features: int
    state_features = 0
    stack = 1

    @property
    def innermost(self) -> Encoder:
        """What turns images into features; differs from this one where it is applied frame by frame."""
        return self

    def embed(self, key: str, frames: Tensor) -> dict[str, Tensor]:
        """What one camera's frames (B, 3, H, W) become, (B, D) by layer: for looking at, not for training."""
        raise NotImplementedError


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

    def embed(self, key: str, frames: Tensor) -> dict[str, Tensor]:
        return {"features": self.trunks[self.keys.index(key)](_centred(frames))}

    def _check(self, images: Images) -> None:
        check_frames(images, self.keys)
        self._checked = True


class ResNetEncoder(Encoder):
    """One frozen, pretrained ResNet for all cameras and a trained neck for each; features in the spec's order.

    As HIL-SERL's ``resnet-pretrained``. Input: per camera (B, 3, H, W) uint8, or float already in [0, 1]; or, under
    ``features.<camera>``, the feature maps that `maps` made of it. Output: (B, F).

    Args:
        conf: where ``trunk`` is filled in, the network is built without weights: a saved policy brings its own.
    """

    def __init__(self, conf: EncoderConf, images: list[ImageSpec]) -> None:
        super().__init__()
        self.keys = [image.key for image in images]
        self.trunk = FrozenResNet(conf.trunk) if conf.trunk.norm else load_trunk(conf.weights)
        sizes = [self.trunk.map_size(image.height, image.width) for image in images]
        self.necks = nn.ModuleList([Neck(self.trunk.channels, size, conf) for size in sizes])
        self.out_features = conf.features * len(images)
        self._checked = False

    def forward(self, images: Images) -> Tensor:
        if not self._checked:
            check_frames(images, [k for k in self.keys if feature_key(k) not in images])
            self._checked = True
        pairs = zip(self.necks, self.keys, strict=True)
        return torch.cat([neck(self._map(images, key)) for neck, key in pairs], dim=-1)

    def _map(self, images: Images, key: str) -> Tensor:
        stored = images.get(feature_key(key))
        return self.trunk(images[key]) if stored is None else stored.float()

    def embed(self, key: str, frames: Tensor) -> dict[str, Tensor]:
        maps = self.trunk(frames)
        return {"trunk": maps.mean(dim=(2, 3)), "features": self.necks[self.keys.index(key)](maps)}


class LeRobotEncoder(Encoder):
    """The layout of LeRobot's ``GaussianActorPolicy`` with its own CNN, so that a policy can be handed over to it.

    Four convolutions shared by all cameras, a neck for each camera, and a layer of the same width for the state
    (`state_features`). Frames are normalised by ImageNet's mean and deviation, LeRobot's default. Initial weights are
    drawn as for the other encoders here. Input: per camera (B, 3, H, W) uint8, or float already in [0, 1], all of one
    size. Output: (B, F).
    """

    def __init__(self, conf: EncoderConf, images: list[ImageSpec]) -> None:
        super().__init__()
        _check_sizes(images)
        self.keys = [image.key for image in images]
        self.convolutions = _convolutions(conf, padded=False)
        with torch.no_grad():
            height, width = self.convolutions(torch.zeros(1, 3, images[0].height, images[0].width)).shape[2:]
        self.necks = nn.ModuleList([Neck(conf.channels[-1], (height, width), conf) for _ in images])
        self.out_features, self.state_features = conf.features * len(images), conf.features
        self.normalise = ImageNetNorm()
        self._checked = False

    def forward(self, images: Images) -> Tensor:
        if not self._checked:
            check_frames(images, self.keys)
            self._checked = True
        maps = self._maps(torch.cat([images[key] for key in self.keys])).chunk(len(self.keys))
        return torch.cat([neck(m) for neck, m in zip(self.necks, maps, strict=True)], dim=-1)

    def embed(self, key: str, frames: Tensor) -> dict[str, Tensor]:
        maps = self._maps(frames)
        return {"trunk": maps.mean(dim=(2, 3)), "features": self.necks[self.keys.index(key)](maps)}

    def _maps(self, frames: Tensor) -> Tensor:
        return self.convolutions(self.normalise(frames))


class FrameByFrame(Encoder):
    """Any encoder of single frames, applied to each frame of a stack; features side by side, oldest frame first.

    Input: per camera (B, K * 3, H, W) as for the encoder itself, or stored feature maps (B, K * C, h, w).
    """

    def __init__(self, encoder: Encoder, images: list[ImageSpec], stack: int) -> None:
        super().__init__()
        self.encoder, self.keys, self.stack = encoder, [image.key for image in images], stack
        self.out_features = encoder.out_features * stack

    @property
    def innermost(self) -> Encoder:
        return self.encoder

    def forward(self, images: Images) -> Tensor:
        found = [feature_key(k) if feature_key(k) in images else k for k in self.keys]
        frames = {k: images[k].unflatten(1, (self.stack, -1)).flatten(0, 1) for k in found}
        return self.encoder(frames).unflatten(0, (-1, self.stack)).flatten(1)


class Neck(nn.Module):
    """Feature maps (B, C, h, w) to features (B, F): spatial learned embeddings, dropout, Linear, LayerNorm, tanh.

    The embeddings are ``conf.embeddings`` weighted sums over each channel's map, with weights that are learned: where
    something is survives, which an average would lose (HIL-SERL, ``vision/spatial.py``).
    """

    def __init__(self, channels: int, size: tuple[int, int], conf: EncoderConf) -> None:
        super().__init__()
        places, self.dropout = size[0] * size[1], conf.dropout
        self.kernel = nn.Parameter(torch.empty(channels, places, conf.embeddings))
        self.project = nn.Linear(channels * conf.embeddings, conf.features)
        self.norm = nn.LayerNorm(conf.features)
        # As Flax initialises both; it counts every place of every channel as an input of an embedding.
        lecun_normal(self.kernel, channels * places)
        lecun_normal(self.project.weight, channels * conf.embeddings)
        nn.init.zeros_(self.project.bias)

    def forward(self, maps: Tensor) -> Tensor:
        x = torch.einsum("bcs,csf->bcf", maps.contiguous().flatten(2), self.kernel).flatten(1)
        # Only where a gradient is taken: actions and targets come without noise whoever forgets to call eval().
        x = F.dropout(x, self.dropout, self.training and torch.is_grad_enabled())
        return torch.tanh(self.norm(self.project(x)))


class NoEncoder(Encoder):
    """State only: no image is looked at."""

    out_features = 0

    def forward(self, images: Images) -> Tensor:
        raise RuntimeError("NoEncoder has no features; the torso skips it")


@dataclass(frozen=True)
class EncoderRow:
    """One row of `ENCODERS`.

    Attributes:
        encoder: builds one for these cameras.
        check: refuses settings that this encoder cannot have; those that all have are checked before.
        sees: whether it looks at images.
        pretrained: a `ResNetEncoder`: its trunk has seen images before and is frozen, so that it can be looked at
            untrained, and what it makes of a frame can be kept (`hiltk.agents.features`).
        least_px: smallest side of an image it was made for.
    """

    encoder: Callable[[EncoderConf, list[ImageSpec]], Encoder]
    check: Callable[[EncoderConf], None]
    sees: bool = True
    pretrained: bool = False
    least_px: int = 0


def _check_necks(conf: EncoderConf) -> None:
    if min(conf.embeddings, conf.features) < 1 or not 0 <= conf.dropout < 1 or conf.cache_shifts < 0:
        raise ConfigError(
            "embeddings and features must be at least 1, dropout in [0, 1), cache_shifts at least 0", where="encoder"
        )


def _check_resnet(conf: EncoderConf) -> None:
    _check_necks(conf)
    if not conf.trunk.norm:
        check_reference(conf.weights)


def _check_lerobot(conf: EncoderConf) -> None:
    _check_necks(conf)
    if conf.kernels != LEROBOT_KERNELS or conf.strides != LEROBOT_STRIDES or len(set(conf.channels)) > 1:
        raise ConfigError(
            f"LeRobot's encoder has kernels {LEROBOT_KERNELS}, strides {LEROBOT_STRIDES} and one number of channels",
            where=f"encoder.kernels={conf.kernels}, encoder.strides={conf.strides}, encoder.channels={conf.channels}",
            fix="encoder=lerobot; its width is set by encoder.channels=[N,N,N,N]",
        )


# By `encoder.name`. Another package adds a row of its own before it calls hiltk.
ENCODERS: dict[str, EncoderRow] = {
    "cnn": EncoderRow(CnnEncoder, lambda conf: None),
    "resnet": EncoderRow(ResNetEncoder, _check_resnet, pretrained=True, least_px=LEAST_RESNET_PX),
    "lerobot": EncoderRow(LeRobotEncoder, _check_lerobot),
    "none": EncoderRow(lambda conf, images: NoEncoder(), _check_necks, sees=False),
}


def check_encoder(conf: EncoderConf) -> None:
    """Refuse an encoder that cannot be built.

    Raises:
        ConfigError: naming the key and what it may be.
    """
    if conf.name not in ENCODERS:
        raise ConfigError(f"unknown encoder '{conf.name}'", where="encoder.name", fix=nearest(conf.name, ENCODERS))
    row = ENCODERS[conf.name]
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
    if conf.norm_groups < 0 or (conf.norm_groups and any(c % conf.norm_groups for c in conf.channels)):
        where = f"encoder.norm_groups={conf.norm_groups}, channels={list(conf.channels)}"
        raise ConfigError("every number of channels must be a multiple of encoder.norm_groups", where=where)
    for key, least in (("features", 1), ("shift_pad", 0)):
        if getattr(conf, key) < least:
            raise ConfigError(f"encoder.{key} must be at least {least}", where=f"encoder.{key}={getattr(conf, key)}")
    row.check(conf)
    if conf.cache_shifts and not row.pretrained:
        raise ConfigError(
            "only what a frozen encoder makes of a frame can be kept",
            where=f"encoder.cache_shifts={conf.cache_shifts}",
            fix="encoder=resnet10, or encoder.cache_shifts=0",
        )


def feature_key(key: str) -> str:
    """Where the stored feature maps of a camera are found in a batch, in place of its frames."""
    return FEATURE_PREFIX + key.removeprefix(IMAGE_PREFIX)


def build_encoder(conf: EncoderConf, images: list[ImageSpec]) -> Encoder:
    """The encoder a config names, for these cameras.

    Raises:
        ConfigError: a setting is out of range, or an image encoder is asked for where there are no images.
        UserError: pretrained weights cannot be found or are of something else.
    """
    check_encoder(conf)
    row = ENCODERS[conf.name]
    if row.sees and not images:
        raise ConfigError(
            "an image encoder needs at least one camera",
            where="encoder.name",
            fix="encoder=none",
        )
    return row.encoder(conf, images)


def rebuildable(conf: EncoderConf, module: nn.Module) -> EncoderConf:
    """The config with which a module's encoder is built again without fetching pretrained weights: they are in it."""
    trunk = next((m.conf for m in module.modules() if isinstance(m, FrozenResNet)), None)
    return replace(conf, trunk=TrunkConf(**asdict(trunk))) if trunk else conf


def check_frames(images: Images, keys: list[str]) -> None:
    """Refuse frames whose range is not what training will see (devlogs 048, 059, 068: images scaled twice).

    Raises:
        UserError: a camera is missing, or its frames are floats outside [0, 1].
    """
    for key in keys:
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


def lecun_normal(weight: Tensor, inputs: int) -> None:
    """Flax's ``lecun_normal``: variance 1 / inputs after cutting the normal distribution off at two deviations."""
    std = 1 / math.sqrt(inputs) / 0.87962566103423978  # that of a standard normal cut off at +-2
    nn.init.trunc_normal_(weight, std=std, a=-2 * std, b=2 * std)


def _check_sizes(images: list[ImageSpec]) -> None:
    sizes = {image.name: (image.height, image.width) for image in images}
    if len(set(sizes.values())) > 1 or min(min(size) for size in sizes.values()) < LEROBOT_SMALLEST:
        raise ConfigError(
            f"LeRobot's encoder needs all cameras at one size, at least {LEROBOT_SMALLEST} pixels a side",
            where=", ".join(f"{name}: {height} x {width}" for name, (height, width) in sizes.items()),
            fix="another image size, or encoder=cnn",
        )


def _centred(frames: Tensor) -> Tensor:
    """(B, C, H, W) uint8 or [0, 1] to floats in [-0.5, 0.5], as DrQ-v2 does."""
    scale = full_scale(frames)
    return frames.to(torch.float32).mul_(1.0 / scale).sub_(0.5) if scale != 1.0 else frames - 0.5


def _convolutions(conf: EncoderConf, *more: nn.Module, padded: bool) -> nn.Sequential:
    layers: list[nn.Module] = []
    channels = 3
    for out, kernel, stride in zip(conf.channels, conf.kernels, conf.strides, strict=True):
        layers += [
            nn.Conv2d(channels, out, kernel, stride, padding=kernel // 2 if padded else 0),
            *([nn.GroupNorm(conf.norm_groups, out)] if conf.norm_groups else []),
            nn.ReLU(inplace=True),
        ]
        channels = out
    # channels_last is how frames are stored (H, W, C); convolving in that layout saves a copy and is faster on CPUs.
    return nn.Sequential(*layers, *more).to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def _trunk(conf: EncoderConf, image: ImageSpec) -> nn.Sequential:
    convolutions = _convolutions(conf, nn.Flatten(), padded=True)
    with torch.no_grad():
        size = convolutions(torch.zeros(1, 3, image.height, image.width)).shape[1]
    return nn.Sequential(
        convolutions,
        nn.Linear(size, conf.features),
        nn.LayerNorm(conf.features),
        nn.Tanh(),
    )
