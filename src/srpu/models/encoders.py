"""Encoders by name: the classic U-Net, and the feature extractors of timm, vision transformers included.

timm is imported only for names that need it.
"""

from __future__ import annotations

import difflib
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from srpu.errors import ModelError
from srpu.models.promise import COARSEST_STRIDE, Encoder
from srpu.models.unet import UNetEncoder
from srpu.models.vit import TokenPyramid

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

OWN: dict[str, Callable[[int], Encoder]] = {"unet": UNetEncoder}
"""Encoders that are written here, made with the number of channels of the images."""

NAMES = (
    *OWN,
    *(f"resnet{depth}" for depth in (18, 34, 50, 101)),
    *(f"efficientnet_b{size}" for size in range(8)),
    "dinov2_vits14",
    "dinov2_vitb14",
    "dinov2_vitl14",
)
"""The encoders that the documentation names; any other feature extractor of timm works by its timm name."""

TIMM_NAMES = {
    "dinov2_vits14": "vit_small_patch14_dinov2",
    "dinov2_vitb14": "vit_base_patch14_dinov2",
    "dinov2_vitl14": "vit_large_patch14_dinov2",
}
"""Where the name that users know is not timm's."""

TRANSFORMERS = ("vision_transformer", "eva")
"""The timm families whose tokens become a pyramid."""

FILE_SUFFIXES = (".pth", ".pt", ".bin", ".safetensors")


def build_encoder(
    name: str, in_channels: int = 1, weights: str | None = None, coarsest: int = COARSEST_STRIDE
) -> Encoder:
    """Build an encoder by name.

    Args:
        name: One of :data:`NAMES`, or any timm model that gives feature maps.
        in_channels: Channels of the images; 1 is native, nothing is repeated to three.
        weights: None for random ones, "imagenet" for timm's standard weights of that model, one of timm's tags, or the
            path of a file.
        coarsest: The stride that the decoder would like the coarsest map to have, 32 or 16. Encoders that can oblige do
            (by dilated convolutions); what the encoder promises is what it has.

    Raises:
        ModelError: Unknown name or tag, a model that cannot be an encoder, or no internet to fetch weights.
        CheckpointError: The file is unreadable or belongs to another model.
    """
    file = _weights_file(weights)
    tag = None if file else weights
    encoder = _own_encoder(name, in_channels, tag) if name in OWN else _timm_encoder(name, in_channels, tag, coarsest)
    if file:
        from srpu.models.transfer import transfer_encoder

        transfer_encoder(encoder, file, name).report()
    return encoder


def nearest(name: str, known: Iterable[str]) -> str:
    """End a sentence: with the known name that is most like ``name``, if one is, or with a full stop.

    >>> nearest("resnet_18", ["unet", "resnet18"])
    ", did you mean 'resnet18'?"
    >>> nearest("transformer", ["unet", "resnet18"])
    '.'
    """
    close = difflib.get_close_matches(name.lower(), list(known), n=1)
    return f", did you mean {close[0]!r}?" if close else "."


class TimmEncoder(Encoder):
    """A timm model made with ``features_only=True``; what it promises is measured, not believed."""

    def __init__(self, body: nn.Module, in_channels: int) -> None:
        super().__init__()
        self.body = body
        self.channels_last_output = str(getattr(body, "output_fmt", "NCHW")).endswith("NHWC")
        self.in_channels = in_channels
        self.out_channels, self.strides = self._measure()

    def forward(self, images: Float[Tensor, "b c h w"]) -> list[Tensor]:
        """The model's feature maps, the finest first."""
        features: list[Tensor] = list(self.body(images))
        return [x.permute(0, 3, 1, 2) for x in features] if self.channels_last_output else features

    def _measure(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Channels and strides, seen on an empty image.

        Raises:
            ValueError: The model's maps do not divide the image evenly.
        """
        height, width = 64, 96
        with torch.no_grad():  # not inference_mode: some models keep tensors of their first run
            features = self.eval()(torch.zeros(1, self.in_channels, height, width))
        self.train()
        strides = tuple(height // x.shape[-2] for x in features)
        sizes = [(x.shape[-2] * s, x.shape[-1] * s) for x, s in zip(features, strides, strict=True)]
        if any(size != (height, width) for size in sizes) or list(strides) != sorted(strides):
            shapes = ", ".join(f"{x.shape[-2]} × {x.shape[-1]}" for x in features)
            raise ValueError(f"64 × 96 pixels become feature maps of {shapes}")
        return tuple(x.shape[1] for x in features), strides


def _weights_file(weights: str | None) -> Path | None:
    """The path, if ``weights`` is one and not a tag."""
    if weights and (Path(weights).suffix.lower() in FILE_SUFFIXES or "/" in weights or "\\" in weights):
        return Path(weights)
    return None


def _own_encoder(name: str, in_channels: int, tag: str | None) -> Encoder:
    if tag:
        raise ModelError(
            f"ENCODER_WEIGHTS = {tag!r}: nobody offers pretrained weights for the plain {name!r}; use None, the path of"
            " a weights file, or another encoder, such as 'resnet18'."
        )
    return OWN[name](in_channels)


def _timm_encoder(name: str, in_channels: int, tag: str | None, coarsest: int) -> Encoder:
    import timm

    model = TIMM_NAMES.get(name, name)
    if not timm.is_model(model):
        raise ModelError(
            f"ENCODER_NAME = {name!r}: no such encoder{nearest(name, [*NAMES, *timm.list_models()])} Choose one of"
            f" {', '.join(NAMES)}, or any other timm model that gives feature maps."
        )
    options: dict[str, Any] = {"in_chans": in_channels}
    if tag is None:
        return _wrap(name, model, coarsest, options)
    from srpu.models.fetching import fetching

    with fetching(name, model, tag) as found:
        return _wrap(name, model, coarsest, {**options, "pretrained": True, "pretrained_cfg": found})


def _wrap(name: str, model: str, coarsest: int, options: dict[str, Any]) -> Encoder:
    """The timm model as an encoder.

    Raises:
        ModelError: It has no feature maps, or works on one size of image only.
    """
    import timm

    family = timm.models.model_entrypoint(model).__module__.rpartition(".")[2]
    in_channels = options["in_chans"]
    try:
        if family in TRANSFORMERS:
            body = timm.create_model(model, num_classes=0, global_pool="", dynamic_img_size=True, **options)
            return TokenPyramid(body, in_channels, coarsest)
        if family.startswith("swin_transformer"):
            options = {**options, "strict_img_size": False}
        return TimmEncoder(_feature_maps(model, coarsest, options), in_channels)
    # timm has no error of its own: a model without feature maps, or of one fixed size, fails in any of these ways.
    except (AssertionError, AttributeError, IndexError, RuntimeError, TypeError, ValueError) as error:
        reason = str(error).partition("\n")[0].rstrip(".")
        raise ModelError(
            f"ENCODER_NAME = {name!r}: this timm model cannot be an encoder for images of any size ({reason});"
            f" choose one of {', '.join(NAMES)}."
        ) from error


def _feature_maps(model: str, coarsest: int, options: dict[str, Any]) -> nn.Module:
    """The timm model without its head, dilated to the coarsest stride if its family can be; the promise tells."""
    import timm

    if coarsest < COARSEST_STRIDE:
        with suppress(AssertionError, TypeError):
            dilated: nn.Module = timm.create_model(model, features_only=True, output_stride=coarsest, **options)
            return dilated
    plain: nn.Module = timm.create_model(model, features_only=True, **options)
    return plain
