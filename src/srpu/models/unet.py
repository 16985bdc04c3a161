"""The classic U-Net in plain PyTorch: both halves, each also of use with other decoders and encoders.

Ronneberger, Fischer, Brox: U-Net: Convolutional Networks for Biomedical Image Segmentation, MICCAI 2015; with batch
normalisation and padded convolutions, as everybody builds it today.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from srpu.models.promise import Decoder, Encoder

WIDTHS = (32, 64, 128, 256, 512)
"""Channels per level. The paper has twice as many, which costs four times as much: too slow on a CPU."""

WIDEST = 256
"""Most channels in a level of the decoder."""


class ConvNormReLU(nn.Sequential):
    """A 3 × 3 convolution, batch normalisation and ReLU."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        conv = nn.Conv2d(inputs, outputs, kernel_size=3, stride=stride, padding=1, bias=False)
        nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
        super().__init__(conv, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


class DoubleConv(nn.Sequential):
    """Two convolutions: one level of a U-Net."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(ConvNormReLU(inputs, outputs), ConvNormReLU(outputs, outputs))


class UNetEncoder(Encoder):
    """The way down: five levels at strides 1, 2, 4, 8 and 16 with 2 × 2 max-pooling between them."""

    def __init__(self, in_channels: int = 1) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.out_channels = WIDTHS
        self.strides = tuple(2**level for level in range(len(WIDTHS)))
        self.levels = nn.ModuleList(map(DoubleConv, (in_channels, *WIDTHS), WIDTHS))

    def forward(self, images: Float[Tensor, "b c h w"]) -> list[Tensor]:
        """Feature maps at strides 1, 2, 4, 8 and 16."""
        features = [self.levels[0](images)]
        for level in self.levels[1:]:
            features.append(level(functional.max_pool2d(features[-1], 2)))
        return features


class UNetDecoder(Decoder):
    """The way up, for any encoder: enlarge, put the encoder's map of that size beside it, convolve twice.

    Where the encoder's finest map is coarser than the image, further levels without a partner follow, down to stride 1.
    Behind the U-Net encoder the two halves mirror each other; behind others the widths are 16 channels per unit of
    stride, at most 256: the 256, 128, 64, 32, 16 of segmentation_models_pytorch behind a ResNet.

    >>> UNetDecoder(out_channels=(64, 64, 128, 256, 512), strides=(2, 4, 8, 16, 32)).widths
    [256, 128, 64, 32, 16]
    >>> UNetDecoder(out_channels=(32, 64, 128, 256, 512), strides=(1, 2, 4, 8, 16)).widths
    [256, 128, 64, 32]
    """

    def __init__(self, out_channels: Sequence[int], strides: Sequence[int]) -> None:
        super().__init__()
        partners = list(zip(strides[:-1], out_channels[:-1], strict=True))[::-1]
        stride = strides[0]
        while stride > 1:
            stride //= 2
            partners.append((stride, 0))
        per_stride = out_channels[0] if strides[0] == 1 else 16
        self.widths = [min(WIDEST, per_stride * stride) for stride, _ in partners]
        inputs = [out_channels[-1], *self.widths[:-1]]
        self.levels = nn.ModuleList(
            DoubleConv(below + beside, width)
            for below, (_, beside), width in zip(inputs, partners, self.widths, strict=True)
        )
        self.out_channels = self.widths[-1]

    def forward(self, features: list[Tensor]) -> Float[Tensor, "b d h2 w2"]:
        """The features at the image's own size."""
        *partners, x = features
        for level in self.levels:
            if partners:
                partner = partners.pop()
                x = torch.cat([_enlarge(x, partner.shape[-2:]), partner], dim=1)
            else:
                x = _enlarge(x, (2 * x.shape[-2], 2 * x.shape[-1]))
            x = level(x)
        return x


def _enlarge(x: Tensor, size: Sequence[int]) -> Tensor:
    """By nearest neighbour: the convolutions that follow smooth it, and its gradient is the same in every run."""
    return functional.interpolate(x, size=tuple(size), mode="nearest")
