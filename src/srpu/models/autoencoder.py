"""Networks that restore images which were damaged on purpose: what they learn for it, the encoder keeps.

The decoder is light, so that the work is the encoder's. Vincent et al., Extracting and Composing Robust Features with
Denoising Autoencoders, ICML 2008.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from srpu.models.promise import Decoder, Encoder
from srpu.models.unet import ConvNormReLU

NARROWEST, WIDEST = 16, 128
"""Channels of the light decoder at its finest and coarsest level."""


class Restored(NamedTuple):
    """What a network that restores saw and answered.

    Attributes:
        loss: One number; how far the answer is from the undamaged images.
        seen: The damaged images (b, 1, h, w); hidden places hold a constant.
        restored: The answer (b, 1, h, w); places that were shown as they are hold the image itself.
    """

    loss: Tensor
    seen: Tensor
    restored: Tensor


class Restorer(nn.Module):
    """An encoder, and what restores images from its features.

    Attributes:
        encoder: What is kept.
        spec: Plain values from which :func:`srpu.models.mae.rebuild_restorer` makes the same network again.
    """

    encoder: Encoder
    spec: dict[str, Any]

    def forward(self, images: Tensor, damage: Tensor) -> Restored:
        """Restore normalised images whose sides are multiples of the encoder's last stride.

        Args:
            images: The undamaged ones, (b, 1, h, w).
            damage: What was done to them, as the method understands it.
        """
        raise NotImplementedError


class LightDecoder(Decoder):
    """From the coarsest map to the finest: enlarge, add the encoder's map of that size, convolve once.

    It has 8 channels per unit of stride, at least 16 and at most 128, and costs a tenth of a U-Net's decoder.

    >>> LightDecoder(out_channels=(64, 64, 128, 256, 512), strides=(2, 4, 8, 16, 32)).widths
    [16, 32, 64, 128, 128]
    """

    def __init__(self, out_channels: Sequence[int], strides: Sequence[int]) -> None:
        super().__init__()
        self.widths = [max(NARROWEST, min(WIDEST, 8 * stride)) for stride in strides]
        finer, coarser = self.widths[:-1], self.widths[1:]
        self.beside = nn.ModuleList(
            nn.Conv2d(channels, width, kernel_size=1) for channels, width in zip(out_channels, self.widths, strict=True)
        )
        self.below = nn.ModuleList(
            nn.Conv2d(wide, width, kernel_size=1) for wide, width in zip(coarser, finer, strict=True)
        )
        self.mixed = nn.ModuleList(ConvNormReLU(width, width) for width in self.widths)
        self.out_channels = self.widths[0]

    def forward(self, features: list[Tensor]) -> Float[Tensor, "b d h2 w2"]:
        """One map of the size of the encoder's finest."""
        x = self.mixed[-1](self.beside[-1](features[-1]))
        for level in range(len(features) - 2, -1, -1):
            enlarged = functional.interpolate(self.below[level](x), size=features[level].shape[-2:], mode="nearest")
            x = self.mixed[level](enlarged + self.beside[level](features[level]))
        decoded: Tensor = x
        return decoded


class Autoencoder(Restorer):
    """Restores degraded images; the loss is the mean absolute error of all pixels.

    ``damage`` is the degraded images, as :class:`srpu.data.degrade.Degrader` makes them.
    """

    def __init__(self, encoder: Encoder, spec: dict[str, Any]) -> None:
        super().__init__()
        self.encoder, self.spec = encoder, spec
        self.decoder = LightDecoder(encoder.out_channels, encoder.strides)
        self.stride = encoder.strides[0]
        self.head = nn.Conv2d(self.decoder.out_channels, self.stride**2, kernel_size=3, padding=1)

    def forward(self, images: Float[Tensor, "b 1 h w"], damage: Float[Tensor, "b 1 h w"]) -> Restored:
        """Restore ``images`` from their degraded copies."""
        restored = self.restore(damage)
        return Restored((restored - images).abs().mean(), damage, restored)

    def restore(self, seen: Float[Tensor, "b 1 h w"]) -> Float[Tensor, "b 1 h w"]:
        """What the network makes of what it sees; a pixel of the finest map stands for a square of the image."""
        squares: Tensor = self.head(self.decoder(self.encoder(seen)))
        restored = functional.pixel_shuffle(squares, self.stride)
        return restored.float()
