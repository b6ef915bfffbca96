"""A frozen ResNet: HIL-SERL's ResNet-10 with group normalisation, and the usual ones with batch normalisation.

Read beside: He et al. 2015 (arXiv 1512.03385), Wu and He 2018 (group normalisation, arXiv 1803.08494), HIL-SERL's
``resnet_v1.py``. Its weights are fixed, so a batch normalisation is a scale and a shift that the convolution before it
does just as well (`hiltk.agents.pretrained` folds them): there are no running statistics that could drift.
"""

from __future__ import annotations

import itertools
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hiltk.config.groups import TrunkConf
from hiltk.images import ImageNetNorm

GROUPS = 4  # of the group normalisation
AT_ONCE = 16  # frames through the network at once on a CPU


class FrozenResNet(nn.Module):
    """Frames (B, 3, H, W) uint8 or in [0, 1] to feature maps (B, C, h, w), normalised inside as ImageNet's were.

    Frozen by construction: its weights are buffers, saved with the policy but no optimizer's parameters; it computes
    without gradients and stays in evaluation mode whatever ``train()`` says.
    """

    def __init__(self, conf: TrunkConf) -> None:
        super().__init__()
        self.conf, self.channels = conf, conf.widths[-1]
        self.stem = Unit(3, conf.stem, 7, 2, conf)
        inputs, stages = [conf.stem, *conf.widths[:-1]], []
        for i, (into, out, depth) in enumerate(zip(inputs, conf.widths, conf.depths, strict=True)):
            first = Block(into, out, 1 if i == 0 else 2, conf)
            stages.append(nn.Sequential(first, *(Block(out, out, 1, conf) for _ in range(depth - 1))))
        self.stages = nn.Sequential(*stages)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        _as_buffers(self)
        self.normalise = ImageNetNorm()
        self.eval()

    def train(self, mode: bool = True) -> FrozenResNet:
        """Frozen stays frozen."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, frames: Tensor) -> Tensor:
        # So few frames at once that what passes between two layers stays in a CPU's cache.
        count = max(1, -(-len(frames) // AT_ONCE)) if frames.device.type == "cpu" else 1
        return torch.cat([self._maps(some) for some in frames.tensor_split(count)]).float()

    def _maps(self, frames: Tensor) -> Tensor:
        # ReLU after the pooling gives the same, and has a quarter of the pixels to do.
        return self.stages(_max_pool(self.stem(self.normalise(frames)), same=self.conf.norm == "group").relu_())

    def map_size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width (h, w) of the feature maps of frames (H, W)."""
        shape = self(torch.zeros(1, 3, height, width, device=self.normalise.scale.device)).shape
        return shape[2], shape[3]


class Unit(nn.Module):
    """A convolution and its normalisation."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, conf: TrunkConf) -> None:
        super().__init__()
        grouped = conf.norm == "group"
        # Flax pads the stem by numbers and everything else by "SAME", which differs where a stride skips pixels.
        make = SameConv if grouped and stride > 1 and kernel == 3 else nn.Conv2d
        self.conv = make(inputs, outputs, kernel, stride, padding=kernel // 2, bias=not grouped)
        self.norm = nn.GroupNorm(GROUPS, outputs) if grouped else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x))


class Block(nn.Module):
    """Two 3x3 convolutions, or a bottleneck of 1x1, 3x3 and 1x1, around which the input is added."""

    def __init__(self, inputs: int, outputs: int, stride: int, conf: TrunkConf) -> None:
        super().__init__()
        inner = outputs // 4 if conf.bottleneck else outputs
        sizes = [inputs, inner, inner, outputs] if conf.bottleneck else [inputs, outputs, outputs]
        kernels, strides = ([1, 3, 1], [1, stride, 1]) if conf.bottleneck else ([3, 3], [stride, 1])
        pairs = itertools.pairwise(sizes)
        self.units = nn.ModuleList(
            [Unit(a, b, k, s, conf) for (a, b), k, s in zip(pairs, kernels, strides, strict=True)]
        )
        changes = stride > 1 or inputs != outputs
        self.shortcut = Unit(inputs, outputs, 1, stride, conf) if changes else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        out = x
        for unit in self.units[:-1]:
            out = unit(out).relu_()
        return self.units[-1](out).add_(self.shortcut(x)).relu_()


class SameConv(nn.Conv2d):
    """A convolution padded as Flax's ``padding="SAME"``: an odd pixel goes below and to the right."""

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(_same(x, self.kernel_size[0], self.stride[0], 0.0), self.weight, None, self.stride)


def _max_pool(x: Tensor, same: bool) -> Tensor:
    if same:
        return F.max_pool2d(_same(x, 3, 2, -math.inf), 3, 2)
    return F.max_pool2d(x, 3, 2, padding=1)


def _same(x: Tensor, kernel: int, stride: int, value: float) -> Tensor:
    pads = [max(0, (math.ceil(n / stride) - 1) * stride + kernel - n) for n in (x.shape[3], x.shape[2])]
    return F.pad(x, [side for pad in pads for side in (pad // 2, pad - pad // 2)], value=value)


def _as_buffers(module: nn.Module) -> None:
    """Make every parameter below a buffer of the same name."""
    for child in module.modules():
        for name, parameter in list(child.named_parameters(recurse=False)):
            delattr(child, name)
            child.register_buffer(name, parameter.detach())
