"""What an encoder promises and a decoder is built from: the only things the two know about each other."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

COARSEST_STRIDE = 32
"""Image pixels per pixel of the coarsest feature map, unless a decoder asks for a finer one."""


class Encoder(nn.Module):
    """Turns images into feature maps, the finest first.

    Attributes:
        in_channels: Channels of the images.
        out_channels: Channels of each feature map.
        strides: Image pixels per feature pixel of each map, never falling. Image sides must be multiples of the last.
    """

    in_channels: int
    out_channels: tuple[int, ...]
    strides: tuple[int, ...]

    def forward(self, images: Float[Tensor, "b c h w"]) -> list[Tensor]:
        """Feature maps of shape (b, out_channels[i], h / strides[i], w / strides[i])."""
        raise NotImplementedError


class Decoder(nn.Module):
    """Turns an encoder's feature maps into one, of any finer or equal size.

    Attributes:
        out_channels: Channels of that map.
        least_side: Least height and width of the coarsest feature map that the decoder can work on. At least 2, so that
            batch normalisation has more than one value per channel even in a batch of one small crop.
    """

    out_channels: int
    least_side: int = 2

    def forward(self, features: list[Tensor]) -> Float[Tensor, "b d h2 w2"]:
        """One map of (b, out_channels, h2, w2)."""
        raise NotImplementedError
