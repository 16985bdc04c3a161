"""Decoders are built from strides and channels alone."""

from __future__ import annotations

import pytest
import torch

from srpu.errors import ModelError
from srpu.models.decoders import NAMES, build_decoder, wanted_coarsest


@pytest.mark.parametrize("strides", [(1, 2, 4), (4, 8, 16, 32), (2, 4, 8, 16, 16), (16, 16, 16), (3, 6)])
def test_the_unet_decoder_takes_any_strides(strides: tuple[int, ...]) -> None:
    channels = [8 + index for index in range(len(strides))]
    decoder = build_decoder("unet", channels, strides)
    features = [torch.randn(2, c, 96 // s, 96 // s) for c, s in zip(channels, strides, strict=True)]
    decoded = decoder(features)
    assert decoded.shape[:2] == (2, decoder.out_channels)
    assert decoded.shape[-1] == 96 if strides[0] != 3 else decoded.shape[-1] == 64


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_map_at_stride_2_is_no_obstacle(name: str) -> None:
    strides, channels = (4, 8, 16, wanted_coarsest(name)), (8, 16, 32, 64)
    decoder = build_decoder(name, channels, strides)
    features = [torch.randn(2, c, 256 // s, 256 // s) for c, s in zip(channels, strides, strict=True)]
    assert decoder(features).shape[:2] == (2, decoder.out_channels)


def test_unknown_names_get_the_nearest() -> None:
    with pytest.raises(ModelError, match="did you mean 'deeplabv3plus'"):
        build_decoder("deeplabv3+", (8, 16), (1, 2))


def test_strides_that_do_not_fit_get_the_decoders_that_do() -> None:
    with pytest.raises(ModelError, match=r"strides 16, 32, 64; decoders that can: unet\."):
        build_decoder("fpn", (8, 16, 32), (16, 32, 64))


def test_features_stay_as_they_were() -> None:
    decoder = build_decoder("upernet", (8, 16, 32, 64), (2, 4, 8, 16))
    features = [torch.randn(2, c, 64 // s, 64 // s) for c, s in zip((8, 16, 32, 64), (2, 4, 8, 16), strict=True)]
    before = [feature.clone() for feature in features]
    decoder(features)
    assert all(torch.equal(a, b) for a, b in zip(before, features, strict=True))
