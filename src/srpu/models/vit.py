"""Vision transformers as encoders: one grid of tokens becomes a pyramid of feature maps.

The coarser maps are the simple feature pyramid of Li et al., Exploring Plain Vision Transformer Backbones for Object
Detection, ECCV 2022 (ViTDet). Tokens blur anything finer than a patch, so two convolutions straight from the image add
the fine edges, as in Yao et al., ViTMatte, 2023.
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from srpu.models.promise import COARSEST_STRIDE, Encoder
from srpu.models.unet import ConvNormReLU

TOKEN_STRIDE = 16
"""Image pixels per token."""

DETAIL_CHANNELS = 32
"""Channels of the finest map, which sees the image and not the tokens."""


class TokenPyramid(Encoder):
    """Feature maps at strides 2, 4, 8, 16 and 32 from a timm vision transformer.

    Patches of 14 pixels (DINOv2) would make strides that nothing else fits, so the image is shrunk to 14/16 first: then
    a token covers exactly 16 pixels of the original, and the transformer sees multiples of 14. timm interpolates the
    position embedding to the grid.

    Args:
        body: A timm transformer made with ``dynamic_img_size=True`` and no head.
        in_channels: Channels of the images.
        coarsest: 16 leaves out the map at stride 32.
    """

    def __init__(self, body: nn.Module, in_channels: int, coarsest: int = COARSEST_STRIDE) -> None:
        super().__init__()
        self.body = body
        self.patch = int(body.patch_embed.patch_size[0])  # type: ignore[union-attr, index]
        width = int(body.num_features)  # type: ignore[arg-type]
        self.detail = ConvNormReLU(in_channels, DETAIL_CHANNELS, stride=2)
        self.detail_to_4 = ConvNormReLU(DETAIL_CHANNELS, width // 4, stride=2)
        self.to_8 = _Double(width, width // 2)
        self.to_4 = _Double(width // 2, width // 4)
        self.in_channels = in_channels
        maps = 5 if coarsest >= COARSEST_STRIDE else 4
        self.out_channels = (DETAIL_CHANNELS, width // 4, width // 2, width, width)[:maps]
        self.strides = (2, 4, 8, 16, 32)[:maps]

    def forward(self, images: Float[Tensor, "b c h w"]) -> list[Tensor]:
        """Feature maps at strides 2, 4, 8, 16 and, unless left out, 32."""
        detail = self.detail(images)
        at_16 = self._tokens(images)
        at_8 = self.to_8(at_16)
        at_4 = self.to_4(at_8) + self.detail_to_4(detail)
        return [detail, at_4, at_8, at_16, functional.max_pool2d(at_16, 2)][: len(self.strides)]

    def _tokens(self, images: Tensor) -> Tensor:
        """The last layer's tokens as a map at stride 16."""
        tokens: Tensor = self.body.forward_intermediates(  # type: ignore[operator]
            self.for_body(images), indices=1, norm=True, output_fmt="NCHW", intermediates_only=True
        )[-1]
        return tokens

    def for_body(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h2 w2"]:
        """The images at the size at which one patch of the transformer covers 16 of their pixels."""
        if self.patch == TOKEN_STRIDE:
            return images
        height, width = (side // TOKEN_STRIDE * self.patch for side in images.shape[-2:])
        return functional.interpolate(images, size=(height, width), mode="bilinear", antialias=True)


class _Double(nn.Sequential):
    """Twice the height and width: a transposed convolution, normalised."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(nn.ConvTranspose2d(inputs, outputs, 2, stride=2), nn.BatchNorm2d(outputs), nn.GELU())
