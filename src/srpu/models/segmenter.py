"""The one model of this package: an encoder, a decoder and a 1 × 1 convolution to classes, for images of any size."""

from __future__ import annotations

from typing import Any

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from srpu.errors import CheckpointError
from srpu.models.decoders import build_decoder, check_decoder_name, wanted_coarsest
from srpu.models.encoders import build_encoder
from srpu.models.promise import Decoder, Encoder


class Segmenter(nn.Module):
    """Pads images to what the encoder needs, and crops the result back.

    With ``shrink`` the network sees the image that many times smaller and its logits are enlarged again, so it sees
    more surroundings per pixel at less cost, and no detail finer than that.

    Attributes:
        spec: Plain values from which :func:`rebuild_segmenter` makes the same model again.
    """

    def __init__(self, encoder: Encoder, decoder: Decoder, spec: dict[str, Any]) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.head = nn.Conv2d(decoder.out_channels, spec["classes"], kernel_size=1)
        self.spec = spec
        self.shrink = int(spec.get("shrink", 1))  # models from before it existed do not say

    def forward(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b k h w"]:
        """Class logits for normalised images of any height and width, one pixel included."""
        height, width = images.shape[-2:]
        return self.decode(self.encode(images), (height, width))

    def encode(self, images: Float[Tensor, "b c h w"]) -> list[Tensor]:
        """The feature maps of the padded images, the coarsest last."""
        multiple = self.encoder.strides[-1] * self.shrink
        least = multiple * self.decoder.least_side
        missing = [max(least, -(-side // multiple) * multiple) - side for side in images.shape[-2:]]
        padded = _pad(images, *missing)
        features: list[Tensor] = self.encoder(functional.avg_pool2d(padded, self.shrink) if self.shrink > 1 else padded)
        return features

    def decode(self, features: list[Tensor], size: tuple[int, int]) -> Float[Tensor, "b k h w"]:
        """Class logits for the image of ``size`` (height, width) pixels that :meth:`encode` made ``features`` of."""
        logits = self.head(self.decoder(features))
        padded = tuple(side * self.encoder.strides[-1] * self.shrink for side in features[-1].shape[-2:])
        if logits.shape[-2:] != padded:
            logits = functional.interpolate(logits, size=padded, mode="bilinear", align_corners=False)
        cropped: Tensor = logits[..., : size[0], : size[1]]
        return cropped


def build_segmenter(
    encoder_name: str,
    decoder_name: str,
    classes: int,
    *,
    in_channels: int = 1,
    shrink: int = 1,
    encoder_weights: str | None = None,
) -> Segmenter:
    """Build a model by the names of its parts; see :func:`srpu.models.encoders.build_encoder` for the weights.

    Raises:
        ModelError: A name or a combination that does not exist, with those that do; or no internet to fetch weights.
        CheckpointError: The file of weights is unreadable or belongs to another model.
    """
    check_decoder_name(decoder_name)
    encoder = build_encoder(encoder_name, in_channels, encoder_weights, wanted_coarsest(decoder_name))
    decoder = build_decoder(decoder_name, encoder.out_channels, encoder.strides)
    spec = {"encoder": encoder_name, "decoder": decoder_name, "classes": classes, "in_channels": in_channels}
    spec["shrink"] = shrink
    return Segmenter(encoder, decoder, spec)


def rebuild_segmenter(spec: dict[str, Any]) -> Segmenter:
    """The model that ``spec`` describes, with random weights.

    Raises:
        ModelError: It names something that this version does not know.
        CheckpointError: It lacks an entry.
    """
    if missing := [key for key in ("encoder", "decoder", "classes", "in_channels") if key not in spec]:
        raise CheckpointError(f"The checkpoint does not say which {missing[0]} its model has; train it again.")
    return build_segmenter(
        spec["encoder"],
        spec["decoder"],
        spec["classes"],
        in_channels=spec["in_channels"],
        shrink=spec.get("shrink", 1),
    )


def _pad(images: Tensor, below: int, right: int) -> Tensor:
    """Mirror the image beyond its lower and right edge, or repeat the edge where the image is too small to mirror."""
    if not below and not right:
        return images
    mirrors = below < images.shape[-2] and right < images.shape[-1]
    return functional.pad(images, (0, right, 0, below), mode="reflect" if mirrors else "replicate")
