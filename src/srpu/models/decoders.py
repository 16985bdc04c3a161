"""Decoders by name: the classic U-Net's, and those of segmentation_models_pytorch on any encoder's promise.

segmentation_models_pytorch is imported only for names that need it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, NamedTuple

from jaxtyping import Float
from torch import Tensor, nn

from srpu.errors import ModelError
from srpu.models.encoders import nearest
from srpu.models.promise import COARSEST_STRIDE, Decoder
from srpu.models.unet import UNetDecoder

LADDERS = {
    32: ((2, 4, 8, 16), (2, 4, 8, 16, 32), (4, 8, 16, 32)),
    16: ((2, 4, 8, 16), (2, 4, 8, 16, 16), (4, 8, 16, 16)),
}
"""Strides beyond 1 that the library's decoders are built for, by the coarsest they want; at 2 an empty map will do."""

WIDTHS = (256, 128, 64, 32, 16)
"""Channels of the decoders that climb to the image's own size, the coarsest level first."""


class Recipe(NamedTuple):
    """One decoder of the library: where it is, what it gives, and its options for a number of maps beyond stride 1."""

    module: str
    name: str
    out_channels: int
    options: Callable[[int], dict[str, Any]]
    coarsest: int = COARSEST_STRIDE
    least_side: int = 2


RECIPES = {
    "deeplabv3plus": Recipe(
        "deeplabv3",
        "DeepLabV3PlusDecoder",
        out_channels=256,
        options=lambda n: {
            "encoder_depth": n,
            "out_channels": 256,
            "atrous_rates": (12, 24, 36),
            "output_stride": 16,
            "aspp_separable": True,
            "aspp_dropout": 0.0,
        },
        coarsest=16,
    ),
    "unetplusplus": Recipe(
        "unetplusplus",
        "UnetPlusPlusDecoder",
        out_channels=WIDTHS[-1],
        options=lambda n: {"n_blocks": n, "decoder_channels": WIDTHS[-n:]},
    ),
    "fpn": Recipe("fpn", "FPNDecoder", out_channels=128, options=lambda n: {"encoder_depth": n, "dropout": 0.0}),
    "pan": Recipe(
        "pan",
        "PANDecoder",
        out_channels=32,
        options=lambda n: {"encoder_depth": n, "decoder_channels": 32},
        coarsest=16,
        least_side=16,  # it halves the coarsest map three times
    ),
    "linknet": Recipe("linknet", "LinknetDecoder", out_channels=32, options=lambda n: {"n_blocks": n}),
    "manet": Recipe(
        "manet",
        "MAnetDecoder",
        out_channels=WIDTHS[-1],
        options=lambda n: {"n_blocks": n, "decoder_channels": WIDTHS[-n:]},
    ),
    "pspnet": Recipe("pspnet", "PSPDecoder", out_channels=512, options=lambda _: {"dropout": 0.0}, coarsest=16),
    "upernet": Recipe("upernet", "UPerNetDecoder", out_channels=256, options=lambda n: {"encoder_depth": n}),
    "segformer": Recipe("segformer", "SegformerDecoder", out_channels=256, options=lambda n: {"encoder_depth": n}),
}

OWN: dict[str, Callable[[Sequence[int], Sequence[int]], Decoder]] = {"unet": UNetDecoder}
"""Decoders that are written here, made from the encoder's channels and strides, whatever these are."""

NAMES = (*OWN, *RECIPES)


def check_decoder_name(name: str) -> None:
    """Refuse a name that no decoder has.

    Raises:
        ModelError: With the nearest name and the list.
    """
    if name not in (*OWN, *RECIPES):
        raise ModelError(
            f"DECODER_NAME = {name!r}: no such decoder{nearest(name, NAMES)} Choose one of {', '.join(NAMES)}."
        )


def wanted_coarsest(name: str) -> int:
    """The stride that the decoder would like the encoder's coarsest map to have."""
    return RECIPES[name].coarsest if name in RECIPES else COARSEST_STRIDE


def fits(name: str, strides: Sequence[int]) -> bool:
    """Whether the decoder can be built on feature maps of these strides.

    >>> fits("deeplabv3plus", (2, 4, 8, 16, 16)), fits("deeplabv3plus", (2, 4, 8, 16, 32))
    (True, False)
    """
    if name in OWN:
        return True
    rungs = tuple(stride for stride in strides if stride > 1)
    return rungs in LADDERS[RECIPES[name].coarsest]


def build_decoder(name: str, out_channels: Sequence[int], strides: Sequence[int]) -> Decoder:
    """Build a decoder from an encoder's promise alone.

    Raises:
        ModelError: No such decoder, or it cannot work on these strides; the decoders that can are named.
    """
    check_decoder_name(name)
    if not fits(name, strides):
        raise ModelError(
            f"DECODER_NAME = {name!r} cannot work on this encoder, whose feature maps have the strides"
            f" {', '.join(map(str, strides))}; decoders that can: {', '.join(n for n in NAMES if fits(n, strides))}."
        )
    if name in OWN:
        return OWN[name](out_channels, strides)
    return LibraryDecoder(RECIPES[name], out_channels, strides)


class LibraryDecoder(Decoder):
    """A decoder of segmentation_models_pytorch.

    The library counts maps at strides 1, 2, 4, … and expects all of them, but never looks into the first.
    """

    def __init__(self, recipe: Recipe, out_channels: Sequence[int], strides: Sequence[int]) -> None:
        super().__init__()
        from segmentation_models_pytorch.base.initialization import initialize_decoder

        self.first = strides.index(2) if 2 in strides else 0
        self.missing = 1 if 2 in strides else 2
        self.finest_stride = strides[self.first]
        channels = [0] * self.missing + list(out_channels[self.first :])
        make = getattr(import_module(f"segmentation_models_pytorch.decoders.{recipe.module}.decoder"), recipe.name)
        self.body = make(encoder_channels=channels, **recipe.options(len(channels) - 1))
        initialize_decoder(self.body)
        _normalise_without_batch(self.body)
        self.out_channels = recipe.out_channels
        self.least_side = recipe.least_side

    def forward(self, features: list[Tensor]) -> Float[Tensor, "b d h2 w2"]:
        """The library's decoder on the features, stand-ins without channels where it expects finer ones."""
        features = features[self.first :]
        batch, _, height, width = features[0].shape
        scales = [self.finest_stride // 2**level for level in range(self.missing)]
        stand_ins = [features[0].new_empty(batch, 0, height * scale, width * scale) for scale in scales]
        decoded: Tensor = self.body(stand_ins + features)
        return decoded


def _normalise_without_batch(body: nn.Module) -> None:
    """Replace batch normalisation behind global pooling, where a batch of one image has one value per channel."""
    branches = [module for module in body.modules() if isinstance(module, nn.Sequential)]
    for branch in branches:
        if isinstance(branch[0], nn.AdaptiveAvgPool2d) and branch[0].output_size in (1, (1, 1)):
            for parent in branch.modules():
                for name, child in parent.named_children():
                    if isinstance(child, nn.BatchNorm2d):
                        setattr(parent, name, nn.GroupNorm(1, child.num_features))
